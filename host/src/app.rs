//! This is a node: the only place that knows every role. It is built of a configuration, runs, and
//! drains.
//!
//! A node has worker threads with a runtime each. Clients are spread over all of them; what the
//! roles do by themselves runs on the first.

mod calls;
mod components;
mod doubt;
mod health;
mod late;
mod liveness;
mod neighbours;
mod policies;
mod recovery;
mod rehearsal;
mod reports;
mod router;
mod service;
mod shadow;
mod state;
#[cfg(test)]
mod tests;

use crate::authority::{self, Authority, Entry, Failure, First, member};
use crate::config::{Config, ReadyNode, Start, write_ready_file};
use crate::network::{
    self, Drained, Limits, LinkParts, Links, Shares, Shutdown, TcpAcceptor, Trigger, Workers,
    serve_clients, serve_peers, shutdown,
};
use crate::peer::node_clock::NodeClock;
use crate::peer::operation::{Answer, Operation};
use crate::peer::partitions::Partitions;
use crate::peer::throttle::Throttle;
use crate::peer::{self, Maps, Peer};
use crate::plugin::{Compiler, EngineError, Runtime};
use crate::store::commit::{CommitError, Committer, CommitterThread, Core};
use crate::store::components::Components;
use crate::store::directory::{Directory, DirectoryError, Opened};
use crate::store::engine::EngineOptions;
use crate::store::native::NativeCode;
use crate::store::room::{Marks, Permille, Usage};
use crate::store::{Space, Store};
use crate::telemetry::Metrics;
use components::NodeComponents;
use doubt::Doubts;
use late::LatePeer;
use liveness::{Hints, Waiting};
use neighbours::Neighbours;
use policies::{NodePolicies, shipped_plugins};
use recovery::open_directory;
use router::Router;
use service::Service;
use soros_core::map::node::Identity;
use state::{Parts, State};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::task::JoinHandle;

/// How long a node runs before it ends to save what can be read of a damaged table; each further
/// time in the same process twice as long, up to the longest.
const TORN_AFTER: Duration = Duration::from_secs(1);
const TORN_AFTER_MAX: Duration = Duration::from_hours(1);
/// How long what is under way between nodes has to finish when the node stops.
const PEERS_DRAIN_TIME_MAX: Duration = Duration::from_secs(1);

