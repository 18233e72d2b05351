//! This is one direction of work to one node: calls that wait to be sent and calls that wait for
//! their answers, bounded by count and by bytes, and honest about which of them a lost connection
//! may have delivered.

use super::frame::{Frame, Kind};
use super::hello::Refusal;
use super::outbox::{Gate, Outbox, Outgoing};
use bytes::Bytes;
use soros_core::epoch::Epoch;
use soros_core::limits::MESSAGE_BYTES_MAX;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

/// The most messages of a lane that wait to be sent.
const QUEUED_MAX: usize = 8 << 10;
/// The most bytes of a lane that wait to be sent.
const QUEUED_BYTES_MAX: usize = 144 << 20;
/// The most calls of a lane that wait, to be sent or for an answer.
const WAITING_MAX: usize = 32 << 10;

const _: () = assert!(MESSAGE_BYTES_MAX <= QUEUED_BYTES_MAX);

/// Why a call has no answer. What matters to the caller is whether the other node may have taken
/// it: only [`LinkError::Unknown`] leaves that open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// Too much waits for the node; nothing was queued.
    #[error("too much waits for the node")]
    Busy,
    /// The message is longer than any may be.
    #[error("a message of {0} bytes is too long")]
    TooLong(usize),
    /// The node certainly did not take it.
    #[error("not sent: {0}")]
    NotSent(Cause),
    /// The node may have taken it.
    #[error("the outcome is unknown: {0}")]
    Unknown(Cause),
}

impl LinkError {
    /// Whether the node certainly did not take the message, so that it may go elsewhere.
    #[must_use]
    pub fn is_not_taken(&self) -> bool {
        match self {
            LinkError::Busy | LinkError::TooLong(_) | LinkError::NotSent(_) => true,
            LinkError::Unknown(_) => false,
        }
    }
}

/// What kept an answer away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// The node's address is not known here.
    #[error("the node's address is not known")]
    NoAddress,
    /// The node is not connected.
    #[error("the node is not connected")]
    Down,
    /// The connection was lost.
    #[error("the connection was lost")]
    Lost,
    /// The deadline passed.
    #[error("the deadline passed")]
    Late,
    /// The node is shutting down.
    #[error("the node is shutting down")]
    Leaving,
    /// The node refused the link.
    #[error("the node refused the link: {0}")]
    Refused(Refusal),
    /// The node said that it did not take the message.
    #[error("the node did not take the message")]
    NotTaken,
    /// The node's handler failed.
    #[error("the node failed")]
    Failed,
    /// This node has stopped its links.
    #[error("this node is stopping")]
    Stopped,
}

/// A lane to one node. Callers on any thread push; the connection's stream drains.
#[derive(Debug)]
pub(super) struct Lane(Mutex<State>);

#[derive(Debug)]
struct State {
    phase: Phase,
    /// Which connection's stream may drain; an older one finds its stream ended.
    session: u64,
    next_id: u64,
    outbox: Outbox<()>,
    waiting: HashMap<u64, Waiting>,
    /// About how many queued messages nobody waits for any more.
    given_up: usize,
    waker: Option<Waker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing is taken.
    Closed(Cause),
    /// A connection is being made; calls are queued until it stands, if it `takes` any.
    Opening { takes: bool },
    /// Calls are sent.
    Open,
    /// What is queued is still sent, then the stream ends.
    Finishing,
}

#[derive(Debug)]
struct Waiting {
    answer: oneshot::Sender<Result<Bytes, LinkError>>,
    /// The last byte was handed to the connection.
    sent: bool,
}

/// The calls that wait, as the outbox sees them.
struct Calls<'a>(&'a mut HashMap<u64, Waiting>);

impl Gate<()> for Calls<'_> {
    fn wants(&mut self, message: &Outgoing<()>) -> bool {
        message.deadline.is_none() || self.0.contains_key(&message.id)
    }

    fn on_handed(&mut self, message: Outgoing<()>) {
        if let Some(waiting) = self.0.get_mut(&message.id) {
            waiting.sent = true;
        }
    }
}

impl Default for Lane {
    fn default() -> Lane {
        Lane(Mutex::new(State {
            phase: Phase::Closed(Cause::Down),
            session: 0,
            next_id: 1,
            outbox: Outbox::default(),
            waiting: HashMap::new(),
            given_up: 0,
            waker: None,
        }))
    }
}

/// A call that is forgotten when its caller stops waiting.
struct Call<'a> {
    lane: &'a Lane,
    id: u64,
    answered: bool,
}

