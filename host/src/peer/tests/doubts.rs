//! These tests are about replicas that lost something: nobody may take their silence for an answer.

use super::*;
use crate::peer::survey::Survey;
use crate::store::memory::Fault;
use crate::store::{Durability, Write};
use soros_core::dot::Actor;
use soros_core::dot_set::DotSet;
use soros_core::id::Generation;
use soros_core::message::Refusal;
use soros_core::record::RecordError;
use soros_core::replica::TransferKind;

#[tokio::test]
async fn a_suspects_silence_does_not_make_a_bucket_empty() {
    let mut cluster = Cluster::start().await;
    let key = target(PLAIN, "k");
    // The third has it, the second was away, and the first loses its disk.
    cluster.cut(1);
    cluster
        .put(0, &key, Some("v"), Basis::Unsaid)
        .await
        .expect("two of three");
    cluster.heal();
    cluster.stores[0] = Memory::new(9);
    cluster.cut(2);
    cluster.restart(0, false, |_| ()).await;
    let name = "plain".parse().expect("a bucket's name");
    cluster.change(&Change::CloseBucket { name }).await;
    let map = cluster.map.current().expect("a map");
    let survey = cluster.peers[1].survey(PLAIN, &map).await;
    assert_eq!(survey, Survey::Unknown);
    cluster.stop();
}

/// The first and the third have a write of `coordinator` that the second lacks; then the first's
/// store goes back to before it, and its directory looks sound.
async fn after_an_unnoticed_loss(coordinator: usize) -> (Cluster, Target) {
    let mut cluster = Cluster::start().await;
    let key = target(PLAIN, "k");
    cluster.cut(1);
    let before = cluster.stores[0].commits();
    cluster
        .put(coordinator, &key, Some("v"), Basis::Unsaid)
        .await
        .expect("two of three");
    // The third hears what the first has seen.
    cluster.peers[0].pass().await;
    let lost = cluster.stores[0].commits() - before;
    cluster.restart(0, true, |store| store.cut(lost)).await;
    cluster.heal();
    (cluster, key)
}

async fn read(cluster: &Cluster, peer: usize, target: &Target) -> Result<bool, OperationError> {
    let (target, consistency) = (target.clone(), Consistency::Quorum);
    let request = ReadRequest {
        target,
        consistency,
    };
    let answer = cluster.peers[peer].read(request).await;
    answer.map(|answer| answer.object.is_live())
}

/// The first has met all others once; alone with the second it must not say that there is nothing.
async fn check(cluster: Cluster, key: Target) {
    cluster.peers[0].pass().await;
    let suspect = cluster.peers[0]
        .moment()
        .shown(&key.place)
        .is_some_and(|shown| !shown.state.standing.is_trusted());
    assert!(suspect, "it believes to be whole");
    cluster.converge().await;
    for peer in 0..3 {
        assert_eq!(read(&cluster, peer, &key).await, Ok(true));
    }
    cluster.stop();
}

#[tokio::test]
async fn a_replica_that_fell_behind_what_another_remembers_of_it_is_suspect() {
    let (cluster, key) = after_an_unnoticed_loss(2).await;
    check(cluster, key).await;
}

#[tokio::test]
async fn a_replica_that_gets_a_lost_write_of_its_own_back_is_suspect() {
    let (mut cluster, key) = after_an_unnoticed_loss(0).await;
    // Nobody remembers what it had seen.
    cluster.restart(2, true, |_| ()).await;
    check(cluster, key).await;
}

#[tokio::test]
async fn a_node_whose_directory_was_put_back_is_not_believed_until_it_has_compared_with_all() {
    let mut cluster = Cluster::start().await;
    let key = target(PLAIN, "k");
    cluster.cut(1);
    cluster.cut(2);
    cluster.restart_unknown(0, true, |_| ()).await;
    // Somebody knows of a life that the directory does not know of.
    cluster.peers[0].doubt().await.expect("the disk works");
    let register = Change::Register(Box::new(node::Identity {
        incarnation: cluster.peers[0].identity.incarnation,
        ..identity(1)
    }));
    cluster.change(&register).await;
    assert!(!cluster.peers[0].is_whole());
    let standings = || {
        let moment = cluster.peers[0].moment();
        let trusted = moment
            .places()
            .filter(|(_, shown)| shown.state.standing.is_trusted());
        trusted.count()
    };
    assert_eq!(standings(), 0);
    cluster.heal();
    cluster.cut(2);
    cluster.peers[0].pass().await;
    let refused = read(&cluster, 0, &key).await;
    assert!(refused.is_err(), "{refused:?}");
    cluster.heal();
    cluster.converge().await;
    assert_eq!(standings(), usize::try_from(PARTITIONS).expect("few"));
    assert!(cluster.peers[0].is_whole());
    cluster.stop();
}

