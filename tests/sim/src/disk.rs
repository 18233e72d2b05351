//! This is a node's disk: records that survive a crash once they are synced, and that may be
//! wiped, restored from an older day, or damaged one by one.

use crate::bug::Bug;
use crate::random::Random;
use crate::record;
use soros_core::record::{
    Batch, Listed, RecordError, Records, Surveyor, list_merged, survey_merged,
};
use std::collections::{BTreeMap, BTreeSet};

type Sorted = BTreeMap<Vec<u8>, Vec<u8>>;
/// What a batch does to a key: a record, or nothing any more.
type Change = Option<Vec<u8>>;
type Changes = BTreeMap<Vec<u8>, Change>;

/// A disk.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    /// What reads see.
    visible: Sorted,
    /// What a crash leaves.
    synced: Sorted,
    /// What was written since the last sync, batch by batch.
    unsynced: Vec<Changes>,
    damaged: BTreeSet<Vec<u8>>,
    backup: Option<Sorted>,
}

impl Disk {
    /// Writes a batch. It is seen and survives a crash once it is synced.
    pub fn write(&mut self, changes: Changes) {
        self.unsynced.push(changes);
    }

    /// Makes all that was written durable and seen.
    pub fn sync(&mut self) {
        for changes in std::mem::take(&mut self.unsynced) {
            self.damaged.retain(|key| !changes.contains_key(key));
            apply(&mut self.visible, &changes);
            apply(&mut self.synced, &changes);
        }
    }

    /// Lets reads see what was written, synced or not.
    pub fn show(&mut self) {
        for changes in &self.unsynced {
            apply(&mut self.visible, changes);
        }
    }

    /// How many batches wait for a sync.
    #[must_use]
    pub fn unsynced(&self) -> usize {
        self.unsynced.len()
    }

    /// Loses what was not synced, all but the first `kept` batches.
    pub fn crash(&mut self, kept: usize, bug: Option<Bug>) {
        let unsynced = std::mem::take(&mut self.unsynced);
        for changes in &unsynced[..kept] {
            apply(&mut self.synced, changes);
        }
        if bug == Some(Bug::ClockInItsOwnTree) {
            for changes in &unsynced[kept..] {
                let mut clocks = changes.clone();
                clocks.retain(|key, _| record::is_clock(key));
                apply(&mut self.synced, &clocks);
            }
        }
        self.visible = self.synced.clone();
    }

    /// Copies the synced records away.
    pub fn back_up(&mut self) {
        self.backup = Some(self.synced.clone());
    }

    /// Puts the copy back, if there is one; what was written since is lost. Only while no process
    /// runs on it.
    pub fn restore(&mut self) -> bool {
        let Some(backup) = self.backup.clone() else {
            return false;
        };
        let lost = backup != self.synced;
        self.synced = backup.clone();
        self.visible = backup;
        self.unsynced.clear();
        self.damaged.clear();
        lost
    }

    /// Loses everything, the copy too. Only while no process runs on it.
    pub fn wipe(&mut self) {
        *self = Disk::default();
    }

    /// Damages one record among those whose key `may` be, and gives its key.
    pub fn damage(&mut self, random: &mut Random, may: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
        let keys: Vec<&Vec<u8>> = self.synced.keys().filter(|key| may(key)).collect();
        if keys.is_empty() {
            return None;
        }
        let key = (*random.pick(&keys)).clone();
        self.damaged.insert(key.clone());
        Some(key)
    }

    /// Whether the record under `key` is damaged.
    #[must_use]
    pub fn is_damaged(&self, key: &[u8]) -> bool {
        self.damaged.contains(key)
    }

    /// Writes over the synced records, as an operator or a bug would.
    pub fn rewrite(&mut self, change: impl FnOnce(&mut Sorted)) {
        change(&mut self.synced);
        self.visible = self.synced.clone();
    }

    /// All records, damaged ones too.
    pub fn records(&self) -> impl Iterator<Item = (&Vec<u8>, &Vec<u8>)> {
        self.visible.iter()
    }

    /// Whether a record whose key begins with `first` is damaged.
    #[must_use]
    pub fn is_damaged_under(&self, first: &[u8]) -> bool {
        self.damaged.iter().any(|key| key.starts_with(first))
    }

