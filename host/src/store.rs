//! This is where a node keeps its records: sorted spaces of bytes behind one small trait, with
//! atomic durable commits over all of them.

use room::Disk;
use soros_core::record::{Record, RecordError, Records};
use tokio::task::{JoinError, spawn_blocking};

pub mod checked;
pub mod commit;
pub mod components;
#[cfg(test)]
pub(crate) mod conformance;
pub mod directory;
pub mod engine;
mod identity;
pub mod mark;
pub mod memory;
pub mod native;
pub mod overlay;
pub mod room;
pub mod sequence;
mod whole;

/// A sorted space of records. All spaces share one journal, so a commit over several is atomic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Space {
    /// The state of all partitions this node holds: clocks, objects, dot logs and indexes.
    Partitions,
    /// What the node knows of itself and of the cluster: incarnation, map.
    Node,
    /// The authority's log, vote and snapshots.
    Authority,
}

impl Space {
    /// Every space.
    pub const ALL: [Space; 3] = [Space::Partitions, Space::Node, Space::Authority];

    /// The name of the space on disk.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Space::Partitions => "partitions",
            Space::Node => "node",
            Space::Authority => "authority",
        }
    }

    /// The number of the space on disk, part of every record's checksum.
    #[must_use]
    pub fn tag(self) -> u8 {
        match self {
            Space::Partitions => 0,
            Space::Node => 1,
            Space::Authority => 2,
        }
    }

    fn index(self) -> usize {
        usize::from(self.tag())
    }
}

/// The first byte of keys that the store keeps for itself, in every space: it neither shows nor
/// takes records under such keys.
pub const RESERVED_PREFIX: u8 = 0x00;

/// One write of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The space it goes to.
    pub space: Space,
    /// The record's key.
    pub key: Vec<u8>,
    /// What to store; `None` removes the record.
    pub value: Option<Vec<u8>>,
}

impl Write {
    /// A record to store.
    #[must_use]
    pub fn put(space: Space, key: Vec<u8>, value: Vec<u8>) -> Write {
        Write {
            space,
            key,
            value: Some(value),
        }
    }

    /// A record to remove.
    #[must_use]
    pub fn remove(space: Space, key: Vec<u8>) -> Write {
        Write {
            space,
            key,
            value: None,
        }
    }
}

/// When a commit is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// After it is on disk.
    Synced,
    /// After it is in the engine's journal, whatever becomes of the process. Snapshots show it, and
    /// a power cut may take it before the next [`Store::sync`] or synced commit, of any space.
    Unsynced,
}

/// Why the store could not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk is full; nothing of the commit was kept.
    #[error("the disk is full")]
    Full,
    /// The store failed before and was not opened again since; nothing of the commit was kept.
    #[error("the store is not open: {0}")]
    NotOpen(String),
    /// The disk or the engine failed; the store must be opened again before it is used.
    #[error("the storage engine failed: {0}")]
    Failed(String),
    /// What is stored is not what was written.
    #[error("the store is damaged: {0}")]
    Damaged(String),
}

/// Who is told that a store was opened again.
pub type ReopenListener = Box<dyn Fn() + Send + Sync>;

/// A node's durable records. Keys are not empty and do not begin with [`RESERVED_PREFIX`].
pub trait Store: Send + Sync + 'static {
    /// A consistent view of `space` as the last commit left it.
    fn snapshot(&self, space: Space) -> Box<dyn Records + Send + Sync>;

    /// The keys of at most `limit` records of `space` from `from` (included) to `to` (excluded),
    /// damaged ones too: for who removes them.
    ///
    /// # Errors
    /// [`RecordError`] when the engine fails.
    fn keys(
        &self,
        space: Space,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, RecordError>;

    /// Makes all of `writes` durable, or none.
    ///
    /// # Errors
    /// [`StoreError`]; after [`StoreError::Failed`] nothing is known of the commit, and the store
    /// takes no other before [`Store::reopen`].
    fn commit(&self, writes: Vec<Write>, durability: Durability) -> Result<(), StoreError>;

    /// Whether nothing here ever waits for a disk.
    fn answers_at_once(&self) -> bool {
        false
    }

    /// Makes every commit so far durable.
    ///
    /// # Errors
    /// [`StoreError`]; after [`StoreError::Failed`] nothing is known of the unsynced commits.
    fn sync(&self) -> Result<(), StoreError>;

    /// The bytes the store takes on disk, about.
    fn bytes(&self) -> u64;

    /// How the disk is, as of a moment ago. Quick enough to be asked for each write.
    fn disk(&self) -> Disk;

    /// Writes out all that is buffered, so that the next opening is quick.
    ///
    /// # Errors
    /// [`StoreError`] when the disk fails.
    fn flush(&self) -> Result<(), StoreError>;

    /// Opens the store again after it failed; does nothing to one that works. Snapshots taken
    /// before it opened again answer [`RecordError::Failed`], so whoever keeps one takes a new one
    /// when [`Store::openings`] has changed.
    ///
    /// # Errors
    /// [`StoreError::Full`] when there is no room to open it; snapshots answer as before. Any other
    /// when it cannot be opened; snapshots then answer nothing until it can.
    fn reopen(&self) -> Result<(), StoreError>;

    /// How often the store was opened again.
    fn openings(&self) -> u64;

    /// Calls `listener` each time the store has been opened again. It must not call the store.
    fn on_reopened(&self, listener: ReopenListener);
}

/// Does `work` on what `store` is on, without holding up the thread that asks if that waits for a
/// disk: a sync takes milliseconds.
///
/// # Errors
/// When the work panicked.
pub async fn aside<T: Send + 'static>(
    store: &dyn Store,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    if store.answers_at_once() {
        Ok(work())
    } else {
        spawn_blocking(work).await
    }
}

/// At most `limit` records of `space` from `from` (included) to `to` (excluded).
///
/// # Errors
/// [`RecordError`] when the engine fails or a record is damaged.
pub fn scan(
    store: &dyn Store,
    space: Space,
    from: &[u8],
    to: &[u8],
    limit: usize,
) -> Result<Vec<Record>, RecordError> {
    store.snapshot(space).scan(from, to, limit)
}
