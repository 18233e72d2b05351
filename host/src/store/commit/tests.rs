//! These are the committer's promises, over the twin in memory.

use super::*;
use crate::store::Write;
use crate::store::memory::{Fault, Memory};
use soros_core::limits::UNSYNCED_TIME_MAX;
use soros_core::record::Batch;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

/// Counts under one key; what it published is its last word to readers.
struct Tally {
    count: u64,
    published: Arc<Mutex<Vec<u64>>>,
    seals: u64,
}

enum Operation {
    Add,
    Read,
    /// Writes and then cannot finish.
    Stumble,
    /// Says that it began, then waits for the word to go on.
    Wait(Sender<()>, Receiver<()>),
    Weigh(usize),
    Panic,
}

const KEY: &[u8] = b"count";

fn number(stored: Option<Vec<u8>>) -> u64 {
    stored.map_or(0, |bytes| {
        u64::from_be_bytes(bytes.try_into().expect("eight bytes"))
    })
}

impl Commits for Tally {
    type Operation = Operation;
    type Answer = u64;

    fn weight(operation: &Operation) -> usize {
        if let Operation::Weigh(bytes) = operation {
            *bytes
        } else {
            1
        }
    }

    fn may_be_unsynced(operation: &Operation) -> bool {
        matches!(operation, Operation::Add)
    }

    fn apply(&mut self, operation: Operation, batch: &mut Overlay<'_>) -> Result<u64, RecordError> {
        let count = number(batch.get(KEY)?);
        assert_eq!(
            count, self.count,
            "the batch shows what earlier operations of it wrote"
        );
        match operation {
            Operation::Read => return Ok(count),
            Operation::Wait(begun, go) => {
                begun.send(()).expect("the test waits");
                go.recv().expect("the test sends");
            }
            Operation::Stumble => {
                batch.put(KEY.to_vec(), 99_u64.to_be_bytes().to_vec());
                batch.put(b"litter".to_vec(), Vec::new());
                return Err(RecordError::Damaged("a test"));
            }
            Operation::Panic => panic!("a bug of ours"),
            Operation::Add | Operation::Weigh(_) => {}
        }
        self.count += 1;
        batch.put(KEY.to_vec(), self.count.to_be_bytes().to_vec());
        Ok(self.count)
    }

    fn seal(&mut self, batch: &mut Overlay<'_>) -> Result<(), RecordError> {
        self.seals += 1;
        batch.put(b"seals".to_vec(), self.seals.to_be_bytes().to_vec());
        Ok(())
    }

    fn publish(&mut self, view: View) {
        let shown = number(view.get(KEY).expect("the twin works"));
        self.published.lock().expect("no panic").push(shown);
    }

    fn reload(&mut self, view: View) -> Result<(), RecordError> {
        self.count = number(view.get(KEY)?);
        self.seals = number(view.get(b"seals")?);
        self.publish(view);
        Ok(())
    }
}

type Published = Arc<Mutex<Vec<u64>>>;

fn core(memory: &Memory) -> (Core<Tally>, Published) {
    let published = Published::default();
    let owner = Tally {
        count: 0,
        published: published.clone(),
        seals: 0,
    };
    let store = Arc::new(memory.clone());
    (
        Core::new(owner, store, Space::Partitions).expect("the twin works"),
        published,
    )
}

fn stored(memory: &Memory, key: &[u8]) -> Option<Vec<u8>> {
    memory
        .snapshot(Space::Partitions)
        .get(key)
        .expect("the twin works")
}

fn adds(count: usize) -> Vec<Operation> {
    std::iter::repeat_with(|| Operation::Add)
        .take(count)
        .collect()
}

#[track_caller]
fn assert_all<A>(answers: &[Result<A, CommitError>], expected: impl Fn(&CommitError) -> bool) {
    assert!(!answers.is_empty());
    assert!(
        answers
            .iter()
            .all(|answer| answer.as_ref().is_err_and(&expected))
    );
}

