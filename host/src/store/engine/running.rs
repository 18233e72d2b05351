//! This is one opening of the fjall database: batches, snapshots, flushes and what a start finds.

use crate::store::checked::{frame, unframe};
use crate::store::engine::fault::{guarded, guarded_opening};
use crate::store::engine::{EngineOptions, compaction, files};
use crate::store::sequence::{self, Found, Link, Numbered};
use crate::store::{Durability, RESERVED_LAST, RESERVED_PREFIX, Space, StoreError, Write};
use fjall::config::BlockSizePolicy;
use fjall::{AbstractTree, Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable};
use soros_core::codec::Codec;
use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// The most bytes of sealed journals; with the active one the journal takes 64 to 128 MiB.
const JOURNAL_SEALED_BYTES_MAX: u64 = 64 << 20;
/// How many memtables may wait for a worker before a commit waits: below fjall's own 4.
const SEALED_MEMTABLES_MAX: usize = 2;
/// The fewest files that fjall keeps open.
const FILES_MAX_LEAST: usize = 16;
/// How many runs may wait to be merged before a commit waits: below fjall's own 30.
const RUNS_MAX: usize = 20;
/// How often whoever waits for the workers looks again.
pub(super) const WORKERS_POLL: Duration = Duration::from_millis(2);
/// The bytes of a block of a table, about.
const BLOCK_BYTES: u32 = 4 << 10;
/// The most commits, flushes and compactions that a database has lived through.
const ENGINE_NUMBER_MAX: u64 = 1 << 62;

/// What commits wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Backlog {
    /// Nothing.
    None,
    /// Memory that a worker is to write out.
    Unwritten,
    /// Tables that are to be merged, before what they take is more than merging them can use.
    Unmerged,
    /// So many of them that the engine itself would wait.
    TooMany,
}

/// The first and the last record of the partitions, which are the store's own. They came first of
/// all, and so lie at the ends of the last level: whatever is merged with it lies between.
const LOW_END: [u8; 2] = [RESERVED_PREFIX, 0x00];
const HIGH_END: [u8; 1] = [RESERVED_LAST];

/// The writes of both ends. A table that has them overlaps every other.
pub(super) fn ends() -> Vec<Write> {
    let end = |key: &[u8]| Write::put(Space::Partitions, key.to_vec(), Vec::new());
    vec![end(&LOW_END), end(&HIGH_END)]
}

/// The open database.
pub(super) struct Running {
    database: Database,
    spaces: [Keyspace; Space::ALL.len()],
    /// How many bytes may wait to be merged before a commit waits.
    unmerged_max: u64,
    /// What was synced last; snapshots are taken from here.
    synced: Mutex<Synced>,
}

/// The views that somebody may hold.
struct Synced {
    newest: Arc<fjall::Snapshot>,
    /// All of them, oldest first, and some that nobody holds any more.
    held: VecDeque<Weak<fjall::Snapshot>>,
}

/// How many views are remembered before those that nobody holds are looked for.
const HELD_MAX: usize = 1_024;

impl Synced {
    fn new(snapshot: fjall::Snapshot) -> Synced {
        let newest = Arc::new(snapshot);
        let held = VecDeque::from([Arc::downgrade(&newest)]);
        Synced { newest, held }
    }

    fn show(&mut self, snapshot: fjall::Snapshot) {
        self.newest = Arc::new(snapshot);
        if HELD_MAX <= self.held.len() {
            self.held.retain(|held| 0 < held.strong_count());
        }
        self.held.push_back(Arc::downgrade(&self.newest));
    }

    /// The engine's number from which on somebody may still look at records.
    fn oldest(&mut self) -> u64 {
        loop {
            match self.held.front().map(Weak::upgrade) {
                Some(Some(snapshot)) => return snapshot.seqno(),
                Some(None) => drop(self.held.pop_front()),
                None => return self.newest.seqno(),
            }
        }
    }
}

impl Running {
    /// Opens the database in the folder `path` and looks for the numbers of its commits.
    pub(super) fn open(
        path: &Path,
        options: EngineOptions,
    ) -> Result<(Running, [Found; Space::ALL.len()]), StoreError> {
        files::check(path)?;
        let database = guarded_opening(|| {
            Database::builder(path)
                .cache_size(options.cache_bytes)
                .max_journaling_size(JOURNAL_SEALED_BYTES_MAX)
                .worker_threads(options.workers.max(1))
                .max_cached_files(Some(options.files_max.max(FILES_MAX_LEAST)))
                .open()
        })?;
        let running = match guarded_opening(|| Running::prepare(&database, options)) {
            Ok((spaces, synced)) => Running {
                database,
                spaces,
                unmerged_max: options.unmerged_bytes,
                synced: Mutex::new(Synced::new(synced)),
            },
            Err(error) => {
                close(database);
                return Err(error);
            }
        };
        match running
            .check_numbers()
            .and_then(|()| running.set_ends(options))
            .and_then(|()| guarded_opening(|| running.found()))
        {
            Ok(found) => Ok((running, found)),
            Err(error) => {
                close(running);
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
        let spaces = [first?, second?, third?];
        // What recovery read from the journal may never have been synced.
        database.persist(PersistMode::SyncAll)?;
        Ok((spaces, database.snapshot()))
    }

    /// Puts the ends where they belong, if they are not there.
    fn set_ends(&self, options: EngineOptions) -> Result<(), StoreError> {
        let keyspace = self.keyspace(Space::Partitions);
        if guarded_opening(|| keyspace.contains_key(LOW_END))? {
            return Ok(());
        }
        self.commit(ends(), Durability::Synced)?;
        self.flush_space(Space::Partitions)?;
        let sizes = (options.table_bytes, options.unmerged_bytes);
        compaction::tidy(keyspace, sizes, u64::MAX, self.oldest_view())?;
        Ok(())
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

    /// A view of what was synced last.
    pub(super) fn view(&self) -> Arc<fjall::Snapshot> {
        Arc::clone(&self.synced().newest)
    }

    fn synced(&self) -> MutexGuard<'_, Synced> {
        self.synced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show_synced(&self) {
        let snapshot = self.database.snapshot();
        self.synced().show(snapshot);
    }

    /// Syncs all commits and shows them.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        guarded(|| {
            self.database.persist(PersistMode::SyncAll)?;
            self.show_synced();
            Ok(())
        })
    }

