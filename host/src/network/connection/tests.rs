//! This is how one connection behaves, byte by byte, over a pipe and in virtual time.

use super::*;
use crate::network::{Request, shutdown};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::{sleep, timeout};

/// The most bytes that the test service takes.
const LIMIT: usize = 1000;

/// How long its page is.
const PAGE_BYTES: usize = 2 << 20;

/// Answers by path.
struct ByPath;

impl HttpService for ByPath {
    fn call(&self, request: Request) -> BoxFuture<'static, Response> {
        let path = request.uri().path().to_owned();
        Box::pin(async move {
            match path.as_str() {
                "/echo" => match request.into_body().collect(LIMIT).await {
                    Ok(bytes) => Response::new(Body::full(bytes)),
                    Err(error) => Problem::from(error).into_response(),
                },
                "/page" => Response::new(Body::full("x".repeat(PAGE_BYTES))),
                "/early" => Problem::new(Code::BadKey, "early").into_response(),
                "/stream" => stream(true),
                "/broken" => stream(false),
                "/panic" => panic!("a bug"),
                _ => Problem::new(Code::NoSuchRoute, path).into_response(),
            }
        })
    }
}

fn stream(ends: bool) -> Response {
    let (sender, body) = Body::channel(1);
    tokio::spawn(async move {
        let _ = sender.send(Bytes::from_static(b"one")).await;
        let _ = sender.send(Bytes::from_static(b"two")).await;
        if ends {
            let _ = sender.end().await;
        }
    });
    Response::new(body)
}

/// A raw client of a connection that is being served.
struct Client {
    io: DuplexStream,
    drain: crate::network::Trigger,
    _cut: crate::network::Trigger,
    served: tokio::task::JoinHandle<()>,
}

impl Client {
    fn new() -> Client {
        Client::with(Limits {
            date_header: false,
            ..Limits::default()
        })
    }

    fn with(limits: Limits) -> Client {
        Client::of(&Arc::new(Serving::new(Arc::new(ByPath), &limits)))
    }

    /// A client of a node that serves others, too.
    fn of(serving: &Arc<Serving>) -> Client {
        let (io, other) = duplex(64 << 10);
        let ((drain, drain_heard), (cut, cut_heard)) = (shutdown(), shutdown());
        let serving = Arc::clone(serving);
        let served =
            tokio::spawn(async move { serving.serve(other, drain_heard, cut_heard).await });
        Client {
            io,
            drain,
            _cut: cut,
            served,
        }
    }

    async fn send(&mut self, text: &str) {
        self.io.write_all(text.as_bytes()).await.unwrap();
    }

    /// The next answer: status line and headers, then as much body as they announce.
    async fn answer(&mut self) -> String {
        let mut text = String::new();
        while !text.ends_with("\r\n\r\n") {
            text.push(char::from(self.io.read_u8().await.expect("an answer")));
        }
        let length = text
            .split_once("content-length: ")
            .map_or("0", |(_, rest)| rest);
        let length: usize = length.lines().next().unwrap().parse().unwrap();
        let mut body = vec![0; length];
        self.io.read_exact(&mut body).await.unwrap();
        text + &String::from_utf8(body).unwrap()
    }

    /// All bytes until the connection is closed, and how long that took.
    async fn rest(&mut self) -> (String, Duration) {
        let since = Instant::now();
        let mut bytes = Vec::new();
        self.io.read_to_end(&mut bytes).await.unwrap();
        (String::from_utf8(bytes).unwrap(), since.elapsed())
    }
}

