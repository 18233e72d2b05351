//! This is a small cluster in one process: nodes that keep their stores over restarts, and a wire
//! between them that can be cut.

use crate::authority::command::{Command, CommandError, Done};
use crate::authority::dry_run::{Loads, Tally, TriesVersions};
use crate::authority::keeper::{Adopts, MapKeeper};
use crate::authority::member::raft_id;
use crate::authority::wire::{Facts, To, Wire, WireError};
use crate::authority::{
    Authority, BucketCheck, Emptiness, Entry, First, Liveness, LocalFacts, Parts, PlanError,
    Planner, Plugins, Standing,
};
use crate::network::BoxFuture;
use crate::plugin::{Admitted, Check};
use crate::store::Store;
use crate::store::memory::Memory;
use bytes::Bytes;
use soros_core::epoch::Epoch;
use soros_core::id::{BucketId, BucketName, ClusterId, Incarnation, NodeId, NodeName, PlacementId};
use soros_core::map::Map;
use soros_core::map::bucket::BucketConfig;
use soros_core::map::json::Json;
use soros_core::map::node::{Identity, Role};
use soros_core::map::plugin::{
    Plugin, PluginDigest, PluginKind, PluginName, PluginVersion, PolicyUse, Release,
};
use soros_core::map::table::Table;
use soros_core::policy::Placement;
use soros_core::policy::builtin::Balanced;
use soros_core::policy::topology::Snapshot;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Longer than anything here takes.
const LONG: Duration = Duration::from_mins(2);

/// Fails the test when `future` takes too long.
#[track_caller]
pub(super) fn soon<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let place = std::panic::Location::caller();
    async move {
        let done = timeout(LONG, future).await;
        done.unwrap_or_else(|elapsed| panic!("{place}: {elapsed}"))
    }
}

/// The wire between all nodes.
#[derive(Default)]
pub(super) struct Net {
    nodes: Mutex<BTreeMap<String, Arc<Authority>>>,
    /// Addresses that nothing reaches and that reach nothing, without a word.
    cut: Mutex<BTreeSet<String>>,
    /// What the next check of a bucket for keys says.
    keys: AtomicU8,
    /// How many tables were planned.
    pub(super) plans: AtomicU64,
    /// Whether no node can keep a component.
    pub(super) full: AtomicBool,
    /// Whether no version that is made ready takes any config.
    pub(super) picky: AtomicBool,
    /// Whether there is no room for an instance at the moment.
    pub(super) short: AtomicBool,
    /// Whether the nodes' directories were found to be their latest, by their addresses.
    latest: Mutex<BTreeMap<String, bool>>,
}

impl Net {
    fn at(&self, address: &str) -> Option<Arc<Authority>> {
        self.nodes.lock().unwrap().get(address).cloned()
    }

    fn is_cut(&self, address: &str) -> bool {
        self.cut.lock().unwrap().contains(address)
    }

    /// Cuts the node `name` off, or connects it again.
    pub(super) fn cut(&self, name: &str, cut: bool) {
        let mut addresses = self.cut.lock().unwrap();
        if cut {
            addresses.insert(address(name));
        } else {
            addresses.remove(&address(name));
        }
    }

    /// Whether the directory of the node `name` was found to be its latest, if that was found out
    /// since it was asked last.
    pub(super) fn is_latest(&self, name: &str) -> Option<bool> {
        self.latest.lock().unwrap().remove(&address(name))
    }

    /// What checks of buckets for keys say from now on.
    pub(super) fn say(&self, emptiness: Emptiness) {
        self.keys.store(emptiness as u8, Ordering::SeqCst);
    }
}

struct NodeWire {
    net: Arc<Net>,
    from: String,
    addresses: Mutex<BTreeMap<NodeId, String>>,
}

impl Wire for NodeWire {
    fn call(
        &self,
        to: &To,
        request: Bytes,
        limit: Duration,
    ) -> BoxFuture<'static, Result<Bytes, WireError>> {
        let address = match to {
            To::Address(address) => Some(address.clone()),
            To::Node(node) => self.addresses.lock().unwrap().get(node).cloned(),
        };
        let (net, from) = (Arc::clone(&self.net), self.from.clone());
        Box::pin(async move {
            let address = address.ok_or(WireError::NotSent)?;
            if net.is_cut(&from) || net.is_cut(&address) {
                sleep(limit).await;
                return Err(WireError::Unknown);
            }
            // A little time passes on the way, so that nobody spins.
            sleep(Duration::from_micros(300)).await;
            let node = net.at(&address).ok_or(WireError::NotSent)?;
            let answered = timeout(limit, node.on_request(&request)).await;
            let lost = net.is_cut(&from) || net.is_cut(&address);
            answered.ok().filter(|_| !lost).ok_or(WireError::Unknown)
        })
    }

    fn set_address(&self, node: NodeId, address: &str) {
        self.addresses
            .lock()
            .unwrap()
            .insert(node, address.to_owned());
    }
}

