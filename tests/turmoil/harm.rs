//! This is what goes wrong in a run: what the seed does to the network between the nodes, to their
//! processes and to their disks, and how all of it ends.

use crate::chance;
use crate::node::Machine;
use soros_host::store::memory::Fault;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use turmoil::Sim;

/// How long a message takes at most, and where the way is slow.
pub(crate) const LATENCY_MAX: Duration = Duration::from_millis(8);
const SLOW: Duration = Duration::from_millis(700);
/// How far a clock is ahead that was set wrong.
const AHEAD_MICROS: i64 = 600_000_000;

/// One harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Harm {
    /// Nothing passes between two nodes, and new connections are refused.
    Cut(usize, usize),
    /// Nothing passes from one node to another.
    CutOneWay(usize, usize),
    /// Nothing passes between two nodes, until all of it does.
    Hold(usize, usize),
    /// What passes between two nodes takes long.
    Slow(usize, usize),
    /// A node reaches no other.
    Isolate(usize),
    /// A node's power goes, and comes back; its connections are reset.
    Crash(usize),
    /// As that, but nobody is told.
    Dark(usize),
    /// That of all nodes does.
    CrashAll,
    /// A node is told to stop, and started again.
    Stop(usize),
    /// The disk of a node fails once.
    Break(usize),
    /// A node's wall clock is far ahead.
    Ahead(usize),
}

/// What each harm is called.
pub(crate) const NAMES: [&str; 11] = [
    "cut",
    "one-way",
    "hold",
    "slow",
    "isolate",
    "crash",
    "dark",
    "crash-all",
    "stop",
    "disk",
    "clock",
];

impl Harm {
    fn name(self) -> &'static str {
        match self {
            Harm::Cut(..) => "cut",
            Harm::CutOneWay(..) => "one-way",
            Harm::Hold(..) => "hold",
            Harm::Slow(..) => "slow",
            Harm::Isolate(_) => "isolate",
            Harm::Crash(_) => "crash",
            Harm::Dark(_) => "dark",
            Harm::CrashAll => "crash-all",
            Harm::Stop(_) => "stop",
            Harm::Break(_) => "disk",
            Harm::Ahead(_) => "clock",
        }
    }
}

/// The harms of a run.
pub(crate) struct Harms {
    machines: Vec<Arc<Machine>>,
    random: u64,
    next: Duration,
    /// Those that go on, and when they end.
    active: Vec<(Duration, Harm)>,
    /// How often each happened.
    pub(crate) counts: BTreeMap<&'static str, u32>,
}

impl Harms {
    /// What `seed` does to `machines`; the first harm comes soon after `from`.
    pub(crate) fn new(machines: Vec<Arc<Machine>>, seed: u64, from: Duration) -> Harms {
        Harms {
            machines,
            random: seed,
            next: from,
            active: Vec::new(),
            counts: BTreeMap::new(),
        }
    }

    /// Begins and ends what is due at `now`.
    pub(crate) fn step(&mut self, sim: &mut Sim<'_>, now: Duration) {
        let due = self.active.extract_if(.., |(until, _)| *until <= now);
        for (_, harm) in due.collect::<Vec<_>>() {
            self.end(sim, harm);
        }
        if self.next <= now {
            self.next = now + Duration::from_millis(200 + self.below(1_800));
            let harm = self.draw();
            if !self.overlaps(harm) {
                let lasts = Duration::from_millis(50 + self.below(5_000));
                self.begin(sim, harm);
                self.active.push((now + lasts, harm));
            }
        }
    }

    /// Ends all.
    pub(crate) fn heal(&mut self, sim: &mut Sim<'_>) {
        for (_, harm) in std::mem::take(&mut self.active) {
            self.end(sim, harm);
        }
    }

    fn below(&mut self, limit: u64) -> u64 {
        let random;
        (random, self.random) = chance::next(self.random);
        random % limit
    }

    fn node(&mut self) -> usize {
        let count = self.machines.len() as u64;
        usize::try_from(self.below(count)).unwrap_or(0)
    }

    fn draw(&mut self) -> Harm {
        let a = self.node();
        let b = (a + 1 + self.node() % (self.machines.len() - 1)) % self.machines.len();
        match self.below(24) {
            0..=3 => Harm::Cut(a, b),
            4..=6 => Harm::CutOneWay(a, b),
            7..=9 => Harm::Hold(a, b),
            10..=11 => Harm::Slow(a, b),
            12..=13 => Harm::Isolate(a),
            14..=15 => Harm::Crash(a),
            16 => Harm::Dark(a),
            17 => Harm::CrashAll,
            18..=19 => Harm::Stop(a),
            20..=21 => Harm::Ahead(a),
            _ => Harm::Break(a),
        }
    }

