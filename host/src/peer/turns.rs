//! This is when each partition is compared with its other replicas, and how many are at a time: one
//! that has much to fetch holds up no other.

use soros_core::place::Place;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// How long after a partition was compared that is next.
const PERIOD: Duration = Duration::from_secs(4);
/// How long after one that was left behind.
pub(super) const RETRY_PERIOD: Duration = Duration::from_millis(500);
/// How many partitions are compared at a time.
const COMPARED_AT_A_TIME: usize = 16;
/// How many fetch more than a first answer at a time.
pub(super) const FETCHED_AT_A_TIME: u32 = 16;

/// Whose turn it is.
#[derive(Debug, Default)]
pub(super) struct Turns {
    places: BTreeMap<Place, Turn>,
    behind: u64,
}

#[derive(Debug)]
struct Turn {
    /// When the next begins; none while one is under way.
    due: Option<Instant>,
    /// Whether the next is due as soon as the one under way has ended.
    again: bool,
    /// Whether the last one left the partition behind, or there was none yet.
    is_behind: bool,
}

impl Turns {
    /// The partitions of all `held` whose turn begins `now`: those that are due, or all that have
    /// none under way when all were `called`.
    pub(super) fn begin(
        &mut self,
        held: &BTreeSet<Place>,
        called: Called,
        now: Instant,
    ) -> Vec<Place> {
        self.places.retain(|place, turn| {
            let stays = held.contains(place) || turn.due.is_none();
            self.behind -= u64::from(!stays && turn.is_behind);
            stays
        });
        let mut begun = Vec::new();
        for place in held {
            let turn = self.places.entry(*place).or_insert_with(|| {
                self.behind += 1;
                Turn {
                    due: Some(now),
                    again: false,
                    is_behind: true,
                }
            });
            turn.again |= called == Called::All && turn.due.is_none();
            if turn
                .due
                .is_some_and(|due| due <= now || called == Called::All)
            {
                turn.due = None;
                begun.push(*place);
            }
        }
        begun
    }

    /// The turn of `place` has ended `now`.
    pub(super) fn end(&mut self, place: Place, is_behind: bool, now: Instant) {
        let Some(turn) = self.places.get_mut(&place) else {
            return;
        };
        self.behind -= u64::from(turn.is_behind);
        self.behind += u64::from(is_behind);
        turn.is_behind = is_behind;
        let period = match (std::mem::take(&mut turn.again), is_behind) {
            (true, _) => Duration::ZERO,
            (false, true) => RETRY_PERIOD,
            (false, false) => PERIOD,
        };
        turn.due = Some(now + period);
    }

    /// How many partitions were behind when they were compared last, or were not compared yet.
    pub(super) fn behind(&self) -> u64 {
        self.behind
    }
}

/// Who is to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Called {
    /// Those whose time has come.
    Due,
    /// All.
    All,
}

/// The slots of those that are compared. Who has to fetch much gives its slot back, so that it is
/// not in the way while it waits for the rate.
#[derive(Debug)]
pub(super) struct Slots {
    compared: Semaphore,
    fetched: Semaphore,
}

/// A slot, until this is dropped.
#[derive(Debug)]
pub(super) struct Slot<'a> {
    slots: &'a Slots,
    permit: Option<SemaphorePermit<'a>>,
    fetches: bool,
}

impl Default for Slots {
    fn default() -> Slots {
        Slots {
            compared: Semaphore::new(COMPARED_AT_A_TIME),
            fetched: Semaphore::new(FETCHED_AT_A_TIME as usize),
        }
    }
}

impl Slots {
    /// A slot, as soon as one is free.
    pub(super) async fn take(&self) -> Slot<'_> {
        Slot {
            slots: self,
            // Nobody closes them.
            permit: self.compared.acquire().await.ok(),
            fetches: false,
        }
    }
}

impl Slot<'_> {
    /// Becomes one of those that fetch much.
    pub(super) async fn fetch_much(&mut self) {
        if !self.fetches {
            self.permit = None;
            self.permit = self.slots.fetched.acquire().await.ok();
            self.fetches = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use soros_core::id::PlacementId;
    use soros_core::key::Partition;

    fn places(numbers: std::ops::Range<u16>) -> BTreeSet<Place> {
        let place = |number| Place {
            placement: PlacementId(1),
            partition: Partition::from_wire(number),
        };
        numbers.map(place).collect()
    }

    fn numbers(places: &[Place]) -> Vec<u16> {
        places.iter().map(|place| place.partition.get()).collect()
    }

    #[test]
    fn a_turn_that_does_not_end_holds_up_no_other() {
        let (mut turns, held, now) = (Turns::default(), places(0..3), Instant::now());
        let begun = turns.begin(&held, Called::Due, now);
        assert_eq!((numbers(&begun), turns.behind()), (vec![0, 1, 2], 3));
        turns.end(begun[1], false, now);
        turns.end(begun[2], true, now);
        assert_eq!(
            turns.behind(),
            2,
            "one of them is under way for the first time"
        );
        assert!(turns.begin(&held, Called::Due, now).is_empty());
        let retry = now + RETRY_PERIOD;
        assert_eq!(numbers(&turns.begin(&held, Called::Due, retry)), [2]);
        let next = now + PERIOD;
        assert_eq!(numbers(&turns.begin(&held, Called::Due, next)), [1]);
        turns.end(begun[1], false, next);
        turns.end(begun[2], false, next);
        assert_eq!(turns.behind(), 1);
    }

    #[test]
    fn who_is_called_while_its_turn_goes_on_has_another_at_once() {
        let (mut turns, held, now) = (Turns::default(), places(0..2), Instant::now());
        let begun = turns.begin(&held, Called::Due, now);
        turns.end(begun[0], false, now);
        assert_eq!(numbers(&turns.begin(&held, Called::All, now)), [0]);
        turns.end(begun[1], false, now);
        assert_eq!(numbers(&turns.begin(&held, Called::Due, now)), [1]);
    }

    #[test]
    fn what_is_held_no_more_is_forgotten_when_its_turn_has_ended() {
        let (mut turns, now) = (Turns::default(), Instant::now());
        let begun = turns.begin(&places(0..2), Called::Due, now);
        turns.end(begun[0], true, now);
        turns.begin(&places(2..3), Called::Due, now);
        assert_eq!(turns.behind(), 2, "the one under way, and the new one");
        turns.end(begun[1], true, now);
        turns.begin(&places(2..3), Called::Due, now);
        assert_eq!(turns.behind(), 1);
    }

    #[tokio::test]
    async fn who_fetches_much_leaves_its_slot_to_others() {
        let slots = Slots::default();
        let mut held = Vec::new();
        for _ in 0..COMPARED_AT_A_TIME {
            held.push(slots.take().await);
        }
        assert!(slots.take().now_or_never().is_none());
        held[0].fetch_much().await;
        held[0].fetch_much().await;
        let other = slots.take().now_or_never();
        assert!(other.is_some());
        for held in &mut held[1..] {
            held.fetch_much().await;
        }
        let mut one_more = other.expect("a slot");
        assert!(one_more.fetch_much().now_or_never().is_none());
        drop(held);
        one_more.fetch_much().await;
    }
}
