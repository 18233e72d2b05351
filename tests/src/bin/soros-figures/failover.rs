//! This is what clients of two nodes notice when the third is killed, and how soon it is whole.

use crate::{Figure, tell};
use soros_tests::cluster::Cluster;
use soros_tests::load::{Load, faults};
use std::time::{Duration, Instant};
use tokio::time::sleep;

const CLIENTS: usize = 8;
const RUN: Duration = Duration::from_secs(5);

pub(crate) async fn measure() -> Vec<Figure> {
    let mut cluster = Cluster::start(3).await;
    Load::prepare(&cluster).await;
    let (mut stalls, mut quiet_stalls, mut returns) = (Vec::new(), Vec::new(), Vec::new());
    for victim in 0..3 {
        let others: Vec<usize> = (0..3).filter(|node| *node != victim).collect();
        let quiet = Load::start(&cluster, &others, CLIENTS);
        sleep(RUN).await;
        let (tallies, oracle) = quiet.stop().await;
        quiet_stalls.extend(tallies.values().map(|tally| tally.longest_gap));
        let load = Load::go_on(&cluster, &others, CLIENTS, oracle);
        sleep(RUN / 2).await;
        cluster.kill(victim);
        sleep(RUN).await;
        let begun = Instant::now();
        cluster.restart(victim).await;
        returns.push(begun.elapsed());
        let (tallies, oracle) = load.stop().await;
        let problems: Vec<_> = tallies.values().map(|tally| &tally.problems).collect();
        let done: u64 = tallies.values().map(|tally| tally.done).sum();
        tell(&format!(
            "node {victim} killed: {done} requests done, problems {problems:?}"
        ));
        stalls.extend(tallies.values().map(|tally| tally.longest_gap));
        let found = faults(&cluster, &oracle).await;
        assert!(found.is_empty(), "{found:?}");
    }
    vec![
        Figure {
            what: "longest stall of a client while another node is killed and comes back",
            measured: format!("{:?}; without that {:?}", max(&stalls), max(&quiet_stalls)),
            goal: "500 ms",
        },
        Figure {
            what: "from the start of a killed node's process to full strength, under load",
            measured: format!("{returns:?}"),
            goal: "5 s",
        },
    ]
}

fn max(times: &[Duration]) -> Duration {
    times.iter().copied().max().unwrap_or_default()
}
