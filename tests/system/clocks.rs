//! This is what clients notice when the clock of one node is wrong: it refuses their writes and
//! says so, and nothing else.

use hyper::StatusCode;
use soros_tests::cluster::Cluster;
use soros_tests::http::Answer;
use soros_tests::wrong_clock::WrongClock;
use std::time::{Duration, Instant};

const HOUR: i64 = 3_600;
/// The one whose clock is wrong.
const WRONG: usize = 2;
/// How long a node may take to notice what its clock is like.
const NOTICES_WITHIN: Duration = Duration::from_secs(20);

const KEY: &str = "/v1/kv/default/clock";

async fn put(cluster: &Cluster, node: usize, value: &str) -> Answer {
    let answer = cluster.http(node).put(KEY, &[], value.to_owned()).await;
    answer.expect("an answer")
}

async fn get(cluster: &Cluster, node: usize, path: &str) -> Answer {
    cluster.http(node).get(path).await.expect("an answer")
}

/// Asserts that an answer says no, by how much the clock is off, and when to come back.
#[track_caller]
fn assert_skewed(answer: &Answer, ahead: i64) {
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.code(), "clock-skew", "{}", answer.text());
    assert_eq!(answer.header("retry-after"), "1");
    let detail = answer.json()["detail"].to_string();
    let direction = if 0 < ahead { "ahead of" } else { "behind" };
    assert!(detail.contains(direction), "{detail}");
    let offset = answer.json()["offset_ms"].as_i64().expect("a number");
    assert!((offset - ahead * 1_000).abs() < 2_000, "{offset}");
}

/// Asserts that the cluster with one clock that is `ahead` serves as it should. `value` is new.
async fn assert_served(cluster: &Cluster, ahead: i64, value: &str) {
    wait_shown(cluster, 0, ahead).await;
    assert_skewed(&put(cluster, WRONG, "refused").await, ahead);
    let deleted = cluster.http(WRONG).delete(KEY, &[]).await;
    assert_skewed(&deleted.expect("an answer"), ahead);
    for node in [0, 1] {
        let answer = put(cluster, node, value).await;
        assert!(answer.status.is_success(), "{}", answer.text());
    }
    // It reads, and it is a replica: `all` needs it.
    for node in 0..3 {
        let answer = get(cluster, node, KEY).await;
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (StatusCode::OK, value)
        );
    }
    wait_replica(cluster, value).await;
    assert_shown(cluster, ahead).await;
}

/// Whether a cluster shows of each node how far its clock is off.
fn is_shown(shown: &serde_json::Value, ahead: i64) -> bool {
    let nodes = shown["nodes"].as_array().expect("nodes");
    nodes.iter().enumerate().all(|(node, shown)| {
        let ahead = if node == WRONG { ahead * 1_000 } else { 0 };
        let offset = shown["clock_offset_ms"].as_i64();
        shown["clock_skewed"] == (node == WRONG)
            && offset.is_some_and(|offset| (offset - ahead).abs() < 2_000)
    })
}

/// Waits until a node shows that. One that comes up serves before it has heard the others' clocks
/// where they are slow, and they may not have found out that it is back.
async fn wait_shown(cluster: &Cluster, asked: usize, ahead: i64) {
    let begun = Instant::now();
    loop {
        let shown = get(cluster, asked, "/v1/cluster").await.json();
        if is_shown(&shown, ahead) {
            return;
        }
        assert!(begun.elapsed() < NOTICES_WITHIN, "{shown}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until a write reaches all replicas: the others may have to find out that one is back.
async fn wait_replica(cluster: &Cluster, value: &str) {
    let begun = Instant::now();
    loop {
        let all = [("soros-consistency", "all")];
        let answer = cluster.http(0).put(KEY, &all, value.to_owned()).await;
        let answer = answer.expect("an answer");
        if answer.status.is_success() {
            return assert_eq!(answer.header("soros-achieved"), "w=3/3");
        }
        assert!(begun.elapsed() < NOTICES_WITHIN, "{}", answer.text());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Asserts that operators see which clock is wrong.
async fn assert_shown(cluster: &Cluster, ahead: i64) {
    for asked in 0..3 {
        wait_shown(cluster, asked, ahead).await;
        let health = get(cluster, asked, "/health/ready").await;
        assert_eq!(health.status, StatusCode::OK);
        assert_eq!(health.json()["clock_skewed"], asked == WRONG);
        let metrics = get(cluster, asked, "/metrics").await.text();
        let skewed = format!("soros_clock_skewed {}", u8::from(asked == WRONG));
        assert!(metrics.lines().any(|line| line == skewed), "{metrics}");
    }
    let log = cluster.log(WRONG);
    assert!(log.contains("this node refuses writes"), "{log}");
}

/// Waits until the node takes writes again.
async fn wait_served(cluster: &Cluster) {
    let begun = Instant::now();
    loop {
        let answer = put(cluster, WRONG, "again").await;
        if answer.status.is_success() {
            return;
        }
        assert_eq!(answer.code(), "clock-skew", "{}", answer.text());
        assert!(begun.elapsed() < NOTICES_WITHIN, "{}", answer.text());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_node_with_a_wrong_clock_refuses_writes_and_says_so_and_the_others_serve() {
    let mut cluster = Cluster::of(&["peer,authority"; 3]);
    let Some(clock) = WrongClock::in_folder(cluster.root()) else {
        return;
    };
    // Wrong when the cluster is founded, and wrong in the other direction after a restart.
    clock.set(HOUR);
    cluster.set_environment(WRONG, clock.environment());
    cluster.start_all().await;
    assert_served(&cluster, HOUR, "founded").await;
    cluster.terminate(WRONG).await;
    clock.set(-HOUR);
    cluster.restart(WRONG).await;
    assert_served(&cluster, -HOUR, "restarted").await;
    // Set right under the running process, it follows.
    clock.set(0);
    wait_served(&cluster).await;
    let log = cluster.log(WRONG);
    assert!(log.contains("this node takes writes again"), "{log}");
}

#[tokio::test]
async fn a_clock_that_is_set_wrong_under_running_nodes_and_a_pause_trouble_nobody() {
    let mut cluster = Cluster::of(&["peer,authority"; 3]);
    let Some(clock) = WrongClock::in_folder(cluster.root()) else {
        return;
    };
    cluster.set_environment(WRONG, clock.environment());
    cluster.start_all().await;
    clock.set(HOUR);
    // The process reads the clock anew after a second, and the others ask once a second.
    tokio::time::sleep(Duration::from_secs(4)).await;
    for node in 0..3 {
        let answer = put(&cluster, node, "stepped").await;
        assert!(answer.status.is_success(), "{}", answer.text());
    }
    clock.set(0);
    cluster.signal(0, rustix::process::Signal::STOP);
    tokio::time::sleep(Duration::from_secs(4)).await;
    cluster.signal(0, rustix::process::Signal::CONT);
    let begun = Instant::now();
    for node in [0, 1, 2] {
        loop {
            let answer = put(&cluster, node, "continued").await;
            assert_ne!(answer.code(), "clock-skew", "{}", answer.text());
            if answer.status.is_success() {
                break;
            }
            assert!(begun.elapsed() < NOTICES_WITHIN, "{}", answer.text());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    for node in 0..3 {
        assert!(!cluster.log(node).contains("refuses writes"));
    }
}
