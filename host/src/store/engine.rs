//! This is the store on fjall: one keyspace a space, one journal, one synced batch a commit.
//!
//! fjall poisons itself after a failed write and has to be opened again; its back-pressure waits
//! for ever once its workers have died; and it asserts on some files that are not as it left them.
//! So every call into it is guarded: a panic becomes an error, a commit waits outside of fjall for
//! the workers to catch up, and [`Store::reopen`] swaps the whole database while views stay safe.

use crate::store::checked::{frame, unframe};
use crate::store::{Durability, RESERVED_PREFIX, Space, Store, StoreError, Write};
use fjall::{AbstractTree, Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable};
use soros_core::record::{Record, RecordError, Records};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

/// The most bytes of sealed journals; with the active one the journal takes 64 to 128 MiB.
const JOURNAL_SEALED_BYTES_MAX: u64 = 64 << 20;
/// How many memtables may wait for a worker before a commit waits: below fjall's own 4.
const SEALED_MEMTABLES_MAX: usize = 2;
/// How many runs may wait for a compaction before a commit waits: below fjall's own 30.
const RUNS_MAX: usize = 20;
/// How often a commit that waits for the workers looks again.
const WORKERS_POLL: Duration = Duration::from_millis(2);
/// The longest key that fjall takes.
const KEY_BYTES_MAX: usize = 65_535;

/// What an operator may choose about the engine.
#[derive(Clone, Copy, Debug)]
pub struct EngineOptions {
    /// The bytes of blocks kept in memory.
    pub cache_bytes: u64,
    /// The most bytes of partitions' writes in memory before they go to a table.
    pub memtable_bytes: u64,
    /// The bytes of disk that no commit may use up, so that memtables can still be written out.
    pub reserve_bytes: u64,
    /// The threads that write tables out and compact them.
    pub workers: usize,
}

impl Default for EngineOptions {
    fn default() -> EngineOptions {
        EngineOptions {
            cache_bytes: 64 << 20,
            memtable_bytes: 32 << 20,
            reserve_bytes: 32 << 20,
            workers: 2,
        }
    }
}

/// A store on fjall.
pub struct Engine {
    shared: Arc<Shared>,
    /// Held over a commit: fjall holds its journal lock as long anyway.
    committing: Mutex<()>,
}

struct Shared {
    path: PathBuf,
    options: EngineOptions,
    failed: AtomicBool,
    state: RwLock<State>,
}

/// The open database, and how often it was opened.
struct State {
    opening: u64,
    open: Option<Opened>,
}

struct Opened {
    database: Database,
    spaces: [Keyspace; Space::ALL.len()],
    /// What was synced last; snapshots are taken from here.
    synced: Mutex<fjall::Snapshot>,
}

impl Engine {
    /// Opens the database in the folder `path`, or makes one there.
    ///
    /// # Errors
    /// [`StoreError`] when the folder cannot be used or what is in it is damaged.
    pub fn open(path: &Path, options: EngineOptions) -> Result<Engine, StoreError> {
        let open = Opened::open(path, options)?;
        let shared = Shared {
            path: path.to_owned(),
            options,
            failed: AtomicBool::new(false),
            state: RwLock::new(State {
                opening: 0,
                open: Some(open),
            }),
        };
        Ok(Engine {
            shared: Arc::new(shared),
            committing: Mutex::new(()),
        })
    }