#[tokio::test]
async fn a_replica_whose_life_is_not_known_yet_counts_for_none_that_is_trusted() {
    let mut cluster = Cluster::start().await;
    let key = target(RESOLVED, "k");
    cluster.cut(1);
    cluster
        .put(0, &key, Some("v"), Basis::Unsaid)
        .await
        .expect("two of three");
    cluster.heal();
    // Nobody can say whether the first's directory is its latest, and the third is away.
    cluster.restart_unknown(0, true, |_| ()).await;
    cluster.cut(2);
    for peer in [0, 1] {
        let put = cluster.put(peer, &key, Some("w"), Basis::Unsaid).await;
        assert!(put.is_err(), "at {peer}: {put:?}");
    }
    let (place, dots) = (key.place, DotSet::default());
    let moment = cluster.peers[1].moments.load_full();
    let life = moment.shown(&place).expect("a partition").actor;
    let requests = [
        Request::Difference {
            place,
            dots,
            holder: Some(life),
            trusted: true,
        },
        Request::Chunk {
            place,
            kind: TransferKind::Union,
            from: None,
        },
    ];
    for known in [false, true] {
        for request in requests.clone() {
            let from = cluster.peers[1].id();
            let deadline = Instant::now() + std::time::Duration::from_secs(10);
            let reply = cluster.peers[0].answer(from, request, deadline).await;
            let Reply::Sync { word, .. } = reply else {
                panic!("{reply:?}");
            };
            assert_eq!(word.trusted, known);
        }
        cluster.peers[0].vouch();
    }
    cluster.stop();
}

#[tokio::test]
async fn an_actor_that_may_mint_no_more_does_not_after_a_failure_of_the_disk_either() {
    let cluster = Cluster::start().await;
    let key = target(PLAIN, "k");
    let shown = |key: &Target| cluster.peers[0].moment().shown(&key.place).cloned();
    let generation = shown(&key).expect("a partition").layout.generation();
    let actor = Actor {
        node: cluster.peers[0].id(),
        incarnation: cluster.peers[0].identity.incarnation,
        generation,
    };
    let merge = Request::Store {
        target: key.clone(),
        object: Object::default(),
        dots: vec![actor.dot(999)],
    };
    let deadline = Instant::now() + std::time::Duration::from_secs(10);
    let from = cluster.peers[1].id();
    let stored = cluster.peers[0].answer(from, merge, deadline).await;
    assert!(matches!(stored, Reply::Stored(_)), "{stored:?}");
    for fails in [false, true] {
        if fails {
            cluster.stores[0].fail_next(Fault::Full);
            let place = (0..1000).map(|number| target(PLAIN, &format!("o{number}")));
            let other = place
                .into_iter()
                .find(|other| other.place != key.place)
                .expect("a key of another partition");
            let put = cluster.put(0, &other, Some("v"), Basis::Blind).await;
            assert!(put.is_err(), "{put:?}");
        }
        let put = cluster.put(0, &key, Some("v"), Basis::Blind).await;
        assert_eq!(put.err(), Some(OperationError::Storage));
    }
    cluster.stop();
}

/// The key of the record of `target`'s object at a peer.
fn object_key(cluster: &Cluster, peer: usize, target: &Target) -> Vec<u8> {
    let moment = cluster.peers[peer].moment();
    let shown = moment.shown(&target.place).expect("a partition");
    shown.layout.object(&target.entry)
}

async fn with_a_value(key: &Target) -> Cluster {
    let cluster = Cluster::start().await;
    cluster
        .put(0, key, Some("v"), Basis::Unsaid)
        .await
        .expect("acknowledged");
    cluster.converge().await;
    cluster
}

/// All three read the value, and the first, whose record was damaged, holds it again.
async fn check_mended(cluster: Cluster, key: Target) {
    cluster.converge().await;
    for peer in 0..3 {
        assert_eq!(read(&cluster, peer, &key).await, Ok(true), "at {peer}");
    }
    let record = object_key(&cluster, 0, &key);
    let stored = cluster.stores[0].snapshot(Space::Partitions).get(&record);
    assert!(stored.expect("readable").is_some());
    cluster.stop();
}

