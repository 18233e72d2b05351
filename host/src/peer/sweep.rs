//! This is how records go that nobody reads any more: objects of deleted buckets, and what
//! partitions that were dropped left behind.
//!
//! It is the work of the background: a few records with each commit, and a pause after each that is
//! as many times longer as the commit took, in the queue too. Under load it slows down by itself.
//! What is left is found in the records and the map; a process that starts goes on.

use super::Peer;
use super::operation::{Answer, Operation};
use crate::store::commit::CommitError;
use soros_core::place::Place;
use std::time::{Duration, Instant};

/// How many times longer than a commit of the sweep the pause after it is.
const PAUSE: u32 = 3;
/// How long a pause is at least.
const PAUSE_MIN: Duration = Duration::from_millis(1);
/// How long after a sweep the next begins, when no map is adopted before.
const SWEEP_PERIOD: Duration = Duration::from_secs(30);

impl Peer {
    /// Removes what nobody reads any more, over and over. Ends never; whoever runs it drops it.
    pub async fn sweep(&self) {
        loop {
            self.sweep_all().await;
            // Whichever comes first; both mean the same.
            let _ = tokio::time::timeout(SWEEP_PERIOD, self.map_adopted.notified()).await;
        }
    }

    /// How many partitions hold records that nobody reads any more.
    #[must_use]
    pub fn partitions_unswept(&self) -> u64 {
        let moment = self.moments.load();
        let unswept = moment.places().filter(|(_, shown)| shown.needs_sweep);
        unswept.map(|_| 1).sum()
    }

    pub(super) async fn sweep_all(&self) {
        for place in self.places_gone() {
            self.step_through(place, || Operation::Forget { place })
                .await;
        }
        let moment = self.moments.load_full();
        let places = moment.places().filter(|(_, shown)| shown.needs_sweep);
        let places: Vec<Place> = places.map(|(place, _)| *place).collect();
        drop(moment);
        for place in places {
            self.step_through(place, || Operation::Sweep { place })
                .await;
        }
    }

    /// The partitions that are stored here of placements that are gone for ever.
    fn places_gone(&self) -> Vec<Place> {
        let Some(map) = self.map() else {
            return Vec::new();
        };
        let mut places = match self.moments.load().stored_places() {
            Ok(places) => places,
            Err(error) => {
                tracing::warn!(%error, "what is stored of old placements is looked for later");
                return Vec::new();
            }
        };
        places.retain(|place| {
            let is_past = place.placement.0 <= map.epoch().0;
            is_past && map.placement_by_id(place.placement).is_none()
        });
        places
    }

    /// Repeats an operation on a partition until nothing is left of its work.
    async fn step_through(&self, place: Place, operation: impl Fn() -> Operation) {
        loop {
            let begun = Instant::now();
            let more = match self.committer.commit(operation()).await {
                Ok(Answer::Swept(swept)) => swept.more,
                Ok(_) => false,
                Err(CommitError::Busy) => true,
                Err(error) => {
                    let partition = place.partition;
                    tracing::warn!(%partition, %error, "a partition is swept another time");
                    false
                }
            };
            tokio::time::sleep((begun.elapsed() * PAUSE).max(PAUSE_MIN)).await;
            if !more {
                return;
            }
        }
    }
}
