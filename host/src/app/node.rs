//! This is a node's roles on the ground they are given: a disk, threads, a network, a clock and
//! policies. The ground is a machine, or the simulation of one.

use super::doubt::{DiskNotes, Doubts};
use super::late::LatePeer;
use super::liveness::{self, Hints, Waiting};
use super::neighbours::Neighbours;
use super::router::Router;
use super::service::Service;
use super::state::{self, State};
use super::{RunError, StartError};
use crate::authority::dry_run::Tally;
use crate::authority::{self, Authority, Entry, Failure, First, PlanError};
use crate::network::{
    self, Connector, Drained, Limits, LinkParts, Links, Listener, Trigger, Workers, serve_clients,
    serve_peers, shutdown,
};
use crate::peer::node_clock::NodeClock;
use crate::peer::operation::{Answer, Operation};
use crate::peer::partitions::Partitions;
use crate::peer::throttle::Throttle;
use crate::peer::{self, Maps, Peer, Policies};
use crate::store::commit::{Committer, CommitterThread, Core, Pace};
use crate::store::{Space, Store};
use crate::telemetry::Metrics;
use soros_core::id::BucketName;
use soros_core::map::Map;
use soros_core::map::json::Json;
use soros_core::map::node::Identity;
use soros_core::map::plugin::{Plugin, PluginName, Release};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::task::JoinHandle;

/// How long what is under way between nodes has to finish when the node stops.
const PEERS_DRAIN_TIME_MAX: Duration = Duration::from_secs(1);

/// Runs the policies of a node.
pub trait RunsPolicies: Policies + authority::Planner + authority::Plugins {
    /// Gets ready to be asked under `map`, before the node says that it serves under it.
    fn adopt(self: Arc<Self>, map: Arc<Map>) -> network::BoxFuture<'static, ()>;

    /// Why policies cannot be asked that should be, by the names of their plugins.
    fn problems(&self) -> BTreeMap<PluginName, String>;

    /// What a release with a config makes of values that the node holds of a bucket.
    fn judge<'a>(
        &'a self,
        peer: Arc<Peer>,
        policy: (&'a Release, &'a Json),
        bucket: &'a BucketName,
    ) -> network::BoxFuture<'a, Result<Tally, PlanError>>;

    /// What is done with what they show, as long as the node runs; asked for once.
    fn chores(&self, authority: &Arc<Authority>) -> Vec<network::BoxFuture<'static, ()>>;
}

/// What a node is made of.
pub struct Ground {
    /// Who it is, and where it is reached.
    pub identity: Identity,
    /// How it comes into a cluster.
    pub entry: Entry,
    /// The plugins that a cluster has which it founds.
    pub plugins: BTreeMap<PluginName, Plugin>,
    /// Its disk.
    pub store: Arc<dyn Store>,
    /// Whether nothing speaks against all being there that it had on its disk.
    pub sound: bool,
    /// What is noted of its disk beside the records.
    pub notes: Arc<dyn DiskNotes>,
    /// What runs its policies.
    pub policies: Arc<dyn RunsPolicies>,
    /// The other nodes as it reaches them; nobody yet.
    pub neighbours: Arc<Neighbours>,
    /// What its tasks run on.
    pub workers: Arc<Workers>,
    /// How long its commits take, where a task makes them and no thread.
    pub pace: Option<Pace>,
    /// Its clock.
    pub clock: Arc<NodeClock>,
    /// Its way to other nodes.
    pub connector: Arc<dyn Connector>,
    /// What its client listener may use.
    pub limits: Limits,
    /// The most connections that other nodes may have.
    pub peer_connections_max: u32,
    /// The most bytes a second that it repairs its copies with; see the setting `repair.rate`.
    pub repair_rate: u64,
    /// Its figures.
    pub metrics: Arc<Metrics>,
}

/// Both listeners of a node, bound.
pub struct Listeners<L> {
    /// For clients.
    pub client: L,
    /// For other nodes.
    pub peer: L,
}

