//! This is a run of one seed: a cluster comes up, is used and harmed, is let alone, and must then
//! be as if nothing had been.

use crate::chance;
use crate::clients::{Stage, play};
use crate::ending;
use crate::harm::{Harms, LATENCY_MAX};
use crate::journal::{Journal, Shows};
use crate::node::Machine;
use std::collections::BTreeMap;
use std::fmt::{Display, Formatter};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tracing::subscriber::with_default;
use turmoil::{Builder, Sim};

/// How long the nodes are harmed.
const HARMED: Duration = Duration::from_secs(12);
/// How long a run may take, in simulated time.
const RUN_TIME_MAX: Duration = Duration::from_mins(4);
/// How many pieces of a connection may be on their way; whoever sends more waits.
const SEGMENTS_MAX: usize = 128;
const TICK: Duration = Duration::from_millis(1);

/// How a run is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// Whether the process's randomness comes from the seed; not so, runs differ.
    pub(crate) seeded: bool,
    /// Whether disks lose in a power cut what they said to have, which must be found out.
    pub(crate) lies: bool,
    pub(crate) shows: Shows,
}

/// What came of a run.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) digest: String,
    pub(crate) events: u64,
    pub(crate) written: usize,
    pub(crate) buckets: usize,
    pub(crate) terms: usize,
    pub(crate) answers: BTreeMap<String, u64>,
    pub(crate) harms: BTreeMap<&'static str, u32>,
    pub(crate) faults: Vec<String>,
}

impl Display for Report {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
        let Report {
            digest,
            events,
            written,
            buckets,
            terms,
            answers,
            harms,
            faults,
        } = self;
        writeln!(formatter, "digest {digest}\nevents {events}")?;
        writeln!(
            formatter,
            "values {written}\nbuckets {buckets}\nterms {terms}"
        )?;
        for (name, count) in harms {
            writeln!(formatter, "harm {name} {count}")?;
        }
        for (answer, count) in answers {
            writeln!(formatter, "answered {count} times: {answer}")?;
        }
        faults
            .iter()
            .try_for_each(|fault| writeln!(formatter, "FAULT {fault}"))
    }
}

/// Runs a seed on this thread, which from here on has the simulation's clock and randomness.
pub(crate) fn run(plan: Plan) -> Report {
    if plan.seeded {
        chance::begin(plan.seed);
    } else {
        chance::begin_without_seed();
    }
    let journal = Journal::new(plan.shows);
    let mut report = with_default(journal.clone(), || simulate(plan));
    (report.digest, report.events) = journal.digest();
    report
}

fn simulate(plan: Plan) -> Report {
    // With five nodes none holds all, and most requests are forwarded.
    let count = if plan.seed.is_multiple_of(4) { 5 } else { 3 };
    let names: Vec<String> = (1..=count).map(|node| format!("n{node}")).collect();
    let mut sim = Builder::new()
        .rng_seed(plan.seed)
        .simulation_duration(RUN_TIME_MAX)
        .tick_duration(TICK)
        .tcp_capacity(SEGMENTS_MAX)
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(LATENCY_MAX)
        .enable_random_order()
        .build();
    let machine = |(number, name): (usize, &String)| {
        let seed = plan.seed.wrapping_mul(31).wrapping_add(number as u64);
        Arc::new(Machine::new(name, &names, seed, plan.lies))
    };
    let machines: Vec<_> = names.iter().enumerate().map(machine).collect();
    for machine in &machines {
        let machine = Arc::clone(machine);
        sim.host(machine.name.clone(), move || Arc::clone(&machine).run());
    }
    let stage = Arc::<Stage>::default();
    let on_stage = Arc::clone(&stage);
    sim.client("clients", async move {
        ending::beginning(&names).await;
        on_stage.begun.store(true, Ordering::Relaxed);
        play(&on_stage, &names, plan.seed).await;
        let faults = ending::faults(&on_stage, &names).await;
        on_stage.told().faults.extend(faults);
        Ok(())
    });
    let mut report = drive(&mut sim, &stage, machines, plan.seed);
    let told = std::mem::take(&mut *stage.told());
    report.written = stage.oracle.acknowledged_count();
    report.buckets = told.buckets.len();
    report.terms = told.leaders.len();
    report.answers = told.answers;
    report.faults.extend(told.faults);
    report
}

/// Lets time pass to the end, and harms the nodes for a while.
fn drive(sim: &mut Sim<'_>, stage: &Stage, machines: Vec<Arc<Machine>>, seed: u64) -> Report {
    let mut report = Report::default();
    let mut harms = Harms::new(machines, seed, Duration::ZERO);
    let mut harmed = Duration::ZERO;
    loop {
        match sim.step() {
            Ok(true) => break,
            Ok(false) => {}
            Err(error) => {
                report.faults.push(format!("BROKEN: {error}"));
                break;
            }
        }
        chance::set_elapsed(sim.elapsed());
        if !stage.begun.load(Ordering::Relaxed) || HARMED < harmed {
            continue;
        }
        harmed += TICK;
        if harmed <= HARMED {
            harms.step(sim, harmed);
        } else {
            harms.heal(sim);
            stage.calm.store(true, Ordering::Relaxed);
        }
    }
    report.harms = harms.counts;
    report
}
