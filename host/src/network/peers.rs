//! This is the peer listener: it takes streams of frames from other nodes, hands each message to
//! the service, many at a time, and writes the answers back as they are ready.

use super::answers::{AnswerBody, Answers, PeerBody};
use super::dial::{
    CONNECTION_WINDOW_BYTES, SEND_BUFFER_BYTES, STREAM_PATH, STREAM_WINDOW_BYTES, hello_frame,
};
use super::frame::{Assembler, Decoder, Frame, FrameError, Kind};
use super::hello::{Hello, Identity, Priority, Refusal};
use super::problem::{Code, Problem};
use super::shutdown::{Shutdown, shutdown};
use super::transport::{Accepted, Duplex, Listener, TurnedAway, accept_next};
use super::{BoxFuture, Drained, panic_text};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http2::Builder;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use soros_core::codec::{Codec, Reader};
use soros_core::epoch::Epoch;
use soros_core::id::NodeId;
use soros_core::limits::MESSAGE_BYTES_MAX;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, timeout};

/// The most connections of peers at a time, unless the service takes less.
const CONNECTIONS_MAX: u32 = 1024;
/// The most streams of a connection.
const STREAMS_MAX: u32 = 16;
/// A stream must say who speaks within this.
const HELLO_TIME_MAX: Duration = Duration::from_secs(2);
/// How many requests of a stream are under way at a time.
const FOREGROUND_PLACES: u32 = 1024;
const BACKGROUND_PLACES: u32 = 256;
/// A peer that is silent for this long, and then does not answer a ping, has gone.
const PING_AFTER: Duration = Duration::from_secs(5);
const PING_ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// A message from another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Who sent it.
    pub from: NodeId,
    /// The epoch it was sent under.
    pub epoch: Epoch,
    /// When its answer is due; `None` when no answer is wanted.
    pub deadline: Option<Instant>,
    /// Which stream it came by.
    pub priority: Priority,
    /// Its bytes.
    pub payload: Bytes,
}

/// Answers other nodes.
pub trait PeerService: Send + Sync + 'static {
    /// A node wants to send messages. The answer is who this node is.
    ///
    /// # Errors
    /// Why it may not; [`Identity::check`] knows the plain reasons.
    fn on_hello(&self, hello: &Hello) -> Result<Identity, Refusal>;

    /// A message arrived; its answer, which is not sent when none is wanted. The future runs to
    /// its end even if the connection is lost. One that is ready at once costs no task.
    fn on_frame(&self, message: Received) -> BoxFuture<'static, Bytes>;

    /// A node's frames show this epoch.
    fn on_epoch(&self, from: NodeId, epoch: Epoch);

    /// The most connections of peers at a time; each takes one file descriptor.
    fn connections_max(&self) -> u32 {
        CONNECTIONS_MAX
    }
}

/// What all peer connections share.
struct Shared {
    service: Arc<dyn PeerService>,
    epoch: Arc<AtomicU64>,
    stop: Shutdown,
    /// Held by whatever runs; the listener ends after the last.
    running: mpsc::Sender<Infallible>,
}

/// Accepts peers on the current runtime until `stop`, then lets them finish what is under way
/// within `drain_time_max`. `epoch` is what this node's answers show.
pub async fn serve_peers<L: Listener>(
    mut listener: L,
    service: Arc<dyn PeerService>,
    epoch: Arc<AtomicU64>,
    drain_time_max: Duration,
    mut stop: Shutdown,
) -> Drained {
    let (running, mut all_ended) = mpsc::channel(1);
    let connections_max = service.connections_max();
    let shared = Arc::new(Shared {
        service,
        epoch,
        stop: stop.clone(),
        running,
    });
    let places = Arc::new(Semaphore::new(connections_max as usize));
    let (cut, cut_heard) = shutdown();
    let mut turned_away = TurnedAway::default();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.wait() => break,
            accepted = accept_next(&mut listener) => accepted,
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            turned_away.tell("peers", connections_max);
            continue;
        };
        let (shared, mut cut) = (Arc::clone(&shared), cut_heard.clone());
        tokio::spawn(async move {
            match accepted.open() {
                Ok(io) => tokio::select! {
                    () = serve(io, shared) => {}
                    () = cut.wait() => {}
                },
                Err(error) => tracing::warn!(%error, "a peer could not be served"),
            }
            drop(place);
        });
    }
    drop((listener, shared));
    if timeout(drain_time_max, all_ended.recv()).await.is_ok() {
        return Drained::Finished;
    }
    let connections = connections_max as usize - places.available_permits();
    cut.fire();
    let _ = places.acquire_many(connections_max).await;
    Drained::Cut { connections }
}

