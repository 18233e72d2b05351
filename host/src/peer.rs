//! This is the peer role: it holds partitions, answers clients about their keys, and keeps its
//! copies equal to the others'.
//!
//! What a write, a read or a round of anti-entropy does is decided in `soros-core`; here are the
//! disk, the wire, the clock and the policies that its machines ask for.

pub mod answer;
pub mod api;
pub mod converge;
pub mod coordinate;
pub mod delays;
pub mod forward;
mod full;
pub mod node_clock;
pub mod partitions;
pub mod survey;
#[cfg(test)]
mod tests;
pub mod wire;

use crate::store::Store;
use crate::store::commit::{CommitError, Committer};
use delays::Delays;
use full::FullNodes;
use node_clock::NodeClock;
use partitions::{Answer, Buckets, Moment, Moments, Operation, Shown};
use soros_core::id::{Incarnation, NodeId};
use soros_core::map::Map;
use soros_core::map::bucket::BucketState;
use soros_core::map::node::RaftId;
use soros_core::map::placement::Placement;
use soros_core::object::{Object, Version};
use soros_core::operation::{OperationError, Target};
use soros_core::place::Place;
use soros_core::replica::{Quorum, Standing};
use soros_core::write::Resolved;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tokio::sync::Notify;
use wire::Wire;

/// Where a peer finds the cluster's map.
pub trait Maps: Send + Sync + 'static {
    /// The newest map this node has adopted; none before the first.
    fn current(&self) -> Option<Arc<Map>>;
}

/// How a peer asks the policies of a bucket.
pub trait Policies: Send + Sync + 'static {
    /// What the resolver of the key's bucket makes of `object`'s versions and a new one. A resolver
    /// that fails keeps all.
    fn resolve_write(
        &self,
        map: &Map,
        target: &Target,
        object: &Object,
        version: &Version,
    ) -> Resolved;
}

/// Who a peer is in this life of its process.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// The node.
    pub node: NodeId,
    /// This life of its process.
    pub incarnation: Incarnation,
    /// Its directory.
    pub raft: RaftId,
    /// Whether what the directory holds can be believed: it was not found damaged or behind.
    pub sound: bool,
}

/// What a peer works with.
pub struct Parts {
    /// The committer of its partitions.
    pub committer: Committer<Operation, Answer>,
    /// What readers see of them.
    pub moments: Moments,
    /// Where they are stored.
    pub store: Arc<dyn Store>,
    /// The other nodes.
    pub wire: Arc<dyn Wire>,
    /// The cluster's map.
    pub maps: Arc<dyn Maps>,
    /// The buckets' policies.
    pub policies: Arc<dyn Policies>,
}

/// The peer role of a node.
pub struct Peer {
    me: NodeId,
    identity: Identity,
    committer: Committer<Operation, Answer>,
    moments: Moments,
    store: Arc<dyn Store>,
    wire: Arc<dyn Wire>,
    maps: Arc<dyn Maps>,
    policies: Arc<dyn Policies>,
    clock: Arc<NodeClock>,
    delays: Arc<Delays>,
    full: Arc<FullNodes>,
    /// Rung when a round of anti-entropy is wanted before its time.
    wake: Notify,
    /// How many partitions of how many replicas differ, as far as is known.
    behind: AtomicU64,
    sum_alarms: AtomicU64,
    started: Instant,
    /// Full transfers that broke and go on in a later round.
    broken: Mutex<converge::Broken>,
}

impl Peer {
    /// The peer role of the node `identity`.
    #[must_use]
    pub fn new(identity: Identity, parts: Parts) -> Arc<Peer> {
        let Parts {
            committer,
            moments,
            store,
            wire,
            maps,
            policies,
        } = parts;
        Arc::new(Peer {
            me: identity.node,
            identity,
            committer,
            moments,
            store,
            wire,
            maps,
            policies,
            clock: Arc::new(NodeClock::start()),
            delays: Arc::default(),
            full: Arc::default(),
            wake: Notify::new(),
            behind: AtomicU64::new(u64::MAX),
            sum_alarms: AtomicU64::new(0),
            started: Instant::now(),
            broken: Mutex::default(),
        })
    }

