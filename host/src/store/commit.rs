//! This is the group committer: one thread that takes what is queued, lets the owner decide each
//! operation on the state that the ones before it left, makes all their writes durable with one
//! sync, and only then answers.
//!
//! Where it may, it answers writes of values before they are synced and syncs them soon after: see
//! [`Commits::may_be_unsynced`]. Everything else is synced first, and what came before with it.
//!
//! It never waits for more operations to come: under load the queue fills while the disk syncs,
//! which is all the grouping there is. The queue is bounded in operations and in bytes; what does
//! not fit is refused at once. [`Core`] is the same without the thread, for tests that must be
//! deterministic.

use crate::store::overlay::Overlay;
use crate::store::{Durability, Space, Store, StoreError};
use crate::telemetry::CommitFigures;
use group::Group;
use soros_core::record::{RecordError, Records};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Instant;
use tokio::sync::{Notify, oneshot};
use unsynced::{Next, next, sync};

pub use task::Pace;

mod group;
mod task;
mod unsynced;

/// The most operations of one commit.
pub const BATCH_OPERATIONS_MAX: usize = 1_024;
/// A commit takes no further operation once its operations weigh this many bytes.
pub const BATCH_BYTES_MAX: usize = 8 << 20;
/// The most operations that wait for a commit.
pub const QUEUE_OPERATIONS_MAX: usize = 8_192;
/// The queue takes no further operation once what waits weighs this many bytes.
pub const QUEUE_BYTES_MAX: usize = 64 << 20;

const _: () = assert!(BATCH_OPERATIONS_MAX <= QUEUE_OPERATIONS_MAX);
const _: () = assert!(BATCH_BYTES_MAX <= QUEUE_BYTES_MAX);

/// A consistent view of what is committed, shared with readers.
pub type View = Arc<dyn Records + Send + Sync>;

/// What a committer works for: state in memory that goes with one space of the store.
pub trait Commits: Send + 'static {
    /// What is asked of the owner.
    type Operation: Send + 'static;
    /// What the owner answers once the operation is stored.
    type Answer: Send + 'static;

    /// The bytes that `operation` keeps in memory, about.
    fn weight(operation: &Self::Operation) -> usize;

    /// Whether `operation` may be answered before it is synced, when the cluster's settings say so:
    /// then losing it is no more than losing a value that was acknowledged.
    fn may_be_unsynced(operation: &Self::Operation) -> bool {
        let _ = operation;
        false
    }

    /// Decides `operation` on the state as `batch` has it and writes what follows to `batch`.
    /// An operation that is refused or only reads writes nothing and has an answer all the same.
    ///
    /// # Errors
    /// [`RecordError`] when the state cannot be read. What was written to `batch` is then taken
    /// back; the owner must leave its own state as it was.
    fn apply(
        &mut self,
        operation: Self::Operation,
        batch: &mut Overlay<'_>,
    ) -> Result<Self::Answer, RecordError>;

    /// Writes what is written once a commit however many operations touched it. Not called for a
    /// commit whose operations wrote nothing.
    ///
    /// # Errors
    /// [`RecordError`] when the state cannot be read; nothing of the commit is then stored.
    fn seal(&mut self, batch: &mut Overlay<'_>) -> Result<(), RecordError> {
        let _ = batch;
        Ok(())
    }

    /// Everything applied so far is stored and `view` shows it: the time to show readers a new
    /// consistent state. Called before the operations are answered, also when they wrote nothing.
    fn publish(&mut self, view: View);

    /// A commit failed: forgets what was applied since the last one that did not, and takes the
    /// state from `view`, which is also the one to show to readers.
    ///
    /// # Errors
    /// [`RecordError`] when the state cannot be read; it is tried again before the next commit.
    fn reload(&mut self, view: View) -> Result<(), RecordError>;
}

