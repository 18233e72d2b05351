//! These tests are about versions of plugins: brought to all nodes before the map names them, made
//! ready at all before they come into force.

use super::cluster::{Cluster, release_of, soon};
use crate::authority::command::{Command, CommandError, Done, REFUSED};
use crate::authority::dry_run::Occupied;
use crate::authority::push::{PushError, Pushed};
use crate::plugin::limits::{FAULTS_MAX, PROBATION_TIME};
use bytes::Bytes;
use soros_core::epoch::Epoch;
use soros_core::map::bucket::BucketConfig;
use soros_core::map::change::ChangeError;
use soros_core::map::json::Json;
use soros_core::map::plugin::{Blame, OnFailure, Plugin, PluginName, PluginVersion, ValidatorUse};
use std::sync::atomic::Ordering;

const ALL: [&str; 3] = ["n1", "n2", "n3"];

fn name() -> PluginName {
    "own".parse().unwrap()
}

fn version(text: &str) -> PluginVersion {
    text.parse().unwrap()
}

async fn push(cluster: &Cluster, through: &str, at: &str) -> Result<Pushed, PushError> {
    let component = Bytes::from(format!("component {at}"));
    let (name, version) = (name(), version(at));
    let node = cluster.node(through);
    soon(async { node.push(&name, &version, component, None).await }).await
}

async fn activate(
    cluster: &Cluster,
    through: &str,
    at: Option<&str>,
    only_at: Option<Epoch>,
) -> Result<Done, CommandError> {
    let command = Command::Activate {
        name: name(),
        version: at.map(version),
    };
    cluster.propose(through, command, only_at).await
}

fn active(cluster: &Cluster, at: &str) -> Option<PluginVersion> {
    cluster.map(at).plugin(&name())?.active.clone()
}

#[tokio::test(start_paused = true)]
async fn a_version_comes_takes_over_and_gives_way_through_any_node() {
    let cluster = Cluster::founded(&ALL).await;
    for (through, at) in [("n1", "1.0.0"), ("n2", "2.0.0")] {
        let pushed = push(&cluster, through, at).await.unwrap();
        assert!(pushed.done.created && pushed.done.not_ready.is_empty());
        let again = push(&cluster, "n3", at).await.unwrap();
        assert!(!again.done.created);
    }
    for (through, at, is) in [
        ("n3", Some("1.0.0"), "1.0.0"),
        ("n1", Some("2.0.0"), "2.0.0"),
        ("n2", None, "1.0.0"),
        ("n3", None, "2.0.0"),
    ] {
        let done = activate(&cluster, through, at, None).await.unwrap();
        assert_eq!((done.version, done.ready.len()), (Some(version(is)), 3));
        for node in ALL {
            assert_eq!(active(&cluster, node), Some(version(is)), "at {node}");
        }
    }
    let map = cluster.map("n1");
    let released = &map.plugin(&name()).unwrap().releases[&version("1.0.0")];
    assert_eq!(*released, release_of(b"component 1.0.0"));
}

#[tokio::test(start_paused = true)]
async fn the_map_names_nothing_that_a_living_node_could_not_keep() {
    let cluster = Cluster::founded(&ALL).await;
    cluster.net.full.store(true, Ordering::SeqCst);
    let refused = push(&cluster, "n1", "1.0.0").await;
    let Err(PushError::NotHeld(nodes)) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(nodes.len(), 2);
    assert_eq!(cluster.map("n2").plugin(&name()), None);
}

