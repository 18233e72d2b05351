//! This is a disk that forgets nothing: sorted records in memory.

use soros_core::record::{Batch, Record, RecordError, Records};
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

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Record>, RecordError> {
        if to <= from {
            return Ok(Vec::new());
        }
        let range = self.records.range(from.to_vec()..to.to_vec());
        let pairs = range.map(|(key, value)| (key.clone(), value.clone()));
        Ok(pairs.take(limit).collect())
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