/// Why an operation has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CommitError {
    /// Too much is waiting. The operation was not taken.
    #[error("too many operations wait for the disk")]
    Busy,
    /// The committer has stopped. The operation was not taken.
    #[error("the store is closed")]
    Closed,
    /// The operation could not read what it needs. Nothing of it is stored.
    #[error(transparent)]
    Unreadable(#[from] RecordError),
    /// The disk is full. Nothing of the operation is stored.
    #[error("the disk is full")]
    Full,
    /// The commit failed, and whether the operation is stored is not known.
    #[error("it is not known whether the operation is stored: {0}")]
    Unknown(StoreError),
    /// The store failed before and could not be opened again. Nothing of the operation is stored.
    #[error("the store does not work: {0}")]
    Unavailable(StoreError),
    /// The committer ended before it answered; whether the operation is stored is not known.
    #[error("the committer ended before it answered")]
    Lost,
}

impl CommitError {
    /// Whether it is certain that nothing of the operation is or will be stored.
    #[must_use]
    pub fn is_certain(&self) -> bool {
        match self {
            CommitError::Busy
            | CommitError::Closed
            | CommitError::Unreadable(_)
            | CommitError::Full
            | CommitError::Unavailable(_) => true,
            CommitError::Unknown(_) | CommitError::Lost => false,
        }
    }
}

/// The committer without its thread: one call, one commit.
pub struct Core<C: Commits> {
    owner: C,
    store: Arc<dyn Store>,
    space: Space,
    view: View,
    /// The store's opening that the view is of.
    opening: u64,
    /// Why the owner's state is not that of the store, if it is not.
    broken: Option<StoreError>,
    /// Whether what may be unsynced is answered before it is synced.
    answers_unsynced: bool,
    /// Since when something that was answered is not synced, if anything is.
    unsynced: Option<Instant>,
}

impl<C: Commits> Core<C> {
    /// A committer of `owner`'s operations to `space` of `store`.
    ///
    /// # Errors
    /// [`RecordError`] when the owner cannot read its state.
    pub fn new(mut owner: C, store: Arc<dyn Store>, space: Space) -> Result<Core<C>, RecordError> {
        let opening = store.openings();
        let view: View = store.snapshot(space).into();
        owner.reload(view.clone())?;
        Ok(Core {
            owner,
            store,
            space,
            view,
            opening,
            broken: None,
            answers_unsynced: false,
            unsynced: None,
        })
    }

    /// The owner, between commits.
    #[must_use]
    pub fn owner(&self) -> &C {
        &self.owner
    }

    /// Decides `operations` in order, stores their writes at once, and answers each.
    pub fn step(&mut self, operations: Vec<C::Operation>) -> Vec<Result<C::Answer, CommitError>> {
        let count = operations.len();
        if let Err(error) = self.mend() {
            return refusals(count, &unavailable(error));
        }
        if count == 0 {
            return Vec::new();
        }
        let durability = if self.answers_unsynced && operations.iter().all(C::may_be_unsynced) {
            Durability::Unsynced
        } else {
            Durability::Synced
        };
        let view = self.view.clone();
        let mut batch = Overlay::new(&*view);
        let answers = operations
            .into_iter()
            .map(|one| self.apply(one, &mut batch))
            .collect();
        match self.commit(batch, durability) {
            Ok(()) => answers,
            Err(error) => {
                self.after_failure();
                refusals(count, &error)
            }
        }
    }

    fn apply(
        &mut self,
        operation: C::Operation,
        batch: &mut Overlay<'_>,
    ) -> Result<C::Answer, CommitError> {
        let savepoint = batch.savepoint();
        let answer = self.owner.apply(operation, batch);
        if answer.is_err() {
            batch.roll_back(savepoint);
        }
        Ok(answer?)
    }

    fn commit(
        &mut self,
        mut batch: Overlay<'_>,
        durability: Durability,
    ) -> Result<(), CommitError> {
        if batch.is_empty() {
            if durability == Durability::Synced {
                // What is answered may rest on what was written before.
                self.sync_store()?;
            }
            self.owner.publish(self.view.clone());
            return Ok(());
        }
        self.owner.seal(&mut batch)?;
        let writes = batch.into_writes(self.space);
        self.store.commit(writes, durability).map_err(failed)?;
        self.unsynced = match durability {
            Durability::Synced => None,
            Durability::Unsynced => self.unsynced.or_else(|| Some(Instant::now())),
        };
        self.view = self.store.snapshot(self.space).into();
        self.owner.publish(self.view.clone());
        Ok(())
    }