#[tokio::test(start_paused = true)]
async fn answers_one_request_after_the_other() {
    let mut client = Client::new();
    for _ in 0..3 {
        client
            .send("POST /echo HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello")
            .await;
        let answer = client.answer().await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn refuses_a_large_body_before_it_is_sent_and_goes_on_when_it_was() {
    let mut client = Client::new();
    client
        .send("POST /echo HTTP/1.1\r\ncontent-length: 1001\r\n\r\n")
        .await;
    let answer = client.answer().await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(
        answer.contains("\"code\":\"value-too-large\",\"limit\":1000"),
        "{answer}"
    );
    client.send(&"x".repeat(1001)).await;
    client
        .send("POST /echo HTTP/1.1\r\ncontent-length: 2\r\n\r\nok")
        .await;
    assert!(client.answer().await.ends_with("ok"));
}

#[tokio::test(start_paused = true)]
async fn refuses_a_large_body_without_an_announced_length_by_its_count() {
    let mut client = Client::new();
    client
        .send("POST /echo HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    let chunk = format!("258\r\n{}\r\n", "x".repeat(0x258));
    client.send(&chunk).await;
    client.send(&chunk).await;
    let answer = client.answer().await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("\"limit\":1000"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn answers_408_and_closes_when_a_body_stalls() {
    let mut client = Client::new();
    client
        .send("POST /echo HTTP/1.1\r\ncontent-length: 100\r\n\r\nhalf")
        .await;
    let (answer, took) = client.rest().await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    assert!((15..20).contains(&took.as_secs()), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn answers_408_to_a_body_that_trickles_but_not_to_one_that_keeps_the_pace() {
    let mut slow = Client::new();
    slow.send("POST /echo HTTP/1.1\r\ncontent-length: 900\r\n\r\n")
        .await;
    let trickle = async {
        for _ in 0..20 {
            slow.send("x").await;
            sleep(Duration::from_secs(1)).await;
        }
        slow.answer().await
    };
    assert!(trickle.await.starts_with("HTTP/1.1 408 "));

    let mut steady = Client::new();
    steady
        .send("POST /echo HTTP/1.1\r\ncontent-length: 900\r\n\r\n")
        .await;
    for _ in 0..9 {
        sleep(Duration::from_millis(1500)).await;
        steady.send(&"x".repeat(100)).await;
    }
    assert!(steady.answer().await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test(start_paused = true)]
async fn closes_a_connection_whose_headers_never_end() {
    let mut client = Client::new();
    sleep(Duration::from_secs(30)).await;
    client.send("GET /echo HTTP/1.1\r\nx-a: ").await;
    let trickle = async {
        for _ in 0..100 {
            if client.io.write_all(b"a").await.is_err() {
                break;
            }
            sleep(Duration::from_millis(500)).await;
        }
    };
    let since = Instant::now();
    trickle.await;
    let took = since.elapsed();
    assert!((14..17).contains(&took.as_secs()), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn closes_a_connection_without_a_request_after_a_while() {
    let mut client = Client::new();
    client
        .send("POST /echo HTTP/1.1\r\ncontent-length: 2\r\n\r\nok")
        .await;
    client.answer().await;
    let (rest, took) = client.rest().await;
    assert_eq!((rest.as_str(), took.as_secs()), ("", 75));
}

#[tokio::test(start_paused = true)]
async fn refuses_many_and_large_header_fields_in_our_words() {
    let many: Vec<String> = (0..129).map(|n| format!("x-{n}: v\r\n")).collect();
    let large = format!("x-large: {}\r\n", "v".repeat(64 << 10));
    for headers in [many.concat(), large] {
        let mut client = Client::new();
        client
            .send(&format!("GET /echo HTTP/1.1\r\n{headers}\r\n"))
            .await;
        let answer = client.answer().await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
        assert!(
            answer.contains("\"code\":\"headers-too-large\""),
            "{answer}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn closes_what_is_not_http() {
    for junk in [
        "\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n",
        "hello\r\n\r\n",
        "GET / FTP/1\r\n\r\n",
    ] {
        let mut client = Client::new();
        client.send(junk).await;
        let (answer, took) = client.rest().await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 400 "),
            "{answer}"
        );
        assert_eq!(took, Duration::ZERO);
    }
}

#[tokio::test(start_paused = true)]
async fn asks_for_an_expected_body_only_when_it_is_read() {
    let mut taken = Client::new();
    let head = "HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n";
    taken.send(&format!("POST /echo {head}")).await;
    assert_eq!(taken.answer().await, "HTTP/1.1 100 Continue\r\n\r\n");
    taken.send("hello").await;
    assert!(taken.answer().await.ends_with("hello"));

    let mut refused = Client::new();
    refused.send(&format!("POST /early {head}")).await;
    let (answer, took) = refused.rest().await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert_eq!(took, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn answers_head_with_a_length_and_no_body() {
    let mut client = Client::new();
    client
        .send("HEAD /echo HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello")
        .await;
    client
        .send("POST /echo HTTP/1.1\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok")
        .await;
    let (text, _) = client.rest().await;
    assert!(
        text.starts_with("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n"),
        "{text}"
    );
    assert!(!text.contains("hello"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn turns_a_panic_into_an_answer_and_goes_on() {
    let mut client = Client::new();
    client.send("GET /panic HTTP/1.1\r\n\r\n").await;
    let answer = client.answer().await;
    assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
    assert!(
        answer.contains("\"code\":\"internal\",\"id\":\""),
        "{answer}"
    );
    assert!(!answer.contains("a bug"), "{answer}");
    client
        .send("POST /echo HTTP/1.1\r\ncontent-length: 2\r\n\r\nok")
        .await;
    assert!(client.answer().await.ends_with("ok"));
}

#[tokio::test(start_paused = true)]
async fn streams_an_answer_and_shows_when_it_breaks_off() {
    let mut client = Client::new();
    client
        .send("GET /stream HTTP/1.1\r\nconnection: close\r\n\r\n")
        .await;
    let (answer, _) = client.rest().await;
    assert!(
        answer.ends_with("3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"),
        "{answer}"
    );

    let mut client = Client::new();
    client
        .send("GET /broken HTTP/1.1\r\nconnection: close\r\n\r\n")
        .await;
    let (answer, _) = client.rest().await;
    assert!(!answer.ends_with("0\r\n\r\n"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn refuses_bodies_past_the_memory_for_all_of_them() {
    let limits = Limits {
        body_bytes_max: 100,
        ..Limits::default()
    };
    let mut client = Client::with(limits);
    let body = "x".repeat(101);
    client
        .send(&format!(
            "POST /echo HTTP/1.1\r\ncontent-length: 101\r\n\r\n{body}"
        ))
        .await;
    let answer = client.answer().await;
    assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
    assert!(answer.contains("retry-after: 1"), "{answer}");
    client
        .send(&format!(
            "POST /echo HTTP/1.1\r\ncontent-length: 100\r\n\r\n{}",
            &body[1..]
        ))
        .await;
    assert!(client.answer().await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test(start_paused = true)]
async fn ends_an_idle_connection_at_once_when_it_drains() {
    let mut client = Client::new();
    client
        .send("POST /echo HTTP/1.1\r\ncontent-length: 2\r\n\r\nok")
        .await;
    client.answer().await;
    client.drain.fire();
    let (rest, took) = client.rest().await;
    assert_eq!((rest.as_str(), took), ("", Duration::ZERO));
    client.served.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn gives_up_a_client_that_never_reads() {
    let mut client = Client::new();
    let body = "x".repeat(1000);
    let request = format!("POST /echo HTTP/1.1\r\ncontent-length: 1000\r\n\r\n{body}");
    let since = Instant::now();
    let flood = async { while client.io.write_all(request.as_bytes()).await.is_ok() {} };
    timeout(Duration::from_mins(5), flood)
        .await
        .expect("the connection ends");
    assert!(
        since.elapsed() >= Duration::from_mins(1),
        "{:?}",
        since.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn speaks_http2_to_who_begins_with_it() {
    let Client {
        io,
        drain,
        _cut,
        served,
    } = Client::new();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(io))
            .await
            .unwrap();
    let connection = tokio::spawn(connection);
    let mut ask = |method: &str, path: &str, body: Vec<u8>| {
        let request = http::Request::builder()
            .method(method)
            .uri(format!("http://n{path}"));
        sender.send_request(request.body(Body::full(body)).unwrap())
    };
    let (small, large, head, panic, many) = (
        ask("POST", "/echo", b"hello".to_vec()),
        ask("POST", "/echo", vec![0; 1 << 20]),
        ask("HEAD", "/early", Vec::new()),
        ask("GET", "/panic", Vec::new()),
        ask("GET", "/stream", Vec::new()),
    );
    assert_eq!(read(small.await.unwrap()).await, (200, "hello".to_owned()));
    let (status, text) = read(large.await.unwrap()).await;
    assert!(
        status == 413 && text.contains("\"limit\":1000"),
        "{status} {text}"
    );
    let head = head.await.unwrap();
    assert!(
        head.headers()[CONTENT_LENGTH]
            .to_str()
            .unwrap()
            .parse::<usize>()
            .unwrap()
            > 50
    );
    assert_eq!(read(head).await, (400, String::new()));
    assert_eq!(read(panic.await.unwrap()).await.0, 500);
    assert_eq!(read(many.await.unwrap()).await, (200, "onetwo".to_owned()));
    drop((sender, drain));
    connection.await.unwrap().unwrap();
    served.await.unwrap();
}

async fn read(response: http::Response<Incoming>) -> (u16, String) {
    use http_body_util::BodyExt;
    let status = response.status().as_u16();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(bytes.to_vec()).unwrap())
}

#[tokio::test(start_paused = true)]
async fn closes_http2_headers_that_never_end() {
    let mut client = Client::new();
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    // HEADERS of stream 1 with one field, `:method: GET`, and no END_HEADERS.
    let headers = [0, 0, 1, 1, 0, 0, 0, 0, 1, 0x82];
    client
        .io
        .write_all(&[&settings[..], &headers[..]].concat())
        .await
        .unwrap();
    let since = Instant::now();
    let mut bytes = Vec::new();
    client.io.read_to_end(&mut bytes).await.unwrap();
    let took = since.elapsed();
    assert!((10..17).contains(&took.as_secs()), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn answers_a_path_past_what_http_takes_without_a_body() {
    let mut client = Client::new();
    client
        .send(&format!("GET /{} HTTP/1.1\r\n\r\n", "k".repeat(70_000)))
        .await;
    let (answer, _) = client.rest().await;
    assert!(answer.starts_with("HTTP/1.1 414 "), "{answer}");
}

#[test]
fn takes_128_fields_of_64_kib_and_no_more() {
    let mut headers = HeaderMap::new();
    for number in 0..HEADER_FIELDS_MAX {
        headers.insert(
            http::HeaderName::try_from(format!("x-{number}")).unwrap(),
            HeaderValue::from_static("v"),
        );
    }
    assert_eq!(check_headers(&headers), Ok(()));
    headers.insert("one-more", HeaderValue::from_static("v"));
    assert_eq!(
        check_headers(&headers).unwrap_err().code(),
        Code::HeadersTooLarge
    );

    let value = |bytes: usize| HeaderValue::try_from("v".repeat(bytes)).unwrap();
    let exact = HeaderMap::from_iter([(EXPECT, value(HEADER_BYTES_MAX - 10))]);
    assert_eq!(check_headers(&exact), Ok(()));
    let above = HeaderMap::from_iter([(EXPECT, value(HEADER_BYTES_MAX - 9))]);
    assert_eq!(
        check_headers(&above).unwrap_err().code(),
        Code::HeadersTooLarge
    );
}

#[tokio::test(start_paused = true)]
async fn refuses_reads_past_the_memory_for_answers_that_nobody_takes() {
    let limits = Limits {
        answer_bytes_max: PAGE_BYTES,
        ..Limits::default()
    };
    let serving = Arc::new(Serving::new(Arc::new(ByPath), &limits));
    let (mut slow, mut other) = (Client::of(&serving), Client::of(&serving));
    slow.send("GET /page HTTP/1.1\r\n\r\n").await;
    assert_eq!(slow.io.read_u8().await.expect("an answer begins"), b'H');
    other.send("GET /page HTTP/1.1\r\n\r\n").await;
    let answer = other.answer().await;
    assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
    assert!(answer.contains("retry-after: 1"), "{answer}");
    other
        .send("POST /echo HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello")
        .await;
    let answer = other.answer().await;
    assert!(answer.ends_with("hello"), "what is no read is answered");
    let mut page = vec![0; PAGE_BYTES];
    slow.io.read_exact(&mut page).await.expect("a page");
    let Client { io, served, .. } = slow;
    drop(io);
    served.await.expect("it ends with its client");
    other.send("GET /page HTTP/1.1\r\n\r\n").await;
    assert!(other.answer().await.starts_with("HTTP/1.1 200 "));
}

/// In HTTP/2 one client can ask for a great deal and take none of it.
#[tokio::test(start_paused = true)]
async fn serves_others_while_a_client_takes_nothing_of_many_answers() {
    const ASKED: usize = 32;
    let limits = Limits {
        answer_bytes_max: ASKED / 2 * PAGE_BYTES,
        ..Limits::default()
    };
    let serving = Arc::new(Serving::new(Arc::new(ByPath), &limits));
    let (greedy, mut other) = (Client::of(&serving), Client::of(&serving));
    let (mut sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(1)
        .initial_connection_window_size(1)
        .handshake(TokioIo::new(greedy.io))
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let asked: Vec<_> = (0..ASKED)
        .map(|_| {
            let request = http::Request::get("http://n/page").body(Body::empty());
            sender.send_request(request.unwrap())
        })
        .collect();
    let answers = futures_util::future::try_join_all(asked).await.unwrap();
    let taken = answers.iter().filter(|answer| answer.status() == 200);
    assert_eq!(taken.count(), ASKED / 2 / 8, "its part of all");
    let refused = answers.iter().find(|answer| answer.status() != 200);
    assert_eq!(refused.map(|answer| answer.status().as_u16()), Some(429));
    other.send("GET /page HTTP/1.1\r\n\r\n").await;
    assert!(other.answer().await.starts_with("HTTP/1.1 200 "));
    connection.abort();
}
