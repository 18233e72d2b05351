//! This is the store's twin in memory, which fails on demand: it loses what was not synced, tears
//! the commit under way, forgets the end of its journal, flips bits, and answers like a disk that
//! is full or broken. A seed decides what is left to chance, so every run can be had again.
//!
//! Records are framed as on disk, so a flipped bit is found by the same check.

use crate::store::checked::{frame, unframe};
use crate::store::room::{self, Room};
use crate::store::{Durability, RESERVED_PREFIX, ReopenListener, Space, Store, StoreError, Write};
use soros_core::record::{Listed, RecordError, Records, Surveyor};
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many synced commits can be taken back.
const JOURNAL_COMMITS_MAX: usize = 256;

/// What the next commit meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The disk is full: nothing is kept, and the store goes on.
    Full,
    /// The disk fails: the seed decides whether the commit is kept, and nothing works before the
    /// store is opened again.
    Broken,
}

/// A store in memory. Clones share it.
#[derive(Clone)]
pub struct Memory {
    disk: Arc<Mutex<Disk>>,
    listeners: Arc<Mutex<Vec<ReopenListener>>>,
}

struct Disk {
    random: u64,
    /// Counts the commits.
    newest: u64,
    synced: u64,
    /// Views of an earlier opening answer nothing.
    opening: u64,
    failed: bool,
    full: bool,
    room: Room,
    refuses_to_open: bool,
    fault: Option<Fault>,
    spaces: [BTreeMap<Vec<u8>, History>; Space::ALL.len()],
    /// What recent commits wrote, oldest first.
    journal: VecDeque<(u64, Vec<Place>)>,
    /// How many views look at each commit.
    views: BTreeMap<u64, usize>,
    commits: u64,
}

/// Where a record stands.
type Place = (Space, Vec<u8>);

/// The values of a key, oldest first, each with the commit that wrote it.
type History = Vec<(u64, Option<Vec<u8>>)>;

