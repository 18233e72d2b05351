//! This is how a committer answers before it syncs, and syncs soon after: within a bound, at once
//! when it is told to, and at its end.

use super::{CommitError, Commits, Committer, Core, Message, failed};
use crate::telemetry::CommitFigures;
use soros_core::limits::UNSYNCED_TIME_MAX;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TrySendError};
use std::time::Instant;
use tokio::sync::oneshot;

impl<C: Commits> Core<C> {
    /// From the next commit on, what may be unsynced is answered before it is synced, or nothing
    /// is.
    pub fn set_unsynced(&mut self, unsynced: bool) {
        self.answers_unsynced = unsynced;
    }

    /// When what was answered is to be synced at the latest.
    #[must_use]
    pub fn sync_due(&self) -> Option<Instant> {
        self.unsynced.map(|since| since + UNSYNCED_TIME_MAX)
    }

    /// Syncs what was answered before it was.
    ///
    /// # Errors
    /// [`CommitError`]; what was answered may be lost then.
    pub fn sync(&mut self) -> Result<(), CommitError> {
        if self.unsynced.is_none() {
            // While the store is broken, what was answered may still be on its way to the disk.
            let broken = self.broken.clone().map(CommitError::Unavailable);
            return broken.map_or(Ok(()), Err);
        }
        let synced = self.sync_store();
        if let Err(error) = &synced {
            tracing::error!(%error, "what was answered could not be synced");
            // A store that opens again syncs what it finds.
            self.unsynced = None;
            self.after_failure();
        }
        synced
    }

    pub(super) fn sync_store(&mut self) -> Result<(), CommitError> {
        if self.unsynced.is_some() {
            self.store.sync().map_err(failed)?;
            self.unsynced = None;
        }
        Ok(())
    }
}

impl<O: Send + 'static, A: Send + 'static> Committer<O, A> {
    /// From here on what may be unsynced is answered before it is synced, or nothing is. Whether it
    /// was so before.
    #[expect(clippy::must_use_candidate, reason = "who sets it may not care")]
    pub fn set_unsynced(&self, unsynced: bool) -> bool {
        self.load.unsynced.swap(unsynced, Ordering::AcqRel)
    }

    /// Waits until everything that was answered is synced.
    ///
    /// # Errors
    /// [`CommitError`].
    pub async fn sync(&self) -> Result<(), CommitError> {
        let (answer, answered) = oneshot::channel();
        let sent = self.queue.try_send(Message::Sync(answer));
        self.load.ring();
        match sent {
            Ok(()) => answered.await.unwrap_or(Err(CommitError::Lost)),
            Err(TrySendError::Full(_)) => Err(CommitError::Busy),
            Err(TrySendError::Disconnected(_)) => Err(CommitError::Closed),
        }
    }
}

pub(super) fn sync<C: Commits>(
    core: &mut Core<C>,
    figures: &CommitFigures,
) -> Result<(), CommitError> {
    core.sync().inspect_err(|_| figures.failures.increment())
}

/// What the thread does next.
pub(super) enum Next<O, A> {
    Message(Message<O, A>),
    SyncIsDue,
    End,
}

/// Waits for a message, but not for longer than until `due`.
pub(super) fn next<O, A>(
    queued: &Receiver<Message<O, A>>,
    stopping: bool,
    due: Option<Instant>,
) -> Next<O, A> {
    let received = match due {
        _ if stopping => queued
            .try_recv()
            .map_err(|_| RecvTimeoutError::Disconnected),
        Some(due) => queued.recv_timeout(due.saturating_duration_since(Instant::now())),
        None => queued.recv().map_err(|_| RecvTimeoutError::Disconnected),
    };
    match received {
        Ok(message) => Next::Message(message),
        Err(RecvTimeoutError::Timeout) => Next::SyncIsDue,
        Err(RecvTimeoutError::Disconnected) => Next::End,
    }
}
