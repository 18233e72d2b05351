//! This is the committer as a task of a runtime instead of a thread, over a store that answers at
//! once: a simulation decides by it how long a disk takes, and everything else is as it is.

use super::{CloseAtEnd, Commits, Committer, CommitterThread, Core, Load, Running, Runs};
use crate::telemetry::CommitFigures;
use std::sync::Arc;
use std::sync::mpsc::TryRecvError;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

/// How long each commit takes.
pub type Pace = Box<dyn FnMut() -> Duration + Send>;

impl<O: Send + 'static, A: Send + 'static> Committer<O, A> {
    /// Starts a task of the current runtime around `core`, whose work shows in `figures` and whose
    /// commits each take as long as `pace` says.
    ///
    /// # Panics
    /// When called outside a runtime.
    #[must_use]
    pub fn start_task<C>(
        core: Core<C>,
        pace: Pace,
        figures: Arc<CommitFigures>,
    ) -> (Committer<O, A>, CommitterThread<O, A>)
    where
        C: Commits<Operation = O, Answer = A>,
    {
        let load = Load {
            bell: Some(Notify::new()),
            ..Load::default()
        };
        let (committer, running) = Committer::around(core, figures, load);
        let guard = CommitterThread {
            committer: committer.clone(),
            runs: Some(Runs::Task(tokio::spawn(running.run_at(pace)))),
        };
        (committer, guard)
    }
}

impl<C: Commits> Running<C> {
    async fn run_at(mut self, mut pace: Pace) {
        let load = Arc::clone(&self.load);
        let _close = CloseAtEnd(&load);
        loop {
            match self.queued.try_recv() {
                Ok(first) => {
                    // What is queued meanwhile is in the same commit, as behind a sync.
                    sleep(pace()).await;
                    self.commit(first);
                }
                Err(TryRecvError::Empty) if !self.stopping => self.wait(&load).await,
                Err(_) => return self.sync_unasked(),
            }
        }
    }

    /// Waits for a message, or syncs what is due before one comes.
    async fn wait(&mut self, load: &Load) {
        let Some(bell) = &load.bell else { return };
        let due = self.core.sync_due().map(Instant::from_std);
        let is_due = async {
            match due {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = bell.notified() => {}
            () = is_due => self.sync_unasked(),
        }
    }
}
