//! These tests are about how clusters begin, and how nodes come in and come back.

use super::cluster::{Cluster, address, node_id, node_name, soon};
use crate::authority::bootstrap::{BootstrapError, Step, View, Waiting, next_step};
use crate::authority::start::judge;
use crate::authority::wire::Hello;
use crate::authority::{Entry, Failure};
use soros_core::epoch::Epoch;
use soros_core::id::{ClusterId, Incarnation};
use soros_core::map::change::ChangeError;
use soros_core::map::node::{Identity, NodeState, RaftId, Role};
use std::collections::{BTreeMap, BTreeSet};

fn hello(name: &str, founders: &[&str]) -> Hello {
    let identity = Identity {
        name: node_name(name),
        incarnation: Incarnation(1),
        raft: RaftId(node_id(name).0),
        url: String::new(),
        peer: address(name),
        zone: String::new(),
        capacity: 1,
        roles: BTreeSet::from([Role::Authority]),
        version: String::new(),
        format: soros_core::map::format::Format::KNOWN,
    };
    let founders = founders.iter().map(|name| address(name)).collect();
    Hello {
        identity,
        cluster: None,
        lost: None,
        epoch: Epoch::NONE,
        founders,
        has_voted: false,
    }
}

const ALL: [&str; 3] = ["n1", "n2", "n3"];

/// What the first founder does when the others say `others`, which `change` changed.
fn step_of(name: &str, change: impl FnOnce(&mut BTreeMap<String, Hello>)) -> Step {
    let me = hello(name, &ALL);
    let others = ALL.iter().filter(|other| **other != name);
    let mut others = others
        .map(|name| (address(name), hello(name, &ALL)))
        .collect();
    change(&mut others);
    next_step(&View {
        me: &me,
        others: &others,
        leads: false,
    })
}

fn names(members: &[Identity]) -> Vec<&str> {
    members.iter().map(|member| member.name.as_str()).collect()
}

#[test]
fn the_first_founder_makes_the_group_when_all_agree() {
    let Step::Initialize(voters) = step_of("n1", |_| {}) else {
        panic!("all agree");
    };
    assert_eq!(names(&voters), ALL);
    assert_eq!(step_of("n2", |_| {}), Step::Wait(Waiting::Founding));
}

#[test]
fn waits_for_all_founders_and_for_one_list() {
    let silent = step_of("n1", |others| drop(others.remove(&address("n3"))));
    assert_eq!(silent, Step::Wait(Waiting::Silent(vec![address("n3")])));
    let other = step_of("n1", |others| {
        others.insert(address("n2"), hello("n2", &["n1", "n2"]));
    });
    assert_eq!(other, Step::Wait(Waiting::OtherFounders(address("n2"))));
    let moved = step_of("n1", |others| {
        others.get_mut(&address("n2")).unwrap().identity.peer = address("n8");
    });
    let (asked, says) = (address("n2"), address("n8"));
    assert_eq!(moved, Step::Wait(Waiting::OtherAddress { asked, says }));
}

#[test]
fn never_makes_a_second_group_or_a_second_cluster() {
    let voted = step_of("n1", |others| {
        others.get_mut(&address("n3")).unwrap().has_voted = true;
    });
    assert_eq!(voted, Step::Wait(Waiting::Founding));
    let living = step_of("n1", |others| {
        let known = others.get_mut(&address("n3")).unwrap();
        (known.cluster, known.epoch) = (Some(ClusterId(1)), Epoch(4));
        others.remove(&address("n2"));
    });
    assert_eq!(living, Step::Rejoin(address("n3")));
    let two = step_of("n1", |others| {
        others.get_mut(&address("n2")).unwrap().cluster = Some(ClusterId(1));
        others.get_mut(&address("n3")).unwrap().cluster = Some(ClusterId(2));
    });
    let error = BootstrapError::TwoClusters(ClusterId(1), ClusterId(2));
    assert_eq!(two, Step::GiveUp(error));
}