    /// Opens the partitions that the current map gives this node, and lets its committer take
    /// writes of the map's open buckets only. To be called with each new map, before anyone is told
    /// that this node serves under it.
    ///
    /// # Errors
    /// [`CommitError`] when they cannot be opened.
    pub async fn adopt(&self) -> Result<(), CommitError> {
        let Some(map) = self.map() else {
            return Ok(());
        };
        let moment = self.moments.load_full();
        let mut places = Vec::new();
        for placement in map.placements().values() {
            let held = placement
                .table
                .rows()
                .filter(|(_, nodes)| nodes.contains(&self.me));
            let place = |partition| Place {
                placement: placement.id,
                partition,
            };
            let new = held.map(|(partition, _)| place(partition));
            let new = new.filter(|place| moment.shown(place).is_none());
            places.extend(new.map(|place| (place, self.standing_of_new(&map, placement))));
        }
        let new = !places.is_empty();
        let buckets = buckets_of(&map);
        self.committer
            .commit(Operation::Adopt { places, buckets })
            .await?;
        if new {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// How a partition stands of which this node's directory holds nothing. A directory that is
    /// older than the placement has not lost anything of it.
    fn standing_of_new(&self, map: &Map, placement: &Placement) -> Standing {
        let older = map.node(self.me).is_some_and(|node| {
            node.identity.raft == self.identity.raft && node.since.0 <= placement.id.0
        });
        if older && self.identity.sound {
            Standing::Trusted
        } else {
            Standing::suspect()
        }
    }

    /// The node.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.me
    }

    /// Whether this node holds all partitions that the current map gives it.
    #[must_use]
    pub fn serves(&self) -> bool {
        let Some(map) = self.map() else {
            return false;
        };
        let moment = self.moments.load();
        map.placements().values().all(|placement| {
            let mut held = placement
                .table
                .rows()
                .filter(|(_, nodes)| nodes.contains(&self.me));
            held.all(|(partition, _)| {
                let placement = placement.id;
                let place = Place {
                    placement,
                    partition,
                };
                moment.shown(&place).is_some()
            })
        })
    }

    /// What readers see of the partitions now.
    #[must_use]
    pub fn moment(&self) -> Arc<Moment> {
        self.moments.load_full()
    }

    /// The newest map this node has adopted.
    #[must_use]
    pub fn map(&self) -> Option<Arc<Map>> {
        self.maps.current()
    }

    /// The replicas of the partition at `place` under the current map; none when it has no such
    /// partition.
    fn replicas_at(&self, place: Place) -> Option<Vec<NodeId>> {
        let map = self.map()?;
        let (_, placement) = map.placement_by_id(place.placement)?;
        let known = place.partition.index() < placement.partitions().get() as usize;
        known.then(|| placement.replicas_of(place.partition).to_vec())
    }

    fn others_of(&self, place: Place) -> Vec<NodeId> {
        let mut replicas = self.replicas_at(place).unwrap_or_default();
        replicas.retain(|node| *node != self.me);
        replicas
    }

    /// The replicas of a key that this node holds.
    fn replicas_of(&self, target: &Target) -> Result<Vec<NodeId>, OperationError> {
        let replicas = self
            .replicas_at(target.place)
            .ok_or(OperationError::NotServed)?;
        let held =
            replicas.contains(&self.me) && self.moments.load().shown(&target.place).is_some();
        if held {
            Ok(replicas)
        } else {
            Err(OperationError::NotServed)
        }
    }

    fn quorum_of(&self, place: Place) -> Option<Quorum> {
        let replicas = self.replicas_at(place)?.len();
        let writes = soros_core::operation::Consistency::Quorum.needed(replicas);
        Some(Quorum { replicas, writes })
    }

    /// Whether this node's silence about a key can be believed.
    fn is_believed(&self, target: &Target) -> bool {
        let moment = self.moments.load();
        let shown = moment.shown(&target.place);
        shown.is_some_and(|shown| self.is_shown_believed(target.place, shown))
    }

    /// A replica is believed once it is not suspect and has compared clocks with another since the
    /// process started; alone it has nobody to ask.
    fn is_shown_believed(&self, place: Place, shown: &Shown) -> bool {
        let alone = self.others_of(place).is_empty();
        alone || (shown.compared.load(Ordering::Relaxed) && shown.state.standing.is_trusted())
    }
}

fn buckets_of(map: &Map) -> Buckets {
    let of = |state: BucketState| {
        let buckets = map.buckets().values();
        let buckets = buckets.filter(move |bucket| bucket.state == state);
        buckets.map(|bucket| bucket.id).collect()
    };
    Buckets {
        epoch: map.epoch(),
        open: of(BucketState::Open),
        closing: of(BucketState::Closing),
    }
}
