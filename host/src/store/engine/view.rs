//! This is a view of one space as a commit left it, safe to hold while the engine closes.

use crate::store::checked::unframe;
use crate::store::engine::fault::unreadable;
use crate::store::engine::{Shared, is_reserved};
use crate::store::{RESERVED_PREFIX, Space};
use fjall::{Keyspace, Readable};
use soros_core::record::{Listed, RecordError, Records, Surveyor};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

/// A view of one space as it was when it was taken.
pub(super) struct View {
    pub(super) shared: Arc<Shared>,
    pub(super) opening: u64,
    pub(super) space: Space,
    pub(super) snapshot: Option<fjall::Snapshot>,
}

impl View {
    fn read<T>(
        &self,
        act: impl FnOnce(&fjall::Snapshot, &Keyspace) -> Result<T, RecordError>,
    ) -> Result<T, RecordError> {
        let state = self.shared.state();
        match (&state.running, &self.snapshot) {
            (Some(open), Some(snapshot)) if state.opening == self.opening => {
                let keyspace = open.keyspace(self.space);
                std::panic::catch_unwind(AssertUnwindSafe(|| act(snapshot, keyspace))).unwrap_or(
                    Err(RecordError::Damaged("the engine could not read a table")),
                )
            }
            _ => Err(RecordError::Failed(
                "the engine was closed after it failed".to_owned(),
            )),
        }
    }

    /// The keys of at most `limit` records, whether or not these can be read.
    pub(super) fn keys(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, RecordError> {
        let from = from.max(&[RESERVED_PREFIX + 1]);
        if to <= from {
            return Ok(Vec::new());
        }
        self.read(|snapshot, keyspace| {
            let range = snapshot.range(keyspace, from..to).take(limit);
            let key = |guard: fjall::Guard| guard.key().map(|key| key.to_vec());
            let keys: fjall::Result<Vec<_>> = range.map(key).collect();
            keys.map_err(|error| unreadable(&error))
        })
    }
}

impl Records for View {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, RecordError> {
        if is_reserved(key) {
            return Ok(None);
        }
        self.read(|snapshot, keyspace| {
            let stored = snapshot
                .get(keyspace, key)
                .map_err(|error| unreadable(&error))?;
            stored
                .map(|stored| Ok(unframe(self.space, key, &stored)?.to_vec()))
                .transpose()
        })
    }

    fn survey(&self, from: &[u8], to: &[u8], each: &mut Surveyor<'_>) -> Result<(), RecordError> {
        let from = from.max(&[RESERVED_PREFIX + 1]);
        if to <= from {
            return Ok(());
        }
        self.read(|snapshot, keyspace| {
            for guard in snapshot.range(keyspace, from..to) {
                let (key, stored) = guard.into_inner().map_err(|error| unreadable(&error))?;
                if each(&key, unframe(self.space, &key, &stored)).is_break() {
                    break;
                }
            }
            Ok(())
        })
    }

    fn list(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Listed>, RecordError> {
        let from = from.max(&[RESERVED_PREFIX + 1]);
        if to <= from {
            return Ok(Vec::new());
        }
        let listed = |guard: fjall::Guard| {
            let (key, stored) = guard.into_inner().map_err(|error| unreadable(&error))?;
            let (key, bytes) = (key.to_vec(), stored.len());
            Ok(Listed { key, bytes })
        };
        self.read(|snapshot, keyspace| {
            let range = snapshot.range(keyspace, from..to);
            range.take(limit).map(listed).collect()
        })
    }
}
