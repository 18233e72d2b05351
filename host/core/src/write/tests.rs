//! These are scripts of a write: what arrives, and what follows.

use super::*;
use crate::closed::Closing;
use crate::dot::Actor;
use crate::id::{BucketId, Generation, Incarnation, PlacementId};
use crate::key::{Key, Partition};
use crate::object::Value;
use crate::operation::Consistency;
use crate::place::{Entry, Place};
use crate::replica::Standing;

const ME: NodeId = NodeId(1);
const SECOND: NodeId = NodeId(2);
const THIRD: NodeId = NodeId(3);

fn target() -> Target {
    let place = Place {
        placement: PlacementId(1),
        partition: Partition::from_wire(0),
    };
    let key = Key::try_from(&b"k"[..]).expect("a key");
    let bucket = BucketId(1);
    Target {
        place,
        entry: Entry { bucket, key },
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

fn value(text: &str) -> Value {
    Value {
        bytes: text.as_bytes().into(),
        content_type: "text/plain".to_owned(),
        content_encoding: None,
        meta: Vec::new(),
    }
}

fn version(text: &str, time: u64) -> Version {
    let (time, value) = (Time(time), Some(value(text)));
    Version { time, value }
}

fn object(versions: &[(Dot, Version)]) -> Object {
    let mut object = Object::default();
    for (dot, version) in versions {
        object.add(*dot, version.clone());
    }
    object
}

fn written(dots: &[Dot], object: Object, beside: u64) -> Outcome {
    Outcome::Written(Written {
        dot: dots[0],
        dots: dots.to_vec(),
        object,
        found: Found {
            live: false,
            beside: Time(beside),
            suspect: false,
        },
    })
}

fn begin(resolver: bool, basis: Basis, reachable: &[NodeId]) -> (Write, Vec<Effect>) {
    begin_with(Some(value("new")), resolver, basis, reachable)
}

fn begin_with(
    value: Option<Value>,
    resolver: bool,
    basis: Basis,
    reachable: &[NodeId],
) -> (Write, Vec<Effect>) {
    let with = Coordination {
        me: ME,
        replicas: vec![ME, SECOND, THIRD],
        reachable: reachable.iter().copied().collect(),
        resolver,
        versions_max: 128,
    };
    let request = WriteRequest {
        target: target(),
        value,
        basis,
        consistency: Consistency::Quorum,
    };
    Write::new(request, with)
}

/// What the coordinator's replica has seen: all that it mints here.
fn own() -> State {
    let mut own = State::new(Standing::Trusted);
    (1..9).for_each(|counter| own.clock.add(dot(ME, counter)));
    own
}

fn step(write: &mut Write, event: Event) -> Vec<Effect> {
    write.step(event, &own())
}

/// A write with a resolver that has stored its first version at time 10 and sent it.
fn spreading() -> Write {
    let (mut write, _) = begin(true, Basis::Unsaid, &[ME, SECOND, THIRD]);
    step(&mut write, Event::Looked(ME, Object::default(), Time(10)));
    let stored = object(&[(dot(ME, 1), version("new", 10))]);
    let sent = step(&mut write, Event::Stored(written(&[dot(ME, 1)], stored, 0)));
    assert!(matches!(
        sent[..],
        [Effect::Send(SECOND, ..), Effect::Send(THIRD, ..)]
    ));
    write
}

#[test]
fn answers_once_a_quorum_has_it_with_exactly_its_own_dot() {
    let mut write = spreading();
    let effects = step(
        &mut write,
        Event::Acknowledged(SECOND, dot(ME, 1), Found::default()),
    );
    let [Effect::Answer(Ok(answer))] = &effects[..] else {
        panic!("{effects:?}");
    };
    assert_eq!(answer.context, DotSet::of(dot(ME, 1)));
    assert_eq!(
        answer.achieved,
        Achieved {
            reached: 2,
            replicas: 3
        }
    );
    assert!(!answer.existed);
    assert!(step(&mut write, Event::Expired).is_empty());
}

#[test]
fn an_acknowledgement_that_comes_twice_counts_once() {
    let (mut write, _) = begin(true, Basis::Unsaid, &[ME, SECOND, THIRD]);
    step(&mut write, Event::Looked(ME, Object::default(), Time(10)));
    let stored = object(&[(dot(ME, 1), version("new", 10))]);
    step(&mut write, Event::Stored(written(&[dot(ME, 1)], stored, 0)));
    let own = step(
        &mut write,
        Event::Acknowledged(ME, dot(ME, 1), Found::default()),
    );
    assert!(own.is_empty() && !write.is_answered());
}

#[test]
fn is_refused_before_anything_is_stored_when_too_few_can_be_reached() {
    let (write, effects) = begin(true, Basis::Unsaid, &[ME]);
    let refused = OperationError::QuorumUnavailable {
        reached: 1,
        needed: 2,
    };
    assert_eq!(effects, [Effect::Answer(Err(refused))]);
    assert!(write.is_answered());
}

#[test]
fn is_unknown_once_stored_and_too_few_are_left() {
    let mut write = spreading();
    assert!(step(&mut write, Event::Failed(SECOND)).is_empty());
    let unknown = OperationError::OutcomeUnknown {
        reached: 1,
        needed: 2,
    };
    let effects = step(&mut write, Event::Failed(THIRD));
    assert_eq!(effects, [Effect::Answer(Err(unknown))]);
}

#[test]
fn is_unknown_when_time_is_up_after_it_was_handed_to_the_store() {
    let (mut write, _) = begin(true, Basis::Unsaid, &[ME, SECOND, THIRD]);
    step(&mut write, Event::Looked(ME, Object::default(), Time(10)));
    let effects = step(&mut write, Event::Expired);
    assert!(matches!(
        effects[..],
        [Effect::Answer(Err(OperationError::OutcomeUnknown { .. }))]
    ));
}

#[test]
fn is_minted_again_above_a_later_version_that_a_replica_holds() {
    let mut write = spreading();
    let found = Found {
        live: true,
        beside: Time(50),
        suspect: false,
    };
    let effects = step(&mut write, Event::Acknowledged(SECOND, dot(ME, 1), found));
    assert_eq!(effects, [Effect::Tick(Time(50))]);
    let effects = step(&mut write, Event::Ticked(Time(51)));
    let [Effect::Store(store)] = &effects[..] else {
        panic!("{effects:?}");
    };
    assert_eq!(store.version, version("new", 51));
    assert_eq!(
        store.context,
        DotSet::of(dot(ME, 1)),
        "it covers its first dot"
    );
    let stored = object(&[(dot(ME, 2), version("new", 51))]);
    step(&mut write, Event::Stored(written(&[dot(ME, 2)], stored, 0)));
    // What the first mint was acknowledged for says nothing of the second.
    let late = Event::Acknowledged(SECOND, dot(ME, 1), found);
    assert_eq!(step(&mut write, late), []);
    let effects = step(&mut write, Event::Acknowledged(THIRD, dot(ME, 2), found));
    let [Effect::Answer(Ok(answer))] = &effects[..] else {
        panic!("{effects:?}");
    };
    assert!(answer.existed, "a replica held a live version");
    assert!(answer.context.has(&dot(ME, 1)) && answer.context.has(&dot(ME, 2)));
}

const SUSPECT: Found = Found {
    live: false,
    beside: Time(0),
    suspect: true,
};

#[test]
fn with_a_resolver_a_suspect_cannot_vouch_that_nothing_later_was_there() {
    let mut write = spreading();
    let suspect = Event::Acknowledged(SECOND, dot(ME, 1), SUSPECT);
    assert_eq!(step(&mut write, suspect.clone()), []);
    let unknown = OperationError::OutcomeUnknown {
        reached: 1,
        needed: 2,
    };
    let effects = step(&mut write, Event::Failed(THIRD));
    assert_eq!(effects, [Effect::Answer(Err(unknown))]);
    // Once all replicas have spoken, whoever held a later version has.
    let mut write = spreading();
    step(&mut write, suspect);
    let effects = step(&mut write, Event::Acknowledged(THIRD, dot(ME, 1), SUSPECT));
    assert!(matches!(effects[..], [Effect::Answer(Ok(_))]));
}

#[test]
fn without_a_resolver_a_suspect_counts_for_it_stores_the_write() {
    let (mut write, _) = begin(false, Basis::Blind, &[ME, SECOND, THIRD]);
    step(&mut write, Event::Looked(ME, Object::default(), Time(10)));
    let stored = object(&[(dot(ME, 1), version("new", 10))]);
    step(&mut write, Event::Stored(written(&[dot(ME, 1)], stored, 0)));
    let effects = step(&mut write, Event::Acknowledged(SECOND, dot(ME, 1), SUSPECT));
    assert!(matches!(effects[..], [Effect::Answer(Ok(_))]));
}

#[test]
fn is_unknown_when_it_is_stored_and_has_no_room_to_be_minted_again() {
    let mut write = spreading();
    let found = Found {
        live: true,
        beside: Time(50),
        suspect: false,
    };
    step(&mut write, Event::Acknowledged(SECOND, dot(ME, 1), found));
    step(&mut write, Event::Ticked(Time(51)));
    let there = object(&[(dot(THIRD, 7), version("other", 5))]);
    let effects = step(&mut write, Event::Stored(Outcome::TooManySiblings(there)));
    let unknown = OperationError::OutcomeUnknown {
        reached: 0,
        needed: 2,
    };
    assert_eq!(effects, [Effect::Answer(Err(unknown))]);
}

#[test]
fn puts_what_it_does_not_supersede_to_the_resolver_and_names_only_its_own_dot() {
    let (mut write, _) = begin(true, Basis::Unsaid, &[ME, SECOND, THIRD]);
    let there = object(&[(dot(SECOND, 7), version("old", 5))]);
    let effects = step(&mut write, Event::Looked(ME, there.clone(), Time(10)));
    assert_eq!(
        effects,
        [Effect::Resolve(there.clone(), version("new", 10))]
    );
    let merged = version("old+new", 10);
    let effects = step(
        &mut write,
        Event::Resolved(Resolved::Merged(merged.clone())),
    );
    let [Effect::Store(store)] = &effects[..] else {
        panic!("{effects:?}");
    };
    assert_eq!(
        store.siblings,
        Resolution::Merge(there.dots(), merged.clone())
    );
    let stored = object(&[(dot(ME, 2), merged)]);
    let dots = [dot(ME, 1), dot(ME, 2)];
    step(&mut write, Event::Stored(written(&dots, stored, 0)));
    let effects = step(
        &mut write,
        Event::Acknowledged(SECOND, dot(ME, 2), Found::default()),
    );
    let [Effect::Answer(Ok(answer))] = &effects[..] else {
        panic!("{effects:?}");
    };
    assert_eq!(answer.context, DotSet::of(dot(ME, 1)));
}

#[test]
fn asks_the_resolver_again_when_the_versions_have_moved_and_gives_up_after_a_few_times() {
    let (mut write, _) = begin(true, Basis::Unsaid, &[ME, SECOND, THIRD]);
    let there = object(&[(dot(SECOND, 7), version("old", 5))]);
    for _ in 0..RESOLUTIONS_MAX {
        let effects = step(&mut write, Event::Looked(ME, there.clone(), Time(10)));
        assert!(matches!(effects[..], [Effect::Resolve(..)]));
        step(&mut write, Event::Resolved(Resolved::KeepNew));
        let effects = step(&mut write, Event::Stored(Outcome::Moved(there.clone())));
        assert_eq!(effects, [Effect::Look(ME)]);
    }
    let effects = step(&mut write, Event::Looked(ME, there, Time(10)));
    let [Effect::Store(store)] = &effects[..] else {
        panic!("{effects:?}");
    };
    assert_eq!(store.siblings, Resolution::Keep, "it is kept as a sibling");
}

#[test]
fn with_a_resolver_a_delete_covers_what_a_quorum_holds_and_it_wins_over() {
    let (mut write, effects) = begin_with(None, true, Basis::Unsaid, &[ME, SECOND, THIRD]);
    assert_eq!(effects, [Effect::Look(ME), Effect::Look(SECOND)]);
    step(&mut write, Event::Looked(ME, Object::default(), Time(1)));
    let there = object(&[(dot(SECOND, 7), version("old", 5))]);
    let effects = step(&mut write, Event::Looked(SECOND, there, Time(6)));
    assert!(matches!(effects[..], [Effect::Resolve(..)]));
    let effects = step(&mut write, Event::Resolved(Resolved::KeepNew));
    let [Effect::Store(store)] = &effects[..] else {
        panic!("{effects:?}");
    };
    assert_eq!(store.context, DotSet::of(dot(SECOND, 7)));
    assert_eq!(store.siblings, Resolution::Keep);
    assert_eq!(store.version.value, None);
}

#[test]
fn a_delete_that_would_leave_all_there_is_asks_for_a_token() {
    let (mut write, _) = begin_with(None, true, Basis::Unsaid, &[ME, SECOND, THIRD]);
    step(&mut write, Event::Looked(ME, Object::default(), Time(1)));
    let there = object(&[(dot(SECOND, 7), version("old", 5))]);
    step(&mut write, Event::Looked(SECOND, there, Time(6)));
    let effects = step(&mut write, Event::Resolved(Resolved::KeepAll));
    let context = DotSet::of(dot(SECOND, 7));
    let refused = OperationError::ContextRequired { context };
    assert_eq!(effects, [Effect::Answer(Err(refused))]);
}

#[test]
fn a_delete_of_what_is_deleted_is_done_whatever_the_resolver_keeps() {
    let (mut write, _) = begin_with(None, true, Basis::Unsaid, &[ME, SECOND, THIRD]);
    step(&mut write, Event::Looked(ME, Object::default(), Time(1)));
    let mut tombstone = version("", 5);
    tombstone.value = None;
    let there = object(&[(dot(SECOND, 7), tombstone)]);
    step(&mut write, Event::Looked(SECOND, there, Time(6)));
    let effects = step(&mut write, Event::Resolved(Resolved::KeepAll));
    assert!(matches!(effects[..], [Effect::Store(_)]));
}

#[test]
fn with_a_resolver_a_delete_covers_what_only_another_replica_knows_to_be_obsolete() {
    let (mut write, _) = begin_with(None, true, Basis::Unsaid, &[ME, SECOND, THIRD]);
    let there = object(&[(dot(THIRD, 7), version("old", 5))]);
    step(&mut write, Event::Looked(ME, there, Time(6)));
    let mut gone = Object::default();
    gone.context.add(dot(THIRD, 7));
    let effects = step(&mut write, Event::Looked(SECOND, gone, Time(6)));
    let [Effect::Store(store)] = &effects[..] else {
        panic!("{effects:?}");
    };
    assert!(store.context.has(&dot(THIRD, 7)));
}

#[test]
fn without_a_resolver_a_live_key_asks_for_a_token() {
    let (mut write, effects) = begin(false, Basis::Unsaid, &[ME, SECOND, THIRD]);
    assert_eq!(effects, [Effect::Look(ME), Effect::Look(SECOND)]);
    step(&mut write, Event::Looked(ME, Object::default(), Time(1)));
    let there = object(&[(dot(SECOND, 7), version("old", 5))]);
    let effects = step(&mut write, Event::Looked(SECOND, there, Time(6)));
    let context = DotSet::of(dot(SECOND, 7));
    let refused = OperationError::ContextRequired { context };
    assert_eq!(effects, [Effect::Answer(Err(refused))]);
}

#[test]
fn without_a_resolver_another_replica_is_read_when_one_fails() {
    let (mut write, _) = begin(false, Basis::Unsaid, &[ME, SECOND, THIRD]);
    let effects = step(&mut write, Event::Failed(SECOND));
    assert_eq!(effects, [Effect::Look(THIRD)]);
}

#[test]
fn a_token_supersedes_exactly_what_it_names() {
    let seen = DotSet::of(dot(SECOND, 7));
    let (mut write, effects) = begin(false, Basis::Seen(seen.clone()), &[ME, SECOND, THIRD]);
    assert_eq!(effects, [Effect::Look(ME)]);
    let effects = step(&mut write, Event::Looked(ME, Object::default(), Time(1)));
    let [Effect::Store(store)] = &effects[..] else {
        panic!("{effects:?}");
    };
    assert_eq!(store.context, seen);
    assert_eq!(store.siblings, Resolution::Keep);
}

/// A clock that is not believed.
fn skewed() -> Event {
    let skew = crate::skew::Skew(3_600_000_000);
    Event::StoreFailed(OperationError::ClockSkew { skew })
}

#[test]
fn a_clock_that_gives_no_time_is_a_refusal_before_anything_is_stored() {
    let (mut write, first) = begin(true, Basis::Unsaid, &[ME, SECOND, THIRD]);
    assert_eq!(first, [Effect::Look(ME)]);
    let effects = step(&mut write, skewed());
    let [Effect::Answer(Err(OperationError::ClockSkew { .. }))] = effects[..] else {
        panic!("{effects:?}");
    };
    // So it is when the clock turns out to be wrong as the write is minted.
    let (mut write, _) = begin(true, Basis::Unsaid, &[ME, SECOND, THIRD]);
    step(&mut write, Event::Looked(ME, Object::default(), Time(10)));
    let effects = step(&mut write, skewed());
    assert!(matches!(
        effects[..],
        [Effect::Answer(Err(OperationError::ClockSkew { .. }))]
    ));
}

#[test]
fn once_it_is_stored_a_clock_that_gives_no_time_leaves_it_unknown() {
    let mut write = spreading();
    let beside = Found {
        live: false,
        beside: Time(99),
        suspect: false,
    };
    let effects = step(&mut write, Event::Acknowledged(SECOND, dot(ME, 1), beside));
    assert_eq!(effects, [Effect::Tick(Time(99))]);
    let effects = step(&mut write, skewed());
    assert!(matches!(
        effects[..],
        [Effect::Answer(Err(OperationError::OutcomeUnknown { .. }))]
    ));
}

#[test]
fn a_coordinator_whose_replica_was_dropped_meanwhile_does_not_count_itself() {
    let mut write = spreading();
    let acknowledged = Event::Acknowledged(SECOND, dot(ME, 1), Found::default());
    let dropped = State::new(Standing::suspect());
    assert_eq!(write.step(acknowledged.clone(), &dropped), []);
    assert_eq!(write.step(acknowledged, &own()), [], "nor ever again");
    let effects = step(&mut write, Event::Failed(THIRD));
    let (reached, needed) = (1, 2);
    let unknown = OperationError::OutcomeUnknown { reached, needed };
    assert_eq!(effects, [Effect::Answer(Err(unknown))]);
}

/// A coordinator's replica once the third node's first actor is closed there.
fn closing() -> State {
    let (mut own, dot) = (own(), dot(THIRD, 1));
    own.clock.add(dot);
    let seen = own.clock.seen().of_actor(&dot.actor);
    own.clock.close(Closing::new([(dot.actor, seen)]));
    own
}

/// A write that has read two replicas: the second has closed the actor of what the first holds.
fn unclear() -> Write {
    let (mut write, _) = begin(false, Basis::Unsaid, &[ME, SECOND, THIRD]);
    let there = object(&[(dot(THIRD, 1), version("old", 5))]);
    step(&mut write, Event::Looked(ME, there, Time(6)));
    let mut gone = Object::default();
    gone.context.join(closing().clock.seen());
    let effects = step(&mut write, Event::Looked(SECOND, gone, Time(6)));
    assert_eq!(effects, [Effect::Again]);
    write
}

#[test]
fn what_differs_by_actors_closed_elsewhere_is_clear_once_they_are_closed_here() {
    let mut write = unclear();
    let effects = write.step(Event::Again, &closing());
    assert!(matches!(effects[..], [Effect::Store(_)]), "nothing lives");
}

#[test]
fn looks_once_more_at_what_stays_unclear_and_is_unavailable_only_when_time_is_up() {
    let mut write = unclear();
    let again = [Effect::Again, Effect::Look(SECOND)];
    assert_eq!(step(&mut write, Event::Again), again);
    assert!(step(&mut write, Event::Failed(SECOND)).is_empty());
    assert_eq!(step(&mut write, Event::Again), again);
    let refused = OperationError::QuorumUnavailable {
        reached: 2,
        needed: 2,
    };
    let effects = step(&mut write, Event::Expired);
    assert_eq!(effects, [Effect::Answer(Err(refused))]);
}

#[test]
fn sends_again_what_is_there_to_one_to_whom_it_was_not_clear() {
    let mut write = spreading();
    let refused = Event::Unclear(SECOND, dot(ME, 1));
    assert_eq!(step(&mut write, refused.clone()), [Effect::Again]);
    assert!(step(&mut write, refused).is_empty(), "it is to come anyway");
    assert_eq!(step(&mut write, Event::Again), [Effect::Look(ME)]);
    let now = object(&[
        (dot(ME, 1), version("new", 10)),
        (dot(THIRD, 7), version("other", 50)),
    ]);
    let effects = step(&mut write, Event::Looked(ME, now.clone(), Time(51)));
    assert_eq!(effects, [Effect::Send(SECOND, now, vec![dot(ME, 1)])]);
    // What has come beside it since may have been acknowledged before it began.
    let acknowledged = Event::Acknowledged(SECOND, dot(ME, 1), Found::default());
    let effects = step(&mut write, acknowledged);
    assert_eq!(effects, [Effect::Tick(Time(50))]);
}

#[test]
fn sends_again_what_it_stored_when_its_own_replica_has_it_no_more() {
    let mut write = spreading();
    step(&mut write, Event::Unclear(SECOND, dot(ME, 1)));
    step(&mut write, Event::Again);
    let effects = step(&mut write, Event::Looked(ME, Object::default(), Time(11)));
    let stored = object(&[(dot(ME, 1), version("new", 10))]);
    assert_eq!(effects, [Effect::Send(SECOND, stored, vec![dot(ME, 1)])]);
    let effects = step(&mut write, Event::Expired);
    let unknown = OperationError::OutcomeUnknown {
        reached: 1,
        needed: 2,
    };
    assert_eq!(effects, [Effect::Answer(Err(unknown))]);
}

#[test]
fn answers_when_what_is_there_now_cannot_be_read_and_nothing_is_sent_again() {
    let mut write = spreading();
    step(&mut write, Event::Failed(THIRD));
    step(&mut write, Event::Unclear(SECOND, dot(ME, 1)));
    assert_eq!(step(&mut write, Event::Again), [Effect::Look(ME)]);
    let unknown = OperationError::OutcomeUnknown {
        reached: 1,
        needed: 2,
    };
    let effects = step(&mut write, Event::Failed(ME));
    assert_eq!(effects, [Effect::Answer(Err(unknown))]);
}
