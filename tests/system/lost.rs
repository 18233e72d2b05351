//! This is what becomes of a cluster when directories are lost: one is emptied, one is exchanged
//! for an earlier copy, all are emptied at once. Meanwhile the others are under load.

use soros_tests::cluster::Cluster;
use soros_tests::folder;
use soros_tests::load::{Load, faults};
use soros_tests::register::Register;
use std::net::TcpListener;
use std::time::{Duration, Instant};

const CLIENTS: usize = 2;
/// How long the leader may take to take a new member in for an old one.
const REPLACED_WITHIN: Duration = Duration::from_secs(30);

/// The cluster's id, as a node says.
async fn cluster_id(cluster: &Cluster, node: usize) -> String {
    let answer = cluster.http(node).get("/v1/cluster/map").await;
    let map = answer.expect("an answer").json();
    map["cluster"].as_str().expect("a cluster").to_owned()
}

#[tokio::test]
async fn a_node_whose_directory_was_emptied_or_rolled_back_comes_back_as_itself() {
    let mut cluster = Cluster::start(3).await;
    Load::prepare(&cluster).await;
    let id = cluster_id(&cluster, 1).await;
    let load = Load::start(&cluster, &[1, 2], CLIENTS);
    let register = Register::start(&cluster, 1, &[0, 1, 2]);
    load.progress(50).await;

    cluster.kill(0);
    folder::empty(&cluster.folder(0));
    load.progress(50).await;
    cluster.restart(0).await;
    assert_eq!(cluster_id(&cluster, 0).await, id);
    load.progress(50).await;

    // An earlier copy, of an earlier life of the process.
    cluster.terminate(0).await;
    let earlier = cluster.scratch("earlier");
    folder::copy(&cluster.folder(0), &earlier);
    cluster.restart(0).await;
    load.progress(50).await;
    cluster.kill(0);
    folder::replace(&cluster.folder(0), &earlier);
    cluster.restart(0).await;
    assert_eq!(cluster_id(&cluster, 0).await, id);
    load.progress(50).await;

    // A copy made while the process wrote, put back in the same life.
    let earlier = cluster.scratch("alive");
    folder::copy(&cluster.folder(0), &earlier);
    load.progress(50).await;
    cluster.kill(0);
    folder::replace(&cluster.folder(0), &earlier);
    cluster.restart(0).await;
    load.progress(50).await;

    let seen = register.stop().await;
    assert_eq!(seen.stale, Vec::<String>::new());
    assert!(100 < seen.reads, "{}", seen.reads);
    let (_, oracle) = load.stop().await;
    assert_eq!(faults(&cluster, &oracle).await, Vec::<String>::new());
}

#[tokio::test]
async fn founding_members_that_were_all_emptied_found_a_new_cluster() {
    let mut cluster = Cluster::start(3).await;
    Load::prepare(&cluster).await;
    let id = cluster_id(&cluster, 0).await;
    for node in 0..3 {
        cluster.kill(node);
    }
    for node in 0..3 {
        folder::empty(&cluster.folder(node));
    }
    cluster.start_all().await;
    let new = cluster_id(&cluster, 0).await;
    assert_ne!(new, id);
    for node in 1..3 {
        assert_eq!(cluster_id(&cluster, node).await, new);
    }
}

#[tokio::test]
async fn a_member_that_may_have_lost_its_vote_is_another_even_if_its_first_start_fails() {
    const REPLACED: &str = "a voter came back without its disk";
    let mut cluster = Cluster::start(3).await;
    cluster.kill(0);
    std::fs::remove_file(cluster.folder(0).join("mark")).expect("a mark");
    let taken = TcpListener::bind(cluster.address(0)).expect("a port");
    cluster.spawn(0);
    let status = cluster.wait_ended(0).await;
    assert_eq!(status.code(), Some(1), "{}", cluster.log(0));
    drop(taken);
    cluster.restart(0).await;
    let begun = Instant::now();
    while !(0..3).any(|node| cluster.log(node).contains(REPLACED)) {
        assert!(begun.elapsed() < REPLACED_WITHIN, "{}", cluster.log(0));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