    /// The owner is ahead of the store now; the store itself may have to be opened again.
    fn after_failure(&mut self) {
        self.broken = Some(StoreError::Failed("a commit failed".to_owned()));
        if let Err(error) = self.mend() {
            tracing::error!(%error, "the store failed and could not be opened again");
        }
    }

    /// Makes the owner's state that of the store again, if a commit failed or if someone else has
    /// opened the store again, which ends all views.
    fn mend(&mut self) -> Result<(), StoreError> {
        if self.broken.is_none() && self.opening == self.store.openings() {
            return Ok(());
        }
        let mended = self.reopened();
        self.broken = mended.as_ref().err().cloned();
        mended
    }

    fn reopened(&mut self) -> Result<(), StoreError> {
        self.store.reopen()?;
        let opening = self.store.openings();
        if std::mem::replace(&mut self.opening, opening) != opening {
            // What it found is synced.
            self.unsynced = None;
        }
        self.view = self.store.snapshot(self.space).into();
        self.owner
            .reload(self.view.clone())
            .map_err(|error| match error {
                RecordError::Failed(message) => StoreError::Failed(message),
                RecordError::Damaged(what) | RecordError::Strange(what) => {
                    StoreError::Damaged(what.to_owned())
                }
            })
    }
}

fn unavailable(error: StoreError) -> CommitError {
    match error {
        StoreError::Full => CommitError::Full,
        StoreError::NotOpen(_) | StoreError::Failed(_) | StoreError::Damaged(_) => {
            CommitError::Unavailable(error)
        }
    }
}

fn refusals<A>(count: usize, error: &CommitError) -> Vec<Result<A, CommitError>> {
    std::iter::repeat_with(|| Err(error.clone()))
        .take(count)
        .collect()
}

type Answered<A> = Result<A, CommitError>;

struct Queued<O, A> {
    operation: O,
    weight: usize,
    answer: oneshot::Sender<Answered<A>>,
}

enum Message<O, A> {
    Operation(Queued<O, A>),
    /// The store was opened again.
    Reopened,
    /// What was answered is to be synced.
    Sync(oneshot::Sender<Answered<()>>),
    Stop,
}

/// What the handles share with the thread.
#[derive(Debug, Default)]
struct Load {
    queued: AtomicUsize,
    queued_bytes: AtomicUsize,
    unsynced: AtomicBool,
    closed: AtomicBool,
    /// Rung at each message of the queue, where a task and no thread waits for them.
    bell: Option<Notify>,
}

impl Load {
    fn ring(&self) {
        self.bell.iter().for_each(Notify::notify_one);
    }
}

/// A handle to a committer's thread; clones share it.
pub struct Committer<O, A> {
    queue: SyncSender<Message<O, A>>,
    load: Arc<Load>,
    weigh: fn(&O) -> usize,
}

impl<O, A> Clone for Committer<O, A> {
    fn clone(&self) -> Committer<O, A> {
        Committer {
            queue: self.queue.clone(),
            load: self.load.clone(),
            weigh: self.weigh,
        }
    }
}

