//! This is what a replica with a damaged record still gives to others, what it takes from them, and
//! when it is dropped.

use crate::memory::Memory;
use crate::transfers::{Node, entry, merge, node, write};
use soros_core::clock::Clock;
use soros_core::close::Ask;
use soros_core::closed::{Closed, Closing};
use soros_core::dot_set::DotSet;
use soros_core::id::{Generation, Incarnation, NodeId};
use soros_core::place::Layout;
use soros_core::record::RecordError;
use soros_core::replica::{
    Chunk, Difference, Inventory, Item, Promise, Promises, Quorum, Reached, Replica, Standing,
    Taken, TransferKind, Written,
};

const KEYS: usize = 6;
const QUORUM: Quorum = Quorum {
    replicas: 3,
    writes: 2,
};

fn damage(node: &mut Node, key: usize) {
    let record = node.replica.layout().object(&entry(key));
    assert!(node.disk.records.contains_key(&record));
    node.disk.damaged.insert(record);
}

/// A replica with some keys, of which the third is damaged.
fn damaged() -> Node {
    let mut one = node(1);
    for key in 0..KEYS {
        write(&mut one, key, DotSet::default(), true);
    }
    damage(&mut one, 2);
    one
}

fn items(one: &Node, other: &DotSet) -> (Vec<Item>, bool) {
    let view = one.replica.view(&one.disk);
    let difference = view.difference(other, usize::MAX).expect("readable");
    match difference.found {
        Difference::Items { items, more: false } => (items, difference.damage.is_some()),
        found => panic!("{found:?}"),
    }
}

fn chunk(one: &Node) -> Chunk {
    let view = one.replica.view(&one.disk);
    let chunk = view.chunk(TransferKind::Clocked, None, usize::MAX);
    chunk.expect("readable")
}

fn is_live(node: &Node, key: usize) -> Result<bool, RecordError> {
    let view = node.replica.view(&node.disk);
    view.object(&entry(key)).map(|object| object.is_live())
}

fn inventory_of(one: &Node) -> Inventory {
    let mut inventory = Inventory::new(one.replica.layout());
    while !inventory.is_over() {
        let view = one.replica.view(&one.disk);
        view.take_stock(&mut inventory, 1)
            .expect("it goes on behind damage");
    }
    inventory
}

fn promise(one: &mut Node, to: u64) -> Option<Promise> {
    let inventory = inventory_of(one);
    one.replica.promise(NodeId(to), &inventory)
}

/// What a replica promises that holds nothing.
fn empty(node: NodeId) -> Promise {
    Promise {
        holder: self::node(node.0).replica.actor(),
        clock: Clock::default(),
        unreadable: Vec::new(),
    }
}

fn renewed(one: &mut Node, others: &[&Node], bytes_max: usize) -> Option<Replica> {
    let attempt = std::iter::repeat_with(|| one.replica.attempt_renewal());
    let attempt = attempt.take(9).flatten().next();
    let attempt = attempt.expect("its turn comes");
    let promise = |other: &&Node| {
        let promise = Promise {
            holder: other.replica.actor(),
            clock: other.replica.state().clock.clone(),
            unreadable: inventory_of(other).unreadable().to_vec(),
        };
        (other.id(), promise)
    };
    let promises = Promises {
        attempt,
        of: others.iter().map(promise).collect(),
        quorum: QUORUM,
        bytes_max,
    };
    let renewed = one.replica.renew(&mut one.disk, &promises);
    renewed.expect("readable")
}

#[test]
fn a_damaged_object_is_left_out_and_its_dot_is_not_answered() {
    let one = damaged();
    let (found, is_damaged) = items(&one, &DotSet::default());
    assert!(is_damaged);
    let keys: Vec<_> = found.iter().map(|item| item.entry.clone()).collect();
    let readable = (0..KEYS).filter(|key| *key != 2).map(entry);
    assert_eq!(keys, readable.collect::<Vec<_>>());
    let mut seen = DotSet::default();
    for dot in found.iter().flat_map(|item| &item.dots) {
        seen.add(*dot);
    }
    let view = one.replica.view(&one.disk);
    let rest = view.difference(&seen, usize::MAX).expect("readable");
    assert_eq!(rest.found, Difference::None);
    assert!(rest.damage.is_some());
}

#[test]
fn a_damaged_log_is_as_one_that_was_cut() {
    let mut one = damaged();
    let dot = one.replica.actor().dot(4);
    let record = one.replica.layout().log(&dot);
    one.disk.damaged.insert(record);
    let view = one.replica.view(&one.disk);
    let difference = view.difference(&DotSet::default(), usize::MAX);
    let difference = difference.expect("readable");
    assert_eq!(difference.found, Difference::LogTooShort);
    assert!(difference.damage.is_some());
}

