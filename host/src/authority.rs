//! This is the authority's role on every node: the Raft group that orders the changes of the map,
//! the spread of maps to all nodes, and the HTTP calls that read and change the map.
//!
//! Nodes with the authority role run a member of the Raft group; of those some vote. Every other
//! node forwards changes to the leader and takes maps from whoever has a newer one. Nothing here
//! waits for the authority to serve data: with all of it down, the last map stays in force.

pub mod api;
pub mod bootstrap;
pub mod command;
pub mod components;
pub mod dry_run;
pub mod keeper;
pub mod log;
pub mod member;
pub mod push;
pub mod raft;
pub mod record;
pub mod state;
pub mod wire;

mod activation;
mod answer;
mod audit;
mod blame;
mod chores;
mod deletion;
mod follow;
mod forward;
mod lead;
mod spread;
mod start;
mod transport;
mod twin;
mod voters;

#[cfg(test)]
mod tests;

use crate::network::BoxFuture;
use crate::plugin::{Admitted, Check};
use crate::store::Store;
use crate::telemetry::Metrics;
use bootstrap::BootstrapError;
use bytes::Bytes;
use command::{Command, CommandError, Done, Proposed};
use keeper::{Adopts, KeeperError, MapKeeper};
use member::{Member, RaftIdError};
use serde::{Deserialize, Serialize};
use soros_core::epoch::Epoch;
use soros_core::id::{BucketId, BucketName, ClusterId, NodeId, NodeName};
use soros_core::map::Map;
use soros_core::map::change::ChangeError;
use soros_core::map::format::UnknownFormat;
use soros_core::map::json::Json;
use soros_core::map::node::{Identity, Node, NodeState, Role};
use soros_core::map::plugin::{
    Plugin, PluginDigest, PluginKind, PluginName, PluginVersion, PolicyUse, Release,
};
use soros_core::map::problem::ConfigProblem;
use soros_core::map::table::Table;
use soros_core::policy::topology::Snapshot;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use wire::{Facts, Leadership, Wire};

/// Asks placement policies for tables, and all policies whether they take a configuration.
pub trait Planner: Send + Sync + 'static {
    /// Whether this release of the policy takes its configuration.
    fn check<'a>(
        &'a self,
        kind: PluginKind,
        release: &'a Release,
        policy: &'a PolicyUse,
    ) -> BoxFuture<'a, Result<(), PlanError>>;

    /// A table for `now`, with few moves from `before`.
    fn plan<'a>(
        &'a self,
        release: &'a Release,
        policy: &'a PolicyUse,
        now: Snapshot,
        before: Option<&'a Table>,
    ) -> BoxFuture<'a, Result<Table, PlanError>>;
}

/// Has the components of plugins, and makes policies of them.
pub trait Plugins: Send + Sync + 'static {
    /// Looks at a component that is to be a version of the plugin `name`.
    fn admit<'a>(
        &'a self,
        name: &'a PluginName,
        version: &'a PluginVersion,
        component: Bytes,
    ) -> BoxFuture<'a, Result<Admitted, Vec<Check>>>;

    /// Makes a component durable here.
    fn keep(&self, component: Bytes) -> BoxFuture<'_, Result<(), String>>;

    /// Makes a component durable here, which `holder` has.
    fn hold<'a>(
        &'a self,
        release: &'a Release,
        holder: NodeId,
    ) -> BoxFuture<'a, Result<(), String>>;

    /// A piece of a component from a byte on, or all of it; none when it is not here.
    fn component(&self, digest: PluginDigest, piece: Option<u64>)
    -> BoxFuture<'_, Option<Vec<u8>>>;

    /// Gets ready to be asked as this release, with each of these configurations.
    fn prepare<'a>(
        &'a self,
        release: &'a Release,
        configs: Vec<Json>,
    ) -> BoxFuture<'a, Result<(), PlanError>>;

    /// How the plugins of the map stand here.
    fn standings(&self) -> BTreeMap<PluginName, Standing>;

    /// The calls that the shadow of a plugin answers otherwise, as lines of a capture.
    fn captures(&self, name: &PluginName) -> Vec<String>;
}

/// How a plugin stands at one node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The versions whose components are here.
    pub prepared: BTreeSet<PluginVersion>,
    /// The version that is asked here; none while that cannot be.
    pub active: Option<PluginVersion>,
    /// Why it cannot.
    pub problem: Option<String>,
    /// How often it was asked since the node started, in all its versions.
    pub calls: u64,
    /// How often it failed then.
    pub failures: u64,
    /// The same for each version.
    #[serde(default)]
    pub versions: BTreeMap<PluginVersion, Counts>,
    /// What came of its shadow, if one runs.
    #[serde(default)]
    pub shadow: Option<ShadowStanding>,
}

