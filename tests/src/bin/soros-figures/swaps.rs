//! This is what clients notice when the version of a validator is switched back and forth while
//! they write: how many requests fail, and how much longer the slowest take.

use crate::{Figure, number, paced, tell};
use soros_tests::cluster::Cluster;
use soros_tests::plugins::{activate, push, stamping};
use std::time::{Duration, Instant};
use tokio::time::sleep_until;

const NAME: &str = "misbehaving";
const VERSIONS: [&str; 2] = ["0.1.0", "0.2.0"];
const BUCKET: &str = r#"{"validators":[{"plugin":"misbehaving","config":"stamp"}]}"#;
const PAIRS: usize = 5;
const SWITCHES: u32 = 20;
const RUN: Duration = Duration::from_secs(10);

pub(crate) async fn measure() -> Vec<Figure> {
    let cluster = Cluster::start(3).await;
    for version in VERSIONS {
        let pushed = push(&mut cluster.http(0), NAME, version, stamping(version)).await;
        assert_eq!(pushed.status, 201, "{}", pushed.text());
    }
    switch(&cluster, 0).await;
    let made = cluster
        .http(0)
        .put("/v1/buckets/stamped", &[], BUCKET)
        .await;
    assert_eq!(made.expect("an answer").status, 201);
    let peak = paced::run(&cluster, "stamped", RUN, None).await;
    let peak = number(peak.times.len()) / RUN.as_secs_f64();
    tell(&format!("at most {peak:.0} writes a second"));
    let (mut ratios, mut failed, mut times) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..PAIRS {
        let mut quiet = paced::run(&cluster, "stamped", RUN, Some(0.7 * peak)).await;
        let load = paced::run(&cluster, "stamped", RUN, Some(0.7 * peak));
        let (mut switched, took) = tokio::join!(load, switch_back_and_forth(&cluster));
        let (with, without) = (switched.p99(), quiet.p99());
        tell(&format!(
            "p99 {with:?} with {SWITCHES} switches, {without:?} without"
        ));
        ratios.push(with.as_secs_f64() / without.as_secs_f64());
        failed.extend(quiet.failed);
        failed.extend(switched.failed);
        times.extend(took);
    }
    ratios.sort_by(f64::total_cmp);
    times.sort();
    vec![
        Figure {
            what: "p99 of writes while versions are switched, to that without",
            measured: format!("{:.2}, all {ratios:.2?}", ratios[PAIRS / 2]),
            goal: "1.5, the median",
        },
        Figure {
            what: "requests that failed",
            measured: format!("{} {:?}", failed.len(), failed.first()),
            goal: "0",
        },
        Figure {
            what: "a switch on three nodes",
            measured: format!(
                "median {:?}, longest {:?}",
                times[times.len() / 2],
                times.last()
            ),
            goal: "500 ms",
        },
    ]
}

async fn switch_back_and_forth(cluster: &Cluster) -> Vec<Duration> {
    let (begun, mut times) = (Instant::now(), Vec::new());
    for number in 1..=SWITCHES {
        sleep_until((begun + RUN * number / (SWITCHES + 1)).into()).await;
        times.push(switch(cluster, number as usize).await);
    }
    times
}

/// Lets the one version or the other come into force, and gives how long that took.
async fn switch(cluster: &Cluster, number: usize) -> Duration {
    let begun = Instant::now();
    let mut http = cluster.http(number % cluster.count());
    let switched = activate(&mut http, NAME, VERSIONS[number % 2]).await;
    assert_eq!(switched.status, 200, "{}", switched.text());
    begun.elapsed()
}
