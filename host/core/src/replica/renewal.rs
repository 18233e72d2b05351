//! This is how a replica's state is dropped: one batch ends a generation and begins the next.
//!
//! The generation is part of every key, so that what the old one left is never read again, and is
//! removed at leisure. No path removes objects while a clock that covers them exists: what such a
//! clock has seen and no longer holds would count as deleted everywhere.

use super::{Replica, Standing, state};
use crate::id::{Generation, Incarnation, NodeId};
use crate::place::{Layout, Place};
use crate::record::{Batch, RecordError};

impl Replica {
    /// Drops what is stored of `place` and begins anew with nothing, as a suspect. The new replica
    /// mints under a new actor, in the same process too.
    ///
    /// # Errors
    /// [`RecordError`] when the record that says which generation is in use cannot be read.
    pub fn renew(
        batch: &mut dyn Batch,
        place: Place,
        life: (NodeId, Incarnation),
    ) -> Result<Replica, RecordError> {
        let stored = batch.get(&Layout::life(place))?;
        let old = stored
            .as_deref()
            .map(state::decode_generation)
            .transpose()?;
        let old = old.unwrap_or(Generation(1));
        let next = Generation(old.0 + 1);
        batch.remove(Layout::new(place, old).clock());
        batch.put(Layout::life(place), state::encode_generation(next));
        let mut replica = Replica::open(batch, place, life, Standing::suspect())?;
        replica.save(batch);
        Ok(replica)
    }
}
