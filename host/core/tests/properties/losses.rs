//! This is how a replica finds out that it has lost something, when its own disk does not say so.

use crate::cluster::{entry, place, value};
use crate::memory::Memory;
use soros_core::clock::Clock;
use soros_core::closed::{Closed, Closing};
use soros_core::dot::Actor;
use soros_core::dot_set::{Counters, DotSet};
use soros_core::id::{Generation, Incarnation, NodeId};
use soros_core::key::Key;
use soros_core::known::KnownLists;
use soros_core::object::Version;
use soros_core::place::{Entry, Layout};
use soros_core::record::Batch;
use soros_core::replica::{
    Difference, Outcome, Quorum, Reached, Replica, Siblings, Standing, TransferKind, Write,
};
use soros_core::time::Time;

#[derive(Clone)]
struct Node {
    id: NodeId,
    disk: Memory,
    replica: Replica,
}

impl Node {
    fn new(id: u64) -> Node {
        let (id, disk) = (NodeId(id), Memory::default());
        let life = (id, Incarnation(1));
        let replica = Replica::open(&disk, place(), life, Standing::Trusted);
        let replica = replica.expect("an empty disk opens");
        Node { id, disk, replica }
    }

    fn write(&mut self, key: usize) -> Result<Outcome, soros_core::record::RecordError> {
        let (time, value) = (Time(1), Some(value(key as u64)));
        let write = Write {
            context: DotSet::default(),
            version: Version { time, value },
            siblings: Siblings::Keep,
            versions_max: 9,
        };
        let outcome = self.replica.write(&mut self.disk, &entry(key), write);
        self.replica.save(&mut self.disk);
        outcome
    }

    /// Another process on a disk as it was once.
    fn restored(&self, disk: &Memory) -> Node {
        let (id, disk) = (self.id, disk.clone());
        let life = (id, Incarnation(2));
        let replica = Replica::open(&disk, place(), life, Standing::suspect());
        let replica = replica.expect("memory opens");
        Node { id, disk, replica }
    }

    fn is_trusted(&self) -> bool {
        self.replica.state().standing.is_trusted()
    }

    /// Fetches what `other` has seen and this one has not.
    fn repair(&mut self, other: &Node) {
        let seen = self.replica.state().clock.seen().clone();
        let view = other.replica.view(&other.disk);
        match view.difference(&seen, usize::MAX).expect("memory").found {
            Difference::None => (),
            Difference::LogTooShort => self.transfer(other),
            Difference::Closed(news) => panic!("nothing is closed: {news:?}"),
            Difference::Items { items, .. } => {
                for item in items {
                    let merged =
                        self.replica
                            .merge(&mut self.disk, &item.entry, item.object, &item.dots);
                    merged.expect("memory");
                }
            }
        }
        self.replica.save(&mut self.disk);
    }

    fn transfer(&mut self, other: &Node) {
        let view = other.replica.view(&other.disk);
        let chunk = view.chunk(TransferKind::Clocked, None, usize::MAX);
        let chunk = chunk.expect("memory");
        let seen = chunk.seen.clone();
        let closed = other.replica.state().clock.closed().clone();
        let merged = self
            .replica
            .merge_chunk(&mut self.disk, other.id, None, chunk, &closed);
        let (next, whole) = (None, true);
        assert_eq!(merged, Ok(Reached::To { next, whole }), "one range is all");
        let clock = Clock::of(seen, closed).expect("of one replica");
        assert!(self.replica.join(other.id, &clock));
        self.replica.save(&mut self.disk);
    }
}

/// A node that wrote, lost its last write with nothing to show for it, and runs again; and another
/// that had the write.
fn after_a_loss() -> (Node, Node) {
    let (mut first, mut second) = (Node::new(1), Node::new(2));
    first.write(0).expect("memory");
    let disk = first.disk.clone();
    first.write(1).expect("memory");
    second.repair(&first);
    let first = first.restored(&disk);
    assert!(first.is_trusted(), "its disk looks sound");
    (first, second)
}

#[test]
fn a_replica_that_gets_a_lost_write_of_its_own_back_is_suspect() {
    let (mut first, second) = after_a_loss();
    first.repair(&second);
    assert!(!first.is_trusted());
    let reopened = first.restored(&first.disk);
    assert!(!reopened.is_trusted(), "it is written down");
}

#[test]
fn a_full_transfer_finds_the_loss_too() {
    let (mut first, mut second) = after_a_loss();
    let clock = second.replica.state().clock.seen().clone();
    second.replica.remember(first.id, clock, true);
    let cut = second.replica.truncate(&mut second.disk, &[first.id]);
    assert_eq!(cut, Ok(false));
    first.repair(&second);
    assert!(!first.is_trusted());
}

#[test]
fn what_another_wrote_makes_no_suspect() {
    let (mut first, mut second) = (Node::new(1), Node::new(2));
    first.write(0).expect("memory");
    second.write(1).expect("memory");
    first.repair(&second);
    second.repair(&first);
    assert!(first.is_trusted() && second.is_trusted());
}

