//! These tests are about disks that are full: what is refused then, and what is not.

use super::*;
use crate::store::room::Room;
use soros_core::clock::Clock;

async fn put(cluster: &Cluster, value: Option<&str>) -> Result<(), OperationError> {
    let key = target(RESOLVED, "k");
    let written = cluster.put(0, &key, value, Basis::Unsaid).await;
    written.map(|_| ())
}

/// How often a peer has asked others for objects.
fn fetches(cluster: &Cluster, peer: usize) -> usize {
    let fetches = cluster.switch.fetches.lock().expect("no test panicked");
    fetches.get(&cluster.peers[peer].id()).copied().unwrap_or(0)
}

fn seen(cluster: &Cluster, peer: usize, place: Place) -> Clock {
    let moment = cluster.peers[peer].moment();
    moment
        .shown(&place)
        .expect("a partition")
        .state
        .clock
        .clone()
}

#[tokio::test]
async fn a_full_disk_refuses_values_and_takes_deletes_until_there_is_room() {
    let cluster = Cluster::start().await;
    let key = target(RESOLVED, "k");
    put(&cluster, Some("before")).await.expect("there is room");
    for room in [Room::High, Room::Low] {
        cluster.stores[0].set_room(room);
        let refused = put(&cluster, Some("refused")).await;
        assert!(
            matches!(refused, Err(OperationError::DiskFull)),
            "{refused:?}"
        );
        assert_eq!(
            cluster.values(0, &key).await,
            ["before"],
            "nothing was stored"
        );
    }
    put(&cluster, None).await.expect("a delete needs no room");
    assert!(cluster.values(0, &key).await.is_empty());
    cluster.stores[0].set_room(Room::Ample);
    put(&cluster, Some("after")).await.expect("there is room");
    assert_eq!(cluster.values(1, &key).await, ["after"]);
    cluster.stop();
}

#[tokio::test]
async fn one_full_replica_acknowledges_no_value_and_two_leave_no_quorum() {
    let cluster = Cluster::start().await;
    cluster.stores[1].set_room(Room::High);
    put(&cluster, Some("one")).await.expect("two of three");
    cluster.stores[2].set_room(Room::High);
    let alone = put(&cluster, Some("two")).await;
    assert!(
        alone.is_err(),
        "a value that one of three stored was acknowledged"
    );
    put(&cluster, None).await.expect("deletes go on everywhere");
    cluster.stop();
}

#[tokio::test]
async fn repair_brings_values_past_the_high_mark_and_waits_when_little_is_left() {
    let cluster = Cluster::start().await;
    let key = target(RESOLVED, "k");
    for room in [Room::High, Room::Low] {
        cluster.cut(2);
        put(&cluster, Some("missed")).await.expect("two of three");
        cluster.heal();
        cluster.stores[2].set_room(room);
        cluster.peers[2].pass().await;
        cluster.peers[2].pass().await;
        let reached = seen(&cluster, 2, key.place) == seen(&cluster, 0, key.place);
        assert_eq!(reached, room == Room::High, "{room:?}");
    }
    // What is not taken is not fetched in each pass.
    let fetched = fetches(&cluster, 2);
    for _ in 0..3 {
        assert_eq!(
            cluster.peers[2].pass().await,
            1,
            "it is behind all the same"
        );
    }
    assert_eq!(fetches(&cluster, 2), fetched);
    cluster.stores[2].set_room(Room::Ample);
    let before = cluster.peers[2].counts().repair_bytes;
    cluster.converge().await;
    let taken = cluster.peers[2].counts().repair_bytes - before;
    assert!(
        0 < taken,
        "what repair takes is counted, and held to the rate"
    );
    cluster.stop();
}
