//! These are scripts of a round of anti-entropy: what arrives, and what follows.

use super::*;
use crate::dot::Dot;
use crate::dot_set::Counters;
use crate::id::{BucketId, Generation, Incarnation};
use crate::key::Key;
use crate::object::Object;
use crate::replica::Standing;

const PEER: NodeId = NodeId(2);

fn dot(counter: u64) -> Dot {
    let (incarnation, generation) = (Incarnation(1), Generation(1));
    let node = PEER;
    Actor {
        node,
        incarnation,
        generation,
    }
    .dot(counter)
}

fn entry(key: &str) -> Entry {
    let key = Key::try_from(key.as_bytes()).expect("a key");
    let bucket = BucketId(1);
    Entry { bucket, key }
}

fn state(dots: &[Dot], sum: u128) -> State {
    let mut state = State::new(Standing::Trusted);
    for dot in dots {
        state.clock.add(*dot);
    }
    state.sum = Sum(sum);
    state
}

fn seen(dots: &[Dot]) -> DotSet {
    state(dots, 0).clock.seen().clone()
}

fn join(dots: &[Dot]) -> Effect {
    Effect::Join(state(dots, 0).clock)
}

const EPOCH: Epoch = Epoch(7);

/// A replica that serves under the map of `EPOCH` and holds objects of its buckets only.
fn seen_as(state: &State) -> Own<'_> {
    let (epoch, swept) = (EPOCH, true);
    Own {
        state,
        epoch,
        swept,
    }
}

fn answered(answer: Answer, epoch: Epoch, trusted: bool) -> Event {
    let speaker = Speaker {
        epoch,
        trusted,
        damaged: false,
    };
    Event::Answered(answer, speaker)
}

/// What a trusted replica under the same map says.
fn said(answer: Answer) -> Event {
    answered(answer, EPOCH, true)
}

fn difference(difference: Difference, other: &State) -> Event {
    difference_of(difference, seen_as(other))
}

fn difference_of(difference: Difference, other: Own<'_>) -> Event {
    answered(answer(difference, other), other.epoch, true)
}

fn item() -> Item {
    Item {
        entry: entry("k"),
        object: Object::default(),
        dots: vec![dot(1)],
    }
}

fn not_same() -> Answer {
    Answer::NotSame(KnownLists::default())
}

/// A round that was told that clocks or sums differ.
fn asking(own: &State) -> Sync {
    let (mut sync, _) = Sync::new(PEER, own);
    let effects = sync.step(said(not_same()), seen_as(own));
    assert_eq!(effects, [Effect::AskDifference(own.clock.seen().clone())]);
    sync
}

#[test]
fn equal_replicas_exchange_one_hash() {
    let own = state(&[dot(1)], 5);
    let (mut sync, effects) = Sync::new(PEER, &own);
    let digest = StateDigest::of(&own);
    assert_eq!(effects, [Effect::Compare(digest)]);
    assert_eq!(compare(&own, digest), Answer::Same);
    assert_eq!(compare(&state(&[dot(1)], 6), digest), not_same());
    assert_eq!(compare(&state(&[dot(2)], 5), digest), not_same());
    let effects = sync.step(said(Answer::Same), seen_as(&own));
    assert_eq!(effects, [Effect::End(End::Merged { trusted: true })]);
}

#[test]
fn merges_what_it_lacks_until_there_is_no_more() {
    let own = state(&[], 0);
    let mut sync = asking(&own);
    let other = state(&[dot(1), dot(2)], 9);
    let (items, more) = (vec![item()], true);
    let event = difference(Difference::Items { items, more }, &other);
    assert_eq!(
        sync.step(event, seen_as(&own)),
        [Effect::Merge(vec![item()])]
    );
    let own = state(&[dot(1)], 3);
    let effects = sync.step(Event::Merged, seen_as(&own));
    assert_eq!(effects, [Effect::AskDifference(own.clock.seen().clone())]);
    let (items, more) = (vec![item()], false);
    sync.step(
        difference(Difference::Items { items, more }, &other),
        seen_as(&own),
    );
    let effects = sync.step(Event::Merged, seen_as(&other));
    assert_eq!(effects, [Effect::End(End::Merged { trusted: true })]);
}

