//! This is what a call to another node costs over a link, against one HTTP/2 request for each
//! call, in the same run: 64 calls in flight over one connection on loopback, 100 bytes each way.

#[path = "../core/benches/versus.rs"]
mod versus;

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use soros_core::epoch::Epoch;
use soros_core::id::{ClusterId, Incarnation, NodeId};
use soros_host::network::{
    BoxFuture, Hello, Identity, LinkEvents, LinkParts, LinkState, Links, PeerService, Priority,
    Received, Refusal, TcpAcceptor, Workers, serve_peers, shutdown,
};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use versus::Versus;

const IN_FLIGHT: u64 = 64;
const PAYLOAD: Bytes = Bytes::from_static(&[7; 100]);
const SERVER: NodeId = NodeId(2);

/// Answers with what was asked.
struct Echo;

impl PeerService for Echo {
    fn on_hello(&self, _: &Hello) -> Result<Identity, Refusal> {
        Ok(identity(SERVER))
    }

    fn on_frame(&self, message: Received) -> BoxFuture<'static, Bytes> {
        Box::pin(std::future::ready(message.payload))
    }

    fn on_epoch(&self, _: NodeId, _: Epoch) {}
}

/// Hears nothing.
struct Deaf;

impl LinkEvents for Deaf {
    fn on_epoch(&self, _: NodeId, _: Epoch) {}

    fn on_link(&self, _: NodeId, _: LinkState) {}
}

fn identity(node: NodeId) -> Identity {
    let cluster = Some(ClusterId(1));
    Identity {
        node,
        incarnation: Incarnation(1),
        cluster,
    }
}

async fn link_server() -> SocketAddr {
    let listener = TcpAcceptor::bind(([127, 0, 0, 1], 0).into())
        .await
        .expect("a free port");
    let address = listener.address().expect("an address");
    let (stop, heard) = shutdown();
    tokio::spawn(async move {
        let epoch = Arc::new(AtomicU64::new(1));
        serve_peers(listener, Arc::new(Echo), epoch, Duration::ZERO, heard).await;
        drop(stop);
    });
    address
}

async fn request_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).expect("no delay");
            let service = hyper::service::service_fn(|request: http::Request<Incoming>| async {
                let body = request
                    .into_body()
                    .collect()
                    .await
                    .expect("a body")
                    .to_bytes();
                Ok::<_, Infallible>(http::Response::new(Full::new(body)))
            });
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(builder.serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

/// How long `calls` calls take, of which some are always in flight.
fn time<F>(runtime: &Runtime, calls: u64, call: impl Fn() -> F) -> Duration
where
    F: Future<Output = ()> + Send + 'static,
{
    runtime.block_on(async {
        let since = Instant::now();
        let mut callers = tokio::task::JoinSet::new();
        for caller in 0..IN_FLIGHT {
            let share = calls / IN_FLIGHT + u64::from(caller < calls % IN_FLIGHT);
            let calls: Vec<F> = (0..share).map(|_| call()).collect();
            callers.spawn(async move {
                for call in calls {
                    call.await;
                }
            });
        }
        while let Some(ended) = callers.join_next().await {
            ended.expect("a caller");
        }
        since.elapsed()
    })
}

/// The client's end of the links to `address`.
fn links_to(runtime: &Runtime, address: SocketAddr) -> Links {
    let identity = identity(NodeId(1));
    let links = runtime
        .block_on(async { Links::new(LinkParts::tcp(identity, Arc::default(), Arc::new(Deaf))) });
    links.set_address(SERVER, &address.to_string());
    links
}

async fn call(links: Links) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    let answer = links.call(SERVER, PAYLOAD, deadline, Priority::Foreground);
    assert_eq!(answer.await.expect("an answer").len(), PAYLOAD.len());
}

async fn request_sender(address: SocketAddr) -> SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(address).await.expect("a connection");
    stream.set_nodelay(true).expect("no delay");
    let handshake =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (sender, connection) = handshake.await.expect("HTTP/2");
    tokio::spawn(connection);
    sender
}

async fn request(mut sender: SendRequest<Full<Bytes>>) {
    let request = http::Request::post("http://peer/").body(Full::new(PAYLOAD));
    let response = sender.send_request(request.expect("a request")).await;
    let body = response.expect("an answer").into_body().collect().await;
    assert_eq!(body.expect("a body").to_bytes().len(), PAYLOAD.len());
}

fn calls(criterion: &mut Criterion) {
    let workers = Workers::start("server", 1).expect("a thread");
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let of_requests = runtime.block_on(workers.spawn(request_server()));
    let of_links = runtime.block_on(workers.spawn(link_server()));
    let sender = runtime.block_on(request_sender(of_requests.expect("a server")));
    let links = links_to(&runtime, of_links.expect("a server"));
    let mut group = Versus::new(criterion, "a call to another node");
    group.time("a request of its own", |count| {
        time(&runtime, count, || request(sender.clone()))
    });
    group.time("a frame on a link", |count| {
        time(&runtime, count, || call(links.clone()))
    });
    group.finish();
    workers.stop();
}

criterion_group!(benches, calls);
criterion_main!(benches);
