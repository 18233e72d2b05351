//! This is what one peer's stream is answered with: answers in the order they are ready, many in
//! one write, each holding its place among the stream's requests until it is written.

use super::frame::Kind;
use super::outbox::{Gate, Outbox, Outgoing};
use bytes::Bytes;
use hyper::body::Frame;
use soros_core::epoch::Epoch;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// What a place stands for: a small message takes one, a larger one as many as it has of this.
const PLACE_BYTES: usize = 64 << 10;
/// How much may wait to be written before no more requests of the stream are begun.
const WAITING_BYTES_MAX: usize = 32 << 20;

/// The answers of one stream.
#[derive(Debug)]
pub(super) struct Answers {
    state: Mutex<State>,
    /// Something was written, or the stream ended.
    written: Notify,
    /// Places for requests that are not answered.
    places: Arc<Semaphore>,
    places_max: u32,
}

#[derive(Debug, Default)]
struct State {
    hello: Option<Bytes>,
    outbox: Outbox<Option<OwnedSemaphorePermit>>,
    waker: Option<Waker>,
    /// Everything is answered; the stream ends when it is written.
    finished: bool,
    /// Nobody reads any more.
    gone: bool,
}

/// Every answer is wanted; its place is free when it was handed over.
struct All;

impl Gate<Option<OwnedSemaphorePermit>> for All {
    fn wants(&mut self, _: &Outgoing<Option<OwnedSemaphorePermit>>) -> bool {
        true
    }

    fn on_handed(&mut self, answer: Outgoing<Option<OwnedSemaphorePermit>>) {
        drop(answer.held);
    }
}

impl Answers {
    /// Answers behind `hello`, with room for `places_max` requests at a time.
    pub(super) fn new(hello: Bytes, places_max: u32) -> Answers {
        Answers {
            state: Mutex::new(State {
                hello: Some(hello),
                ..State::default()
            }),
            written: Notify::new(),
            places: Arc::new(Semaphore::new(places_max as usize)),
            places_max,
        }
    }

    /// A place for a request of `bytes`, as soon as there is one; `None` when nobody reads the
    /// answers any more.
    pub(super) async fn place(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let places = u32::try_from(1 + bytes / PLACE_BYTES).unwrap_or(u32::MAX);
        let places = places.min(self.places_max);
        let permit = Arc::clone(&self.places)
            .acquire_many_owned(places)
            .await
            .ok()?;
        loop {
            let written = self.written.notified();
            {
                let state = self.lock();
                if state.gone {
                    return None;
                }
                if state.outbox.bytes() <= WAITING_BYTES_MAX {
                    return Some(permit);
                }
            }
            written.await;
        }
    }

    /// Adds an answer.
    pub(super) fn push(
        &self,
        kind: Kind,
        id: u64,
        payload: Bytes,
        place: Option<OwnedSemaphorePermit>,
    ) {
        let mut state = self.lock();
        if !state.gone {
            state.outbox.push(Outgoing {
                kind,
                id,
                deadline: None,
                payload,
                held: place,
            });
            state.wake();
        }
    }

    /// Waits until every request is answered, then ends the stream behind the last answer.
    pub(super) async fn finish(&self) {
        let _ = self.places.acquire_many(self.places_max).await;
        let mut state = self.lock();
        state.finished = true;
        state.wake();
    }

    /// The reader of the requests was lost: no more answers are wanted.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.gone = true;
        state.outbox.clear();
        state.wake();
        drop(state);
        self.written.notify_one();
    }

    fn poll_batch(&self, epoch: Epoch, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut state = self.lock();
        if let Some(hello) = state.hello.take() {
            return Poll::Ready(Some(hello));
        }
        let batch = state.outbox.batch(epoch, Instant::now(), &mut All);
        if !batch.is_empty() {
            drop(state);
            self.written.notify_one();
            return Poll::Ready(Some(batch));
        }
        if state.finished || state.gone {
            return Poll::Ready(None);
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock, short of a failed allocation.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn wake(&mut self) {
        self.waker.take().into_iter().for_each(Waker::wake);
    }
}

/// The body of a response whose bytes are a stream's answers.
#[derive(Debug)]
pub(super) struct AnswerBody {
    pub(super) answers: Arc<Answers>,
    pub(super) epoch: Arc<AtomicU64>,
}

impl AnswerBody {
    pub(super) fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Frame<Bytes>>> {
        let epoch = Epoch(self.epoch.load(Ordering::Relaxed));
        self.answers
            .poll_batch(epoch, context)
            .map(|batch| batch.map(Frame::data))
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        self.answers.close();
    }
}

/// What the peer listener answers with: a stream of answers, or a problem.
pub(super) enum PeerBody {
    Answers(AnswerBody),
    Problem(super::body::Body),
}

impl hyper::body::Body for PeerBody {
    type Data = Bytes;
    type Error = super::body::BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match &mut *self {
            PeerBody::Answers(answers) => answers.poll_frame(context).map(|frame| frame.map(Ok)),
            PeerBody::Problem(body) => Pin::new(body).poll_frame(context),
        }
    }
}