fn merged_to(next: Option<Entry>) -> Event {
    let whole = true;
    Event::ChunkMerged(Reached::To { next, whole })
}

fn chunk(kind: TransferKind, dots: &[Dot], end: Option<Entry>) -> Chunk {
    Chunk {
        kind,
        seen: seen(dots),
        objects: Vec::new(),
        damaged: Vec::new(),
        end,
    }
}

/// A round whose ranges are all merged: the sender had seen `first`, then `last`.
fn ranged(own: &State, first: &[Dot], last: &[Dot]) -> (Sync, Vec<Effect>) {
    let clocked = TransferKind::Clocked;
    let mut sync = asking(own);
    let start = state(first, 9);
    let effects = sync.step(difference(Difference::LogTooShort, &start), seen_as(own));
    assert_eq!(effects, [Effect::AskChunk(clocked, None)]);
    let range = chunk(clocked, first, Some(entry("m")));
    let effects = sync.step(said(Answer::Chunk(range.clone())), seen_as(own));
    let closed = Closed::default();
    assert_eq!(effects, [Effect::MergeChunk(None, range, closed)]);
    let effects = sync.step(merged_to(Some(entry("m"))), seen_as(own));
    assert_eq!(effects, [Effect::AskChunk(clocked, Some(entry("m")))]);
    let range = chunk(clocked, last, None);
    sync.step(said(Answer::Chunk(range)), seen_as(own));
    let effects = sync.step(merged_to(None), seen_as(own));
    (sync, effects)
}

#[test]
fn goes_through_all_keys_and_joins_the_clock_of_the_first_range() {
    let own = state(&[], 0);
    let (mut sync, effects) = ranged(&own, &[dot(1)], &[dot(1)]);
    assert_eq!(effects, [join(&[dot(1)])]);
    let effects = sync.step(Event::Joined, seen_as(&own));
    assert_eq!(effects, [Effect::End(End::Merged { trusted: true })]);
}

#[test]
fn repairs_what_the_sender_saw_during_a_transfer_before_it_joins() {
    let own = state(&[], 0);
    let (mut sync, effects) = ranged(&own, &[dot(2)], &[dot(1), dot(2)]);
    assert_eq!(effects, [Effect::AskRest(seen(&[dot(2)]))]);
    let other = state(&[dot(1), dot(2), dot(3)], 0);
    let (items, more) = (vec![item()], true);
    let effects = sync.step(
        difference(Difference::Items { items, more }, &other),
        seen_as(&own),
    );
    assert_eq!(effects, [Effect::Merge(vec![item()])]);
    let effects = sync.step(Event::Merged, seen_as(&own));
    assert_eq!(effects, [join(&[dot(1), dot(2)])]);
}

#[test]
fn joins_nothing_when_the_log_forgot_what_the_sender_saw_meanwhile() {
    let own = state(&[], 0);
    let (mut sync, _) = ranged(&own, &[dot(2)], &[dot(1), dot(2)]);
    let effects = sync.step(difference(Difference::LogTooShort, &own), seen_as(&own));
    assert_eq!(effects, [Effect::End(End::Broken)]);
}

#[test]
fn equal_clocks_with_unequal_sums_raise_an_alarm_and_are_united() {
    let own = state(&[dot(1)], 1);
    let mut sync = asking(&own);
    let other = state(&[dot(1)], 2);
    let effects = sync.step(difference(Difference::None, &other), seen_as(&own));
    let union = TransferKind::Union;
    let expected = [Effect::Alarm, Effect::AskChunk(union, None)];
    assert_eq!(effects, expected);
    // What either has seen meanwhile is repaired by its dots: nothing is joined.
    let range = chunk(union, &[dot(1), dot(2)], None);
    sync.step(said(Answer::Chunk(range)), seen_as(&own));
    let effects = sync.step(merged_to(None), seen_as(&own));
    assert_eq!(effects, [Effect::End(End::Merged { trusted: true })]);
}

#[test]
fn an_object_that_may_be_ahead_of_its_clock_is_united_without_an_alarm() {
    let mut own = state(&[dot(1)], 1);
    own.unstripped = 1;
    let other = state(&[dot(1)], 2);
    let union = [Effect::AskChunk(TransferKind::Union, None)];
    let effects = asking(&own).step(difference(Difference::None, &other), seen_as(&own));
    assert_eq!(effects, union);
    let effects = asking(&other).step(difference(Difference::None, &own), seen_as(&other));
    assert_eq!(effects, union);
}

