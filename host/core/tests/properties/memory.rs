//! This is a disk that forgets nothing: sorted records in memory.

use soros_core::record::{Batch, Listed, Record, RecordError, Records, Visitor};
use std::collections::BTreeMap;

/// The records of one node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    pub(crate) records: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Records for Memory {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, RecordError> {
        Ok(self.records.get(key).cloned())
    }

    fn visit(&self, from: &[u8], to: &[u8], each: &mut Visitor<'_>) -> Result<(), RecordError> {
        if from < to {
            let mut range = self.records.range(from.to_vec()..to.to_vec());
            let _ = range.try_for_each(|(key, value)| each(key, value));
        }
        Ok(())
    }

    fn list(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Listed>, RecordError> {
        let records = self.scan(from, to, limit)?;
        let listed = |(key, value): Record| Listed {
            bytes: value.len(),
            key,
        };
        Ok(records.into_iter().map(listed).collect())
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
