//! These tests are about how a node keeps its map.

use super::cluster::{Cluster, address, node_id, soon};
use crate::authority::keeper::{AdoptError, MapKeeper};
use crate::store::memory::{Fault, Memory};
use crate::store::{Durability, Space, Store, Write};
use soros_core::map::Map;
use soros_core::map::change::Change;
use soros_core::map::settings::Settings;
use std::sync::Arc;

const ALL: [&str; 3] = ["n1", "n2", "n3"];

fn next(map: &Map) -> Map {
    map.apply(&Change::PutSettings(Settings::default()))
        .unwrap()
}

fn keeper(cluster: &Cluster, store: &Memory) -> MapKeeper {
    let identity = cluster.node("n1").identity().clone();
    MapKeeper::open(identity, None, Arc::new(store.clone())).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_map_is_durable_before_it_is_seen_and_only_newer_ones_are_taken() {
    let cluster = Cluster::founded(&ALL).await;
    let first = Map::clone(&cluster.map("n1"));
    let store = Memory::new(5);
    let kept = keeper(&cluster, &store);
    assert!(kept.map().is_none());
    kept.accept(first.clone()).await.unwrap();
    store.crash();
    assert_eq!(keeper(&cluster, &store).epoch(), first.epoch());
    let newer = next(&first);
    store.fail_next(Fault::Full);
    let full = kept.accept(newer.clone()).await;
    assert!(matches!(full, Err(AdoptError::Store(_))));
    assert_eq!(
        kept.epoch(),
        first.epoch(),
        "a map that is not on disk was seen"
    );
    kept.accept(newer.clone()).await.unwrap();
    assert_eq!(kept.accept(first).await.unwrap(), newer.epoch());
    assert_eq!(kept.epoch(), newer.epoch());
}

#[tokio::test(start_paused = true)]
async fn maps_of_other_clusters_and_other_nodes_are_refused() {
    let (one, two) = (Cluster::founded(&ALL).await, Cluster::founded(&ALL).await);
    let kept = one.keeper("n1");
    let foreign = Map::clone(&two.map("n1"));
    assert!(matches!(
        kept.accept(foreign.clone()).await,
        Err(AdoptError::OtherCluster(_))
    ));
    let fresh = keeper(&one, &Memory::new(6));
    assert!(matches!(
        fresh.accept(foreign).await,
        Err(AdoptError::NotNamed)
    ));
}

#[tokio::test(start_paused = true)]
async fn a_damaged_map_is_none() {
    let cluster = Cluster::founded(&ALL).await;
    let store = Memory::new(7);
    keeper(&cluster, &store)
        .accept(Map::clone(&cluster.map("n1")))
        .await
        .unwrap();
    assert!(store.flip(Space::Node, b"map"));
    assert!(keeper(&cluster, &store).map().is_none());
    let junk = Write::put(Space::Node, b"map".to_vec(), vec![1; 40]);
    store.commit(vec![junk], Durability::Synced).unwrap();
    assert!(keeper(&cluster, &store).map().is_none());
}

#[tokio::test(start_paused = true)]
async fn who_shows_an_older_epoch_is_sent_the_map() {
    let cluster = Cluster::founded(&["n1", "n2", "n3", "p4"]).await;
    cluster.net.cut("p4", true);
    let done = cluster.put("n1", "b").await.unwrap();
    cluster.net.cut("p4", false);
    assert!(!cluster.has("p4", "b"));
    let old = cluster.keeper("p4").epoch();
    cluster.node("n2").on_epoch(node_id("p4"), old);
    soon(cluster.keeper("p4").reached(done.epoch)).await;
    assert!(cluster.has("p4", "b"));
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_sees_the_change() {
    let cluster = Cluster::founded(&ALL).await;
    let keeper = cluster.keeper("n3");
    let waits = keeper.reached(keeper.epoch().next());
    let (map, done) = tokio::join!(soon(waits), cluster.put("n1", "b"));
    assert_eq!(map.epoch(), done.unwrap().epoch);
}

#[tokio::test(start_paused = true)]
async fn bytes_that_are_no_request_are_refused() {
    let cluster = Cluster::founded(&["n1"]).await;
    let node = cluster.node("n1");
    for bytes in [
        &b""[..],
        b"\x01",
        b"\x02{}",
        b"\x01{\"push\":{}}",
        b"\x01[[[[",
    ] {
        assert_eq!(&node.on_request(bytes).await[..], b"\x01\"refused\"");
    }
    assert_eq!(node.identity().peer, address("n1"));
}
