//! This is the store on fjall: one keyspace a space, one journal, one synced batch a commit.
//!
//! fjall poisons itself after a failed write and has to be opened again; its back-pressure waits
//! for ever once its workers have died; and it asserts on some files that are not as it left them.
//! So every call into it is guarded: a panic becomes an error, a commit waits outside of fjall for
//! the workers to catch up, and [`Store::reopen`] swaps the whole database while views stay safe.
//! On a full disk a thread of its own makes room as far as it can.

use crate::store::mark::Mark;
use crate::store::room::{Disk, Usage};
use crate::store::sequence::{Ledger, Recovery, Sequences};
use crate::store::{Durability, RESERVED_PREFIX, ReopenListener, Space, Store, StoreError, Write};
use inspection::{Inspections, Reached};
use meter::Meter;
use running::Running;
use soros_core::record::{RecordError, Records};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};
use upkeep::Upkeep;
use view::View;

mod fault;
mod files;
#[cfg(test)]
mod full_disk;
mod inspection;
mod meter;
mod options;
mod running;
pub mod salvage;
#[cfg(test)]
mod tests;
mod upkeep;
mod view;

pub use options::EngineOptions;

/// The longest key that fjall takes.
const KEY_BYTES_MAX: usize = 65_535;

/// An engine that is opened again twice within this time may have stopped at a damaged table.
const STEADY_TIME: Duration = Duration::from_mins(1);

/// A store on fjall.
pub struct Engine {
    upkeep: Mutex<Option<Upkeep>>,
    inspections: Mutex<Inspections>,
    shared: Arc<Shared>,
    /// Held over a commit: fjall holds its journal lock as long anyway.
    ledger: Mutex<Ledger>,
    mark: Option<Mark>,
    recovery: Recovery,
    listeners: Mutex<Vec<ReopenListener>>,
}

struct Shared {
    path: PathBuf,
    options: EngineOptions,
    failed: AtomicBool,
    /// For good: [`Store::reopen`] is refused.
    closed: AtomicBool,
    /// Whether the engine stops over and over at something that it cannot read.
    torn: AtomicBool,
    reopened: Mutex<Option<Instant>>,
    state: RwLock<State>,
    /// Held over a merge that was asked for, and by whoever closes the database that is merged.
    merging: Mutex<()>,
    /// Held by who looks through the tables.
    inspecting: Mutex<Reached>,
    meter: Meter,
}

/// The open database, and how often it was opened.
struct State {
    opening: u64,
    running: Option<Running>,
}

impl Engine {
    /// Opens the database in the folder `path`, or makes one there.
    ///
    /// # Errors
    /// [`StoreError`] when the folder cannot be used or what is in it is damaged.
    pub fn open(path: &Path, options: EngineOptions) -> Result<Engine, StoreError> {
        let (running, found) = Running::open(path, options)?;
        let (ledger, recovery) = Ledger::recover(&found);
        let shared = Shared {
            path: path.to_owned(),
            options,
            failed: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            torn: AtomicBool::new(false),
            reopened: Mutex::default(),
            state: RwLock::new(State {
                opening: 0,
                running: Some(running),
            }),
            merging: Mutex::default(),
            inspecting: Mutex::default(),
            meter: Meter::default(),
        };
        let (shared, ledger) = (Arc::new(shared), Mutex::new(ledger));
        let upkeep = Upkeep::start(Arc::clone(&shared));
        let upkeep = upkeep.map_err(|error| StoreError::Failed(error.to_string()))?;
        Ok(Engine {
            upkeep: Mutex::new(Some(upkeep)),
            inspections: Mutex::default(),
            shared,
            ledger,
            mark: None,
            recovery,
            listeners: Mutex::default(),
        })
    }

    /// Lets `mark` follow the synced commits, and no number up to what it says, `marked`, be given
    /// out again.
    #[must_use]
    pub fn with_mark(mut self, mark: Mark, marked: &Sequences) -> Engine {
        self.ledger().pass(marked);
        mark.set(&self.ledger().sequences());
        self.mark = Some(mark);
        self
    }

    /// What the start found of the numbers of commits.
    #[must_use]
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// Takes what is there as all there is, after commits were found missing: the next start tells
    /// of new losses only.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be written out.
    pub fn accept_loss(&self) -> Result<(), StoreError> {
        let mut ledger = self.ledger();
        self.flush_under(&ledger)?;
        ledger.begin_anew();
        self.commit_under(
            &mut ledger,
            Space::ALL.into_iter(),
            Vec::new(),
            Durability::Synced,
        )
    }

    /// Whether the engine stops over and over because it cannot read a table: only
    /// [`salvage::salvage`] helps.
    #[must_use]
    pub fn is_torn(&self) -> bool {
        self.shared.torn.load(Ordering::Acquire)
    }

