//! These are messages that come late around a closing, each in the one moment that does harm: what
//! chance finds rarely, told step by step.

use crate::cluster::{entry, place, value};
use crate::memory::Memory;
use soros_core::clock::Clock;
use soros_core::closed::{Closed, Closing};
use soros_core::dot::{Actor, Dot};
use soros_core::dot_set::DotSet;
use soros_core::id::{Incarnation, NodeId};
use soros_core::object::{Object, Version};
use soros_core::replica::{
    Difference, Outcome, Reached, Replica, Siblings, Standing, Taken, TransferKind, Write, Written,
};
use soros_core::time::Time;

const KEY: usize = 1;
const OTHER_KEY: usize = 2;

struct Node {
    disk: Memory,
    replica: Replica,
}

/// A replica of node `id` on an empty disk.
fn node(id: u64, standing: Standing) -> Node {
    let disk = Memory::default();
    let life = (NodeId(id), Incarnation(1));
    let replica = Replica::open(&disk, place(), life, standing);
    Node {
        replica: replica.expect("an empty disk opens"),
        disk,
    }
}

fn trusted(id: u64) -> Node {
    node(id, Standing::Trusted)
}

impl Node {
    fn write(&mut self, key: usize, context: DotSet) -> Written {
        let (time, value) = (Time::default(), Some(value(key as u64)));
        let write = Write {
            context,
            version: Version { time, value },
            siblings: Siblings::Keep,
            versions_max: 8,
        };
        let outcome = self.replica.write(&mut self.disk, &entry(key), write);
        self.end_commit();
        match outcome.expect("memory does not fail") {
            Outcome::Written(written) => written,
            other => panic!("{other:?}"),
        }
    }

    fn end_commit(&mut self) {
        while self.replica.settle(&mut self.disk).expect("memory") {}
        self.replica.save(&mut self.disk);
    }

    /// Takes what a coordinator sent.
    fn take(&mut self, key: usize, written: &Written) -> Taken {
        let object = written.object.clone();
        let taken = self
            .replica
            .take(&mut self.disk, &entry(key), object, &written.dots);
        self.end_commit();
        taken.expect("memory does not fail")
    }

    /// Merges an object that another had; whether it was clear what is obsolete.
    fn merge(&mut self, key: usize, object: Object, dots: &[Dot]) -> bool {
        let merged = self
            .replica
            .merge(&mut self.disk, &entry(key), object, dots);
        self.end_commit();
        merged.expect("memory does not fail").is_some()
    }

    fn object(&self, key: usize) -> Object {
        let view = self.replica.view(&self.disk);
        view.object(&entry(key)).expect("memory does not fail")
    }

    fn dots(&self, key: usize) -> Vec<Dot> {
        self.object(key).versions.into_keys().collect()
    }

    fn clock(&self) -> &Clock {
        &self.replica.state().clock
    }

    /// Closes actors of which these dots were seen by all.
    fn close(&mut self, actor: Actor, counters: &[u64]) -> bool {
        let mut seen = DotSet::default();
        for counter in counters {
            seen.add(actor.dot(*counter));
        }
        let step = Closing::new([(actor, seen.of_actor(&actor))]);
        let name = self.clock().closed().name();
        let closed = self.replica.close(name, &[step]);
        self.end_commit();
        closed
    }

    /// Merges all that `from` has, as a full transfer; what is to be joined at its end.
    fn compare(&mut self, from: &Node) -> Clock {
        let view = from.replica.view(&from.disk);
        let chunk = view.chunk(TransferKind::Clocked, None, usize::MAX);
        let (sender, chunk) = (from.id(), chunk.expect("a chunk"));
        let closed = from.clock().closed();
        let (replica, disk) = (&mut self.replica, &mut self.disk);
        let reached = replica.merge_chunk(disk, sender, None, chunk, closed);
        let (next, whole) = (None, true);
        assert_eq!(reached, Ok(Reached::To { next, whole }));
        self.end_commit();
        from.clock().clone()
    }

    fn join(&mut self, from: &Node, clock: &Clock) -> bool {
        let joined = self.replica.join(from.id(), clock);
        self.end_commit();
        joined
    }

    fn id(&self) -> NodeId {
        self.replica.actor().node
    }

