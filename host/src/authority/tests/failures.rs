//! These tests are about what the authority survives: lost leaders, lost quorums, lost and broken
//! disks.

use super::cluster::{Cluster, node_id, node_name, soon};
use crate::authority::Entry;
use crate::authority::command::CommandError;
use crate::authority::keeper::{Adopts, MapKeeper};
use crate::authority::member::{after_a_loss, forget, raft_id};
use crate::authority::raft::Vote;
use crate::authority::wire::{Answer, RaftMessage, Request, decode, encode};
use crate::network::BoxFuture;
use crate::store::memory::Memory;
use crate::store::{Durability, Space, Store, Write};
use openraft::raft::VoteRequest;
use soros_core::id::Incarnation;
use soros_core::map::Map;
use soros_core::map::change::Change;
use soros_core::map::node::{Identity, RaftId};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

const ALL: [&str; 3] = ["n1", "n2", "n3"];

fn others(leader: &str) -> Vec<&'static str> {
    ALL.into_iter().filter(|name| **name != *leader).collect()
}

#[tokio::test(start_paused = true)]
async fn a_lost_leader_is_followed_by_another() {
    let mut cluster = Cluster::founded(&ALL).await;
    let leader = cluster.leader(&ALL).await;
    let others = others(&leader);
    cluster.put(others[0], "before").await.unwrap();
    cluster.crash(&leader).await;
    cluster.put(others[0], "after").await.unwrap();
    assert!(cluster.has(others[1], "before") && cluster.has(others[1], "after"));
    cluster.start(&leader, Entry::Known).await;
    cluster.all_registered(&[&leader]).await;
    assert!(cluster.has(&leader, "after"));
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_cut_off_changes_nothing() {
    let cluster = Cluster::founded(&ALL).await;
    let leader = cluster.leader(&ALL).await;
    let others = others(&leader);
    cluster.net.cut(&leader, true);
    let began = Instant::now();
    let refused = cluster.put(&leader, "lost").await;
    assert_eq!(refused, Err(CommandError::NoLeader));
    assert!(
        began.elapsed() < Duration::from_secs(15),
        "{:?}",
        began.elapsed()
    );
    cluster.put(others[0], "kept").await.unwrap();
    cluster.net.cut(&leader, false);
    cluster.put(&leader, "later").await.unwrap();
    let map = cluster.map(&leader);
    assert!(cluster.has(&leader, "kept") && cluster.has(&leader, "later"));
    assert!(map.bucket(&"lost".parse().unwrap()).is_none());
}

#[tokio::test(start_paused = true)]
async fn without_a_quorum_the_map_stays_and_is_served() {
    let mut cluster = Cluster::founded(&ALL).await;
    cluster.put("n1", "b").await.unwrap();
    cluster.crash("n2").await;
    cluster.crash("n3").await;
    let refused = cluster.put("n1", "c").await;
    assert_eq!(refused, Err(CommandError::NoLeader));
    assert!(cluster.has("n1", "b"));
    cluster.start("n3", Entry::Known).await;
    cluster.put("n1", "c").await.unwrap();
    assert!(cluster.has("n3", "c"));
}

#[tokio::test(start_paused = true)]
async fn all_nodes_come_back_with_what_was_changed() {
    let mut cluster = Cluster::founded(&ALL).await;
    for round in 0..3 {
        cluster.put("n1", &format!("b{round}")).await.unwrap();
        for name in ALL {
            cluster.crash(name).await;
        }
        for name in ALL {
            cluster.start(name, Entry::Known).await;
        }
        cluster.all_registered(&ALL).await;
        assert!((0..=round).all(|round| cluster.has("n3", &format!("b{round}"))));
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_far_behind_is_given_the_whole_map() {
    let mut cluster = Cluster::founded(&ALL).await;
    cluster.crash("n3").await;
    // More changes than a snapshot and the entries behind it cover.
    for round in 0..340 {
        cluster.put("n1", &format!("b{}", round % 7)).await.unwrap();
    }
    cluster.start("n3", Entry::Known).await;
    cluster.all_registered(&["n3"]).await;
    cluster.crash("n1").await;
    cluster.put("n3", "last").await.unwrap();
    assert!(cluster.has("n2", "last"));
}

#[tokio::test(start_paused = true)]
async fn a_member_whose_disk_failed_comes_back_by_itself() {
    let cluster = Cluster::founded(&ALL).await;
    let leader = cluster.leader(&ALL).await;
    let store = cluster.store(&leader);
    store.set_full(true);
    let others = others(&leader);
    soon(async {
        while cluster.put(others[0], "b").await.is_err() {
            sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    assert!(
        !cluster.has(&leader, "b"),
        "a map was adopted that is not on disk"
    );
    store.set_full(false);
    let done = soon(async {
        loop {
            match cluster.put(&leader, "c").await {
                Ok(done) if done.not_ready.is_empty() => return done,
                _ => sleep(Duration::from_millis(100)).await,
            }
        }
    })
    .await;
    soon(cluster.keeper(&leader).reached(done.epoch)).await;
    assert!(cluster.has(&leader, "b") && cluster.has(&leader, "c"));
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_stops_hands_over() {
    let cluster = Cluster::founded(&ALL).await;
    let leader = cluster.leader(&ALL).await;
    let others = others(&leader);
    cluster.put(&leader, "a").await.unwrap();
    let began = Instant::now();
    cluster.kill(&leader).await;
    cluster.put(others[0], "b").await.unwrap();
    // Less than the others would have needed to miss it.
    assert!(
        began.elapsed() < Duration::from_millis(700),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_node_answers_only_for_the_member_it_is() {
    let cluster = Cluster::founded(&ALL).await;
    let node = cluster.node("n2");
    let ask = async |to| {
        let message = RaftMessage::Vote(VoteRequest::new(Vote::new(99, RaftId(7)), None));
        let request = encode(&Request::Raft { to, message });
        decode::<Answer>(&node.on_request(&request).await).unwrap()
    };
    let own = node.identity().raft;
    assert!(matches!(ask(RaftId(own.0 ^ 1)).await, Answer::Refused));
    assert!(matches!(ask(own).await, Answer::Vote(_)));
}

#[tokio::test(start_paused = true)]
async fn members_that_are_put_back_are_told_again_by_a_leader_that_goes_on() {
    let mut cluster = Cluster::founded(&ALL).await;
    let leader = cluster.leader(&ALL).await;
    let vote = |cluster: &Cluster| {
        let stored = cluster.store(&leader).snapshot(Space::Authority);
        stored.get(b"vote").unwrap()
    };
    let before = vote(&cluster);
    for (round, back) in others(&leader).into_iter().enumerate() {
        for change in 0..3 {
            let name = format!("b{round}-{change}");
            cluster.put(&leader, &name).await.unwrap();
        }
        soon(cluster.keeper(back).reached(cluster.map(&leader).epoch())).await;
        cluster.crash(back).await;
        cluster.store(back).cut(8);
        cluster.start(back, Entry::Known).await;
        cluster.all_registered(&[back]).await;
    }
    cluster.put(&leader, "last").await.unwrap();
    assert_eq!(vote(&cluster), before, "there was no election");
    for name in ALL {
        assert!(cluster.has(name, "last"), "{name}");
    }
}

#[tokio::test]
async fn who_may_have_lost_its_vote_is_another_member() {
    let memory = Memory::new(3);
    let store: Arc<dyn Store> = Arc::new(memory.clone());
    let first = raft_id(&store).await.unwrap();
    assert_eq!(raft_id(&store).await.unwrap(), first);
    let vote = Write::put(Space::Authority, b"vote".to_vec(), b"old".to_vec());
    store.commit(vec![vote], Durability::Synced).unwrap();
    assert!(memory.flip(Space::Authority, b"raft"));
    let second = raft_id(&store).await.unwrap();
    assert_ne!(second, first);
    let left = store.snapshot(Space::Authority).get(b"vote").unwrap();
    assert_eq!(left, None, "another member has the vote of the one before");
    assert_ne!(forget(&store).await.unwrap(), second);
}

#[tokio::test(start_paused = true)]
async fn who_cannot_read_its_log_is_another_member() {
    let mut cluster = Cluster::founded(&ALL).await;
    let before = cluster.node("n3").identity().raft;
    cluster.kill("n3").await;
    let store = cluster.store("n3");
    let entries = store.snapshot(Space::Authority);
    let entries = entries.scan(b"entry/", b"entry0", 9).unwrap();
    let (last, _) = entries.last().expect("an entry");
    assert!(store.flip(Space::Authority, last));
    cluster.start("n3", Entry::Known).await;
    cluster.all_registered(&["n3"]).await;
    assert_ne!(cluster.node("n3").identity().raft, before);
    cluster.put("n3", "b").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_lost_the_end_of_its_log_is_another_member_unless_it_is_the_only_one() {
    for (names, replaced) in [(&ALL[..], true), (&["n3", "p1"], false)] {
        let cluster = Cluster::founded(names).await;
        let before = cluster.node("n3").identity().raft;
        cluster.kill("n3").await;
        // Its map may be lost, too.
        for damage in [false, true] {
            let store = cluster.store("n3");
            assert!(!damage || store.flip(Space::Node, b"map"));
            let store: Arc<dyn Store> = Arc::new(store);
            after_a_loss(&store, &node_name("n3")).await.unwrap();
            let after = raft_id(&store).await.unwrap();
            assert_eq!(after != before, replaced, "{names:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_lost_its_map_and_the_end_of_its_log_is_another_member() {
    let cluster = Cluster::founded(&ALL).await;
    let before = cluster.node("n3").identity().raft;
    cluster.kill("n3").await;
    let store = cluster.store("n3");
    assert!(store.flip(Space::Node, b"map"));
    let store: Arc<dyn Store> = Arc::new(store);
    after_a_loss(&store, &node_name("n3")).await.unwrap();
    assert_ne!(raft_id(&store).await.unwrap(), before);
}

/// Never comes to know that its directory is in doubt.
struct NeverTold;

impl Adopts for NeverTold {
    fn adopted(&self, _: Arc<Map>) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    fn vouched(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    fn doubted(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }
}

#[tokio::test(start_paused = true)]
async fn a_map_that_names_another_life_is_not_stored_before_the_doubt_is() {
    let cluster = Cluster::founded(&["n1", "p2"]).await;
    let map = cluster.map("p2");
    let me = &map.node(node_id("p2")).unwrap().identity;
    let next_life = Identity {
        incarnation: Incarnation(99),
        ..me.clone()
    };
    let store: Arc<dyn Store> = Arc::new(Memory::new(4));
    let keeper = MapKeeper::open(me.clone(), None, Arc::clone(&store)).unwrap();
    keeper.adopt(Arc::clone(&map)).await.unwrap();
    let keeper = MapKeeper::open(next_life.clone(), None, Arc::clone(&store)).unwrap();
    keeper.set_adopts(Arc::new(NeverTold));
    let lived = |incarnation, map: &Map| {
        let identity = Identity {
            incarnation: Incarnation(incarnation),
            ..me.clone()
        };
        Arc::new(map.apply(&Change::Register(Box::new(identity))).unwrap())
    };
    let other = lived(98, &map);
    let adopted = timeout(Duration::from_secs(1), keeper.adopt(Arc::clone(&other))).await;
    assert!(adopted.is_err(), "nobody knows yet");
    assert_eq!(keeper.home(), Some(me.incarnation));
    let after = MapKeeper::open(next_life, None, Arc::clone(&store)).unwrap();
    assert_eq!(after.home(), Some(me.incarnation), "the map was stored");
    // One that names this life casts no doubt.
    let own = lived(99, &other);
    keeper.adopt(own).await.unwrap();
}
