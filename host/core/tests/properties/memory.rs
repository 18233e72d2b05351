//! This is a disk that forgets nothing: sorted records in memory, of which some may be damaged.

use soros_core::record::{Batch, Listed, RecordError, Records, Surveyor};
use std::collections::{BTreeMap, BTreeSet};

/// The records of one node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    pub(crate) records: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The keys of records that cannot be read.
    pub(crate) damaged: BTreeSet<Vec<u8>>,
}

impl Memory {
    fn check(&self, key: &[u8]) -> Result<(), RecordError> {
        if self.damaged.contains(key) {
            return Err(RecordError::Damaged("a test"));
        }
        Ok(())
    }
}

impl Records for Memory {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, RecordError> {
        self.check(key)?;
        Ok(self.records.get(key).cloned())
    }

    fn survey(&self, from: &[u8], to: &[u8], each: &mut Surveyor<'_>) -> Result<(), RecordError> {
        if from < to {
            let mut range = self.records.range(from.to_vec()..to.to_vec());
            let _ =
                range.try_for_each(|(key, value)| each(key, self.check(key).map(|()| &value[..])));
        }
        Ok(())
    }

    fn list(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Listed>, RecordError> {
        if to <= from {
            return Ok(Vec::new());
        }
        let range = self.records.range(from.to_vec()..to.to_vec());
        let listed = range.map(|(key, value)| Listed {
            key: key.clone(),
            bytes: value.len(),
        });
        Ok(listed.take(limit).collect())
    }
}

impl Batch for Memory {
    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.records.insert(key, value);
    }

    fn remove(&mut self, key: Vec<u8>) {
        self.records.remove(&key);
    }
}
