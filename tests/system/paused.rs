//! This is a process that the system does not let run for a while, as a machine that swaps or is
//! moved does: it goes on as if nothing had been, and must not answer from then.

use rustix::process::Signal;
use soros_tests::cluster::Cluster;
use soros_tests::load::{Load, faults};
use soros_tests::register::Register;
use std::time::{Duration, Instant};

/// How long each node is stopped for, in seconds, unless the environment says otherwise.
const SECONDS: u64 = 15;

#[tokio::test]
async fn a_paused_node_serves_nothing_old_and_loses_nothing() {
    let seconds = std::env::var("SOROS_PAUSE_SECONDS").ok();
    let seconds = seconds
        .and_then(|text| text.parse().ok())
        .unwrap_or(SECONDS);
    let cluster = Cluster::start(3).await;
    Load::prepare(&cluster).await;
    let load = Load::start(&cluster, &[0, 1, 2], 2);
    let register = Register::start(&cluster, 1, &[0, 1, 2]);
    load.progress(50).await;
    let before = register.acknowledged();
    cluster.signal(0, Signal::STOP);
    let stopped = Instant::now();
    // The others go on meanwhile.
    load.progress(100).await;
    let pause = Duration::from_secs(seconds);
    tokio::time::sleep(pause.saturating_sub(stopped.elapsed())).await;
    let during = register.acknowledged();
    assert!(before + 10 < during, "{before} to {during}");
    cluster.signal(0, Signal::CONT);
    load.progress(100).await;
    let seen = register.stop().await;
    assert_eq!(seen.stale, Vec::<String>::new());
    let (tallies, oracle) = load.stop().await;
    assert!(0 < tallies[&0].done);
    assert_eq!(faults(&cluster, &oracle).await, Vec::<String>::new());
}
