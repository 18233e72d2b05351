//! This is the peer role: it holds partitions, answers clients about their keys, and keeps its
//! copies equal to the others'.
//!
//! What a write, a read or a round of anti-entropy does is decided in `soros-core`; here are the
//! disk, the wire, the clock and the policies that its machines ask for.

pub mod answer;
pub mod api;
pub mod census;
pub mod closing;
pub mod converge;
pub mod coordinate;
pub mod damage;
pub mod delays;
pub mod forward;
pub mod keep_time;
pub mod node_clock;
pub mod operation;
pub mod partitions;
mod pauses;
mod promise;
pub mod survey;
pub mod sweep;
#[cfg(test)]
mod tests;
pub mod throttle;
mod turns;
pub mod validate;
pub mod wire;

use crate::store::Store;
use crate::store::commit::{CommitError, Committer};
use api::coordinates::Resolved as ReadResolved;
use damage::Damage;
use delays::Delays;
use node_clock::NodeClock;
use operation::{Answer, Operation};
use partitions::{Moment, Moments, Shown};
use pauses::Pauses;
use soros_core::id::{BucketId, Incarnation, NodeId};
use soros_core::map::Map;
use soros_core::map::bucket::Buckets;
use soros_core::map::node::RaftId;
use soros_core::map::placement::Placement;
use soros_core::object::{Object, Version};
use soros_core::operation::{OperationError, Target};
use soros_core::place::Place;
use soros_core::replica::{Quorum, Standing};
use soros_core::skew::Judgement;
use soros_core::write::Resolved;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use survey::SURVEYS_AT_A_TIME;
use throttle::Throttle;
use tokio::sync::{Notify, Semaphore};
use turns::Slots;
use validate::BucketValidator;
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

    /// What the bucket's resolver makes of the object's versions for a reader. None when the bucket
    /// has no resolver, and when it keeps all or fails.
    fn resolve_read(&self, target: &Target, object: &Object) -> Option<ReadResolved>;

    /// Who must agree to writes in a bucket that has validators, in their order; none while this
    /// node has not loaded them yet.
    fn validators(&self, bucket: BucketId) -> Option<Arc<Vec<BucketValidator>>>;
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
}

/// What a peer works with.
pub struct Parts {
    /// The committer of its partitions.
    pub committer: Committer<Operation, Answer>,
    /// What readers see of them.
    pub moments: Moments,
    /// Those of them that are damaged.
    pub damage: Arc<Damage>,
    /// Where they are.
    pub store: Arc<dyn Store>,
    /// The other nodes.
    pub wire: Arc<dyn Wire>,
    /// The cluster's map.
    pub maps: Arc<dyn Maps>,
    /// The buckets' policies.
    pub policies: Arc<dyn Policies>,
    /// How much it takes from others to repair its partitions.
    pub throttle: Throttle,
    /// The node's clock, which its partitions have, too.
    pub clock: Arc<NodeClock>,
}

/// What a peer counts.
#[derive(Debug, Default)]
struct Counters {
    sum_alarms: AtomicU64,
    read_repairs: AtomicU64,
    hedged_reads: AtomicU64,
    forwarded: AtomicU64,
}

/// What a peer has counted since its process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Times that two replicas had equal clocks and unequal sums.
    pub sum_alarms: u64,
    /// Replicas that a read found stale and repaired.
    pub read_repairs: u64,
    /// Reads that were slow, so that one replica more was asked.
    pub hedged_reads: u64,
    /// Bytes of values that were taken from others to repair its partitions.
    pub repair_bytes: u64,
    /// Requests handed to a replica because this node holds none.
    pub forwarded: u64,
}