struct Alive(Arc<Net>);

impl Liveness for Alive {
    fn is_alive(&self, node: NodeId) -> bool {
        let nodes = self.0.nodes.lock().unwrap();
        let mut living = nodes.iter().filter(|(address, _)| !self.0.is_cut(address));
        living.any(|(_, living)| living.identity().id() == node)
    }
}

/// Only maps are of interest here, and what becomes of directories.
struct NobodyServes(Arc<Net>, String);

impl NobodyServes {
    fn found(&self, latest: bool) {
        let mut found = self.0.latest.lock().unwrap();
        found.insert(self.1.clone(), latest);
    }
}

impl Adopts for NobodyServes {
    fn adopted(&self, _: Arc<Map>) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    fn vouched(&self) -> BoxFuture<'_, ()> {
        self.found(true);
        Box::pin(std::future::ready(()))
    }

    fn doubted(&self) -> BoxFuture<'_, ()> {
        self.found(false);
        Box::pin(std::future::ready(()))
    }
}

impl LocalFacts for Net {
    fn facts(&self) -> Facts {
        Facts {
            clock_offset_ms: Some(-2),
            clock_skewed: false,
            disk_full: false,
            bytes: 77,
            partitions_behind: 3,
        }
    }
}

impl BucketCheck for Net {
    fn has_keys<'a>(
        &'a self,
        _: &'a BucketName,
        _: BucketId,
        _: Arc<Map>,
    ) -> BoxFuture<'a, Emptiness> {
        let all = [Emptiness::Empty, Emptiness::HasKeys, Emptiness::Unknown];
        let said = all[usize::from(self.keys.load(Ordering::SeqCst))];
        Box::pin(std::future::ready(said))
    }
}

impl TriesVersions for Net {
    fn loads(&self, _: PlacementId) -> BoxFuture<'_, Option<Loads>> {
        Box::pin(std::future::ready(Some(Loads::new())))
    }

    fn judge<'a>(
        &'a self,
        _: &'a Release,
        _: &'a Json,
        _: &'a BucketName,
    ) -> BoxFuture<'a, Result<Tally, PlanError>> {
        let tally = Tally {
            sampled: 7,
            refused: 2,
            complete: true,
            ..Tally::default()
        };
        Box::pin(std::future::ready(Ok(tally)))
    }
}

impl Planner for Net {
    fn check<'a>(
        &'a self,
        _: PluginKind,
        _: &'a Release,
        policy: &'a PolicyUse,
    ) -> BoxFuture<'a, Result<(), PlanError>> {
        let taken = policy.config == soros_core::map::json::Json::empty();
        let answer = if taken {
            Ok(())
        } else {
            Err(PlanError::BadConfig(Vec::new()))
        };
        Box::pin(std::future::ready(answer))
    }

    fn plan<'a>(
        &'a self,
        _: &'a Release,
        _: &'a PolicyUse,
        now: Snapshot,
        before: Option<&'a Table>,
    ) -> BoxFuture<'a, Result<Table, PlanError>> {
        self.plans.fetch_add(1, Ordering::SeqCst);
        let planned = Balanced.plan(&now, before, 0);
        let planned = planned.map_err(|error| PlanError::Failed(error.to_string()));
        Box::pin(std::future::ready(planned))
    }
}

