//! These are scripts of a read: what arrives, and what follows.

use super::*;
use crate::closed::Closing;
use crate::dot::{Actor, Dot};
use crate::id::{BucketId, Generation, Incarnation, PlacementId};
use crate::key::{Key, Partition};
use crate::object::Version;
use crate::operation::Consistency;
use crate::place::{Entry, Place};
use crate::replica::Standing;
use crate::time::Time;

const ME: NodeId = NodeId(1);
const SECOND: NodeId = NodeId(2);
const THIRD: NodeId = NodeId(3);
const ALL: [NodeId; 3] = [ME, SECOND, THIRD];

fn request(consistency: Consistency) -> ReadRequest {
    let (placement, partition) = (PlacementId(1), Partition::from_wire(0));
    let place = Place {
        placement,
        partition,
    };
    let key = Key::try_from(&b"k"[..]).expect("a key");
    let bucket = BucketId(1);
    let entry = Entry { bucket, key };
    ReadRequest {
        target: Target { place, entry },
        consistency,
    }
}

fn dot(node: NodeId, counter: u64) -> Dot {
    let (incarnation, generation) = (Incarnation(1), Generation(1));
    Actor {
        node,
        incarnation,
        generation,
    }
    .dot(counter)
}

fn holding(dots: &[Dot]) -> Object {
    let mut object = Object::default();
    for dot in dots {
        let (time, value) = (Time(dot.counter), None);
        object.add(*dot, Version { time, value });
    }
    object
}

fn begin(consistency: Consistency, candidates: &[NodeId]) -> (Read, Vec<Effect>) {
    Read::new(request(consistency), ME, candidates, 3)
}

fn step(read: &mut Read, event: Event) -> Vec<Effect> {
    read.step(event, &own())
}

fn answered(effects: &[Effect]) -> &ReadAnswer {
    match effects {
        [Effect::Answer(Ok(answer)), ..] => answer,
        other => panic!("{other:?}"),
    }
}

#[test]
fn asks_a_quorum_and_answers_when_a_digest_agrees() {
    let (mut read, effects) = begin(Consistency::Quorum, &ALL);
    let asked = [
        Effect::Ask(ME, Want::Object),
        Effect::Ask(SECOND, Want::Digest),
    ];
    assert_eq!(effects, asked);
    let object = holding(&[dot(ME, 1)]);
    assert!(step(&mut read, Event::Object(ME, object.clone())).is_empty());
    let effects = step(&mut read, Event::Digest(SECOND, object.digest()));
    assert_eq!(answered(&effects).object, object);
    assert_eq!(effects.len(), 1, "nobody is stale");
}

#[test]
fn fetches_what_differs_merges_it_and_repairs_who_lacks_some() {
    let (mut read, _) = begin(Consistency::Quorum, &ALL);
    let (mine, theirs) = (holding(&[dot(ME, 1)]), holding(&[dot(SECOND, 1)]));
    step(&mut read, Event::Object(ME, mine));
    let effects = step(&mut read, Event::Digest(SECOND, theirs.digest()));
    assert_eq!(effects, [Effect::Ask(SECOND, Want::Object)]);
    let effects = step(&mut read, Event::Object(SECOND, theirs));
    let merged = holding(&[dot(ME, 1), dot(SECOND, 1)]);
    assert_eq!(answered(&effects).object, merged);
    let repairs = [
        Effect::Repair(ME, merged.clone()),
        Effect::Repair(SECOND, merged),
    ];
    assert_eq!(effects[1..], repairs);
}

#[test]
fn does_not_bring_back_what_a_replica_with_an_equal_digest_has_met() {
    let (mut read, _) = begin(Consistency::All, &ALL);
    // The second deleted what the third still holds; the first never had it.
    let mut deleted = Object::default();
    deleted.context.add(dot(THIRD, 1));
    step(&mut read, Event::Object(ME, Object::default()));
    step(&mut read, Event::Digest(SECOND, deleted.digest()));
    let stale = holding(&[dot(THIRD, 1)]);
    let effects = step(&mut read, Event::Digest(THIRD, stale.digest()));
    assert_eq!(effects, [Effect::Ask(THIRD, Want::Object)]);
    let effects = step(&mut read, Event::Object(THIRD, stale));
    assert_eq!(effects, [Effect::Ask(SECOND, Want::Object)]);
    let effects = step(&mut read, Event::Object(SECOND, deleted));
    assert!(answered(&effects).object.versions.is_empty());
}

#[test]
fn asks_another_when_one_fails_or_is_slow() {
    let (mut read, _) = begin(Consistency::Quorum, &ALL);
    let effects = step(&mut read, Event::Failed(SECOND));
    assert_eq!(effects, [Effect::Ask(THIRD, Want::Digest)]);
    let (mut read, _) = begin(Consistency::Quorum, &ALL);
    let effects = step(&mut read, Event::HedgeDue);
    assert_eq!(effects, [Effect::Ask(THIRD, Want::Digest)]);
    assert!(
        step(&mut read, Event::HedgeDue).is_empty(),
        "nobody is left"
    );
}

