//! This is how records go that nobody reads any more: a bounded number with each commit, in the
//! background, until none is left.
//!
//! They are of three kinds. Those of partitions whose placement is gone, and those of a
//! partition's generations before the one in use, have no clock in use that speaks of them, and
//! just go. Objects of dead buckets are part of the generation in use: each goes with its part of
//! the sum, the figures and the index, in one batch, as if a write had left nothing of it; the
//! clock keeps its dots, and the log its entries until all replicas have seen them. What is left
//! to remove is derived from the records and the map: nothing else is stored, so that a process
//! that starts goes on where the one before ended.

use super::Replica;
use crate::id::{BucketId, Generation};
use crate::map::bucket::Buckets;
use crate::object::Object;
use crate::place::{Layout, Place};
use crate::record::{Batch, RecordError};
use std::collections::BTreeSet;

/// How many records a commit should look at to remove them.
pub const SWEPT_PER_COMMIT: usize = 64;
/// A commit removes no further record once those it removed had this many bytes.
pub const SWEPT_BYTES_PER_COMMIT: usize = 256 << 10;

/// What one step of a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// The bytes of the records that it removed, about.
    pub bytes: usize,
    /// Whether there may be more to remove.
    pub more: bool,
}

/// How far a replica's sweep has come. In memory only: a replica that is opened looks again.
#[derive(Clone, Debug)]
pub(super) struct Sweep {
    /// Whether records of generations before the one in use may be left.
    generations: bool,
    /// From which bucket on it is not known yet of which ones objects are stored.
    unknown_from: Option<BucketId>,
    /// The buckets of which objects may be stored, of those that are known.
    held: BTreeSet<BucketId>,
    /// The dead bucket whose objects are being removed, and behind which key they are left. What
    /// was removed is not gone through again, which takes the longer the more it is.
    removing: Option<(BucketId, Vec<u8>)>,
}

impl Sweep {
    /// Of a replica in the generation `generation`, of which something is stored or nothing.
    pub(super) fn new(generation: Generation, is_stored: bool) -> Sweep {
        Sweep {
            generations: Generation(1) < generation,
            unknown_from: is_stored.then_some(BucketId(0)),
            held: BTreeSet::new(),
            removing: None,
        }
    }

    /// Takes note that an object of a bucket is stored.
    pub(super) fn holds(&mut self, bucket: BucketId) {
        self.held.insert(bucket);
    }

    fn dead(&self, buckets: &Buckets) -> Option<BucketId> {
        let mut held = self.held.iter().copied();
        held.find(|bucket| buckets.is_dead(*bucket))
    }
}

/// What one commit may still look at and remove.
struct Room {
    records: usize,
    bytes: usize,
    removed: usize,
}

impl Room {
    fn of(records: usize) -> Room {
        Room {
            records,
            bytes: SWEPT_BYTES_PER_COMMIT,
            removed: 0,
        }
    }

    fn is_used_up(&self) -> bool {
        self.records == 0 || self.bytes <= self.removed
    }

    fn take(&mut self, bytes: usize) {
        self.records = self.records.saturating_sub(1);
        self.removed += bytes;
    }
}

impl Replica {
    /// Whether it holds objects of buckets of this map only, as far as the objects' buckets go: its
    /// sum can be compared with that of another of which the same holds under the same map.
    #[must_use]
    pub fn is_swept(&self, buckets: &Buckets) -> bool {
        self.sweep.unknown_from.is_none()
            && self.sweep.held.iter().all(|bucket| buckets.has(*bucket))
    }

    /// Whether [`Replica::sweep`] has anything to do.
    #[must_use]
    pub fn needs_sweep(&self, buckets: &Buckets) -> bool {
        let Sweep {
            generations,
            unknown_from,
            ..
        } = &self.sweep;
        let generations = *generations && self.state.standing.is_trusted();
        generations || unknown_from.is_some() || self.sweep.dead(buckets).is_some()
    }