impl Plugins for Net {
    fn admit<'a>(
        &'a self,
        _: &'a PluginName,
        _: &'a PluginVersion,
        component: Bytes,
    ) -> BoxFuture<'a, Result<Admitted, Vec<Check>>> {
        let admitted = Admitted {
            kind: PluginKind::Validation,
            release: release_of(&component),
            checks: Vec::new(),
        };
        Box::pin(std::future::ready(Ok(admitted)))
    }

    fn keep(&self, _: Bytes) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn hold<'a>(&'a self, _: &'a Release, _: NodeId) -> BoxFuture<'a, Result<(), String>> {
        let held = if self.full.load(Ordering::SeqCst) {
            Err("the disk is full".to_owned())
        } else {
            Ok(())
        };
        Box::pin(std::future::ready(held))
    }

    fn component(&self, _: PluginDigest, _: Option<u64>) -> BoxFuture<'_, Option<Vec<u8>>> {
        Box::pin(std::future::ready(None))
    }

    fn prepare<'a>(
        &'a self,
        _: &'a Release,
        configs: Vec<Json>,
    ) -> BoxFuture<'a, Result<(), PlanError>> {
        let prepared = if self.short.load(Ordering::SeqCst) {
            Err(PlanError::Failed("no room".to_owned()))
        } else if configs.is_empty() || !self.picky.load(Ordering::SeqCst) {
            Ok(())
        } else {
            Err(PlanError::BadConfig(Vec::new()))
        };
        Box::pin(std::future::ready(prepared))
    }

    fn captures(&self, _: &PluginName) -> Vec<String> {
        Vec::new()
    }

    fn standings(&self) -> BTreeMap<PluginName, Standing> {
        BTreeMap::new()
    }
}

/// How the map names a component.
pub(super) fn release_of(component: &[u8]) -> Release {
    Release {
        digest: PluginDigest(*blake3::hash(component).as_bytes()),
        abi: "soros:policy@1.0.0".to_owned(),
        size: component.len() as u64,
    }
}

/// The address of the node `name`.
pub(super) fn address(name: &str) -> String {
    format!("{name}:7071")
}

/// Nodes by name, running or not.
pub(super) struct Cluster {
    pub(super) net: Arc<Net>,
    stores: BTreeMap<String, Memory>,
    lives: AtomicU64,
    /// The cluster that the directories of nodes started from now on say they belong to.
    pub(super) recorded: Option<ClusterId>,
}

impl Cluster {
    /// No node yet.
    pub(super) fn new() -> Cluster {
        Cluster {
            net: Arc::default(),
            stores: BTreeMap::new(),
            lives: AtomicU64::new(1),
            recorded: None,
        }
    }

    /// A cluster founded by the nodes `names`, with a map at each.
    pub(super) async fn founded(names: &[&str]) -> Cluster {
        let mut cluster = Cluster::new();
        for name in names {
            cluster.bootstrap(name, names).await;
        }
        cluster.all_registered(names).await;
        cluster
    }

    /// Starts the node `name` with the founding members `names`.
    pub(super) async fn bootstrap(&mut self, name: &str, names: &[&str]) -> Arc<Authority> {
        let founders = names.iter().map(|name| address(name)).collect();
        self.start(name, Entry::Bootstrap(founders)).await
    }

    /// Starts the node `name` on the store it had.
    pub(super) async fn start(&mut self, name: &str, entry: Entry) -> Arc<Authority> {
        self.start_at(name, &address(name), entry).await
    }

    /// Starts the node `name` at `address`, on the store it had.
    pub(super) async fn start_at(
        &mut self,
        name: &str,
        address: &str,
        entry: Entry,
    ) -> Arc<Authority> {
        let seed = self.stores.len() as u64;
        let store = self
            .stores
            .entry(name.to_owned())
            .or_insert_with(|| Memory::new(seed));
        let store: Arc<dyn Store> = Arc::new(store.clone());
        let life = self.lives.fetch_add(1, Ordering::SeqCst);
        let identity = Identity {
            name: name.parse().unwrap(),
            incarnation: Incarnation(life.into()),
            raft: raft_id(&store).await.unwrap(),
            url: format!("http://{name}:7070"),
            peer: address.to_owned(),
            zone: name.to_owned(),
            capacity: 1 << 30,
            roles: roles(name),
            version: "0.1.0".to_owned(),
            format: soros_core::map::format::Format::KNOWN,
        };
        let authority = Authority::start(self.parts(identity, entry, store))
            .await
            .unwrap();
        let authority = Arc::new(authority);
        let mut nodes = self.net.nodes.lock().unwrap();
        nodes.insert(address.to_owned(), Arc::clone(&authority));
        authority
    }

    fn parts(&self, identity: Identity, entry: Entry, store: Arc<dyn Store>) -> Parts {
        let wire = NodeWire {
            net: Arc::clone(&self.net),
            from: identity.peer.clone(),
            addresses: Mutex::default(),
        };
        let serves = NobodyServes(Arc::clone(&self.net), identity.peer.clone());
        Parts {
            identity,
            entry,
            first: First {
                name: "soros".to_owned(),
                plugins: plugins(),
            },
            cluster: self.recorded,
            store,
            wire: Arc::new(wire),
            planner: self.net.clone(),
            plugins: self.net.clone(),
            buckets: self.net.clone(),
            adopts: Arc::new(serves),
            liveness: Arc::new(Alive(Arc::clone(&self.net))),
            tries_versions: self.net.clone(),
            facts: self.net.clone(),
            metrics: Arc::default(),
        }
    }

