//! These tests are about buckets that are deleted: when they are found empty, and what becomes of
//! what was left in them.

use super::*;
use soros_core::message::{Refusal, Reply, Request};
use soros_core::place::Layout;
use soros_core::replica::State;
use std::time::{Duration, Instant};

fn purge() -> Change {
    Change::PurgeBucket {
        name: "plain".parse().expect("a bucket's name"),
    }
}

fn close() -> Change {
    Change::CloseBucket {
        name: "plain".parse().expect("a bucket's name"),
    }
}

fn state(cluster: &Cluster, peer: usize, place: Place) -> State {
    let moment = cluster.peers[peer].moment();
    moment.shown(&place).expect("a partition").state.clone()
}

/// How many objects a peer stores of the bucket that is purged.
fn stored(cluster: &Cluster, peer: usize) -> usize {
    let view = cluster.stores[peer].snapshot(Space::Partitions);
    let moment = cluster.peers[peer].moment();
    let places = moment.places().map(|(_, shown)| {
        let (from, to) = shown.layout.objects();
        let listed = view.list(&from, &to, usize::MAX).expect("the store works");
        let entries = listed.iter().map(|one| Layout::entry_of_object(&one.key));
        let of_bucket = entries.filter(|entry| {
            let entry = entry.as_ref().expect("an object's key");
            entry.bucket == PLAIN
        });
        of_bucket.count()
    });
    places.sum()
}

fn alarms(cluster: &Cluster) -> u64 {
    let alarms = cluster.peers.iter().map(|peer| peer.counts().sum_alarms);
    alarms.sum()
}

#[tokio::test]
async fn a_replica_that_missed_the_writes_of_a_dead_bucket_raises_no_alarm_and_copies_nothing() {
    let cluster = Cluster::start().await;
    let key = target(PLAIN, "k");
    cluster.cut(2);
    for value in ["one", "two", "three"] {
        let written = cluster.put(0, &key, Some(value), Basis::Blind).await;
        written.expect("two of three");
    }
    cluster.heal();
    cluster.change(&purge()).await;
    cluster.converge().await;
    cluster.converge().await;
    assert_eq!(alarms(&cluster), 0, "before anything is swept");
    // One of them is quicker than the others.
    cluster.peers[0].sweep_all().await;
    cluster.converge().await;
    assert_eq!(alarms(&cluster), 0, "while some are swept and some are not");
    for peer in &cluster.peers {
        peer.sweep_all().await;
    }
    cluster.converge().await;
    assert_eq!(alarms(&cluster), 0, "after all are swept");
    let first = state(&cluster, 0, key.place);
    for peer in 0..3 {
        assert_eq!(stored(&cluster, peer), 0);
        assert_eq!(cluster.peers[peer].partitions_unswept(), 0);
        let state = state(&cluster, peer, key.place);
        assert_eq!((&state.clock, state.sum), (&first.clock, first.sum));
        assert_eq!(state.live_keys, 0);
    }
    cluster.stop();
}

#[tokio::test]
async fn a_sweep_goes_on_after_a_restart_and_leaves_the_living_alone() {
    let mut cluster = Cluster::start().await;
    for number in 0..100 {
        let key = target(PLAIN, &format!("dead{number}"));
        let written = cluster.put(0, &key, Some("v"), Basis::Blind).await;
        written.expect("all of them");
    }
    let living = target(RESOLVED, "living");
    let written = cluster.put(0, &living, Some("v"), Basis::Blind).await;
    written.expect("all of them");
    cluster.converge().await;
    cluster.change(&purge()).await;
    cluster.restart(1, true, |_| ()).await;
    cluster.converge().await;
    assert_eq!(stored(&cluster, 1), 100);
    assert!(0 < cluster.peers[1].partitions_unswept());
    for peer in &cluster.peers {
        peer.sweep_all().await;
    }
    cluster.converge().await;
    assert_eq!((stored(&cluster, 1), alarms(&cluster)), (0, 0));
    assert_eq!(cluster.values(1, &living).await, ["v"]);
    cluster.stop();
}

/// What a peer says that is asked for keys of the bucket that is closing.
async fn surveyed(cluster: &Cluster, peer: usize) -> Reply {
    let epoch = cluster.map.current().expect("a map").epoch();
    let survey = Request::Survey {
        bucket: PLAIN,
        epoch,
    };
    let deadline = Instant::now() + Duration::from_mins(1);
    let me = cluster.peers[peer].id();
    cluster.peers[peer].answer(me, survey, deadline).await
}

#[tokio::test]
async fn a_replica_that_still_takes_writes_says_nothing_of_a_closing_bucket() {
    let cluster = Cluster::start().await;
    let map = cluster.map.current().expect("a map");
    let closing = map.apply(&close()).expect("a change");
    // The map is here, but not yet with the committer, which goes on taking writes.
    *cluster.map.0.lock().expect("no test panicked") = Arc::new(closing);
    let refused = Reply::Refused(Refusal::NotServed);
    assert_eq!(surveyed(&cluster, 0).await, refused);
    cluster.peers[0].adopt().await.expect("partitions");
    assert_eq!(surveyed(&cluster, 0).await, Reply::Surveyed(false));
    assert_eq!(surveyed(&cluster, 1).await, refused);
    cluster.stop();
}

#[tokio::test]
async fn a_key_that_is_there_keeps_a_closing_bucket() {
    let cluster = Cluster::start().await;
    for number in 0..200 {
        let key = target(PLAIN, &format!("k{number}"));
        let value = (number == 150).then_some("v");
        let written = cluster.put(0, &key, value, Basis::Blind).await;
        written.expect("all of them");
    }
    cluster.converge().await;
    cluster.change(&close()).await;
    for peer in 0..3 {
        assert_eq!(surveyed(&cluster, peer).await, Reply::Surveyed(true));
    }
    cluster.stop();
}

#[tokio::test]
async fn a_dry_run_does_not_hold_up_who_deletes_a_bucket() {
    let cluster = Cluster::start().await;
    for number in 0..50 {
        let key = target(PLAIN, &format!("k{number}"));
        let written = cluster.put(0, &key, Some("v"), Basis::Blind).await;
        written.expect("all of them");
    }
    cluster.converge().await;
    cluster.change(&close()).await;
    let (looks, mut looking) = tokio::sync::mpsc::unbounded_channel();
    let (go_on, held) = std::sync::mpsc::channel::<()>();
    let peer = Arc::clone(&cluster.peers[0]);
    let deadline = Instant::now() + Duration::from_mins(1);
    let look = Box::new(move |_: &Key, _: &Value| {
        // It looks at nothing until the test is over.
        looks.send(()).is_ok() && held.recv().is_ok()
    });
    let dry_run = tokio::spawn(async move { peer.look_at_values(PLAIN, 1, deadline, look).await });
    looking.recv().await.expect("it has begun");
    assert_eq!(surveyed(&cluster, 0).await, Reply::Surveyed(true));
    drop(go_on);
    dry_run.await.expect("it ends");
    cluster.stop();
}
