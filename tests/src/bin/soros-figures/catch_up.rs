//! This is what a node that was away costs the network until it has what it missed, what equal
//! replicas say to each other, and how soon a node with much data serves after it was killed.

use crate::{Figure, number, tell};
use soros_tests::binary::soros;
use soros_tests::cluster::Cluster;
use soros_tests::http::Http;
use std::process::Command;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::sleep;

const KEYS: u32 = 1_000_000;
const VALUE_BYTES: usize = 1024;
const MISSED: u32 = 10_000;
const WRITERS: u32 = 32;
/// How many partitions the first placement has.
const PARTITIONS: f64 = 256.0;
/// How often each replica compares each of its partitions.
const ROUND: Duration = Duration::from_secs(4);
const ROUNDS: u32 = 10;
const BYTES: &str = "soros_link_bytes_total";

pub(crate) async fn measure() -> Vec<Figure> {
    let mut cluster = Cluster::start(3).await;
    let begun = Instant::now();
    fill(&cluster);
    tell(&format!(
        "{KEYS} keys of {VALUE_BYTES} bytes written in {:?}",
        begun.elapsed()
    ));
    sleep(ROUND * 3).await;
    let idle = idle(&cluster).await;
    cluster.kill(2);
    miss(&cluster).await;
    let begun = Instant::now();
    cluster.restart(2).await;
    let back = begun.elapsed();
    let moved = cluster.figure_with(2, BYTES, "received").await;
    cluster.kill(2);
    let begun = Instant::now();
    cluster.spawn(2);
    serves(&cluster, 2).await;
    let serving = begun.elapsed();
    cluster.wait_ready(2).await;
    let missed = f64::from(MISSED) * (number(VALUE_BYTES + key(0).len()));
    vec![
        Figure {
            what: "bytes of all nodes per replica of a partition and round, at rest",
            measured: format!("{idle:.0}"),
            goal: "200",
        },
        Figure {
            what: "bytes received for each byte that was missed",
            measured: format!("{:.3}, in {back:?}", moved / missed),
            goal: "1.2",
        },
        Figure {
            what: "from the start of a killed node with 1 GiB to its first answer at quorum",
            measured: format!("{serving:?}; to full strength {:?}", begun.elapsed()),
            goal: "5 s",
        },
    ]
}

/// Has `soros bench` write every key.
fn fill(cluster: &Cluster) {
    let mut command = Command::new(soros());
    command.args(["bench", "--seconds", "1", "--clients", "64"]);
    command.args([
        "--keys",
        &KEYS.to_string(),
        "--value-bytes",
        &VALUE_BYTES.to_string(),
    ]);
    for node in 0..cluster.count() {
        command.args(["--url", &cluster.url(node)]);
    }
    let status = command.status().expect("soros runs");
    assert!(status.success(), "{status}");
}

/// Bytes for each replica of a partition in each round, while nobody asks for anything.
async fn idle(cluster: &Cluster) -> f64 {
    let before = sent(cluster).await;
    sleep(ROUND * ROUNDS).await;
    let replicas = PARTITIONS * number(cluster.count());
    (sent(cluster).await - before) / (replicas * f64::from(ROUNDS))
}

async fn sent(cluster: &Cluster) -> f64 {
    let mut sum = 0.0;
    for node in 0..cluster.count() {
        sum += cluster.figure_with(node, BYTES, "sent").await;
    }
    sum
}

/// Writes what the third node will lack.
async fn miss(cluster: &Cluster) {
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let address = cluster.address((writer % 2) as usize);
        writers.spawn(async move {
            let mut http = Http::new(address);
            for number in (writer..MISSED).step_by(WRITERS as usize) {
                // Spread over what is there.
                let path = format!("/v1/kv/default/{}", key(number * (KEYS / MISSED)));
                let put = http.put(&path, &[], vec![b'w'; VALUE_BYTES]).await;
                let put = put.expect("an answer");
                assert!(put.status.is_success(), "{}", put.text());
            }
        });
    }
    while let Some(ended) = writers.join_next().await {
        ended.expect("a writer");
    }
}

/// Waits until a node answers a read at quorum.
async fn serves(cluster: &Cluster, node: usize) {
    let path = format!("/v1/kv/default/{}", key(1));
    loop {
        let answer = cluster.http(node).get(&path).await;
        if matches!(answer, Ok(answer) if answer.status == 200) {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
}

/// A key as `soros bench` names it.
fn key(number: u32) -> String {
    format!("bench-{number:08}")
}
