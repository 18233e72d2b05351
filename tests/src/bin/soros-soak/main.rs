//! This is a cluster that is harmed for hours: `soros-soak [MINUTES [SEED]]` (10 and the time).
//! Each harm hits one node under load; the next waits until all are at full strength again. It
//! ends with an error when an acknowledged write is lost, a read is old, replicas differ, or a
//! node's memory, files or disk grow without end. It takes a release build, as `cargo build
//! --release --workspace` makes it, or a debug one, which is slow.

mod harm;
mod usage;

use harm::Harms;
use soros_tests::cluster::Cluster;
use soros_tests::load::{Load, faults};
use soros_tests::register::Register;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use usage::Usage;

const CLIENTS: usize = 4;
const WRITES: usize = 200;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>());
    let (Ok(minutes), Ok(seed)) = (
        arguments.next().unwrap_or(Ok(10)),
        arguments.next().unwrap_or_else(|| Ok(now())),
    ) else {
        tell("soros-soak [MINUTES [SEED]]: both are whole numbers");
        return ExitCode::from(2);
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let length = Duration::from_mins(minutes);
    let found = runtime.expect("a runtime").block_on(soak(length, seed));
    for fault in &found {
        tell(&format!("FAULT {fault}"));
    }
    tell(&format!("{} faults; the seed was {seed}", found.len()));
    ExitCode::from(u8::from(!found.is_empty()))
}

/// Harms a cluster for so long, and says what is wrong with it then.
async fn soak(length: Duration, seed: u64) -> Vec<String> {
    let mut cluster = Cluster::start_on_network(3).await;
    Load::prepare(&cluster).await;
    let (begun, mut harms, mut usages) = (Instant::now(), Harms::of_seed(seed), Vec::new());
    let (mut oracle, mut found, mut stale) = (Arc::default(), Vec::new(), Vec::new());
    while begun.elapsed() < length && found.is_empty() {
        let load = Load::go_on(&cluster, &[0, 1, 2], CLIENTS, oracle);
        let register = Register::start(&cluster, 1, &[0, 1, 2]);
        load.progress(WRITES).await;
        let harm = harms.next(&mut cluster, &load).await;
        load.progress(WRITES).await;
        for node in 0..cluster.count() {
            cluster.wait_ready(node).await;
        }
        let watched = register.stop().await;
        stale.extend(watched.stale);
        let (tallies, known) = load.stop().await;
        found = faults(&cluster, &known).await;
        let usage = Usage::of(&cluster);
        let done: u64 = tallies.values().map(|tally| tally.done).sum();
        tell(&format!(
            "{:>5} s: {harm}; {done} requests done, {} reads watched, {usage}",
            begun.elapsed().as_secs(),
            watched.reads,
        ));
        usages.push(usage);
        oracle = known;
    }
    found.extend(stale.into_iter().map(|stale| format!("STALE {stale}")));
    found.extend(usage::growth(&usages));
    tell(&format!("{} harms: {}", usages.len(), harms.counts()));
    found
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// Says something at once.
fn tell(line: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    let said = writeln!(out, "{line}").and_then(|()| out.flush());
    said.expect("standard output takes it");
}