/// The roles of a node, at work.
pub struct Node {
    state: Arc<State>,
    peer: Arc<Peer>,
    authority: Arc<Authority>,
    links: Links,
    /// Held by whatever speaks to others; here so that it lives as long as the node.
    _neighbours: Arc<Neighbours>,
    committer: CommitterThread<Operation, Answer>,
    workers: Arc<Workers>,
    stop_clients: Trigger,
    stop_peers: Trigger,
    clients: JoinHandle<Drained>,
    peers: JoinHandle<Drained>,
    own: Vec<JoinHandle<()>>,
}

/// What commits, and whoever ends it.
type Commits = (
    Committer<Operation, Answer>,
    CommitterThread<Operation, Answer>,
);

/// The roles of a node.
struct Roles {
    peer: Arc<Peer>,
    authority: Arc<Authority>,
    links: Links,
    committer: CommitterThread<Operation, Answer>,
    epoch: Arc<AtomicU64>,
    neighbours: Arc<Neighbours>,
    hints: Hints,
    waiting: Waiting,
    policies: Arc<dyn RunsPolicies>,
    doubts: Arc<Doubts>,
}

impl Node {
    /// Begins to serve at `listeners`.
    ///
    /// # Errors
    /// [`StartError`]; nothing runs then.
    pub async fn start<L: Listener>(
        ground: Ground,
        listeners: Listeners<L>,
    ) -> Result<Node, StartError> {
        let (me, workers) = (ground.identity.id(), Arc::clone(&ground.workers));
        let (store, metrics) = (Arc::clone(&ground.store), Arc::clone(&ground.metrics));
        let (limits, connections_max) = (ground.limits, ground.peer_connections_max);
        let notes = Arc::clone(&ground.notes);
        let Roles {
            peer,
            authority,
            links,
            committer,
            epoch,
            neighbours,
            hints,
            waiting,
            policies,
            doubts,
        } = Roles::start(ground).await?;
        let maps = authority.keeper().subscribe();
        let others = Arc::downgrade(&neighbours);
        let mut own = chores(&workers, &peer, &doubts);
        let of_policies = policies.chores(&authority).into_iter();
        own.extend(of_policies.map(|chore| workers.spawn_on(0, chore)));
        own.push(workers.spawn_on(0, liveness::run(me, others, maps, waiting)));
        let state = Arc::new(State::new(state::Parts {
            peer: Arc::clone(&peer),
            authority: Arc::clone(&authority),
            policies,
            metrics: Arc::clone(&metrics),
            links: links.clone(),
            store,
            notes,
        }));
        let (stop_clients, clients_stopped) = shutdown();
        let (stop_peers, peers_stopped) = shutdown();
        let service = Arc::new(Service {
            links: links.clone(),
            peer: Arc::clone(&peer),
            authority: Arc::clone(&authority),
            hints,
            metrics,
            connections_max,
        });
        let time = PEERS_DRAIN_TIME_MAX;
        let peers = serve_peers(listeners.peer, service, epoch, time, peers_stopped);
        let router = Arc::new(Router::new(Arc::clone(&state), clients_stopped.clone()));
        let serving = Arc::clone(&workers);
        let clients = async move {
            serve_clients(listeners.client, &serving, router, limits, clients_stopped).await
        };
        Ok(Node {
            state,
            peers: workers.spawn_on(0, peers),
            clients: workers.spawn_on(0, clients),
            workers,
            peer,
            authority,
            links,
            _neighbours: neighbours,
            committer,
            stop_clients,
            stop_peers,
            own,
        })
    }

    /// Waits until the node serves: it knows a map, and holds what that gives it.
    ///
    /// # Errors
    /// [`Failure`] when it never will.
    pub async fn serves(&self) -> Result<(), Failure> {
        const STEP: Duration = Duration::from_millis(10);
        let mut maps = self.authority.keeper().subscribe();
        let known = async {
            // The sender lives as long as the authority's role.
            let _ = maps.wait_for(Option::is_some).await;
            while !self.peer.serves() {
                tokio::time::sleep(STEP).await;
            }
        };
        tokio::select! {
            () = known => Ok(()),
            failure = self.authority.failed() => Err(failure),
        }
    }