#[test]
fn nothing_is_said_of_what_is_damaged_at_the_sender_and_nothing_joined() {
    let (mut one, mut other) = (node(1), node(2));
    write(&mut one, 0, DotSet::default(), true);
    let written = write(&mut one, 2, DotSet::default(), true);
    write(&mut other, 2, DotSet::default(), true);
    let seen = other.replica.state().clock.seen().clone();
    assert!(one.replica.remember(other.id(), seen, true));
    damage(&mut one, 2);
    let chunk = chunk(&one);
    assert_eq!(chunk.damaged, [entry(2)]);
    let closed = Closed::default();
    let seen = chunk.seen.clone();
    let reached = other
        .replica
        .merge_chunk(&mut other.disk, one.id(), None, chunk, &closed);
    let (next, whole) = (None, true);
    assert_eq!(reached, Ok(Reached::To { next, whole }));
    assert_eq!(is_live(&other, 2), Ok(true), "it does not count as deleted");
    // A third has what the damaged record held: it must not be taken for obsolete.
    merge(&mut other, 2, written);
    let view = other.replica.view(&other.disk);
    let object = view.object(&entry(2)).expect("readable");
    assert_eq!(object.versions.len(), 2);
    assert_eq!(is_live(&other, 0), Ok(true), "the rest is there");
    assert!(
        !other
            .replica
            .join(one.id(), &Clock::of(seen, closed).expect("no list"))
    );
}

#[test]
fn what_is_damaged_at_the_receiver_is_left_alone_and_nothing_joined() {
    let mut one = damaged();
    let mut other = node(2);
    for key in 0..KEYS {
        write(&mut other, key, DotSet::default(), true);
    }
    let chunk = chunk(&other);
    let closed = Closed::default();
    let seen = chunk.seen.clone();
    let merged = one
        .replica
        .merge_chunk(&mut one.disk, other.id(), None, chunk, &closed);
    let (next, whole) = (None, false);
    assert_eq!(merged, Ok(Reached::To { next, whole }));
    assert!(is_live(&one, 2).is_err());
    assert!(
        !one.replica
            .join(other.id(), &Clock::of(seen, closed).expect("no list"))
    );
}

#[test]
fn it_is_dropped_once_all_others_hold_the_rest_and_takes_a_little_along() {
    let (mut one, mut two, mut three) = (damaged(), node(2), node(3));
    assert!(renewed(&mut one, &[&two, &three], 1).is_none());
    for item in items(&one, &DotSet::default()).0 {
        for other in [&mut two, &mut three] {
            let merged = other.replica.merge(
                &mut other.disk,
                &item.entry,
                item.object.clone(),
                &item.dots,
            );
            merged.expect("memory does not fail");
        }
    }
    assert!(renewed(&mut one, &[&two], 1).is_none(), "one is too few");
    // One more that they lack comes along.
    write(&mut one, KEYS, DotSet::default(), true);
    let before = one.replica.actor();
    one.replica = renewed(&mut one, &[&two, &three], 1).expect("they hold the rest");
    assert_ne!(one.replica.actor(), before);
    assert_eq!(is_live(&one, KEYS), Ok(true));
    assert_eq!(is_live(&one, 0), Ok(false));
    assert_eq!(is_live(&one, 2), Ok(false), "it is to be had from others");
    assert!(!one.replica.state().standing.is_trusted());
}

#[test]
fn what_others_merged_counts_though_they_cannot_say_that_they_have_seen_it() {
    let (mut one, two, three) = (damaged(), node(2), node(3));
    for other in [&two, &three] {
        assert!(one.replica.remember(other.id(), DotSet::default(), false));
        let seen = one.replica.state().clock.seen().clone();
        one.replica.remember_held(other.replica.actor(), seen);
    }
    assert!(renewed(&mut one, &[&two, &three], 1).is_some());
}

#[test]
fn what_a_life_merged_does_not_count_for_the_next_one() {
    let (mut one, mut two, three) = (damaged(), node(2), node(3));
    for other in [&two, &three] {
        assert!(one.replica.remember(other.id(), DotSet::default(), false));
        let seen = one.replica.state().clock.seen().clone();
        one.replica.remember_held(other.replica.actor(), seen);
    }
    let (life, place) = (two.replica.actor(), two.replica.layout().place());
    for (lives, is_dropped) in [(1, false), (0, true)] {
        let incarnation = Incarnation(life.incarnation.0 + lives);
        two.disk = Memory::default();
        let opened = Replica::open(
            &two.disk,
            place,
            (life.node, incarnation),
            Standing::suspect(),
        );
        two.replica = opened.expect("nothing is there");
        let renewed = renewed(&mut one, &[&two, &three], 1);
        assert_eq!(renewed.is_some(), is_dropped, "{lives} lives later");
    }
}

