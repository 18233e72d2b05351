//! These are peers on machines whose clocks are wrong.

use super::*;
use soros_core::operation::WriteAnswer;
use soros_core::skew::Judgement;

const HOUR: i64 = 3_600_000_000;

impl Cluster {
    async fn ask_the_time(&self) {
        for peer in &self.peers {
            peer.ask_the_time().await;
        }
    }

    fn judgement(&self, peer: usize) -> Judgement {
        self.peers[peer].clock_judgement()
    }

    /// The times of the versions that a peer holds of a key.
    fn times(&self, peer: usize, target: &Target) -> Vec<u64> {
        let moment = self.peers[peer].moment();
        let view = moment.view(&target.place).expect("a partition");
        let object = view.object(&target.entry).expect("an object");
        let versions = object.versions.values();
        versions.map(|version| version.time.micros()).collect()
    }
}

/// Asserts that a write was refused by a clock that is about `ahead`.
#[track_caller]
fn assert_skewed(answer: &Result<WriteAnswer, OperationError>, ahead: i64) {
    let Err(OperationError::ClockSkew { skew }) = answer else {
        panic!("{answer:?}");
    };
    assert!((skew.0 - ahead).abs() < HOUR / 100, "{skew}");
}

#[tokio::test]
async fn the_one_whose_clock_is_wrong_refuses_writes_and_the_others_take_them() {
    for ahead in [HOUR, -HOUR] {
        let cluster = Cluster::start_ahead([0, 0, ahead]).await;
        let key = target(RESOLVED, "k");
        for value in [Some("v"), None] {
            let refused = cluster.put(2, &key, value, Basis::Unsaid).await;
            assert_skewed(&refused, ahead);
        }
        // Nothing was stored anywhere, and the peer still reads and still is a replica.
        cluster.converge().await;
        for peer in 0..3 {
            assert!(cluster.values(peer, &key).await.is_empty());
        }
        for peer in 0..2 {
            let value = peer.to_string();
            cluster
                .put(peer, &key, Some(&value), Basis::Unsaid)
                .await
                .expect("acknowledged");
            assert_eq!(cluster.values(2, &key).await.last(), Some(&value));
        }
        cluster.stop();
    }
}

#[tokio::test]
async fn a_write_that_is_handed_on_goes_to_one_whose_clock_is_right() {
    let mut cluster = Cluster::start_ahead([HOUR, 0, 0]).await;
    let request = |key: &str| WriteRequest {
        target: target(RESOLVED, key),
        value: None,
        basis: Basis::Unsaid,
        consistency: Consistency::Quorum,
    };
    let deadline = Instant::now() + Duration::from_secs(10);
    let refused = cluster.peers[0]
        .coordinate_write(request("k"), deadline)
        .await;
    assert_skewed(&refused, HOUR);
    // One that holds nothing may hand it to any of the three.
    cluster.stores.push(Memory::new(4));
    cluster.machines.push(SetMachine::new(0));
    let (outsider, thread) = cluster.start_peer(3, 1, true);
    for number in 0..6 {
        let answer = outsider.write(request(&format!("k{number}"))).await;
        assert!(answer.is_ok(), "{answer:?}");
    }
    thread.stop().expect("the committer ends");
    cluster.stop();
}

#[tokio::test]
async fn it_takes_writes_again_when_its_machines_clock_is_set_right() {
    let cluster = Cluster::start_ahead([0, 0, HOUR]).await;
    let key = target(RESOLVED, "k");
    let refused = cluster.put(2, &key, Some("v"), Basis::Unsaid).await;
    assert_skewed(&refused, HOUR);
    cluster.machines[2].set(0);
    cluster.ask_the_time().await;
    cluster
        .put(2, &key, Some("v"), Basis::Unsaid)
        .await
        .expect("acknowledged");
    let now = cluster.machines[0].clocks().wall;
    for time in cluster.times(2, &key) {
        assert!(time.abs_diff(now) < 60_000_000, "{time} at {now}");
    }
    cluster.stop();
}

#[tokio::test]
async fn a_clock_that_is_set_wrong_under_a_running_process_moves_nothing() {
    let cluster = Cluster::start().await;
    let key = target(RESOLVED, "k");
    cluster.machines[1].set(HOUR);
    cluster.ask_the_time().await;
    cluster
        .put(1, &key, Some("v"), Basis::Unsaid)
        .await
        .expect("acknowledged");
    let now = cluster.machines[0].clocks().wall;
    for time in cluster.times(1, &key) {
        assert!(time.abs_diff(now) < 60_000_000, "{time} at {now}");
    }
    cluster.stop();
}

#[tokio::test]
async fn it_goes_on_refusing_when_it_can_ask_nobody_any_more() {
    let cluster = Cluster::start_ahead([0, 0, HOUR]).await;
    cluster.cut(2);
    cluster.ask_the_time().await;
    assert!(matches!(cluster.judgement(2), Judgement::Off(_)));
    let request = WriteRequest {
        target: target(RESOLVED, "k"),
        value: None,
        basis: Basis::Unsaid,
        consistency: Consistency::One,
    };
    assert_skewed(&cluster.peers[2].write(request).await, HOUR);
    cluster.stop();
}

#[tokio::test]
async fn others_that_do_not_answer_keep_no_peer_from_serving() {
    let mut cluster = Cluster::start().await;
    let ids = cluster.peers.iter().map(|peer| peer.id());
    *cluster.switch.hung.lock().expect("no test panicked") = ids.collect();
    cluster.stores.push(Memory::new(4));
    cluster.machines.push(SetMachine::new(0));
    let (fourth, thread) = cluster.start_peer(3, 1, true);
    let begun = Instant::now();
    let asking = {
        let fourth = fourth.clone();
        tokio::spawn(async move { fourth.ask_the_time().await })
    };
    while !fourth.serves() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let took = begun.elapsed();
    assert!(!asking.is_finished(), "it does not wait for them: {took:?}");
    asking.await.expect("it ends by itself");
    assert_eq!(fourth.clock_judgement(), Judgement::Unheard);
    thread.stop().expect("the committer ends");
    cluster.stop();
}