/// The peer role of a node.
pub struct Peer {
    me: NodeId,
    identity: Identity,
    committer: Committer<Operation, Answer>,
    moments: Moments,
    damage: Arc<Damage>,
    store: Arc<dyn Store>,
    wire: Arc<dyn Wire>,
    maps: Arc<dyn Maps>,
    policies: Arc<dyn Policies>,
    throttle: Throttle,
    slots: Slots,
    clock: Arc<NodeClock>,
    delays: Arc<Delays>,
    /// Whether it is known if the directory is the latest of this node: before, no replica of it
    /// counts as trusted.
    life_is_known: AtomicBool,
    /// The epoch of the last map all of whose partitions for this node were held; 0 before.
    served: AtomicU64,
    /// Rung when a round of anti-entropy is wanted before its time.
    wake: Notify,
    /// Rung when the others are to be asked for the time before it is time.
    wake_clock: Notify,
    /// Rung when a map was adopted: there may be something to sweep.
    map_adopted: Notify,
    /// Who may look through all keys of a bucket.
    surveys: Arc<Semaphore>,
    /// Who may look through what the node holds for a dry run.
    censuses: Arc<Semaphore>,
    /// Who may look through all objects of a partition, and what was looked at a short while ago.
    inventories: Arc<Semaphore>,
    begun_inventories: Mutex<promise::Begun>,
    /// How many partitions of how many replicas differ, as far as is known.
    behind: AtomicU64,
    counters: Counters,
    started: Instant,
    /// Full transfers that broke and go on in a later round.
    broken: Mutex<converge::Broken>,
    /// Replicas whose data is not taken for now.
    pauses: Pauses,
}

impl Peer {
    /// The peer role of the node `identity`.
    #[must_use]
    pub fn new(identity: Identity, parts: Parts) -> Arc<Peer> {
        let Parts {
            committer,
            moments,
            damage,
            store,
            wire,
            maps,
            policies,
            throttle,
            clock,
        } = parts;
        Arc::new(Peer {
            me: identity.node,
            identity,
            committer,
            moments,
            damage,
            store,
            wire,
            maps,
            policies,
            throttle,
            slots: Slots::default(),
            clock,
            delays: Arc::default(),
            life_is_known: AtomicBool::new(false),
            served: AtomicU64::new(0),
            wake: Notify::new(),
            wake_clock: Notify::new(),
            map_adopted: Notify::new(),
            surveys: Arc::new(Semaphore::new(SURVEYS_AT_A_TIME)),
            censuses: Arc::new(Semaphore::new(1)),
            inventories: Arc::new(Semaphore::new(1)),
            begun_inventories: Mutex::default(),
            behind: AtomicU64::new(u64::MAX),
            counters: Counters::default(),
            started: Instant::now(),
            broken: Mutex::default(),
            pauses: Pauses::default(),
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
        if self.is_named(&map) {
            // Who takes a node into the map has made sure of its directory.
            self.vouch();
        }
        let skew_max = Duration::from_millis(map.settings().max_clock_skew_ms);
        self.clock.set_skew_max(skew_max);
        self.wake_clock.notify_one();
        let moment = self.moments.load_full();
        let new = self.held(&map);
        let new = new.filter(|(_, place)| moment.shown(place).is_none());
        let places: Vec<_> = new
            .map(|(placement, place)| (place, self.standing_of_new(&map, placement)))
            .collect();
        let new = !places.is_empty();
        let buckets = Buckets::of(&map);
        self.committer
            .commit(Operation::Adopt { places, buckets })
            .await?;
        if new {
            self.wake.notify_one();
        }
        self.map_adopted.notify_one();
        Ok(())
    }

    /// Writes are answered before they are synced from here on, or not. When this is done that they
    /// are not, all that was answered is synced.
    ///
    /// # Errors
    /// [`CommitError`] when that could not be.
    pub async fn set_unsynced(&self, unsynced: bool) -> Result<(), CommitError> {
        let was_unsynced = self.committer.set_unsynced(unsynced);
        if !unsynced {
            self.committer.sync().await?;
        }
        match (was_unsynced, unsynced) {
            (false, true) => tracing::info!("from here on writes are answered unsynced"),
            (true, false) => tracing::info!("from here on writes are answered synced"),
            (true, true) | (false, false) => {}
        }
        Ok(())
    }

    /// The node's directory is its latest, as others know, or is known not to be: what its replicas
    /// say of themselves is believed from here on.
    pub fn vouch(&self) {
        self.life_is_known.store(true, Ordering::Release);
    }

    /// The node's directory is not its latest: it was put back, and lacks what was written since.
    /// All its partitions are suspect when this is done.
    ///
    /// # Errors
    /// [`CommitError`] when that could not be made durable; none of them is believed meanwhile.
    pub async fn doubt(&self) -> Result<(), CommitError> {
        self.life_is_known.store(false, Ordering::Release);
        self.committer.commit(Operation::DoubtAll).await?;
        self.vouch();
        self.wake.notify_one();
        Ok(())
    }

    /// Whether `map` names this node in this life of its process, and so was made after its start.
    fn is_named(&self, map: &Map) -> bool {
        map.node(self.me)
            .is_some_and(|node| node.identity.incarnation == self.identity.incarnation)
    }

    /// Whether this node has had from others all that its directory may have lost: every partition
    /// of its own is trusted, durably. One that has no other replica can ask nobody, and is not
    /// waited for.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let Some(map) = self.map().filter(|map| self.is_named(map)) else {
            return false;
        };
        let moment = self.moments.load();
        let is_whole = |place: Place| {
            let alone = self.others_of(place).is_empty();
            let shown = moment.shown(&place);
            shown.is_some_and(|shown| alone || shown.state.standing.is_trusted())
        };
        self.held(&map).all(|(_, place)| is_whole(place))
    }

