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
//!
//! Only damage is passed over. What cannot be read because the disk or the process is short of
//! something is no loss: the salvage fails, and is done another time.

use crate::store::engine::fault::guarded_records;
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
    let target = Target { path: to, options };
    let saved = target.check_room(&old).and_then(|()| {
        let (new, _) = target.written(Running::open(to, options))?;
        let saved = copy_all(&old, &new, target);
        running::close(new);
        saved
    });
    running::close(old);
    let saved = saved?;
    target.written(finish(to, marked, options))?;
    Ok(saved)
}

fn finish(to: &Path, marked: &Sequences, options: EngineOptions) -> Result<(), StoreError> {
    let new = Engine::open(to, options)?;
    new.ledger().pass(marked);
    // Each space has a commit above all that were marked: nothing newer is missing.
    new.accept_loss()?;
    new.close()
}

/// Where the new engine is written.
#[derive(Clone, Copy)]
struct Target<'a> {
    path: &'a Path,
    options: EngineOptions,
}

impl Target<'_> {
    fn free(&self) -> Result<u64, StoreError> {
        free_bytes(self.path.parent().unwrap_or(self.path))
    }

    fn check_room(&self, old: &Running) -> Result<(), StoreError> {
        let needed = old.bytes()?.saturating_add(self.options.reserve_bytes);
        if needed <= self.free()? {
            Ok(())
        } else {
            Err(StoreError::Full)
        }
    }

    /// What it came to that the new engine was written. It fails for want of room if others have
    /// taken that, whatever the engine says of it, and it is not what is damaged.
    fn written<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        let least = self.options.reserve_bytes.max(COPIED_AT_ONCE as u64);
        result.map_err(|error| match error {
            _ if self.free().is_ok_and(|free| free < least) => StoreError::Full,
            StoreError::Damaged(why) => StoreError::Failed(why),
            error => error,
        })
    }
}