#[tokio::test]
async fn a_damaged_object_is_never_taken_for_an_absent_one_and_is_had_from_the_others() {
    let key = target(PLAIN, "k");
    let cluster = with_a_value(&key).await;
    let record = object_key(&cluster, 0, &key);
    assert!(cluster.stores[0].flip(Space::Partitions, &record));
    cluster.cut(1);
    // With the second away, the partition must not be dropped: the first may have what nobody else
    // can say now.
    cluster.peers[0].pass().await;
    let answered = read(&cluster, 2, &key).await;
    assert_ne!(answered, Ok(false), "a damaged object was read as none");
    cluster.peers[0].pass().await;
    assert!(cluster.peers[0].damage.at(&key.place).is_some());
    cluster.heal();
    check_mended(cluster, key).await;
}

#[tokio::test]
async fn one_damaged_object_does_not_stop_the_writes_of_other_partitions() {
    let key = target(RESOLVED, "k");
    let cluster = Cluster::start().await;
    // The first has it unstripped: it has not seen what the second minted before.
    cluster.cut(0);
    let earlier = (0..1000)
        .map(|number| target(RESOLVED, &format!("e{number}")))
        .find(|other| other.place == key.place)
        .expect("a key of the same partition");
    for target in [&earlier, &earlier] {
        let put = cluster.put(1, target, Some("v"), Basis::Unsaid).await;
        put.expect("two of three");
    }
    cluster.heal();
    let put = cluster.put(1, &key, Some("v"), Basis::Unsaid).await;
    put.expect("acknowledged");
    let record = object_key(&cluster, 0, &key);
    while cluster.stores[0]
        .snapshot(Space::Partitions)
        .get(&record)
        .expect("readable")
        .is_none()
    {
        tokio::task::yield_now().await;
    }
    assert!(cluster.stores[0].flip(Space::Partitions, &record));
    // Now the gap closes, and the object should be made smaller.
    for _ in 0..3 {
        cluster.peers[0].pass().await;
        let other = (0..1000)
            .map(|number| target(RESOLVED, &format!("o{number}")))
            .find(|other| other.place != key.place)
            .expect("a key of another partition");
        let put = cluster.put(0, &other, Some("v"), Basis::Unsaid).await;
        put.expect("another partition is well");
    }
    check_mended(cluster, key).await;
}

#[tokio::test]
async fn a_partition_whose_clock_record_is_damaged_begins_anew() {
    let key = target(PLAIN, "k");
    for record in [
        |shown: &crate::peer::partitions::Shown| shown.layout.clock(),
        |shown: &crate::peer::partitions::Shown| {
            soros_core::place::Layout::life(shown.layout.place())
        },
    ] {
        let mut cluster = with_a_value(&key).await;
        let record = cluster.peers[0]
            .moment()
            .shown(&key.place)
            .map(|shown| record(shown));
        let record = record.expect("a partition");
        cluster
            .restart(0, true, |store| {
                assert!(store.flip(Space::Partitions, &record));
            })
            .await;
        assert!(cluster.peers[0].serves(), "the other partitions are served");
        check_mended(cluster, key.clone()).await;
    }
}

#[tokio::test]
async fn a_record_that_a_newer_program_wrote_is_not_dropped() {
    let key = target(PLAIN, "k");
    let mut cluster = with_a_value(&key).await;
    let moment = cluster.peers[0].moment();
    let shown = moment.shown(&key.place).expect("a partition");
    let clock = shown.layout.clock();
    drop(moment);
    let newer = Write::put(Space::Partitions, clock.clone(), vec![9; 40]);
    cluster
        .restart(0, true, |store| {
            let stored = store.commit(vec![newer], Durability::Synced);
            stored.expect("the store works");
        })
        .await;
    for _ in 0..3 {
        cluster.peers[0].pass().await;
    }
    let left = cluster.stores[0].snapshot(Space::Partitions).get(&clock);
    assert_eq!(left, Ok(Some(vec![9; 40])));
    assert!(cluster.peers[0].serves(), "the other partitions are served");
    assert_eq!(
        read(&cluster, 0, &key).await,
        Ok(true),
        "the others serve it"
    );
    cluster.stop();
}

/// `count` keys of the partition of `key`, and not that one.
fn beside(key: &Target, count: usize) -> Vec<Target> {
    let targets = (0..).map(|number| target(PLAIN, &format!("b{number}")));
    let beside = targets.filter(|other| other.place == key.place && other.entry != key.entry);
    beside.take(count).collect()
}

/// Writes `value` at one peer, which is all that is waited for.
async fn put_alone(cluster: &Cluster, peer: usize, target: &Target, value: &[u8]) {
    let written = cluster.peers[peer].write(WriteRequest {
        target: target.clone(),
        value: Some(Value {
            bytes: value.into(),
            content_type: "text/plain".to_owned(),
            content_encoding: None,
            meta: Vec::new(),
        }),
        basis: Basis::Blind,
        consistency: Consistency::One,
    });
    written.await.expect("acknowledged");
}