#[test]
fn answers_in_order_after_one_commit_that_readers_see() {
    let memory = Memory::new(1);
    let (mut core, published) = core(&memory);
    let answers: Vec<u64> = core
        .step(adds(5))
        .into_iter()
        .map(|a| a.expect("kept"))
        .collect();
    assert_eq!(answers, [1, 2, 3, 4, 5]);
    assert_eq!(memory.commits(), 1);
    assert_eq!(*published.lock().expect("no panic"), [0, 5]);
}

#[test]
fn commits_nothing_when_nothing_was_written() {
    let memory = Memory::new(1);
    let (mut core, published) = core(&memory);
    let answers = core.step(vec![Operation::Read, Operation::Read]);
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!((memory.commits(), core.owner().seals), (0, 0));
    // What the owner knows without the store may have changed all the same.
    assert_eq!(*published.lock().expect("no panic"), [0, 0]);
}

#[test]
fn takes_back_what_a_stumbling_operation_wrote_and_keeps_the_others() {
    let memory = Memory::new(1);
    let (mut core, _) = core(&memory);
    let answers = core.step(vec![Operation::Add, Operation::Stumble, Operation::Add]);
    assert!(matches!(
        answers[..],
        [
            Ok(1),
            Err(CommitError::Unreadable(RecordError::Damaged(_))),
            Ok(2)
        ]
    ));
    assert_eq!(number(stored(&memory, KEY)), 2);
    assert_eq!(stored(&memory, b"litter"), None);
}

#[test]
fn a_full_disk_fails_the_whole_batch_and_leaves_nothing_of_it() {
    let memory = Memory::new(1);
    let (mut core, published) = core(&memory);
    assert_eq!(core.step(adds(1)).len(), 1);
    memory.set_full(true);
    let answers = core.step(vec![Operation::Add, Operation::Read]);
    assert_all(&answers, |error| {
        matches!(error, CommitError::Full) && error.is_certain()
    });
    assert!(
        matches!(core.step(vec![Operation::Read])[..], [Ok(1)]),
        "reads go on"
    );
    memory.set_full(false);
    assert!(matches!(core.step(adds(1))[..], [Ok(2)]));
    assert_eq!(*published.lock().expect("no panic"), [0, 1, 1, 1, 2]);
}

#[test]
fn a_failed_commit_is_unknown_and_the_owner_takes_what_the_store_kept() {
    let mut kept = Vec::new();
    for seed in 0..16 {
        let memory = Memory::new(seed);
        let (mut core, published) = core(&memory);
        memory.fail_next(Fault::Broken);
        let answers = core.step(adds(3));
        assert_all(&answers, |error| matches!(error, CommitError::Unknown(_)));
        assert!(!answers[0].as_ref().expect_err("it failed").is_certain());
        let now = core.owner().count;
        assert!(now == 0 || now == 3, "all of a commit or none");
        assert_eq!(published.lock().expect("no panic").last(), Some(&now));
        assert!(matches!(core.step(adds(1))[..], [Ok(next)] if next == now + 1));
        kept.push(now == 3);
    }
    assert!(kept.contains(&true) && kept.contains(&false));
}

#[test]
fn refuses_with_certainty_while_the_store_cannot_be_opened() {
    let memory = Memory::new(1);
    let (mut core, _) = core(&memory);
    memory.fail_next(Fault::Broken);
    memory.refuse_to_open(true);
    assert_all(&core.step(adds(1)), |error| {
        matches!(error, CommitError::Unknown(_))
    });
    assert_all(&core.step(adds(1)), |error| {
        matches!(error, CommitError::Unavailable(_)) && error.is_certain()
    });
    memory.refuse_to_open(false);
    assert!(matches!(core.step(adds(1))[..], [Ok(_)]));
}

