//! This is what may be chosen about the engine, and what fits a disk of a size.

use crate::store::room::Marks;

const MIB: u64 = 1 << 20;
/// From here on small blocks would make long indexes.
const LARGE_DISK_BYTES: u64 = 16 << 30;

/// The smallest disk that the engine's journal, memtables and merges fit on.
pub const DISK_BYTES_MIN: u64 = 256 * MIB;

/// What an operator may choose about the engine.
#[derive(Clone, Copy, Debug)]
pub struct EngineOptions {
    /// The bytes of blocks kept in memory.
    pub cache_bytes: u64,
    /// The most bytes of partitions' writes in memory before they go to a table.
    pub memtable_bytes: u64,
    /// About how large a table gets; what a merge takes of the disk until it ends grows with it.
    /// Of an engine that exists already it is as it was made.
    pub table_bytes: u64,
    /// The bytes of a block of the first level but one. A table can be cut between two blocks only,
    /// and those of a small disk hold few records to cut between.
    pub cut_block_bytes: u32,
    /// How many bytes of tables may wait to be merged before a commit waits.
    pub unmerged_bytes: u64,
    /// The bytes of disk that no commit may use up, so that the engine can still tidy up.
    pub reserve_bytes: u64,
    /// The threads that write tables out.
    pub workers: usize,
    /// The most files that are kept open.
    pub files_max: usize,
    /// When the disk counts as full.
    pub marks: Marks,
}

impl Default for EngineOptions {
    fn default() -> EngineOptions {
        EngineOptions::for_disk(u64::MAX)
    }
}

impl EngineOptions {
    /// What fits a disk of `bytes`. What waits to be merged, and a table with all of the next level
    /// that it overlaps, must find room in what the high mark leaves free.
    #[must_use]
    pub fn for_disk(bytes: u64) -> EngineOptions {
        EngineOptions {
            cache_bytes: 64 * MIB,
            memtable_bytes: (bytes / 128).clamp(2 * MIB, 32 * MIB),
            table_bytes: (bytes / 1024).clamp(MIB / 4, 64 * MIB),
            cut_block_bytes: if bytes < LARGE_DISK_BYTES { 256 } else { 4_096 },
            unmerged_bytes: (bytes / 24).max(10 * MIB),
            reserve_bytes: (bytes / 32).clamp(8 * MIB, 64 * MIB),
            workers: 2,
            files_max: 900,
            marks: Marks::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fits_the_smallest_disk() {
        let options = EngineOptions::for_disk(DISK_BYTES_MIN);
        let left_free = DISK_BYTES_MIN / 10;
        let merge = options.unmerged_bytes + options.memtable_bytes + 4 * options.table_bytes;
        assert!(merge + options.reserve_bytes <= left_free, "{options:?}");
        assert!(3 * options.reserve_bytes <= left_free, "{options:?}");
    }
}