impl Memory {
    /// An empty store whose accidents follow from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Memory {
        let disk = Disk {
            random: seed,
            newest: 0,
            synced: 0,
            opening: 0,
            failed: false,
            full: false,
            room: Room::Ample,
            refuses_to_open: false,
            fault: None,
            spaces: [BTreeMap::new(), BTreeMap::new(), BTreeMap::new()],
            journal: VecDeque::new(),
            views: BTreeMap::new(),
            commits: 0,
        };
        Memory {
            disk: Arc::new(Mutex::new(disk)),
            listeners: Arc::default(),
        }
    }

    /// Lets the next commit meet `fault`.
    pub fn fail_next(&self, fault: Fault) {
        self.disk().fault = Some(fault);
    }

    /// Fills the disk, or frees it.
    pub fn set_full(&self, full: bool) {
        self.disk().full = full;
    }

    /// Passes a mark of the disk, or falls below it.
    pub fn set_room(&self, room: Room) {
        self.disk().room = room;
    }

    /// Lets the store fail to open again, or no longer.
    pub fn refuse_to_open(&self, refuses: bool) {
        self.disk().refuses_to_open = refuses;
    }

    /// The power goes: what was not synced is lost, and the store works again as after a start.
    pub fn crash(&self) {
        let mut disk = self.disk();
        let synced = disk.synced;
        disk.go_back_to(synced);
        disk.open_again();
    }

    /// The power goes while `writes` are being committed: the seed decides whether all of them are
    /// there afterwards or none.
    pub fn tear(&self, writes: Vec<Write>) {
        let mut disk = self.disk();
        let synced = disk.synced;
        disk.go_back_to(synced);
        if disk.coin() {
            disk.keep(writes);
            disk.synced = disk.newest;
        }
        disk.open_again();
    }

    /// Damage in the journal: the last `commits` commits are gone without a word, at most 256.
    pub fn cut(&self, commits: u64) {
        let mut disk = self.disk();
        let kept = disk
            .journal
            .len()
            .saturating_sub(usize::try_from(commits).unwrap_or(usize::MAX));
        let left = kept
            .checked_sub(1)
            .and_then(|last| disk.journal.get(last))
            .map_or(0, |at| at.0);
        disk.go_back_to(left);
        disk.open_again();
    }

    /// Flips one bit, chosen by the seed, of what is stored under `key` of `space`. Whether there
    /// was anything to damage.
    #[must_use]
    pub fn flip(&self, space: Space, key: &[u8]) -> bool {
        let mut disk = self.disk();
        let chance = disk.draw();
        let Some(history) = disk.spaces[space.index()].get_mut(key) else {
            return false;
        };
        let Some((_, Some(stored))) = history.last_mut() else {
            return false;
        };
        let bit = usize::try_from(chance % (stored.len() as u64 * 8)).unwrap_or(0);
        stored[bit / 8] ^= 1 << (bit % 8);
        true
    }

    /// How many commits a power cut would take.
    #[must_use]
    pub fn unsynced(&self) -> u64 {
        let disk = self.disk();
        disk.newest - disk.synced
    }

    /// How many commits were kept.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.disk().commits
    }

    fn listeners(&self) -> MutexGuard<'_, Vec<ReopenListener>> {
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for Memory {
    fn snapshot(&self, space: Space) -> Box<dyn Records + Send + Sync> {
        let mut disk = self.disk();
        let commit = disk.newest;
        *disk.views.entry(commit).or_default() += 1;
        Box::new(View {
            disk: self.disk.clone(),
            opening: disk.opening,
            space,
            commit,
        })
    }

    fn keys(
        &self,
        space: Space,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, RecordError> {
        let disk = self.disk();
        let range = (Bound::Included(from), Bound::Excluded(to));
        let records = disk.spaces[space.index()].range::<[u8], _>(range);
        let is_there = |history: &History| matches!(history.last(), Some((_, Some(_))));
        let there = records.filter(|(_, history)| is_there(history));
        Ok(there.take(limit).map(|(key, _)| key.clone()).collect())
    }

    fn commit(&self, writes: Vec<Write>, durability: Durability) -> Result<(), StoreError> {
        assert!(
            writes.iter().all(|write| !is_reserved(&write.key)),
            "the key is the store's own"
        );
        self.disk().commit(writes, durability)
    }

    fn answers_at_once(&self) -> bool {
        true
    }

    fn sync(&self) -> Result<(), StoreError> {
        let mut disk = self.disk();
        disk.check_working()?;
        if disk.fault.take().is_some() {
            disk.failed = true;
            return Err(StoreError::Failed("input or output error".to_owned()));
        }
        disk.synced = disk.newest;
        Ok(())
    }

    fn bytes(&self) -> u64 {
        let disk = self.disk();
        let sizes = disk.spaces.iter().flatten().map(|(key, history)| {
            let values = history
                .iter()
                .map(|(_, value)| value.as_ref().map_or(0, Vec::len));
            (key.len() + values.sum::<usize>()) as u64
        });
        sizes.sum()
    }

    fn disk(&self) -> room::Disk {
        room::Disk {
            room: Memory::disk(self).room,
            ..room::Disk::default()
        }
    }

    fn flush(&self) -> Result<(), StoreError> {
        let mut disk = self.disk();
        disk.check_working()?;
        disk.synced = disk.newest;
        Ok(())
    }

    fn reopen(&self) -> Result<(), StoreError> {
        let mut disk = self.disk();
        if !disk.failed {
            return Ok(());
        }
        if disk.full {
            return Err(StoreError::Full);
        }
        if disk.refuses_to_open {
            return Err(StoreError::Failed("input or output error".to_owned()));
        }
        disk.open_again();
        drop(disk);
        for listener in self.listeners().iter() {
            listener();
        }
        Ok(())
    }

    fn openings(&self) -> u64 {
        self.disk().opening
    }

    fn on_reopened(&self, listener: ReopenListener) {
        self.listeners().push(listener);
    }
}

impl Disk {
    fn commit(&mut self, writes: Vec<Write>, durability: Durability) -> Result<(), StoreError> {
        self.check_working()?;
        match self.fault.take() {
            _ if self.full => return Err(StoreError::Full),
            Some(Fault::Full) => return Err(StoreError::Full),
            Some(Fault::Broken) => return Err(self.break_down(writes)),
            None => self.keep(writes),
        }
        if durability == Durability::Synced {
            self.synced = self.newest;
        }
        Ok(())
    }

    fn check_working(&self) -> Result<(), StoreError> {
        if self.failed {
            Err(StoreError::NotOpen("it failed before".to_owned()))
        } else {
            Ok(())
        }
    }

    fn break_down(&mut self, writes: Vec<Write>) -> StoreError {
        if self.coin() {
            self.keep(writes);
        }
        self.failed = true;
        StoreError::Failed("input or output error".to_owned())
    }

    fn keep(&mut self, writes: Vec<Write>) {
        self.newest += 1;
        self.commits += 1;
        let commit = self.newest;
        let mut keys = Vec::with_capacity(writes.len());
        for write in writes {
            let stored = write
                .value
                .map(|value| frame(write.space, &write.key, &value));
            let history = self.spaces[write.space.index()]
                .entry(write.key.clone())
                .or_default();
            // The last write of a key within one commit counts.
            history.retain(|(at, _)| *at != commit);
            history.push((commit, stored));
            keys.push((write.space, write.key));
        }
        self.journal.push_back((commit, keys));
        self.forget();
    }

    /// Drops values that no view and no cut can ask for any more.
    fn forget(&mut self) {
        while JOURNAL_COMMITS_MAX < self.journal.len()
            && self
                .journal
                .front()
                .is_some_and(|(commit, _)| *commit <= self.synced)
        {
            let Some((commit, keys)) = self.journal.pop_front() else {
                return;
            };
            let oldest_view = self.views.keys().next().copied().unwrap_or(u64::MAX);
            let needed = oldest_view.min(self.synced).min(commit);
            for (space, key) in keys {
                let Some(history) = self.spaces[space.index()].get_mut(&key) else {
                    continue;
                };
                let last_needed = history.iter().rposition(|(at, _)| *at <= needed);
                history.drain(..last_needed.unwrap_or(0));
                if matches!(history[..], [(at, None)] if at <= needed) {
                    self.spaces[space.index()].remove(&key);
                }
            }
        }
    }

    fn go_back_to(&mut self, commit: u64) {
        while let Some((newest, _)) = self.journal.back()
            && commit < *newest
        {
            let Some((newest, keys)) = self.journal.pop_back() else {
                return;
            };
            for (space, key) in keys {
                let Some(history) = self.spaces[space.index()].get_mut(&key) else {
                    continue;
                };
                history.retain(|(at, _)| *at != newest);
                if history.is_empty() {
                    self.spaces[space.index()].remove(&key);
                }
            }
        }
    }

    fn open_again(&mut self) {
        self.opening += 1;
        self.failed = false;
        self.fault = None;
        self.views.clear();
        self.synced = self.newest;
    }

    fn coin(&mut self) -> bool {
        self.draw().is_multiple_of(2)
    }

    /// The next random number (splitmix64).
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

fn is_reserved(key: &[u8]) -> bool {
    key.first().is_none_or(|first| *first == RESERVED_PREFIX)
}

/// One space as a commit left it.
struct View {
    disk: Arc<Mutex<Disk>>,
    opening: u64,
    space: Space,
    commit: u64,
}

impl View {
    fn disk(&self) -> Result<MutexGuard<'_, Disk>, RecordError> {
        let disk = self.disk.lock().unwrap_or_else(PoisonError::into_inner);
        if disk.opening == self.opening {
            Ok(disk)
        } else {
            Err(RecordError::Failed(
                "the store was closed after it failed".to_owned(),
            ))
        }
    }

    /// What is stored at the view's commit, as it is framed.
    fn stored<'h>(&self, history: &'h History) -> Option<&'h Vec<u8>> {
        let seen = history.iter().rev().find(|(at, _)| *at <= self.commit);
        seen.and_then(|(_, stored)| stored.as_ref())
    }

    fn value(&self, key: &[u8], history: &History) -> Result<Option<Vec<u8>>, RecordError> {
        let stored = self.stored(history);
        stored
            .map(|stored| Ok(unframe(self.space, key, stored)?.to_vec()))
            .transpose()
    }
}

