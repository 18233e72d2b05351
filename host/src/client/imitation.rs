//! This is a node imitated for tests: a server that answers as it is told and notes what it was
//! asked, by the contract of the API and nothing else.

use super::NodeUrl;
use crate::network::problem::{Code, Problem};
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::net::{TcpListener, TcpSocket};

/// A request as the imitation got it.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Asked {
    /// `GET /v1/kv/default/k`.
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.target)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .get(name)
            .map(|value| value.to_str().expect("visible ASCII"))
    }
}

/// An answer of the imitation.
pub(crate) enum Say {
    /// This.
    This(Response<Full<Bytes>>),
    /// Nothing: the connection breaks.
    Hangup,
    /// Nothing: it hangs.
    Silence,
}

type Script = dyn Fn(&Asked) -> Say + Send + Sync;

/// A node that is none.
pub(crate) struct Imitation {
    pub(crate) url: NodeUrl,
    state: Arc<State>,
}

struct State {
    script: Box<Script>,
    asked: Mutex<Vec<Asked>>,
    connections: AtomicUsize,
}

impl Imitation {
    /// Starts an imitation that answers by `script`; it ends with the test's runtime.
    pub(crate) async fn start(script: impl Fn(&Asked) -> Say + Send + Sync + 'static) -> Imitation {
        Imitation::start_at("127.0.0.1:0", script).await
    }

    /// Starts an imitation that listens at `address`.
    pub(crate) async fn start_at(
        address: &str,
        script: impl Fn(&Asked) -> Say + Send + Sync + 'static,
    ) -> Imitation {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(State {
            script: Box::new(script),
            asked: Mutex::default(),
            connections: AtomicUsize::new(0),
        });
        tokio::spawn(accept(listener, Arc::clone(&state)));
        Imitation {
            url: format!("http://{address}").parse().expect("a URL"),
            state,
        }
    }

    /// What it was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.state.asked.lock().expect("no test panicked").clone()
    }

    /// The lines of what it was asked so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.asked().iter().map(Asked::line).collect()
    }

    /// How many connections were made to it.
    pub(crate) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::Relaxed)
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    while let Ok((stream, _)) = listener.accept().await {
        state.connections.fetch_add(1, Ordering::Relaxed);
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(Arc::clone(&state), request));
            let server = auto::Builder::new(TokioExecutor::new());
            // A client that goes away is no fault of the imitation.
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// The service failed on purpose, so that the connection breaks.
#[derive(Debug, thiserror::Error)]
#[error("the imitation hangs up")]
struct HungUp;

async fn answer(
    state: Arc<State>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, HungUp> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| HungUp)?.to_bytes();
    let target = head
        .uri
        .path_and_query()
        .map_or("", |target| target.as_str())
        .to_owned();
    let asked = Asked {
        method: head.method.to_string(),
        target,
        headers: head.headers,
        body,
    };
    state
        .asked
        .lock()
        .expect("no test panicked")
        .push(asked.clone());
    match (state.script)(&asked) {
        Say::This(response) => Ok(response),
        Say::Hangup => Err(HungUp),
        Say::Silence => std::future::pending::<Result<_, Infallible>>()
            .await
            .map_err(|_| HungUp),
    }
}

/// An answer of `status` with these headers and this body.
pub(crate) fn say(status: u16, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Say {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    Say::This(response.body(Full::new(body.into())).expect("a response"))
}

/// An error of this code.
pub(crate) fn refuse(code: Code) -> Say {
    let problem = Problem::new(code, "The imitation says so.");
    say(
        code.status().as_u16(),
        &[("content-type", "application/problem+json")],
        problem.to_json(),
    )
}

/// A port that nobody listens on, and nobody else can, as long as this lives.
pub(crate) struct Nobody {
    pub(crate) url: NodeUrl,
    _socket: TcpSocket,
}

/// A node that nobody runs.
pub(crate) fn nobody() -> Nobody {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(([127, 0, 0, 1], 0).into()).expect("a port");
    let address = socket.local_addr().expect("an address");
    Nobody {
        url: format!("http://{address}").parse().expect("a URL"),
        _socket: socket,
    }
}
