//! This is what a machine may ask of the disk: reads of sorted records, and the writes of one
//! atomic durable batch.
//!
//! The host answers from its storage engine with the batch so far laid over it, the simulator from
//! an ordered map, so that both run the same bytes through the same rules.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// Why a record could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The storage engine failed; the message is for the operator's log.
    #[error("the storage engine failed: {0}")]
    Failed(String),
    /// A record is not what was written: its checksum is wrong.
    #[error("a stored record is damaged: {0}")]
    Damaged(&'static str),
    /// A record is what was written, in a layout that this program does not know: a newer one wrote
    /// it, or this one has a bug. To drop it would be to lose it everywhere.
    #[error("a stored record has an unknown layout: {0}")]
    Strange(&'static str),
}

/// A key and what is stored under it.
pub type Record = (Vec<u8>, Vec<u8>);

/// Takes a key and what is stored under it, and says whether it wants the next.
pub type Visitor<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// A record's key, and about how much is stored under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The key.
    pub key: Vec<u8>,
    /// The bytes that are stored under it.
    pub bytes: usize,
}

/// Takes a key and what is stored under it, or why that cannot be read, and says whether it wants
/// the next.
pub type Surveyor<'a> = dyn FnMut(&[u8], Result<&[u8], RecordError>) -> ControlFlow<()> + 'a;

/// Reads of one consistent state of sorted records.
pub trait Records {
    /// The record under `key`.
    ///
    /// # Errors
    /// [`RecordError`] when the engine fails or the record is damaged.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, RecordError>;

    /// Shows `each` the records from `from` (included) to `to` (excluded), in byte order, until it
    /// has enough, and goes on behind one that is damaged. It must not read records itself.
    ///
    /// # Errors
    /// [`RecordError`] when the engine fails, or cannot tell where the next record begins.
    fn survey(&self, from: &[u8], to: &[u8], each: &mut Surveyor<'_>) -> Result<(), RecordError>;

    /// Shows `each` the records from `from` (included) to `to` (excluded), in byte order, until it
    /// has enough. It must not read records itself.
    ///
    /// # Errors
    /// [`RecordError`] when the engine fails or a record that was come to is damaged.
    fn visit(&self, from: &[u8], to: &[u8], each: &mut Visitor<'_>) -> Result<(), RecordError> {
        let mut failed = Ok(());
        self.survey(from, to, &mut |key, value| match value {
            Ok(value) => each(key, value),
            Err(error) => {
                failed = Err(error);
                ControlFlow::Break(())
            }
        })?;
        failed
    }

    /// At most `limit` records from `from` (included) to `to` (excluded), in byte order. For small
    /// records only: those that hold values are [visited](Records::visit), within a bound of bytes.
    ///
    /// # Errors
    /// [`RecordError`] when the engine fails or a record is damaged.
    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Record>, RecordError> {
        let mut found = Vec::new();
        if 0 < limit {
            self.visit(from, to, &mut |key, value| {
                found.push((key.to_vec(), value.to_vec()));
                if found.len() < limit {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            })?;
        }
        Ok(found)
    }

    /// The keys of at most `limit` records from `from` (included) to `to` (excluded), in byte
    /// order. What is stored under them is not looked at: it may be large, or damaged.
    ///
    /// # Errors
    /// [`RecordError`] when the engine fails.
    fn list(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Listed>, RecordError>;
}

/// The writes of one commit: all of them become durable, or none. Reads see the writes so far.
pub trait Batch: Records {
    /// Stores `value` under `key`.
    fn put(&mut self, key: Vec<u8>, value: Vec<u8>);

    /// Removes what is under `key`.
    fn remove(&mut self, key: Vec<u8>);
}

/// Shows `each` the records of `base` from `from` (included) to `to` (excluded) as they are under
/// `pending`, the writes to that range in order; a write of none removes.
///
/// # Errors
/// [`RecordError`] when the engine fails, or cannot tell where the next record begins.
pub fn survey_merged<'p>(
    base: &dyn Records,
    (from, to): (&[u8], &[u8]),
    pending: impl Iterator<Item = (&'p Vec<u8>, &'p Option<Vec<u8>>)>,
    each: &mut Surveyor<'_>,
) -> Result<(), RecordError> {
    let mut pending = pending.peekable();
    let mut flow = ControlFlow::Continue(());
    base.survey(from, to, &mut |key, value| {
        while flow.is_continue()
            && let Some((key, value)) = pending.next_if(|(written, _)| &written[..] < key)
        {
            flow = show(key, value.as_deref(), each);
        }
        if flow.is_continue() {
            flow = match pending.next_if(|(written, _)| &written[..] == key) {
                Some((_, value)) => show(key, value.as_deref(), each),
                None => each(key, value),
            };
        }
        flow
    })?;
    while flow.is_continue()
        && let Some((key, value)) = pending.next()
    {
        flow = show(key, value.as_deref(), each);
    }
    Ok(())
}

fn show(key: &[u8], value: Option<&[u8]>, each: &mut Surveyor<'_>) -> ControlFlow<()> {
    value.map_or(ControlFlow::Continue(()), |value| each(key, Ok(value)))
}

/// At most `limit` of the records of `base` from `from` (included) to `to` (excluded) as they are
/// under `pending`, the writes to that range in order; a write of none removes.
///
/// # Errors
/// [`RecordError`] when the engine fails.
pub fn list_merged<'p>(
    base: &dyn Records,
    (from, to): (&[u8], &[u8]),
    pending: impl Iterator<Item = (&'p Vec<u8>, &'p Option<Vec<u8>>)> + Clone,
    limit: usize,
) -> Result<Vec<Listed>, RecordError> {
    // Each removal hides at most one stored record, so this many are enough to fill the limit.
    let removed = pending.clone().filter(|(_, value)| value.is_none()).count();
    let stored = base.list(from, to, limit.saturating_add(removed))?;
    let stored = stored.into_iter().map(|listed| (listed.key, listed.bytes));
    let mut merged: BTreeMap<Vec<u8>, usize> = stored.collect();
    for (key, value) in pending {
        match value {
            Some(value) => merged.insert(key.clone(), value.len()),
            None => merged.remove(key),
        };
    }
    let listed = merged.into_iter().take(limit);
    Ok(listed.map(|(key, bytes)| Listed { key, bytes }).collect())
}