impl<O: Send + 'static, A: Send + 'static> Committer<O, A> {
    /// Starts a thread called `name` around `core`, whose work shows in `figures`.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start<C>(
        core: Core<C>,
        name: &str,
        figures: Arc<CommitFigures>,
    ) -> std::io::Result<(Committer<O, A>, CommitterThread<O, A>)>
    where
        C: Commits<Operation = O, Answer = A>,
    {
        let (committer, running) = Committer::around(core, figures, Load::default());
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || running.run())?;
        let guard = CommitterThread {
            committer: committer.clone(),
            runs: Some(Runs::Thread(thread)),
        };
        Ok((committer, guard))
    }

    /// The handle and what is to run.
    fn around<C>(
        core: Core<C>,
        figures: Arc<CommitFigures>,
        load: Load,
    ) -> (Committer<O, A>, Running<C>)
    where
        C: Commits<Operation = O, Answer = A>,
    {
        let (queue, queued) = sync_channel(QUEUE_OPERATIONS_MAX);
        let load = Arc::new(load);
        let (wake, bell) = (queue.clone(), Arc::clone(&load));
        // If the queue is full, its operations wake the committer anyway.
        core.store.on_reopened(Box::new(move || {
            drop(wake.try_send(Message::Reopened));
            bell.ring();
        }));
        let committer = Committer {
            queue,
            load: Arc::clone(&load),
            weigh: C::weight,
        };
        let running = Running {
            core,
            queued,
            load,
            figures,
            stopping: false,
        };
        (committer, running)
    }

    /// Queues `operation`; the ticket is its answer to come.
    ///
    /// # Errors
    /// [`CommitError::Busy`] or [`CommitError::Closed`], and the operation was not taken.
    pub fn submit(&self, operation: O) -> Result<Ticket<A>, CommitError> {
        let weight = (self.weigh)(&operation);
        if self.load.closed.load(Ordering::Acquire) {
            return Err(CommitError::Closed);
        }
        let before = self.load.queued_bytes.fetch_add(weight, Ordering::AcqRel);
        let taken = if before < QUEUE_BYTES_MAX {
            self.queue(operation, weight)
        } else {
            Err(CommitError::Busy)
        };
        if taken.is_err() {
            self.load.queued_bytes.fetch_sub(weight, Ordering::AcqRel);
        }
        taken
    }

    fn queue(&self, operation: O, weight: usize) -> Result<Ticket<A>, CommitError> {
        let (answer, ticket) = oneshot::channel();
        let message = Message::Operation(Queued {
            operation,
            weight,
            answer,
        });
        // Before it can be taken, so that the count is never below zero.
        self.load.queued.fetch_add(1, Ordering::AcqRel);
        let sent = self.queue.try_send(message);
        if sent.is_err() {
            self.load.queued.fetch_sub(1, Ordering::AcqRel);
        }
        self.load.ring();
        match sent {
            Ok(()) => Ok(Ticket(ticket)),
            Err(TrySendError::Full(_)) => Err(CommitError::Busy),
            Err(TrySendError::Disconnected(_)) => Err(CommitError::Closed),
        }
    }

    /// Queues `operation` and waits for its answer.
    ///
    /// # Errors
    /// [`CommitError`].
    pub async fn commit(&self, operation: O) -> Result<A, CommitError> {
        self.submit(operation)?.await
    }

    /// The operations that wait for a commit.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.load.queued.load(Ordering::Relaxed)
    }

    /// The bytes that wait for a commit, about.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.load.queued_bytes.load(Ordering::Relaxed)
    }

    /// Whether the committer takes no more operations: it was stopped, or its thread has died.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.load.closed.load(Ordering::Acquire)
    }
}

/// An answer to come.
#[derive(Debug)]
pub struct Ticket<A>(oneshot::Receiver<Answered<A>>);

impl<A> Ticket<A> {
    /// Waits for the answer on a thread that runs no tasks.
    ///
    /// # Errors
    /// [`CommitError`].
    pub fn wait(self) -> Result<A, CommitError> {
        self.0.blocking_recv().unwrap_or(Err(CommitError::Lost))
    }
}

impl<A> Future for Ticket<A> {
    type Output = Answered<A>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answered<A>> {
        Pin::new(&mut self.0)
            .poll(context)
            .map(|answer| answer.unwrap_or(Err(CommitError::Lost)))
    }
}

/// The thread of a committer, for the one who started it.
pub struct CommitterThread<O, A> {
    committer: Committer<O, A>,
    runs: Option<Runs>,
}

/// Where a committer runs.
enum Runs {
    Thread(JoinHandle<()>),
    Task(tokio::task::JoinHandle<()>),
}

impl<O, A> CommitterThread<O, A> {
    /// Takes no further operation, finishes what is queued and waits for the thread's end. A task
    /// is not waited for.
    ///
    /// # Errors
    /// [`CommitError::Lost`] when the thread died of a panic.
    pub fn stop(mut self) -> Result<(), CommitError> {
        self.end()
    }

