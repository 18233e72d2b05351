//! This is how a node comes up that was not there while a plugin was switched: late, mid-way, or
//! with a component that it cannot use.

use serde_json::Value;
use soros_tests::cluster::Cluster;
use soros_tests::plugins::{activate, push, stamping};
use std::time::{Duration, Instant};

const NAME: &str = "misbehaving";
const OLD: &str = "0.1.0";
const NEW: &str = "0.2.0";
const BUCKET: &str = r#"{"validators":[{"plugin":"misbehaving","config":"stamp"}]}"#;

/// Three nodes with both versions, the old one in force for the bucket `stamped`.
async fn stamped() -> Cluster {
    let cluster = Cluster::start(3).await;
    for version in [OLD, NEW] {
        let pushed = push(&mut cluster.http(0), NAME, version, stamping(version)).await;
        assert_eq!(pushed.status, 201, "{}", pushed.text());
    }
    switch(&cluster, OLD).await;
    let mut http = cluster.http(0);
    let made = http.put("/v1/buckets/stamped", &[], BUCKET).await;
    assert_eq!(made.expect("an answer").status, 201);
    cluster
}

/// Activates a version; while a node that died is not given up it is told that it is not ready.
async fn switch(cluster: &Cluster, version: &str) {
    let begun = Instant::now();
    loop {
        let switched = activate(&mut cluster.http(0), NAME, version).await;
        if switched.status == 200 {
            return;
        }
        assert_eq!(switched.code(), "not-ready", "{}", switched.text());
        assert!(switched.json()["node"].is_string(), "{}", switched.text());
        let late = Duration::from_secs(30) < begun.elapsed();
        assert!(!late, "a node is never given up");
    }
}

/// Waits until all nodes have both versions and ask `version`.
async fn settled(cluster: &Cluster, version: &str) {
    let begun = Instant::now();
    let path = format!("/v1/plugins/{NAME}");
    loop {
        let shown = cluster.http(1).get(&path).await.expect("an answer").json();
        let nodes = shown["nodes"].as_array().cloned().unwrap_or_default();
        let has_all = |node: &Value| {
            let prepared = node["prepared"].as_array().map_or(0, Vec::len);
            prepared == 2 && node["active"] == version && node["problem"].is_null()
        };
        if nodes.len() == cluster.count() && nodes.iter().all(has_all) {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{shown}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Every node takes a write, which `version` stamps.
async fn assert_stamps(cluster: &Cluster, version: &str, name: &str) {
    for node in 0..cluster.count() {
        let path = format!("/v1/kv/stamped/a/{name}-{node}");
        let mut http = cluster.http(node);
        let put = http.put(&path, &[], "v").await.expect("an answer");
        assert_eq!(put.status, 201, "at {node}: {}", put.text());
        let read = http.get(&path).await.expect("an answer");
        assert_eq!(read.text(), format!("{version}:v"), "at {node}");
    }
}

#[tokio::test]
async fn a_node_that_joins_later_comes_up_with_the_version_in_force() {
    let mut cluster = stamped().await;
    switch(&cluster, NEW).await;
    assert_eq!(cluster.join().await, 3);
    settled(&cluster, NEW).await;
    assert_stamps(&cluster, NEW, "joined").await;
    // It is one of those that a later activation waits for.
    switch(&cluster, OLD).await;
    settled(&cluster, OLD).await;
    assert_stamps(&cluster, OLD, "back").await;
}

#[tokio::test]
async fn a_node_that_dies_mid_way_comes_back_with_what_the_others_have() {
    let mut cluster = stamped().await;
    let mut http = cluster.http(1);
    let switching = tokio::spawn(async move { activate(&mut http, NAME, NEW).await });
    cluster.kill(2);
    let switched = switching.await.expect("an answer");
    let known = switched.status == 200 || switched.code() == "not-ready";
    assert!(known, "{}", switched.text());
    switch(&cluster, NEW).await;
    cluster.restart(2).await;
    settled(&cluster, NEW).await;
    assert_stamps(&cluster, NEW, "again").await;
}

#[tokio::test]
async fn a_node_with_damaged_components_gets_them_again() {
    let mut cluster = stamped().await;
    cluster.kill(2);
    let mut damaged = 0;
    let folder = cluster.folder(2).join("plugins");
    for file in std::fs::read_dir(folder).expect("a folder") {
        let path = file.expect("a file").path();
        let mut bytes = std::fs::read(&path).expect("a file");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, bytes).expect("a file");
        damaged += 1;
    }
    assert!(2 <= damaged, "both versions are there");
    cluster.restart(2).await;
    settled(&cluster, OLD).await;
    assert_stamps(&cluster, OLD, "mended").await;
    assert!(cluster.log(2).contains("a component is damaged"));
}
