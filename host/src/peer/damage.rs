//! This is which partitions have a record that is not what was written. They are dropped and begin
//! anew, and have all from the others: a damaged record must never be taken for an absent one.

use soros_core::place::Place;
use soros_core::record::RecordError;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The damaged partitions of a node. Whoever reads notes them; the repair looks after them.
#[derive(Debug, Default)]
pub struct Damage(Mutex<BTreeMap<Place, Kind>>);

/// What is wrong with a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A record is not what was written: the others have it.
    Damaged,
    /// A record has a layout that this program does not know: so it may be with the others, and
    /// nothing is dropped.
    Strange,
}

impl Damage {
    /// Takes note when `error` means that a record of the partition at `place` cannot be read for
    /// good.
    pub fn note(&self, place: Place, error: &RecordError) {
        let kind = match error {
            RecordError::Damaged(_) => Kind::Damaged,
            RecordError::Strange(_) => Kind::Strange,
            RecordError::Failed(_) => return,
        };
        if self.places_mut().insert(place, kind) != Some(kind) {
            tracing::error!(
                partition = %place.partition,
                %error,
                "a record cannot be read: a damaged partition begins anew once enough others are \
                 there, and one of an unknown layout waits for the right program"
            );
        }
    }

    /// What is wrong with the partition at `place`, if anything is.
    #[must_use]
    pub fn at(&self, place: &Place) -> Option<Kind> {
        self.places_mut().get(place).copied()
    }

    /// The damaged partitions.
    #[must_use]
    pub fn places(&self) -> BTreeSet<Place> {
        self.places_mut().keys().copied().collect()
    }

    /// The partition at `place` has begun anew.
    pub fn clear(&self, place: &Place) {
        self.places_mut().remove(place);
    }

    fn places_mut(&self) -> MutexGuard<'_, BTreeMap<Place, Kind>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