#[test]
fn nothing_is_founded_in_the_place_of_a_cluster_whose_map_was_lost() {
    let lost = |others: &mut BTreeMap<String, Hello>| {
        others.get_mut(&address("n3")).unwrap().lost = Some(ClusterId(1));
    };
    let (cluster, members) = (ClusterId(1), vec![address("n3")]);
    let waits = Step::Wait(Waiting::Lost { cluster, members });
    assert_eq!(step_of("n1", lost), waits);
    let living = step_of("n1", |others| {
        lost(others);
        others.get_mut(&address("n2")).unwrap().cluster = Some(ClusterId(1));
    });
    assert_eq!(living, Step::Rejoin(address("n2")));
    let other = step_of("n1", |others| {
        lost(others);
        others.get_mut(&address("n2")).unwrap().cluster = Some(ClusterId(2));
    });
    let error = BootstrapError::TwoClusters(ClusterId(2), ClusterId(1));
    assert_eq!(other, Step::GiveUp(error));
    let mut me = hello("n1", &["n1"]);
    me.lost = Some(ClusterId(1));
    for leads in [false, true] {
        let step = next_step(&View {
            me: &me,
            others: &BTreeMap::new(),
            leads,
        });
        let waits = |step| matches!(step, Step::Wait(Waiting::Lost { .. }));
        assert!(waits(step), "the only founder lost its map");
    }
}

#[tokio::test(start_paused = true)]
async fn founders_whose_directories_name_a_cluster_found_no_other_and_come_into_no_other() {
    let mut cluster = Cluster::founded(&ALL).await;
    let id = cluster.map("n1").cluster();
    cluster.recorded = Some(id);
    for name in ALL {
        cluster.kill(name).await;
        cluster.wipe(name);
        cluster.bootstrap(name, &ALL).await;
    }
    tokio::time::sleep(std::time::Duration::from_secs(30)).await;
    assert!(
        ALL.iter().all(|name| cluster.keeper(name).map().is_none()),
        "a second cluster was founded"
    );

    let mut other = Cluster::founded(&["n1"]).await;
    let found = other.map("n1").cluster();
    other.recorded = Some(id);
    let node = other.start("p2", Entry::Join(address("n1"))).await;
    let refused = Failure::OtherCluster {
        recorded: id,
        found,
    };
    assert_eq!(soon(node.failed()).await, refused);
    other.recorded = Some(found);
    other.start("p3", Entry::Join(address("n1"))).await;
    other.all_registered(&["p3"]).await;
}

#[test]
fn gives_up_on_lists_that_cannot_be() {
    let mut me = hello("n1", &["n2", "n3"]);
    let others = BTreeMap::new();
    let view = View {
        me: &me,
        others: &others,
        leads: false,
    };
    let error = BootstrapError::NotListed(address("n1"));
    assert_eq!(next_step(&view), Step::GiveUp(error));
    let twin = step_of("n1", |others| {
        others.get_mut(&address("n2")).unwrap().identity.name = node_name("n1");
    });
    let error = BootstrapError::OneId(node_name("n1"), node_name("n1"));
    assert_eq!(twin, Step::GiveUp(error));
    me = hello("n1", &["n1"]);
    me.identity.roles = BTreeSet::from([Role::Peer]);
    let view = View {
        me: &me,
        others: &others,
        leads: false,
    };
    assert_eq!(next_step(&view), Step::GiveUp(BootstrapError::NoAuthority));
}

#[test]
fn the_leader_proposes_the_first_map() {
    let me = hello("n1", &["n1"]);
    let view = View {
        me: &me,
        others: &BTreeMap::new(),
        leads: true,
    };
    assert_eq!(next_step(&view), Step::Found(vec![me.identity.clone()]));
}