    /// The partitions that `map` gives this node, with their placements.
    fn held<'a>(&self, map: &'a Map) -> impl Iterator<Item = (&'a Placement, Place)> {
        let me = self.me;
        map.placements().values().flat_map(move |placement| {
            let rows = placement.table.rows();
            let held = rows.filter(move |(_, nodes)| nodes.contains(&me));
            held.map(move |(partition, _)| {
                let id = placement.id;
                let place = Place {
                    placement: id,
                    partition,
                };
                (placement, place)
            })
        })
    }

    /// How a partition stands of which this node's directory holds nothing, if that is sound. A
    /// directory that is older than the placement has not lost anything of it.
    fn standing_of_new(&self, map: &Map, placement: &Placement) -> Standing {
        let older = map.node(self.me).is_some_and(|node| {
            node.identity.raft == self.identity.raft && node.since.0 <= placement.id.0
        });
        if older {
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

    /// Whether this node holds all partitions that the current map gives it, but for those whose
    /// records are damaged, and has asked the others what time it is.
    #[must_use]
    pub fn serves(&self) -> bool {
        let Some(map) = self.map().filter(|_| self.clock.is_settled()) else {
            return false;
        };
        // Asked at every request: what is held under a map is looked at once.
        if self.served.load(Ordering::Acquire) == map.epoch().0 {
            return true;
        }
        let serves = self.holds_all_of(&map);
        if serves {
            self.served.store(map.epoch().0, Ordering::Release);
        }
        serves
    }

    fn holds_all_of(&self, map: &Map) -> bool {
        let moment = self.moments.load();
        self.held(map)
            .all(|(_, place)| moment.shown(&place).is_some() || self.damage.at(&place).is_some())
    }

    /// Whether partitions are damaged in a way that beginning anew does not mend.
    #[must_use]
    pub fn is_damaged_for_good(&self) -> bool {
        self.damage.stays()
    }

    /// What the others' clocks say of this node's.
    #[must_use]
    pub fn clock_judgement(&self) -> Judgement {
        self.clock.judgement()
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

    /// What was counted since the process started.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts {
            sum_alarms: read(&self.counters.sum_alarms),
            read_repairs: read(&self.counters.read_repairs),
            hedged_reads: read(&self.counters.hedged_reads),
            repair_bytes: self.throttle.taken(),
            forwarded: read(&self.counters.forwarded),
        }
    }

    /// Whether `node` is this one or not known to be down.
    #[must_use]
    pub fn reaches(&self, node: NodeId) -> bool {
        node == self.me || self.wire.is_reachable(node)
    }

    /// How many operations wait for their commit.
    #[must_use]
    pub fn commits_waiting(&self) -> u64 {
        self.committer.queued() as u64
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
        let life_is_known = self.life_is_known();
        let moment = self.moments.load();
        let shown = moment.shown(&target.place);
        shown.is_some_and(|shown| self.is_shown_believed(target.place, shown, life_is_known))
    }

    /// Whether it is known if the directory is the latest of this node. To be asked before it is
    /// looked how a replica stands, which may change just before this does.
    fn life_is_known(&self) -> bool {
        self.life_is_known.load(Ordering::Acquire)
    }

    /// A replica is believed once it is not suspect, is not of an old directory, and has compared
    /// clocks with another since the process started; alone it has nobody to ask.
    fn is_shown_believed(&self, place: Place, shown: &Shown, life_is_known: bool) -> bool {
        let alone = self.others_of(place).is_empty();
        let compared = || shown.compared.load(Ordering::Relaxed);
        alone || (life_is_known && shown.state.standing.is_trusted() && compared())
    }
}
