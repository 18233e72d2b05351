//! These tests are about lives of replicas that have ended: they cost nothing for long.

use super::*;
use soros_core::closed::Closing;
use soros_core::dot::Actor;
use soros_core::message::Refusal;
use soros_core::replica::State;

async fn put_alone(cluster: &Cluster, peer: usize, target: &Target, value: &str) {
    cluster.cut(peer);
    let value = Value {
        bytes: value.as_bytes().into(),
        content_type: "text/plain".to_owned(),
        content_encoding: None,
        meta: Vec::new(),
    };
    let request = WriteRequest {
        target: target.clone(),
        value: Some(value),
        basis: Basis::Blind,
        consistency: Consistency::One,
    };
    let written = cluster.peers[peer].write(request).await;
    written.expect("one is enough");
    cluster.heal();
}

fn actor(cluster: &Cluster, peer: usize, place: Place) -> Actor {
    let moment = cluster.peers[peer].moment();
    moment.shown(&place).expect("a partition").actor
}

fn state(cluster: &Cluster, peer: usize, place: Place) -> State {
    let moment = cluster.peers[peer].moment();
    moment.shown(&place).expect("a partition").state.clone()
}

async fn settle(cluster: &Cluster) {
    for _ in 0..3 {
        cluster.converge().await;
    }
}

#[tokio::test]
async fn a_wiped_peers_old_life_is_closed_at_all_three_and_what_waited_for_it_goes_on() {
    let mut cluster = Cluster::start().await;
    let key = target(PLAIN, "k");
    let lost = (0..1000)
        .map(|number| target(PLAIN, &format!("lost{number}")))
        .find(|other| other.place == key.place)
        .expect("a key of the same partition");
    let old = actor(&cluster, 0, key.place);
    let first = cluster.put(0, &key, Some("v"), Basis::Unsaid).await;
    let token = first.expect("acknowledged").context;
    // What this write leaves dies with the disk; the delete behind it waits for its dot.
    put_alone(&cluster, 0, &lost, "lost").await;
    let deleted = cluster.put(0, &key, None, Basis::Seen(token)).await;
    deleted.expect("acknowledged");
    let has_gap = |peer| state(&cluster, peer, key.place).clock.seen().ranges_above() == 1;
    while !(has_gap(1) && has_gap(2)) {
        tokio::task::yield_now().await;
    }
    cluster.stores[0] = Memory::new(9);
    cluster.restart(0, false, |_| ()).await;
    settle(&cluster).await;
    for peer in 0..3 {
        let state = state(&cluster, peer, key.place);
        assert!(state.clock.closed().has(&old), "at {peer}: {state:?}");
        assert_eq!(state.clock.closed().len(), 1);
        let actors = state.clock.seen().actors();
        assert_eq!(actors.filter(|actor| !actor.is_name()).count(), 0);
        assert_eq!(state.clock.seen().ranges_above(), 0);
        assert_eq!((state.unstripped, state.live_keys), (0, 0));
        assert!(state.refused.is_empty());
        let counts = cluster.peers[peer].actor_counts();
        assert_eq!((counts.open, counts.closed), (0, 1));
    }
    cluster.stop();
}

#[tokio::test]
async fn many_restarts_leave_a_small_clock() {
    const RESTARTS: usize = 24;
    let mut cluster = Cluster::start().await;
    let key = target(RESOLVED, "k");
    for number in 0..RESTARTS {
        let peer = number % 3;
        cluster.restart(peer, true, |_| ()).await;
        cluster.converge().await;
        let value = number.to_string();
        let put = cluster.put(peer, &key, Some(&value), Basis::Unsaid).await;
        put.expect("acknowledged");
        settle(&cluster).await;
        for peer in 0..3 {
            let state = state(&cluster, peer, key.place);
            let open = state.clock.seen().actors().filter(|actor| !actor.is_name());
            assert!(open.count() <= 3, "at {peer} after {number} restarts");
        }
    }
    let closed = state(&cluster, 0, key.place).clock.closed().len();
    assert!(RESTARTS - 3 <= closed, "{closed} lives are closed");
    for peer in 0..3 {
        let values = cluster.values(peer, &key).await;
        assert_eq!(values.last(), Some(&(RESTARTS - 1).to_string()));
    }
    cluster.stop();
}

#[tokio::test]
async fn a_replica_to_which_an_object_is_not_clear_compares_at_once() {
    let cluster = Cluster::start().await;
    let key = target(PLAIN, "k");
    put_alone(&cluster, 1, &key, "there").await;
    // Its coordinator has closed the actor of what is there, and holds nothing of it any more.
    let (old, mut clock) = (
        actor(&cluster, 1, key.place),
        state(&cluster, 1, key.place).clock,
    );
    let seen = clock.seen().of_actor(&old);
    clock.close(Closing::new([(old, seen)]));
    let mut object = Object::default();
    object.context.join(clock.seen());
    let store = Request::Store {
        target: key,
        object,
        dots: Vec::new(),
    };
    let peer = &cluster.peers[1];
    let _ = peer.wake.notified().now_or_never();
    let deadline = Instant::now() + Duration::from_secs(10);
    let reply = peer.answer(cluster.peers[0].id(), store, deadline).await;
    assert!(
        matches!(reply, Reply::Refused(Refusal::Unclear)),
        "{reply:?}"
    );
    assert!(peer.wake.notified().now_or_never().is_some());
    cluster.stop();
}
