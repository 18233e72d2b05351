//! This is what may be chosen about the engine, and what fits a disk of a size.

use crate::store::room::Marks;

const MIB: u64 = 1 << 20;

/// What an operator may choose about the engine.
#[derive(Clone, Copy, Debug)]
pub struct EngineOptions {
    /// The bytes of blocks kept in memory.
    pub cache_bytes: u64,
    /// The most bytes of partitions' writes in memory before they go to a table.
    pub memtable_bytes: u64,
    /// About how large a table gets; what a merge takes of the disk until it ends grows with it.
    /// Of an engine that exists already it is as it was made. One that [`Keyspace::major_compact`]
    /// made, of 64 MB, must be less than the 50 of this size that fjall merges at once at most.
    ///
    /// [`Keyspace::major_compact`]: fjall::Keyspace::major_compact
    pub table_bytes: u64,
    /// The bytes of disk that are kept for the engine's own work.
    pub reserve_bytes: u64,
    /// The most files of tables that are kept open.
    pub open_files: usize,
    /// The threads that write tables out and compact them.
    pub workers: usize,
    /// When the disk counts as full.
    pub marks: Marks,
}

impl Default for EngineOptions {
    fn default() -> EngineOptions {
        EngineOptions::for_disk(u64::MAX)
    }
}

impl EngineOptions {
    /// What fits a disk of `bytes`: most merges find room in what the high mark leaves free.
    #[must_use]
    pub fn for_disk(bytes: u64) -> EngineOptions {
        EngineOptions {
            cache_bytes: 64 * MIB,
            memtable_bytes: (bytes / 128).clamp(2 * MIB, 32 * MIB),
            table_bytes: (bytes / 128).clamp(2 * MIB, 64 * MIB),
            reserve_bytes: (bytes / 32).clamp(8 * MIB, 32 * MIB),
            open_files: 900,
            workers: 2,
            marks: Marks::default(),
        }
    }
}