#[test]
fn is_unavailable_when_too_few_are_left_or_time_is_up() {
    let unavailable = |reached| {
        let needed = 2;
        Effect::Answer(Err(OperationError::QuorumUnavailable { reached, needed }))
    };
    let (_, effects) = begin(Consistency::Quorum, &[ME]);
    assert_eq!(effects, [unavailable(1)]);
    let (mut read, _) = begin(Consistency::Quorum, &[ME, SECOND]);
    assert_eq!(step(&mut read, Event::Failed(SECOND)), [unavailable(1)]);
    let (mut read, _) = begin(Consistency::Quorum, &ALL);
    step(&mut read, Event::Object(ME, Object::default()));
    assert_eq!(step(&mut read, Event::Expired), [unavailable(1)]);
    assert!(step(&mut read, Event::HedgeDue).is_empty());
}

#[test]
fn takes_digests_alone_and_then_asks_for_the_object() {
    let (mut read, _) = begin(Consistency::Quorum, &ALL);
    let object = holding(&[dot(SECOND, 1)]);
    step(&mut read, Event::Digest(SECOND, object.digest()));
    let effects = step(&mut read, Event::Failed(ME));
    assert_eq!(effects, [Effect::Ask(THIRD, Want::Object)]);
    let effects = step(&mut read, Event::Object(THIRD, object.clone()));
    assert_eq!(answered(&effects).object, object);
}

#[test]
fn an_answer_that_comes_twice_counts_once() {
    let (mut read, _) = begin(Consistency::Quorum, &ALL);
    step(&mut read, Event::Object(ME, Object::default()));
    let effects = step(&mut read, Event::Object(ME, Object::default()));
    assert!(effects.is_empty() && !read.is_answered());
}

/// The coordinator's replica; it has seen nothing.
fn own() -> State {
    State::new(Standing::Trusted)
}

/// The same once the third node's first actor is closed there.
fn closing() -> State {
    let mut own = own();
    own.clock.add(dot(THIRD, 1));
    let closed = Closing::new([(
        dot(THIRD, 1).actor,
        own.clock.seen().of_actor(&dot(THIRD, 1).actor),
    )]);
    own.clock.close(closed);
    own
}

/// A quorum read of a version that the second replica, which has closed its actor, does not hold.
fn unclear() -> Read {
    let (mut read, _) = begin(Consistency::Quorum, &[ME, SECOND]);
    let mut gone = Object::default();
    gone.context.join(closing().clock.seen());
    assert!(step(&mut read, Event::Object(ME, holding(&[dot(THIRD, 1)]))).is_empty());
    assert_eq!(
        step(&mut read, Event::Digest(SECOND, gone.digest())),
        [Effect::Ask(SECOND, Want::Object)]
    );
    assert_eq!(
        step(&mut read, Event::Object(SECOND, gone)),
        [Effect::Again]
    );
    read
}

#[test]
fn what_differs_by_actors_closed_elsewhere_is_clear_once_they_are_closed_here() {
    let mut read = unclear();
    let effects = read.step(Event::Again, &closing());
    assert!(answered(&effects).object.versions.is_empty());
}

#[test]
fn asks_once_more_for_what_stays_unclear_and_is_unavailable_only_when_time_is_up() {
    let mut read = unclear();
    let again = [Effect::Again, Effect::Ask(SECOND, Want::Object)];
    assert_eq!(step(&mut read, Event::Again), again);
    // It is not asked twice at once, and what it said stands when it fails.
    assert_eq!(step(&mut read, Event::Again), [Effect::Again]);
    assert!(step(&mut read, Event::Failed(SECOND)).is_empty());
    assert_eq!(step(&mut read, Event::Again), again);
    let (reached, needed) = (2, 2);
    let unavailable = OperationError::QuorumUnavailable { reached, needed };
    let effects = step(&mut read, Event::Expired);
    assert_eq!(effects, [Effect::Answer(Err(unavailable))]);
    assert!(step(&mut read, Event::Again).is_empty());
}

#[test]
fn a_newer_object_takes_the_place_of_one_that_was_not_clear() {
    let mut read = unclear();
    step(&mut read, Event::Again);
    let effects = step(&mut read, Event::Object(SECOND, holding(&[dot(THIRD, 1)])));
    assert!(
        answered(&effects)
            .object
            .versions
            .contains_key(&dot(THIRD, 1))
    );
}

#[test]
fn what_differs_by_a_list_that_is_only_known_is_clear_at_once() {
    let (mut read, mut own) = (unclear(), own());
    own.known
        .learn(closing().clock.closed(), own.clock.closed());
    let effects = read.step(Event::Again, &own);
    assert!(answered(&effects).object.versions.is_empty());
}
