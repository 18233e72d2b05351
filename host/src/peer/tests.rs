//! These are three peers over stores in memory and a wire that can be cut.

mod clocks;
mod closings;
mod deletions;
mod doubts;
mod full_disks;
mod rates;
mod validators;

use super::api::coordinates::Resolved as ReadResolved;
use super::node_clock::{Machine, NodeClock};
use super::partitions::Partitions;
use super::throttle::Throttle;
use super::validate::{BucketValidator, Unusable};
use super::wire::{Urgency, Wire, WireError};
use super::{Identity, Maps, Parts, Peer, Policies};
use crate::store::commit::{Committer, CommitterThread, Core};
use crate::store::memory::Memory;
use crate::store::{Space, Store};
use futures_util::future::{BoxFuture, FutureExt};
use soros_core::id::{BucketId, ClusterId, Incarnation, NodeId, NodeName};
use soros_core::key::{Key, Partition, PartitionCount};
use soros_core::map::Map;
use soros_core::map::bucket::BucketConfig;
use soros_core::map::change::Change;
use soros_core::map::founding::Founding;
use soros_core::map::node::{self, RaftId, Role};
use soros_core::map::placement::PlacementConfig;
use soros_core::map::plugin::{Plugin, PluginDigest, PluginKind, Release};
use soros_core::map::settings::Settings;
use soros_core::map::table::Table;
use soros_core::message::{Reply, Request};
use soros_core::node_clock::Clocks;
use soros_core::object::{Object, Value, Version};
use soros_core::operation::{
    Basis, Consistency, OperationError, ReadRequest, Target, WriteRequest,
};
use soros_core::place::{Entry, Place};
use soros_core::token::TokenKey;
use soros_core::write::Resolved;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

const PARTITIONS: u32 = 4;
/// The bucket `default`, whose resolver is last-writer-wins, and one without a resolver.
const RESOLVED: BucketId = BucketId(1);
const PLAIN: BucketId = BucketId(2);

/// The map that all peers know.
struct OneMap(Mutex<Arc<Map>>);

impl Maps for OneMap {
    fn current(&self) -> Option<Arc<Map>> {
        Some(self.0.lock().expect("no test panicked").clone())
    }
}

/// Last-writer-wins as the core's oracle has it, and the validators that a test gives.
#[derive(Default)]
struct TestPolicies {
    validators: Mutex<Option<Arc<Vec<BucketValidator>>>>,
}

impl Policies for TestPolicies {
    fn resolve_write(&self, _: &Map, _: &Target, object: &Object, new: &Version) -> Resolved {
        let last = object.versions.values().max_by_key(|version| version.time);
        match last {
            Some(version) if new.time < version.time => Resolved::Merged(version.clone()),
            _ => Resolved::KeepNew,
        }
    }

    fn resolve_read(&self, _: &Target, _: &Object) -> Option<ReadResolved> {
        None
    }

    fn validators(&self, _: BucketId) -> Option<Arc<Vec<BucketValidator>>> {
        self.validators.lock().expect("no test panicked").clone()
    }
}

/// The peers that can be reached, and the pairs between which nothing passes.
#[derive(Default)]
struct Switch {
    peers: Mutex<BTreeMap<NodeId, Arc<Peer>>>,
    cut: Mutex<BTreeSet<NodeId>>,
    /// Peers that are held for silent, and whose requests would be waited for in vain.
    silent: Mutex<BTreeSet<NodeId>>,
    /// Peers that take requests and never answer.
    hung: Mutex<BTreeSet<NodeId>>,
    /// How often each asked for objects.
    fetches: Mutex<BTreeMap<NodeId, usize>>,
}

struct SwitchWire(NodeId, Arc<Switch>);

