//! This is what clients notice when nodes die: nothing at the other nodes but the requests that
//! were in flight to the dying one, and no acknowledged write is lost.

use soros_tests::cluster::Cluster;
use soros_tests::load::{Load, Tally, faults};
use std::collections::BTreeMap;
use std::sync::Arc;

const CLIENTS: usize = 4;

/// What the clients of nodes that stayed up may have met: outcomes of requests in flight to the
/// node that went, which nobody can know.
fn assert_untroubled(tallies: &BTreeMap<usize, Tally>, nodes: &[usize]) {
    for node in nodes {
        let tally = &tallies[node];
        let unknown = tally
            .problems
            .get("504 outcome-unknown")
            .copied()
            .unwrap_or(0);
        let others: Vec<_> = tally
            .problems
            .iter()
            .filter(|(code, _)| *code != "504 outcome-unknown")
            .collect();
        assert!(others.is_empty(), "node {node}: {others:?}");
        // Each client has one request in flight at a time.
        assert!(
            unknown <= 3 * CLIENTS as u64,
            "node {node}: {unknown} unknown outcomes"
        );
        assert_eq!(tally.no_answer, 0, "node {node}");
        assert!(0 < tally.done, "node {node}");
    }
}

#[tokio::test]
async fn no_acknowledged_write_is_lost_when_any_node_is_killed_and_comes_back() {
    let mut cluster = Cluster::start(3).await;
    Load::prepare(&cluster).await;
    let mut oracle = Arc::default();
    for victim in 0..3 {
        let load = Load::go_on(&cluster, &[0, 1, 2], CLIENTS, oracle);
        load.progress(100).await;
        cluster.kill(victim);
        load.progress(100).await;
        cluster.restart(victim).await;
        load.progress(100).await;
        let (tallies, written) = load.stop().await;
        oracle = written;
        let others: Vec<usize> = (0..3).filter(|node| *node != victim).collect();
        assert_untroubled(&tallies, &others);
        assert_eq!(faults(&cluster, &oracle).await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_rolling_restart_is_clean() {
    let mut cluster = Cluster::start(3).await;
    Load::prepare(&cluster).await;
    let load = Load::start(&cluster, &[0, 1, 2], CLIENTS);
    for node in 0..3 {
        load.progress(50).await;
        let (status, took) = cluster.terminate(node).await;
        assert!(status.success(), "{status}\n{}", cluster.log(node));
        assert!(took.as_secs() < 10, "{took:?}");
        load.progress(50).await;
        cluster.restart(node).await;
    }
    load.progress(50).await;
    let (_, oracle) = load.stop().await;
    assert_eq!(faults(&cluster, &oracle).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_node_whose_two_peers_are_killed_acknowledges_nothing_until_one_is_back() {
    let mut cluster = Cluster::start(3).await;
    Load::prepare(&cluster).await;
    let load = Load::start(&cluster, &[0, 1, 2], CLIENTS);
    load.progress(200).await;
    for node in [0, 1] {
        cluster.kill(node);
    }
    let mut left = cluster.http(2);
    let path = "/v1/kv/load/left";
    for _ in 0..20 {
        let refused = left.put(path, &[("soros-write", "blind")], "x").await;
        let refused = refused.expect("an answer");
        let answered = (refused.status.as_u16(), &*refused.code());
        let (none, unknown) = ((503, "quorum-unavailable"), (504, "outcome-unknown"));
        assert!([none, unknown].contains(&answered), "{answered:?}");
    }
    cluster.restart(1).await;
    load.progress(100).await;
    cluster.restart(0).await;
    load.progress(100).await;
    let (_, oracle) = load.stop().await;
    assert_eq!(faults(&cluster, &oracle).await, Vec::<String>::new());
}

#[tokio::test]
async fn all_nodes_killed_at_once_recover_by_themselves() {
    let mut cluster = Cluster::start(3).await;
    Load::prepare(&cluster).await;
    let load = Load::start(&cluster, &[0, 1, 2], CLIENTS);
    load.progress(200).await;
    for node in 0..3 {
        cluster.kill(node);
    }
    let (_, oracle) = load.stop().await;
    for node in 0..3 {
        cluster.spawn(node);
    }
    for node in 0..3 {
        cluster.wait_ready(node).await;
    }
    assert_eq!(faults(&cluster, &oracle).await, Vec::<String>::new());
}

#[tokio::test]
async fn reads_and_writes_go_on_without_any_authority() {
    let mut cluster = Cluster::start_with(&["authority", "peer", "peer", "peer"]).await;
    Load::prepare(&cluster).await;
    let load = Load::start(&cluster, &[1, 2, 3], CLIENTS);
    load.progress(50).await;
    cluster.kill(0);
    load.progress(200).await;
    let answer = cluster
        .http(1)
        .put("/v1/buckets/more", &[], "{}")
        .await
        .expect("an answer");
    assert_eq!(answer.status, 503, "{}", answer.text());
    load.progress(50).await;
    let (tallies, oracle) = load.stop().await;
    assert_untroubled(&tallies, &[1, 2, 3]);
    cluster.restart(0).await;
    assert_eq!(faults(&cluster, &oracle).await, Vec::<String>::new());
}