#[test]
fn what_is_queued_while_a_commit_runs_is_one_commit() {
    let memory = Memory::new(1);
    let (core, _) = core(&memory);
    let (committer, thread) = Committer::start(core, "test", Arc::default()).expect("a thread");
    let (begun, has_begun) = channel();
    let (go, may_go) = channel();
    let first = committer
        .submit(Operation::Wait(begun, may_go))
        .expect("taken");
    has_begun.recv().expect("the committer has begun");
    let queue = || committer.submit(Operation::Add).expect("taken");
    let tickets: Vec<Ticket<u64>> = std::iter::repeat_with(queue).take(1_000).collect();
    go.send(()).expect("the committer waits");
    assert_eq!(first.wait().expect("kept"), 1);
    let answers: Vec<u64> = tickets
        .into_iter()
        .map(|one| one.wait().expect("kept"))
        .collect();
    assert!(
        answers.into_iter().eq(2..=1_001),
        "answers are in the order of the queue"
    );
    assert_eq!(memory.commits(), 2);
    thread.stop().expect("no panic");
}

#[test]
fn a_commit_takes_at_most_so_many_operations() {
    let memory = Memory::new(1);
    let (core, _) = core(&memory);
    let (committer, thread) = Committer::start(core, "test", Arc::default()).expect("a thread");
    let (begun, has_begun) = channel();
    let (go, may_go) = channel();
    let first = committer
        .submit(Operation::Wait(begun, may_go))
        .expect("taken");
    has_begun.recv().expect("the committer has begun");
    let count = BATCH_OPERATIONS_MAX + 1;
    let tickets: Vec<_> = adds(count)
        .into_iter()
        .map(|one| committer.submit(one))
        .collect();
    go.send(()).expect("the committer waits");
    drop(first);
    thread.stop().expect("no panic");
    assert!(
        tickets
            .into_iter()
            .all(|ticket| ticket.expect("taken").wait().is_ok())
    );
    assert_eq!(memory.commits(), 3);
}

#[test]
fn a_full_queue_refuses_at_once() {
    let memory = Memory::new(1);
    let (core, _) = core(&memory);
    let (committer, thread) = Committer::start(core, "test", Arc::default()).expect("a thread");
    let (begun, has_begun) = channel();
    let (go, may_go) = channel();
    let first = committer
        .submit(Operation::Wait(begun, may_go))
        .expect("taken");
    has_begun.recv().expect("the committer has begun");
    let heavy = committer
        .submit(Operation::Weigh(QUEUE_BYTES_MAX))
        .expect("taken");
    assert!(matches!(
        committer.submit(Operation::Add),
        Err(CommitError::Busy)
    ));
    assert_eq!(committer.queued_bytes(), QUEUE_BYTES_MAX);
    go.send(()).expect("the committer waits");
    assert_eq!(
        (first.wait().expect("kept"), heavy.wait().expect("kept")),
        (1, 2)
    );
    assert_eq!(committer.queued_bytes(), 0);
    assert_eq!(
        committer
            .submit(Operation::Add)
            .expect("taken")
            .wait()
            .expect("kept"),
        3
    );
    thread.stop().expect("no panic");
}

#[test]
fn a_queue_full_of_operations_refuses_at_once() {
    let memory = Memory::new(1);
    let (core, _) = core(&memory);
    let (committer, thread) = Committer::start(core, "test", Arc::default()).expect("a thread");
    let (begun, has_begun) = channel();
    let (go, may_go) = channel();
    let first = committer
        .submit(Operation::Wait(begun, may_go))
        .expect("taken");
    has_begun.recv().expect("the committer has begun");
    for _ in 0..QUEUE_OPERATIONS_MAX {
        drop(committer.submit(Operation::Add).expect("taken"));
    }
    assert!(matches!(
        committer.submit(Operation::Add),
        Err(CommitError::Busy)
    ));
    go.send(()).expect("the committer waits");
    assert_eq!(first.wait().expect("kept"), 1);
    thread.stop().expect("no panic");
    assert_eq!(
        number(stored(&memory, KEY)),
        QUEUE_OPERATIONS_MAX as u64 + 1
    );
}

#[test]
fn stopping_finishes_what_was_taken_and_takes_no_more() {
    let memory = Memory::new(1);
    let (core, _) = core(&memory);
    let (committer, thread) = Committer::start(core, "test", Arc::default()).expect("a thread");
    let tickets: Vec<_> = adds(100)
        .into_iter()
        .map(|one| committer.submit(one))
        .collect();
    thread.stop().expect("no panic");
    assert!(
        tickets
            .into_iter()
            .all(|ticket| ticket.expect("taken").wait().is_ok())
    );
    assert!(committer.is_closed());
    assert!(matches!(
        committer.submit(Operation::Add),
        Err(CommitError::Closed)
    ));
    assert_eq!(number(stored(&memory, KEY)), 100);
}