#[tokio::test(start_paused = true)]
async fn of_two_operators_at_one_epoch_one_is_told_that_it_moved() {
    let cluster = Cluster::founded(&ALL).await;
    for at in ["1.0.0", "2.0.0"] {
        push(&cluster, "n1", at).await.unwrap();
    }
    let at = cluster.keeper("n1").epoch();
    let (one, two) = tokio::join!(
        activate(&cluster, "n1", Some("1.0.0"), Some(at)),
        activate(&cluster, "n2", Some("2.0.0"), Some(at)),
    );
    assert!(one.is_ok() != two.is_ok(), "{one:?} {two:?}");
    let refused = one.err().or(two.err()).unwrap();
    let CommandError::Refused(error) = refused else {
        panic!("{refused:?}");
    };
    let is_known = matches!(
        error,
        ChangeError::Moved { .. } | ChangeError::PluginMoved(_)
    );
    assert!(is_known, "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_version_that_does_not_take_a_config_in_use_does_not_come_into_force() {
    let cluster = Cluster::founded(&ALL).await;
    push(&cluster, "n1", "1.0.0").await.unwrap();
    activate(&cluster, "n1", Some("1.0.0"), None).await.unwrap();
    use_it(&cluster).await;
    push(&cluster, "n1", "2.0.0").await.unwrap();
    cluster.net.picky.store(true, Ordering::SeqCst);
    let refused = activate(&cluster, "n2", Some("2.0.0"), None).await;
    assert_eq!(refused, Err(CommandError::BadPolicyConfig(Vec::new())));
    assert_eq!(active(&cluster, "n3"), Some(version("1.0.0")));
    let nothing = activate(&cluster, "n2", None, None).await;
    let before = ChangeError::NothingBefore(name());
    assert_eq!(nothing, Err(CommandError::Refused(before)));
}

#[tokio::test(start_paused = true)]
async fn a_node_has_room_for_two_components_at_a_time() {
    let cluster = Cluster::founded(&ALL).await;
    let node = cluster.node("n1");
    let one = node.begin_push().unwrap();
    let two = node.begin_push().unwrap();
    assert!(matches!(node.begin_push(), Err(PushError::Busy)));
    drop((one, two));
    assert!(node.begin_push().is_ok());
}

async fn report(cluster: &Cluster, through: &str, since: Epoch, count: u32) -> Epoch {
    let blame = Blame {
        node: through.parse().unwrap(),
        cause: "trapped".to_owned(),
        detail: "on purpose".to_owned(),
    };
    let name = name();
    let command = Command::Report {
        name,
        since,
        count,
        blame,
    };
    cluster.propose(through, command, None).await.unwrap().epoch
}

fn plugin(cluster: &Cluster, at: &str) -> Plugin {
    cluster.map(at).plugin(&name()).unwrap().clone()
}

/// The newer of two versions is in force, and on probation.
async fn on_probation() -> Cluster {
    let cluster = Cluster::founded(&ALL).await;
    for at in ["1.0.0", "2.0.0"] {
        push(&cluster, "n1", at).await.unwrap();
        let done = activate(&cluster, "n1", Some(at), None).await.unwrap();
        assert_eq!(done.on_probation, at == "2.0.0");
    }
    cluster
}

#[tokio::test(start_paused = true)]
async fn a_version_that_fails_gives_way_and_the_one_before_is_not_asked_if_it_fails_too() {
    let cluster = on_probation().await;
    let (since, epoch) = (plugin(&cluster, "n1").since, cluster.keeper("n1").epoch());
    assert_eq!(report(&cluster, "n2", since, FAULTS_MAX - 1).await, epoch);
    let decided = report(&cluster, "n3", since, 1).await;
    assert!(epoch < decided, "the faults of all nodes count together");
    for node in ALL {
        let plugin = plugin(&cluster, node);
        assert_eq!(plugin.active, Some(version("1.0.0")), "at {node}");
        assert_eq!(plugin.withdrawn.unwrap().version, version("2.0.0"));
        assert_eq!((plugin.since, plugin.on_probation), (decided, false));
    }
    // What is still told of the one that went is of no interest any more.
    assert_eq!(report(&cluster, "n1", since, FAULTS_MAX).await, decided);
    let shut = report(&cluster, "n2", decided, FAULTS_MAX).await;
    let quarantine = plugin(&cluster, "n3").quarantine.unwrap();
    assert_eq!(
        (quarantine.since, quarantine.blame.node.as_str()),
        (shut, "n2")
    );
    let done = activate(&cluster, "n1", Some("1.0.0"), None).await.unwrap();
    assert!(!done.on_probation);
    assert_eq!(plugin(&cluster, "n2").quarantine, None);
}

/// A bucket that asks the plugin about its writes.
async fn use_it(cluster: &Cluster) {
    let validators = vec![ValidatorUse {
        plugin: name(),
        config: Json::empty(),
        on_failure: OnFailure::Closed,
    }];
    let config = BucketConfig {
        validators,
        ..BucketConfig::default()
    };
    let name = "b".parse().unwrap();
    let put = Command::PutBucket { name, config };
    cluster.propose("n1", put, None).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_version_that_does_not_take_the_configs_in_use_does_not_take_over_again() {
    let cluster = on_probation().await;
    use_it(&cluster).await;
    cluster.net.picky.store(true, Ordering::SeqCst);
    let by_hand = activate(&cluster, "n3", None, None).await;
    assert_eq!(by_hand, Err(CommandError::BadPolicyConfig(Vec::new())));
    let since = plugin(&cluster, "n1").since;
    report(&cluster, "n2", since, FAULTS_MAX).await;
    for node in ALL {
        let plugin = plugin(&cluster, node);
        assert_eq!(plugin.active, Some(version("2.0.0")), "at {node}");
        assert!(plugin.withdrawn.is_none() && !plugin.on_probation);
        let why = plugin.quarantine.unwrap().blame.detail;
        assert!(why.contains("1.0.0 cannot take over again"), "{why}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_version_takes_over_again_although_the_leader_has_no_room_to_try_it() {
    let cluster = on_probation().await;
    use_it(&cluster).await;
    cluster.net.short.store(true, Ordering::SeqCst);
    let since = plugin(&cluster, "n1").since;
    report(&cluster, "n2", since, FAULTS_MAX).await;
    let plugin = plugin(&cluster, "n3");
    assert_eq!(plugin.active, Some(version("1.0.0")));
    assert!(plugin.quarantine.is_none());
}

async fn tell_refusals(cluster: &Cluster, since: Epoch) {
    let blame = Blame {
        node: "n2".parse().unwrap(),
        cause: REFUSED.to_owned(),
        detail: "50 of 50 calls".to_owned(),
    };
    let report = Command::Report {
        name: name(),
        since,
        count: FAULTS_MAX,
        blame,
    };
    cluster.propose("n2", report, None).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn whether_a_version_that_refuses_most_can_go_back_is_found_out_once_a_map() {
    let cluster = on_probation().await;
    use_it(&cluster).await;
    let since = plugin(&cluster, "n1").since;
    for picky in [true, false] {
        cluster.net.picky.store(picky, Ordering::SeqCst);
        tell_refusals(&cluster, since).await;
        let stays = plugin(&cluster, "n3");
        assert_eq!(stays.active, Some(version("2.0.0")), "picky: {picky}");
        assert!(stays.quarantine.is_none() && stays.on_probation);
    }
    push(&cluster, "n1", "3.0.0").await.unwrap();
    tell_refusals(&cluster, since).await;
    assert_eq!(plugin(&cluster, "n3").active, Some(version("1.0.0")));
}

#[tokio::test(start_paused = true)]
async fn a_version_that_refuses_most_gives_way_on_its_probation_and_only_then() {
    let cluster = on_probation().await;
    let since = plugin(&cluster, "n1").since;
    tell_refusals(&cluster, since).await;
    let gone = plugin(&cluster, "n3");
    assert_eq!(gone.active, Some(version("1.0.0")));
    assert_eq!(gone.withdrawn.unwrap().blame.cause, REFUSED);
    tell_refusals(&cluster, gone.since).await;
    let stays = plugin(&cluster, "n3");
    assert_eq!(stays.active, Some(version("1.0.0")));
    assert!(stays.quarantine.is_none(), "who refuses is at no fault");
}

#[tokio::test(start_paused = true)]
async fn a_node_has_room_for_two_dry_runs_at_a_time() {
    let cluster = Cluster::founded(&["n1"]).await;
    let node = cluster.node("n1");
    let under_way = [node.begin_dry_run(), node.begin_dry_run()];
    assert!(under_way.iter().all(Result::is_ok));
    assert_eq!(node.begin_dry_run().err(), Some(Occupied));
    drop(under_way);
    assert!(node.begin_dry_run().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_version_passes_its_probation_and_stays_in_force() {
    let cluster = on_probation().await;
    let begun = tokio::time::Instant::now();
    soon(async {
        while plugin(&cluster, "n2").on_probation {
            tokio::time::sleep(PROBATION_TIME / 10).await;
        }
    })
    .await;
    assert!(PROBATION_TIME <= begun.elapsed());
    let since = plugin(&cluster, "n2").since;
    report(&cluster, "n3", since, FAULTS_MAX).await;
    let plugin = plugin(&cluster, "n1");
    assert_eq!(plugin.active, Some(version("2.0.0")));
    assert!(plugin.quarantine.is_some() && plugin.withdrawn.is_none());
}

#[tokio::test(start_paused = true)]
async fn what_fails_after_a_newer_activation_does_not_undo_it() {
    let cluster = on_probation().await;
    let since = plugin(&cluster, "n1").since;
    report(&cluster, "n2", since, FAULTS_MAX - 1).await;
    push(&cluster, "n1", "3.0.0").await.unwrap();
    activate(&cluster, "n3", Some("3.0.0"), None).await.unwrap();
    report(&cluster, "n2", since, FAULTS_MAX).await;
    let plugin = plugin(&cluster, "n2");
    assert_eq!(plugin.active, Some(version("3.0.0")));
    assert!(plugin.on_probation && plugin.quarantine.is_none());
}
