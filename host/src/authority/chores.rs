//! This is what the leader looks after unasked: voters that came back without their disks, buckets
//! that a leader before it left closed, and plugins on probation.

use super::member::Running;
use super::voters::replace_voter;
use super::{Inner, blame, deletion, locked};
use soros_core::map::bucket::BucketState;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// How often the leader looks.
const PERIOD: Duration = Duration::from_millis(500);
/// How long one chore may take before it is left for the next time.
const CHORE_TIMEOUT: Duration = Duration::from_secs(20);

/// Looks after the chores for ever.
pub(super) async fn run(inner: Arc<Inner>) {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let leading = inner.leading();
        inner
            .parts
            .metrics
            .authority_leads
            .set(u64::from(leading.is_some()));
        let Some(running) = leading else {
            continue;
        };
        if timeout(CHORE_TIMEOUT, look_after(&inner, &running))
            .await
            .is_err()
        {
            tracing::warn!("the leader's chores take long; they are begun again");
        }
    }
}

async fn look_after(inner: &Arc<Inner>, running: &Running) {
    replace_voter(inner, running).await;
    reopen_buckets(inner, running).await;
    blame::end_probations(inner, running).await;
}

/// Opens the buckets that are closing although nobody here deletes them.
async fn reopen_buckets(inner: &Arc<Inner>, running: &Running) {
    let Some(map) = running.maps.borrow().clone() else {
        return;
    };
    for (name, bucket) in map.buckets() {
        let left = bucket.state == BucketState::Closing && !locked(&inner.deleting).contains(name);
        let reopen = deletion::reopen(inner, name, (bucket.id, bucket.closed_at));
        if left && let Err(error) = reopen.await {
            tracing::warn!(%error, bucket = %name, "a bucket could not be opened again yet");
        }
    }
}
