//! This is how the authority's leader learns whether a closing bucket still has keys: every
//! partition's replicas are asked, and a quorum of each must have stopped taking writes of it.
//!
//! A replica looks through its keys on a thread that serves nobody, one survey at a time and one
//! object in memory, and stops when the time is up.

use super::Peer;
use super::partitions::Moment;
use super::wire::Urgency;
use futures_util::future::join_all;
use soros_core::epoch::Epoch;
use soros_core::id::{BucketId, NodeId};
use soros_core::map::Map;
use soros_core::message::{Refusal, Reply, Request};
use soros_core::operation::Consistency;
use soros_core::place::Place;
use soros_core::record::RecordError;
use soros_core::replica::LiveKey;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::timeout_at;

/// How long a replica may take to look for keys.
const SURVEY_TIMEOUT: Duration = Duration::from_secs(4);
/// How many surveys a node looks through its keys for at a time; others wait.
pub(super) const SURVEYS_AT_A_TIME: usize = 1;
/// How many keys are looked at between two looks at the time.
const KEYS_PER_STEP: usize = 64;

/// What is known of a bucket's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survey {
    /// In every partition a quorum of the replicas takes no more writes, and none has a live key.
    Empty,
    /// A replica has a live key.
    HasKeys,
    /// Too few replicas answered.
    Unknown,
}

impl Peer {
    /// Asks all replicas of a bucket that is closing under `map`.
    pub async fn survey(self: &Arc<Self>, bucket: BucketId, map: &Map) -> Survey {
        let epoch = map.epoch();
        let placement = map
            .bucket_by_id(bucket)
            .and_then(|(_, bucket)| map.placement_of(bucket));
        let Some(placement) = placement else {
            return Survey::Unknown;
        };
        let deadline = Instant::now() + SURVEY_TIMEOUT;
        let asked = placement
            .table
            .members()
            .into_iter()
            .map(|node| async move {
                let request = Request::Survey { bucket, epoch };
                let reply = if node == self.me {
                    Ok(self.answer(node, request, deadline).await)
                } else {
                    let asked = self
                        .wire
                        .call(node, &request, deadline, Urgency::Foreground);
                    asked.await
                };
                (node, reply.ok())
            });
        let replies: BTreeMap<NodeId, Option<Reply>> = join_all(asked).await.into_iter().collect();
        if replies
            .values()
            .flatten()
            .any(|reply| *reply == Reply::Surveyed(true))
        {
            return Survey::HasKeys;
        }
        let empty = |node: &NodeId| replies.get(node) == Some(&Some(Reply::Surveyed(false)));
        let sure = placement.table.rows().all(|(_, replicas)| {
            let answered = replicas.iter().filter(|node| empty(node)).count();
            Consistency::Quorum.needed(replicas.len()) <= answered
        });
        if sure { Survey::Empty } else { Survey::Unknown }
    }

    /// Whether this node holds a live key of a bucket that it takes no more writes of. The map that
    /// its partitions are served under says so: a newer one may wait for their commit.
    pub(super) async fn on_survey(
        self: &Arc<Self>,
        bucket: BucketId,
        epoch: Epoch,
        deadline: Instant,
    ) -> Result<Reply, Refusal> {
        let life_is_known = self.life_is_known();
        let moment = self.moments.load_full();
        let buckets = moment.buckets();
        if buckets.epoch < epoch || !buckets.closing.contains(&bucket) {
            return Err(Refusal::NotServed);
        }
        let believed = moment.places().map(|(place, shown)| {
            // What a suspect does not hold it may have lost.
            (*place, self.is_shown_believed(*place, shown, life_is_known))
        });
        let places: Vec<(Place, bool)> = believed.collect();
        let turn = timeout_at(deadline.into(), Arc::clone(&self.surveys).acquire_owned());
        let Ok(Ok(turn)) = turn.await else {
            return Err(Refusal::Overloaded);
        };
        let peer = Arc::clone(self);
        let looked = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            peer.has_live_key(&moment, &places, bucket, deadline)
        });
        let has_keys = looked.await.unwrap_or(Err(Refusal::Storage));
        has_keys.map(Reply::Surveyed)
    }

    /// Whether a partition has a live key of the bucket. That it has none is the word of a replica
    /// whose silence can be believed, or nobody's.
    fn has_live_key(
        &self,
        moment: &Moment,
        places: &[(Place, bool)],
        bucket: BucketId,
        deadline: Instant,
    ) -> Result<bool, Refusal> {
        for (place, _) in places {
            let mut from = None;
            loop {
                if deadline <= Instant::now() {
                    return Err(Refusal::TooLate);
                }
                let shown = moment.shown(place).ok_or(Refusal::NotServed)?;
                let view = moment.view(place).ok_or(Refusal::NotServed)?;
                let unreadable = |error: RecordError| self.unreadable(*place, shown, &error);
                let looked = view.live_key(bucket, from.as_ref(), KEYS_PER_STEP);
                match looked.map_err(unreadable)? {
                    LiveKey::Found => return Ok(true),
                    LiveKey::NotYet(next) => from = Some(next),
                    LiveKey::None => break,
                }
            }
        }
        if places.iter().all(|(_, is_believed)| *is_believed) {
            Ok(false)
        } else {
            Err(Refusal::Suspect)
        }
    }
}