    pub(super) fn commit(
        &self,
        writes: Vec<Write>,
        durability: Durability,
    ) -> Result<(), StoreError> {
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
            batch.commit()?;
            if durability == Durability::Synced {
                self.show_synced();
            }
            Ok(())
        })
    }

    /// The bytes of all tables.
    pub(super) fn table_bytes(&self) -> u64 {
        let tables = || Ok(self.spaces.iter().map(Keyspace::disk_space).sum());
        guarded(tables).unwrap_or(0)
    }

    /// The bytes of what is in memory and in the journal, and not yet in a table.
    pub(super) fn unwritten_bytes(&self) -> u64 {
        self.database.write_buffer_size()
    }

    /// The engine's number from which on somebody may still look at records.
    pub(super) fn oldest_view(&self) -> u64 {
        self.synced().oldest()
    }

    /// Removes tables that were merged and that no view sees any more. Whether some are left.
    pub(super) fn let_go(&self) -> Result<bool, StoreError> {
        let oldest = self.oldest_view();
        guarded(|| {
            let mut left = 0;
            for keyspace in &self.spaces {
                let mut history = keyspace.tree.get_version_history_lock();
                history.maintenance(keyspace.path(), oldest)?;
                left += history.free_list_len();
            }
            Ok(0 < left)
        })
    }

    fn unmerged_bytes(&self) -> u64 {
        let partitions = self.keyspace(Space::Partitions);
        partitions.tree.current_version().l0().size()
    }

    /// How many runs of `space` wait to be merged.
    pub(super) fn runs(&self, space: Space) -> usize {
        let tree = &self.keyspace(space).tree;
        guarded(|| Ok(tree.l0_run_count())).unwrap_or(0)
    }

    /// Tells whether the engine still works: a worker that died stops it without a word.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        guarded(|| self.database.persist(PersistMode::Buffer))
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

    /// What a commit would wait for inside of fjall, which does so for ever if its workers have
    /// died.
    pub(super) fn backlog(&self) -> Result<Backlog, StoreError> {
        self.check()?;
        guarded(|| {
            let unwritten = |space: &Keyspace| space.sealed_memtable_count() > SEALED_MEMTABLES_MAX;
            let runs = |space: &Keyspace| space.tree.l0_run_count();
            let runs = self.spaces.iter().map(runs).max().unwrap_or(0);
            Ok(if self.spaces.iter().any(unwritten) {
                Backlog::Unwritten
            } else if RUNS_MAX < runs {
                Backlog::TooMany
            } else if self.unmerged_max < self.unmerged_bytes() {
                Backlog::Unmerged
            } else {
                Backlog::None
            })
        })
    }

    fn wait_while(&self, busy: impl Fn() -> bool) -> Result<(), StoreError> {
        while guarded(|| Ok(busy()))? {
            self.check()?;
            std::thread::sleep(WORKERS_POLL);
        }
        Ok(())
    }

    pub(super) fn flush(&self) -> Result<(), StoreError> {
        self.sync()?;
        Space::ALL
            .into_iter()
            .try_for_each(|space| self.flush_space(space))
    }

    pub(super) fn flush_space(&self, space: Space) -> Result<(), StoreError> {
        let keyspace = self.keyspace(space);
        guarded(|| keyspace.rotate_memtable())?;
        self.wait_while(|| keyspace.sealed_memtable_count() > 0)
    }
}

/// Closes what may panic about the very state that it is closed for.
pub(super) fn close<T>(open: T) {
    let _ = std::panic::catch_unwind(AssertUnwindSafe(move || drop(open)));
}

fn keyspace_options(options: EngineOptions, space: Space) -> KeyspaceCreateOptions {
    // The other spaces are small, and what waits in their memtables pins the journal.
    let share = if space == Space::Partitions { 1 } else { 4 };
    KeyspaceCreateOptions::default()
        .max_memtable_size(options.memtable_bytes / share)
        .compaction_strategy(Arc::new(compaction::idle()))
        .data_block_size_policy(BlockSizePolicy::new([
            BLOCK_BYTES,
            options.cut_block_bytes,
            BLOCK_BYTES,
        ]))
}