#[test]
fn a_committer_that_died_is_closed_and_says_that_nothing_is_known() {
    let memory = Memory::new(1);
    let (core, _) = core(&memory);
    let (committer, thread) = Committer::start(core, "test", Arc::default()).expect("a thread");
    let ticket = committer.submit(Operation::Panic).expect("taken");
    assert!(matches!(ticket.wait(), Err(CommitError::Lost)));
    while !thread.has_died() {
        std::thread::yield_now();
    }
    assert!(matches!(thread.stop(), Err(CommitError::Lost)));
    assert!(matches!(
        committer.submit(Operation::Add),
        Err(CommitError::Closed)
    ));
}

#[test]
fn answers_tasks_too() {
    let memory = Memory::new(1);
    let (core, _) = core(&memory);
    let (committer, thread) = Committer::start(core, "test", Arc::default()).expect("a thread");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    assert_eq!(
        runtime
            .block_on(committer.commit(Operation::Add))
            .expect("kept"),
        1
    );
    thread.stop().expect("no panic");
}

#[test]
fn another_user_of_the_store_opens_it_again_and_readers_get_a_new_view() {
    let memory = Memory::new(1);
    let (core, published) = core(&memory);
    let (committer, thread) = Committer::start(core, "test", Arc::default()).expect("a thread");
    assert_eq!(
        committer
            .submit(Operation::Add)
            .expect("taken")
            .wait()
            .expect("kept"),
        1
    );
    memory.fail_next(Fault::Broken);
    let write = Write::put(Space::Authority, b"vote".to_vec(), Vec::new());
    assert!(memory.commit(vec![write], Durability::Synced).is_err());
    memory.reopen().expect("the twin opens again");
    thread.stop().expect("no panic");
    assert_eq!(
        *published.lock().expect("no panic"),
        [0, 1, 1],
        "without any operation"
    );
}

#[test]
fn a_store_that_someone_else_broke_refuses_with_certainty_and_is_opened_again() {
    let memory = Memory::new(1);
    let (mut core, _) = core(&memory);
    memory.fail_next(Fault::Broken);
    let write = Write::put(Space::Authority, b"vote".to_vec(), Vec::new());
    assert!(memory.commit(vec![write], Durability::Synced).is_err());
    assert_all(&core.step(adds(1)), |error| {
        matches!(error, CommitError::Unavailable(_)) && error.is_certain()
    });
    assert!(matches!(core.step(adds(1))[..], [Ok(1)]));
}

#[test]
fn a_store_opened_again_between_two_commits_is_no_failure() {
    let memory = Memory::new(1);
    let (mut core, _) = core(&memory);
    assert!(matches!(core.step(adds(1))[..], [Ok(1)]));
    memory.crash();
    assert!(matches!(core.step(adds(1))[..], [Ok(2)]));
}

/// A committer that has answered once, after a sync, and then once more, lazily.
fn unsynced(memory: &Memory) -> (Core<Tally>, Published) {
    let (mut core, published) = core(memory);
    assert!(core.step(adds(1))[0].is_ok());
    assert_eq!((memory.unsynced(), core.sync_due()), (0, None));
    core.set_unsynced(true);
    assert!(matches!(core.step(adds(1))[..], [Ok(2)]));
    assert_eq!(memory.unsynced(), 1);
    (core, published)
}

#[test]
fn an_unsynced_commit_is_answered_and_shown_before_it_is_synced_and_goes_with_the_power() {
    let memory = Memory::new(1);
    let (core, published) = unsynced(&memory);
    assert_eq!(published.lock().expect("no panic").last(), Some(&2));
    assert_eq!(number(stored(&memory, KEY)), 2);
    assert!(core.sync_due().is_some());
    memory.crash();
    assert_eq!(number(stored(&memory, KEY)), 1);
}

