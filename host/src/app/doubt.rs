//! This is how a node's directory comes into doubt, and out of it: durably before anything else
//! follows from the doubt, and not before the node has had from others whatever it may have lost.

use crate::peer::Peer;
use crate::store::directory::{DirectoryError, Notes};
use crate::store::{Store, aside};
use soros_core::id::ClusterId;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::sleep;

/// How long what the disk refused is left alone.
const RETRY: Duration = Duration::from_millis(200);
/// How often it is looked whether a doubt has come to its end.
const PERIOD: Duration = Duration::from_secs(1);

/// What is noted of a node's disk beside its records, durably: see [`Notes`].
pub trait DiskNotes: Send + Sync + 'static {
    /// Whether not all may be there that was acknowledged.
    fn is_in_doubt(&self) -> bool;

    /// Whether a table of its engine is damaged, and what can be read is yet to be saved.
    fn is_torn(&self) -> bool;

    /// The cluster that it belongs to, once that is known.
    fn cluster(&self) -> Option<ClusterId>;

    /// It is in doubt, or is not any more.
    ///
    /// # Errors
    /// When the disk fails.
    fn set_in_doubt(&self, is_in_doubt: bool) -> Result<(), DirectoryError>;

    /// Writes are answered before they are synced, or are not any more.
    ///
    /// # Errors
    /// When the disk fails.
    fn set_unsynced(&self, is_unsynced: bool) -> Result<(), DirectoryError>;

    /// Which cluster it belongs to.
    ///
    /// # Errors
    /// When the disk fails.
    fn set_cluster(&self, cluster: ClusterId) -> Result<(), DirectoryError>;
}

impl DiskNotes for Notes {
    fn is_in_doubt(&self) -> bool {
        Notes::is_in_doubt(self)
    }

    fn is_torn(&self) -> bool {
        Notes::is_torn(self)
    }

    fn cluster(&self) -> Option<ClusterId> {
        Notes::cluster(self)
    }

    fn set_in_doubt(&self, is_in_doubt: bool) -> Result<(), DirectoryError> {
        if is_in_doubt {
            self.doubt()
        } else {
            self.resolve_doubt()
        }
    }

    fn set_unsynced(&self, is_unsynced: bool) -> Result<(), DirectoryError> {
        Notes::set_unsynced(self, is_unsynced)
    }

    fn set_cluster(&self, cluster: ClusterId) -> Result<(), DirectoryError> {
        Notes::set_cluster(self, cluster)
    }
}

/// The doubt about a node's directory.
pub(super) struct Doubts {
    notes: Arc<dyn DiskNotes>,
    /// What is on the same disk.
    store: Arc<dyn Store>,
    /// Held while a doubt begins, so that it is not taken for one that has come to its end.
    turn: Mutex<()>,
}

impl Doubts {
    /// What `notes` say of the disk of `store`.
    pub(super) fn new(notes: Arc<dyn DiskNotes>, store: Arc<dyn Store>) -> Doubts {
        let turn = Mutex::default();
        Doubts { notes, store, turn }
    }

    /// The cluster that the directory belongs to, once that is known.
    pub(super) fn cluster(&self) -> Option<ClusterId> {
        self.notes.cluster()
    }

    /// Notes that the directory is in doubt, then sees to what follows from it.
    pub(super) async fn begin(&self, consequences: impl Future<Output = ()>) {
        let _turn = self.turn.lock().await;
        while let Err(error) = self.change(|notes| notes.set_in_doubt(true)).await {
            tracing::error!(%error, "it could not be noted that the directory is in doubt");
            sleep(RETRY).await;
        }
        consequences.await;
    }

    /// Waits until no doubt is beginning.
    pub(super) async fn settled(&self) {
        let _turn = self.turn.lock().await;
    }

    /// Ends each doubt when its time has come, for ever.
    pub(super) async fn resolve(self: Arc<Self>, peer: Arc<Peer>) {
        loop {
            sleep(PERIOD).await;
            if self.notes.is_in_doubt() {
                self.resolve_if_whole(&peer).await;
            }
        }
    }

    async fn resolve_if_whole(&self, peer: &Peer) {
        let _turn = self.turn.lock().await;
        if !peer.is_whole() {
            return;
        }
        match self.change(|notes| notes.set_in_doubt(false)).await {
            Ok(()) => tracing::info!(
                "what the directory may have lost was had from the other replicas: it is in doubt \
                 no more"
            ),
            Err(error) => tracing::warn!(%error, "the doubt about the directory stays for now"),
        }
    }

    async fn change(
        &self,
        change: impl FnOnce(&dyn DiskNotes) -> Result<(), DirectoryError> + Send + 'static,
    ) -> Result<(), NoteError> {
        let notes = Arc::clone(&self.notes);
        Ok(aside(&*self.store, move || change(&*notes)).await??)
    }

    /// Notes whether writes are answered before they are synced; whether that is durable.
    pub(super) async fn note_unsynced(&self, is_unsynced: bool) -> bool {
        let noted = self
            .change(move |notes| notes.set_unsynced(is_unsynced))
            .await;
        if let Err(error) = &noted {
            tracing::error!(%error, "it could not be noted when writes are answered");
        }
        noted.is_ok()
    }

    /// Notes which cluster the directory belongs to.
    pub(super) async fn set_cluster(&self, cluster: ClusterId) {
        if self.notes.cluster() == Some(cluster) {
            return;
        }
        if let Err(error) = self.change(move |notes| notes.set_cluster(cluster)).await {
            tracing::error!(%error, "the directory does not know its cluster");
        }
    }
}

/// Why something could not be noted.
#[derive(Debug, thiserror::Error)]
enum NoteError {
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error("it was broken off: {0}")]
    Broken(#[from] tokio::task::JoinError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::directory::{Directory, Doubt};
    use crate::store::engine::EngineOptions;
    use std::path::Path;
    use tokio::time::timeout;

    fn open(path: &Path) -> (Directory, Vec<Doubt>) {
        let name = "n1".parse().expect("a name");
        let opened = Directory::open(path, Some(&name), EngineOptions::default());
        let (directory, opened) = opened.expect("the directory opens");
        (directory, opened.doubts)
    }

    #[tokio::test]
    async fn a_doubt_is_durable_before_anything_follows_from_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let (directory, _) = open(folder.path());
        let doubts = Doubts::new(Arc::new(directory.notes()), directory.store());
        // As when no partition is open yet, and the process is killed.
        let begun = doubts.begin(std::future::pending());
        let ended = timeout(Duration::from_secs(1), begun).await;
        assert!(ended.is_err());
        drop((doubts, directory));
        assert_eq!(open(folder.path()).1, [Doubt::Earlier]);
    }
}
