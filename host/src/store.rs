//! This is where a node keeps its records: sorted spaces of bytes behind one small trait, with
//! atomic durable commits over all of them.

use soros_core::record::{Record, RecordError, Records};

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

/// When a commit is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// After it is on disk.
    Synced,
    /// After it is in the engine; a power cut may take it.
    Buffered,
}

/// Why the store could not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk is full; nothing of the commit was kept.
    #[error("the disk is full")]
    Full,
    /// The disk or the engine failed; the store must be opened again before it is used.
    #[error("the storage engine failed: {0}")]
    Failed(String),
    /// What is stored is not what was written.
    #[error("the store is damaged: {0}")]
    Damaged(String),
}

/// A node's durable records.
pub trait Store: Send + Sync + 'static {
    /// A consistent view of `space`, of what is synced only.
    fn snapshot(&self, space: Space) -> Box<dyn Records + Send + Sync>;

    /// Makes all of `writes` durable, or none.
    ///
    /// # Errors
    /// [`StoreError`]; after [`StoreError::Failed`] nothing is known of the commit.
    fn commit(&self, writes: Vec<Write>, durability: Durability) -> Result<(), StoreError>;

    /// The bytes the store takes on disk, about.
    fn bytes(&self) -> u64;

    /// Writes out all that is buffered, so that the next opening is quick.
    ///
    /// # Errors
    /// [`StoreError`] when the disk fails.
    fn flush(&self) -> Result<(), StoreError>;
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
