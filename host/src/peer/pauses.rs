//! This is how long another replica is left alone whose data the own store does not take, as a disk
//! that is nearly full or a damaged record have it: what was fetched in vain would be fetched again
//! in each pass. Each further time twice as long, until what stands in the way has changed.

use super::damage::Note;
use crate::store::room::Room;
use soros_core::id::{Generation, NodeId};
use soros_core::place::Place;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The first pause.
const SHORTEST: Duration = Duration::from_secs(1);
/// The longest.
const LONGEST: Duration = Duration::from_mins(4);

/// What the own store's answers depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Circumstances {
    /// How much room there is.
    pub(super) room: Room,
    /// What is damaged of the partition.
    pub(super) damage: Option<Note>,
    /// The life of the own copy; none when it cannot be opened.
    pub(super) generation: Option<Generation>,
}

#[derive(Clone, Copy, Debug)]
struct Pause {
    until: Instant,
    length: Duration,
    under: Circumstances,
}

/// The pauses of a node's rounds.
#[derive(Debug, Default)]
pub(super) struct Pauses(Mutex<BTreeMap<(Place, NodeId), Pause>>);

impl Pauses {
    /// Whether the round with a replica pauses at the time `at`. It does not when it is about
    /// something else `now` than it was.
    pub(super) fn hold(&self, round: (Place, NodeId), now: &Circumstances, at: Instant) -> bool {
        let mut pauses = self.pauses();
        match pauses.get(&round) {
            Some(pause) if pause.under == *now => at < pause.until,
            Some(_) => {
                pauses.remove(&round);
                false
            }
            None => false,
        }
    }

    /// A round has fetched what was not taken under these circumstances.
    pub(super) fn begin(&self, round: (Place, NodeId), under: Circumstances, at: Instant) {
        let mut pauses = self.pauses();
        let before = pauses.get(&round).filter(|pause| pause.under == under);
        let length = before.map_or(SHORTEST, |pause| (pause.length * 2).min(LONGEST));
        let until = at + length;
        let pause = Pause {
            until,
            length,
            under,
        };
        pauses.insert(round, pause);
    }

    /// All of a round was taken.
    pub(super) fn end(&self, round: (Place, NodeId)) {
        self.pauses().remove(&round);
    }

    /// What a partition lacks is asked for again, whoever has it.
    pub(super) fn end_all_of(&self, place: Place) {
        self.pauses().retain(|(of, _), _| *of != place);
    }

    fn pauses(&self) -> MutexGuard<'_, BTreeMap<(Place, NodeId), Pause>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use soros_core::id::PlacementId;
    use soros_core::key::Partition;

    const LOW: Circumstances = Circumstances {
        room: Room::Low,
        damage: None,
        generation: Some(Generation(1)),
    };

    fn round(peer: u64) -> (Place, NodeId) {
        let place = Place {
            placement: PlacementId(1),
            partition: Partition::from_wire(0),
        };
        (place, NodeId(peer))
    }

    #[test]
    fn each_pause_is_twice_as_long_up_to_the_longest() {
        let (pauses, begun) = (Pauses::default(), Instant::now());
        let mut at = begun;
        for seconds in [1, 2, 4, 8, 16, 32, 64, 128, 240, 240] {
            assert!(!pauses.hold(round(1), &LOW, at));
            pauses.begin(round(1), LOW, at);
            let end = at + Duration::from_secs(seconds);
            let before = end.checked_sub(Duration::from_millis(1)).expect("later");
            assert!(pauses.hold(round(1), &LOW, before), "{seconds}");
            assert!(!pauses.hold(round(2), &LOW, before), "another replica");
            at = end;
        }
        pauses.end(round(1));
        pauses.begin(round(1), LOW, at);
        assert!(!pauses.hold(round(1), &LOW, at + SHORTEST));
        pauses.begin(round(1), LOW, at);
        pauses.begin(round(2), LOW, at);
        pauses.end_all_of(round(1).0);
        assert!(
            ![1, 2]
                .iter()
                .any(|peer| pauses.hold(round(*peer), &LOW, at))
        );
    }

    #[test]
    fn a_pause_ends_when_what_stood_in_the_way_has_changed() {
        let now = Instant::now();
        let room = Circumstances {
            room: Room::High,
            ..LOW
        };
        let anew = Circumstances {
            generation: Some(Generation(2)),
            ..LOW
        };
        for changed in [room, anew] {
            let pauses = Pauses::default();
            pauses.begin(round(1), LOW, now);
            assert!(!pauses.hold(round(1), &changed, now));
            assert!(!pauses.hold(round(1), &LOW, now), "it is forgotten");
        }
    }
}