#[test]
fn what_others_merged_and_have_not_seen_is_taken_along_as_far_as_the_log_names_it() {
    let (mut one, two, three) = (damaged(), node(2), node(3));
    let before = one.replica.state().clock.seen().clone();
    for other in [&two, &three] {
        assert!(one.replica.remember(other.id(), DotSet::default(), false));
        one.replica
            .remember_held(other.replica.actor(), before.clone());
    }
    let renewed = renewed(&mut one, &[&two, &three], usize::MAX).expect("it is held");
    let after = renewed.state().clock.seen();
    assert_ne!(*after, DotSet::default());
    assert!(before.includes(after) && !after.includes(&before));
}

#[test]
fn of_two_that_want_to_be_dropped_one_goes_first() {
    let (mut low, mut high) = (node(1), node(2));
    let (first, second) = (
        low.replica.attempt_renewal(),
        high.replica.attempt_renewal(),
    );
    assert!(promise(&mut low, 2).is_none());
    assert!(promise(&mut high, 1).is_some());
    let promises = |attempt, other| Promises {
        attempt,
        of: vec![(other, empty(other)), (NodeId(3), empty(NodeId(3)))],
        quorum: QUORUM,
        bytes_max: 1,
    };
    let (first, second) = (first.expect("an attempt"), second.expect("an attempt"));
    let late = promises(second, NodeId(1));
    let renewed = high.replica.renew(&mut high.disk, &late);
    assert!(
        renewed.expect("memory").is_none(),
        "it has promised to stay"
    );
    let renewed = low
        .replica
        .renew(&mut low.disk, &promises(first, NodeId(2)));
    assert!(renewed.expect("memory").is_some());
    assert!(promise(&mut low, 2).is_some(), "its turn is over");
}

#[test]
fn one_that_was_in_vain_lets_another_go_first_once() {
    let mut one = damaged();
    assert!(renewed(&mut one, &[], 1).is_none(), "nobody holds the rest");
    assert!(one.replica.attempt_renewal().is_some());
    assert!(promise(&mut one, 2).is_some(), "though it has the lower id");
    assert!(one.replica.attempt_renewal().is_none(), "the other's turn");
    assert!(promise(&mut one, 2).is_some());
    let attempts = std::iter::repeat_with(|| one.replica.attempt_renewal());
    assert!(attempts.take(4).flatten().next().is_some());
    assert!(promise(&mut one, 2).is_none(), "its own turn");
}

#[test]
fn what_another_cannot_read_is_taken_along_though_its_clock_has_it() {
    const PAIR: Quorum = Quorum {
        replicas: 2,
        writes: 2,
    };
    let (mut one, mut two) = (damaged(), node(2));
    for item in items(&one, &DotSet::default()).0 {
        let merged = two
            .replica
            .merge(&mut two.disk, &item.entry, item.object, &item.dots);
        merged.expect("memory does not fail");
    }
    damage(&mut two, 3);
    let promised = promise(&mut two, 1).expect("it is asked first");
    assert_eq!(promised.unreadable, [entry(3)]);
    let whole = Promises {
        attempt: one.replica.attempt_renewal().expect("an attempt"),
        of: vec![(two.id(), promised)],
        quorum: PAIR,
        bytes_max: 1,
    };
    let renewed = one.replica.renew(&mut one.disk, &whole);
    one.replica = renewed.expect("readable").expect("the rest is held");
    assert_eq!(is_live(&one, 3), Ok(true), "nobody else can read it");
    assert_eq!(is_live(&one, 4), Ok(false), "the other has it");
}

#[test]
fn who_has_not_looked_at_all_it_holds_promises_nothing() {
    let mut one = damaged();
    let mut inventory = Inventory::new(one.replica.layout());
    let view = one.replica.view(&one.disk);
    view.take_stock(&mut inventory, 1).expect("readable");
    assert!(one.replica.promise(NodeId(2), &inventory).is_none());
    let before = inventory_of(&one);
    assert!(one.replica.promise(NodeId(2), &before).is_some());
    let begun = Replica::begin_anew(
        &mut one.disk,
        one.replica.layout().place(),
        (NodeId(1), Incarnation(1)),
    );
    one.replica = begun.expect("memory does not fail");
    assert!(
        one.replica.promise(NodeId(2), &before).is_none(),
        "of another generation"
    );
}

#[test]
fn a_generation_is_not_looked_for_for_ever_where_nothing_can_be_read() {
    const FAR: u32 = 1 << 31;
    let mut one = damaged();
    let place = one.replica.layout().place();
    one.disk.damaged.insert(Layout::life(place));
    for generation in (FAR..).map(Generation).take(100) {
        let clock = Layout::new(place, generation).clock();
        one.disk.damaged.insert(clock);
    }
    let life = (NodeId(1), Incarnation(1));
    let begun = Replica::begin_anew(&mut one.disk, place, life);
    assert!(matches!(begun, Err(RecordError::Damaged(_))));
    one.disk.damaged.clear();
    let begun = Replica::begin_anew(&mut one.disk, place, life);
    assert!(begun.is_ok(), "it reads again");
}