#[test]
fn a_sync_keeps_what_was_answered_and_is_due_from_the_first_of_them_on() {
    let memory = Memory::new(1);
    let (mut core, _) = unsynced(&memory);
    let due = core.sync_due();
    assert!(core.step(adds(1))[0].is_ok());
    assert_eq!((memory.unsynced(), core.sync_due()), (2, due));
    core.sync().expect("the twin works");
    assert_eq!((memory.unsynced(), core.sync_due()), (0, None));
    memory.crash();
    assert_eq!(number(stored(&memory, KEY)), 3);
}

#[test]
fn what_may_not_be_unsynced_is_answered_after_all_before_it_is_synced() {
    let strict: [fn() -> Operation; 2] = [|| Operation::Weigh(1), || Operation::Read];
    for operation in strict {
        let memory = Memory::new(1);
        let (mut core, _) = unsynced(&memory);
        assert!(core.step(vec![Operation::Add, operation()])[1].is_ok());
        assert_eq!((memory.unsynced(), core.sync_due()), (0, None));
        assert!(core.step(adds(1))[0].is_ok());
        assert!(core.step(vec![operation()])[0].is_ok());
        assert_eq!((memory.unsynced(), core.sync_due()), (0, None));
    }
}

#[test]
fn a_sync_that_fails_is_told_once_and_the_owner_takes_what_the_store_kept() {
    let memory = Memory::new(1);
    let (mut core, _) = unsynced(&memory);
    memory.fail_next(Fault::Broken);
    assert!(matches!(core.sync(), Err(CommitError::Unknown(_))));
    assert_eq!(core.sync_due(), None);
    assert!(core.sync().is_ok());
    let kept = number(stored(&memory, KEY));
    assert!(matches!(core.step(adds(1))[..], [Ok(count)] if count == kept + 1));
}

#[test]
fn the_thread_syncs_by_itself_and_at_once_when_it_is_told_to_answer_unsynced_no_more() {
    let memory = Memory::new(1);
    let (core, _) = core(&memory);
    let (committer, thread) = Committer::start(core, "test", Arc::default()).expect("a thread");
    committer.set_unsynced(true);
    let add = || committer.submit(Operation::Add).expect("room").wait();
    assert!(matches!(add(), Ok(1)));
    while 0 < memory.unsynced() {
        std::thread::yield_now();
    }
    assert!(matches!(add(), Ok(2)));
    committer.set_unsynced(false);
    tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime")
        .block_on(committer.sync())
        .expect("the twin works");
    assert_eq!(memory.unsynced(), 0);
    assert!(matches!(add(), Ok(3)));
    assert_eq!(memory.unsynced(), 0);
    committer.set_unsynced(true);
    assert!(matches!(add(), Ok(4)));
    thread.stop().expect("no panic");
    memory.crash();
    assert_eq!(number(stored(&memory, KEY)), 4, "the end syncs");
}

#[tokio::test(start_paused = true)]
async fn a_task_commits_as_the_thread_does_and_takes_the_time_it_is_told() {
    let memory = Memory::new(1);
    let (core, _) = core(&memory);
    let pace = Duration::from_secs(3);
    let (committer, task) = Committer::start_task(core, Box::new(move || pace), Arc::default());
    let begun = tokio::time::Instant::now();
    let queue = || committer.submit(Operation::Add).expect("taken");
    let tickets: Vec<Ticket<u64>> = std::iter::repeat_with(queue).take(100).collect();
    for (ticket, count) in tickets.into_iter().zip(1..) {
        assert_eq!(ticket.await.expect("kept"), count);
    }
    assert_eq!((memory.commits(), begun.elapsed()), (1, pace));
    committer.set_unsynced(true);
    committer.commit(Operation::Add).await.expect("kept");
    tokio::time::sleep(UNSYNCED_TIME_MAX * 2).await;
    assert_eq!(memory.unsynced(), 0);
    let last = committer.submit(Operation::Add).expect("taken");
    task.stop().expect("no panic");
    assert_eq!(last.await.expect("finished before the end"), 102);
    assert!(matches!(
        committer.submit(Operation::Add),
        Err(CommitError::Closed)
    ));
}