impl Wire for SwitchWire {
    fn call(
        &self,
        to: NodeId,
        request: &Request,
        deadline: Instant,
        _: Urgency,
    ) -> BoxFuture<'static, Result<Reply, WireError>> {
        let peer = self
            .1
            .peers
            .lock()
            .expect("no test panicked")
            .get(&to)
            .cloned();
        let from = self.0;
        if let Request::Difference { .. } | Request::Chunk { .. } = request {
            let mut fetches = self.1.fetches.lock().expect("no test panicked");
            *fetches.entry(from).or_default() += 1;
        }
        if self.1.hung.lock().expect("no test panicked").contains(&to) {
            let waits = tokio::time::sleep_until(deadline.into());
            return waits.map(|()| Err(WireError::Unknown)).boxed();
        }
        match peer.filter(|_| self.is_reachable(to)) {
            Some(peer) => {
                // Through bytes and back, as between processes.
                let bytes = soros_core::codec::Codec::to_bytes(request);
                let request = soros_core::codec::Codec::from_bytes(&bytes).expect("a request");
                let answer =
                    tokio::spawn(async move { peer.answer(from, request, deadline).await });
                answer
                    .map(|reply| reply.map_err(|_| WireError::Unknown))
                    .boxed()
            }
            None => std::future::ready(Err(WireError::NotSent)).boxed(),
        }
    }

    fn send(&self, to: NodeId, request: &Request, urgency: Urgency) {
        let deadline = Instant::now() + std::time::Duration::from_secs(10);
        // The switch answers in a task of its own, which goes on without who waits for it.
        drop(self.call(to, request, deadline, urgency));
    }

    fn is_reachable(&self, node: NodeId) -> bool {
        let cut = self.1.cut.lock().expect("no test panicked");
        !cut.contains(&node) && !cut.contains(&self.0)
    }

    fn is_silent(&self, node: NodeId) -> bool {
        let silent = self.1.silent.lock().expect("no test panicked");
        silent.contains(&node)
    }
}

/// A machine whose clock is set by the test.
struct SetMachine {
    since: Instant,
    /// How many microseconds its wall clock is ahead.
    ahead: AtomicI64,
}

impl SetMachine {
    fn new(ahead: i64) -> Arc<SetMachine> {
        Arc::new(SetMachine {
            since: Instant::now(),
            ahead: AtomicI64::new(ahead),
        })
    }

    fn set(&self, ahead: i64) {
        self.ahead.store(ahead, Ordering::Relaxed);
    }
}

impl Machine for Arc<SetMachine> {
    fn clocks(&self) -> Clocks {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let micros =
            |time: Duration| u64::try_from(time.as_micros()).expect("before the year 2112");
        let ahead = self.ahead.load(Ordering::Relaxed);
        Clocks {
            wall: micros(wall.expect("after 1970")).saturating_add_signed(ahead),
            steady: micros(self.since.elapsed()),
        }
    }
}

struct Cluster {
    switch: Arc<Switch>,
    map: Arc<OneMap>,
    policies: Arc<TestPolicies>,
    stores: Vec<Memory>,
    peers: Vec<Arc<Peer>>,
    machines: Vec<Arc<SetMachine>>,
    threads: Vec<CommitterThread<super::Operation, super::Answer>>,
    /// How many bytes a second a peer that starts takes to repair its partitions.
    repair_rate: u64,
}

impl Peer {
    /// Compares all partitions with all their other replicas, once; how many are behind.
    async fn pass(&self) -> u64 {
        let places = self.places().into_iter();
        let behind = places.map(|place| self.converge_place(place));
        let behind = futures_util::future::join_all(behind).await;
        behind.into_iter().map(u64::from).sum()
    }
}

fn node_name(number: u64) -> NodeName {
    format!("n{number}").parse().expect("a name")
}

fn identity(number: u64) -> node::Identity {
    node::Identity {
        name: node_name(number),
        incarnation: Incarnation(u128::from(number)),
        raft: RaftId(number),
        url: format!("http://127.0.0.1:{}", 7000 + number),
        peer: format!("127.0.0.1:{}", 7100 + number),
        zone: String::new(),
        capacity: 1,
        roles: BTreeSet::from([Role::Peer, Role::Authority]),
        version: "0.1.0".to_owned(),
        format: soros_core::map::format::Format::KNOWN,
    }
}

