//! This is how the disk gets back what nobody reads any more: objects of deleted buckets, and what
//! partitions that were dropped left behind.
//!
//! It is the work of the background: a few records with each commit, and a pause after each that is
//! as many times longer as the commit took, in the queue too. Under load it slows down by itself.
//! What is left is found in the records and the map; a process that starts goes on.

use super::Peer;
use super::partitions::{Answer, Operation};
use crate::store::StoreError;
use crate::store::commit::CommitError;
use soros_core::place::Place;
use soros_core::record::{Batch, RecordError, Records};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How many times longer than a commit of the sweep the pause after it is.
const PAUSE: u32 = 3;
/// How long a pause is at least.
const PAUSE_MIN: Duration = Duration::from_millis(1);
/// How long after a sweep the next begins, when no map is adopted before.
const SWEEP_PERIOD: Duration = Duration::from_secs(30);
/// Space is given back to the disk once that many bytes were removed,
const RECLAIMED_MIN: u64 = 8 << 20;
/// and this part of all that is stored.
const RECLAIMED_SHARE: u64 = 8;

impl Peer {
    /// Removes what nobody reads any more, over and over. Ends never; whoever runs it drops it.
    pub async fn sweep(&self) {
        loop {
            self.sweep_all().await;
            self.reclaim().await;
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

    /// Gives the space of what was removed back to the disk, if it is worth the work.
    pub(super) async fn reclaim(&self) {
        let bytes = match self.moments.load().removed_bytes() {
            Ok(bytes) => bytes,
            Err(error) => return tracing::error!(%error, "a record could not be read"),
        };
        if bytes < RECLAIMED_MIN.max(self.store.bytes() / RECLAIMED_SHARE) {
            return;
        }
        let store = Arc::clone(&self.store);
        let compacted = blocking(move || store.compact(bytes)).await;
        if !compacted.is_some_and(|compacted| compacted) {
            return;
        }
        // The commit also ends the views of before, which hold the old files.
        if let Err(error) = self.committer.commit(Operation::Reclaimed { bytes }).await {
            return tracing::debug!(%error, "what was given back is counted another time");
        }
        let store = Arc::clone(&self.store);
        if blocking(move || store.release()).await.is_some() {
            tracing::info!(bytes, "the disk has the space of removed records back");
        }
    }
}

/// Does what takes long on a thread that serves nobody; none when it failed.
async fn blocking<T: Send + 'static>(
    act: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Option<T> {
    match tokio::task::spawn_blocking(act).await {
        Ok(Ok(done)) => Some(done),
        Ok(Err(error)) => {
            tracing::warn!(%error, "the space of removed records is given back another time");
            None
        }
        Err(error) => {
            tracing::error!(%error, "giving space back was broken off");
            None
        }
    }
}

/// The key of the record that says how many bytes were removed whose space the disk does not have
/// back yet: 8, big-endian.
const REMOVED: [u8; 1] = [0x03];

/// How many bytes were removed whose space the disk does not have back yet.
pub(super) fn removed_bytes(records: &dyn Records) -> Result<u64, RecordError> {
    let stored = records.get(&REMOVED)?;
    stored.map_or(Ok(0), |bytes| {
        let bytes = bytes.as_slice().try_into();
        let damaged = RecordError::Damaged("the number of removed bytes");
        bytes.map(u64::from_be_bytes).map_err(|_| damaged)
    })
}

/// Adds to those bytes.
pub(super) fn add_removed_bytes(batch: &mut dyn Batch, bytes: usize) -> Result<(), RecordError> {
    if 0 < bytes {
        let before = removed_bytes(batch)?;
        put_removed_bytes(batch, before.saturating_add(bytes as u64));
    }
    Ok(())
}

/// Notes how many bytes those are from here on.
pub(super) fn put_removed_bytes(batch: &mut dyn Batch, bytes: u64) {
    batch.put(REMOVED.to_vec(), bytes.to_be_bytes().to_vec());
}
