//! These tests are about programs of different ages: what a newer one wrote is refused whole, and
//! nothing of it is lost.

use super::cluster::{Cluster, soon};
use crate::authority::Entry;
use crate::authority::keeper::KeeperError;
use crate::authority::member::{RaftIdError, raft_id};
use crate::authority::record::seal_as;
use crate::authority::wire::{Answer, Request, decode, encode};
use crate::store::{Durability, Space, Store, Write};
use serde_json::json;
use soros_core::epoch::Epoch;
use soros_core::map::format::{Format, UnknownFormat};
use std::sync::Arc;

const NEWER: Format = Format(Format::KNOWN.0 + 1);

/// A node that was in a cluster and does not run, and its disk.
async fn stopped() -> (Cluster, Arc<dyn Store>) {
    let cluster = Cluster::founded(&["n1"]).await;
    let store: Arc<dyn Store> = Arc::new(cluster.store("n1"));
    cluster.kill("n1").await;
    (cluster, store)
}

fn write(store: &dyn Store, write: Write) {
    let written = store.commit(vec![write], Durability::Synced);
    written.expect("the disk is sound");
}

#[tokio::test(start_paused = true)]
async fn a_map_of_a_newer_program_is_neither_read_nor_replaced() {
    let (_cluster, store) = stopped().await;
    let newer = seal_as(NEWER, &json!({"format": NEWER, "all": "new"}));
    write(
        &*store,
        Write::put(Space::Node, b"map".to_vec(), newer.clone()),
    );
    let refused = crate::authority::keeper::read(&*store).expect_err("a newer map");
    let KeeperError::Newer(UnknownFormat(found)) = refused else {
        panic!("{refused}");
    };
    assert_eq!(found, NEWER);
    assert!(
        refused
            .to_string()
            .contains("run one that is at least as new")
    );
    let kept = store.snapshot(Space::Node).get(b"map");
    assert_eq!(kept.expect("the disk is sound"), Some(newer));
}

#[tokio::test(start_paused = true)]
async fn a_log_of_a_newer_program_is_neither_read_nor_dropped() {
    let (_cluster, store) = stopped().await;
    let entry = [&b"entry/"[..], &999_u64.to_be_bytes()].concat();
    let newer = seal_as(NEWER, &json!({"all": "new"}));
    write(
        &*store,
        Write::put(Space::Authority, entry.clone(), newer.clone()),
    );
    let refused = raft_id(&store).await.expect_err("a newer log");
    assert!(matches!(refused, RaftIdError::Newer(UnknownFormat(found)) if found == NEWER));
    let kept = store.snapshot(Space::Authority).get(&entry);
    assert_eq!(kept.expect("the disk is sound"), Some(newer));
}

#[tokio::test(start_paused = true)]
async fn what_a_cluster_writes_is_of_the_format_that_its_nodes_know() {
    let (mut cluster, store) = stopped().await;
    let version = |space, key: &[u8]| {
        let record = store.snapshot(space).get(key);
        record.expect("the disk is sound").map(|record| record[0])
    };
    assert_eq!(version(Space::Node, b"map"), Some(Format::KNOWN.0));
    assert_eq!(version(Space::Authority, b"vote"), Some(Format::FIRST.0));
    cluster.start("n1", Entry::Known).await;
    cluster.all_registered(&["n1"]).await;
    assert_eq!(cluster.map("n1").format(), Format::KNOWN);
}

#[tokio::test(start_paused = true)]
async fn who_could_not_read_the_map_is_told_so() {
    let cluster = Cluster::founded(&["n1"]).await;
    let node = cluster.node("n1");
    let fetch = |knows| {
        encode(&Request::Fetch {
            newer_than: Epoch::NONE,
            knows,
        })
    };
    let older = fetch(Format(Format::KNOWN.0 - 1));
    let answer = decode(&soon(node.on_request(&older)).await);
    let told = matches!(answer, Ok(Answer::NewerFormat(format)) if format == Format::KNOWN);
    assert!(told, "{answer:?}");
    let answer = decode(&soon(node.on_request(&fetch(NEWER))).await);
    assert!(matches!(answer, Ok(Answer::Fetch(Some(_)))), "{answer:?}");
}