#[test]
fn one_that_strays_is_united_without_an_alarm_until_it_holds_what_a_settled_one_holds() {
    let mut own = state(&[dot(1)], 1);
    own.strays = true;
    let mut other = state(&[dot(1)], 2);
    let union = [Effect::AskChunk(TransferKind::Union, None)];
    let effects = asking(&own).step(difference(Difference::None, &other), seen_as(&own));
    assert_eq!(effects, union);
    let effects = asking(&other).step(difference(Difference::None, &own), seen_as(&other));
    assert_eq!(effects, union);
    // What is united has the same sum, but another digest.
    own.sum = other.sum;
    assert_ne!(StateDigest::of(&own), StateDigest::of(&other));
    let mut sync = asking(&own);
    let effects = sync.step(difference(Difference::None, &other), seen_as(&own));
    assert_eq!(effects, [Effect::Agree(true)]);
    let effects = sync.step(Event::Merged, seen_as(&own));
    assert_eq!(effects, [Effect::End(End::Merged { trusted: true })]);
    // A settled one has nothing to take note of.
    let effects = asking(&other).step(difference(Difference::None, &own), seen_as(&other));
    assert_eq!(effects, [Effect::End(End::Merged { trusted: true })]);
    other.unstripped = 1;
    let effects = asking(&own).step(difference(Difference::None, &other), seen_as(&own));
    assert_eq!(effects, [Effect::Agree(false)]);
}

#[test]
fn two_that_stray_and_hold_the_same_take_note_of_that() {
    let mut own = state(&[dot(1)], 1);
    own.strays = true;
    let (mut sync, _) = Sync::new(PEER, &own);
    let effects = sync.step(said(Answer::Same), seen_as(&own));
    assert_eq!(effects, [Effect::Agree(false)]);
    let effects = sync.step(Event::Merged, seen_as(&own));
    assert_eq!(effects, [Effect::End(End::Merged { trusted: true })]);
}

#[test]
fn having_seen_more_than_the_other_is_no_alarm() {
    let own = state(&[dot(1), dot(2)], 1);
    let mut sync = asking(&own);
    let other = state(&[dot(1)], 2);
    let effects = sync.step(difference(Difference::None, &other), seen_as(&own));
    assert_eq!(effects, [Effect::End(End::Merged { trusted: true })]);
}

#[test]
fn one_doubtful_answer_makes_the_round_doubtful() {
    let own = state(&[], 0);
    let (mut sync, _) = Sync::new(PEER, &own);
    sync.step(answered(not_same(), EPOCH, false), seen_as(&own));
    let effects = sync.step(difference(Difference::None, &own), seen_as(&own));
    assert_eq!(effects, [Effect::End(End::Merged { trusted: false })]);
}

#[test]
fn a_failure_or_an_answer_to_another_question_ends_the_round_without_a_claim() {
    let own = state(&[], 0);
    let (mut sync, _) = Sync::new(PEER, &own);
    assert_eq!(
        sync.step(Event::Failed, seen_as(&own)),
        [Effect::End(End::Broken)]
    );
    let mut sync = asking(&own);
    let effects = sync.step(said(Answer::Same), seen_as(&own));
    assert_eq!(effects, [Effect::End(End::Broken)]);
}

/// A round that has merged one range of a sender that had seen `first`.
fn half_way(own: &State, first: &[Dot]) -> Sync {
    let mut sync = asking(own);
    let start = state(first, 9);
    sync.step(difference(Difference::LogTooShort, &start), seen_as(own));
    let range = chunk(TransferKind::Clocked, first, Some(entry("m")));
    sync.step(said(Answer::Chunk(range)), seen_as(own));
    sync.step(merged_to(Some(entry("m"))), seen_as(own));
    sync
}

