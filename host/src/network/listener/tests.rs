//! This is how the client listener behaves over real sockets on loopback.

use super::*;
use crate::network::{Body, BoxFuture, Request, Response, TcpAcceptor, Trigger};
use std::net::SocketAddr;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// Echoes up to 1,000 bytes; `/wait` says that it has begun and waits to be let go.
#[derive(Default)]
struct Gated {
    begun: Arc<Notify>,
    release: Arc<Notify>,
}

impl HttpService for Gated {
    fn call(&self, request: Request) -> BoxFuture<'static, Response> {
        let (begun, release) = (Arc::clone(&self.begun), Arc::clone(&self.release));
        Box::pin(async move {
            if request.uri().path() == "/wait" {
                begun.notify_one();
                release.notified().await;
            }
            match request.into_body().collect(1000).await {
                Ok(bytes) => Response::new(Body::full(bytes)),
                Err(error) => Problem::from(error).into_response(),
            }
        })
    }
}

struct Node {
    address: SocketAddr,
    service: Arc<Gated>,
    stop: Trigger,
    ended: JoinHandle<Drained>,
}

async fn node(limits: Limits) -> Node {
    let listener = TcpAcceptor::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let address = listener.address().unwrap();
    let service = Arc::new(Gated::default());
    let (stop, heard) = shutdown();
    let shared: Arc<dyn HttpService> = Arc::clone(&service) as Arc<dyn HttpService>;
    let ended = tokio::spawn(async move {
        let workers = Workers::start("test", 2).unwrap();
        let drained = serve_clients(listener, &workers, shared, limits, heard).await;
        tokio::task::spawn_blocking(|| workers.stop())
            .await
            .unwrap();
        drained
    });
    Node {
        address,
        service,
        stop,
        ended,
    }
}

impl Node {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn begin(&self, request: &str) -> TcpStream {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }
}

async fn rest(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    String::from_utf8(bytes).unwrap()
}

const ECHO: &str = "POST / HTTP/1.1\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello";
const WAIT: &str = "POST /wait HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello";

#[tokio::test]
async fn serves_many_clients_on_its_workers() {
    let node = node(Limits::default()).await;
    let mut streams = Vec::new();
    for _ in 0..50 {
        streams.push(node.begin(ECHO).await);
    }
    for stream in streams {
        assert!(rest(stream).await.ends_with("hello"));
    }
    node.stop.fire();
    assert_eq!(node.ended.await.unwrap(), Drained::Finished);
}

#[tokio::test]
async fn shows_the_refusal_to_a_client_that_first_sends_its_whole_large_body() {
    let node = node(Limits::default()).await;
    let bytes = 16 << 20;
    let head = format!("PUT / HTTP/1.1\r\nconnection: close\r\ncontent-length: {bytes}\r\n\r\n");
    let mut stream = node.begin(&head).await;
    stream
        .write_all(&vec![0; bytes])
        .await
        .expect("the body is taken to its end");
    assert!(rest(stream).await.starts_with("HTTP/1.1 413 "));
}

#[tokio::test]
async fn answers_what_is_under_way_before_it_stops() {
    let node = node(Limits::default()).await;
    let idle = node.connect().await;
    let waiting = node.begin(WAIT).await;
    node.service.begun.notified().await;
    node.stop.fire();
    assert_eq!(rest(idle).await, "");
    assert!(
        TcpStream::connect(node.address).await.is_err(),
        "nobody listens any more"
    );
    node.service.release.notify_one();
    let answer = rest(waiting).await;
    assert!(answer.ends_with("hello"), "{answer}");
    assert_eq!(node.ended.await.unwrap(), Drained::Finished);
}

#[tokio::test]
async fn cuts_what_does_not_finish_in_time() {
    let limits = Limits {
        drain_time_max: Duration::from_millis(50),
        ..Limits::default()
    };
    let node = node(limits).await;
    let waiting = node.begin(WAIT).await;
    node.service.begun.notified().await;
    node.stop.fire();
    assert_eq!(node.ended.await.unwrap(), Drained::Cut { connections: 1 });
    assert_eq!(rest(waiting).await, "");
}

#[tokio::test]
async fn tells_a_client_past_the_most_connections_that_it_is_full() {
    let node = node(Limits {
        connections_max: 1,
        ..Limits::default()
    })
    .await;
    let waiting = node.begin(WAIT).await;
    node.service.begun.notified().await;
    let refused = rest(node.begin(ECHO).await).await;
    assert!(
        refused.starts_with("HTTP/1.1 429 Too Many Requests\r\n"),
        "{refused}"
    );
    assert!(refused.contains("\"code\":\"overloaded\""), "{refused}");
    node.service.release.notify_one();
    node.stop.fire();
    assert!(rest(waiting).await.ends_with("hello"));
}