#[test]
fn a_clock_that_went_back_is_remembered_once_its_replica_knows() {
    let (first, mut second) = after_a_loss();
    let before = second.replica.state().clock.seen().clone();
    let after = first.replica.state().clock.seen().clone();
    assert!(second.replica.remember(first.id, before.clone(), true));
    assert!(!second.replica.remember(first.id, after.clone(), true));
    assert!(!second.replica.remember(first.id, after.clone(), true));
    assert!(second.replica.remember(first.id, after.clone(), false));
    assert!(second.replica.remember(first.id, after, true));
    assert!(second.replica.remember(first.id, before, true));
}

#[test]
fn an_actor_whose_dots_come_from_elsewhere_mints_no_more() {
    let (mut first, mut second) = (Node::new(1), Node::new(2));
    let disk = first.disk.clone();
    first.write(0).expect("memory");
    second.repair(&first);
    // The same process, with less than it had: no engine may do that.
    let life = (first.id, Incarnation(1));
    first.replica = Replica::open(&disk, place(), life, Standing::Trusted).expect("memory");
    first.disk = disk;
    first.repair(&second);
    assert!(!first.is_trusted());
    assert!(first.write(1).is_err(), "its next dot may have been minted");
    // The store is opened again, in the same process.
    let mut reopened =
        Replica::open(&first.disk, place(), life, Standing::Trusted).expect("memory");
    reopened.take_over(&first.replica);
    first.replica = reopened;
    assert!(first.write(1).is_err(), "it is the same actor still");
    let mut next = first.restored(&first.disk);
    next.replica.take_over(&first.replica);
    next.write(1).expect("another actor");
}

#[test]
fn what_a_suspect_merged_counts_in_its_process_only() {
    let mut first = Node::new(1);
    let quorum = Quorum {
        replicas: 5,
        writes: 3,
    };
    let suspect = Standing::suspect().after_merging(NodeId(2), true, quorum);
    first.replica.stand(suspect.clone());
    first.replica.save(&mut first.disk);
    first.replica.doubt();
    assert_eq!(first.replica.state().standing, suspect);
    let next = first.restored(&first.disk);
    assert_eq!(next.replica.state().standing, Standing::suspect());
}

#[test]
fn one_that_has_lost_nothing_needs_one_replica_less_to_be_trusted() {
    let quorum = Quorum {
        replicas: 5,
        writes: 3,
    };
    let merged = |standing: Standing, trusted: u64| {
        let nodes = (2..2 + trusted).map(NodeId);
        nodes.fold(standing, |before, node| {
            before.after_merging(node, true, quorum)
        })
    };
    assert!(merged(Standing::beginning(true), 2).is_trusted());
    assert!(!merged(Standing::beginning(true), 1).is_trusted());
    assert!(!merged(Standing::suspect(), 2).is_trusted());
    assert!(merged(Standing::suspect(), 3).is_trusted());
    for (replicas, writes) in [(2, 1), (2, 2), (3, 3)] {
        let quorum = Quorum { replicas, writes };
        assert!(!quorum.can_refill(0, 0), "{quorum:?}: it has nothing yet");
    }
}

#[test]
fn that_nothing_was_lost_outlives_the_process_and_no_loss() {
    let mut first = Node::new(1);
    let mut other = Node::new(2);
    first.write(1).expect("memory");
    other.repair(&first);
    let back = |generation: u32| {
        let mut back = Node::new(1);
        let life = Layout::life(place());
        back.disk.put(life, generation.to_be_bytes().to_vec());
        back = back.restored(&back.disk);
        back.replica.stand(Standing::beginning(true));
        back.replica.save(&mut back.disk);
        back.restored(&back.disk)
    };
    for (generation, lost) in [(2, false), (1, true)] {
        let mut back = back(generation);
        assert_eq!(back.replica.state().standing, Standing::beginning(true));
        back.repair(&other);
        let standing = &back.replica.state().standing;
        assert_eq!(standing.has_lost_nothing(), !lost, "in {generation}");
    }
}

#[test]
fn settling_goes_on_where_names_are_to_be_kept_again() {
    let ended = Actor {
        node: NodeId(9),
        incarnation: Incarnation(7),
        generation: Generation(1),
    };
    let mut list = Closed::default();
    list.push(Closing::new([(ended, Counters::default())]));
    let mut learned = KnownLists::default();
    learned.learn(&list, &Closed::default());
    let mut suspect = Node::new(1);
    suspect.replica.stand(Standing::suspect());
    for number in 0_u32..200 {
        let key = Key::try_from(&number.to_be_bytes()[..]).expect("four bytes");
        let bucket = entry(0).bucket;
        let mut context = DotSet::default();
        context.add(list.name().expect("it has an actor").dot(1));
        let write = Write {
            context,
            version: Version {
                time: Time(1),
                value: Some(value(1)),
            },
            siblings: Siblings::Keep,
            versions_max: 9,
        };
        let written = suspect
            .replica
            .write(&mut suspect.disk, &Entry { bucket, key }, write);
        written.expect("memory");
    }
    while suspect.replica.settle(&mut suspect.disk).expect("memory") {}
    for is_learned in [true, false] {
        let Node { replica, disk, .. } = &mut suspect.clone();
        replica.stand(Standing::Trusted);
        assert!(replica.settle(disk).expect("memory"), "there is more");
        if is_learned {
            replica.learn(&learned);
        } else {
            replica.doubt();
        }
        let mut times = 0..20;
        assert!(times.any(|_| !replica.settle(disk).expect("memory")));
    }
}
