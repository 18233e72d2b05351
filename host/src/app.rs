//! This is a node: the only place that knows every role. It is built of a configuration, runs, and
//! drains.
//!
//! A node has worker threads with a runtime each. Clients are spread over all of them; what the
//! roles do by themselves runs on the first.

mod calls;
mod components;
mod doubt;
mod dry_run;
mod health;
mod late;
mod liveness;
mod neighbours;
mod node;
mod policies;
mod recovery;
mod reports;
mod router;
mod service;
mod shadow;
mod state;
#[cfg(test)]
mod tests;

pub use doubt::DiskNotes;
pub use neighbours::Neighbours;
pub use node::{Ground, Listeners, Node, RunsPolicies, Stopping};

use crate::authority::{self, Entry, Failure, member};
use crate::config::{Config, ReadyNode, Start, write_ready_file};
use crate::network::{Limits, Shares, Shutdown, TcpAcceptor, TcpConnector, Workers};
use crate::peer::node_clock::NodeClock;
use crate::plugin::{Compiler, EngineError, Runtime};
use crate::store::Store;
use crate::store::commit::CommitError;
use crate::store::components::Components;
use crate::store::directory::{Directory, DirectoryError, Opened};
use crate::store::engine::EngineOptions;
use crate::store::native::NativeCode;
use crate::store::room::{Marks, Permille, Usage};
use crate::telemetry::Metrics;
use components::NodeComponents;
use policies::{NodePolicies, shipped_plugins};
use recovery::open_directory;
use soros_core::map::format::Format;
use soros_core::map::node::Identity;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

/// How long a node runs before it ends to save what can be read of a damaged table; each further
/// time in the same process twice as long, up to the longest.
const TORN_AFTER: Duration = Duration::from_secs(1);
const TORN_AFTER_MAX: Duration = Duration::from_hours(1);

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
    stop: Shutdown,
) -> Result<(), AppError> {
    let ready_file = config.ready_file.clone();
    let app = App::start(config, runtime).await?;
    let ended = {
        let mut ended = pin!(app.ended(torn_after, stop));
        tokio::select! {
            ended = &mut ended => ended,
            announced = announce(&app, ready_file) => {
                announced?;
                ended.await
            }
        }
    };
    Ok(app.end(ended).await?)
}

/// Writes the ready file once the node serves. Why it never does, its end tells.
async fn announce(app: &App, ready_file: Option<PathBuf>) -> Result<(), AppError> {
    let serves = app.serves().await.is_ok();
    let Some(path) = ready_file.filter(|_| serves) else {
        return Ok(());
    };
    let nodes = [app.ready_node().clone()];
    let written = tokio::task::spawn_blocking(move || write_ready_file(&path, &nodes));
    let written = written.await.map_err(RunError::Broken)?;
    written.map_err(AppError::ReadyFile)
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

/// A node on this machine.
pub struct App {
    ready: ReadyNode,
    node: Node,
    directory: Directory,
}

/// Where a node is reached.
struct Addresses {
    url: String,
    peer: String,
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
        let shares = Shares::of_this_process(config.nodes_here);
        let options = engine_options(&config, shares);
        let opening =
            tokio::task::spawn_blocking(move || open_directory(&dir, name.as_ref(), options));
        let (directory, opened) = opening.await??;
        let thread_name = format!("soros-{}", directory.name());
        let workers = Workers::start(&thread_name, config.workers.get());
        let workers = Arc::new(workers.map_err(StartError::Threads)?);
        let (listeners, addresses) = bind_both(&config, &workers).await?;
        let identity = identity(&config, &directory, &opened, &addresses).await?;
        let metrics = Arc::<Metrics>::default();
        let neighbours = Arc::new(Neighbours::new(Arc::clone(&metrics)));
        let wire = Arc::clone(&neighbours) as Arc<dyn authority::wire::Wire>;
        let disk = Components::of(directory.path());
        let components = NodeComponents::new(identity.id(), runtime, disk, wire);
        let ready = ReadyNode {
            name: identity.name.to_string(),
            url: addresses.url,
            peer: addresses.peer,
        };
        let ground = Ground {
            identity,
            entry: entry(&config.start),
            plugins: shipped_plugins(),
            store: directory.store(),
            sound: opened.doubts.is_empty(),
            notes: Arc::new(directory.notes()),
            policies: Arc::new(NodePolicies::new(components, Arc::clone(&metrics))),
            neighbours,
            workers,
            pace: None,
            clock: Arc::new(NodeClock::start()),
            connector: Arc::new(TcpConnector),
            limits: client_limits(shares),
            peer_connections_max: shares.peers,
            repair_rate: config.repair.rate,
            metrics,
        };
        let node = Node::start(ground, listeners).await?;
        Ok(App {
            ready,
            node,
            directory,
        })
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
        self.node.serves().await
    }

    /// Waits until `stop` is said, or the node cannot go on. It runs for `torn_after` at least
    /// before it ends for a damaged table, whether it serves or not.
    ///
    /// # Errors
    /// [`RunError`] when it is to end by itself.
    pub async fn ended(&self, torn_after: Duration, mut stop: Shutdown) -> Result<(), RunError> {
        tokio::select! {
            () = stop.wait() => Ok(()),
            failure = self.node.failed() => Err(failure),
            () = self.torn(torn_after) => Err(RunError::Torn),
        }
    }

    /// Drains the node, that has `ended`.
    ///
    /// # Errors
    /// [`RunError`] when it ended by itself or not cleanly.
    pub async fn end(self, ended: Result<(), RunError>) -> Result<(), RunError> {
        let drained = self.drain().await;
        ended.and(drained)
    }

    /// Waits until a table of the engine is known to be damaged, that is noted for the next start,
    /// and what that will do about it is possible. Until then the node goes on as it can.
    async fn torn(&self, torn_after: Duration) {
        const STEP: Duration = Duration::from_secs(1);
        let (engine, notes) = (self.directory.store(), self.directory.notes());
        let mut told = false;
        tokio::time::sleep(torn_after).await;
        loop {
            if !notes.is_torn() && (engine.is_torn() || self.node.is_damaged_for_good()) {
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

    /// The roles first, then the disk.
    async fn drain(self) -> Result<(), RunError> {
        let (stopping, directory) = (self.node.drain().await, self.directory);
        let closing = tokio::task::spawn_blocking(move || {
            stopping.stop();
            directory.close()
        });
        closing.await?.map_err(RunError::Directory)
    }
}

async fn bind_both(
    config: &Config,
    workers: &Workers,
) -> Result<(Listeners<TcpAcceptor>, Addresses), StartError> {
    let (client, client_at) = bind(config.listen, workers).await?;
    let (peer, peer_at) = bind(config.peer, workers).await?;
    let addresses = Addresses {
        url: config.advertised_url(client_at).to_string(),
        peer: config.advertised_peer(peer_at).to_string(),
    };
    Ok((Listeners { client, peer }, addresses))
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
    addresses: &Addresses,
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
        url: addresses.url.clone(),
        peer: addresses.peer.clone(),
        zone: config.zone.clone(),
        capacity: capacity(config),
        roles: config.roles.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        format: Format::KNOWN,
    })
}

fn entry(start: &Start) -> Entry {
    match start {
        Start::Bootstrap(founders) => {
            Entry::Bootstrap(founders.iter().map(ToString::to_string).collect())
        }
        Start::Join(member) => Entry::Join(member.to_string()),
        Start::Known => Entry::Known,
    }
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
