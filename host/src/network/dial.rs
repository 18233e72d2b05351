//! This is how a link is made: connect, HTTP/2, one stream a lane, a hello on each, and the other
//! node's hello back, or its refusal.

use super::frame::{Assembler, Decoder, Frame, FrameError, Kind};
use super::hello::{Hello, Identity, PROTOCOL, Priority, Refusal};
use super::lane::{Lane, LaneBody};
use super::links::LinkEvents;
use super::problem::Problem;
use super::transport::Connector;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use soros_core::codec::Codec;
use soros_core::epoch::Epoch;
use soros_core::id::NodeId;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

/// Where a peer takes streams.
pub(super) const STREAM_PATH: &str = "/peer/v1/stream";
/// How long a connection may take until the other node has said hello.
const DIAL_TIME_MAX: Duration = Duration::from_millis(1500);
/// A silent peer is asked whether it lives after this, and has this long to answer: a dead one is
/// noticed in the sum.
pub(super) const PING_AFTER: Duration = Duration::from_millis(600);
pub(super) const PING_ANSWER_WITHIN: Duration = Duration::from_millis(1400);
/// What one stream may have on its way unread, and all streams of a connection. A stream that is
/// not read must leave room for the others.
pub(super) const STREAM_WINDOW_BYTES: u32 = 1 << 20;
pub(super) const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
/// How much of a stream HTTP/2 keeps to be written.
pub(super) const SEND_BUFFER_BYTES: usize = 256 << 10;
/// The longest refusal that is read.
const REFUSAL_BYTES_MAX: usize = 16 << 10;

/// Makes connections to peers.
pub(super) struct Dialler {
    pub(super) connector: Arc<dyn Connector>,
    pub(super) identity: Mutex<Identity>,
    pub(super) epoch: Arc<AtomicU64>,
    pub(super) events: Arc<dyn LinkEvents>,
}