#[tokio::test(start_paused = true)]
async fn three_founders_make_one_cluster() {
    let cluster = Cluster::founded(&ALL).await;
    let maps: Vec<_> = ALL.iter().map(|name| cluster.map(name)).collect();
    assert!(maps.iter().all(|map| map.cluster() == maps[0].cluster()));
    assert!(
        maps[0]
            .nodes()
            .values()
            .all(|node| node.state == NodeState::Active)
    );
    let placement = maps[0].placements().values().next().unwrap();
    assert_eq!(
        (placement.replicas(), placement.partitions().get()),
        (3, 256)
    );
    let leadership = cluster.node("n1").leadership().await;
    assert_eq!(leadership.voters.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_single_founder_and_one_without_the_authority_role_make_a_cluster() {
    let names = ["n1", "p2"];
    let cluster = Cluster::founded(&names).await;
    assert_eq!(cluster.map("p2").nodes().len(), 2);
    let leadership = cluster.node("p2").leadership().await;
    assert_eq!(leadership.voters, [node_id("n1")]);
    assert_eq!(leadership.leader, Some(node_id("n1")));
}

#[tokio::test(start_paused = true)]
async fn founders_that_come_late_are_waited_for() {
    let mut cluster = Cluster::new();
    cluster.bootstrap("n1", &ALL).await;
    cluster.bootstrap("n2", &ALL).await;
    tokio::time::sleep(std::time::Duration::from_secs(30)).await;
    assert!(cluster.keeper("n1").map().is_none());
    cluster.bootstrap("n3", &ALL).await;
    cluster.all_registered(&ALL).await;
}

#[tokio::test(start_paused = true)]
async fn a_new_node_joins_without_data() {
    let mut cluster = Cluster::founded(&ALL).await;
    let joined = cluster.start("p4", Entry::Join(address("n2"))).await;
    cluster.all_registered(&["p4"]).await;
    let map = joined.keeper().map().unwrap();
    assert_eq!(map.node(node_id("p4")).unwrap().state, NodeState::Joining);
    cluster.put("p4", "b").await.unwrap();
    assert!(cluster.has("n1", "b") && cluster.has("p4", "b"));
}

#[tokio::test(start_paused = true)]
async fn a_founder_that_lost_its_disk_comes_back_as_itself() {
    let mut cluster = Cluster::founded(&ALL).await;
    let before = cluster.map("n1");
    for name in ALL {
        cluster.kill(name).await;
        cluster.wipe(name);
        cluster.bootstrap(name, &ALL).await;
        cluster.all_registered(&[name]).await;
        let map = cluster.map(name);
        assert_eq!(
            map.cluster(),
            before.cluster(),
            "{name} founded a second cluster"
        );
        assert_eq!(map.node(node_id(name)).unwrap().state, NodeState::Active);
        // The authority goes on without the member that is gone, and takes the new one in: when
        // each has lost its disk once, three vote still.
        let member = map.node(node_id(name)).unwrap().identity.raft;
        soon(voting(&cluster, name, member)).await;
    }
    cluster.put("n2", "b").await.unwrap();
}

/// Waits until `member` votes and knows it.
async fn voting(cluster: &Cluster, name: &str, member: RaftId) {
    loop {
        let node = cluster.node(name);
        let running = node
            .inner
            .member
            .as_ref()
            .and_then(crate::authority::Member::running);
        let voters = running.map(|own| own.raft.voter_ids().collect::<BTreeSet<_>>());
        if voters.is_some_and(|voters| voters.len() == 3 && voters.contains(&member)) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn known_nodes_keep_their_flags_and_serve_under_their_map_at_once() {
    let mut cluster = Cluster::founded(&ALL).await;
    cluster.put("n1", "b").await.unwrap();
    for name in ALL {
        cluster.kill(name).await;
    }
    let alone = cluster.bootstrap("n2", &ALL).await;
    assert!(cluster.has("n2", "b"), "a known node waits for others");
    assert!(!alone.keeper().is_registered());
    cluster.start("n1", Entry::Join(address("n2"))).await;
    cluster.start("n3", Entry::Known).await;
    cluster.all_registered(&ALL).await;
    cluster.put("n3", "c").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_node_that_knows_no_cluster_and_is_told_of_none_gives_up() {
    let mut cluster = Cluster::new();
    let node = cluster.start("n1", Entry::Known).await;
    assert_eq!(soon(node.failed()).await, Failure::NoCluster);
    let node = cluster.bootstrap("n2", &["n1", "n3"]).await;
    let error = BootstrapError::NotListed(address("n2"));
    assert_eq!(soon(node.failed()).await, Failure::Bootstrap(error));
}

#[tokio::test(start_paused = true)]
async fn a_second_process_with_a_living_nodes_name_is_refused() {
    let mut cluster = Cluster::founded(&ALL).await;
    let leader = cluster.leader(&ALL).await;
    for name in ALL {
        let first = cluster
            .map(&leader)
            .node(node_id(name))
            .unwrap()
            .identity
            .incarnation;
        cluster.wipe(name);
        let twin = cluster
            .start_at(name, "elsewhere:1", Entry::Join(address("n2")))
            .await;
        assert_eq!(
            soon(twin.failed()).await,
            Failure::IdentityInUse(node_name(name))
        );
        twin.stop().await;
        let known = cluster
            .map(&leader)
            .node(node_id(name))
            .unwrap()
            .identity
            .incarnation;
        assert_eq!(known, first, "the second process took the name");
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_whose_name_was_taken_while_it_was_away_stops() {
    let mut cluster = Cluster::founded(&ALL).await;
    cluster.net.cut("n3", true);
    let first = cluster.node("n3");
    cluster.wipe("n3");
    cluster
        .start_at("n3", "elsewhere:1", Entry::Join(address("n2")))
        .await;
    soon(async {
        let mut maps = cluster.keeper("n2").subscribe();
        let moved = |map: &Option<std::sync::Arc<soros_core::map::Map>>| {
            let node = map
                .as_ref()
                .and_then(|map| map.node(node_id("n3")).cloned());
            node.is_some_and(|node| node.identity.peer == "elsewhere:1")
        };
        maps.wait_for(moved).await.unwrap();
    })
    .await;
    cluster.net.cut("n3", false);
    first.on_epoch(node_id("n2"), cluster.keeper("n2").epoch());
    assert_eq!(
        soon(first.failed()).await,
        Failure::Superseded(node_name("n3"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_was_put_back_is_found_out() {
    let names = ["n1", "n2", "n3", "p4"];
    let mut cluster = Cluster::founded(&names).await;
    for name in ["p4", "n3"] {
        let before = cluster.store(name).commits();
        cluster.kill(name).await;
        cluster.start(name, Entry::Known).await;
        cluster.all_registered(&[name]).await;
        assert_eq!(
            cluster.net.is_latest(name),
            Some(true),
            "{name}: a restart loses nothing"
        );
        cluster.kill(name).await;
        let store = cluster.store(name);
        store.cut(store.commits() - before);
        cluster.start(name, Entry::Known).await;
        cluster.all_registered(&[name]).await;
        assert_eq!(cluster.net.is_latest(name), Some(false), "{name}");
        cluster.kill(name).await;
        cluster.start(name, Entry::Known).await;
        cluster.all_registered(&[name]).await;
        assert_eq!(cluster.net.is_latest(name), Some(true), "{name} was told");
    }
    cluster.put("n1", "b").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn without_a_leader_the_other_nodes_vouch_for_a_directory() {
    let names = ["n1", "p2", "p3"];
    let mut cluster = Cluster::founded(&names).await;
    for name in names {
        cluster.kill(name).await;
    }
    cluster.start("p3", Entry::Known).await;
    tokio::time::sleep(std::time::Duration::from_secs(20)).await;
    assert_eq!(cluster.net.is_latest("p3"), None, "nobody could tell");
    cluster.start("p2", Entry::Known).await;
    soon(async {
        while cluster.net.is_latest("p3") != Some(true) {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn who_was_away_during_a_life_does_not_vouch_that_there_was_none() {
    let names = ["n1", "n2", "n3", "p4", "p5"];
    let mut cluster = Cluster::founded(&names).await;
    cluster.kill("p5").await;
    cluster.kill("p4").await;
    let before = cluster.store("p4").commits();
    cluster.start("p4", Entry::Known).await;
    cluster.all_registered(&["p4"]).await;
    for name in ["n1", "n2", "n3", "p4"] {
        cluster.kill(name).await;
    }
    let store = cluster.store("p4");
    store.cut(store.commits() - before);
    cluster.net.is_latest("p4");
    cluster.start("p5", Entry::Known).await;
    cluster.start("p4", Entry::Known).await;
    tokio::time::sleep(std::time::Duration::from_secs(20)).await;
    assert_eq!(cluster.net.is_latest("p4"), None, "nobody could tell");
    cluster.start("n1", Entry::Known).await;
    soon(async {
        while cluster.net.is_latest("p4") != Some(false) {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_registration_that_another_change_came_before_is_tried_again() {
    let cluster = Cluster::founded(&["n1"]).await;
    let (expected, now) = (Epoch(1), Epoch(2));
    let moved = ChangeError::Moved { expected, now };
    let judged = judge(&cluster.node("n1").inner, Err(moved.into())).await;
    assert_eq!(judged, Ok(()));
    let refused = judge(
        &cluster.node("n1").inner,
        Err(ChangeError::NotFounded.into()),
    )
    .await;
    assert_eq!(refused, Err(Failure::Refused(ChangeError::NotFounded)));
}