/// Closes the actor of `written`, of which that is all.
fn close(node: &mut Node, written: &Written) {
    let mut seen = DotSet::default();
    seen.add(written.dot);
    let actor = written.dot.actor;
    let name = node.replica.state().clock.closed().name();
    let step = Closing::new([(actor, seen.of_actor(&actor))]);
    assert!(node.replica.close(name, &[step]));
    node.replica.save(&mut node.disk);
}

/// A replica with a damaged object, and two that hold the rest; of an ended actor's write, too, if
/// they `hold` it.
fn with_an_ended_actor(hold: bool) -> ([Node; 3], Written) {
    let (mut one, mut two, mut three) = (damaged(), node(2), node(3));
    for item in items(&one, &DotSet::default()).0 {
        for other in [&mut two, &mut three] {
            let (object, disk) = (item.object.clone(), &mut other.disk);
            let merged = other.replica.merge(disk, &item.entry, object, &item.dots);
            merged.expect("memory does not fail");
        }
    }
    let written = write(&mut node(4), KEYS, DotSet::default(), true);
    merge(&mut one, KEYS, written.clone());
    for other in [&mut two, &mut three] {
        if hold {
            merge(other, KEYS, written.clone());
        }
    }
    ([one, two, three], written)
}

#[test]
fn a_damaged_log_entry_does_not_keep_a_replica_with_closed_actors_from_opening() {
    let ([mut one, ..], written) = with_an_ended_actor(true);
    close(&mut one, &written);
    let layout = one.replica.layout();
    let entry = layout.log(&one.replica.actor().dot(1));
    assert!(one.disk.records.contains_key(&entry));
    one.disk.damaged.insert(entry);
    let life = (NodeId(1), Incarnation(1));
    let opened = Replica::open(&one.disk, layout.place(), life, Standing::Trusted);
    let opened = opened.expect("its clock is whole");
    assert_eq!(opened.state().clock, one.replica.state().clock);
}

#[test]
fn others_that_have_closed_more_or_less_hold_what_was_agreed_on() {
    let ([mut one, mut two, mut three], written) = with_an_ended_actor(true);
    close(&mut two, &written);
    close(&mut three, &written);
    assert!(renewed(&mut one, &[&two, &three], 1).is_some());
    let ([mut one, two, three], written) = with_an_ended_actor(true);
    close(&mut one, &written);
    assert!(renewed(&mut one, &[&two, &three], 1).is_some());
}

#[test]
fn others_that_lack_what_is_closed_here_do_not_hold_it() {
    let ([mut one, two, three], written) = with_an_ended_actor(false);
    close(&mut one, &written);
    assert!(renewed(&mut one, &[&two, &three], usize::MAX).is_none());
}

#[test]
fn what_was_refused_is_refused_by_the_new_generation() {
    let ([mut one, two, three], written) = with_an_ended_actor(true);
    let ask = Ask::Refuse(vec![written.dot.actor]);
    assert!(one.replica.answer(&ask, true).is_some());
    one.replica = renewed(&mut one, &[&two, &three], 1).expect("they hold the rest");
    let late = one
        .replica
        .take(&mut one.disk, &entry(KEYS), written.object, &written.dots);
    assert_eq!(late, Ok(Taken::Ended));
}

#[test]
fn lists_that_are_known_outlive_the_state_and_a_damaged_record_of_them_costs_nothing_else() {
    let ([mut one, mut two, mut three], written) = with_an_ended_actor(true);
    close(&mut one, &written);
    let list = one.replica.state().clock.closed().clone();
    let renewed = renewed(&mut one, &[&two, &three], 1).expect("they hold the rest");
    let (layout, life) = (renewed.layout(), (NodeId(1), Incarnation(2)));
    assert_eq!(renewed.state().known.iter().collect::<Vec<_>>(), [&list]);
    let open = |disk: &Memory| Replica::open(disk, layout.place(), life, Standing::suspect());
    let mut opened = open(&one.disk).expect("all is readable");
    assert_eq!(opened.state().known, renewed.state().known);
    for other in [&mut two, &mut three] {
        other.replica.learn(&opened.state().known);
        other.replica.save(&mut other.disk);
        close(other, &written);
        assert!(
            other.replica.state().known.is_empty(),
            "it has closed the same"
        );
        assert!(
            !other
                .disk
                .records
                .contains_key(&other.replica.layout().known())
        );
    }
    one.disk.damaged.insert(layout.known());
    opened = open(&one.disk).expect("it can do without");
    assert!(opened.state().known.is_empty());
    opened.save(&mut one.disk);
    open(&one.disk).expect("it is written anew");
}
