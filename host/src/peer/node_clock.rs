//! This is a node's clock on its machine: the clocks of the core's machine are read here, and what
//! it finds out about itself goes to the log.

use soros_core::id::NodeId;
use soros_core::node_clock::{self, Clocks, Effect, Event};
use soros_core::skew::{Judgement, Skew};
use soros_core::time::Time;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// Where a node's clock reads those of its machine.
pub trait Machine: Send + Sync + 'static {
    /// What both say now.
    fn clocks(&self) -> Clocks;
}

/// The clocks of this machine.
struct System {
    since: Instant,
}

/// Two readings of the steady clock that are further apart than this do not say when the wall clock
/// was read between them.
const READ_WITHIN: Duration = Duration::from_millis(1);
/// How often the wall clock is read anew at most for that.
const READINGS_MAX: usize = 8;

impl Machine for System {
    fn clocks(&self) -> Clocks {
        let mut clocks = self.read();
        for _ in 1..READINGS_MAX {
            if clocks.1 <= READ_WITHIN {
                break;
            }
            clocks = self.read();
        }
        clocks.0
    }
}

impl System {
    /// What both clocks say, and how long it took to find out.
    fn read(&self) -> (Clocks, Duration) {
        let before = self.since.elapsed();
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let took = self.since.elapsed().saturating_sub(before);
        let clocks = Clocks {
            wall: micros(wall.unwrap_or_default()),
            steady: micros(before + took / 2),
        };
        (clocks, took)
    }
}

/// How far a clock may be off before the first map says so.
const SKEW_MAX_AT_START: Duration = Duration::from_millis(500);

/// A node's clock.
pub struct NodeClock {
    machine: Box<dyn Machine>,
    clock: Mutex<node_clock::NodeClock>,
    /// How far it may be off, in microseconds.
    skew_max: AtomicU64,
    /// Whether the other nodes were asked: every request looks here.
    settled: AtomicBool,
}

impl NodeClock {
    /// A clock that starts at the time of this machine's wall clock.
    #[must_use]
    pub fn start() -> NodeClock {
        let since = Instant::now();
        NodeClock::start_on(Box::new(System { since }))
    }

    /// A clock that starts at the time of `machine`'s wall clock.
    #[must_use]
    pub fn start_on(machine: Box<dyn Machine>) -> NodeClock {
        let clock = node_clock::NodeClock::start(machine.clocks());
        NodeClock {
            machine,
            clock: Mutex::new(clock),
            skew_max: AtomicU64::new(micros(SKEW_MAX_AT_START)),
            settled: AtomicBool::new(false),
        }
    }

    /// From here on it may be off by as much as `skew_max`.
    pub fn set_skew_max(&self, skew_max: Duration) {
        self.skew_max.store(micros(skew_max), Ordering::Relaxed);
    }

    /// A moment after `seen` and, but for what stood too far ahead, after every one given before.
    ///
    /// # Errors
    /// How far the clock is off, when it must not be believed.
    pub fn tick(&self, seen: Time) -> Result<Time, Skew> {
        self.with(|clock, now, skew_max| clock.tick(now, seen, skew_max))
    }

    /// Moves on to a `time` heard from another node, as far as may be.
    pub fn observe(&self, time: Time) {
        self.with(|clock, now, skew_max| clock.observe(now, time, skew_max));
    }

    /// Whether it may be believed.
    ///
    /// # Errors
    /// How far it is off, when not.
    pub fn check(&self) -> Result<(), Skew> {
        self.locked().check()
    }

    /// Whether the other nodes were asked at least once.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Acquire)
    }

    /// What the other nodes' clocks say of it.
    #[must_use]
    pub fn judgement(&self) -> Judgement {
        self.locked().judgement()
    }

    /// What the clocks of its machine say.
    #[must_use]
    pub fn machine(&self) -> Clocks {
        self.machine.clocks()
    }

    /// A `peer` that was asked when the steady clock said `asked` says that its wall clock says
    /// `theirs`.
    pub fn told(&self, peer: NodeId, asked: u64, theirs: u64) {
        self.step(Event::Told {
            peer,
            asked,
            theirs,
        });
    }

    /// All `peers` were asked, and have answered or had the time to.
    pub fn asked(&self, peers: BTreeSet<NodeId>) {
        self.step(Event::Asked(peers));
        self.settled.store(true, Ordering::Release);
    }

    fn step(&self, event: Event) {
        let effects = self.with(|clock, now, skew_max| clock.step(event, now, skew_max));
        for effect in effects {
            match effect {
                Effect::Refuses(skew) => tracing::error!(
                    "this node refuses writes: its clock is {skew}; set the machine's clock right, \
                     and the node follows it"
                ),
                Effect::Serves => {
                    tracing::info!(
                        "this node takes writes again: its clock agrees with its peers'"
                    );
                }
                Effect::Divided(skew) => tracing::warn!(
                    "this node's clock is {skew}, and there is no majority to say which is wrong: \
                     it goes on; set the machines' clocks right"
                ),
                Effect::Followed(by) => tracing::warn!(
                    by_ms = by / 1_000,
                    "this node's clock was moved to the machine's, which its peers' agree with"
                ),
            }
        }
    }

    fn with<T>(&self, change: impl FnOnce(&mut node_clock::NodeClock, Clocks, u64) -> T) -> T {
        let skew_max = self.skew_max.load(Ordering::Relaxed);
        change(&mut self.locked(), self.machine.clocks(), skew_max)
    }

    /// The core's machine. A thread that panicked here left it as it was: moments only ever grow.
    fn locked(&self) -> std::sync::MutexGuard<'_, node_clock::NodeClock> {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
