//! This is how a replica's state is dropped: one batch ends a generation and begins the next.
//!
//! The generation is part of every key, so that what the old one left is never read again, and is
//! removed at leisure. No path removes objects while a clock that covers them exists: what such a
//! clock has seen and no longer holds would count as deleted everywhere.

use super::{Replica, Standing, state};
use crate::id::{Generation, Incarnation, NodeId};
use crate::place::{Layout, Place};
use crate::record::{Batch, RecordError, Records};

impl Replica {
    /// Drops what is stored of `place` and begins anew with nothing, as a suspect. The new replica
    /// mints under a new actor, in the same process too.
    ///
    /// # Errors
    /// [`RecordError`] when the engine fails, or a record is of an unknown layout.
    pub fn renew(
        batch: &mut dyn Batch,
        place: Place,
        life: (NodeId, Incarnation),
    ) -> Result<Replica, RecordError> {
        let next = match Replica::stored_generation(batch, place) {
            Ok(old) => {
                batch.remove(Layout::new(place, old).clock());
                Generation(old.0 + 1)
            }
            Err(RecordError::Damaged(_)) => unused_generation(batch, place, life.1)?,
            Err(error) => return Err(error),
        };
        batch.put(Layout::life(place), state::encode_generation(next));
        let mut replica = Replica::open(batch, place, life, Standing::suspect())?;
        replica.save(batch);
        Ok(replica)
    }

    /// The generation of `place` that is in use; the first when nothing is stored.
    pub(super) fn stored_generation(
        records: &dyn Records,
        place: Place,
    ) -> Result<Generation, RecordError> {
        let life = records.get(&Layout::life(place))?;
        let generation = life.as_deref().map(state::decode_generation).transpose()?;
        Ok(generation.unwrap_or(Generation(1)))
    }
}

/// A generation that no record of `place` has, when it cannot be read which ones had: one that is
/// far above all, chosen by the bits of the process's incarnation.
fn unused_generation(
    records: &dyn Records,
    place: Place,
    incarnation: Incarnation,
) -> Result<Generation, RecordError> {
    const FAR: u32 = 1 << 31;
    let bits = u32::try_from(incarnation.0 & u128::from(FAR / 2 - 1)).unwrap_or(0);
    let mut generation = Generation(FAR | bits);
    loop {
        match records.get(&Layout::new(place, generation).clock()) {
            Ok(None) => return Ok(generation),
            Ok(Some(_)) | Err(RecordError::Damaged(_)) => generation.0 += 1,
            Err(error) => return Err(error),
        }
    }
}