impl Call<'_> {
    /// Forgets the call; what is known of it then, if it was still waiting.
    fn give_up(&self, cause: Cause) -> Option<LinkError> {
        let mut state = self.lane.lock();
        let waiting = state.waiting.remove(&self.id)?;
        state.given_up += usize::from(!waiting.sent);
        Some(waiting.error(cause))
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.give_up(Cause::Late);
        }
    }
}

impl Waiting {
    fn error(&self, cause: Cause) -> LinkError {
        if self.sent {
            LinkError::Unknown(cause)
        } else {
            LinkError::NotSent(cause)
        }
    }
}

impl Lane {
    /// Sends a message and waits for its answer until the deadline.
    pub(super) async fn call(&self, payload: Bytes, deadline: Instant) -> Result<Bytes, LinkError> {
        let (sender, mut answer) = oneshot::channel();
        let id = self.push(payload, Some((deadline, sender)))?;
        let mut call = Call {
            lane: self,
            id,
            answered: false,
        };
        let Ok(answered) = timeout_at(deadline, &mut answer).await else {
            // Without an error there, the answer came between the deadline and here.
            let late = call.give_up(Cause::Late);
            let answer = || {
                answer
                    .try_recv()
                    .unwrap_or(Err(LinkError::Unknown(Cause::Late)))
            };
            return late.map_or_else(answer, Err);
        };
        call.answered = true;
        answered.unwrap_or(Err(LinkError::Unknown(Cause::Lost)))
    }

    /// Sends a message that has no answer. Nothing tells whether it arrives.
    pub(super) fn send(&self, payload: Bytes) -> Result<(), LinkError> {
        self.push(payload, None).map(|_| ())
    }

    fn push(&self, payload: Bytes, call: Option<PendingCall>) -> Result<u64, LinkError> {
        if payload.len() > MESSAGE_BYTES_MAX {
            return Err(LinkError::TooLong(payload.len()));
        }
        let mut state = self.lock();
        state.check_open()?;
        state.make_room(payload.len())?;
        let id = state.next_id;
        state.next_id += 1;
        let deadline = call.map(|(deadline, answer)| {
            state.waiting.insert(
                id,
                Waiting {
                    answer,
                    sent: false,
                },
            );
            deadline
        });
        state.outbox.push(Outgoing {
            kind: Kind::Message,
            id,
            deadline,
            payload,
            held: (),
        });
        let waker = state.waker.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
        Ok(id)
    }

    /// A connection is being made. The first attempt takes calls; while later ones go on, the
    /// node counts as down, so that no call waits for what may be gone for long.
    pub(super) fn open_soon(&self, takes: bool) {
        self.lock().phase = Phase::Opening { takes };
    }

    /// The number of the next connection, whose stream alone may drain from now on.
    pub(super) fn next_session(&self) -> u64 {
        let mut state = self.lock();
        state.session += 1;
        state.session
    }

    /// Sends what is queued: the other node has taken the stream.
    pub(super) fn open(&self) {
        let mut state = self.lock();
        if let Phase::Opening { .. } = state.phase {
            state.phase = Phase::Open;
        }
        state.wake();
    }

    /// Takes no more, sends what is queued if the connection stands, then ends the stream.
    pub(super) fn finish(&self) {
        let mut state = self.lock();
        match state.phase {
            Phase::Open => state.phase = Phase::Finishing,
            Phase::Opening { .. } => {
                state.phase = Phase::Closed(Cause::Stopped);
                state.outbox.clear();
                state.fail(Cause::Stopped, |_| true);
            }
            Phase::Closed(_) | Phase::Finishing => {}
        }
        state.wake();
    }

    /// Takes no more and sends no more: what is not sent is certainly not taken. Calls that are
    /// sent still wait for their answers.
    pub(super) fn leave(&self, cause: Cause) {
        let mut state = self.lock();
        state.phase = Phase::Closed(cause);
        state.outbox.clear();
        state.fail(cause, |waiting| !waiting.sent);
        state.wake();
    }

    /// The connection is gone: every call is failed by `cause`, later ones by `then`.
    pub(super) fn close(&self, cause: Cause, then: Cause) {
        let mut state = self.lock();
        state.phase = Phase::Closed(then);
        state.session += 1;
        state.outbox.clear();
        state.fail(cause, |_| true);
        state.wake();
    }

    /// Whether no call waits.
    pub(super) fn is_quiet(&self) -> bool {
        let state = self.lock();
        state.waiting.is_empty() && state.outbox.is_empty()
    }

