//! This is what clients are told when a node comes back with less than it had: never that there is
//! nothing where something was acknowledged.

use soros_tests::cluster::Cluster;
use soros_tests::folder;
use std::path::Path;
use std::time::{Duration, Instant};

const KEY: &str = "/v1/kv/default/key";
const SERVES_WITHIN: Duration = Duration::from_mins(1);

/// Waits until a node says that it serves, at whatever strength.
async fn serves(cluster: &Cluster, node: usize) {
    let (begun, mut http) = (Instant::now(), cluster.http(node));
    while !matches!(http.get("/health/ready").await, Ok(answer) if answer.status.is_success()) {
        assert!(begun.elapsed() < SERVES_WITHIN, "{}", cluster.log(node));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The first and the third node have a write that the second lacks. The first loses what it had
/// since `put_back` was its folder, and the third is away; with the third all is there again.
async fn check(cluster: &mut Cluster, put_back: Option<&Path>) {
    cluster.kill(1);
    let put = cluster.http(0).put(KEY, &[], "value").await;
    let put = put.expect("an answer");
    assert!(put.status.is_success(), "{}", put.text());
    cluster.terminate(0).await;
    cluster.kill(2);
    match put_back {
        Some(earlier) => folder::replace(&cluster.folder(0), earlier),
        None => folder::empty(&cluster.folder(0)),
    }
    cluster.spawn(0);
    cluster.spawn(1);
    serves(cluster, 1).await;
    if put_back.is_some() {
        serves(cluster, 0).await;
    }
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(8) {
        for node in [0, 1] {
            let read = cluster.http(node).get(KEY).await.expect("an answer");
            assert_eq!(read.status, 503, "node {node}: {}", read.text());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    cluster.spawn(2);
    for node in 0..3 {
        cluster.wait_ready(node).await;
        let read = cluster.http(node).get(KEY).await.expect("an answer");
        assert_eq!(read.text(), "value", "node {node}");
    }
}

#[tokio::test]
async fn a_node_whose_folder_was_put_back_does_not_say_that_there_is_nothing() {
    let mut cluster = Cluster::start(3).await;
    let backup = cluster.scratch("backup");
    cluster.terminate(0).await;
    folder::copy(&cluster.folder(0), &backup);
    cluster.restart(0).await;
    check(&mut cluster, Some(&backup)).await;
    doubts_once(&mut cluster).await;
}

/// The first node, which lacks nothing any more, is in doubt until that is noted, and not again.
async fn doubts_once(cluster: &mut Cluster) {
    const DOUBTED: &str = "an earlier start was in doubt";
    let begun = Instant::now();
    while !cluster.log(0).contains("in doubt no more") {
        assert!(begun.elapsed() < SERVES_WITHIN, "{}", cluster.log(0));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let before = cluster.log(0).matches(DOUBTED).count();
    cluster.kill(0);
    cluster.restart(0).await;
    assert_eq!(cluster.log(0).matches(DOUBTED).count(), before);
}

#[tokio::test]
async fn a_node_whose_folder_was_emptied_does_not_say_that_there_is_nothing() {
    let mut cluster = Cluster::start(3).await;
    check(&mut cluster, None).await;
}
