//! This is a node of the simulation: the real roles of the host, over a disk in memory that a power
//! cut empties of what was not synced, and over the simulated network.

use crate::chance;
use crate::policies::{self, Plain};
use crate::wire::{Acceptor, Dialler};
use soros_core::id::{ClusterId, Incarnation, NodeName};
use soros_core::map::node::{Identity, Role};
use soros_core::node_clock::Clocks;
use soros_host::app::{DiskNotes, Ground, Listeners, Neighbours, Node};
use soros_host::authority::{Entry, member};
use soros_host::network::{Limits, Workers};
use soros_host::peer::node_clock::{self, NodeClock};
use soros_host::store::Store;
use soros_host::store::commit::Pace;
use soros_host::store::directory::DirectoryError;
use soros_host::store::memory::Memory;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::Notify;

/// The port of a node's listener for clients.
pub(crate) const CLIENT_PORT: u16 = 7070;
const PEER_PORT: u16 = 7071;
/// How far a clock is off at most that nobody harmed.
const DRIFT_MICROS: u64 = 100_000;
/// How many commits a disk loses that lies.
const COMMITS_LOST: u64 = 60;
/// The longest that a commit takes.
const COMMIT_MICROS_MAX: u64 = 4_000;

/// What of a node outlives its process.
pub(crate) struct Machine {
    pub(crate) name: String,
    founders: Vec<String>,
    pub(crate) memory: Memory,
    noted: Arc<Notebook>,
    seed: u64,
    lives: AtomicU64,
    /// How many microseconds its wall clock is ahead.
    ahead: Arc<AtomicI64>,
    /// Whether its disk says that it has what a power cut takes.
    lies: bool,
    /// Tells its process to end.
    pub(crate) stop: Notify,
}

impl Machine {
    /// The machine `name` of those `names`, whose accidents follow from `seed`. A disk that `lies`
    /// loses in a power cut what it said to have.
    pub(crate) fn new(name: &str, names: &[String], seed: u64, lies: bool) -> Machine {
        Machine {
            name: name.to_owned(),
            founders: names.iter().map(|name| peer_address(name)).collect(),
            memory: Memory::new(seed),
            noted: Arc::default(),
            seed,
            lives: AtomicU64::new(0),
            ahead: Arc::new(AtomicI64::new(drift(seed))),
            lies,
            stop: Notify::new(),
        }
    }

    /// Its power goes, and only what is on its disk is left.
    pub(crate) fn cut_power(&self) {
        self.memory.crash();
        if self.lies {
            self.memory.cut(COMMITS_LOST);
        }
    }

    /// Sets the wall clock so far from where it was.
    pub(crate) fn set_clock(&self, by: i64) {
        self.ahead.fetch_add(by, Ordering::Relaxed);
    }

    /// Runs a node until it is told to stop; its process must not end by itself.
    pub(crate) async fn run(self: Arc<Self>) -> turmoil::Result {
        // An earlier process may have ended before it heard.
        tokio::select! {
            biased;
            () = self.stop.notified() => {}
            () = std::future::ready(()) => {}
        }
        let listeners = Listeners {
            client: Acceptor::bind(CLIENT_PORT).await?,
            peer: Acceptor::bind(PEER_PORT).await?,
        };
        let node = Node::start(self.ground().await?, listeners).await?;
        let failure = tokio::select! {
            biased;
            () = self.stop.notified() => None,
            failure = node.failed() => Some(failure),
        };
        let Some(failure) = failure else {
            node.drain().await.stop();
            return Ok(());
        };
        Err(failure.into())
    }

    async fn ground(&self) -> Result<Ground, member::RaftIdError> {
        let life = self.lives.fetch_add(1, Ordering::Relaxed) + 1;
        let store: Arc<dyn Store> = Arc::new(self.memory.clone());
        let identity = Identity {
            name: node_name(&self.name),
            incarnation: Incarnation(u128::from(self.seed) << 64 | u128::from(life)),
            raft: member::raft_id(&store).await?,
            url: format!("http://{}:{CLIENT_PORT}", self.name),
            peer: peer_address(&self.name),
            zone: self.name.clone(),
            capacity: 1 << 30,
            roles: BTreeSet::from([Role::Peer, Role::Authority]),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            format: soros_core::map::format::Format::KNOWN,
        };
        let metrics = Arc::default();
        Ok(Ground {
            identity,
            entry: Entry::Bootstrap(self.founders.clone()),
            plugins: policies::plugins(),
            store,
            sound: true,
            notes: self.noted.clone(),
            policies: Arc::new(Plain),
            neighbours: Arc::new(Neighbours::new(Arc::clone(&metrics))),
            workers: Arc::new(Workers::here()),
            pace: Some(pace(self.seed ^ life)),
            clock: Arc::new(NodeClock::start_on(Box::new(Clock(Arc::clone(
                &self.ahead,
            ))))),
            connector: Arc::new(Dialler),
            limits: Limits {
                date_header: false,
                ..Limits::default()
            },
            peer_connections_max: 64,
            repair_rate: 128 << 20,
            metrics,
        })
    }
}

fn peer_address(name: &str) -> String {
    format!("{name}:{PEER_PORT}")
}

fn node_name(name: &str) -> NodeName {
    name.parse().expect("a node's name")
}

/// How many microseconds a machine's clock is off from the start: well within what may be.
fn drift(seed: u64) -> i64 {
    let (random, _) = chance::next(seed);
    (random % (2 * DRIFT_MICROS)).cast_signed() - DRIFT_MICROS.cast_signed()
}

/// The clocks of a machine, whose wall clock is so far ahead.
struct Clock(Arc<AtomicI64>);

impl node_clock::Machine for Clock {
    fn clocks(&self) -> Clocks {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let wall = micros(wall.unwrap_or_default());
        Clocks {
            wall: wall.saturating_add_signed(self.0.load(Ordering::Relaxed)),
            steady: micros(chance::steady(Instant::now())),
        }
    }
}

/// Commits that take some time each.
fn pace(mut state: u64) -> Pace {
    Box::new(move || {
        let random;
        (random, state) = chance::next(state);
        Duration::from_micros(random % COMMIT_MICROS_MAX)
    })
}

/// What is noted of a machine's disk.
#[derive(Default)]
struct Notebook(Mutex<Page>);

#[derive(Default)]
struct Page {
    is_in_doubt: bool,
    cluster: Option<ClusterId>,
}

impl Notebook {
    fn page(&self) -> MutexGuard<'_, Page> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DiskNotes for Notebook {
    fn is_in_doubt(&self) -> bool {
        self.page().is_in_doubt
    }

    fn is_torn(&self) -> bool {
        false
    }

    fn cluster(&self) -> Option<ClusterId> {
        self.page().cluster
    }

    fn set_in_doubt(&self, is_in_doubt: bool) -> Result<(), DirectoryError> {
        self.page().is_in_doubt = is_in_doubt;
        Ok(())
    }

    fn set_unsynced(&self, _: bool) -> Result<(), DirectoryError> {
        Ok(())
    }

    fn set_cluster(&self, cluster: ClusterId) -> Result<(), DirectoryError> {
        self.page().cluster = Some(cluster);
        Ok(())
    }
}