impl Records for View {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, RecordError> {
        let disk = self.disk()?;
        let history = disk.spaces[self.space.index()].get(key);
        history.map_or(Ok(None), |history| self.value(key, history))
    }

    fn survey(&self, from: &[u8], to: &[u8], each: &mut Surveyor<'_>) -> Result<(), RecordError> {
        let disk = self.disk()?;
        if to <= from {
            return Ok(());
        }
        let range = (Bound::Included(from), Bound::Excluded(to));
        for (key, history) in disk.spaces[self.space.index()].range::<[u8], _>(range) {
            let flow = match self.value(key, history) {
                Ok(None) => continue,
                Ok(Some(value)) => each(key, Ok(&value)),
                Err(error) => each(key, Err(error)),
            };
            if flow.is_break() {
                break;
            }
        }
        Ok(())
    }

    fn list(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Listed>, RecordError> {
        let disk = self.disk()?;
        if to <= from {
            return Ok(Vec::new());
        }
        let range = (Bound::Included(from), Bound::Excluded(to));
        let records = disk.spaces[self.space.index()].range::<[u8], _>(range);
        let present = records.filter_map(|(key, history)| {
            let (key, bytes) = (key.clone(), self.stored(history)?.len());
            Some(Listed { key, bytes })
        });
        Ok(present.take(limit).collect())
    }
}

impl Drop for View {
    fn drop(&mut self) {
        if let Ok(mut disk) = self.disk()
            && let Some(count) = disk.views.get_mut(&self.commit)
        {
            *count -= 1;
            if *count == 0 {
                disk.views.remove(&self.commit);
            }
        }
    }
}