    /// Whether the thread has ended though nobody stopped it: it died of a panic.
    #[must_use]
    pub fn has_died(&self) -> bool {
        match &self.runs {
            Some(Runs::Thread(thread)) => thread.is_finished(),
            Some(Runs::Task(task)) => task.is_finished(),
            None => false,
        }
    }

    fn end(&mut self) -> Result<(), CommitError> {
        let Some(runs) = self.runs.take() else {
            return Ok(());
        };
        let Committer { queue, load, .. } = &self.committer;
        load.closed.store(true, Ordering::Release);
        match runs {
            Runs::Thread(thread) => {
                // A thread that has died has no use for it.
                let _ = queue.send(Message::Stop);
                thread.join().map_err(|_| CommitError::Lost)
            }
            Runs::Task(_) => {
                let _ = queue.try_send(Message::Stop);
                load.ring();
                Ok(())
            }
        }
    }
}

impl<O, A> Drop for CommitterThread<O, A> {
    fn drop(&mut self) {
        if self.end().is_err() {
            tracing::error!("a committer died of a panic");
        }
    }
}

/// What a store's error says of a commit.
fn failed(error: StoreError) -> CommitError {
    match error {
        StoreError::Full => CommitError::Full,
        StoreError::NotOpen(_) => CommitError::Unavailable(error),
        StoreError::Failed(_) | StoreError::Damaged(_) => CommitError::Unknown(error),
    }
}

/// Tells the handles when the thread ends, by a panic too.
struct CloseAtEnd<'a>(&'a Load);

impl Drop for CloseAtEnd<'_> {
    fn drop(&mut self) {
        self.0.closed.store(true, Ordering::Release);
    }
}

/// A committer at work.
struct Running<C: Commits> {
    core: Core<C>,
    queued: Receiver<Message<C::Operation, C::Answer>>,
    load: Arc<Load>,
    figures: Arc<CommitFigures>,
    stopping: bool,
}

impl<C: Commits> Running<C> {
    fn run(mut self) {
        let load = Arc::clone(&self.load);
        let _close = CloseAtEnd(&load);
        loop {
            match next(&self.queued, self.stopping, self.core.sync_due()) {
                Next::Message(first) => self.commit(first),
                Next::SyncIsDue => self.sync_unasked(),
                Next::End => return self.sync_unasked(),
            }
        }
    }

    /// Nobody waits for it; what failed is told in the log.
    fn sync_unasked(&mut self) {
        let _ = sync(&mut self.core, &self.figures);
    }

    /// Commits what `first` and the messages behind it ask for, and answers.
    fn commit(&mut self, first: Message<C::Operation, C::Answer>) {
        let (core, load, figures) = (&mut self.core, &self.load, &self.figures);
        let mut group = Group::default();
        self.stopping |= !group.take(first);
        while !group.is_full()
            && let Ok(message) = self.queued.try_recv()
        {
            self.stopping |= !group.take(message);
        }
        load.queued_bytes.fetch_sub(group.weight, Ordering::AcqRel);
        load.queued
            .fetch_sub(group.operations.len(), Ordering::AcqRel);
        core.set_unsynced(load.unsynced.load(Ordering::Acquire));
        let (count, begun) = (group.operations.len(), Instant::now());
        let answers = core.step(group.operations);
        if 0 < count {
            figures.operations.observe_count(count);
            figures.seconds.observe_time(begun.elapsed());
        }
        if answers.iter().any(is_of_a_failed_commit) {
            figures.failures.increment();
        }
        for (waiting, answer) in group.waiting.into_iter().zip(answers) {
            // Who asked may have gone; what it asked for is done all the same.
            let _ = waiting.send(answer);
        }
        let is_due = core.sync_due().is_some_and(|due| due <= Instant::now());
        if is_due || !group.syncs.is_empty() {
            let synced = sync(core, figures);
            for waiting in group.syncs {
                let _ = waiting.send(synced.clone());
            }
        }
    }
}

/// Whether an operation was refused, or may not be stored, because the disk or the engine failed.
fn is_of_a_failed_commit<A>(answer: &Answered<A>) -> bool {
    matches!(
        answer,
        Err(CommitError::Full | CommitError::Unknown(_) | CommitError::Unavailable(_))
    )
}

#[cfg(test)]
mod tests;
