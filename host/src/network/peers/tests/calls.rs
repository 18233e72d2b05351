//! This is how messages travel while links stand.

use super::super::{PeerStream, Shared};
use super::{SERVER, Told, UP, call, identity, links_over, piped, soon, spawn_call, tcp_server};
use crate::network::answers::{AnswerBody, Answers};
use crate::network::dial::{STREAM_PATH, hello_frame};
use crate::network::frame::{Decoder, Frame, Kind};
use crate::network::{
    Body, Cause, Hello, LinkError, LinkState, PROTOCOL, PeerService, Priority, Refusal,
    TcpConnector, shutdown,
};
use bytes::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use soros_core::epoch::Epoch;
use soros_core::id::NodeId;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::Instant;

#[tokio::test]
async fn answers_many_callers_at_once() {
    let (_server, address) = tcp_server().await;
    let (links, _) = links_over(TcpConnector);
    links.set_address(SERVER, &address);
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..64 {
        let links = links.clone();
        callers.spawn(async move {
            for number in 0..50 {
                let text = format!("{caller}:{number}");
                assert_eq!(call(&links, &text).await, Ok(Bytes::from(text)));
            }
        });
    }
    while let Some(ended) = callers.join_next().await {
        ended.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn writes_many_messages_at_once() {
    let (pipes, server, links, _) = piped();
    call(&links, "warm").await.unwrap();
    server.service.release.add_permits(1000);
    let before = pipes.writes.load(Ordering::Relaxed);
    let callers: Vec<_> = (0..1000)
        .map(|n| spawn_call(&links, Bytes::from(format!("wait {n}"))))
        .collect();
    for caller in callers {
        caller.await.unwrap().unwrap();
    }
    let writes = pipes.writes.load(Ordering::Relaxed) - before;
    assert!(writes < 50, "{writes} writes for 1,000 messages");
}

#[tokio::test(start_paused = true)]
async fn bounds_what_waits_for_a_peer_that_is_stuck_and_spares_the_background() {
    let (_, server, links, heard) = piped();
    heard.state(UP).await;
    let payload = Bytes::from([b"wait".to_vec(), vec![0; 4 << 10]].concat());
    let mut callers = Vec::new();
    for _ in 0..20_000 {
        callers.push(spawn_call(&links, payload.clone()));
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let load = links.loads().remove(0);
    assert!(load.queued <= 8 << 10 && load.waiting < 11_000, "{load:?}");
    let background = links
        .call(
            SERVER,
            Bytes::from_static(b"repair"),
            soon(),
            Priority::Background,
        )
        .await;
    assert_eq!(background, Ok(Bytes::from_static(b"repair")));
    server.service.release.add_permits(20_000);
    let (mut answered, mut busy) = (0, 0);
    for caller in callers {
        match caller.await.unwrap() {
            Ok(_) => answered += 1,
            Err(LinkError::Busy) => busy += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(
        answered >= 8 << 10 && busy > 5_000,
        "{answered} answered, {busy} busy"
    );
}

#[tokio::test(start_paused = true)]
async fn lets_small_messages_pass_a_large_one() {
    let (_pipes, server, links, heard) = piped();
    heard.state(UP).await;
    server.service.release.add_permits(1);
    let large = Bytes::from([b"wait".to_vec(), vec![7; 40 << 20]].concat());
    let caller = spawn_call(&links, large.clone());
    let mut passed = 0;
    while !caller.is_finished() {
        call(&links, "small").await.unwrap();
        passed += 1;
    }
    assert_eq!(caller.await.unwrap(), Ok(large));
    assert!(passed > 40, "{passed} small messages passed the large one");
}

#[tokio::test(start_paused = true)]
async fn shows_epochs_both_ways_and_delivers_what_wants_no_answer() {
    let (_pipes, server, links, heard) = piped();
    links
        .send(SERVER, Bytes::from_static(b"note"), Priority::Background)
        .unwrap();
    call(&links, "note").await.unwrap();
    assert_eq!(
        heard.epochs.lock().unwrap().last(),
        Some(&(SERVER, Epoch(5)))
    );
    while server.service.received.lock().unwrap().len() < 2 {
        server.service.begun.notified().await;
    }
    assert_eq!(
        server.service.epochs.lock().unwrap()[0],
        (NodeId(1), Epoch(4))
    );
    let received = server.service.received.lock().unwrap();
    let by = |priority| {
        received
            .iter()
            .find(|one| one.priority == priority)
            .unwrap()
    };
    assert_eq!(by(Priority::Background).deadline, None);
    let deadline = by(Priority::Foreground).deadline.unwrap();
    assert!(deadline <= soon() && deadline + Duration::from_secs(1) > soon());
}

#[tokio::test(start_paused = true)]
async fn tells_the_caller_that_the_handler_failed() {
    let (_pipes, _server, links, _) = piped();
    assert_eq!(
        call(&links, "panic").await,
        Err(LinkError::Unknown(Cause::Failed))
    );
    assert_eq!(call(&links, "x").await, Ok(Bytes::from_static(b"x")));
}

#[tokio::test(start_paused = true)]
async fn hears_why_it_is_refused() {
    let (_pipes, server, links, heard) = piped();
    heard.state(UP).await;
    *server.service.refusal.lock().unwrap() = Some(Refusal::Twin);
    links.set_address(SERVER, "pipe:2");
    heard.state(LinkState::Refused(Refusal::Twin)).await;
    assert_eq!(
        call(&links, "x").await,
        Err(LinkError::NotSent(Cause::Down))
    );
    *server.service.refusal.lock().unwrap() = None;
    heard.state(UP).await;

    links.set_address(NodeId(3), "pipe:1");
    heard.state(LinkState::Refused(Refusal::WrongNode)).await;
}

#[tokio::test(start_paused = true)]
async fn reaches_whoever_listens_at_an_address() {
    let (_pipes, server, links, _) = piped();
    let call = |text: &'static str| links.call_address("pipe:1", Bytes::from(text), soon());
    let (peer, answer) = call("hello").await.unwrap();
    assert_eq!(
        (peer, answer),
        (identity(SERVER), Bytes::from_static(b"hello"))
    );
    *server.service.refusal.lock().unwrap() = Some(Refusal::NotReady);
    assert_eq!(
        call("x").await,
        Err(LinkError::NotSent(Cause::Refused(Refusal::NotReady)))
    );
}

#[tokio::test]
async fn answers_what_is_no_peer_with_a_problem_or_a_close() {
    let (_server, address) = tcp_server().await;
    let mut raw = tokio::net::TcpStream::connect(&address).await.unwrap();
    raw.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut bytes = Vec::new();
    let _ = raw.read_to_end(&mut bytes).await;

    let io = TokioIo::new(tokio::net::TcpStream::connect(&address).await.unwrap());
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
        .await
        .unwrap();
    let _connection = tokio::spawn(connection);
    let junk = hello_frame(b"junk");
    let long = Bytes::from_static(&[0xff; 100]);
    for (path, body, status) in [
        ("/", Bytes::new(), 404),
        (STREAM_PATH, Bytes::new(), 400),
        (STREAM_PATH, junk, 400),
        (STREAM_PATH, long, 400),
    ] {
        let request = http::Request::post(format!("http://n{path}"));
        let request = request.body(Body::full(body)).unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn refuses_a_message_whose_deadline_has_passed_before_it_was_begun() {
    let service = Arc::<Told>::default();
    let (_stop, heard) = shutdown();
    let (running, _ended) = mpsc::channel(1);
    let shared = Arc::new(Shared {
        service: Arc::clone(&service) as Arc<dyn PeerService>,
        epoch: Arc::default(),
        stop: heard,
        running,
    });
    let from = identity(NodeId(1));
    let hello = Hello {
        protocol: PROTOCOL,
        from,
        to: None,
        priority: Priority::Foreground,
    };
    let answers = Arc::new(Answers::new(Bytes::new(), 8));
    let stream = PeerStream {
        shared,
        answers: Arc::clone(&answers),
        hello,
    };
    let arrived = Instant::now();
    tokio::time::advance(Duration::from_millis(200)).await;
    for (millis_left, id) in [(100, 1), (300, 2)] {
        let payload = Bytes::from_static(b"note");
        let frame = Frame {
            kind: Kind::Message,
            id,
            epoch: Epoch(1),
            millis_left,
            payload,
        };
        let place = answers.place(0).await.unwrap();
        stream.begin(frame, place, arrived);
    }
    assert_eq!(service.received.lock().unwrap().len(), 1);
    let mut body = AnswerBody {
        answers,
        epoch: Arc::default(),
    };
    let mut decoder = Decoder::default();
    for _ in 0..2 {
        let chunk = std::future::poll_fn(|context| body.poll_frame(context)).await;
        decoder.push(chunk.unwrap().into_data().unwrap());
    }
    let first = decoder.next_frame().unwrap().unwrap();
    assert_eq!((first.kind, first.id), (Kind::NotTaken, 1));
    let second = decoder.next_frame().unwrap().unwrap();
    assert_eq!((second.kind, second.id), (Kind::Message, 2));
}