    /// Waits until the node cannot go on; why.
    pub async fn failed(&self) -> RunError {
        tokio::select! {
            biased;
            failure = self.authority.failed() => failure.into(),
            () = self.committer_died() => RunError::Committer,
        }
    }

    /// Whether a partition that it holds cannot be saved but by a new start.
    pub(super) fn is_damaged_for_good(&self) -> bool {
        self.peer.is_damaged_for_good()
    }

    /// Waits until the committer's thread has died: the node could not write any more, and only a
    /// new start helps.
    async fn committer_died(&self) {
        const STEP: Duration = Duration::from_secs(1);
        while !self.committer.has_died() {
            tokio::time::sleep(STEP).await;
        }
    }

    /// Clients first, then what nodes do for each other. What is left is to be stopped where that
    /// may block.
    pub async fn drain(self) -> Stopping {
        self.state.stop();
        self.stop_clients.fire();
        report(self.clients.await, "clients");
        for task in &self.own {
            task.abort();
        }
        // Before the others cannot reach this node any more: a leader hands over.
        self.authority.stop().await;
        self.stop_peers.fire();
        report(self.peers.await, "peers");
        self.links.stop(PEERS_DRAIN_TIME_MAX).await;
        Stopping {
            committer: self.committer,
            workers: self.workers,
        }
    }
}

/// What is left of a node that has drained.
pub struct Stopping {
    committer: CommitterThread<Operation, Answer>,
    workers: Arc<Workers>,
}

impl Stopping {
    /// Waits for its threads.
    pub fn stop(self) {
        if let Err(error) = self.committer.stop() {
            tracing::error!(%error, "the committer did not end cleanly");
        }
        if let Some(workers) = Arc::into_inner(self.workers) {
            workers.stop();
        }
    }
}

impl Roles {
    async fn start(mut ground: Ground) -> Result<Roles, StartError> {
        let pace = ground.pace.take();
        let (store, workers) = (Arc::clone(&ground.store), Arc::clone(&ground.workers));
        let (neighbours, policies) = (ground.neighbours.clone(), ground.policies.clone());
        let (me, incarnation) = (ground.identity.id(), ground.identity.incarnation);
        let epoch = Arc::new(AtomicU64::new(0));
        let notes = Arc::clone(&ground.notes);
        let doubts = Arc::new(Doubts::new(notes, Arc::clone(&store)));
        let (partitions, moments) = Partitions::new(
            (me, incarnation),
            ground.sound,
            Arc::clone(&store),
            ground.clock.clone(),
        );
        let damage = partitions.damage();
        let core = Core::new(partitions, Arc::clone(&store), Space::Partitions)?;
        let (committer, thread) = commit_to(core, pace, &ground)?;
        let links = links(&ground, &epoch);
        neighbours.set_links(links.clone());
        let (hints, waiting) = liveness::hints();
        neighbours.set_hints(hints.clone());
        let late = Arc::new(LatePeer::new(
            Arc::clone(&policies),
            store,
            Arc::clone(&neighbours),
            Arc::clone(&doubts),
            Arc::clone(&epoch),
        ));
        let parts = authority_parts(&ground, &doubts, &late);
        let authority = workers.spawn_on(0, Authority::start(parts)).await??;
        let authority = Arc::new(authority);
        let peer = Peer::new(
            peer::Identity {
                node: me,
                incarnation,
                raft: ground.identity.raft,
            },
            peer::Parts {
                committer,
                moments,
                damage,
                store: Arc::clone(&ground.store),
                wire: Arc::clone(&neighbours) as Arc<dyn peer::wire::Wire>,
                maps: Arc::clone(authority.keeper()) as Arc<dyn Maps>,
                policies: Arc::clone(&policies) as Arc<dyn Policies>,
                throttle: Throttle::new(ground.repair_rate),
                clock: ground.clock,
            },
        );
        late.set(&peer);
        neighbours.set_roles(&peer, &authority);
        // A map that came before the peer was there is served under from here on; on a full disk
        // that may take a while.
        if let Some(map) = authority.keeper().map() {
            let late = Arc::clone(&late);
            workers.spawn_on(0, async move { late.serve_under(map).await });
        }
        Ok(Roles {
            peer,
            authority,
            links,
            committer: thread,
            epoch,
            neighbours,
            hints,
            waiting,
            policies,
            doubts,
        })
    }
}