fn copy_all(old: &Running, new: &Running, target: Target<'_>) -> Result<Saved, StoreError> {
    let copy = Copy {
        old,
        new,
        target,
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
        let of_life = (life.clone(), behind);
        let is_whole = copy.can_read(Space::Partitions, &of_life)?
            && copy.take_over(Space::Partitions, &Layout::state(place))?
            && copy.take_over(Space::Partitions, &of_life)?;
        if !is_whole {
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
    target: Target<'a>,
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
            is_readable(guarded_records(|| {
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
            }))
        };
        let is_cut = !take(false)?;
        if is_cut {
            // What lies behind the bad block.
            take(true)?;
        }
        let place = |key: &Vec<u8>| {
            let strange = |_| StoreError::Damaged("a partition's key is not one".to_owned());
            Layout::place_of_life(key).map_err(strange)
        };
        let places: Result<BTreeSet<Place>, StoreError> = keys.iter().map(place).collect();
        Ok((places?, is_cut))
    }

    /// Takes over the records of a range, if all of them can be read; whether it has. Of a
    /// partition some may be there even so: without the record that says which are in use, none is.
    fn take_over(&self, space: Space, range: &Range) -> Result<bool, StoreError> {
        if !self.can_read(space, range)? {
            return Ok(false);
        }
        let (mut from, to) = range.clone();
        loop {
            let records = match self.read(space, &from, &to) {
                // The disk read it a moment ago.
                Err(StoreError::Damaged(_)) if space == Space::Partitions || from == range.0 => {
                    return Ok(false);
                }
                read => read?,
            };
            let Some((last, _)) = records.last() else {
                return Ok(true);
            };
            from = [&last[..], &[0]].concat();
            self.write(space, records)?;
        }
    }

    fn can_read(&self, space: Space, (from, to): &Range) -> Result<bool, StoreError> {
        is_readable(guarded_records(|| {
            let records = self.records.range(self.keyspace(space), &from[..]..&to[..]);
            for guard in records {
                guard.into_inner()?;
            }
            Ok(())
        }))
    }

    /// The first records of a range.
    fn read(&self, space: Space, from: &[u8], to: &[u8]) -> Result<Raw, StoreError> {
        guarded_records(|| {
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
        let written = self.new.wait_for_workers();
        let written = written.and_then(|_| self.new.write_raw(space, records));
        self.target.written(written)
    }
}

/// Whether something could be read, or is damaged.
fn is_readable(read: Result<(), StoreError>) -> Result<bool, StoreError> {
    match read {
        Ok(()) => Ok(true),
        Err(StoreError::Damaged(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance::small;
    use crate::store::engine::files;
    use crate::store::engine::full_disk::SmallDisk;
    use crate::store::{Durability, Store, Write};

    /// Records of the node, of so many bytes, which no table makes small.
    fn engine_with(folder: &Path, bytes: usize) {
        const VALUE_BYTES: usize = 4 << 10;
        let store = Engine::open(folder, small()).expect("opens");
        for turn in 0..bytes / VALUE_BYTES {
            let key = format!("key {turn:06}").into_bytes();
            let mut value = vec![0; VALUE_BYTES];
            let mut random = blake3::Hasher::new().update(&key).finalize_xof();
            random.fill(&mut value);
            let write = Write::put(Space::Node, key, value);
            let written = store.commit(vec![write], Durability::Synced);
            written.expect("works");
        }
        store.close().expect("works");
    }

    fn target(path: &Path) -> Target<'_> {
        let options = small();
        Target { path, options }
    }

    fn open_old(folder: &Path) -> Running {
        let options = EngineOptions {
            open_files: 0,
            workers: 0,
            ..small()
        };
        Running::open_as_it_is(folder, options).expect("opens")
    }

    #[track_caller]
    fn copied(old: &Running, to: &Path) -> Result<Saved, StoreError> {
        let (new, _) = Running::open(to, small()).expect("opens");
        let saved = copy_all(old, &new, target(to));
        running::close(new);
        saved
    }

    #[test]
    fn what_the_disk_does_not_read_now_is_no_loss() {
        let folder = tempfile::tempdir().expect("a folder");
        let (from, to) = (folder.path().join("old"), folder.path().join("new"));
        engine_with(&from, 1 << 20);
        let old = open_old(&from);
        let tables = files::entries(&from.join("keyspaces/2/tables"));
        for table in tables.expect("a folder") {
            std::fs::remove_file(&table).expect("a file");
            // Nothing says that what it leads to is damaged.
            std::os::unix::fs::symlink(&table, &table).expect("a link");
        }
        let saved = copied(&old, &to);
        assert!(matches!(saved, Err(StoreError::Failed(_))), "{saved:?}");
        running::close(old);
    }

    #[test]
    fn others_that_take_the_room_meanwhile_do_not_make_it_damage() {
        let Some(disk) = SmallDisk::mount() else {
            return;
        };
        let folder = tempfile::tempdir().expect("a folder");
        engine_with(folder.path(), 8 << 20);
        let old = open_old(folder.path());
        let to = disk.path().join("engine");
        assert!(target(&to).check_room(&old).is_ok());
        let filler = std::fs::File::create(disk.path().join("filler")).expect("a file");
        let most = vec![1; 59 << 20];
        std::io::Write::write_all(&mut &filler, &most).expect("there is room");
        let saved = copied(&old, &to);
        assert!(matches!(saved, Err(StoreError::Full)), "{saved:?}");
        let damaged = StoreError::Damaged("the new one".to_owned());
        let written = target(&to).written::<()>(Err(damaged.clone()));
        assert!(matches!(written, Err(StoreError::Full)), "{written:?}");
        filler.set_len(0).expect("a shorter file");
        let written = target(&to).written::<()>(Err(damaged));
        assert!(matches!(written, Err(StoreError::Failed(_))), "{written:?}");
        running::close(old);
    }
}
