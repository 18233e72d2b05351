//! These tests are about what operators have changed: what is done, refused, planned and deleted.

use super::cluster::{Cluster, node_id, node_name, soon};
use crate::authority::Emptiness;
use crate::authority::command::{Command, CommandError, Keys};
use soros_core::epoch::Epoch;
use soros_core::id::BucketName;
use soros_core::map::bucket::{BucketConfig, BucketState};
use soros_core::map::change::{Change, ChangeError, Proposal};
use soros_core::map::json::Json;
use soros_core::map::placement::PlacementConfig;
use soros_core::map::plugin::PolicyUse;
use soros_core::map::settings::Settings;
use std::sync::atomic::Ordering;

const ALL: [&str; 3] = ["n1", "n2", "n3"];

fn settings(siblings_max: u64) -> Command {
    Command::PutSettings(Settings {
        siblings_max,
        ..Settings::default()
    })
}

fn delete(name: &str, keys: Keys) -> Command {
    Command::DeleteBucket {
        name: name.parse().unwrap(),
        keys,
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_through_any_node_is_in_force_at_all() {
    let cluster = Cluster::founded(&["n1", "n2", "n3", "p4"]).await;
    for (at, through) in ["n1", "n2", "n3", "p4"].into_iter().enumerate() {
        let bucket = format!("b{at}");
        let done = cluster.put(through, &bucket).await.unwrap();
        assert!(done.created && done.not_ready.is_empty());
        for name in ["n1", "n2", "n3", "p4"] {
            assert!(cluster.has(name, &bucket), "{name} does not know {bucket}");
            assert_eq!(cluster.keeper(name).epoch(), done.epoch);
        }
        let again = cluster.put(through, &bucket).await.unwrap();
        assert!(!again.created);
        assert_eq!(again.epoch, done.epoch.next());
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_changes_for_one_epoch_one_is_made() {
    let cluster = Cluster::founded(&ALL).await;
    let at = cluster.keeper("n1").epoch();
    let (one, two) = tokio::join!(
        cluster.propose("n1", settings(7), Some(at)),
        cluster.propose("n2", settings(8), Some(at)),
    );
    let moved = ChangeError::Moved {
        expected: at,
        now: at.next(),
    };
    let refused = Err(CommandError::Refused(moved));
    assert!(one.is_ok() != two.is_ok(), "{one:?} {two:?}");
    assert!(one == refused || two == refused, "{one:?} {two:?}");
    let value = if one.is_ok() { 7 } else { 8 };
    assert_eq!(cluster.map("n3").settings().siblings_max, value);
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_changes_nothing_and_says_why() {
    let cluster = Cluster::founded(&ALL).await;
    let before = cluster.map("n1");
    let missing: BucketName = "missing".parse().unwrap();
    let refused = [
        (settings(0), None),
        (
            delete("missing", Keys::Keep),
            Some(ChangeError::BucketNotFound(missing.clone())),
        ),
        (
            delete("missing", Keys::Purge),
            Some(ChangeError::BucketNotFound(missing)),
        ),
    ];
    for (command, error) in refused {
        let result = cluster.propose("n2", command, None).await;
        match (result, error) {
            (Err(CommandError::Refused(said)), Some(error)) => assert_eq!(said, error),
            (Err(CommandError::Refused(ChangeError::BadConfig(problems))), None) => {
                assert_eq!(problems[0].path, "/siblings_max");
            }
            (result, _) => panic!("{result:?}"),
        }
    }
    let resolver = PolicyUse {
        plugin: "lww".parse().unwrap(),
        config: Json::Bool(true),
    };
    let config = BucketConfig {
        resolver: Some(resolver),
        ..BucketConfig::default()
    };
    let name = "b".parse().unwrap();
    let result = cluster
        .propose("n2", Command::PutBucket { name, config }, None)
        .await;
    assert_eq!(result, Err(CommandError::BadPolicyConfig(Vec::new())));
    assert_eq!(*cluster.map("n1"), *before);
}

#[tokio::test(start_paused = true)]
async fn a_placement_gets_a_table_once_and_never_moves_data_unasked() {
    let cluster = Cluster::founded(&ALL).await;
    let put = |name: &str, replicas, partitions| Command::PutPlacement {
        name: name.parse().unwrap(),
        config: PlacementConfig {
            replicas,
            partitions,
            ..PlacementConfig::default()
        },
    };
    cluster.propose("n1", put("p", 2, 16), None).await.unwrap();
    let map = cluster.map("n2");
    let placement = map.placement(&"p".parse().unwrap()).unwrap();
    assert_eq!(
        (placement.replicas(), placement.partitions().get()),
        (2, 16)
    );
    let plans = cluster.net.plans.load(Ordering::SeqCst);
    let fixed = cluster.propose("n1", put("p", 2, 32), None).await;
    assert_eq!(
        fixed,
        Err(CommandError::Refused(ChangeError::PartitionsFixed(16)))
    );
    assert_eq!(
        cluster.net.plans.load(Ordering::SeqCst),
        plans,
        "a table was planned in vain"
    );
    let moves = cluster.propose("n1", put("default", 2, 256), None).await;
    assert_eq!(moves, Err(CommandError::Refused(ChangeError::MovesNeeded)));
    cluster
        .propose("n1", put("default", 5, 256), None)
        .await
        .unwrap();
    let under = cluster.map("n3");
    assert!(
        under
            .placement(&"default".parse().unwrap())
            .unwrap()
            .is_under_replicated()
    );
    let delete = Command::DeletePlacement {
        name: "p".parse().unwrap(),
    };
    cluster.propose("n1", delete, None).await.unwrap();
    assert_eq!(cluster.map("n3").placements().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_empty_bucket_goes_and_one_with_keys_stays_open() {
    let cluster = Cluster::founded(&ALL).await;
    let name: BucketName = "b".parse().unwrap();
    cluster.put("n1", "b").await.unwrap();
    cluster.net.say(Emptiness::HasKeys);
    let kept = cluster.propose("n2", delete("b", Keys::Keep), None).await;
    assert_eq!(kept, Err(CommandError::BucketInUse(name.clone())));
    cluster.net.say(Emptiness::Unknown);
    let kept = cluster.propose("n2", delete("b", Keys::Keep), None).await;
    assert_eq!(kept, Err(CommandError::BucketUnchecked(name.clone())));
    assert_eq!(
        cluster.map("n3").bucket(&name).unwrap().state,
        BucketState::Open
    );
    cluster.net.say(Emptiness::Empty);
    let before = cluster.keeper("n1").epoch();
    let done = cluster
        .propose("n2", delete("b", Keys::Keep), None)
        .await
        .unwrap();
    assert_eq!(
        done.epoch,
        before.next().next(),
        "a bucket goes in two epochs"
    );
    assert!(!cluster.has("n3", "b"));
    cluster.put("n1", "b").await.unwrap();
    cluster.net.say(Emptiness::HasKeys);
    cluster
        .propose("n2", delete("b", Keys::Purge), None)
        .await
        .unwrap();
    assert!(!cluster.has("n3", "b"));
}

#[tokio::test(start_paused = true)]
async fn a_bucket_that_a_lost_leader_left_closed_is_opened_by_the_next() {
    let cluster = Cluster::founded(&ALL).await;
    cluster.put("n1", "b").await.unwrap();
    let name: BucketName = "b".parse().unwrap();
    let leader = cluster.leader(&ALL).await;
    let node = cluster.node(&leader);
    let running = node.inner.leading().unwrap();
    let change = Change::CloseBucket { name: name.clone() };
    running
        .raft
        .client_write(Proposal::on(None, change, None))
        .await
        .unwrap();
    cluster.crash(&leader).await;
    let other = ALL.into_iter().find(|name| **name != *leader).unwrap();
    let mut maps = cluster.keeper(other).subscribe();
    let state = |map: &Option<std::sync::Arc<soros_core::map::Map>>| {
        map.as_ref().unwrap().bucket(&name).unwrap().state
    };
    soon(maps.wait_for(|map| state(map) == BucketState::Closing))
        .await
        .unwrap();
    soon(maps.wait_for(|map| state(map) == BucketState::Open))
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_down_is_named_and_learns_of_the_change_later() {
    let mut cluster = Cluster::founded(&ALL).await;
    let leader = cluster.leader(&ALL).await;
    let down = ALL.into_iter().find(|name| **name != *leader).unwrap();
    cluster.kill(down).await;
    let done = cluster.put(&leader, "b").await.unwrap();
    assert_eq!(done.not_ready, [node_name(down)]);
    let node = cluster.start(down, crate::authority::Entry::Known).await;
    node.on_epoch(node_id(&leader), done.epoch);
    let map = soon(node.keeper().reached(done.epoch)).await;
    assert!(map.bucket(&"b".parse().unwrap()).is_some());
    assert!(Epoch::NONE < node.keeper().epoch());
}