/// Flips a bit of `target`'s record at a peer, and lets it find that.
async fn damage(cluster: &Cluster, peer: usize, target: &Target) {
    let record = object_key(cluster, peer, target);
    assert!(cluster.stores[peer].flip(Space::Partitions, &record));
    let request = ReadRequest {
        target: target.clone(),
        consistency: Consistency::One,
    };
    // Whether another answers is all the same.
    let _ = cluster.peers[peer].read(request).await;
    assert!(cluster.peers[peer].damage.at(&target.place).is_some());
}

fn generation(cluster: &Cluster, peer: usize, target: &Target) -> Option<Generation> {
    let moment = cluster.peers[peer].moment();
    let shown = moment.shown(&target.place);
    shown.map(|shown| shown.layout.generation())
}

/// A peer that was cut off took `count` writes of `size` bytes that nobody else has, and an older
/// record beside them is damaged. It is the first to compare when all are back: its generations
/// before and after that.
async fn dropped_before_the_others_pull(count: usize, size: usize) -> [Option<Generation>; 2] {
    let key = target(PLAIN, "k");
    let cluster = with_a_value(&key).await;
    cluster.cut(0);
    let alone = beside(&key, count);
    for other in &alone {
        put_alone(&cluster, 0, other, &vec![7; size]).await;
    }
    damage(&cluster, 0, &key).await;
    cluster.heal();
    let before = generation(&cluster, 0, &key);
    cluster.peers[0].pass().await;
    let after = generation(&cluster, 0, &key);
    cluster.converge().await;
    for peer in 0..3 {
        for other in &alone {
            assert_eq!(read(&cluster, peer, other).await, Ok(true), "at {peer}");
        }
    }
    check_mended(cluster, key).await;
    [before, after]
}

#[tokio::test]
async fn a_partition_with_a_damaged_object_takes_along_what_the_others_lack() {
    let [before, after] = dropped_before_the_others_pull(5, 10).await;
    assert!(before < after, "it begins anew at once");
}

#[tokio::test]
async fn a_partition_with_a_damaged_object_waits_for_the_others_to_hold_the_rest() {
    let [before, after] = dropped_before_the_others_pull(4, 500_000).await;
    assert_eq!(before, after, "it was not dropped yet");
}

#[tokio::test]
async fn a_damaged_object_does_not_keep_the_others_from_the_rest() {
    let mut cluster = Cluster::start().await;
    let key = target(PLAIN, "k");
    let rest = beside(&key, 30);
    // The second loses its disk before the third, which was away, has any of it.
    cluster.cut(2);
    for other in rest.iter().chain([&key]) {
        let put = cluster.put(0, other, Some("v"), Basis::Unsaid).await;
        put.expect("two of three");
    }
    cluster.stores[1] = Memory::new(8);
    cluster.restart(1, false, |_| ()).await;
    damage(&cluster, 0, &key).await;
    cluster.heal();
    cluster.peers[0].pass().await;
    cluster.peers[1].pass().await;
    cluster.peers[2].pass().await;
    cluster.converge().await;
    for peer in 0..3 {
        for other in &rest {
            assert_eq!(read(&cluster, peer, other).await, Ok(true), "at {peer}");
        }
        assert!(read(&cluster, peer, &key).await.is_ok(), "it is served");
    }
    cluster.stop();
}

/// What the second answers to the first, which wants to drop a partition and to rely on it.
async fn rely(cluster: &Cluster, place: Place) -> Reply {
    let deadline = Instant::now() + Duration::from_mins(1);
    let from = cluster.peers[0].id();
    let request = Request::Rely { place };
    cluster.peers[1].answer(from, request, deadline).await
}

#[tokio::test]
async fn what_turns_bad_after_a_partition_was_looked_through_is_told() {
    let key = target(PLAIN, "k");
    let cluster = with_a_value(&key).await;
    let unreadable = async || match rely(&cluster, key.place).await {
        Reply::Promised(promise, _) => promise.unreadable,
        other => panic!("{other:?}"),
    };
    assert!(unreadable().await.is_empty());
    damage(&cluster, 1, &key).await;
    for _ in 0..2 {
        assert_eq!(unreadable().await, std::slice::from_ref(&key.entry));
    }
    cluster.stop();
}