    /// Whether there is room on the disk for a second copy of it, and some to spare: what is
    /// written meanwhile must not make it too little.
    #[must_use]
    pub fn has_room_for_copy(&self) -> bool {
        let spare = self.shared.options.reserve_bytes.saturating_mul(2);
        let bytes = match &self.shared.state().running {
            Some(running) => running.bytes(),
            None => files::bytes(&self.shared.path),
        };
        let free = bytes.and_then(|bytes| Ok((bytes, free_bytes(&self.shared.path)?)));
        free.is_ok_and(|(bytes, free)| bytes.saturating_add(spare) <= free)
    }

    /// Makes the mark durable now, if there is one.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn sync_mark(&self) -> std::io::Result<()> {
        self.mark.as_ref().map_or(Ok(()), Mark::sync)
    }

    /// Writes out all that is buffered and closes the files; nothing works afterwards.
    ///
    /// # Errors
    /// [`StoreError`] when the disk fails; the files are closed all the same.
    pub fn close(&self) -> Result<(), StoreError> {
        let upkeep = self.upkeep.lock();
        drop(upkeep.unwrap_or_else(PoisonError::into_inner).take());
        drop(std::mem::take(&mut *self.inspections()));
        let ledger = self.ledger();
        let flushed = self.flush_under(&ledger);
        self.shared.failed.store(true, Ordering::Release);
        self.shared.closed.store(true, Ordering::Release);
        self.shared.close();
        let marked = self.sync_mark();
        flushed.and(marked.map_err(|error| StoreError::Failed(error.to_string())))
    }

    fn inspections(&self) -> MutexGuard<'_, Inspections> {
        let inspections = self.inspections.lock();
        inspections.unwrap_or_else(PoisonError::into_inner)
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn commit_under(
        &self,
        ledger: &mut Ledger,
        spaces: impl Iterator<Item = Space>,
        mut writes: Vec<Write>,
        durability: Durability,
    ) -> Result<(), StoreError> {
        let state = self.shared.state();
        let running = self.shared.working(&state)?;
        self.shared.check_room(running, &writes)?;
        if !self.shared.noted(running.wait_for_workers())? {
            let message = "its tables are not written out and merged in time".to_owned();
            return Err(StoreError::NotOpen(message));
        }
        let mut commit = ledger.number(spaces, |space| running.written_out(space));
        writes.append(&mut commit.records);
        self.shared.noted(running.commit(writes, durability))?;
        ledger.committed(&commit, running.newest());
        if let (Durability::Synced, Some(mark)) = (durability, &self.mark) {
            mark.set(&ledger.sequences());
        }
        Ok(())
    }

    fn reopen_under(&self, ledger: &mut Ledger) -> Result<(), StoreError> {
        if self.shared.closed.load(Ordering::Acquire) {
            return Err(StoreError::NotOpen("it was closed".to_owned()));
        }
        // The failed engine still answers what was read from it, which one that cannot open again
        // for want of room would not.
        self.shared.check_room_to_open()?;
        let before = ledger.sequences();
        let (mut after, recovery) = self.shared.reopen()?;
        if self.shared.is_unsteady() {
            self.inspections().begin(&self.shared);
        }
        let lost = |space: &Space| recovery.newest.of(*space) < before.of(*space);
        if !recovery.broken.is_empty() || Space::ALL.iter().any(lost) {
            // Nobody may read what is left as if it were all.
            self.shared.close();
            let message = "opened again, it lacks commits that it had".to_owned();
            return Err(StoreError::Damaged(message));
        }
        after.pass(&before);
        *ledger = after;
        self.shared.failed.store(false, Ordering::Release);
        // After a sync that failed the system holds pages for written that are not: what was read
        // back from the journal is written to other files, with syncs of their own.
        self.flush_under(ledger)
    }

    fn view(&self, space: Space) -> View {
        let state = self.shared.state();
        let snapshot = state
            .running
            .as_ref()
            .and_then(|running| running.shown().ok());
        View {
            shared: self.shared.clone(),
            opening: state.opening,
            space,
            snapshot,
        }
    }

    fn listeners(&self) -> MutexGuard<'_, Vec<ReopenListener>> {
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn flush_under(&self, ledger: &Ledger) -> Result<(), StoreError> {
        let state = self.shared.state();
        let flushed = self.shared.working(&state)?.flush();
        if let (Ok(()), Some(mark)) = (&flushed, &self.mark) {
            mark.set(&ledger.sequences());
        }
        self.shared.noted(flushed)
    }
}

impl Store for Engine {
    fn snapshot(&self, space: Space) -> Box<dyn Records + Send + Sync> {
        Box::new(self.view(space))
    }

