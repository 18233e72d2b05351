//! This is a network between nodes that delays, loses and cuts: clients of the nodes that reach
//! each other go on, no acknowledged write is lost, no read is old, and all is well by itself once
//! the network is.

use soros_tests::cluster::Cluster;
use soros_tests::load::{Load, faults};
use soros_tests::network::Weather;
use soros_tests::register::Register;
use std::time::Duration;

const CLIENTS: usize = 2;
/// The longest that clients of nodes which reach each other may wait for an answer as hoped: until
/// the node that is gone is found out, and what was in flight to it is given up.
const GAP_MAX: Duration = Duration::from_secs(10);

#[tokio::test]
async fn clients_of_a_majority_go_on_whatever_the_network_does_to_one_node() {
    let mut cluster = Cluster::start_on_network(3).await;
    Load::prepare(&cluster).await;
    let load = Load::start(&cluster, &[0, 1, 2], CLIENTS);
    let register = Register::start(&cluster, 1, &[0, 1, 2]);
    load.progress(50).await;

    // Everything to and from one node late, lost, or cut.
    for weather in [
        Weather::Slow(Duration::from_millis(150)),
        Weather::Lost,
        Weather::Reset,
    ] {
        let before = register.acknowledged();
        cluster.network().surround(0, weather);
        load.progress(100).await;
        assert!(before < register.acknowledged(), "{weather:?}");
        cluster.network().clear();
        load.progress(50).await;
    }

    // One way only: nobody hears it, then it hears nobody.
    for deaf in [false, true] {
        let before = register.acknowledged();
        for other in [1, 2] {
            let (from, to) = if deaf { (other, 0) } else { (0, other) };
            cluster.network().set(from, to, Weather::Lost);
        }
        load.progress(100).await;
        assert!(before < register.acknowledged(), "{deaf}");
        cluster.network().clear();
        load.progress(50).await;
    }

    for node in 0..3 {
        cluster.wait_ready(node).await;
    }
    let seen = register.stop().await;
    assert_eq!(seen.stale, Vec::<String>::new());
    let (tallies, oracle) = load.stop().await;
    for node in [1, 2] {
        assert!(tallies[&node].longest_gap < GAP_MAX, "{:?}", tallies[&node]);
    }
    assert_eq!(faults(&cluster, &oracle).await, Vec::<String>::new());
}

#[tokio::test]
async fn nodes_that_reach_nobody_acknowledge_nothing_and_recover_by_themselves() {
    let mut cluster = Cluster::start_on_network(3).await;
    Load::prepare(&cluster).await;
    let load = Load::start(&cluster, &[0, 1, 2], CLIENTS);
    load.progress(50).await;
    for node in 0..3 {
        cluster.network().surround(node, Weather::Lost);
    }
    // What is in flight may still be acknowledged; from some moment on nothing is.
    let mut alone = cluster.http(0);
    let mut statuses = Vec::new();
    while statuses.last() != Some(&503) {
        let path = "/v1/kv/load/alone";
        let answer = alone.put(path, &[("soros-write", "blind")], "x").await;
        let answer = answer.expect("an answer");
        statuses.push(answer.status.as_u16());
        match answer.status.as_u16() {
            503 => assert_eq!(answer.code(), "quorum-unavailable"),
            status => assert!([201, 204, 504].contains(&status), "{}", answer.text()),
        }
        assert!(statuses.len() < 100, "{statuses:?}");
    }
    let acknowledged = load.oracle.acknowledged_count();
    let answer = alone.get("/v1/kv/load/alone").await.expect("an answer");
    assert_eq!(answer.code(), "quorum-unavailable", "{}", answer.text());
    assert_eq!(load.oracle.acknowledged_count(), acknowledged);
    cluster.network().clear();
    load.progress(100).await;
    for node in 0..3 {
        cluster.wait_ready(node).await;
    }
    let (_, oracle) = load.stop().await;
    assert_eq!(faults(&cluster, &oracle).await, Vec::<String>::new());
}