    fn committing(&self) -> MutexGuard<'_, ()> {
        self.committing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for Engine {
    fn snapshot(&self, space: Space) -> Box<dyn Records + Send + Sync> {
        let state = self.shared.state();
        let snapshot = state.open.as_ref().map(Opened::synced);
        Box::new(View {
            shared: self.shared.clone(),
            opening: state.opening,
            space,
            snapshot,
        })
    }

    fn commit(&self, writes: Vec<Write>, durability: Durability) -> Result<(), StoreError> {
        for write in &writes {
            assert_key(&write.key);
        }
        let _committing = self.committing();
        let state = self.shared.state();
        let open = self.shared.working(&state)?;
        self.shared.check_room(&writes)?;
        let committed = open
            .wait_for_workers()
            .and_then(|()| open.commit(writes, durability));
        self.shared.noted(committed)
    }

    fn bytes(&self) -> u64 {
        let state = self.shared.state();
        let measure = |open: &Opened| guarded(|| open.database.disk_space()).ok();
        state.open.as_ref().and_then(measure).unwrap_or(0)
    }

    fn flush(&self) -> Result<(), StoreError> {
        let _committing = self.committing();
        let state = self.shared.state();
        let flushed = self.shared.working(&state)?.flush();
        self.shared.noted(flushed)
    }

    fn reopen(&self) -> Result<(), StoreError> {
        let _committing = self.committing();
        if self.shared.failed.load(Ordering::Acquire) {
            self.shared.reopen()
        } else {
            Ok(())
        }
    }
}

impl Shared {
    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn working<'s>(&self, state: &'s State) -> Result<&'s Opened, StoreError> {
        match &state.open {
            Some(open) if !self.failed.load(Ordering::Acquire) => Ok(open),
            _ => Err(StoreError::Failed(
                "it failed before and was not opened again".to_owned(),
            )),
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
    fn check_room(&self, writes: &[Write]) -> Result<(), StoreError> {
        let bytes: usize = writes.iter().map(written_bytes).sum();
        let free = free_bytes(&self.path)?;
        let needed = self.options.reserve_bytes.saturating_add(bytes as u64);
        if needed <= free {
            Ok(())
        } else {
            Err(StoreError::Full)
        }
    }

    fn reopen(&self) -> Result<(), StoreError> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.opening += 1;
        let closed = state.open.take();
        // Closing joins the workers; what it may panic about is what made us close it.
        let _ = std::panic::catch_unwind(AssertUnwindSafe(move || drop(closed)));
        state.open = Some(Opened::open(&self.path, self.options)?);
        self.failed.store(false, Ordering::Release);
        Ok(())
    }
}

impl Opened {
    fn open(path: &Path, options: EngineOptions) -> Result<Opened, StoreError> {
        check_files(path)?;
        guarded(|| {
            let database = Database::builder(path)
                .cache_size(options.cache_bytes)
                .max_journaling_size(JOURNAL_SEALED_BYTES_MAX)
                .worker_threads(options.workers.max(1))
                .open()?;
            let spaces = [
                database.keyspace(Space::ALL[0].name(), || keyspace_options(options, 0))?,
                database.keyspace(Space::ALL[1].name(), || keyspace_options(options, 1))?,
                database.keyspace(Space::ALL[2].name(), || keyspace_options(options, 2))?,
            ];
            // What recovery read from the journal may never have been synced.
            database.persist(PersistMode::SyncAll)?;
            let synced = Mutex::new(database.snapshot());
            Ok(Opened {
                database,
                spaces,
                synced,
            })
        })
    }

    fn keyspace(&self, space: Space) -> &Keyspace {
        &self.spaces[space.index()]
    }

