//! This is a full transfer at sizes that take many ranges, and a union of replicas of which one has
//! silently lost something.

use crate::cluster::{place, value};
use crate::memory::Memory;
use soros_core::clock::Clock;
use soros_core::closed::Closed;
use soros_core::dot_set::DotSet;
use soros_core::id::{BucketId, Incarnation, NodeId};
use soros_core::key::Key;
use soros_core::limits::ITEMS_PER_ANSWER_MAX;
use soros_core::object::{Value, Version};
use soros_core::place::Entry;
use soros_core::replica::{
    Chunk, Difference, Outcome, Reached, Replica, Siblings, Standing, TransferKind, Write, Written,
};
use soros_core::time::Time;

pub(crate) struct Node {
    pub(crate) disk: Memory,
    pub(crate) replica: Replica,
}

impl Node {
    pub(crate) fn id(&self) -> NodeId {
        self.replica.actor().node
    }
}

pub(crate) fn node(id: u64) -> Node {
    let disk = Memory::default();
    let life = (NodeId(id), Incarnation(1));
    let replica = Replica::open(&disk, place(), life, Standing::Trusted);
    Node {
        replica: replica.expect("an empty disk opens"),
        disk,
    }
}

pub(crate) fn entry(number: usize) -> Entry {
    let key = u32::try_from(number).expect("few keys").to_be_bytes();
    Entry {
        bucket: BucketId(1),
        key: Key::try_from(&key[..]).expect("four bytes"),
    }
}

pub(crate) fn write(node: &mut Node, key: usize, context: DotSet, is_live: bool) -> Written {
    write_value(node, key, context, is_live.then(|| value(key as u64)))
}

