//! This is one opening of the fjall database: batches, snapshots, flushes and what a start finds.

use crate::store::checked::{frame, unframe};
use crate::store::engine::EngineOptions;
use crate::store::engine::fault::{guarded, guarded_reading};
use crate::store::engine::files;
use crate::store::sequence::{self, Found, Link, Numbered};
use crate::store::{Durability, Space, StoreError, Write};
use fjall::compaction::Leveled;
use fjall::{AbstractTree, Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable};
use soros_core::codec::Codec;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The most bytes of sealed journals; with the active one the journal takes 64 to 128 MiB.
const JOURNAL_SEALED_BYTES_MAX: u64 = 64 << 20;
/// How many memtables may wait for a worker before a commit waits: below fjall's own 4.
const SEALED_MEMTABLES_MAX: usize = 2;
/// How many runs may wait for a compaction before a commit waits: below fjall's own 30.
const RUNS_MAX: usize = 20;
/// The longest that a commit waits for the workers.
const COMMIT_WAIT_MAX: Duration = Duration::from_secs(10);
/// The longest that a memtable takes to be written out.
const FLUSH_WAIT_MAX: Duration = Duration::from_mins(1);
/// How often whoever waits for the workers looks again.
const WORKERS_POLL: Duration = Duration::from_millis(2);
/// The most commits, flushes and compactions that a database has lived through.
const ENGINE_NUMBER_MAX: u64 = 1 << 62;

/// The open database.
pub(super) struct Running {
    database: Database,
    spaces: [Keyspace; Space::ALL.len()],
    /// What was committed last; snapshots are taken from here.
    shown: Mutex<fjall::Snapshot>,
}

impl Running {
    /// Opens the database in the folder `path` and looks for the numbers of its commits.
    pub(super) fn open(
        path: &Path,
        options: EngineOptions,
    ) -> Result<(Running, [Found; Space::ALL.len()]), StoreError> {
        let running = Running::open_as_it_is(path, options)?;
        match running
            .check_numbers()
            .and_then(|()| guarded_reading(|| running.found()))
        {
            Ok(found) => Ok((running, found)),
            Err(error) => {
                close(running);
                Err(error)
            }
        }
    }

    /// Opens the database without a look at whether all is there: for who only takes from it.
    pub(super) fn open_as_it_is(
        path: &Path,
        options: EngineOptions,
    ) -> Result<Running, StoreError> {
        files::check(path)?;
        let database = guarded_reading(|| {
            Database::builder(path)
                .cache_size(options.cache_bytes)
                .max_cached_files(Some(options.open_files))
                .max_journaling_size(JOURNAL_SEALED_BYTES_MAX)
                // The checked call takes no 0, which a salvage needs.
                .worker_threads_unchecked(options.workers)
                .open()
        })?;
        match guarded_reading(|| Running::prepare(&database, options)) {
            Ok((spaces, shown)) => Ok(Running {
                database,
                spaces,
                shown: Mutex::new(shown),
            }),
            Err(error) => {
                close(database);
                Err(error)
            }
        }
    }

    fn prepare(
        database: &Database,
        options: EngineOptions,
    ) -> fjall::Result<([Keyspace; Space::ALL.len()], fjall::Snapshot)> {
        let [first, second, third] = Space::ALL
            .map(|space| database.keyspace(space.name(), || keyspace_options(options, space)));
        // What recovery read from the journal may never have been synced.
        database.persist(PersistMode::SyncAll)?;
        Ok(([first?, second?, third?], database.snapshot()))
    }

    /// fjall's numbers have no checksum in its journal; one near the end of all numbers is damage.
    fn check_numbers(&self) -> Result<(), StoreError> {
        if self.database.seqno() <= ENGINE_NUMBER_MAX {
            Ok(())
        } else {
            Err(StoreError::Damaged(
                "a number in the journal is not one of ours".to_owned(),
            ))
        }
    }

    pub(super) fn keyspace(&self, space: Space) -> &Keyspace {
        &self.spaces[space.index()]
    }

    pub(super) fn shown(&self) -> Result<fjall::Snapshot, StoreError> {
        guarded(|| {
            Ok(self
                .shown
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone())
        })
    }

    fn show_all(&self) {
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = self.database.snapshot();
    }

