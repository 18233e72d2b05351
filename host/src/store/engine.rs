//! This is the store on fjall: one keyspace a space, one journal, one synced batch a commit.
//!
//! fjall poisons itself after a failed write and has to be opened again; its back-pressure waits
//! for ever once its workers have died; and it asserts on some files that are not as it left them.
//! So every call into it is guarded: a panic becomes an error, a commit waits outside of fjall for
//! the workers to catch up, and [`Store::reopen`] swaps the whole database while views stay safe.
//! A thread of its own keeps it up: it merges tables, and opens it again after a full disk.

use crate::store::mark::Mark;
use crate::store::room::{Disk, Usage};
use crate::store::sequence::{Ledger, Recovery, Sequences};
use crate::store::{Durability, Space, StaleListener, Store, StoreError, Write, is_reserved};
use meter::Meter;
use running::{Backlog, Running, WORKERS_POLL};
use soros_core::record::{RecordError, Records};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{
    Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
};
use std::time::{Duration, Instant};
use upkeep::Upkeep;
use view::View;

mod compaction;
mod fault;
mod files;
#[cfg(test)]
mod full_disk;
mod meter;
mod options;
mod running;
#[cfg(test)]
mod tests;
mod upkeep;
mod view;

pub use options::{DISK_BYTES_MIN, EngineOptions};

/// How long a commit waits for tables to be merged.
const WORKERS_WAIT_MAX: Duration = Duration::from_secs(1);
/// The longest key that fjall takes.
const KEY_BYTES_MAX: usize = 65_535;

/// A store on fjall.
pub struct Engine {
    shared: Arc<Shared>,
    recovery: Recovery,
    upkeep: Mutex<Option<Upkeep>>,
}