    /// Asks `from` for what is missing here and merges it; whether all was clear.
    fn repair(&mut self, from: &Node) -> bool {
        let view = from.replica.view(&from.disk);
        let difference = view.difference(self.clock().seen(), usize::MAX);
        match difference.expect("memory does not fail").found {
            Difference::None => true,
            Difference::Items { items, .. } => items.into_iter().all(|item| {
                let merged =
                    self.replica
                        .merge(&mut self.disk, &item.entry, item.object, &item.dots);
                self.end_commit();
                merged.expect("memory does not fail").is_some()
            }),
            other => panic!("{other:?}"),
        }
    }
}

#[track_caller]
fn assert_equal(one: &Node, other: &Node) {
    let (one, other) = (one.replica.state(), other.replica.state());
    assert_eq!((&one.clock, one.sum), (&other.clock, other.sum));
}

/// Two replicas that hold a value of an actor that has ended, which the first has closed.
fn closed_at_first() -> (Node, Node, Written) {
    let (mut ended, mut one, mut other) = (trusted(9), trusted(1), trusted(2));
    let written = ended.write(KEY, DotSet::default());
    for node in [&mut one, &mut other] {
        assert!(matches!(node.take(KEY, &written), Taken::Merged(_)));
    }
    assert!(one.close(written.dot.actor, &[1]));
    (one, other, written)
}

#[test]
fn what_was_sent_before_its_maker_had_seen_a_value_does_not_drop_it() {
    let (mut sender, mut ended) = (trusted(3), trusted(9));
    let early = sender.write(KEY, DotSet::default());
    let (mut one, mut other, written) = closed_at_first();
    assert_eq!(ended.write(KEY, DotSet::default()).dot, written.dot);
    assert!(other.close(written.dot.actor, &[1]));
    for node in [&mut one, &mut other] {
        assert!(matches!(node.take(KEY, &early), Taken::Merged(_)));
        assert_eq!(node.dots(KEY), [early.dot, written.dot]);
    }
}

#[test]
fn what_names_an_unknown_list_is_merged_only_where_that_does_not_matter() {
    let (mut one, mut other, old) = closed_at_first();
    let token = one.object(KEY).seen();
    let superseded = one.write(KEY, token);
    // A repair says of the old value only that its maker has closed the actor.
    let repair = one.object(KEY);
    assert!(!repair.context.has(&old.dot));
    assert!(!other.merge(KEY, repair.clone(), &[]), "it is not clear");
    assert_eq!(other.dots(KEY), [old.dot]);
    // The coordinator's own message says what the client had seen.
    assert!(matches!(other.take(KEY, &superseded), Taken::Merged(_)));
    assert_eq!(other.dots(KEY), [superseded.dot]);
    assert!(other.close(old.dot.actor, &[1]));
    assert!(other.merge(KEY, repair, &[]), "now it is");
    assert_equal(&one, &other);
}

#[test]
fn a_suspect_keeps_what_it_could_not_understand_until_it_can() {
    let (mut one, other, _) = closed_at_first();
    let token = one.object(KEY).seen();
    let superseded = one.write(KEY, token);
    let mut suspect = node(3, Standing::suspect());
    assert!(suspect.merge(KEY, one.object(KEY), &[superseded.dot]));
    // The other has the old value, which the list that the first named covers.
    assert!(!suspect.repair(&other), "it is not clear");
    assert_eq!(suspect.dots(KEY), [superseded.dot]);
    let compared = suspect.compare(&one);
    assert!(suspect.join(&one, &compared));
    assert!(suspect.merge(KEY, other.object(KEY), &[]));
    assert_eq!(suspect.dots(KEY), [superseded.dot]);
    suspect.replica.stand(Standing::Trusted);
    suspect.end_commit();
    assert_eq!(suspect.replica.state().unstripped, 0);
    assert_equal(&suspect, &one);
}

