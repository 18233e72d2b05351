//! These are clusters whose writes are answered before they are synced, as the settings may have
//! it: what an end that was not clean leaves in doubt, and what a power cut may take.

use serde_json::json;
use soros_tests::cluster::Cluster;
use soros_tests::disk::Disk;
use soros_tests::load::{Load, faults};
use soros_tests::register::Register;
use std::time::{Duration, Instant};

/// How long something may take to be told in a log.
const TOLD_WITHIN: Duration = Duration::from_secs(30);

/// What a node's log says when the settings begin to say so.
fn answered(durability: &str) -> String {
    let how = match durability {
        "interval" => "unsynced",
        _ => "synced",
    };
    format!("from here on writes are answered {how}")
}

/// Sets when writes are answered, and waits until all nodes do so.
async fn answer_writes(cluster: &Cluster, durability: &str) {
    let before = told(cluster);
    let settings = json!({"durability": durability}).to_string();
    let put = cluster
        .http(0)
        .put("/v1/cluster/settings", &[], settings)
        .await;
    let answer = put.expect("an answer");
    assert!(answer.status.is_success(), "{}", answer.text());
    for (node, from) in before.iter().enumerate() {
        told_in(cluster, node, *from, &answered(durability)).await;
    }
}

async fn told_in(cluster: &Cluster, node: usize, from: usize, what: &str) {
    let begun = Instant::now();
    while !cluster.log(node)[from..].contains(what) {
        let log = || cluster.log(node)[from..].to_owned();
        assert!(begun.elapsed() < TOLD_WITHIN, "{what}: {}", log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn told(cluster: &Cluster) -> Vec<usize> {
    let nodes = 0..cluster.count();
    nodes.map(|node| cluster.log(node).len()).collect()
}

/// A cluster on `disk` that answers writes before they are synced, under load.
async fn answering_unsynced(disk: Disk) -> (Cluster, Load) {
    let cluster = Cluster::start_on_disk(3, disk).await;
    Load::prepare(&cluster).await;
    answer_writes(&cluster, "interval").await;
    let load = Load::start(&cluster, &[0, 1, 2], 4);
    load.progress(200).await;
    (cluster, load)
}

#[tokio::test]
async fn an_end_that_was_not_clean_is_a_doubt_until_the_others_were_asked() {
    let mut cluster = Cluster::start(3).await;
    Load::prepare(&cluster).await;
    answer_writes(&cluster, "interval").await;
    let load = Load::start(&cluster, &[1, 2], 2);
    let register = Register::start(&cluster, 1, &[0, 1, 2]);
    load.progress(100).await;
    cluster.kill(0);
    let from = cluster.log(0).len();
    cluster.restart(0).await;
    let log = cluster.log(0)[from..].to_owned();
    assert!(
        log.contains("writes were answered before they were synced"),
        "{log}"
    );
    told_in(&cluster, 0, from, "it is in doubt no more").await;
    load.progress(100).await;
    // A clean end leaves none.
    cluster.terminate(0).await;
    let from = cluster.log(0).len();
    cluster.restart(0).await;
    told_in(&cluster, 0, from, &answered("interval")).await;
    answer_writes(&cluster, "always").await;
    load.progress(100).await;
    cluster.kill(0);
    cluster.restart(0).await;
    let log = cluster.log(0)[from..].to_owned();
    assert!(!log.contains("records may be missing"), "{log}");
    let seen = register.stop().await;
    assert_eq!(seen.stale, Vec::<String>::new());
    let (_, oracle) = load.stop().await;
    assert_eq!(faults(&cluster, &oracle).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_power_cut_takes_nothing_that_was_answered_before_the_settings_said_always() {
    let Some(disk) = Disk::new() else { return };
    let (mut cluster, load) = answering_unsynced(disk).await;
    let (_, oracle) = load.stop().await;
    answer_writes(&cluster, "always").await;
    for node in 0..3 {
        cluster.kill(node);
    }
    cluster.disk().cut_power();
    let before = told(&cluster);
    cluster.start_all().await;
    for (node, from) in before.iter().enumerate() {
        let log = cluster.log(node)[*from..].to_owned();
        assert!(!log.contains("records may be missing"), "{log}");
    }
    assert_eq!(faults(&cluster, &oracle).await, Vec::<String>::new());
}

/// The last writes may be gone; the nodes know it, and agree on what is left.
#[tokio::test]
async fn a_power_cut_of_all_nodes_leaves_suspects_that_come_to_agree() {
    let Some(disk) = Disk::new() else { return };
    let (mut cluster, load) = answering_unsynced(disk).await;
    for node in 0..3 {
        cluster.kill(node);
    }
    load.stop().await;
    cluster.disk().cut_power();
    let before = told(&cluster);
    cluster.start_all().await;
    for (node, from) in before.iter().enumerate() {
        let log = cluster.log(node)[*from..].to_owned();
        assert!(
            log.contains("writes were answered before they were synced"),
            "{log}"
        );
        told_in(&cluster, node, *from, "it is in doubt no more").await;
    }
    let load = Load::start(&cluster, &[0, 1, 2], 2);
    load.progress(50).await;
    load.stop().await;
}
