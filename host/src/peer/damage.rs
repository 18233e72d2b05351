//! This is which partitions have a record that is not what was written. What else they hold is
//! served and handed out; they are dropped and begin anew once enough others hold that: a damaged
//! record must never be taken for an absent one.

use soros_core::id::Generation;
use soros_core::place::Place;
use soros_core::record::RecordError;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many times a partition begins anew before the fault is taken for one that stays. The first
/// time may be followed by a reader's note of what is gone by then.
const RENEWALS_MAX: u32 = 2;

/// The damaged partitions of a node. Whoever reads notes them; the repair looks after them.
#[derive(Debug, Default)]
pub struct Damage {
    notes: Mutex<BTreeMap<Place, Note>>,
    /// How many times damage was met in each partition.
    met: Mutex<BTreeMap<Place, u64>>,
    /// How many times each partition has begun anew.
    renewed: Mutex<BTreeMap<Place, u32>>,
    /// The notes after which all of a partition was read again.
    read_again: Mutex<BTreeMap<Place, Note>>,
    stays: AtomicBool,
}

/// What is known of a damaged partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note {
    /// What is wrong with it.
    pub kind: Kind,
    /// The generation of its state in which that was seen; none when it cannot be opened.
    pub seen: Option<Generation>,
}

/// What is wrong with a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A record is not what was written: the others have it.
    Damaged,
    /// A record has a layout that this program does not know: so it may be with the others, and
    /// nothing is dropped.
    Strange,
}

impl Note {
    /// Whether what is noted `after` says less than this: it is of an earlier state, or of the same
    /// one, which must not be dropped.
    fn outlasts(&self, after: &Note) -> bool {
        match (self.seen, after.seen) {
            (None, Some(_)) => true,
            (Some(before), Some(after)) if after < before => true,
            (before, after) => before == after && self.kind == Kind::Strange,
        }
    }
}

impl Damage {
    /// Takes note when `error` means that a record of the partition at `place` cannot be read for
    /// good. `seen` is the generation that was read; none when it cannot be opened.
    pub fn note(&self, place: Place, seen: Option<Generation>, error: &RecordError) {
        let kind = match error {
            RecordError::Damaged(_) => Kind::Damaged,
            RecordError::Strange(_) => Kind::Strange,
            RecordError::Failed(_) => return,
        };
        *self.counts().entry(place).or_default() += 1;
        let note = Note { kind, seen };
        let mut notes = self.notes();
        let before = notes.get(&place);
        if before == Some(&note) || before.is_some_and(|before| before.outlasts(&note)) {
            return;
        }
        notes.insert(place, note);
        tracing::error!(
            partition = %place.partition,
            %error,
            "a record cannot be read: a damaged partition begins anew once enough others hold the \
             rest of it, and one of an unknown layout waits for the right program"
        );
    }

    /// What is known of the partition at `place`, if it is damaged.
    #[must_use]
    pub fn at(&self, place: &Place) -> Option<Note> {
        self.notes().get(place).copied()
    }

    /// How many times damage was met in the partition at `place`, of the same record or others.
    #[must_use]
    pub fn met(&self, place: &Place) -> u64 {
        self.counts().get(place).copied().unwrap_or(0)
    }

    /// Whether a record of this generation of the partition at `place` cannot be read.
    #[must_use]
    pub fn is_in(&self, place: &Place, generation: Generation) -> bool {
        let note = self.at(place);
        note.is_some_and(|note| note.seen == Some(generation))
    }

    /// The damaged partitions.
    #[must_use]
    pub fn places(&self) -> BTreeSet<Place> {
        self.notes().keys().copied().collect()
    }

    /// All of the partition at `place` was read again after `note`, or some of it could not be.
    pub fn was_read_again(&self, place: Place, note: Note) {
        self.read_again().insert(place, note);
    }

    /// Whether the partition at `place` may get well when it is read again after `note`: it was not
    /// yet. What is noted once more after that was is no accident.
    #[must_use]
    pub fn may_be_read(&self, place: &Place, note: Note) -> bool {
        self.read_again().get(place) != Some(&note)
    }

    /// The state that `note` is about is not there any more, or can be read.
    pub fn clear(&self, place: &Place, note: Note) {
        let mut notes = self.notes();
        if notes
            .get(place)
            .is_some_and(|noted| noted.seen == note.seen)
        {
            notes.remove(place);
        }
    }

    /// The partition at `place` has begun anew, after what `note` is about.
    pub fn begun_anew(&self, place: Place, note: Note) {
        *self.renewed().entry(place).or_default() += 1;
        self.clear(&place, note);
    }

    /// Whether beginning anew would not help the partition at `place`: it did not before. Then it
    /// is a table of the engine that is damaged, and what lies near it in there cannot be read
    /// either, of whatever generation.
    #[must_use]
    pub fn is_past_renewal(&self, place: &Place) -> bool {
        let renewed = self.renewed().get(place).copied().unwrap_or(0);
        RENEWALS_MAX <= renewed
    }

    /// Damage was met that beginning anew does not mend.
    pub fn note_stays(&self) {
        self.stays.store(true, Ordering::Release);
    }

    /// Whether there is damage that stays for as long as the engine has its tables.
    #[must_use]
    pub fn stays(&self) -> bool {
        self.stays.load(Ordering::Acquire)
    }

    fn notes(&self) -> MutexGuard<'_, BTreeMap<Place, Note>> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_again(&self) -> MutexGuard<'_, BTreeMap<Place, Note>> {
        let read_again = self.read_again.lock();
        read_again.unwrap_or_else(PoisonError::into_inner)
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<Place, u64>> {
        self.met.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn renewed(&self) -> MutexGuard<'_, BTreeMap<Place, u32>> {
        self.renewed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