/// Why a link could not be made, or ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("no connection: {0}")]
    Connect(#[from] std::io::Error),
    #[error("no HTTP/2: {0}")]
    Http(#[from] hyper::Error),
    #[error("{}: {_0}", _0.as_str())]
    Refused(Refusal),
    #[error("what listens there is no peer (status {0})")]
    NoPeer(http::StatusCode),
    #[error("what was read is no answer: {0}")]
    Frame(#[from] FrameError),
    #[error("no hello came in time")]
    TooSlow,
    #[error("the stream ended")]
    Ended,
}

/// A link that stands.
pub(super) struct Connected {
    /// Who was reached.
    pub(super) peer: Identity,
    streams: Vec<AnswerStream>,
    connection: Aborted,
    /// Keeps the connection open while streams are.
    _sender: SendRequest<LaneBody>,
}

/// A task that ends with its owner.
struct Aborted(AbortHandle);

impl Drop for Aborted {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The answers of one stream.
struct AnswerStream {
    lane: Arc<Lane>,
    body: Incoming,
    decoder: Decoder,
    assembler: Assembler,
}

impl Dialler {
    /// Connects to `address` and opens a stream for each lane.
    pub(super) async fn dial(
        &self,
        address: &str,
        to: Option<NodeId>,
        lanes: &[(Priority, Arc<Lane>)],
    ) -> Result<Connected, DialError> {
        let made = timeout(DIAL_TIME_MAX, self.connect(address, to, lanes)).await;
        made.map_err(|_| DialError::TooSlow)?
    }

    async fn connect(
        &self,
        address: &str,
        to: Option<NodeId>,
        lanes: &[(Priority, Arc<Lane>)],
    ) -> Result<Connected, DialError> {
        let io = TokioIo::new(self.connector.connect(address).await?);
        let (mut sender, connection) = builder().handshake(io).await?;
        let connection = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a peer connection ended");
            }
        });
        let connection = Aborted(connection.abort_handle());
        let mut opened = Vec::new();
        for (priority, lane) in lanes {
            opened.push(self.open_stream(&mut sender, to, *priority, lane).await?);
        }
        let (peers, streams): (Vec<Identity>, Vec<AnswerStream>) = opened.into_iter().unzip();
        let peer = *peers.first().ok_or(DialError::Ended)?;
        for (_, lane) in lanes {
            lane.open();
        }
        Ok(Connected {
            peer,
            streams,
            connection,
            _sender: sender,
        })
    }

    async fn open_stream(
        &self,
        sender: &mut SendRequest<LaneBody>,
        to: Option<NodeId>,
        priority: Priority,
        lane: &Arc<Lane>,
    ) -> Result<(Identity, AnswerStream), DialError> {
        let from = *self.identity.lock().unwrap_or_else(PoisonError::into_inner);
        let hello = Hello {
            protocol: PROTOCOL,
            from,
            to,
            priority,
        };
        let body = LaneBody {
            hello: Some(hello_frame(&hello.to_bytes())),
            lane: Arc::clone(lane),
            session: lane.next_session(),
            epoch: Arc::clone(&self.epoch),
        };
        let request = http::Request::post(format!("http://peer{STREAM_PATH}"));
        let request = request.body(body).map_err(|_| DialError::Ended)?;
        let response = sender.send_request(request).await?;
        if response.status() != http::StatusCode::OK {
            return Err(refusal(response).await);
        }
        let mut stream = AnswerStream {
            lane: Arc::clone(lane),
            body: response.into_body(),
            decoder: Decoder::default(),
            assembler: Assembler::default(),
        };
        let hello = stream.hello().await?;
        Ok((hello, stream))
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .keep_alive_interval(PING_AFTER)
        .keep_alive_timeout(PING_ANSWER_WITHIN)
        .keep_alive_while_idle(true);
    builder
}

/// The first frame of a stream.
pub(super) fn hello_frame(payload: &[u8]) -> Bytes {
    let payload = Bytes::copy_from_slice(payload);
    let frame = Frame {
        kind: Kind::Hello,
        id: 0,
        epoch: Epoch::NONE,
        millis_left: 0,
        payload,
    };
    let mut bytes = BytesMut::new();
    frame.write(&mut bytes);
    bytes.freeze()
}

async fn refusal(response: http::Response<Incoming>) -> DialError {
    let status = response.status();
    let body = Limited::new(response.into_body(), REFUSAL_BYTES_MAX)
        .collect()
        .await;
    let problem = body.ok().and_then(|body| Problem::parse(&body.to_bytes()));
    match problem.as_ref().and_then(Refusal::of_problem) {
        Some(refusal) => DialError::Refused(refusal),
        None => DialError::NoPeer(status),
    }
}

impl AnswerStream {
    /// Who answers.
    async fn hello(&mut self) -> Result<Identity, DialError> {
        loop {
            if let Some(frame) = self.decoder.next_frame()? {
                let is_hello = frame.kind == Kind::Hello;
                let peer = Identity::from_bytes(&frame.payload)
                    .ok()
                    .filter(|_| is_hello);
                return peer.ok_or(DialError::Frame(FrameError::NoHello));
            }
            let chunk = self.chunk().await?;
            self.decoder.push(chunk.ok_or(DialError::Ended)?);
        }
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, DialError> {
        loop {
            match self.body.frame().await.transpose()? {
                None => return Ok(None),
                Some(frame) => match frame.into_data() {
                    Ok(bytes) => return Ok(Some(bytes)),
                    Err(_trailers) => {}
                },
            }
        }
    }

    /// Hands answers to their callers until the stream ends.
    async fn run(
        mut self,
        peer: NodeId,
        events: Arc<dyn LinkEvents>,
        leaving: Arc<dyn Fn() + Send + Sync>,
    ) -> Result<(), DialError> {
        loop {
            let mut answers = Vec::new();
            let mut newest = Epoch::NONE;
            while let Some(frame) = self.decoder.next_frame()? {
                newest = newest.max(frame.epoch);
                match frame.kind {
                    Kind::Goodbye => leaving(),
                    _ => answers.extend(self.assembler.take(frame)?),
                }
            }
            self.lane.on_answers(answers);
            if newest != Epoch::NONE {
                events.on_epoch(peer, newest);
            }
            match self.chunk().await? {
                Some(chunk) => self.decoder.push(chunk),
                None => return Ok(()),
            }
        }
    }
}

impl Connected {
    /// Works until all streams have ended or one has failed. `leaving` is called when the other
    /// node says goodbye.
    pub(super) async fn run(
        self,
        events: &Arc<dyn LinkEvents>,
        leaving: Arc<dyn Fn() + Send + Sync>,
    ) -> Result<(), DialError> {
        let mut streams = JoinSet::new();
        for stream in self.streams {
            streams.spawn(stream.run(self.peer.node, Arc::clone(events), Arc::clone(&leaving)));
        }
        while let Some(ended) = streams.join_next().await {
            ended.map_err(|_| DialError::Ended)??;
        }
        drop(self.connection);
        Ok(())
    }
}
