//! This is how records are saved from an engine of which a table is damaged: what can be read is
//! written to a new one, and the old one is left as it is.
//!
//! A damaged table cannot be mended by writing beside it. Reads that pass over its bad block fail
//! for ever, and so does each compaction that comes to it, which ends the engine's workers. And it
//! cannot be left out: what it held hides older records in other tables, which would be read again.
//!
//! So records are taken over in units that are whole or not there at all: a partition, the node's
//! own records, the authority's. A partition of which something cannot be read leaves one record
//! that cannot be read either, so that it is known for damaged and never taken for an empty one.
//! Records are not looked into: one that was damaged before is so afterwards.

use crate::store::engine::fault::guarded;
use crate::store::engine::running::{self, Running};
use crate::store::engine::{Engine, EngineOptions, free_bytes};
use crate::store::sequence::Sequences;
use crate::store::{RESERVED_PREFIX, Space, StoreError};
use fjall::{Keyspace, Readable};
use soros_core::place::{Layout, Place};
use std::collections::BTreeSet;
use std::path::Path;

/// How many bytes of records are written at a time, about.
const COPIED_AT_ONCE: usize = 1 << 20;
/// What stands where a partition was lost: shorter than any record, so it is none.
const UNREADABLE: &[u8] = b"?";

/// What was saved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    /// How many partitions there are.
    pub partitions: usize,
    /// How many of them could not be read.
    pub lost: usize,
    /// Whether there may be others of which nothing is known.
    pub is_list_cut: bool,
    /// Whether the node's own records could not be read.
    pub is_node_lost: bool,
    /// Whether the authority's could not be read.
    pub is_authority_lost: bool,
}

/// Writes what can be read of the engine in the folder `from` to a new one in the folder `to`,
/// durably. It gives out no number of a commit up to those of `marked` again.
///
/// # Errors
/// [`StoreError::Full`] when there is no room for both; any other when the old one does not open or
/// the disk fails.
pub fn salvage(
    from: &Path,
    to: &Path,
    marked: &Sequences,
    options: EngineOptions,
) -> Result<Saved, StoreError> {
    // Without workers nothing is compacted, which would come to the damage.
    let still = EngineOptions {
        workers: 0,
        ..options
    };
    let old = Running::open_as_it_is(from, still)?;
    let saved = room_for(&old, to, options).and_then(|()| {
        let (new, _) = Running::open(to, options)?;
        let saved = copy_all(&old, &new);
        running::close(new);
        saved
    });
    running::close(old);
    let saved = saved?;
    let new = Engine::open(to, options)?;
    new.ledger().pass(marked);
    // Each space has a commit above all that were marked: nothing newer is missing.
    new.accept_loss()?;
    new.close()?;
    Ok(saved)
}

fn room_for(old: &Running, to: &Path, options: EngineOptions) -> Result<(), StoreError> {
    let folder = to.parent().unwrap_or(to);
    let needed = old.bytes()?.saturating_add(options.reserve_bytes);
    if needed <= free_bytes(folder)? {
        Ok(())
    } else {
        Err(StoreError::Full)
    }
}

fn copy_all(old: &Running, new: &Running) -> Result<Saved, StoreError> {
    let copy = Copy {
        old,
        new,
        records: old.shown()?,
    };
    let all = (vec![RESERVED_PREFIX + 1], vec![u8::MAX; 64]);
    let (places, is_list_cut) = copy.places()?;
    let mut saved = Saved {
        partitions: places.len(),
        is_list_cut,
        is_node_lost: !copy.take_over(Space::Node, &all)?,
        is_authority_lost: !copy.take_over(Space::Authority, &all)?,
        lost: 0,
    };
    for place in places {
        let life = Layout::life(place);
        let behind = [&life[..], &[0]].concat();
        let is_whole = copy.can_read(Space::Partitions, &(life.clone(), behind.clone()))
            && copy.take_over(Space::Partitions, &Layout::state(place))?;
        if is_whole {
            copy.take_over(Space::Partitions, &(life, behind))?;
        } else {
            saved.lost += 1;
            copy.write(Space::Partitions, vec![(life, UNREADABLE.to_vec())])?;
        }
    }
    Ok(saved)
}

/// What is being copied.
struct Copy<'a> {
    old: &'a Running,
    new: &'a Running,
    records: fjall::Snapshot,
}

/// From where (included) to where (excluded).
type Range = (Vec<u8>, Vec<u8>);
/// Keys and values as the engine has them.
type Raw = Vec<(Vec<u8>, Vec<u8>)>;

impl Copy<'_> {
    fn keyspace(&self, space: Space) -> &Keyspace {
        self.old.keyspace(space)
    }

    /// The partitions, and whether there may be more in a part of their list that cannot be read.
    fn places(&self) -> Result<(BTreeSet<Place>, bool), StoreError> {
        let (from, to) = Layout::lives();
        let mut keys = Vec::new();
        let mut take = |backwards: bool| {
            guarded(|| {
                let mut range = self
                    .records
                    .range(self.keyspace(Space::Partitions), &from[..]..&to[..]);
                while let Some(guard) = if backwards {
                    range.next_back()
                } else {
                    range.next()
                } {
                    keys.push(guard.key()?.to_vec());
                }
                Ok(())
            })
        };
        let is_cut = take(false).is_err();
        if is_cut {
            // What lies behind the bad block.
            let _ = take(true);
        }
        let place = |key: &Vec<u8>| {
            let strange = |_| StoreError::Damaged("a partition's key is not one".to_owned());
            Layout::place_of_life(key).map_err(strange)
        };
        let places: Result<BTreeSet<Place>, StoreError> = keys.iter().map(place).collect();
        Ok((places?, is_cut))
    }

    /// Takes over the records of a range, if all of them can be read; whether it has.
    fn take_over(&self, space: Space, range: &Range) -> Result<bool, StoreError> {
        if !self.can_read(space, range) {
            return Ok(false);
        }
        let (mut from, to) = range.clone();
        loop {
            let records = self.read(space, &from, &to)?;
            let Some((last, _)) = records.last() else {
                return Ok(true);
            };
            from = [&last[..], &[0]].concat();
            self.write(space, records)?;
        }
    }

    fn can_read(&self, space: Space, (from, to): &Range) -> bool {
        let read = guarded(|| {
            let records = self.records.range(self.keyspace(space), &from[..]..&to[..]);
            for guard in records {
                guard.into_inner()?;
            }
            Ok(())
        });
        read.is_ok()
    }

    /// The first records of a range.
    fn read(&self, space: Space, from: &[u8], to: &[u8]) -> Result<Raw, StoreError> {
        guarded(|| {
            let (mut read, mut bytes) = (Raw::new(), 0);
            for guard in self.records.range(self.keyspace(space), from..to) {
                let (key, value) = guard.into_inner()?;
                bytes += key.len() + value.len();
                read.push((key.to_vec(), value.to_vec()));
                if COPIED_AT_ONCE <= bytes {
                    break;
                }
            }
            Ok(read)
        })
    }

    fn write(&self, space: Space, records: Raw) -> Result<(), StoreError> {
        self.new.wait_for_workers()?;
        self.new.write_raw(space, records)
    }
}