#[test]
fn a_transfer_that_broke_goes_on_with_the_range_it_waited_for() {
    let own = state(&[], 0);
    let mut sync = half_way(&own, &[dot(1)]);
    assert_eq!(
        sync.step(Event::Failed, seen_as(&own)),
        [Effect::End(End::Broken)]
    );
    assert!(sync.is_resumable());
    let again = Effect::AskChunk(TransferKind::Clocked, Some(entry("m")));
    assert_eq!(sync.resume(), [again]);
    let range = chunk(TransferKind::Clocked, &[dot(1), dot(2)], None);
    sync.step(said(Answer::Chunk(range)), seen_as(&own));
    let rest = Effect::AskRest(seen(&[dot(1)]));
    assert_eq!(
        sync.step(merged_to(None), seen_as(&own)),
        std::slice::from_ref(&rest)
    );
    sync.step(Event::Failed, seen_as(&own));
    assert_eq!(sync.resume(), [rest]);
}

#[test]
fn before_its_first_range_a_round_begins_anew() {
    let own = state(&[], 0);
    let mut sync = asking(&own);
    sync.step(difference(Difference::LogTooShort, &own), seen_as(&own));
    sync.step(Event::Failed, seen_as(&own));
    assert!(!sync.is_resumable());
    assert_eq!(sync.resume(), [Effect::End(End::Broken)]);
}

#[test]
fn a_sender_that_lost_what_it_had_seen_at_first_is_not_believed() {
    let own = state(&[], 0);
    let mut sync = half_way(&own, &[dot(1), dot(2)]);
    let range = chunk(TransferKind::Clocked, &[dot(1)], None);
    let effects = sync.step(said(Answer::Chunk(range)), seen_as(&own));
    assert_eq!(effects, [Effect::End(End::Broken)]);
    assert!(!sync.is_resumable());
}

#[test]
fn a_sender_that_lost_what_it_had_seen_meanwhile_is_not_believed() {
    let own = state(&[], 0);
    let (mut sync, effects) = ranged(&own, &[dot(2)], &[dot(1), dot(2)]);
    assert_eq!(effects, [Effect::AskRest(seen(&[dot(2)]))]);
    let other = state(&[dot(2)], 0);
    let effects = sync.step(difference(Difference::None, &other), seen_as(&own));
    assert_eq!(effects, [Effect::End(End::Broken)]);
}

fn counters(dots: &[Dot]) -> Counters {
    seen(dots).of_actor(&dot(1).actor)
}

/// A state that has closed the actor of the dots after all of these were seen.
fn closed(dots: &[Dot]) -> State {
    let mut state = state(dots, 0);
    let step = [(dot(1).actor, counters(dots))];
    state.clock.close(Closing::new(step));
    state
}

/// What a state that has closed something answers to one that has closed nothing.
fn news(other: &State) -> Event {
    let news = other.clock.closed().since(None);
    difference(Difference::Closed(news), other)
}

#[test]
fn what_the_other_has_closed_is_closed_here_where_the_same_was_seen() {
    let own = state(&[dot(1)], 0);
    let mut sync = asking(&own);
    let other = closed(&[dot(1)]);
    let steps = other.clock.closed().steps().to_vec();
    assert_eq!(
        sync.step(news(&other), seen_as(&own)),
        [Effect::Close(None, steps)]
    );
    let own = closed(&[dot(1)]);
    let effects = sync.step(Event::Closed(true), seen_as(&own));
    assert_eq!(effects, [Effect::AskDifference(own.clock.seen().clone())]);
}

#[test]
fn goes_through_all_keys_where_the_other_has_closed_what_was_not_all_seen_here() {
    let own = state(&[dot(1)], 0);
    let mut sync = asking(&own);
    let other = closed(&[dot(1), dot(2)]);
    sync.step(news(&other), seen_as(&own));
    let clocked = TransferKind::Clocked;
    let effects = sync.step(Event::Closed(false), seen_as(&own));
    assert_eq!(effects, [Effect::AskChunk(clocked, None)]);
    let range = Chunk {
        kind: clocked,
        seen: other.clock.seen().clone(),
        objects: Vec::new(),
        damaged: Vec::new(),
        end: None,
    };
    let list = other.clock.closed().clone();
    let effects = sync.step(said(Answer::Chunk(range.clone())), seen_as(&own));
    assert_eq!(effects, [Effect::MergeChunk(None, range, list)]);
    let effects = sync.step(merged_to(None), seen_as(&own));
    assert_eq!(effects, [Effect::Join(other.clock)]);
}

