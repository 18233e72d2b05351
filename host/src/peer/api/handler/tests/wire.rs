//! These are tests of whole answers as they leave the node's listener, over HTTP/1.1 and HTTP/2:
//! what has no body must not have one on the wire either.

use super::replica::Replica;
use crate::network::{
    Drained, HttpService, Limits, TcpAcceptor, Trigger, Workers, serve_clients, shutdown,
};
use crate::peer::api::KeyValueApi;
use http::{Method, Request};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

struct Served {
    address: SocketAddr,
    stop: Trigger,
    ended: JoinHandle<Drained>,
}

impl Served {
    async fn start(node: Arc<Replica>) -> Served {
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = TcpAcceptor::bind(any_port).await.unwrap();
        let address = listener.address().unwrap();
        let service: Arc<dyn HttpService> = Arc::new(KeyValueApi::new(node));
        let (stop, heard) = shutdown();
        let ended = tokio::spawn(async move {
            let workers = Workers::start("test", 1).unwrap();
            let drained =
                serve_clients(listener, &workers, service, Limits::default(), heard).await;
            tokio::task::spawn_blocking(|| workers.stop())
                .await
                .unwrap();
            drained
        });
        Served {
            address,
            stop,
            ended,
        }
    }

    /// The answers to requests sent at once over one HTTP/1.1 connection.
    async fn answers(&self, requests: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(requests.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        String::from_utf8(bytes).unwrap()
    }

    async fn stop(self) {
        self.stop.fire();
        self.ended.await.unwrap();
    }
}

/// Each answer's status line, `content-length` and what follows the headers.
fn outline(answers: &str) -> Vec<(String, Option<String>, String)> {
    let outline = |answer: &str| {
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.lines().next().unwrap().trim().to_owned();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        (status, length.map(str::to_owned), body.to_owned())
    };
    answers.split("HTTP/1.1 ").skip(1).map(outline).collect()
}

#[tokio::test]
async fn sends_no_body_where_there_is_none() {
    let node = Replica::new();
    let put = node.send("PUT /v1/kv/default/k", &[], "hello");
    let tag = put.header("etag");
    let served = Served::start(node.clone()).await;
    let requests = [
        "HEAD /v1/kv/default/k HTTP/1.1\r\nhost: n\r\n\r\n".to_owned(),
        format!("GET /v1/kv/default/k HTTP/1.1\r\nhost: n\r\nif-none-match: {tag}\r\n\r\n"),
        "GET /v1/kv/default/k HTTP/1.1\r\nhost: n\r\n\r\n".to_owned(),
        "DELETE /v1/kv/default/k HTTP/1.1\r\nhost: n\r\n\r\n".to_owned(),
        "PUT /v1/kv/default/k HTTP/1.1\r\nhost: n\r\ncontent-length: 1\r\n\r\nv".to_owned(),
        "HEAD /v1/kv/default/x HTTP/1.1\r\nhost: n\r\nconnection: close\r\n\r\n".to_owned(),
    ];
    let answers = outline(&served.answers(&requests.concat()).await);
    let missing = node
        .send("GET /v1/kv/default/x", &[], "")
        .body
        .len()
        .to_string();
    let expected = [
        ("200 OK", Some("5"), ""),
        ("304 Not Modified", None, ""),
        ("200 OK", Some("5"), "hello"),
        ("204 No Content", None, ""),
        ("201 Created", Some("0"), ""),
        ("404 Not Found", Some(&*missing), ""),
    ];
    let answers: Vec<_> = answers
        .iter()
        .map(|(status, length, body)| (status.as_str(), length.as_deref(), body.as_str()))
        .collect();
    assert_eq!(answers, expected);
    served.stop().await;
}

#[tokio::test]
async fn answers_a_head_over_http_2_with_the_length_of_the_get() {
    let node = Replica::new();
    node.send("PUT /v1/kv/default/k", &[], "hello");
    let served = Served::start(node).await;
    let stream = TokioIo::new(TcpStream::connect(served.address).await.unwrap());
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream)
            .await
            .unwrap();
    let connection = tokio::spawn(connection);
    for (method, bytes) in [(Method::HEAD, 0), (Method::GET, 5)] {
        let uri = format!("http://{}/v1/kv/default/k", served.address);
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .body(Empty::<bytes::Bytes>::new());
        let answer = client.send_request(request.unwrap()).await.unwrap();
        assert_eq!(answer.headers()["content-length"], "5");
        assert_eq!(
            answer.into_body().collect().await.unwrap().to_bytes().len(),
            bytes
        );
    }
    drop(client);
    connection.await.unwrap().unwrap();
    served.stop().await;
}
