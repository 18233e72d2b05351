//! This is what a machine may ask of the disk: reads of sorted records, and the writes of one
//! atomic durable batch.
//!
//! The host answers from its storage engine with the batch so far laid over it, the simulator from
//! an ordered map, so that both run the same bytes through the same rules.

/// Why a record could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The storage engine failed; the message is for the operator's log.
    #[error("the storage engine failed: {0}")]
    Failed(String),
    /// A record is not what was written: its checksum or its layout is wrong.
    #[error("a stored record is damaged: {0}")]
    Damaged(&'static str),
}

/// A key and what is stored under it.
pub type Record = (Vec<u8>, Vec<u8>);

/// Reads of one consistent state of sorted records.
pub trait Records {
    /// The record under `key`.
    ///
    /// # Errors
    /// [`RecordError`] when the engine fails or the record is damaged.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, RecordError>;

    /// At most `limit` records from `from` (included) to `to` (excluded), in byte order.
    ///
    /// # Errors
    /// [`RecordError`] when the engine fails or a record is damaged.
    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Record>, RecordError>;
}

/// The writes of one commit: all of them become durable, or none. Reads see the writes so far.
pub trait Batch: Records {
    /// Stores `value` under `key`.
    fn put(&mut self, key: Vec<u8>, value: Vec<u8>);

    /// Removes what is under `key`.
    fn remove(&mut self, key: Vec<u8>);
}