/// What came of a plugin's shadow at one node, since it runs there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShadowStanding {
    /// How many calls it was asked.
    pub compared: u64,
    /// How many of them it answered otherwise than the version in force.
    pub differed: u64,
    /// At how many it failed, by why.
    pub failures: BTreeMap<String, u64>,
    /// How many were not asked because too many waited.
    pub dropped: u64,
    /// How many that it answered otherwise are kept.
    pub captures: u64,
    /// Why it cannot be asked.
    pub problem: Option<String>,
}

/// How the calls of a plugin's version went at one node, since that started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// How many there were.
    pub calls: u64,
    /// How many a validator refused.
    pub refused: u64,
    /// How many failed, by why.
    pub failures: BTreeMap<String, u64>,
    /// What all of them computed.
    pub fuel: u64,
    /// How long one took on average, in microseconds.
    pub mean_us: u64,
    /// A bound that 99 of 100 stayed within, in microseconds.
    pub p99_us: u64,
}

impl Counts {
    /// How many failed.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }
}

/// Why a policy could not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlanError {
    /// It does not take its configuration.
    #[error("the policy does not take its configuration")]
    BadConfig(Vec<ConfigProblem>),
    /// It fails on its configuration, as it would at every node.
    #[error("{0}")]
    Unfit(String),
    /// It could not be asked, or had no answer; this says why.
    #[error("{0}")]
    Failed(String),
}

/// Finds out whether a closing bucket has keys.
pub trait BucketCheck: Send + Sync + 'static {
    /// Asks the replicas of every partition of the bucket, under `map`, in which it is closing.
    fn has_keys<'a>(
        &'a self,
        name: &'a BucketName,
        id: BucketId,
        map: Arc<Map>,
    ) -> BoxFuture<'a, Emptiness>;
}

/// What is known of a bucket's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Emptiness {
    /// In every partition a quorum of the replicas has adopted the map, and none has a live key.
    Empty,
    /// A replica has a live key.
    HasKeys,
    /// Neither could be found out.
    Unknown,
}

/// Knows which nodes are alive.
pub trait Liveness: Send + Sync + 'static {
    /// Whether `node` is believed to be alive. So is this node, and one not heard of yet.
    fn is_alive(&self, node: NodeId) -> bool;
}

/// Knows what this node holds.
pub trait LocalFacts: Send + Sync + 'static {
    /// What it holds now.
    fn facts(&self) -> Facts;
}

/// A node's state as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ShownState {
    /// It lives and may hold partitions.
    Active,
    /// It lives and holds no partition yet.
    Joining,
    /// It lives and its partitions are moving away.
    Draining,
    /// It is not believed to be alive.
    Down,
}

/// How a node comes into a cluster when it has no map yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// It is one of these founding members: the addresses of their peer listeners.
    Bootstrap(Vec<String>),
    /// It comes into the cluster of the node at this address.
    Join(String),
    /// It does not: it must have a map.
    Known,
}

/// What the first map is made of beside its members.
#[derive(Clone, Debug)]
pub struct First {
    /// What the operator calls the cluster.
    pub name: String,
    /// The plugins that ship.
    pub plugins: BTreeMap<PluginName, Plugin>,
}

/// All that a node's authority is built of.
pub struct Parts {
    /// Who this node is; its member id is the one that [`member::raft_id`] read.
    pub identity: Identity,
    /// How it comes into a cluster.
    pub entry: Entry,
    /// What it would found a cluster with.
    pub first: First,
    /// The cluster that its directory says it belongs to.
    pub cluster: Option<ClusterId>,
    /// Its disk.
    pub store: Arc<dyn Store>,
    /// Its way to other nodes.
    pub wire: Arc<dyn Wire>,
    /// Its policies.
    pub planner: Arc<dyn Planner>,
    /// Its plugins.
    pub plugins: Arc<dyn Plugins>,
    /// Its way to find out whether a bucket has keys.
    pub buckets: Arc<dyn BucketCheck>,
    /// Serves under each map that the node adopts.
    pub adopts: Arc<dyn Adopts>,
    /// What it knows of other nodes' lives.
    pub liveness: Arc<dyn Liveness>,
    /// What it tries on what it holds.
    pub tries_versions: Arc<dyn dry_run::TriesVersions>,
    /// What it knows of itself.
    pub facts: Arc<dyn LocalFacts>,
    /// Where it notes its figures.
    pub metrics: Arc<Metrics>,
}