    /// Removes some of the records that nobody reads any more: those of generations before the one
    /// in use, and objects of dead buckets. It looks at no more than `records`. When it fails, what
    /// is in the batch must not be stored, nor the replica be used on.
    ///
    /// # Errors
    /// [`RecordError`] when an object or the records cannot be read.
    pub fn sweep(
        &mut self,
        batch: &mut dyn Batch,
        buckets: &Buckets,
        records: usize,
    ) -> Result<Swept, RecordError> {
        let mut room = Room::of(records);
        self.sweep_generations(batch, &mut room)?;
        self.look_for_buckets(batch, &mut room)?;
        while !room.is_used_up()
            && let Some(bucket) = self.sweep.dead(buckets)
        {
            self.sweep_bucket(batch, bucket, &mut room)?;
        }
        Ok(Swept {
            bytes: room.removed,
            more: self.needs_sweep(buckets),
        })
    }

    /// Removes some of what is stored of a partition whose placement is gone for ever, and with it
    /// all that could be asked of it. It looks at no more than `records`.
    ///
    /// # Errors
    /// [`RecordError`] when the records cannot be read.
    pub fn forget(
        batch: &mut dyn Batch,
        place: Place,
        records: usize,
    ) -> Result<Swept, RecordError> {
        let mut room = Room::of(records);
        let (from, to) = Layout::state(place);
        let more = remove(batch, (&from, &to), &mut room)?;
        if !more {
            batch.remove(Layout::life(place));
        }
        let bytes = room.removed;
        Ok(Swept { bytes, more })
    }

    fn sweep_generations(
        &mut self,
        batch: &mut dyn Batch,
        room: &mut Room,
    ) -> Result<(), RecordError> {
        // A suspect may be all that is left: what it dropped stays until it is whole again.
        if self.sweep.generations && self.state.standing.is_trusted() {
            let first = Layout::new(self.layout.place(), Generation(0)).first();
            self.sweep.generations = remove(batch, (&first, &self.layout.first()), room)?;
        }
        Ok(())
    }

    /// Finds out of which buckets objects are stored: one look for each.
    fn look_for_buckets(
        &mut self,
        batch: &mut dyn Batch,
        room: &mut Room,
    ) -> Result<(), RecordError> {
        let (_, behind) = self.layout.objects();
        while let Some(from) = self.sweep.unknown_from
            && !room.is_used_up()
        {
            let (first, _) = self.layout.objects_of(from);
            let found = batch.list(&first, &behind, 1)?;
            room.take(0);
            self.sweep.unknown_from = match found.first() {
                None => None,
                Some(listed) => {
                    let bucket = Layout::entry_of_object(&listed.key)?.bucket;
                    self.sweep.holds(bucket);
                    bucket.0.checked_add(1).map(BucketId)
                }
            };
        }
        Ok(())
    }

    fn sweep_bucket(
        &mut self,
        batch: &mut dyn Batch,
        bucket: BucketId,
        room: &mut Room,
    ) -> Result<(), RecordError> {
        let (first, behind) = self.layout.objects_of(bucket);
        let from = match self.sweep.removing.take() {
            Some((removing, from)) if removing == bucket => from,
            _ => first,
        };
        let found = batch.list(&from, &behind, room.records)?;
        if found.is_empty() {
            room.take(0);
            self.sweep.held.remove(&bucket);
            return Ok(());
        }
        let mut last = from;
        for listed in found {
            if room.is_used_up() {
                break;
            }
            room.take(listed.key.len() + listed.bytes);
            let entry = Layout::entry_of_object(&listed.key)?;
            let stored = self.load(batch, &entry)?;
            self.store(batch, &entry, &stored, Object::default(), &[]);
            last = listed.key;
            last.push(0);
        }
        self.sweep.removing = Some((bucket, last));
        Ok(())
    }
}

/// Removes records from `from` (included) to `to` (excluded), as far as there is room. True when
/// there may be more.
fn remove(
    batch: &mut dyn Batch,
    (from, to): (&[u8], &[u8]),
    room: &mut Room,
) -> Result<bool, RecordError> {
    let found = batch.list(from, to, room.records)?;
    let mut more = found.len() == room.records;
    for listed in found {
        if room.is_used_up() {
            more = true;
            break;
        }
        room.take(listed.key.len() + listed.bytes);
        batch.remove(listed.key);
    }
    Ok(more)
}