    /// The pairs of nodes between which a harm acts.
    fn ways(&self, harm: Harm) -> Vec<(usize, usize)> {
        let all = 0..self.machines.len();
        match harm {
            Harm::Cut(a, b) | Harm::CutOneWay(a, b) | Harm::Hold(a, b) | Harm::Slow(a, b) => {
                vec![(a.min(b), a.max(b))]
            }
            Harm::Isolate(a) | Harm::Dark(a) => {
                let others = all.filter(|b| *b != a);
                others.map(|b| (a.min(b), a.max(b))).collect()
            }
            Harm::Crash(_) | Harm::CrashAll | Harm::Stop(_) | Harm::Break(_) | Harm::Ahead(_) => {
                Vec::new()
            }
        }
    }

    /// Whether `harm` would meet another that goes on at the same place.
    fn overlaps(&self, harm: Harm) -> bool {
        let ways = self.ways(harm);
        let crashes = |harm: Harm| match harm {
            Harm::Crash(_) | Harm::Dark(_) | Harm::CrashAll | Harm::Stop(_) => true,
            Harm::Cut(..)
            | Harm::CutOneWay(..)
            | Harm::Hold(..)
            | Harm::Slow(..)
            | Harm::Isolate(_)
            | Harm::Break(_)
            | Harm::Ahead(_) => false,
        };
        self.active.iter().any(|(_, active)| {
            self.ways(*active).iter().any(|way| ways.contains(way))
                || (crashes(harm) && crashes(*active))
                || *active == harm
        })
    }

    fn name(&self, node: usize) -> &str {
        &self.machines[node].name
    }

    fn crash(&self, sim: &mut Sim<'_>, node: usize) {
        sim.crash(self.name(node));
        self.machines[node].cut_power();
    }

    fn isolate(&self, sim: &mut Sim<'_>, harm: Harm) {
        for (a, b) in self.ways(harm) {
            sim.partition(self.name(a), self.name(b));
        }
    }

    fn reunite(&self, sim: &mut Sim<'_>, harm: Harm) {
        for (a, b) in self.ways(harm) {
            sim.repair(self.name(a), self.name(b));
        }
    }

    fn begin(&mut self, sim: &mut Sim<'_>, harm: Harm) {
        tracing::info!(target: "soros_harm", "{harm:?} begins");
        *self.counts.entry(harm.name()).or_default() += 1;
        match harm {
            Harm::Cut(a, b) => sim.partition(self.name(a), self.name(b)),
            Harm::CutOneWay(a, b) => sim.partition_oneway(self.name(a), self.name(b)),
            Harm::Hold(a, b) => sim.hold(self.name(a), self.name(b)),
            Harm::Slow(a, b) => {
                sim.set_link_max_message_latency(self.name(a), self.name(b), SLOW);
            }
            Harm::Isolate(_) => self.isolate(sim, harm),
            Harm::Dark(a) => {
                self.isolate(sim, harm);
                self.crash(sim, a);
            }
            Harm::Crash(a) => self.crash(sim, a),
            Harm::CrashAll => (0..self.machines.len()).for_each(|node| self.crash(sim, node)),
            Harm::Stop(a) => self.machines[a].stop.notify_one(),
            Harm::Break(a) => self.machines[a].memory.fail_next(Fault::Broken),
            Harm::Ahead(a) => self.machines[a].set_clock(AHEAD_MICROS),
        }
    }

    fn end(&self, sim: &mut Sim<'_>, harm: Harm) {
        tracing::info!(target: "soros_harm", "{harm:?} ends");
        match harm {
            Harm::Cut(a, b) => sim.repair(self.name(a), self.name(b)),
            Harm::CutOneWay(a, b) => sim.repair_oneway(self.name(a), self.name(b)),
            Harm::Hold(a, b) => sim.release(self.name(a), self.name(b)),
            Harm::Slow(a, b) => {
                sim.set_link_max_message_latency(self.name(a), self.name(b), LATENCY_MAX);
            }
            Harm::Isolate(_) => self.reunite(sim, harm),
            Harm::Dark(a) => {
                self.reunite(sim, harm);
                sim.bounce(self.name(a));
            }
            Harm::Crash(a) | Harm::Stop(a) => sim.bounce(self.name(a)),
            Harm::Ahead(a) => self.machines[a].set_clock(-AHEAD_MICROS),
            Harm::CrashAll => {
                (0..self.machines.len()).for_each(|node| sim.bounce(self.name(node)));
            }
            Harm::Break(_) => {}
        }
    }
}