    fn synced(&self) -> fjall::Snapshot {
        self.synced
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn show_synced(&self) {
        *self.synced.lock().unwrap_or_else(PoisonError::into_inner) = self.database.snapshot();
    }

    fn commit(&self, writes: Vec<Write>, durability: Durability) -> Result<(), StoreError> {
        let mode = match durability {
            Durability::Synced => PersistMode::SyncData,
            Durability::Buffered => PersistMode::Buffer,
        };
        guarded(|| {
            let mut batch = self.database.batch().durability(Some(mode));
            for write in writes {
                let keyspace = self.keyspace(write.space);
                match write.value {
                    Some(value) => {
                        let framed = frame(write.space, &write.key, &value);
                        batch.insert(keyspace, write.key, framed);
                    }
                    None => batch.remove(keyspace, write.key),
                }
            }
            batch.commit()
        })?;
        if durability == Durability::Synced {
            self.show_synced();
        }
        Ok(())
    }

    /// Waits until fjall would take a commit without waiting for its workers itself, which it does
    /// for ever if they have died.
    fn wait_for_workers(&self) -> Result<(), StoreError> {
        for keyspace in &self.spaces {
            self.wait_while(|| {
                keyspace.sealed_memtable_count() > SEALED_MEMTABLES_MAX
                    || keyspace.tree.l0_run_count() > RUNS_MAX
            })?;
        }
        Ok(())
    }

    fn wait_while(&self, busy: impl Fn() -> bool) -> Result<(), StoreError> {
        while busy() {
            // Poison is only told by a call that fails; this one has nothing to write.
            guarded(|| self.database.persist(PersistMode::Buffer))?;
            std::thread::sleep(WORKERS_POLL);
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), StoreError> {
        guarded(|| self.database.persist(PersistMode::SyncAll))?;
        self.show_synced();
        for keyspace in &self.spaces {
            guarded(|| keyspace.rotate_memtable())?;
            self.wait_while(|| keyspace.sealed_memtable_count() > 0)?;
        }
        Ok(())
    }
}

fn keyspace_options(options: EngineOptions, index: usize) -> KeyspaceCreateOptions {
    // The other spaces are small, and what waits in their memtables pins the journal.
    let share = if index == Space::Partitions.index() {
        1
    } else {
        4
    };
    KeyspaceCreateOptions::default().max_memtable_size(options.memtable_bytes / share)
}

/// A view of one space as it was when it was taken.
struct View {
    shared: Arc<Shared>,
    opening: u64,
    space: Space,
    snapshot: Option<fjall::Snapshot>,
}

impl View {
    fn read<T>(
        &self,
        act: impl FnOnce(&fjall::Snapshot, &Keyspace) -> Result<T, RecordError>,
    ) -> Result<T, RecordError> {
        let state = self.shared.state();
        match (&state.open, &self.snapshot) {
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

    fn record(&self, guard: fjall::Guard) -> Result<Record, RecordError> {
        let (key, stored) = guard.into_inner().map_err(|error| unreadable(&error))?;
        let value = unframe(self.space, &key, &stored)?.to_vec();
        Ok((key.to_vec(), value))
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

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Record>, RecordError> {
        let from = from.max(&[RESERVED_PREFIX + 1]);
        if to <= from {
            return Ok(Vec::new());
        }
        self.read(|snapshot, keyspace| {
            let range = snapshot.range(keyspace, from..to);
            range.take(limit).map(|guard| self.record(guard)).collect()
        })
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

fn free_bytes(path: &Path) -> Result<u64, StoreError> {
    let disk = rustix::fs::statvfs(path).map_err(|error| StoreError::Failed(error.to_string()))?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Refuses a folder with entries that fjall asserts about, aborting the process from a destructor.
fn check_files(path: &Path) -> Result<(), StoreError> {
    let strange = |name: &std::path::Path| {
        StoreError::Damaged(format!(
            "{} is not the engine's; move it away",
            name.display()
        ))
    };
    for entry in entries(path)? {
        let is_journal = entry
            .extension()
            .is_some_and(|extension| extension == "jnl");
        if entry.file_name().is_none_or(|name| name.to_str().is_none())
            || is_journal && !entry.is_file()
        {
            return Err(strange(&entry));
        }
    }
    for entry in entries(&path.join("keyspaces"))? {
        let name = entry.file_name().and_then(|name| name.to_str());
        if !entry.is_file() && name.is_none_or(|name| name.parse::<u64>().is_err()) {
            return Err(strange(&entry));
        }
    }
    Ok(())
}

fn entries(path: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let failed = |error: std::io::Error| {
        StoreError::Failed(format!("{} cannot be listed: {error}", path.display()))
    };
    match std::fs::read_dir(path) {
        Ok(entries) => entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()
            .map_err(failed),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(failed(error)),
    }
}

/// Calls into fjall; a panic there becomes an error here.
fn guarded<T>(act: impl FnOnce() -> fjall::Result<T>) -> Result<T, StoreError> {
    match std::panic::catch_unwind(AssertUnwindSafe(act)) {
        Ok(result) => result.map_err(|error| explained(&error)),
        Err(_) => Err(StoreError::Failed(
            "it stopped at a state it did not expect".to_owned(),
        )),
    }
}

/// What an operator learns of an engine's error. A disk that fills up in the middle of a write is
/// a failure too: the rest of the write may still reach the disk.
fn explained(error: &fjall::Error) -> StoreError {
    match error {
        fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => {
            match error.kind() {
                std::io::ErrorKind::NotFound | std::io::ErrorKind::UnexpectedEof => {
                    StoreError::Damaged(format!("a file is missing or cut short ({error})"))
                }
                _ => StoreError::Failed(error.to_string()),
            }
        }
        fjall::Error::Poisoned => StoreError::Failed("a write before this one failed".to_owned()),
        fjall::Error::Locked => StoreError::Failed("another process has it open".to_owned()),
        fjall::Error::JournalRecovery(error) => StoreError::Damaged(format!(
            "the last batch of the journal is not whole ({error:?})"
        )),
        fjall::Error::InvalidVersion(_) => {
            StoreError::Damaged("the files are of another version of the engine".to_owned())
        }
        other => StoreError::Damaged(format!("{other:?}")),
    }
}

fn unreadable(error: &fjall::Error) -> RecordError {
    match explained(error) {
        StoreError::Damaged(_) => RecordError::Damaged("a table of the engine is damaged"),
        other => RecordError::Failed(other.to_string()),
    }
}

#[cfg(test)]
mod tests;