/// Serves one connection to its end.
async fn serve<Io: Duplex>(io: Io, shared: Arc<Shared>) {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .max_concurrent_streams(STREAMS_MAX)
        .keep_alive_interval(PING_AFTER)
        .keep_alive_timeout(PING_ANSWER_WITHIN)
        .auto_date_header(false);
    let mut stop = shared.stop.clone();
    let service = hyper::service::service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(answer(request, shared).await) }
    });
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(io), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.wait() => {
            // The streams say goodbye by themselves, and end when they are answered.
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a peer's connection ended");
    }
}

/// Begins a stream, or says why not.
async fn answer(request: http::Request<Incoming>, shared: Arc<Shared>) -> http::Response<PeerBody> {
    if request.uri().path() != STREAM_PATH || request.method() != http::Method::POST {
        return refused(Problem::new(
            Code::NoSuchRoute,
            "This listener is for peers.",
        ));
    }
    let mut reader = FrameReader::new(request.into_body());
    let hello = match timeout(HELLO_TIME_MAX, reader.hello()).await {
        Ok(Ok(hello)) => hello,
        Ok(Err(error)) => return refused(Problem::new(Code::BadRequest, error.to_string())),
        Err(_) => return refused(Problem::new(Code::RequestTimeout, "No hello came.")),
    };
    if shared.stop.is_said() {
        return refused(Refusal::NotReady.to_problem());
    }
    let identity = match shared.service.on_hello(&hello) {
        Ok(identity) => identity,
        Err(refusal) => {
            tracing::warn!(node = %hello.from.node, %refusal, "a peer was refused");
            return refused(refusal.to_problem());
        }
    };
    let places = match hello.priority {
        Priority::Foreground => FOREGROUND_PLACES,
        Priority::Background => BACKGROUND_PLACES,
    };
    let answers = Arc::new(Answers::new(hello_frame(&identity.to_bytes()), places));
    let epoch = Arc::clone(&shared.epoch);
    let stream = PeerStream {
        shared,
        answers: Arc::clone(&answers),
        hello,
    };
    tokio::spawn(stream.run(reader));
    http::Response::new(PeerBody::Answers(AnswerBody { answers, epoch }))
}

fn refused(problem: Problem) -> http::Response<PeerBody> {
    problem.into_response().map(PeerBody::Problem)
}

/// The frames of a stream.
struct FrameReader {
    body: Incoming,
    decoder: Decoder,
    assembler: Assembler,
}

/// Why a stream cannot be read on.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Http(#[from] hyper::Error),
}

impl FrameReader {
    fn new(body: Incoming) -> FrameReader {
        FrameReader {
            body,
            decoder: Decoder::default(),
            assembler: Assembler::default(),
        }
    }

    async fn hello(&mut self) -> Result<Hello, ReadError> {
        loop {
            if let Some(frame) = self.decoder.next_frame()? {
                let is_hello = frame.kind == Kind::Hello;
                let hello = Hello::decode(&mut Reader::new(&frame.payload)).ok();
                return Ok(hello.filter(|_| is_hello).ok_or(FrameError::NoHello)?);
            }
            if !self.read().await? {
                return Err(FrameError::NoHello.into());
            }
        }
    }