/// Starts what commits to the disk: a thread, or a task at a `pace`.
fn commit_to(
    core: Core<Partitions>,
    pace: Option<Pace>,
    ground: &Ground,
) -> Result<Commits, StartError> {
    let figures = Arc::clone(&ground.metrics.commits);
    if let Some(pace) = pace {
        return Ok(Committer::start_task(core, pace, figures));
    }
    let thread = format!("soros-{}-commit", ground.identity.name);
    Committer::start(core, &thread, figures).map_err(StartError::Threads)
}

fn links(ground: &Ground, epoch: &Arc<AtomicU64>) -> Links {
    let identity = network::Identity {
        node: ground.identity.id(),
        incarnation: ground.identity.incarnation,
        cluster: None,
    };
    let events = Arc::clone(&ground.neighbours) as Arc<dyn network::LinkEvents>;
    let _entered = ground.workers.runtime(0).enter();
    Links::new(LinkParts {
        connector: Arc::clone(&ground.connector),
        ..LinkParts::tcp(identity, Arc::clone(epoch), events)
    })
}

fn authority_parts(ground: &Ground, doubts: &Doubts, late: &Arc<LatePeer>) -> authority::Parts {
    authority::Parts {
        identity: ground.identity.clone(),
        entry: ground.entry.clone(),
        first: First {
            name: "soros".to_owned(),
            plugins: ground.plugins.clone(),
        },
        cluster: doubts.cluster(),
        store: Arc::clone(&ground.store),
        wire: Arc::clone(&ground.neighbours) as Arc<dyn authority::wire::Wire>,
        planner: Arc::clone(&ground.policies) as Arc<dyn authority::Planner>,
        plugins: Arc::clone(&ground.policies) as Arc<dyn authority::Plugins>,
        buckets: Arc::clone(late) as Arc<dyn authority::BucketCheck>,
        adopts: Arc::clone(late) as Arc<dyn authority::keeper::Adopts>,
        tries_versions: Arc::clone(late) as Arc<dyn authority::dry_run::TriesVersions>,
        facts: Arc::clone(late) as Arc<dyn authority::LocalFacts>,
        liveness: Arc::clone(&ground.neighbours) as Arc<dyn authority::Liveness>,
        metrics: Arc::clone(&ground.metrics),
    }
}

/// What a node does for its partitions unasked.
fn chores(workers: &Workers, peer: &Arc<Peer>, doubts: &Arc<Doubts>) -> Vec<JoinHandle<()>> {
    let [converging, timing, sweeping] = [peer, peer, peer].map(Arc::clone);
    let resolving = Arc::clone(doubts).resolve(Arc::clone(peer));
    vec![
        workers.spawn_on(0, async move { converging.converge().await }),
        workers.spawn_on(0, async move { timing.keep_time().await }),
        workers.spawn_on(0, async move { sweeping.sweep().await }),
        workers.spawn_on(0, resolving),
    ]
}

fn report(drained: Result<Drained, tokio::task::JoinError>, whose: &str) {
    match drained {
        Ok(drained) => tracing::debug!(?drained, whose, "a listener has ended"),
        Err(error) => tracing::error!(%error, whose, "a listener ended before its time"),
    }
}