    fn keys(
        &self,
        space: Space,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, RecordError> {
        self.view(space).keys(from, to, limit)
    }

    fn commit(&self, writes: Vec<Write>, durability: Durability) -> Result<(), StoreError> {
        for write in &writes {
            assert_key(&write.key);
        }
        let spaces: Vec<Space> = writes.iter().map(|write| write.space).collect();
        self.commit_under(&mut self.ledger(), spaces.into_iter(), writes, durability)
    }

    fn sync(&self) -> Result<(), StoreError> {
        let ledger = self.ledger();
        let state = self.shared.state();
        let synced = self.shared.working(&state)?.sync();
        if let (Ok(()), Some(mark)) = (&synced, &self.mark) {
            mark.set(&ledger.sequences());
        }
        self.shared.noted(synced)
    }

    fn bytes(&self) -> u64 {
        let state = self.shared.state();
        let measure = |running: &Running| running.bytes().ok();
        state.running.as_ref().and_then(measure).unwrap_or(0)
    }

    fn disk(&self) -> Disk {
        self.shared.disk()
    }

    fn flush(&self) -> Result<(), StoreError> {
        let ledger = self.ledger();
        self.flush_under(&ledger)
    }

    fn reopen(&self) -> Result<(), StoreError> {
        let mut ledger = self.ledger();
        if !self.shared.failed.load(Ordering::Acquire) {
            return Ok(());
        }
        self.reopen_under(&mut ledger)?;
        drop(ledger);
        for listener in self.listeners().iter() {
            listener();
        }
        Ok(())
    }

    fn openings(&self) -> u64 {
        self.shared.state().opening
    }

    fn on_reopened(&self, listener: ReopenListener) {
        self.listeners().push(listener);
    }
}

impl Shared {
    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn working<'s>(&self, state: &'s State) -> Result<&'s Running, StoreError> {
        match &state.running {
            Some(running) if !self.failed.load(Ordering::Acquire) => Ok(running),
            _ => Err(StoreError::NotOpen("it failed before".to_owned())),
        }
    }

    fn noted<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if result.is_err() {
            self.failed.store(true, Ordering::Release);
        }
        result
    }

    /// Refuses a commit that would take the disk's last bytes while the engine is still well:
    /// a journal that runs out of disk in the middle of a batch leaves its outcome unknown.
    /// What is in the journal is written once more, to a table.
    fn check_room(&self, running: &Running, writes: &[Write]) -> Result<(), StoreError> {
        let bytes = writes.iter().map(written_bytes).sum::<usize>() as u64;
        // Values are refused long before; what comes this far is small or makes room in the end.
        // The cluster's map and its votes go on for longest.
        let reserve = if writes.iter().any(|write| write.space == Space::Partitions) {
            self.options.reserve_bytes / 2
        } else {
            self.options.reserve_bytes / 4
        };
        let unwritten = running.unwritten_bytes().saturating_add(bytes);
        self.check_free(reserve.saturating_add(bytes).saturating_add(unwritten))
    }

    fn check_room_to_open(&self) -> Result<(), StoreError> {
        let unwritten = self.state().running.as_ref().map(Running::unwritten_bytes);
        let needed = self
            .options
            .reserve_bytes
            .saturating_add(unwritten.unwrap_or(0));
        self.check_free(needed)
    }

    fn check_free(&self, needed: u64) -> Result<(), StoreError> {
        if needed <= free_bytes(&self.path)? {
            Ok(())
        } else {
            Err(StoreError::Full)
        }
    }

    fn reopen(&self) -> Result<(Ledger, Recovery), StoreError> {
        self.close();
        let opened = Running::open(&self.path, self.options);
        let (running, found) = opened.inspect_err(|error| self.inspected(error))?;
        self.state_mut().running = Some(running);
        Ok(Ledger::recover(&found))
    }

    /// Whether it was opened again a short while ago. Its workers end at what they cannot read, and
    /// do so again at each opening.
    fn is_unsteady(&self) -> bool {
        let mut reopened = self.reopened.lock().unwrap_or_else(PoisonError::into_inner);
        let before = reopened.replace(Instant::now());
        before.is_some_and(|before| before.elapsed() < STEADY_TIME)
    }

    /// Closes the database once nothing reads or merges any more; views answer nothing from then
    /// on.
    fn close(&self) {
        let _merging = self.merging.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.state_mut();
        state.opening += 1;
        running::close(state.running.take());
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.close();
    }
}

fn is_reserved(key: &[u8]) -> bool {
    key.first().is_none_or(|first| *first == RESERVED_PREFIX)
}

fn assert_key(key: &[u8]) {
    assert!(
        !is_reserved(key),
        "keys that are empty or begin with 0x00 belong to the store"
    );
    assert!(key.len() <= KEY_BYTES_MAX, "no key of ours is that long");
}

/// What a write takes in the journal, about.
fn written_bytes(write: &Write) -> usize {
    const ITEM_BYTES: usize = 32;
    ITEM_BYTES + write.key.len() + write.value.as_ref().map_or(0, Vec::len)
}

/// The bytes that are free on the file system of `path`.
fn free_bytes(path: &Path) -> Result<u64, StoreError> {
    let usage = Usage::of_file_system(path);
    let usage = usage.map_err(|error| StoreError::Failed(error.to_string()))?;
    Ok(usage.free)
}