#[tokio::test]
async fn what_could_not_be_read_only_once_drops_nothing() {
    let key = target(PLAIN, "k");
    let cluster = with_a_value(&key).await;
    let before = generation(&cluster, 0, &key);
    let error = RecordError::Damaged("a test");
    cluster.peers[0].damage.note(key.place, before, &error);
    cluster.converge().await;
    assert_eq!(generation(&cluster, 0, &key), before);
    assert!(cluster.peers[0].damage.at(&key.place).is_none());
    check_mended(cluster, key).await;
}

#[tokio::test]
async fn who_could_not_be_opened_again_promises_nothing() {
    let key = target(PLAIN, "k");
    let cluster = with_a_value(&key).await;
    let moment = cluster.peers[1].moment();
    let shown = moment.shown(&key.place).expect("a partition");
    let clock = shown.layout.clock();
    assert!(cluster.stores[1].flip(Space::Partitions, &clock));
    let refused = rely(&cluster, key.place).await;
    assert_eq!(refused, Reply::Refused(Refusal::Storage));
    assert!(cluster.peers[1].damage.at(&key.place).is_some());
    drop(moment);
    cluster.converge().await;
    assert!(matches!(
        rely(&cluster, key.place).await,
        Reply::Promised(..)
    ));
    check_mended(cluster, key).await;
}

#[tokio::test]
async fn who_merged_something_speaks_for_itself_only() {
    let key = target(PLAIN, "k");
    let cluster = with_a_value(&key).await;
    damage(&cluster, 0, &key).await;
    let actor = |peer: usize| {
        let moment = cluster.peers[peer].moment();
        moment.shown(&key.place).map(|shown| shown.actor)
    };
    let tell = async |holder| {
        let request = Request::Difference {
            place: key.place,
            dots: DotSet::default(),
            holder,
            trusted: true,
        };
        let deadline = Instant::now() + Duration::from_mins(1);
        let from = cluster.peers[1].id();
        cluster.peers[0].answer(from, request, deadline).await
    };
    let of_another = tell(actor(2)).await;
    assert_eq!(of_another, Reply::Refused(Refusal::Unreadable));
    assert!(matches!(tell(actor(1)).await, Reply::Sync { .. }));
    cluster.stop();
}

#[tokio::test]
async fn what_was_seen_of_an_earlier_generation_drops_no_later_one() {
    let key = target(PLAIN, "k");
    let cluster = with_a_value(&key).await;
    let before = generation(&cluster, 0, &key);
    damage(&cluster, 0, &key).await;
    cluster.converge().await;
    let after = generation(&cluster, 0, &key);
    assert!(before < after, "it has begun anew");
    // A reader that began before that comes to the damaged record only now.
    let error = RecordError::Damaged("a test");
    cluster.peers[0].damage.note(key.place, before, &error);
    cluster.peers[0].pass().await;
    assert_eq!(generation(&cluster, 0, &key), after);
    assert!(cluster.peers[0].damage.at(&key.place).is_none());
    check_mended(cluster, key).await;
}

#[tokio::test]
async fn a_partition_that_cannot_be_opened_is_kept_while_nobody_can_fill_it() {
    let key = target(PLAIN, "k");
    let mut cluster = with_a_value(&key).await;
    let moment = cluster.peers[0].moment();
    let shown = moment.shown(&key.place).expect("a partition");
    let clock = shown.layout.clock();
    drop(moment);
    cluster.cut(1);
    let harm = |store: &Memory| assert!(store.flip(Space::Partitions, &clock));
    cluster.restart(0, true, harm).await;
    cluster.peers[0].pass().await;
    let kept = cluster.stores[0].snapshot(Space::Partitions).get(&clock);
    assert!(matches!(kept, Err(RecordError::Damaged(_))), "{kept:?}");
    assert_eq!(generation(&cluster, 0, &key), None);
    cluster.heal();
    check_mended(cluster, key).await;
}

#[tokio::test]
async fn what_was_looked_through_for_another_need_not_be_again() {
    let cluster = Cluster::start().await;
    let key = target(RESOLVED, "k");
    let put = cluster.put(0, &key, Some("v"), Basis::Unsaid).await;
    put.expect("acknowledged");
    cluster.converge().await;
    let other = cluster.peers[0].id();
    let ask = |time| cluster.peers[1].on_rely(other, key.place, Instant::now() + time);
    let late = ask(Duration::ZERO).await;
    assert_eq!(late, Err(Refusal::TooLate), "there is something to look at");
    for time in [Duration::from_mins(1), Duration::ZERO] {
        let promised = ask(time).await;
        assert!(
            matches!(promised, Ok(Reply::Promised(_, true))),
            "{promised:?}"
        );
    }
    cluster.stop();
}