/// Why a node cannot go on. Its process ends and says so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It has no map and was not told where to find one.
    #[error("this node knows no cluster: start it with --bootstrap or --join")]
    NoCluster,
    /// The founding members do not fit together.
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
    /// A living node has its identity.
    #[error("a living node is called `{0}` already: stop it, or choose another name")]
    IdentityInUse(NodeName),
    /// Another process has taken its identity.
    #[error("another process has come in as `{0}`: this one stops")]
    Superseded(NodeName),
    /// It was told to come into another cluster than its directory's.
    #[error(
        "this node's data directory belongs to cluster {recorded}, and it was told to come into \
         cluster {found}: name a node of its own cluster, or start it with an empty directory"
    )]
    OtherCluster {
        /// The cluster that the directory belongs to.
        recorded: ClusterId,
        /// The other.
        found: ClusterId,
    },
    /// The cluster's map is one of newer programs.
    #[error("the cluster's map cannot be read: {0}")]
    NewerFormat(UnknownFormat),
    /// The cluster does not take it.
    #[error("the cluster does not take this node: {0}")]
    Refused(ChangeError),
}

/// Why a node's authority could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its map could not be read.
    #[error(transparent)]
    Keeper(#[from] KeeperError),
    /// Its member id could not be read.
    #[error(transparent)]
    RaftId(#[from] RaftIdError),
    /// Its identity has another member id than its disk.
    #[error("the node's identity has another member id than its disk")]
    OtherMember,
}

/// How many hints about other nodes' epochs may wait.
const HINTS_MAX: usize = 256;

/// The authority's role of a node.
pub struct Authority {
    inner: Arc<Inner>,
    tasks: Mutex<JoinSet<()>>,
}

/// What all parts of the role share.
struct Inner {
    parts: Parts,
    keeper: Arc<MapKeeper>,
    /// This node's member of the Raft group, if it has the authority role.
    member: Option<Member>,
    /// Held while the leader makes a change of the map it has just read.
    turn: tokio::sync::Mutex<()>,
    /// Held by each component that is being let in here.
    pushes: Semaphore,
    /// Held by each dry run that was asked for here.
    dry_runs: Semaphore,
    /// Buckets of which this node, as the leader, is finding out whether they are empty.
    deleting: Mutex<BTreeSet<BucketName>>,
    /// What this node, as the leader, knows of plugins that fail.
    watch: blame::Watch,
    /// Who led when last heard.
    leader_hint: Mutex<Option<NodeId>>,
    /// Epochs that other nodes showed.
    hints: mpsc::Sender<(NodeId, Epoch)>,
    failure: watch::Sender<Option<Failure>>,
}

impl Authority {
    /// Starts the role: it serves under the map on disk at once, and finds or founds its cluster
    /// behind it.
    ///
    /// # Errors
    /// [`StartError`] when the disk fails.
    pub async fn start(parts: Parts) -> Result<Authority, StartError> {
        if member::raft_id(&parts.store).await? != parts.identity.raft {
            return Err(StartError::OtherMember);
        }
        let store = Arc::clone(&parts.store);
        let keeper = MapKeeper::open(parts.identity.clone(), parts.cluster, store)?;
        keeper.set_adopts(Arc::clone(&parts.adopts));
        let member = parts.identity.has(Role::Authority).then(|| {
            Member::new(
                parts.identity.raft,
                Arc::clone(&parts.store),
                Arc::clone(&parts.wire),
            )
        });
        let (hints, hinted) = mpsc::channel(HINTS_MAX);
        let inner = Arc::new(Inner {
            parts,
            keeper: Arc::new(keeper),
            member,
            turn: tokio::sync::Mutex::default(),
            pushes: Semaphore::new(push::AT_A_TIME),
            dry_runs: Semaphore::new(dry_run::AT_A_TIME),
            deleting: Mutex::default(),
            watch: blame::Watch::default(),
            leader_hint: Mutex::default(),
            hints,
            failure: watch::Sender::new(None),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(start::run_member(Arc::clone(&inner)));
        tasks.spawn(start::come_in(Arc::clone(&inner)));
        tasks.spawn(follow::watch_maps(Arc::clone(&inner)));
        tasks.spawn(follow::catch_up(Arc::clone(&inner), hinted));
        tasks.spawn(chores::run(Arc::clone(&inner)));
        Ok(Authority {
            inner,
            tasks: Mutex::new(tasks),
        })
    }

    /// The map as this node knows it.
    #[must_use]
    pub fn keeper(&self) -> &Arc<MapKeeper> {
        &self.inner.keeper
    }

    /// Who this node is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.inner.parts.identity
    }

    /// Waits until this node cannot go on.
    pub async fn failed(&self) -> Failure {
        let mut failures = self.inner.failure.subscribe();
        match failures
            .wait_for(Option::is_some)
            .await
            .map(|failure| failure.clone())
        {
            Ok(Some(failure)) => failure,
            // The sender lives as long as this role.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }

    /// Answers what another node asked through its [`Wire`].
    pub async fn on_request(&self, request: &[u8]) -> Bytes {
        answer::answer(&self.inner, request).await
    }

    /// Another node showed its epoch: who is behind catches up. Never waits.
    pub fn on_epoch(&self, from: NodeId, epoch: Epoch) {
        if epoch != self.inner.keeper.epoch() {
            // A hint lost among many comes again with the next message.
            let _ = self.inner.hints.try_send((from, epoch));
        }
    }

    /// Has the map changed, by whoever leads.
    ///
    /// # Errors
    /// [`CommandError`] says whether anything was changed.
    pub async fn propose(
        &self,
        command: Command,
        only_at: Option<Epoch>,
    ) -> Result<Done, CommandError> {
        let through = self.identity().name.to_string();
        let proposed = Proposed {
            command,
            only_at,
            through,
        };
        forward::propose(&self.inner, proposed).await
    }

    /// Who leads and who votes, as far as this node can find out at once.
    pub async fn leadership(&self) -> Leadership {
        forward::leadership(&self.inner).await
    }

    /// The state of a node of the map, as it is shown.
    #[must_use]
    pub fn state_of(&self, id: NodeId, node: &Node) -> ShownState {
        if id != self.inner.id() && !self.inner.parts.liveness.is_alive(id) {
            return ShownState::Down;
        }
        match node.state {
            NodeState::Active => ShownState::Active,
            NodeState::Joining => ShownState::Joining,
            NodeState::Draining => ShownState::Draining,
        }
    }

    /// What the nodes of `map` say that they hold, as far as they answer at once.
    pub async fn facts(&self, map: &Map) -> BTreeMap<NodeId, Facts> {
        forward::facts(&self.inner, map).await
    }

    /// How the plugins of `map` stand at its nodes, as far as they answer at once.
    pub async fn standings(&self, map: &Map) -> BTreeMap<NodeId, BTreeMap<PluginName, Standing>> {
        forward::standings(&self.inner, map).await
    }

    /// The calls that the shadow of a plugin answers otherwise, at the nodes that answer at once.
    pub async fn captures(&self, map: &Map, name: &PluginName) -> Vec<String> {
        forward::captures(&self.inner, map, name).await
    }

    /// Makes room for a dry run.
    ///
    /// # Errors
    /// [`dry_run::Occupied`] when there is none.
    pub fn begin_dry_run(&self) -> Result<tokio::sync::SemaphorePermit<'_>, dry_run::Occupied> {
        let room = self.inner.dry_runs.try_acquire();
        room.map_err(|_| dry_run::Occupied)
    }

    /// What the activation of a version would change under `map`.
    ///
    /// # Errors
    /// [`CommandError`] as the activation would have it.
    pub async fn dry_run(
        &self,
        map: &Map,
        name: &PluginName,
        version: &PluginVersion,
    ) -> Result<dry_run::DryRun, CommandError> {
        dry_run::dry_run(&self.inner, map, name, version).await
    }

    /// The component of this digest, if this node has it.
    pub async fn component(&self, digest: PluginDigest) -> Option<Vec<u8>> {
        self.inner.parts.plugins.component(digest, None).await
    }

    /// Stops the role.
    pub async fn stop(&self) {
        let mut tasks = std::mem::take(&mut *locked(&self.tasks));
        tasks.shutdown().await;
        if let Some(member) = &self.inner.member {
            member.stop().await;
        }
    }
}

impl Inner {
    fn id(&self) -> NodeId {
        self.parts.identity.id()
    }

    fn wire(&self) -> &dyn Wire {
        &*self.parts.wire
    }

    /// The node cannot go on. The first reason counts.
    fn fail(&self, failure: Failure) {
        tracing::error!(%failure, "this node cannot go on");
        self.failure.send_if_modified(|reason| {
            let first = reason.is_none();
            reason.get_or_insert(failure);
            first
        });
    }
}

/// What is behind `mutex`; a thread that panicked while it held it left it sound.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
