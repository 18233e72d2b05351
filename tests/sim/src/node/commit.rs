//! This is the committer: one batch at a time, synced before anyone is answered.

use super::partitions::{Answer, Operation};
use super::{Output, Process, TaskId, Turn};
use crate::bug::Bug;
use crate::disk::Overlay;
use crate::moment::{MILLI, Moment};
use crate::node::{Alarm, CallId};
use soros_core::id::NodeId;
use soros_core::place::Place;
use std::collections::VecDeque;

/// How many operations a batch takes.
const BATCH: usize = 64;
/// How long what was answered unsynced stays so, in microseconds.
const UNSYNCED: u64 = 100 * MILLI;

/// Who waits for an operation.
#[derive(Clone, Copy, Debug)]
pub(super) enum Waiter {
    Nobody,
    Task(TaskId),
    Peer(NodeId, CallId),
    Remembered(NodeId, CallId),
}

/// The operations that wait, and the ones whose batch is being synced.
#[derive(Debug, Default)]
pub(super) struct Committer {
    queue: VecDeque<(Operation, Waiter)>,
    syncing: Option<Vec<(Waiter, Answer)>>,
    /// Since when something is answered and not synced.
    unsynced: Option<Moment>,
}

impl Committer {
    /// Whether a step to drop a partition waits.
    pub(super) fn renews(&self, place: Place) -> bool {
        let is_it = |operation: &Operation| {
            matches!(operation, Operation::Renewal { step, .. } if step.drops())
                && operation.place() == Some(place)
        };
        self.queue.iter().any(|(operation, _)| is_it(operation))
    }

    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.syncing.is_none()
    }
}

impl Process {
    pub(super) fn submit(&mut self, operation: Operation, waiter: Waiter) {
        self.committer.queue.push_back((operation, waiter));
    }

    pub(super) fn submit_silently(&mut self, operation: Operation) {
        self.submit(operation, Waiter::Nobody);
    }

    /// Begins the next batch when none is under way.
    pub(super) fn pump(&mut self, turn: &mut Turn<'_>) {
        while self.committer.syncing.is_none() && !self.committer.queue.is_empty() {
            self.begin_batch(turn);
        }
    }

    fn begin_batch(&mut self, turn: &mut Turn<'_>) {
        let many = self.committer.queue.len().min(BATCH);
        let operations: Vec<_> = self.committer.queue.drain(..many).collect();
        let (now, bug) = (turn.now, turn.settings.bug);
        let is_write = |(operation, _): &(Operation, Waiter)| operation.may_be_unsynced();
        let lazy = turn.settings.lazy && operations.iter().all(is_write);
        let mut overlay = Overlay::new(turn.disk, bug);
        let mut answers = Vec::new();
        for (operation, waiter) in operations {
            let answer = match (&operation, self.clock.check()) {
                (Operation::Write { .. }, Err(skew)) => Answer::ClockOff(skew),
                _ => self.partitions.apply(operation, &mut overlay, now, bug),
            };
            answers.push((waiter, answer));
        }
        // As on a node: nothing more is written when nothing was.
        if !overlay.is_empty() {
            self.partitions.seal(&mut overlay);
        }
        let changes = overlay.into_changes();
        turn.disk.write(changes);
        // From here on they may be gone: a crash need not wait for the sync.
        let renewed = self.partitions.renewed().iter().copied();
        turn.outputs.extend(renewed.map(Output::Renewed));
        for (place, generation) in self.partitions.take_noted() {
            self.note_damage(turn, place, generation);
        }
        if lazy {
            self.answer_unsynced(turn, answers);
        } else {
            self.begin_sync(turn, answers);
        }
    }

    /// Answers at once, and sees to it that the disk syncs soon.
    fn answer_unsynced(&mut self, turn: &mut Turn<'_>, answers: Vec<(Waiter, Answer)>) {
        if self.committer.unsynced.is_none() {
            self.committer.unsynced = Some(turn.now);
            turn.wake(UNSYNCED, Alarm::SyncDue);
        }
        turn.disk.show();
        self.publish();
        for (waiter, answer) in answers {
            self.tell_waiter(turn, waiter, answer);
        }
    }

    /// What was answered unsynced is synced, unless it was with something else.
    pub(super) fn on_sync_due(&mut self, turn: &mut Turn<'_>) {
        if self.committer.unsynced.is_some() && self.committer.syncing.is_none() {
            self.begin_sync(turn, Vec::new());
        }
    }

    /// Since when something is answered and not synced, if anything is.
    #[must_use]
    pub fn unsynced_since(&self) -> Option<Moment> {
        self.committer.unsynced
    }

    /// The store reads all it has, and notes the partitions of which it finds a record damaged.
    pub fn scrub(&mut self, turn: &mut Turn<'_>) {
        let places: Vec<Place> = turn.table.places_of(self.me).collect();
        for place in places {
            let shown = self.partitions.shown(place);
            let layout = shown.map(|shown| shown.layout);
            if let Some(layout) = layout.filter(|it| turn.disk.is_damaged_under(&it.first())) {
                self.note_damage(turn, place, Some(layout.generation()));
            }
        }
        self.pump(turn);
    }

    fn begin_sync(&mut self, turn: &mut Turn<'_>, answers: Vec<(Waiter, Answer)>) {
        turn.outputs.push(Output::Sync);
        if turn.has(Bug::AckBeforeSync) {
            turn.disk.show();
            self.publish();
            for (waiter, answer) in answers {
                self.tell_waiter(turn, waiter, answer);
            }
        } else {
            self.committer.syncing = Some(answers);
        }
    }

    pub(super) fn on_synced(&mut self, turn: &mut Turn<'_>) {
        turn.disk.sync();
        self.committer.unsynced = None;
        let Some(answers) = self.committer.syncing.take() else {
            return;
        };
        self.publish();
        for (waiter, answer) in answers {
            self.tell_waiter(turn, waiter, answer);
        }
    }

    fn publish(&mut self) {
        for place in self.partitions.publish() {
            self.damaged.remove(&place);
        }
    }

    fn tell_waiter(&mut self, turn: &mut Turn<'_>, waiter: Waiter, answer: Answer) {
        match waiter {
            Waiter::Nobody => (),
            Waiter::Peer(node, call) => self.on_merged_for(turn, (node, call), &answer),
            Waiter::Remembered(node, call) => self.on_remembered(turn, (node, call), &answer),
            Waiter::Task(id) => self.on_committed(turn, id, answer),
        }
    }
}