    pub(super) fn commit(
        &self,
        writes: Vec<Write>,
        durability: Durability,
    ) -> Result<(), StoreError> {
        let mode = match durability {
            Durability::Synced => PersistMode::SyncData,
            Durability::Unsynced => PersistMode::Buffer,
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
            batch.commit()?;
            self.show_all();
            Ok(())
        })
    }

    /// Writes records as another engine had them. They are on disk after the next flush.
    pub(super) fn write_raw(
        &self,
        space: Space,
        records: Vec<(Vec<u8>, Vec<u8>)>,
    ) -> Result<(), StoreError> {
        guarded(|| {
            let mut batch = self.database.batch().durability(Some(PersistMode::Buffer));
            for (key, value) in records {
                batch.insert(self.keyspace(space), key, value);
            }
            batch.commit()
        })
    }

    pub(super) fn bytes(&self) -> Result<u64, StoreError> {
        guarded(|| self.database.disk_space())
    }

    /// The bytes of the tables.
    pub(super) fn table_bytes(&self) -> u64 {
        let tables = || Ok(self.spaces.iter().map(Keyspace::disk_space).sum());
        guarded(tables).unwrap_or(0)
    }

    /// The bytes of what is in memory and in the journal, and not yet in a table.
    pub(super) fn unwritten_bytes(&self) -> u64 {
        self.database.write_buffer_size()
    }

    /// The engine's number of the newest commit.
    pub(super) fn newest(&self) -> u64 {
        self.database.visible_seqno().saturating_sub(1)
    }

    /// The engine's number up to which `space` is in tables.
    pub(super) fn written_out(&self, space: Space) -> u64 {
        let tree = &self.keyspace(space).tree;
        guarded(|| Ok(tree.get_highest_persisted_seqno()))
            .ok()
            .flatten()
            .unwrap_or(0)
    }

    /// The records of commits' numbers, of each space.
    fn found(&self) -> fjall::Result<[Found; Space::ALL.len()]> {
        let snapshot = self.database.snapshot();
        let [first, second, third] = Space::ALL.map(|space| self.found_in(space, &snapshot));
        Ok([first?, second?, third?])
    }

    fn found_in(&self, space: Space, snapshot: &fjall::Snapshot) -> fjall::Result<Found> {
        let (from, to) = sequence::KEYS;
        let records = snapshot.range(self.keyspace(space), from..to);
        let mut found = Found::default();
        // From the newest back to the oldest that it tells of: what is older is of no account,
        // and the removals before it need not be looked through.
        for guard in records.rev() {
            let (key, stored) = guard.into_inner()?;
            match self.numbered(space, &key, &stored)? {
                Some(record) if found.needs(record.number) => found.records.push(record),
                Some(_) => break,
                None => found.is_damaged = true,
            }
        }
        found.records.reverse();
        Ok(found)
    }

    /// The record under `key`; nothing if it is damaged.
    fn numbered(&self, space: Space, key: &[u8], stored: &[u8]) -> fjall::Result<Option<Numbered>> {
        let entry = self
            .keyspace(space)
            .tree
            .get_internal_entry(key, fjall::SeqNo::MAX)?;
        let link = unframe(space, key, stored)
            .ok()
            .and_then(|value| Link::from_bytes(value).ok());
        let (Some(entry), Some(link), Some(number)) = (entry, link, sequence::number(key)) else {
            return Ok(None);
        };
        Ok(Some(Numbered {
            number,
            link,
            engine_number: entry.key.seqno,
        }))
    }

    /// Waits until fjall would take a commit without waiting for its workers itself, which it does
    /// for ever if they have died or find nothing to merge. Whether it would take one in time.
    pub(super) fn wait_for_workers(&self) -> Result<bool, StoreError> {
        self.wait_while(COMMIT_WAIT_MAX, || {
            self.spaces.iter().any(|keyspace| {
                keyspace.sealed_memtable_count() > SEALED_MEMTABLES_MAX
                    || keyspace.tree.l0_run_count() > RUNS_MAX
            })
        })
    }

    /// Whether it was no longer `busy` before `longest` had passed.
    fn wait_while(&self, longest: Duration, busy: impl Fn() -> bool) -> Result<bool, StoreError> {
        let begun = Instant::now();
        while guarded(|| Ok(busy()))? {
            // Poison is only told by a call that fails; this one has nothing to write.
            guarded(|| self.database.persist(PersistMode::Buffer))?;
            if longest < begun.elapsed() {
                return Ok(false);
            }
            std::thread::sleep(WORKERS_POLL);
        }
        Ok(true)
    }

    /// Syncs the journal: all that was committed before is in it, or in tables already.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        guarded(|| self.database.persist(PersistMode::SyncData))
    }

    pub(super) fn flush(&self) -> Result<(), StoreError> {
        guarded(|| {
            self.database.persist(PersistMode::SyncAll)?;
            self.show_all();
            Ok(())
        })?;
        Space::ALL
            .into_iter()
            .try_for_each(|space| self.flush_space(space))
    }

    pub(super) fn flush_space(&self, space: Space) -> Result<(), StoreError> {
        let keyspace = self.keyspace(space);
        guarded(|| keyspace.rotate_memtable())?;
        if self.wait_while(FLUSH_WAIT_MAX, || keyspace.sealed_memtable_count() > 0)? {
            Ok(())
        } else {
            Err(StoreError::Failed(
                "a memtable was not written out".to_owned(),
            ))
        }
    }
}

/// Closes what may panic about the very state that it is closed for.
pub(super) fn close<T>(open: T) {
    let _ = std::panic::catch_unwind(AssertUnwindSafe(move || drop(open)));
}

fn keyspace_options(options: EngineOptions, space: Space) -> KeyspaceCreateOptions {
    // The other spaces are small, and what waits in their memtables pins the journal.
    let share = if space == Space::Partitions { 1 } else { 4 };
    let strategy = Leveled::default().with_table_target_size(options.table_bytes);
    KeyspaceCreateOptions::default()
        .max_memtable_size(options.memtable_bytes / share)
        .compaction_strategy(Arc::new(strategy))
}