fn map() -> Map {
    let ids: Vec<NodeId> = (1..=3)
        .map(|number| NodeId::of(&node_name(number)))
        .collect();
    let count = PartitionCount::try_from(PARTITIONS).expect("a power of two");
    let cells = Partition::all(count).flat_map(|_| ids.clone()).collect();
    let release = Release {
        digest: PluginDigest([0; 32]),
        abi: "1".to_owned(),
        size: 1,
    };
    let version: soros_core::map::plugin::PluginVersion =
        "0.1.0".to_owned().try_into().expect("a version");
    let plugin = |kind| Plugin::of(kind, version.clone(), release.clone());
    let name = |text: &str| text.to_owned().try_into().expect("a plugin's name");
    let founding = Founding {
        cluster: ClusterId(1),
        name: "test".to_owned(),
        members: (1..=3).map(identity).collect(),
        plugins: BTreeMap::from([
            (name("lww"), plugin(PluginKind::Resolution)),
            (name("balanced"), plugin(PluginKind::Placement)),
            (name("immutable"), plugin(PluginKind::Validation)),
        ]),
        placement: PlacementConfig {
            partitions: PARTITIONS,
            ..PlacementConfig::default()
        },
        table: Table::new(count, 3, cells).expect("a table"),
        settings: Settings::default(),
        token_key: TokenKey([1; 32]),
    };
    let map = Map::found(&founding).expect("a map");
    let config = BucketConfig {
        resolver: None,
        ..BucketConfig::default()
    };
    let bucket = "plain".parse().expect("a bucket's name");
    map.apply(&Change::PutBucket {
        name: bucket,
        config,
    })
    .expect("a bucket")
}

impl Cluster {
    async fn start() -> Cluster {
        Cluster::start_ahead([0; 3]).await
    }

    /// Three peers on machines whose wall clocks are so many microseconds ahead.
    async fn start_ahead(ahead: [i64; 3]) -> Cluster {
        let mut cluster = Cluster {
            switch: Arc::default(),
            map: Arc::new(OneMap(Mutex::new(Arc::new(map())))),
            policies: Arc::default(),
            stores: (1..=3).map(Memory::new).collect(),
            peers: Vec::new(),
            machines: ahead.into_iter().map(SetMachine::new).collect(),
            threads: Vec::new(),
            repair_rate: u64::MAX,
        };
        for peer in 0..3 {
            let (started, thread) = cluster.start_peer(peer, 1, true);
            cluster.peers.push(started);
            cluster.threads.push(thread);
        }
        for peer in &cluster.peers {
            peer.adopt().await.expect("partitions");
            peer.vouch();
        }
        for peer in &cluster.peers {
            assert!(!peer.serves(), "a peer serves that does not know its clock");
            peer.ask_the_time().await;
            assert!(peer.serves());
        }
        cluster.converge().await;
        cluster
    }

    /// A life of a peer on its store, in a directory that can be believed or not.
    fn start_peer(
        &self,
        peer: usize,
        life: u128,
        sound: bool,
    ) -> (Arc<Peer>, CommitterThread<super::Operation, super::Answer>) {
        let number = u64::try_from(peer).expect("few") + 1;
        let me = NodeId::of(&node_name(number));
        let store: Arc<dyn Store> = Arc::new(self.stores[peer].clone());
        let incarnation = Incarnation(life << 64 | u128::from(number));
        let clock = Arc::new(NodeClock::start_on(Box::new(self.machines[peer].clone())));
        let (partitions, moments) =
            Partitions::new((me, incarnation), sound, store.clone(), clock.clone());
        let damage = partitions.damage();
        let core = Core::new(partitions, store.clone(), Space::Partitions).expect("a committer");
        let (committer, thread) =
            Committer::start(core, "committer", Arc::default()).expect("a thread");
        let parts = Parts {
            committer,
            moments,
            damage,
            store,
            wire: Arc::new(SwitchWire(me, self.switch.clone())),
            maps: self.map.clone(),
            policies: Arc::clone(&self.policies) as Arc<dyn Policies>,
            throttle: Throttle::new(self.repair_rate),
            clock,
        };
        let identity = Identity {
            node: me,
            incarnation,
            raft: RaftId(number),
        };
        let started = Peer::new(identity, parts);
        let mut peers = self.switch.peers.lock().expect("no test panicked");
        peers.insert(me, started.clone());
        (started, thread)
    }

