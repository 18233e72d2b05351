//! This is what one commit of the committer is made of: the messages that were queued together.

use super::{Answered, BATCH_BYTES_MAX, BATCH_OPERATIONS_MAX, Message};
use tokio::sync::oneshot;

/// The operations of one commit and who waits for each.
pub(super) struct Group<O, A> {
    pub(super) operations: Vec<O>,
    pub(super) waiting: Vec<oneshot::Sender<Answered<A>>>,
    /// Who waits for a sync.
    pub(super) syncs: Vec<oneshot::Sender<Answered<()>>>,
    pub(super) weight: usize,
}

impl<O, A> Default for Group<O, A> {
    fn default() -> Group<O, A> {
        Group {
            operations: Vec::new(),
            waiting: Vec::new(),
            syncs: Vec::new(),
            weight: 0,
        }
    }
}

impl<O, A> Group<O, A> {
    /// Whether the committer is to go on after `message`.
    pub(super) fn take(&mut self, message: Message<O, A>) -> bool {
        match message {
            Message::Operation(queued) => {
                self.operations.push(queued.operation);
                self.waiting.push(queued.answer);
                self.weight = self.weight.saturating_add(queued.weight);
                true
            }
            Message::Reopened => true,
            Message::Sync(waiting) => {
                self.syncs.push(waiting);
                true
            }
            Message::Stop => false,
        }
    }

    pub(super) fn is_full(&self) -> bool {
        BATCH_OPERATIONS_MAX <= self.operations.len() || BATCH_BYTES_MAX <= self.weight
    }
}