struct Shared {
    path: PathBuf,
    options: EngineOptions,
    failed: AtomicBool,
    /// For good: [`Store::reopen`] is refused.
    closed: AtomicBool,
    state: RwLock<State>,
    /// Held over a commit: fjall holds its journal lock as long anyway.
    ledger: Mutex<Ledger>,
    /// Held over a merge, and by whoever closes the database that is merged.
    merging: Mutex<()>,
    /// What is to be merged next has no room.
    starved: AtomicBool,
    mark: OnceLock<Mark>,
    listeners: Mutex<Vec<StaleListener>>,
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
        let shared = Arc::new(Shared {
            path: path.to_owned(),
            options,
            failed: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            state: RwLock::new(State {
                opening: 0,
                running: Some(running),
            }),
            ledger: Mutex::new(ledger),
            merging: Mutex::default(),
            starved: AtomicBool::new(false),
            mark: OnceLock::new(),
            listeners: Mutex::default(),
            meter: Meter::default(),
        });
        shared.look();
        let upkeep = Upkeep::start(Arc::clone(&shared));
        let upkeep = upkeep.map_err(|error| StoreError::Failed(error.to_string()))?;
        Ok(Engine {
            shared,
            recovery,
            upkeep: Mutex::new(Some(upkeep)),
        })
    }

    /// Lets `mark` follow the synced commits, and no number up to what it says, `marked`, be given
    /// out again.
    #[must_use]
    pub fn with_mark(self, mark: Mark, marked: &Sequences) -> Engine {
        let mut ledger = self.shared.ledger();
        ledger.pass(marked);
        mark.set(&ledger.sequences());
        drop(ledger);
        // Said twice, the first stays.
        let _ = self.shared.mark.set(mark);
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
        let mut ledger = self.shared.ledger();
        self.shared.flush_under(&ledger)?;
        ledger.begin_anew();
        self.shared
            .commit_under(&mut ledger, &Space::ALL, Vec::new(), Durability::Synced)
    }

    /// Writes out all that is buffered and closes the files; nothing works afterwards.
    ///
    /// # Errors
    /// [`StoreError`] when the disk fails; the files are closed all the same.
    pub fn close(&self) -> Result<(), StoreError> {
        let upkeep = self.upkeep.lock();
        drop(upkeep.unwrap_or_else(PoisonError::into_inner).take());
        let ledger = self.shared.ledger();
        let flushed = self.shared.flush_under(&ledger);
        self.shared.failed.store(true, Ordering::Release);
        self.shared.closed.store(true, Ordering::Release);
        self.shared.close();
        let marked = self.shared.mark.get().map_or(Ok(()), Mark::sync);
        flushed.and(marked.map_err(|error| StoreError::Failed(error.to_string())))
    }

    fn view(&self, space: Space) -> View {
        let state = self.shared.state();
        let snapshot = state.running.as_ref().map(Running::view);
        View {
            shared: self.shared.clone(),
            opening: state.opening,
            space,
            snapshot,
        }
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
        self.shared.wait_for_workers()?;
        if self.shared.options.reserve_bytes / 4 < self.shared.meter.spent() {
            self.shared.look();
        }
        self.shared
            .commit_under(&mut self.shared.ledger(), &spaces, writes, durability)
    }

    fn bytes(&self) -> u64 {
        let state = self.shared.state();
        let tables = state.running.as_ref().map_or(0, Running::table_bytes);
        tables.saturating_add(files::journal_bytes(&self.shared.path))
    }

    fn disk(&self) -> Disk {
        self.shared.meter.disk()
    }

    fn flush(&self) -> Result<(), StoreError> {
        let ledger = self.shared.ledger();
        self.shared.flush_under(&ledger)
    }

    fn reopen(&self) -> Result<(), StoreError> {
        self.shared.mend()
    }

    fn openings(&self) -> u64 {
        self.shared.state().opening
    }

    fn on_stale(&self, listener: StaleListener) {
        self.shared.listeners().push(listener);
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

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listeners(&self) -> MutexGuard<'_, Vec<StaleListener>> {
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets whoever keeps a view take a new one.
    fn tell_stale(&self) {
        for listener in self.listeners().iter() {
            listener();
        }
    }

    /// Waits until a commit would not wait inside of fjall. Holds nothing meanwhile: the upkeep,
    /// which it may be waiting for, commits, too.
    fn wait_for_workers(&self) -> Result<(), StoreError> {
        let begun = Instant::now();
        loop {
            // The upkeep may find nothing that it can merge.
            let late = WORKERS_WAIT_MAX < begun.elapsed();
            let starved = late || self.starved.load(Ordering::Relaxed);
            let backlog = {
                let state = self.state();
                self.noted(self.working(&state)?.backlog())?
            };
            match backlog {
                Backlog::None => return Ok(()),
                // A merge that has no room will have none for long.
                Backlog::Unmerged if starved => return Ok(()),
                Backlog::TooMany if starved => return Err(StoreError::Full),
                Backlog::Unwritten | Backlog::Unmerged | Backlog::TooMany => {
                    std::thread::sleep(WORKERS_POLL);
                }
            }
        }
    }

    fn commit_under(
        &self,
        ledger: &mut Ledger,
        spaces: &[Space],
        mut writes: Vec<Write>,
        durability: Durability,
    ) -> Result<(), StoreError> {
        let state = self.state();
        let running = self.working(&state)?;
        self.check_room(running, spaces, &writes)?;
        let written_out = |space| running.written_out(space);
        let mut commit = ledger.number(spaces.iter().copied(), written_out);
        writes.append(&mut commit.records);
        self.noted(running.commit(writes, durability))?;
        ledger.committed(&commit, running.newest());
        if let (Durability::Synced, Some(mark)) = (durability, self.mark.get()) {
            mark.set(&ledger.sequences());
        }
        Ok(())
    }

    fn flush_under(&self, ledger: &Ledger) -> Result<(), StoreError> {
        let state = self.state();
        let flushed = self.working(&state)?.flush();
        if let (Ok(()), Some(mark)) = (&flushed, self.mark.get()) {
            mark.set(&ledger.sequences());
        }
        self.noted(flushed)
    }

    /// Refuses a commit that would take the disk's last bytes while the engine is still well: a
    /// journal that runs out of disk in the middle of a batch leaves its outcome unknown. What is
    /// in the journal is written once more, to a table, before the journal gives its bytes back.
    fn check_room(
        &self,
        running: &Running,
        spaces: &[Space],
        writes: &[Write],
    ) -> Result<(), StoreError> {
        let bytes = writes.iter().map(written_bytes).sum::<usize>() as u64;
        let unwritten = running.unwritten_bytes().saturating_add(bytes);
        // Values are refused long before; what comes this far is small or makes room, and a merge
        // leaves more than this. The cluster's map and its votes go on for longest.
        let reserve = if spaces.contains(&Space::Partitions) {
            self.options.reserve_bytes / 4
        } else {
            self.options.reserve_bytes / 8
        };
        let needed = reserve.saturating_add(bytes).saturating_add(unwritten);
        if needed <= self.meter.free() {
            self.meter.spend(bytes);
            Ok(())
        } else {
            Err(StoreError::Full)
        }
    }

    fn free_bytes(&self) -> Result<u64, StoreError> {
        let usage = Usage::of_file_system(&self.path);
        let usage = usage.map_err(|error| StoreError::Failed(error.to_string()))?;
        Ok(usage.free)
    }

    /// Opens the database again if it failed, and there is room for that.
    fn mend(&self) -> Result<(), StoreError> {
        let mut ledger = self.ledger();
        if !self.failed.load(Ordering::Acquire) {
            return Ok(());
        }
        self.reopen_under(&mut ledger)?;
        drop(ledger);
        self.tell_stale();
        Ok(())
    }

    fn reopen_under(&self, ledger: &mut Ledger) -> Result<(), StoreError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(StoreError::NotOpen("it was closed".to_owned()));
        }
        // The failed engine still answers what was read from it, which one that cannot open again
        // for want of room would not.
        let unwritten = self.state().running.as_ref().map(Running::unwritten_bytes);
        let needed = self
            .options
            .reserve_bytes
            .saturating_add(unwritten.unwrap_or(0));
        if self.free_bytes()? < needed {
            return Err(StoreError::Full);
        }
        let before = ledger.sequences();
        let (mut after, recovery) = self.reopen()?;
        let lost = |space: &Space| recovery.newest.of(*space) < before.of(*space);
        if !recovery.broken.is_empty() || Space::ALL.iter().any(lost) {
            // Nobody may read what is left as if it were all.
            self.close();
            let message = "opened again, it lacks commits that it had".to_owned();
            return Err(StoreError::Damaged(message));
        }
        after.pass(&before);
        *ledger = after;
        self.failed.store(false, Ordering::Release);
        // After a sync that failed the system holds pages for written that are not: what was read
        // back from the journal is written to other files, with syncs of their own.
        self.flush_under(ledger)
    }

    fn reopen(&self) -> Result<(Ledger, Recovery), StoreError> {
        self.close();
        let (running, found) = Running::open(&self.path, self.options)?;
        self.state_mut().running = Some(running);
        Ok(Ledger::recover(&found))
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

fn assert_key(key: &[u8]) {
    assert!(
        !is_reserved(key),
        "keys that are empty or begin with 0x00 or 0xff belong to the store"
    );
    assert!(key.len() <= KEY_BYTES_MAX, "no key of ours is that long");
}

/// What a write takes in the journal, about.
fn written_bytes(write: &Write) -> usize {
    const ITEM_BYTES: usize = 32;
    ITEM_BYTES + write.key.len() + write.value.as_ref().map_or(0, Vec::len)
}