#[test]
fn nothing_is_taken_first_hand_of_an_actor_that_is_refused_or_closed() {
    let (mut one, mut other, _) = closed_at_first();
    let mut ended = trusted(9);
    ended.write(KEY, DotSet::default());
    let late = ended.write(OTHER_KEY, DotSet::default());
    assert_eq!(one.take(OTHER_KEY, &late), Taken::Ended);
    let refuse = soros_core::close::Ask::Refuse(vec![late.dot.actor]);
    assert!(other.replica.answer(&refuse, true).is_some());
    assert_eq!(other.take(OTHER_KEY, &late), Taken::Ended);
    // As repair it is taken where the actor is not closed: that is how replicas become equal.
    assert!(other.merge(OTHER_KEY, late.object.clone(), &late.dots));
    assert_eq!(other.dots(OTHER_KEY), [late.dot]);
    assert!(!other.close(late.dot.actor, &[1]), "it has seen more");
    assert!(one.merge(OTHER_KEY, late.object.clone(), &late.dots));
    assert_eq!(one.dots(OTHER_KEY), []);
}

#[test]
fn a_transfer_drops_what_comes_late_of_an_actor_that_its_sender_has_closed() {
    let (one, _, _) = closed_at_first();
    let mut ended = trusted(9);
    ended.write(KEY, DotSet::default());
    let late = ended.write(OTHER_KEY, DotSet::default());
    let mut receiver = trusted(3);
    let compared = receiver.compare(&one);
    // The key was compared, and neither of the two stores anything under it.
    assert!(receiver.merge(OTHER_KEY, late.object, &late.dots));
    assert_eq!(receiver.dots(OTHER_KEY), []);
    assert!(receiver.join(&one, &compared));
    assert_equal(&receiver, &one);
}

#[test]
fn replicas_that_closed_different_actors_come_to_one_list() {
    let (mut first, mut second) = (trusted(8), trusted(9));
    let (mut one, mut other) = (trusted(1), trusted(2));
    let (left, right) = (
        first.write(KEY, DotSet::default()),
        second.write(OTHER_KEY, DotSet::default()),
    );
    for node in [&mut one, &mut other] {
        node.take(KEY, &left);
        node.take(OTHER_KEY, &right);
    }
    assert!(one.close(left.dot.actor, &[1]) && other.close(right.dot.actor, &[1]));
    let view = one.replica.view(&one.disk);
    let difference = view.difference(other.clock().seen(), usize::MAX);
    let difference = difference.map(|difference| difference.found);
    let Ok(Difference::Closed(news)) = difference else {
        panic!("{difference:?}");
    };
    let told = other.clock().closed().told(news).expect("all of the list");
    let steps = told.steps_after(other.clock().closed());
    let name = other.clock().closed().name();
    assert!(other.replica.close(name, &steps));
    other.end_commit();
    let steps = other.clock().closed().steps_after(one.clock().closed());
    let name = one.clock().closed().name();
    assert!(one.replica.close(name, &steps));
    one.end_commit();
    assert_equal(&one, &other);
    assert!(Closed::default() != *one.clock().closed());
}

#[test]
fn who_is_told_of_a_closing_and_lacks_some_of_what_all_had_doubts_itself() {
    let (one, mut other, old) = closed_at_first();
    let mut ended = trusted(9);
    ended.write(KEY, DotSet::default());
    let is_trusted = |node: &Node| node.replica.state().standing.is_trusted();
    assert!(!other.close(old.dot.actor, &[1, 2]), "it has seen less");
    assert!(!is_trusted(&other));
    // One that has seen more has lost nothing, and one that compares all finds its loss at the end.
    let mut more = trusted(3);
    for written in [&old, &ended.write(KEY, DotSet::default())] {
        more.merge(KEY, written.object.clone(), &written.dots);
    }
    assert!(!more.close(old.dot.actor, &[1]) && is_trusted(&more));
    let mut late = trusted(4);
    let compared = late.compare(&one);
    assert!(late.join(&one, &compared));
    assert!(is_trusted(&late), "the transfer brought what it lacked");
    let mut superseding = trusted(5);
    superseding.take(KEY, &old);
    superseding.write(KEY, DotSet::of(old.dot));
    assert!(superseding.close(old.dot.actor, &[1]));
    let mut restored = trusted(6);
    let compared = restored.compare(&superseding);
    assert!(restored.join(&superseding, &compared));
    assert!(!is_trusted(&restored));
}

