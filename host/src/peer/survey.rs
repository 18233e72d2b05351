//! This is how the authority's leader learns whether a closing bucket still has keys: every
//! partition's replicas are asked, and a quorum of each must have stopped taking writes of it.

use super::Peer;
use super::wire::Urgency;
use futures_util::future::join_all;
use soros_core::id::{BucketId, NodeId};
use soros_core::map::Map;
use soros_core::message::{Reply, Request};
use soros_core::operation::Consistency;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a replica may take to look for keys.
const SURVEY_TIMEOUT: Duration = Duration::from_secs(4);

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
}