pub(crate) fn write_value(
    node: &mut Node,
    key: usize,
    context: DotSet,
    value: Option<Value>,
) -> Written {
    let version = Version {
        time: Time::default(),
        value,
    };
    let write = Write {
        context,
        version,
        siblings: Siblings::Keep,
        versions_max: 8,
    };
    let outcome = node.replica.write(&mut node.disk, &entry(key), write);
    node.replica.save(&mut node.disk);
    match outcome.expect("memory does not fail") {
        Outcome::Written(written) => written,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn merge(node: &mut Node, key: usize, written: Written) {
    let merged = node
        .replica
        .merge(&mut node.disk, &entry(key), written.object, &written.dots);
    let merged = merged.expect("memory does not fail");
    assert!(merged.is_some(), "it is clear what is obsolete");
    node.replica.save(&mut node.disk);
}

/// Merges a range of one who has closed no actor; where the next one starts.
fn merge_chunk(sender: NodeId, to: &mut Node, from: Option<&Entry>, chunk: Chunk) -> Option<Entry> {
    let (replica, closed) = (&mut to.replica, Closed::default());
    let reached = replica.merge_chunk(&mut to.disk, sender, from, chunk, &closed);
    match reached.expect("memory does not fail") {
        Reached::To { next, .. } => next,
        Reached::Unclear => panic!("no actor is closed"),
    }
}

/// Joins what one who has closed no actor had seen.
fn join(sender: NodeId, to: &mut Node, seen: &DotSet) -> bool {
    let clock = Clock::of(seen.clone(), Closed::default()).expect("it names no list");
    to.replica.join(sender, &clock)
}

/// Transfers everything, and gives how many ranges it took.
fn transfer(from: &Node, to: &mut Node, kind: TransferKind, bytes_max: usize) -> usize {
    let seen = from.replica.state().clock.seen().clone();
    let (mut next, mut ranges) = (None, 0);
    loop {
        let view = from.replica.view(&from.disk);
        let chunk = view.chunk(kind, next.as_ref(), bytes_max).expect("a chunk");
        assert!(chunk.objects.len() <= ITEMS_PER_ANSWER_MAX);
        let came_to = merge_chunk(from.id(), to, next.as_ref(), chunk);
        assert!(came_to.is_none() || next < came_to, "a transfer moves on");
        next = came_to;
        ranges += 1;
        if next.is_none() {
            break;
        }
    }
    if kind == TransferKind::Clocked {
        finish(from, to, seen);
    }
    ranges
}

/// Ends a full transfer: repairs what the sender has seen since its first range, and joins.
fn finish(from: &Node, to: &mut Node, mut seen: DotSet) {
    let view = from.replica.view(&from.disk);
    match view
        .difference(&seen, usize::MAX)
        .expect("a difference")
        .found
    {
        Difference::None => (),
        Difference::LogTooShort => panic!("the log names all dots"),
        Difference::Closed(_) => panic!("no actor is closed"),
        Difference::Items { items, .. } => {
            for item in items {
                for dot in &item.dots {
                    seen.add(*dot);
                }
                let merged = to
                    .replica
                    .merge(&mut to.disk, &item.entry, item.object, &item.dots);
                merged.expect("memory does not fail");
            }
        }
    }
    assert!(join(from.id(), to, &seen));
    while to.replica.settle(&mut to.disk).expect("memory") {}
    to.replica.save(&mut to.disk);
}

fn is_live(node: &Node, key: usize) -> bool {
    let view = node.replica.view(&node.disk);
    view.object(&entry(key)).expect("an object").is_live()
}

#[track_caller]
fn assert_equal(one: &Node, other: &Node) {
    let (one, other) = (one.replica.state(), other.replica.state());
    assert_eq!(one.clock, other.clock);
    assert_eq!(one.sum, other.sum);
    assert_eq!(one.live_keys, other.live_keys);
}

#[test]
fn many_ranges_carry_all_that_either_side_lacks() {
    let (mut one, mut other) = (node(1), node(2));
    let keys = 3 * ITEMS_PER_ANSWER_MAX;
    for key in 0..keys {
        let node = if key % 2 == 0 { &mut one } else { &mut other };
        write(node, key, DotSet::default(), true);
    }
    assert!(1 < transfer(&one, &mut other, TransferKind::Clocked, usize::MAX));
    assert!(1 < transfer(&other, &mut one, TransferKind::Clocked, 1 << 16));
    assert_equal(&one, &other);
    assert_eq!(one.replica.state().live_keys, keys as u64);
}

#[test]
fn what_was_deleted_goes_though_a_receiver_has_more_keys_than_one_range() {
    let (mut one, mut other) = (node(1), node(2));
    let keys = 2 * ITEMS_PER_ANSWER_MAX + 7;
    for key in 0..keys {
        let written = write(&mut one, key, DotSet::default(), true);
        merge(&mut other, key, written);
    }
    for key in (0..keys).filter(|key| key % 700 != 0) {
        let view = one.replica.view(&one.disk);
        let seen = view.object(&entry(key)).expect("an object").seen();
        write(&mut one, key, seen, false);
    }
    transfer(&one, &mut other, TransferKind::Clocked, usize::MAX);
    assert_equal(&one, &other);
    assert_eq!(other.replica.state().live_keys, keys.div_ceil(700) as u64);
    assert_eq!(other.replica.state().unstripped, 0);
}

/// One range of a transfer, from `from` on.
fn range(from: &Node, to: &mut Node, first: Option<&Entry>, bytes_max: usize) -> Option<Entry> {
    let view = from.replica.view(&from.disk);
    let chunk = view.chunk(TransferKind::Clocked, first, bytes_max);
    let chunk = chunk.expect("a chunk");
    let closed = from.replica.state().clock.closed();
    let reached = to
        .replica
        .merge_chunk(&mut to.disk, from.id(), first, chunk, closed);
    to.replica.save(&mut to.disk);
    match reached.expect("memory does not fail") {
        Reached::To { next, .. } => next,
        Reached::Unclear => panic!("nothing is closed"),
    }
}

#[test]
fn a_write_made_during_a_transfer_is_merged_with_its_range() {
    let (mut one, mut other) = (node(1), node(2));
    write(&mut one, 1, DotSet::default(), true);
    write(&mut other, 5, DotSet::default(), true);
    let seen = one.replica.state().clock.seen().clone();
    let late = write(&mut one, 2, DotSet::default(), true);
    assert_eq!(range(&one, &mut other, None, usize::MAX), None);
    assert!(is_live(&other, 1) && is_live(&other, 2) && is_live(&other, 5));
    finish(&one, &mut other, seen);
    assert!(other.replica.state().clock.has(&late.dot));
}

#[test]
fn what_a_transfer_brought_before_its_sender_died_reaches_the_others() {
    let (mut sender, mut receiver, mut third) = (node(1), node(2), node(3));
    write(&mut sender, 1, DotSet::default(), true);
    write(&mut sender, 2, DotSet::default(), true);
    assert!(range(&sender, &mut receiver, None, 1).is_some());
    drop(sender);
    let view = receiver.replica.view(&receiver.disk);
    let difference = view.difference(third.replica.state().clock.seen(), usize::MAX);
    let difference = difference.map(|difference| difference.found);
    let Ok(Difference::Items { items, more: false }) = difference else {
        panic!("{difference:?}");
    };
    for item in items {
        let merged = third
            .replica
            .merge(&mut third.disk, &item.entry, item.object, &item.dots);
        merged.expect("memory does not fail");
    }
    assert!(is_live(&third, 1));
    assert_equal(&receiver, &third);
}

#[test]
fn what_was_deleted_at_the_sender_does_not_come_from_a_third_before_the_join() {
    let (mut sender, mut third, mut receiver) = (node(1), node(2), node(3));
    let first = write(&mut third, 1, DotSet::default(), true);
    merge(&mut sender, 1, first.clone());
    write(&mut sender, 1, DotSet::of(first.dot), false);
    while sender.replica.settle(&mut sender.disk).expect("memory") {}
    let seen = sender.replica.state().clock.seen().clone();
    // Neither has anything of the key when it is compared.
    assert_eq!(range(&sender, &mut receiver, None, usize::MAX), None);
    let second = write(&mut third, 1, DotSet::default(), true);
    merge(&mut receiver, 1, second.clone());
    finish(&sender, &mut receiver, seen);
    let there = receiver.replica.view(&receiver.disk).object(&entry(1));
    let dots = there.expect("an object").dots();
    assert_eq!(dots, DotSet::of(second.dot), "what was deleted stays so");
}

#[test]
fn a_transfer_is_joined_only_by_the_replica_that_compared_all_of_it() {
    let (mut sender, mut receiver) = (node(1), node(2));
    write(&mut sender, 1, DotSet::default(), true);
    write(&mut sender, 2, DotSet::default(), true);
    let clock = sender.replica.state().clock.clone();
    let next = range(&sender, &mut receiver, None, 1);
    assert!(
        !receiver.replica.join(sender.id(), &clock),
        "a range is left"
    );
    // Opened again after a batch that failed, it no longer knows what it has compared.
    let life = (NodeId(2), Incarnation(1));
    let opened = Replica::open(&receiver.disk, place(), life, Standing::Trusted);
    receiver.replica = opened.expect("memory does not fail");
    assert_eq!(range(&sender, &mut receiver, next.as_ref(), 1), None);
    assert!(!receiver.replica.join(sender.id(), &clock));
    transfer(&sender, &mut receiver, TransferKind::Clocked, 1);
    assert_equal(&sender, &receiver);
}

#[test]
fn a_union_brings_back_what_a_disk_has_silently_lost() {
    let (mut one, mut other) = (node(1), node(2));
    for key in 0..4 {
        let written = write(&mut one, key, DotSet::default(), true);
        merge(&mut other, key, written);
    }
    let lost = one.replica.layout().object(&entry(2));
    assert!(one.disk.records.remove(&lost).is_some());
    transfer(&one, &mut other, TransferKind::Clocked, usize::MAX);
    assert!(
        !is_live(&other, 2),
        "a clock says that the version is obsolete"
    );
    let (mut one, mut other) = (node(1), node(2));
    for key in 0..4 {
        let written = write(&mut one, key, DotSet::default(), true);
        merge(&mut other, key, written);
    }
    one.disk.records.remove(&lost);
    transfer(&one, &mut other, TransferKind::Union, usize::MAX);
    transfer(&other, &mut one, TransferKind::Union, usize::MAX);
    assert!(is_live(&one, 2) && is_live(&other, 2));
    assert_eq!(one.replica.state().clock, other.replica.state().clock);
}

#[test]
fn a_union_brings_nothing_back_of_a_key_that_has_met_more_than_the_clock_says() {
    let (mut sender, mut third, mut receiver) = (node(1), node(2), node(3));
    for key in 1..4 {
        let written = write(&mut third, key, DotSet::default(), true);
        merge(&mut sender, key, written.clone());
        merge(&mut receiver, key, written.clone());
        if key == 1 {
            write(&mut sender, 1, DotSet::of(written.dot), false);
        }
    }
    let seen = sender.replica.state().clock.seen().clone();
    let next = range(&sender, &mut receiver, None, 1);
    assert!(next.is_some() && !is_live(&receiver, 1));
    transfer(&third, &mut receiver, TransferKind::Union, usize::MAX);
    assert!(!is_live(&receiver, 1));
    range(&sender, &mut receiver, next.as_ref(), usize::MAX);
    assert!(join(sender.id(), &mut receiver, &seen));
    assert!(!is_live(&receiver, 1));
    assert_equal(&sender, &receiver);
}

#[test]
fn a_union_keeps_a_delete_that_a_stored_context_still_knows() {
    let (mut one, mut other) = (node(1), node(2));
    let first = write(&mut one, 1, DotSet::default(), true);
    merge(&mut other, 1, first.clone());
    // The first write of this actor gets lost, so its second keeps its tombstone and context.
    let mut third = node(3);
    write(&mut third, 9, DotSet::default(), true);
    let mut seen = first.object.seen();
    seen.join(&DotSet::of(first.dot));
    let tombstone = write(&mut third, 1, seen, false);
    merge(&mut one, 1, tombstone);
    transfer(&other, &mut one, TransferKind::Union, usize::MAX);
    transfer(&one, &mut other, TransferKind::Union, usize::MAX);
    let known = one.replica.view(&one.disk).object(&entry(1));
    assert!(known.expect("an object").seen().has(&first.dot));
}

#[test]
fn a_key_that_the_sender_forgets_during_a_transfer_does_not_come_back() {
    let (mut one, mut sender, mut receiver) = (node(1), node(2), node(3));
    let first = write(&mut one, 1, DotSet::default(), true);
    let deleted = write(&mut one, 2, DotSet::default(), true);
    merge(&mut sender, 2, deleted.clone());
    write(&mut sender, 2, DotSet::of(deleted.dot), false);
    let seen = sender.replica.state().clock.seen().clone();
    // The gap closes during the transfer: the sender forgets the key, all of whose dots are under
    // its base now, and the receiver never hears of its context.
    merge(&mut sender, 1, first.clone());
    while sender.replica.settle(&mut sender.disk).expect("memory") {}
    let view = sender.replica.view(&sender.disk);
    let chunk = view.chunk(TransferKind::Clocked, None, usize::MAX);
    let chunk = chunk.expect("a chunk");
    assert_eq!(merge_chunk(sender.id(), &mut receiver, None, chunk), None);
    finish(&sender, &mut receiver, seen);
    merge(&mut receiver, 2, deleted);
    assert!(!is_live(&receiver, 2), "what was deleted stays deleted");
    merge(&mut receiver, 1, first);
    assert_equal(&sender, &receiver);
}

#[test]
fn a_union_leaves_what_was_written_meanwhile_to_its_own_repair() {
    let (mut one, mut other) = (node(1), node(2));
    let first = write(&mut one, 1, DotSet::default(), true);
    merge(&mut other, 1, first.clone());
    // The first of these two is late, so that the second is above the base.
    let late = write(&mut one, 9, DotSet::default(), true);
    let second = write(&mut one, 1, DotSet::of(first.dot), true);
    let mut third = node(3);
    merge(&mut third, 1, first);
    merge(&mut third, 1, second.clone());
    transfer(&third, &mut other, TransferKind::Union, usize::MAX);
    assert!(!other.replica.state().clock.has(&second.dot));
    merge(&mut other, 9, late);
    merge(&mut other, 1, second);
    assert_equal(&one, &other);
}

#[test]
fn a_union_with_a_replica_that_knows_less_brings_nothing_back() {
    let (mut one, mut other) = (node(1), node(2));
    let written = write(&mut one, 1, DotSet::default(), true);
    merge(&mut other, 1, written.clone());
    // Clocks were equal; a delete comes between the comparison and the range.
    write(&mut one, 1, DotSet::of(written.dot), false);
    let view = other.replica.view(&other.disk);
    let chunk = view.chunk(TransferKind::Union, None, usize::MAX);
    let chunk = chunk.expect("a chunk");
    assert_eq!(merge_chunk(other.id(), &mut one, None, chunk), None);
    assert!(!is_live(&one, 1), "what was deleted stays deleted");
}

#[test]
fn a_dropped_replica_begins_anew_under_another_actor_and_is_refilled() {
    let (mut one, mut other) = (node(1), node(2));
    for key in 0..4 {
        let written = write(&mut one, key, DotSet::default(), true);
        merge(&mut other, key, written);
    }
    let old = one.replica.actor();
    let renewed = Replica::begin_anew(&mut one.disk, place(), (NodeId(1), Incarnation(1)));
    one.replica = renewed.expect("memory does not fail");
    assert_ne!(one.replica.actor(), old, "an actor mints in one life only");
    assert!(!one.replica.state().standing.is_trusted());
    assert!(!is_live(&one, 1), "nothing of the old generation is read");
    let seen = other.replica.state().clock.seen().clone();
    assert!(
        !join(other.id(), &mut one, &seen),
        "what was merged before is gone"
    );
    let written = write(&mut one, 9, DotSet::default(), true);
    assert_eq!(written.dot.counter, 1);
    merge(&mut other, 9, written);
    transfer(&other, &mut one, TransferKind::Clocked, 100);
    assert_equal(&one, &other);
    let open = Replica::open(
        &one.disk,
        place(),
        (NodeId(1), Incarnation(2)),
        Standing::Trusted,
    );
    let open = open.expect("memory does not fail");
    assert_eq!(open.state(), one.replica.state());
}
