//! These tests are about what a node finds out before it starts: that it has a twin, that it is in
//! another cluster, that its directory is an earlier copy.

use super::cluster::{Cluster, address};
use crate::authority::record::seal;
use crate::authority::scout::{Scout, ScoutError, Scouted};
use crate::authority::{Entry, Failure};
use crate::store::memory::Memory;
use crate::store::{Durability, Space, Store, Write};
use soros_core::id::{Incarnation, NodeId, NodeName};
use soros_core::map::Map;

const ALL: [&str; 3] = ["n1", "n2", "n3"];

/// A disk with a map.
fn disk(map: &Map) -> Memory {
    let memory = Memory::new(9);
    let write = Write::put(Space::Node, b"map".to_vec(), seal(map));
    memory.commit(vec![write], Durability::Synced).unwrap();
    memory
}

/// What a process of `n1` at `from` finds out, whose directory was used by `previous` last.
async fn scouted(
    cluster: &Cluster,
    from: &str,
    store: &Memory,
    previous: Option<Incarnation>,
) -> Result<Scouted, ScoutError> {
    let name: NodeName = "n1".parse().unwrap();
    let scout = Scout {
        name: &name,
        previous,
        store,
        wire: &*cluster.wire(from, &name, Incarnation(u128::MAX)),
        entry: &Entry::Bootstrap(ALL.map(address).to_vec()),
        addresses: vec![from.to_owned()],
    };
    scout.ask().await
}

fn life(map: &Map) -> Option<Incarnation> {
    let node = map.node(NodeId::of(&"n1".parse().unwrap()))?;
    Some(node.identity.incarnation)
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_the_cluster_has_seen_a_later_life_of_is_an_earlier_copy() {
    let mut cluster = Cluster::founded(&ALL).await;
    let before = cluster.map("n1");
    cluster.crash("n1").await;
    let plain = scouted(&cluster, &address("n1"), &disk(&before), life(&before)).await;
    assert_eq!(plain.unwrap(), Scouted::Sound);
    // A process that ended before it had come in is no reason to doubt.
    let started = Some(Incarnation(77));
    let plain = scouted(&cluster, &address("n1"), &disk(&before), started).await;
    assert_eq!(plain.unwrap(), Scouted::Sound);

    cluster.bootstrap("n1", &ALL).await;
    cluster.all_registered(&ALL).await;
    let after = cluster.map("n1");
    cluster.crash("n1").await;
    let seen = life(&after).unwrap();
    let restored = scouted(&cluster, &address("n1"), &disk(&before), life(&before)).await;
    assert_eq!(restored.unwrap(), Scouted::Restored(seen));
    let newest = scouted(&cluster, &address("n1"), &disk(&after), Some(seen)).await;
    assert_eq!(newest.unwrap(), Scouted::Sound);
    // It came in, and ended before it had the map that says so.
    let newest = scouted(&cluster, &address("n1"), &disk(&before), Some(seen)).await;
    assert_eq!(newest.unwrap(), Scouted::Sound);
}

#[tokio::test(start_paused = true)]
async fn a_node_without_anyone_to_ask_starts() {
    let cluster = Cluster::founded(&ALL).await;
    let map = cluster.map("n1");
    for name in ALL {
        cluster.crash(name).await;
    }
    let alone = scouted(&cluster, &address("n1"), &disk(&map), Some(Incarnation(1))).await;
    assert_eq!(alone.unwrap(), Scouted::Sound);
}

#[tokio::test(start_paused = true)]
async fn a_second_process_is_told_of_the_first_wherever_it_says_it_is() {
    let cluster = Cluster::founded(&ALL).await;
    let map = cluster.map("n1");
    for (from, store) in [
        ("elsewhere:1", disk(&map)),
        (&address("n1"), disk(&map)),
        ("elsewhere:2", Memory::new(4)),
    ] {
        let twin = scouted(&cluster, from, &store, life(&map)).await;
        assert!(
            matches!(&twin, Err(ScoutError::Failure(Failure::IdentityInUse(name))) if name.as_str() == "n1"),
            "{from}: {twin:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_directory_of_another_cluster_is_refused_unless_its_own_answers() {
    let (cluster, other) = (Cluster::founded(&ALL).await, Cluster::founded(&ALL).await);
    cluster.crash("n1").await;
    let foreign = disk(&other.map("n1"));
    let refused = scouted(&cluster, &address("n1"), &foreign, Some(Incarnation(1))).await;
    assert!(
        matches!(
            refused,
            Err(ScoutError::Failure(Failure::OtherCluster { .. }))
        ),
        "{refused:?}"
    );
}