    /// How many messages and bytes wait to be sent, and how many calls wait.
    pub(super) fn load(&self) -> (usize, usize, usize) {
        let state = self.lock();
        (
            state.outbox.len(),
            state.outbox.bytes(),
            state.waiting.len(),
        )
    }

    /// The next bytes of the stream of `session`; `None` when it ends.
    pub(super) fn poll_batch(
        &self,
        session: u64,
        epoch: Epoch,
        context: &mut Context<'_>,
    ) -> Poll<Option<Bytes>> {
        let mut state = self.lock();
        if state.session != session {
            return Poll::Ready(None);
        }
        match state.phase {
            Phase::Closed(_) => return Poll::Ready(None),
            Phase::Opening { .. } => {}
            Phase::Open | Phase::Finishing => {
                let State {
                    outbox, waiting, ..
                } = &mut *state;
                let batch = outbox.batch(epoch, Instant::now(), &mut Calls(waiting));
                if !batch.is_empty() {
                    return Poll::Ready(Some(batch));
                }
                if state.phase == Phase::Finishing {
                    return Poll::Ready(None);
                }
            }
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }

    /// Hands answers to their callers.
    pub(super) fn on_answers(&self, frames: Vec<Frame>) {
        let mut answers = Vec::with_capacity(frames.len());
        let mut state = self.lock();
        for frame in frames {
            let Some(waiting) = state.waiting.remove(&frame.id) else {
                continue;
            };
            let result = match frame.kind {
                Kind::Message => Ok(frame.payload),
                Kind::NotTaken => Err(LinkError::NotSent(Cause::NotTaken)),
                Kind::Failed | Kind::Segment | Kind::Abandoned | Kind::Hello | Kind::Goodbye => {
                    Err(LinkError::Unknown(Cause::Failed))
                }
            };
            answers.push((waiting.answer, result));
        }
        drop(state);
        for (caller, answer) in answers {
            // A caller that stopped waiting wants no answer.
            let _ = caller.send(answer);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock, short of a failed allocation.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type PendingCall = (Instant, oneshot::Sender<Result<Bytes, LinkError>>);

impl State {
    fn check_open(&self) -> Result<(), LinkError> {
        match self.phase {
            Phase::Opening { takes: true } | Phase::Open => Ok(()),
            Phase::Opening { takes: false } => Err(LinkError::NotSent(Cause::Down)),
            Phase::Closed(cause) => Err(LinkError::NotSent(cause)),
            Phase::Finishing => Err(LinkError::NotSent(Cause::Stopped)),
        }
    }

    fn make_room(&mut self, bytes: usize) -> Result<(), LinkError> {
        if self.has_room(bytes) {
            return Ok(());
        }
        // Callers that gave up leave their messages behind. To look for them at each call would
        // make the refusals of a full queue slow.
        if self.given_up > self.outbox.len() / 8 {
            let State {
                outbox, waiting, ..
            } = self;
            let mut calls = Calls(waiting);
            outbox.retain(|message| calls.wants(message));
            self.given_up = 0;
        }
        if self.has_room(bytes) {
            Ok(())
        } else {
            Err(LinkError::Busy)
        }
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.outbox.len() < QUEUED_MAX
            && self.outbox.bytes() + bytes <= QUEUED_BYTES_MAX
            && self.waiting.len() < WAITING_MAX
    }

    fn fail(&mut self, cause: Cause, which: impl Fn(&Waiting) -> bool) {
        for (_, waiting) in self.waiting.extract_if(|_, waiting| which(waiting)) {
            let error = waiting.error(cause);
            let _ = waiting.answer.send(Err(error));
        }
    }

    fn wake(&mut self) {
        self.waker.take().into_iter().for_each(Waker::wake);
    }
}

/// The body of a request whose bytes are a lane's batches, behind a hello.
#[derive(Debug)]
pub(super) struct LaneBody {
    pub(super) hello: Option<Bytes>,
    pub(super) lane: Arc<Lane>,
    pub(super) session: u64,
    pub(super) epoch: Arc<std::sync::atomic::AtomicU64>,
}

impl hyper::body::Body for LaneBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
        if let Some(hello) = self.hello.take() {
            return Poll::Ready(Some(Ok(hyper::body::Frame::data(hello))));
        }
        let epoch = Epoch(self.epoch.load(std::sync::atomic::Ordering::Relaxed));
        let batch = self.lane.poll_batch(self.session, epoch, context);
        batch.map(|batch| batch.map(|bytes| Ok(hyper::body::Frame::data(bytes))))
    }
}

#[cfg(test)]
mod tests;