    fn check(&self, key: &[u8]) -> Result<(), RecordError> {
        if self.damaged.contains(key) {
            Err(RecordError::Damaged("a checksum"))
        } else {
            Ok(())
        }
    }
}

impl Records for Disk {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, RecordError> {
        self.check(key)?;
        Ok(self.visible.get(key).cloned())
    }

    fn survey(&self, from: &[u8], to: &[u8], each: &mut Surveyor<'_>) -> Result<(), RecordError> {
        if to <= from {
            return Ok(());
        }
        for (key, value) in self.visible.range(from.to_vec()..to.to_vec()) {
            if each(key, self.check(key).map(|()| &value[..])).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn list(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Listed>, RecordError> {
        if to <= from {
            return Ok(Vec::new());
        }
        let range = self.visible.range(from.to_vec()..to.to_vec()).take(limit);
        Ok(range.map(listed).collect())
    }
}

fn listed((key, value): (&Vec<u8>, &Vec<u8>)) -> Listed {
    let (key, bytes) = (key.clone(), value.len());
    Listed { key, bytes }
}

fn apply(records: &mut Sorted, changes: &Changes) {
    for (key, value) in changes {
        match value {
            Some(value) => records.insert(key.clone(), value.clone()),
            None => records.remove(key),
        };
    }
}

/// A batch in the making, over what was written so far.
#[derive(Debug)]
pub struct Overlay<'a> {
    disk: &'a Disk,
    changes: Changes,
    /// What each write of the operation under way replaced in `changes`, newest last.
    replaced: Vec<(Vec<u8>, Option<Change>)>,
    /// Whether an operation before that one wrote anything.
    has_kept: bool,
    bug: Option<Bug>,
}

impl<'a> Overlay<'a> {
    /// An empty batch over all that `disk` was told to write.
    #[must_use]
    pub fn new(disk: &'a Disk, bug: Option<Bug>) -> Overlay<'a> {
        let mut changes = Changes::new();
        for batch in &disk.unsynced {
            changes.extend(batch.clone());
        }
        Overlay {
            disk,
            changes,
            replaced: Vec::new(),
            has_kept: false,
            bug,
        }
    }

    /// What was written so far stays.
    pub fn keep(&mut self) {
        self.has_kept |= !self.replaced.is_empty();
        self.replaced.clear();
    }

    /// Whether the batch does nothing so far.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.has_kept && self.replaced.is_empty()
    }

    /// Takes back what was written since it was last kept.
    pub fn take_back(&mut self) {
        while let Some((key, before)) = self.replaced.pop() {
            match before {
                Some(change) => self.changes.insert(key, change),
                None => self.changes.remove(&key),
            };
        }
    }

    fn write(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        let before = self.changes.insert(key.clone(), value);
        self.replaced.push((key, before));
    }

    /// The keys from `from` to `to`, of damaged records too.
    #[must_use]
    pub fn keys(&self, from: &[u8], to: &[u8]) -> Vec<Vec<u8>> {
        if to <= from {
            return Vec::new();
        }
        let below = self.disk.visible.range(from.to_vec()..to.to_vec());
        let above = self.changes.range(from.to_vec()..to.to_vec());
        let mut keys: Vec<Vec<u8>> = below.map(|(key, _)| key.clone()).collect();
        keys.extend(above.map(|(key, _)| key.clone()));
        keys
    }

    /// What the batch does.
    #[must_use]
    pub fn into_changes(self) -> Changes {
        self.changes
    }
}

impl Records for Overlay<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, RecordError> {
        match self.changes.get(key) {
            Some(value) => Ok(value.clone()),
            None => self.disk.get(key),
        }
    }

    fn survey(&self, from: &[u8], to: &[u8], each: &mut Surveyor<'_>) -> Result<(), RecordError> {
        if to <= from {
            return Ok(());
        }
        let changes = self.changes.range(from.to_vec()..to.to_vec());
        survey_merged(self.disk, (from, to), changes, each)
    }

    fn list(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Listed>, RecordError> {
        if to <= from {
            return Ok(Vec::new());
        }
        let changes = self.changes.range(from.to_vec()..to.to_vec());
        list_merged(self.disk, (from, to), changes, limit)
    }
}

impl Batch for Overlay<'_> {
    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        let value = record::spoil(&key, value, self.bug);
        self.write(key, value);
    }

    fn remove(&mut self, key: Vec<u8>) {
        self.write(key, None);
    }
}