#[test]
fn learns_of_one_who_has_yet_to_close_what_is_closed_here_only_where_a_record_is_damaged() {
    let own = closed(&[dot(1)]);
    let other = state(&[dot(1)], 0);
    let effects = asking(&own).step(news(&other), seen_as(&own));
    assert_eq!(effects, [Effect::End(End::Merged { trusted: true })]);
    let mut more = state(&[dot(1)], 0);
    let another = Actor {
        node: NodeId(3),
        ..dot(1).actor
    };
    more.clock.add(another.dot(1));
    let effects = asking(&own).step(news(&more), seen_as(&own));
    assert_eq!(effects, [Effect::End(End::Broken)]);
    let Event::Answered(answer, speaker) = news(&more) else {
        panic!("news are an answer");
    };
    let damaged = Speaker {
        damaged: true,
        ..speaker
    };
    let effects = asking(&own).step(Event::Answered(answer, damaged), seen_as(&own));
    assert_eq!(effects, [Effect::AskChunk(TransferKind::Clocked, None)]);
}

#[test]
fn sums_are_compared_only_when_both_are_over_the_buckets_of_one_map() {
    let (one, two) = (state(&[dot(1)], 1), state(&[dot(1)], 2));
    let mut older = seen_as(&two);
    older.epoch = Epoch(EPOCH.0 - 1);
    for other in [unswept_of(&two), older] {
        let event = difference_of(Difference::None, other);
        let effects = asking(&one).step(event, seen_as(&one));
        assert_eq!(effects, [Effect::End(End::Merged { trusted: true })]);
    }
    let effects = asking(&one).step(difference(Difference::None, &two), unswept_of(&one));
    assert_eq!(effects, [Effect::End(End::Merged { trusted: true })]);
}

/// A replica that may hold objects of buckets that its map does not have.
fn unswept_of(state: &State) -> Own<'_> {
    Own {
        swept: false,
        ..seen_as(state)
    }
}

#[test]
fn an_answer_under_a_newer_map_is_not_used() {
    let own = state(&[], 0);
    let newer = Epoch(EPOCH.0 + 1);
    for answer in [Answer::Same, not_same()] {
        let (mut sync, _) = Sync::new(PEER, &own);
        let effects = sync.step(answered(answer, newer, true), seen_as(&own));
        assert_eq!(effects, [Effect::End(End::Broken)]);
    }
    let other = state(&[dot(1)], 9);
    let (items, more) = (vec![item()], false);
    let mut speaker = seen_as(&other);
    speaker.epoch = newer;
    let event = difference_of(Difference::Items { items, more }, speaker);
    let effects = asking(&own).step(event, seen_as(&own));
    assert_eq!(effects, [Effect::End(End::Broken)]);
    // The own map has been caught up with, and is the newer one of the two now.
    let mut caught_up = seen_as(&own);
    caught_up.epoch = Epoch(EPOCH.0 + 2);
    let (mut sync, _) = Sync::new(PEER, &own);
    let effects = sync.step(answered(Answer::Same, newer, true), caught_up);
    assert_eq!(effects, [Effect::End(End::Merged { trusted: true })]);
}

#[test]
fn a_transfer_whose_sender_has_a_newer_map_goes_on_once_that_is_adopted() {
    let own = state(&[], 0);
    let mut sync = half_way(&own, &[dot(1)]);
    let newer = Epoch(EPOCH.0 + 1);
    let range = chunk(TransferKind::Clocked, &[dot(1)], None);
    let event = answered(Answer::Chunk(range.clone()), newer, true);
    let effects = sync.step(event.clone(), seen_as(&own));
    assert_eq!(effects, [Effect::End(End::Broken)]);
    let again = Effect::AskChunk(TransferKind::Clocked, Some(entry("m")));
    assert_eq!(sync.resume(), [again]);
    let mut caught_up = seen_as(&own);
    caught_up.epoch = newer;
    let effects = sync.step(event, caught_up);
    let merge = Effect::MergeChunk(Some(entry("m")), range, Closed::default());
    assert_eq!(effects, [merge]);
}