    /// The running node `name`.
    pub(super) fn node(&self, name: &str) -> Arc<Authority> {
        self.net.at(&address(name)).expect("a running node")
    }

    /// The keeper of the running node `name`.
    pub(super) fn keeper(&self, name: &str) -> Arc<MapKeeper> {
        Arc::clone(self.node(name).keeper())
    }

    /// The map at the running node `name`.
    pub(super) fn map(&self, name: &str) -> Arc<Map> {
        self.keeper(name).map().expect("a map")
    }

    /// The store of the node `name`.
    pub(super) fn store(&self, name: &str) -> Memory {
        self.stores[name].clone()
    }

    /// Stops the node `name`, which keeps its store.
    pub(super) async fn kill(&self, name: &str) {
        if let Some(node) = self.net.at(&address(name)) {
            node.stop().await;
        }
        self.net.nodes.lock().unwrap().remove(&address(name));
    }

    /// Stops the node `name` without a word to the others.
    pub(super) async fn crash(&self, name: &str) {
        self.net.cut(name, true);
        self.kill(name).await;
        self.net.cut(name, false);
    }

    /// Empties the disk of the node `name`, which does not run.
    pub(super) fn wipe(&mut self, name: &str) {
        self.stores.remove(name);
    }

    /// Waits until the maps of the nodes `names` name them as they are.
    pub(super) async fn all_registered(&self, names: &[&str]) {
        for name in names {
            let keeper = self.keeper(name);
            let mut maps = keeper.subscribe();
            soon(maps.wait_for(|_| keeper.is_registered()))
                .await
                .unwrap();
        }
    }

    /// Waits until one of the nodes `names` leads and they all know it; its name.
    pub(super) async fn leader(&self, names: &[&str]) -> String {
        soon(async {
            loop {
                let mut leaders = BTreeSet::new();
                for name in names {
                    leaders.insert(self.node(name).leadership().await.leader);
                }
                let called = |id| names.iter().find(|name| node_id(name) == id);
                if let [Some(leader)] = leaders.into_iter().collect::<Vec<_>>()[..]
                    && let Some(name) = called(leader)
                {
                    return (*name).to_owned();
                }
                sleep(Duration::from_millis(50)).await;
            }
        })
        .await
    }

    /// Puts the bucket `bucket` through the node `name`.
    pub(super) async fn put(&self, name: &str, bucket: &str) -> Result<Done, CommandError> {
        let (bucket, config) = (bucket.parse().unwrap(), BucketConfig::default());
        self.propose(
            name,
            Command::PutBucket {
                name: bucket,
                config,
            },
            None,
        )
        .await
    }

    /// Proposes `command` through the node `name`.
    pub(super) async fn propose(
        &self,
        name: &str,
        command: Command,
        only_at: Option<Epoch>,
    ) -> Result<Done, CommandError> {
        soon(self.node(name).propose(command, only_at)).await
    }

    /// Whether the map at the node `name` has the bucket `bucket`.
    pub(super) fn has(&self, name: &str, bucket: &str) -> bool {
        self.map(name).bucket(&bucket.parse().unwrap()).is_some()
    }
}

/// The id of the node `name`.
pub(super) fn node_id(name: &str) -> NodeId {
    NodeId::of(&node_name(name))
}

/// `name` as one.
pub(super) fn node_name(name: &str) -> NodeName {
    name.parse().unwrap()
}

/// Nodes called `p...` only hold data.
fn roles(name: &str) -> BTreeSet<Role> {
    if name.starts_with('p') {
        BTreeSet::from([Role::Peer])
    } else {
        BTreeSet::from([Role::Peer, Role::Authority])
    }
}

fn plugins() -> BTreeMap<soros_core::map::plugin::PluginName, Plugin> {
    let kinds = [
        ("lww", PluginKind::Resolution),
        ("balanced", PluginKind::Placement),
    ];
    let version: PluginVersion = "0.1.0".parse().unwrap();
    let named = kinds.map(|(name, kind)| {
        let abi = "soros:policy@1.0.0".to_owned();
        let release = Release {
            digest: PluginDigest([1; 32]),
            abi,
            size: 1,
        };
        let plugin = Plugin::of(kind, version.clone(), release);
        (name.parse().unwrap(), plugin)
    });
    named.into()
}