#[test]
fn a_replica_that_forgot_what_it_had_closed_has_fallen_behind() {
    let (mut one, mut other, old) = closed_at_first();
    let before = other.clock().seen().clone();
    let open = other.id();
    // What is closed elsewhere is not missed, whether or not it is known to be closed.
    let closed = one.clock().seen().clone();
    let mut third = trusted(3);
    assert!(third.replica.remember(open, before.clone(), true));
    assert!(third.replica.remember(open, closed.clone(), true));
    assert!(one.replica.remember(open, before.clone(), true));
    assert!(one.replica.remember(open, closed.clone(), true));
    assert!(
        !one.replica.remember(open, before.clone(), true),
        "it had closed an actor that is open again"
    );
    assert!(one.replica.remember(open, before, false), "it knows");
    // An open actor that is not seen any more is.
    let next = other.write(OTHER_KEY, DotSet::default());
    assert!(other.close(old.dot.actor, &[1]));
    assert!(
        one.replica
            .remember(open, other.clock().seen().clone(), true)
    );
    assert!(other.clock().has(&next.dot));
    assert!(!one.replica.remember(open, closed, true));
}

#[test]
fn a_write_that_a_repair_brought_before_its_own_message_was_not_there_before_it() {
    let (mut coordinator, mut other) = (trusted(1), trusted(2));
    let written = coordinator.write(KEY, DotSet::default());
    let found = |taken| match taken {
        Taken::Merged(found) => found,
        other => panic!("{other:?}"),
    };
    assert!(!found(other.take(KEY, &written)).live);
    assert!(!found(other.take(KEY, &written)).live, "it is its own");
    let next = coordinator.write(KEY, DotSet::of(written.dot));
    assert!(found(other.take(KEY, &next)).live, "the first is there");
}

/// A replica that has met a write that nobody has, whose life is closed without it, and one that
/// holds what that write superseded.
fn strayed() -> (Node, Node) {
    let (mut one, mut other, mut dead) = (trusted(1), trusted(2), trusted(3));
    let written = other.write(KEY, DotSet::default());
    one.take(KEY, &written);
    dead.take(KEY, &written);
    dead.write(KEY, DotSet::of(written.dot));
    let actor = dead.replica.actor();
    let mut met = dead.object(KEY);
    met.versions.clear();
    assert!(one.merge(KEY, met, &[]));
    assert!(!one.replica.state().is_settled() && !one.replica.state().strays);
    for node in [&mut one, &mut other] {
        assert!(node.close(actor, &[]));
    }
    (one, other)
}

#[test]
fn a_replica_strays_that_had_met_what_nobody_has_when_its_life_is_closed() {
    let (one, other) = strayed();
    let (state, settled) = (one.replica.state(), other.replica.state());
    assert_eq!(state.clock, settled.clock);
    assert_ne!(state.sum, settled.sum, "no disk is at fault");
    assert_eq!(state.unstripped, 0);
    assert!(state.strays && !state.is_settled() && settled.is_settled());
    let life = (one.id(), Incarnation(2));
    let opened = Replica::open(&one.disk, place(), life, Standing::Trusted);
    let opened = opened.expect("memory does not fail");
    assert!(opened.state().strays, "it is durable");
}

#[test]
fn a_replica_strays_no_more_once_a_settled_one_or_all_others_hold_the_same() {
    let strayed = || strayed().0.replica;
    let mut one = strayed();
    one.agree(NodeId(2), true, 3);
    assert!(one.state().is_settled());
    let mut one = strayed();
    one.agree(NodeId(2), false, 3);
    one.agree(NodeId(2), false, 3);
    assert!(one.state().strays);
    one.agree(NodeId(3), false, 3);
    assert!(one.state().is_settled());
}

#[test]
fn a_directory_that_was_put_back_with_a_write_that_all_others_closed_strays() {
    let (mut one, mut back) = (trusted(1), node(3, Standing::suspect()));
    let written = back.write(KEY, DotSet::default());
    let actor = back.replica.actor();
    back.disk.records.clear();
    let life = (NodeId(2), Incarnation(1));
    let opened = Replica::open(&back.disk, place(), life, Standing::suspect());
    back.replica = opened.expect("memory does not fail");
    assert!(back.merge(KEY, written.object.clone(), &written.dots));
    assert!(one.close(actor, &[]));
    let clock = back.compare(&one);
    assert!(back.join(&one, &clock));
    assert!(back.replica.state().strays);
}