#[test]
fn a_transfer_that_leaves_out_what_is_damaged_there_tells_what_is_held_and_joins_nothing() {
    let (own, other) = (state(&[], 0), state(&[dot(1)], 9));
    let mut sync = asking(&own);
    sync.step(difference(Difference::LogTooShort, &other), seen_as(&own));
    let range = Chunk {
        damaged: vec![entry("k")],
        ..chunk(TransferKind::Clocked, &[dot(1)], None)
    };
    sync.step(said(Answer::Chunk(range)), seen_as(&own));
    let effects = sync.step(merged_to(None), seen_as(&own));
    assert_eq!(effects, [Effect::AskRest(other.clock.seen().clone())]);
    let effects = sync.step(difference(Difference::None, &other), seen_as(&own));
    assert_eq!(effects, [Effect::End(End::Merged { trusted: false })]);
}

#[test]
fn a_transfer_that_leaves_out_what_is_damaged_here_tells_what_is_held_and_claims_nothing() {
    let (own, other) = (state(&[], 0), state(&[dot(1)], 9));
    let mut sync = asking(&own);
    sync.step(difference(Difference::LogTooShort, &other), seen_as(&own));
    let range = chunk(TransferKind::Clocked, &[dot(1)], None);
    sync.step(said(Answer::Chunk(range)), seen_as(&own));
    let (next, whole) = (None, false);
    let effects = sync.step(
        Event::ChunkMerged(Reached::To { next, whole }),
        seen_as(&own),
    );
    assert_eq!(effects, [Effect::AskRest(other.clock.seen().clone())]);
    let effects = sync.step(difference(Difference::None, &other), seen_as(&own));
    assert_eq!(effects, [Effect::End(End::Broken)]);
}

#[test]
fn goes_through_all_keys_where_more_comes_behind_an_object_that_is_damaged_here() {
    let (own, other) = (state(&[], 0), state(&[dot(1), dot(2)], 9));
    for (more, then) in [
        (true, Effect::AskChunk(TransferKind::Clocked, None)),
        (false, Effect::End(End::Broken)),
    ] {
        let mut sync = asking(&own);
        let items = vec![item()];
        sync.step(
            difference(Difference::Items { items, more }, &other),
            seen_as(&own),
        );
        assert_eq!(sync.step(Event::MergedPartly, seen_as(&own)), [then]);
    }
}

#[test]
fn lists_that_the_other_knows_are_known_here_before_anything_is_merged() {
    let (mut own, mut other) = (state(&[dot(1)], 5), state(&[dot(1), dot(2)], 6));
    let list = closed(&[dot(1)]).clock.closed().clone();
    other.known.learn(&list, other.clock.closed());
    let told = compare(&other, StateDigest::of(&own));
    assert_eq!(told, Answer::NotSame(other.known.clone()));
    let (mut sync, _) = Sync::new(PEER, &own);
    let effects = sync.step(said(told.clone()), seen_as(&own));
    assert_eq!(effects, [Effect::Learn(other.known.clone())]);
    own.known.learn(&list, own.clock.closed());
    let ask = [Effect::AskDifference(own.clock.seen().clone())];
    assert_eq!(sync.step(Event::Merged, seen_as(&own)), ask);
    let (mut sync, _) = Sync::new(PEER, &own);
    assert_eq!(
        sync.step(said(told), seen_as(&own)),
        ask,
        "it is known here"
    );
}

#[test]
fn a_damaged_one_is_believed_where_all_that_it_has_seen_is_here() {
    let (own, other) = (state(&[dot(1)], 5), state(&[dot(1), dot(2)], 6));
    let difference = |found: Difference| {
        let (answer, epoch) = (answer(found, seen_as(&other)), EPOCH);
        let (trusted, damaged) = (true, true);
        let speaker = Speaker {
            epoch,
            trusted,
            damaged,
        };
        Event::Answered(answer, speaker)
    };
    let effects = asking(&own).step(difference(Difference::None), seen_as(&own));
    assert_eq!(
        effects,
        [Effect::End(End::Merged { trusted: false })],
        "what it lacks could not be read there"
    );
    let mut sync = asking(&own);
    let (items, more) = (vec![item()], false);
    let effects = sync.step(difference(Difference::Items { items, more }), seen_as(&own));
    assert_eq!(effects, [Effect::Merge(vec![item()])]);
    let effects = sync.step(Event::Merged, seen_as(&other));
    assert_eq!(effects, [Effect::End(End::Merged { trusted: true })]);
}