/// Why a node could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its folder cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// A listener could not be bound.
    #[error("cannot listen at {address}: {error}")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// Why.
        error: std::io::Error,
    },
    /// The system gave no thread.
    #[error("the system gave no thread: {0}")]
    Threads(#[source] std::io::Error),
    /// Its partitions could not be read.
    #[error("the partitions cannot be read: {0}")]
    Partitions(#[from] soros_core::record::RecordError),
    /// Its partitions could not be opened.
    #[error("the partitions cannot be opened: {0}")]
    Open(#[from] CommitError),
    /// Its part of the authority could not be started.
    #[error(transparent)]
    Authority(#[from] authority::StartError),
    /// Its member id could not be read.
    #[error(transparent)]
    RaftId(#[from] member::RaftIdError),
    /// A task of the start ended before its time.
    #[error("the start was broken off: {0}")]
    Broken(#[from] tokio::task::JoinError),
}

/// Why a node that ran has ended, when it was not told to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It cannot be part of its cluster.
    #[error(transparent)]
    Failure(#[from] Failure),
    /// The thread that decides and writes died: a bug of ours.
    #[error("the thread that writes to the disk died: start the node again, and report the log")]
    Committer,
    /// A table of its engine cannot be read.
    #[error("a table of the engine is damaged")]
    Torn,
    /// Its folder did not close cleanly; the next start recovers.
    #[error("the data directory did not close cleanly: {0}")]
    Directory(#[source] DirectoryError),
    /// A task of the end was broken off.
    #[error("the end was broken off: {0}")]
    Broken(#[from] tokio::task::JoinError),
}

/// Runs a node until it is told to stop: writes its ready file once it serves, and drains it. When
/// a table of its engine turns out to be damaged, it starts again, which saves what can be read.
///
/// # Errors
/// [`AppError`] when it cannot start or go on.
pub async fn run(config: Config, compiler: Compiler, stop: Shutdown) -> Result<(), AppError> {
    let native = NativeCode::of(&config.dir);
    let runtime = Arc::new(Runtime::new(compiler)?.keeping(native));
    let mut torn_after = TORN_AFTER;
    loop {
        let run = run_once(
            config.clone(),
            Arc::clone(&runtime),
            torn_after,
            stop.clone(),
        );
        match run.await {
            Err(AppError::Run(RunError::Torn)) => {}
            ended => return ended,
        }
        torn_after = (torn_after * 2).min(TORN_AFTER_MAX);
    }
}

async fn run_once(
    config: Config,
    runtime: Arc<Runtime>,
    torn_after: Duration,
    mut stop: Shutdown,
) -> Result<(), AppError> {
    let ready_file = config.ready_file.clone();
    let app = App::start(config, runtime).await?;
    let serves = tokio::select! {
        serves = app.serves() => serves.is_ok(),
        () = stop.wait() => false,
    };
    if let Some(path) = ready_file.filter(|_| serves) {
        let nodes = [app.ready_node().clone()];
        let written = tokio::task::spawn_blocking(move || write_ready_file(&path, &nodes));
        written
            .await
            .map_err(RunError::Broken)?
            .map_err(AppError::ReadyFile)?;
    }
    Ok(app.run(torn_after, stop).await?)
}

/// Why a node did not start, or ended when it was not told to.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// Its policies cannot be run.
    #[error("the sandbox of the policies cannot be made: {0}")]
    Policies(#[from] EngineError),
    /// It could not be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Its ready file could not be written.
    #[error("the ready file cannot be written: {0}")]
    ReadyFile(#[source] std::io::Error),
    /// It ended.
    #[error(transparent)]
    Run(#[from] RunError),
}

impl AppError {
    /// Whether the way it was started makes no sense, whatever the state of the cluster.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        match self {
            AppError::Start(StartError::Directory(error)) => matches!(
                error,
                DirectoryError::Nameless | DirectoryError::OtherName { .. }
            ),
            AppError::Start(_)
            | AppError::Policies(_)
            | AppError::ReadyFile(_)
            | AppError::Run(_) => false,
        }
    }
}

/// A running node.
pub struct App {
    ready: ReadyNode,
    state: Arc<State>,
    workers: Arc<Workers>,
    directory: Directory,
    peer: Arc<Peer>,
    authority: Arc<Authority>,
    links: Links,
    /// Held by whatever speaks to others; here so that it lives as long as the node.
    _neighbours: Arc<Neighbours>,
    committer: CommitterThread<Operation, Answer>,
    stop_clients: Trigger,
    stop_peers: Trigger,
    clients: JoinHandle<Drained>,
    peers: JoinHandle<Drained>,
    own: Vec<JoinHandle<()>>,
}

/// What both listeners of a node are, bound.
struct Listeners {
    client: TcpAcceptor,
    peer: TcpAcceptor,
    url: String,
    peer_address: String,
}

/// What the roles are made of.
struct Ground {
    config: Config,
    identity: Identity,
    store: Arc<dyn Store>,
    sound: bool,
    doubts: Arc<Doubts>,
    policies: Arc<NodePolicies>,
    neighbours: Arc<Neighbours>,
    workers: Arc<Workers>,
    metrics: Arc<Metrics>,
    shares: Shares,
}

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
}

impl App {
    /// Starts a node: opens its folder, binds its listeners, and begins to serve. It knows its
    /// cluster's map at once if its folder does, else once it has found or founded its cluster.
    /// `runtime` runs the policies of all nodes of the process.
    ///
    /// # Errors
    /// [`StartError`]; nothing runs then.
    pub async fn start(config: Config, runtime: Arc<Runtime>) -> Result<App, StartError> {
        let (dir, name) = (config.dir.clone(), config.name.clone());
        let shares = Shares::of_this_process();
        let options = engine_options(&config, shares);
        let opening =
            tokio::task::spawn_blocking(move || open_directory(&dir, name.as_ref(), options));
        let (directory, opened) = opening.await??;
        let thread_name = format!("soros-{}", directory.name());
        let workers = Workers::start(&thread_name, config.workers.get());
        let workers = Arc::new(workers.map_err(StartError::Threads)?);
        let listeners = Listeners::bind(&config, &workers).await?;
        let store: Arc<dyn Store> = directory.store();
        let identity = identity(&config, &directory, &opened, &listeners).await?;
        let metrics = Arc::<Metrics>::default();
        let neighbours = Arc::new(Neighbours::new(Arc::clone(&metrics)));
        let wire = Arc::clone(&neighbours) as Arc<dyn authority::wire::Wire>;
        let disk = Components::of(directory.path());
        let components = NodeComponents::new(identity.id(), runtime, disk, wire);
        let ground = Ground {
            config,
            identity,
            store,
            sound: opened.doubts.is_empty(),
            doubts: Arc::new(Doubts::new(directory.notes())),
            policies: Arc::new(NodePolicies::new(components, Arc::clone(&metrics))),
            neighbours,
            workers: Arc::clone(&workers),
            metrics,
            shares,
        };
        let roles = Roles::start(&ground).await?;
        Ok(App::serve(ground, roles, listeners, directory))
    }

    fn serve(ground: Ground, roles: Roles, listeners: Listeners, directory: Directory) -> App {
        let workers = ground.workers;
        let Roles {
            peer,
            authority,
            links,
            committer,
            epoch,
            neighbours,
            hints,
            waiting,
        } = roles;
        let maps = authority.keeper().subscribe();
        let others = Arc::downgrade(&neighbours);
        let mut own = chores(&workers, &peer, &ground.doubts);
        own.extend(of_policies(&workers, &ground.policies, &authority));
        own.push(workers.spawn_on(
            0,
            liveness::run(ground.identity.id(), others, maps, waiting),
        ));
        let state = Arc::new(State::new(Parts {
            peer: Arc::clone(&peer),
            authority: Arc::clone(&authority),
            policies: ground.policies,
            metrics: Arc::clone(&ground.metrics),
            links: links.clone(),
            store: ground.store,
            notes: ground.doubts.notes().clone(),
        }));
        let (stop_clients, clients_stopped) = shutdown();
        let (stop_peers, peers_stopped) = shutdown();
        let service = Arc::new(Service {
            links: links.clone(),
            peer: Arc::clone(&peer),
            authority: Arc::clone(&authority),
            hints,
            metrics: ground.metrics,
            connections_max: ground.shares.peers,
        });
        let time = PEERS_DRAIN_TIME_MAX;
        let peers = serve_peers(listeners.peer, service, epoch, time, peers_stopped);
        let router = Arc::new(Router::new(Arc::clone(&state), clients_stopped.clone()));
        let (serving, shares) = (Arc::clone(&workers), ground.shares);
        let clients = async move {
            let limits = client_limits(shares);
            serve_clients(listeners.client, &serving, router, limits, clients_stopped).await
        };
        App {
            ready: ReadyNode {
                name: ground.identity.name.to_string(),
                url: listeners.url,
                peer: listeners.peer_address,
            },
            state,
            peers: workers.spawn_on(0, peers),
            clients: workers.spawn_on(0, clients),
            workers,
            directory,
            peer,
            authority,
            links,
            _neighbours: neighbours,
            committer,
            stop_clients,
            stop_peers,
            own,
        }
    }

    /// Where the node is reached.
    #[must_use]
    pub fn ready_node(&self) -> &ReadyNode {
        &self.ready
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

    /// Runs until `stop` is said, or the node cannot go on; then drains and ends. It runs for
    /// `torn_after` at least before it ends for a damaged table.
    ///
    /// # Errors
    /// [`RunError`] when it ended by itself or not cleanly.
    pub async fn run(self, torn_after: Duration, mut stop: Shutdown) -> Result<(), RunError> {
        let failure: Option<RunError> = tokio::select! {
            () = stop.wait() => None,
            failure = self.authority.failed() => Some(failure.into()),
            () = self.committer_died() => Some(RunError::Committer),
            () = self.torn(torn_after) => Some(RunError::Torn),
        };
        let drained = self.drain().await;
        failure.map_or(drained, Err)
    }

    /// Waits until the committer's thread has died: the node could not write any more, and only a
    /// new start helps.
    async fn committer_died(&self) {
        const STEP: Duration = Duration::from_secs(1);
        while !self.committer.has_died() {
            tokio::time::sleep(STEP).await;
        }
    }

    /// Waits until a table of the engine is known to be damaged, that is noted for the next start,
    /// and what that will do about it is possible. Until then the node goes on as it can.
    async fn torn(&self, torn_after: Duration) {
        const STEP: Duration = Duration::from_secs(1);
        let (engine, notes) = (self.directory.store(), self.directory.notes());
        let mut told = false;
        tokio::time::sleep(torn_after).await;
        loop {
            if !notes.is_torn() && (engine.is_torn() || self.peer.is_damaged_for_good()) {
                let said = notes.clone();
                let saying = tokio::task::spawn_blocking(move || said.note_torn());
                if let Ok(Err(error)) = saying.await {
                    tracing::warn!(%error, "a damaged table is not noted yet");
                }
            }
            if notes.is_torn() {
                match self.directory.check_salvage() {
                    Ok(()) => break,
                    Err(error) if !std::mem::replace(&mut told, true) => {
                        tracing::error!(%error, "the node goes on with a damaged table as it can");
                    }
                    Err(_) => {}
                }
            }
            tokio::time::sleep(STEP).await;
        }
        tracing::error!(
            "a table of the engine is damaged: the node starts again, to save what can be read"
        );
    }

    /// Clients first, then what nodes do for each other, then the disk.
    async fn drain(self) -> Result<(), RunError> {
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
        let (committer, directory, workers) = (self.committer, self.directory, self.workers);
        let closing = tokio::task::spawn_blocking(move || {
            if let Err(error) = committer.stop() {
                tracing::error!(%error, "the committer did not end cleanly");
            }
            if let Some(workers) = Arc::into_inner(workers) {
                workers.stop();
            }
            directory.close()
        });
        closing.await?.map_err(RunError::Directory)
    }
}

impl Listeners {
    async fn bind(config: &Config, workers: &Workers) -> Result<Listeners, StartError> {
        let (client, client_at) = bind(config.listen, workers).await?;
        let (peer, peer_at) = bind(config.peer, workers).await?;
        Ok(Listeners {
            client,
            peer,
            url: config.advertised_url(client_at).to_string(),
            peer_address: config.advertised_peer(peer_at).to_string(),
        })
    }
}

async fn bind(
    address: SocketAddr,
    workers: &Workers,
) -> Result<(TcpAcceptor, SocketAddr), StartError> {
    let failed = |error| StartError::Bind { address, error };
    let bound = workers.spawn_on(0, TcpAcceptor::bind(address)).await?;
    let acceptor = bound.map_err(failed)?;
    let address = acceptor.address().map_err(failed)?;
    Ok((acceptor, address))
}

async fn identity(
    config: &Config,
    directory: &Directory,
    opened: &Opened,
    listeners: &Listeners,
) -> Result<Identity, StartError> {
    let store: Arc<dyn Store> = directory.store();
    if directory.is_vote_lost() {
        member::after_a_loss(&store, &directory.name()).await?;
        directory.notes().resolve_vote()?;
    }
    Ok(Identity {
        name: directory.name(),
        incarnation: opened.incarnation,
        raft: member::raft_id(&store).await?,
        url: listeners.url.clone(),
        peer: listeners.peer_address.clone(),
        zone: config.zone.clone(),
        capacity: capacity(config),
        roles: config.roles.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    })
}

/// What the engine is opened with, on the disk and with the marks that the node was given.
fn engine_options(config: &Config, shares: Shares) -> EngineOptions {
    EngineOptions {
        open_files: shares.files as usize,
        marks: Marks {
            high: Permille::of_fraction(config.disk.high),
            capacity: config.capacity,
        },
        ..EngineOptions::for_disk(capacity(config))
    }
}

/// What a node may hold: its capacity, or its file system if that is less or the only one known.
fn capacity(config: &Config) -> u64 {
    // The folder may not be there yet; then the file system is that of the next one above it.
    let path = std::path::absolute(&config.dir).unwrap_or_else(|_| config.dir.clone());
    let usage = path
        .ancestors()
        .find_map(|folder| Usage::of_file_system(folder).ok());
    let disk = usage.map_or(u64::MAX, |usage| usage.size);
    config.capacity.map_or(disk, |capacity| capacity.min(disk))
}

fn client_limits(shares: Shares) -> Limits {
    Limits {
        connections_max: shares.clients,
        refusals_max: shares.refusals,
        ..Limits::default()
    }
}

impl Roles {
    async fn start(ground: &Ground) -> Result<Roles, StartError> {
        let Ground {
            identity,
            store,
            neighbours,
            workers,
            ..
        } = ground;
        let neighbours = Arc::clone(neighbours);
        let (me, epoch) = (identity.id(), Arc::new(AtomicU64::new(0)));
        let (clock, actor) = (Arc::new(NodeClock::start()), (me, identity.incarnation));
        let (partitions, moments) =
            Partitions::new(actor, ground.sound, Arc::clone(store), clock.clone());
        let damage = partitions.damage();
        let core = Core::new(partitions, Arc::clone(store), Space::Partitions)?;
        let thread = format!("soros-{}-commit", identity.name);
        let started = Committer::start(core, &thread, Arc::clone(&ground.metrics.commits));
        let (committer, thread) = started.map_err(StartError::Threads)?;
        let links = links(ground, &neighbours, &epoch);
        neighbours.set_links(links.clone());
        let (hints, waiting) = liveness::hints();
        neighbours.set_hints(hints.clone());
        let late = LatePeer::new(
            Arc::clone(&ground.policies),
            Arc::clone(store),
            Arc::clone(&neighbours),
            Arc::clone(&ground.doubts),
            Arc::clone(&epoch),
        );
        let late = Arc::new(late);
        let parts = authority_parts(ground, &neighbours, &late);
        let authority = workers.spawn_on(0, Authority::start(parts)).await??;
        let authority = Arc::new(authority);
        let peer = Peer::new(
            peer::Identity {
                node: me,
                incarnation: identity.incarnation,
                raft: identity.raft,
            },
            peer::Parts {
                committer,
                moments,
                damage,
                store: Arc::clone(store),
                wire: Arc::clone(&neighbours) as Arc<dyn peer::wire::Wire>,
                maps: Arc::clone(authority.keeper()) as Arc<dyn Maps>,
                policies: Arc::clone(&ground.policies) as Arc<dyn peer::Policies>,
                throttle: Throttle::new(ground.config.repair.rate),
                clock,
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
        })
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

/// What a node does with what its policies show.
fn of_policies(
    workers: &Workers,
    policies: &NodePolicies,
    authority: &Arc<Authority>,
) -> Vec<JoinHandle<()>> {
    let reported = policies.take_reported();
    let telling = reported.map(|reported| reports::run(Arc::clone(authority), reported));
    let shadowed = policies.take_shadowed().map(shadow::run);
    let telling = telling.map(|telling| workers.spawn_on(0, telling));
    let comparing = shadowed.map(|shadowed| workers.spawn_on(0, shadowed));
    telling.into_iter().chain(comparing).collect()
}

fn links(ground: &Ground, neighbours: &Arc<Neighbours>, epoch: &Arc<AtomicU64>) -> Links {
    let identity = network::Identity {
        node: ground.identity.id(),
        incarnation: ground.identity.incarnation,
        cluster: None,
    };
    let events = Arc::clone(neighbours) as Arc<dyn network::LinkEvents>;
    let runtime = ground.workers.runtime(0);
    let _entered = runtime.enter();
    Links::new(LinkParts::tcp(identity, Arc::clone(epoch), events))
}

fn authority_parts(
    ground: &Ground,
    neighbours: &Arc<Neighbours>,
    late: &Arc<LatePeer>,
) -> authority::Parts {
    let entry = match &ground.config.start {
        Start::Bootstrap(founders) => {
            Entry::Bootstrap(founders.iter().map(ToString::to_string).collect())
        }
        Start::Join(member) => Entry::Join(member.to_string()),
        Start::Known => Entry::Known,
    };
    authority::Parts {
        identity: ground.identity.clone(),
        entry,
        first: First {
            name: "soros".to_owned(),
            plugins: shipped_plugins(),
        },
        cluster: ground.doubts.notes().cluster(),
        store: Arc::clone(&ground.store),
        wire: Arc::clone(neighbours) as Arc<dyn authority::wire::Wire>,
        planner: Arc::clone(&ground.policies) as Arc<dyn authority::Planner>,
        plugins: Arc::clone(&ground.policies) as Arc<dyn authority::Plugins>,
        buckets: Arc::clone(late) as Arc<dyn authority::BucketCheck>,
        adopts: Arc::clone(late) as Arc<dyn authority::keeper::Adopts>,
        rehearses: Arc::clone(late) as Arc<dyn authority::rehearsal::Rehearses>,
        facts: Arc::clone(late) as Arc<dyn authority::LocalFacts>,
        liveness: Arc::clone(neighbours) as Arc<dyn authority::Liveness>,
        metrics: Arc::clone(&ground.metrics),
    }
}

fn report(drained: Result<Drained, tokio::task::JoinError>, whose: &str) {
    match drained {
        Ok(drained) => tracing::debug!(?drained, whose, "a listener has ended"),
        Err(error) => tracing::error!(%error, whose, "a listener ended before its time"),
    }
}