    /// Ends a peer's process and starts it again, on what `harm` leaves of its store.
    async fn restart(&mut self, peer: usize, sound: bool, harm: impl FnOnce(&Memory)) {
        self.restart_unknown(peer, sound, harm).await;
        self.peers[peer].vouch();
    }

    /// The same, and nobody has told whether its directory is its latest.
    async fn restart_unknown(&mut self, peer: usize, sound: bool, harm: impl FnOnce(&Memory)) {
        let life = self.peers[peer].identity.incarnation.0 >> 64;
        let before = self.threads.remove(peer);
        before.stop().expect("the committer ends");
        harm(&self.stores[peer]);
        let (started, thread) = self.start_peer(peer, life + 1, sound);
        self.peers[peer] = started;
        self.threads.insert(peer, thread);
        self.peers[peer].adopt().await.expect("partitions");
        self.peers[peer].ask_the_time().await;
    }

    /// Lets all peers serve under the map after `change`.
    async fn change(&self, change: &Change) {
        let map = self.map.current().expect("a map");
        let next = map.apply(change).expect("a change");
        *self.map.0.lock().expect("no test panicked") = Arc::new(next);
        for peer in &self.peers {
            peer.adopt().await.expect("partitions");
        }
    }

    /// Lets every peer compare its partitions with the others' until none is behind.
    async fn converge(&self) {
        for _ in 0..20 {
            let mut behind = 0;
            for peer in &self.peers {
                behind += peer.pass().await;
            }
            if behind == 0 {
                return;
            }
        }
        panic!("the peers did not converge");
    }

    fn cut(&self, peer: usize) {
        self.switch
            .cut
            .lock()
            .expect("no test panicked")
            .insert(self.peers[peer].id());
    }

    fn heal(&self) {
        self.switch.cut.lock().expect("no test panicked").clear();
    }

    async fn put(
        &self,
        peer: usize,
        target: &Target,
        value: Option<&str>,
        basis: Basis,
    ) -> Result<soros_core::operation::WriteAnswer, OperationError> {
        let value = value.map(|text| Value {
            bytes: text.as_bytes().into(),
            content_type: "text/plain".to_owned(),
            content_encoding: None,
            meta: Vec::new(),
        });
        let (target, consistency) = (target.clone(), Consistency::Quorum);
        self.peers[peer]
            .write(WriteRequest {
                target,
                value,
                basis,
                consistency,
            })
            .await
    }

    /// What a quorum holds of a key, the latest last.
    async fn values(&self, peer: usize, target: &Target) -> Vec<String> {
        let (target, consistency) = (target.clone(), Consistency::Quorum);
        let answer = self.peers[peer]
            .read(ReadRequest {
                target,
                consistency,
            })
            .await;
        let object = answer.expect("a quorum").object;
        // The last is the one that last-writer-wins chooses.
        let mut versions: Vec<Version> = object.versions.into_values().collect();
        versions.sort_by_key(|version| version.time);
        let values = versions.into_iter().filter_map(|version| version.value);
        values
            .map(|value| String::from_utf8_lossy(&value.bytes).into_owned())
            .collect()
    }

    fn stop(self) {
        for thread in self.threads {
            thread.stop().expect("the committer ends");
        }
    }
}

fn target(bucket: BucketId, key: &str) -> Target {
    let key = Key::try_from(key.as_bytes()).expect("a key");
    let count = PartitionCount::try_from(PARTITIONS).expect("a power of two");
    let placement = soros_core::id::PlacementId(1);
    let place = Place {
        placement,
        partition: Partition::of(&key, count),
    };
    Target {
        place,
        entry: Entry { bucket, key },
    }
}

