//! This is which tables are merged, within the room that the disk has: a merge takes that of its
//! input once more before it gives it back.
//!
//! fjall's own workers would begin a merge that cannot end, stop at the full disk, and take the
//! database with them. So a keyspace is made with a strategy that finds nothing to merge
//! ([`idle`]), and the engine's upkeep looks at what the leveled strategy would merge next, and
//! begins it if it fits ([`tidy`]).
//!
//! On a full disk it goes on until all is in the last level ([`squeeze`]): a deleted value is only
//! gone when its removal has come down to where it lies. Removals are few bytes and lie far apart,
//! so the tables they are in overlap much of the last level, too much to merge at once. Such are
//! gathered ([`gather`]), raised to the first level ([`raise`]), and cut into narrow ones there.

use crate::store::StoreError;
use crate::store::engine::fault::guarded;
use fjall::compaction::Leveled;
use fjall::{AbstractTree, Keyspace};
use lsm_tree::SeqNo;
use lsm_tree::compaction::{Choice, CompactionStrategy, MoveDown, PullDown};
use std::sync::Arc;

/// Into about how many a table of the first level is cut when it is squeezed.
const CUTS: u64 = 64;
/// Into about how many all of them are cut at most.
const CUTS_MAX: u64 = 4_096;
/// How many tables of the first level are merged at once.
const RUNS: u8 = 4;
/// More than any level has.
const NEVER_BYTES: u64 = 1 << 40;

/// What came of a look at what is to be merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// There was nothing to merge.
    Nothing,
    /// Some tables were.
    Merged,
    /// What is next has no room.
    NoRoom,
}

/// What finds nothing to merge.
pub(super) fn idle() -> Leveled {
    leveled(NEVER_BYTES).with_l0_threshold(u8::MAX)
}

fn leveled(table_bytes: u64) -> Leveled {
    Leveled::default().with_table_target_size(table_bytes)
}

/// Merges what `strategy` chooses, if that fits in `room` bytes. Versions of records that nobody
/// sees who looks at `oldest` or later are left out.
#[expect(clippy::default_trait_access, reason = "the type cannot be named")]
fn merge(
    keyspace: &Keyspace,
    strategy: impl CompactionStrategy + 'static,
    room: u64,
    oldest: SeqNo,
) -> Result<Step, StoreError> {
    let tree = &keyspace.tree;
    guarded(|| {
        let before = tree.current_version();
        // Nobody else merges, so nothing is hidden from the choice that is made in earnest.
        match strategy.choose(&before, tree.tree_config(), &Default::default()) {
            Choice::DoNothing => return Ok(Step::Nothing),
            Choice::Merge(input) => {
                let tables = before.iter_tables();
                let chosen = tables.filter(|table| input.table_ids.contains(&table.id()));
                let bytes: u64 = chosen.map(|table| table.metadata.file_size).sum();
                if room < bytes {
                    return Ok(Step::NoRoom);
                }
            }
            Choice::Move(_) | Choice::Drop(_) => {}
        }
        let id = before.id();
        drop(before);
        tree.compact(Arc::new(strategy), oldest)?;
        let merged = tree.current_version().id() != id;
        Ok(if merged { Step::Merged } else { Step::Nothing })
    })
}

/// One step towards all being in the last level. With a threshold of zero every other level is too
/// large, and the lowest of them is merged first. The first level is cut when it is alone.
pub(super) fn squeeze(
    keyspace: &Keyspace,
    table_bytes: u64,
    room: u64,
    oldest: SeqNo,
) -> Result<Step, StoreError> {
    if close_gap(keyspace, oldest)? {
        return Ok(Step::Merged);
    }
    let bytes = if between(keyspace).is_empty() {
        cut_bytes(keyspace).min(table_bytes)
    } else {
        table_bytes
    };
    let strategy = leveled(bytes).with_l0_threshold(0);
    merge(keyspace, strategy, room, oldest)
}

/// To how many bytes tables of the first level are cut: so that even of the smallest of them, which
/// may have removals alone, there are many, and yet not too many of all.
fn cut_bytes(keyspace: &Keyspace) -> u64 {
    let version = keyspace.tree.current_version();
    let tables = version.l0().iter().flat_map(|run| run.iter());
    let smallest = tables.map(|table| table.metadata.file_size).min();
    let least = version.l0().size() / CUTS_MAX;
    smallest.map_or(0, |bytes| bytes / CUTS).max(least)
}

/// One step of what keeps reads quick, and the first level below `unmerged` bytes.
pub(super) fn tidy(
    keyspace: &Keyspace,
    (table_bytes, unmerged): (u64, u64),
    room: u64,
    oldest: SeqNo,
) -> Result<Step, StoreError> {
    if close_gap(keyspace, oldest)? {
        return Ok(Step::Merged);
    }
    let first = keyspace.tree.current_version().l0().size();
    let tables = if unmerged / 2 < first { 1 } else { RUNS };
    let strategy = leveled(table_bytes).with_l0_threshold(tables);
    merge(keyspace, strategy, room, oldest)
}

/// Moves a level down to above the next one that has tables: the leveled strategy does not count on
/// an empty one between two. Whether there was such a level.
fn close_gap(keyspace: &Keyspace, oldest: SeqNo) -> Result<bool, StoreError> {
    let mut lower = keyspace.tree.current_version().level_count();
    lower = lower.saturating_sub(1);
    for level in between(keyspace).into_iter().rev() {
        if usize::from(level) + 1 < lower {
            let below = u8::try_from(lower - 1).unwrap_or(level);
            return Ok(merge(keyspace, MoveDown(level, below), 0, oldest)? == Step::Merged);
        }
        lower = usize::from(level);
    }
    Ok(false)
}

/// One step towards all but the last level being in one level.
pub(super) fn gather(keyspace: &Keyspace, room: u64, oldest: SeqNo) -> Result<Step, StoreError> {
    let first_is_empty = keyspace.tree.l0_run_count() == 0;
    match *between(keyspace) {
        [] => Ok(Step::Nothing),
        [upper, lower, ..] if first_is_empty => {
            merge(keyspace, PullDown(upper, lower), room, oldest)
        }
        [_] if first_is_empty => Ok(Step::Nothing),
        [..] => {
            let strategy = leveled(NEVER_BYTES).with_l0_threshold(1);
            merge(keyspace, strategy, room, oldest)
        }
    }
}

/// Moves the level that all was gathered in up to the first one, which must be empty, and must stay
/// so meanwhile: what is there counts as newer. Whether there was such a level.
pub(super) fn raise(keyspace: &Keyspace, oldest: SeqNo) -> Result<bool, StoreError> {
    let [level] = *between(keyspace) else {
        return Ok(false);
    };
    if keyspace.tree.l0_run_count() != 0 || keyspace.sealed_memtable_count() != 0 {
        return Ok(false);
    }
    let step = merge(keyspace, MoveDown(level, 0), 0, oldest)?;
    Ok(step == Step::Merged)
}

/// The levels between the first and the last that have tables.
fn between(keyspace: &Keyspace) -> Vec<u8> {
    let version = keyspace.tree.current_version();
    let last = version.level_count().saturating_sub(1);
    let levels = version
        .iter_levels()
        .enumerate()
        .skip(1)
        .take(last.saturating_sub(1));
    let levels = levels.filter(|(_, level)| !level.is_empty());
    levels
        .filter_map(|(number, _)| u8::try_from(number).ok())
        .collect()
}