    /// The next whole message that is at hand.
    fn next_message(&mut self) -> Result<Option<Frame>, FrameError> {
        while let Some(frame) = self.decoder.next_frame()? {
            if let Some(message) = self.assembler.take(frame)? {
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    /// Reads more; whether there was more. May be dropped and called again.
    async fn read(&mut self) -> Result<bool, ReadError> {
        while let Some(frame) = self.body.frame().await.transpose()? {
            if let Ok(bytes) = frame.into_data() {
                self.decoder.push(bytes);
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// One peer's stream.
struct PeerStream {
    shared: Arc<Shared>,
    answers: Arc<Answers>,
    hello: Hello,
}

impl PeerStream {
    async fn run(self, reader: FrameReader) {
        match self.read_all(reader).await {
            Ok(()) => self.answers.finish().await,
            Err(error) => {
                tracing::debug!(node = %self.hello.from.node, %error, "a peer's stream broke");
                self.answers.close();
            }
        }
    }

    /// Begins every message until the peer ends the stream. When this node stops it says goodbye,
    /// upon which the peer ends the stream.
    async fn read_all(&self, mut reader: FrameReader) -> Result<(), ReadError> {
        let mut stop = self.shared.stop.clone();
        let mut stopping = false;
        loop {
            let more = tokio::select! {
                biased;
                () = stop.wait(), if !stopping => {
                    stopping = true;
                    self.answers.push(Kind::Goodbye, 0, Bytes::new(), None);
                    continue;
                }
                more = reader.read() => more?,
            };
            if !more {
                return Ok(());
            }
            let arrived = Instant::now();
            let mut newest = Epoch::NONE;
            while let Some(message) = reader.next_message()? {
                newest = newest.max(message.epoch);
                let Some(place) = self.answers.place(message.payload.len()).await else {
                    return Ok(());
                };
                self.begin(message, place, arrived);
            }
            if newest != Epoch::NONE {
                self.shared.service.on_epoch(self.hello.from.node, newest);
            }
            tokio::task::consume_budget().await;
        }
    }

    fn begin(&self, frame: Frame, place: OwnedSemaphorePermit, arrived: Instant) {
        let Frame {
            kind,
            id,
            epoch,
            millis_left,
            payload,
        } = frame;
        if kind != Kind::Message {
            return;
        }
        let left = Duration::from_millis(u64::from(millis_left));
        let deadline = (millis_left > 0).then_some(arrived + left);
        if deadline.is_some_and(|deadline| deadline < Instant::now()) {
            self.answers
                .push(Kind::NotTaken, id, Bytes::new(), Some(place));
            return;
        }
        let (from, priority) = (self.hello.from.node, self.hello.priority);
        let message = Received {
            from,
            epoch,
            deadline,
            priority,
            payload,
        };
        let service = Arc::clone(&self.shared.service);
        let mut work = Work {
            begin: Some((service, message)),
            under: None,
        };
        let reply = Reply {
            answers: Arc::clone(&self.answers),
            id,
            wanted: deadline.is_some(),
            place,
            _running: self.shared.running.clone(),
        };
        // Most messages are answered at once; only what waits becomes a task.
        match Pin::new(&mut work).poll(&mut Context::from_waker(std::task::Waker::noop())) {
            Poll::Ready(result) => reply.send(result),
            Poll::Pending => {
                tokio::spawn(async move { reply.send(work.await) });
            }
        }
    }
}

/// Where an answer goes.
struct Reply {
    answers: Arc<Answers>,
    id: u64,
    wanted: bool,
    place: OwnedSemaphorePermit,
    _running: mpsc::Sender<Infallible>,
}

impl Reply {
    fn send(self, result: Result<Bytes, Panicked>) {
        if !self.wanted {
            return;
        }
        let (kind, payload) = match result {
            Ok(payload) if payload.len() <= MESSAGE_BYTES_MAX => (Kind::Message, payload),
            Ok(payload) => {
                tracing::error!(bytes = payload.len(), "an answer to a peer is too long");
                (Kind::Failed, Bytes::new())
            }
            Err(Panicked) => (Kind::Failed, Bytes::new()),
        };
        self.answers.push(kind, self.id, payload, Some(self.place));
    }
}

/// The handler panicked; the log says how.
struct Panicked;

/// A message being handled. A panic of the service ends here.
struct Work {
    begin: Option<(Arc<dyn PeerService>, Received)>,
    under: Option<BoxFuture<'static, Bytes>>,
}

impl Future for Work {
    type Output = Result<Bytes, Panicked>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = std::panic::catch_unwind(AssertUnwindSafe(|| {
            if let Some((service, message)) = self.begin.take() {
                self.under = Some(service.on_frame(message));
            }
            match &mut self.under {
                Some(future) => future.as_mut().poll(context),
                None => Poll::Pending,
            }
        }));
        match polled {
            Ok(polled) => polled.map(Ok),
            Err(panic) => {
                tracing::error!(
                    error = panic_text(&*panic),
                    "a peer's message was not handled"
                );
                Poll::Ready(Err(Panicked))
            }
        }
    }
}

#[cfg(test)]
mod tests;