#[tokio::test]
async fn a_quorum_write_is_read_at_every_node_at_once() {
    let cluster = Cluster::start().await;
    let key = target(RESOLVED, "k");
    for round in 0..30 {
        let value = round.to_string();
        cluster
            .put(round % 3, &key, Some(&value), Basis::Unsaid)
            .await
            .expect("acknowledged");
        for peer in 0..3 {
            let values = cluster.values(peer, &key).await;
            assert_eq!(values.last(), Some(&value), "at {peer}: {values:?}");
        }
    }
    cluster.stop();
}

#[tokio::test]
async fn a_write_without_a_token_needs_one_where_nothing_resolves() {
    let cluster = Cluster::start().await;
    let key = target(PLAIN, "k");
    let first = cluster
        .put(0, &key, Some("a"), Basis::Unsaid)
        .await
        .expect("acknowledged");
    assert!(!first.existed);
    let refused = cluster.put(1, &key, Some("b"), Basis::Unsaid).await;
    let Err(OperationError::ContextRequired { context }) = refused else {
        panic!("{refused:?}");
    };
    cluster
        .put(1, &key, Some("b"), Basis::Blind)
        .await
        .expect("a sibling");
    assert_eq!(cluster.values(2, &key).await.len(), 2);
    // The token named the first value only: the sibling stays.
    cluster
        .put(2, &key, Some("c"), Basis::Seen(context))
        .await
        .expect("acknowledged");
    let values = BTreeSet::from_iter(cluster.values(0, &key).await);
    assert_eq!(values, BTreeSet::from(["b".to_owned(), "c".to_owned()]));
    cluster.stop();
}

#[tokio::test]
async fn a_replica_that_was_away_catches_up_and_deletes_leave_nothing() {
    let cluster = Cluster::start().await;
    cluster.cut(2);
    let keys: Vec<Target> = (0..20)
        .map(|number| target(RESOLVED, &format!("k{number}")))
        .collect();
    for key in &keys {
        cluster
            .put(0, key, Some("v"), Basis::Unsaid)
            .await
            .expect("two of three");
    }
    for key in &keys[..10] {
        cluster
            .put(1, key, None, Basis::Unsaid)
            .await
            .expect("two of three");
    }
    cluster.heal();
    cluster.converge().await;
    cluster.converge().await;
    for peer in &cluster.peers {
        let moment = peer.moment();
        let live: u64 = moment
            .places()
            .map(|(_, shown)| shown.state.live_keys)
            .sum();
        let waiting: u64 = moment
            .places()
            .map(|(_, shown)| shown.state.unstripped)
            .sum();
        assert_eq!((live, waiting), (10, 0));
        assert_eq!(peer.counts().sum_alarms, 0);
    }
    cluster.stop();
}

#[tokio::test]
async fn too_few_replicas_is_a_refusal_and_nothing_is_stored() {
    let cluster = Cluster::start().await;
    let key = target(RESOLVED, "k");
    cluster.cut(1);
    cluster.cut(2);
    let refused = cluster.put(0, &key, Some("v"), Basis::Unsaid).await;
    assert_eq!(
        refused,
        Err(OperationError::QuorumUnavailable {
            reached: 1,
            needed: 2
        })
    );
    cluster.heal();
    assert!(cluster.values(1, &key).await.is_empty());
    cluster.stop();
}

#[tokio::test]
async fn a_replica_that_is_silent_is_asked_last() {
    let cluster = Cluster::start().await;
    let [me, silent, other] = [0, 1, 2].map(|peer| cluster.peers[peer].id());
    let mut silents = cluster.switch.silent.lock().expect("no test panicked");
    silents.insert(silent);
    drop(silents);
    for number in 0..6 {
        let key = target(PLAIN, &format!("k{number}"));
        let routes = cluster.peers[0].routes(&key);
        assert_eq!(routes, Ok(vec![me, other, silent]));
    }
    cluster.cut(2);
    let routes = cluster.peers[0].routes(&target(PLAIN, "k"));
    assert_eq!(
        routes,
        Ok(vec![me, silent, other]),
        "before one that is down"
    );
    cluster.stop();
}
