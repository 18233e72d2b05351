//! This is a sweep under any interleaving: buckets die at one replica and later at the other, and
//! what is left of them goes step by step between writes, repairs, transfers and restarts, while
//! the figures stay those of the records and living buckets lose nothing.

use crate::cluster::{place, value};
use crate::memory::Memory;
use proptest::prelude::*;
use soros_core::codec::{Codec, Reader};
use soros_core::dot::Dot;
use soros_core::dot_set::DotSet;
use soros_core::epoch::Epoch;
use soros_core::id::{BucketId, Incarnation, NodeId};
use soros_core::key::Key;
use soros_core::map::bucket::Buckets;
use soros_core::object::{Object, Version};
use soros_core::place::{Entry, Layout, Place};
use soros_core::record::Records;
use soros_core::replica::{
    Difference, LiveKey, Outcome, Reached, Replica, SWEPT_PER_COMMIT, Siblings, Standing,
    TransferKind, Write,
};
use soros_core::sum::Sum;
use soros_core::time::Time;
use std::collections::{BTreeMap, BTreeSet};

const BUCKETS: u64 = 3;
const KEYS: u8 = 4;

struct Node {
    id: NodeId,
    disk: Memory,
    replica: Replica,
    buckets: Buckets,
    incarnations: u128,
}

/// The buckets from 1 to `BUCKETS`, but those in `dead`.
fn buckets(dead: &BTreeSet<u64>) -> Buckets {
    let open = (1..=BUCKETS).filter(|id| !dead.contains(id)).map(BucketId);
    Buckets {
        epoch: Epoch(BUCKETS + dead.len() as u64),
        open: open.collect(),
        closing: BTreeSet::new(),
    }
}

fn node(id: u64) -> Node {
    let (id, disk) = (NodeId(id), Memory::default());
    let replica = Replica::open(&disk, place(), (id, Incarnation(1)), Standing::Trusted);
    Node {
        id,
        replica: replica.expect("an empty disk opens"),
        disk,
        buckets: buckets(&BTreeSet::new()),
        incarnations: 1,
    }
}

fn entry(bucket: u64, key: u8) -> Entry {
    Entry {
        bucket: BucketId(bucket),
        key: Key::try_from(&[key][..]).expect("a byte"),
    }
}

impl Node {
    fn write(&mut self, entry: &Entry, time: u64, is_live: bool, has_seen: bool) {
        let view = self.replica.view(&self.disk);
        let seen = view.object(entry).expect("an object").seen();
        let write = Write {
            context: if has_seen { seen } else { DotSet::default() },
            version: Version {
                time: Time::at_micros(time),
                value: is_live.then(|| value(time)),
            },
            siblings: Siblings::Keep,
            versions_max: 8,
        };
        let written = self.replica.write(&mut self.disk, entry, write);
        let written = written.expect("memory does not fail");
        assert!(matches!(
            written,
            Outcome::Written(_) | Outcome::TooManySiblings(_)
        ));
        self.replica.save(&mut self.disk);
    }

    /// Takes what `from` has seen and this one has not, at most about `bytes_max` bytes.
    fn repair(&mut self, from: &Node, bytes_max: usize) {
        let seen = self.replica.state().clock.seen().clone();
        let view = from.replica.view(&from.disk);
        let difference = view.difference(&seen, bytes_max).expect("items");
        if let Difference::Items { items, .. } = difference.found {
            for item in items {
                let merged = self.replica.merge_item(&mut self.disk, item, &self.buckets);
                merged.expect("memory does not fail");
            }
            self.replica.save(&mut self.disk);
        }
    }

    fn transfer(&mut self, from: &Node) {
        let seen = from.replica.state().clock.clone();
        let view = from.replica.view(&from.disk);
        let chunk = view.chunk(TransferKind::Clocked, None, usize::MAX);
        let chunk = chunk.expect("memory does not fail");
        let closed = seen.closed();
        let merged = self
            .replica
            .merge_chunk(&mut self.disk, from.id, None, chunk, closed);
        assert_eq!(
            merged,
            Ok(Reached::To {
                next: None,
                whole: true
            })
        );
        assert!(self.replica.join(from.id, &seen));
        self.settle();
    }

    fn settle(&mut self) {
        while self.replica.settle(&mut self.disk).expect("memory") {}
        self.replica.save(&mut self.disk);
    }

    fn sweep(&mut self) -> bool {
        let swept = self
            .replica
            .sweep(&mut self.disk, &self.buckets, SWEPT_PER_COMMIT);
        self.replica.save(&mut self.disk);
        swept.expect("memory does not fail").more
    }

    fn restart(&mut self) {
        self.incarnations += 1;
        let life = (self.id, Incarnation(self.incarnations));
        let opened = Replica::open(&self.disk, place(), life, Standing::Trusted);
        self.replica = opened.expect("memory opens");
    }

    fn objects(&self) -> Vec<(Entry, Option<Dot>, Object)> {
        let (from, to) = self.replica.layout().objects();
        let decoded = self.disk.records.range(from..to).map(|(key, bytes)| {
            let entry = Layout::entry_of_object(key).expect("an object's key");
            let mut reader = Reader::new(bytes);
            let blocker = reader.option().expect("a blocker");
            (entry, blocker, Object::decode(&mut reader).expect("one"))
        });
        decoded.collect()
    }

    /// The sum, the figures and the index are those of the records.
    fn assert_figures(&self) {
        let (mut sum, mut live, mut waiting) = (Sum::default(), 0, BTreeSet::new());
        for (entry, blocker, object) in self.objects() {
            live += u64::from(object.is_live());
            for (dot, version) in &object.versions {
                if version.value.is_some() {
                    sum.toggle(entry.bucket, &entry.key, dot);
                }
            }
            let index = blocker.map(|dot| self.replica.layout().unstripped(&dot, &entry));
            waiting.extend(index);
        }
        let state = self.replica.state();
        assert_eq!((state.sum, state.live_keys), (sum, live));
        assert_eq!(state.unstripped, waiting.len() as u64);
        let mut index = self.replica.layout().first();
        index.push(b'U');
        let index = self
            .disk
            .records
            .keys()
            .filter(|key| key.starts_with(&index));
        assert_eq!(index.cloned().collect::<BTreeSet<_>>(), waiting);
    }

    fn values_of(&self, buckets: &Buckets) -> BTreeMap<Entry, Vec<Dot>> {
        let objects = self.objects().into_iter();
        let living =
            objects.filter(|(entry, _, object)| buckets.has(entry.bucket) && object.is_live());
        let live = living.map(|(entry, _, object)| {
            let versions = object.versions.iter();
            let live = versions.filter(|(_, version)| version.value.is_some());
            (entry, live.map(|(dot, _)| *dot).collect())
        });
        live.collect()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Write {
        at: usize,
        bucket: u64,
        key: u8,
        is_live: bool,
        has_seen: bool,
    },
    Repair {
        to: usize,
        bytes_max: usize,
    },
    Transfer(usize),
    Settle(usize),
    Sweep(usize),
    Restart(usize),
    /// A bucket dies: `at` is told at once.
    Die {
        at: usize,
        bucket: u64,
    },
    /// A replica hears of all that has died.
    Adopt(usize),
}

fn steps() -> impl Strategy<Value = Step> {
    let at = || 0..2_usize;
    let is_live = proptest::bool::weighted(0.7);
    let write = (at(), 1..=BUCKETS, 0..KEYS, is_live, any::<bool>());
    let write = write.prop_map(|(at, bucket, key, is_live, has_seen)| Step::Write {
        at,
        bucket,
        key,
        is_live,
        has_seen,
    });
    prop_oneof![
        8 => write,
        6 => (at(), prop_oneof![Just(1), Just(usize::MAX)])
            .prop_map(|(to, bytes_max)| Step::Repair { to, bytes_max }),
        1 => at().prop_map(Step::Transfer),
        2 => at().prop_map(Step::Settle),
        3 => at().prop_map(Step::Sweep),
        1 => at().prop_map(Step::Restart),
        1 => (at(), 1..=BUCKETS).prop_map(|(at, bucket)| Step::Die { at, bucket }),
        1 => at().prop_map(Step::Adopt),
    ]
}

struct Pair {
    nodes: [Node; 2],
    dead: BTreeSet<u64>,
    time: u64,
}

impl Pair {
    /// The replica `to`, and the other one.
    fn both(&mut self, to: usize) -> (&mut Node, &mut Node) {
        let [first, second] = &mut self.nodes;
        if to == 0 {
            (first, second)
        } else {
            (second, first)
        }
    }

    /// What is answered under a newer map waits until that map is there.
    fn adopts_before_it_takes(&mut self, to: usize) {
        let (one, other) = self.both(to);
        if one.buckets.epoch < other.buckets.epoch {
            one.buckets = other.buckets.clone();
        }
    }

    fn apply(&mut self, step: &Step) {
        self.time += 1;
        match *step {
            Step::Write {
                at,
                bucket,
                key,
                is_live,
                has_seen,
            } => {
                let node = &mut self.nodes[at];
                if node.buckets.has(BucketId(bucket)) {
                    node.write(&entry(bucket, key), self.time, is_live, has_seen);
                }
            }
            Step::Repair { to, bytes_max } => {
                self.adopts_before_it_takes(to);
                let (one, other) = self.both(to);
                one.repair(other, bytes_max);
            }
            Step::Transfer(to) => {
                self.adopts_before_it_takes(to);
                let (one, other) = self.both(to);
                one.transfer(other);
            }
            Step::Settle(at) => self.nodes[at].settle(),
            Step::Sweep(at) => drop(self.nodes[at].sweep()),
            Step::Restart(at) => self.nodes[at].restart(),
            Step::Die { at, bucket } => {
                self.dead.insert(bucket);
                self.nodes[at].buckets = buckets(&self.dead);
            }
            Step::Adopt(at) => self.nodes[at].buckets = buckets(&self.dead),
        }
    }

    fn quiet(&mut self) {
        for at in [0, 1] {
            self.nodes[at].buckets = buckets(&self.dead);
        }
        for _ in 0..2 {
            for to in [0, 1] {
                let (one, other) = self.both(to);
                one.transfer(other);
            }
        }
        for to in [0, 1] {
            let (one, other) = self.both(to);
            while one.sweep() {}
            one.settle();
            let heard = other.replica.state().clock.seen().clone();
            assert!(one.replica.remember(other.id, heard, true));
            let others = [other.id];
            while one.replica.truncate(&mut one.disk, &others).expect("ok") {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 256,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn dead_buckets_go_and_living_ones_lose_nothing(
        steps in proptest::collection::vec(steps(), 1..80),
    ) {
        let (nodes, dead) = ([node(1), node(2)], BTreeSet::new());
        let mut pair = Pair { nodes, dead, time: 0 };
        for step in &steps {
            let before = [0, 1].map(|at| pair.nodes[at].values_of(&pair.nodes[at].buckets));
            pair.apply(step);
            for (node, before) in pair.nodes.iter().zip(before) {
                node.assert_figures();
                if matches!(step, Step::Sweep(_) | Step::Restart(_) | Step::Settle(_)) {
                    prop_assert_eq!(node.values_of(&node.buckets), before, "a sweep took a value");
                }
            }
        }
        pair.quiet();
        let [one, other] = &pair.nodes;
        prop_assert_eq!(&one.replica.state().clock, &other.replica.state().clock);
        prop_assert_eq!(one.replica.state().sum, other.replica.state().sum);
        for node in &pair.nodes {
            node.assert_figures();
            prop_assert!(node.replica.is_swept(&node.buckets));
            let stored = node.objects().into_iter().map(|(entry, ..)| entry.bucket);
            prop_assert!(stored.into_iter().all(|bucket| node.buckets.has(bucket)));
            let log = node.disk.records.keys().filter(|key| key.get(15) == Some(&b'L'));
            prop_assert_eq!(log.count(), 0, "dots that all have seen are logged no more");
        }
    }
}

/// A replica that holds `keys` keys of the bucket 1 and one of the bucket 2, of which 1 has died.
fn half_dead(keys: u8) -> Node {
    let mut node = node(1);
    for key in 0..keys {
        node.write(&entry(1, key), u64::from(key), true, false);
    }
    node.write(&entry(2, 0), 1_000, true, false);
    node.buckets = buckets(&BTreeSet::from([1]));
    node
}

#[test]
fn a_commit_removes_a_bounded_number_and_goes_on_where_it_ended_after_a_restart() {
    let mut node = half_dead(200);
    assert!(!node.replica.is_swept(&node.buckets));
    let mut steps = 0;
    let mut left = node.objects().len();
    while node.sweep() {
        steps += 1;
        let now = node.objects().len();
        assert!(left - now <= SWEPT_PER_COMMIT);
        left = now;
        if steps == 2 {
            node.restart();
        }
    }
    assert!(3 <= steps, "{steps} steps for 200 keys");
    assert_eq!(node.objects().len(), 1);
    assert_eq!(node.replica.state().live_keys, 1);
    assert!(node.replica.is_swept(&node.buckets) && !node.replica.needs_sweep(&node.buckets));
    node.assert_figures();
}

#[test]
fn a_commit_reads_and_removes_a_bounded_number_of_bytes() {
    let mut node = node(1);
    for key in 0..4 {
        let mut large = value(u64::from(key));
        large.bytes = vec![key; 200 << 10].into();
        let write = Write {
            context: DotSet::default(),
            version: Version {
                time: Time::default(),
                value: Some(large),
            },
            siblings: Siblings::Keep,
            versions_max: 8,
        };
        let written = node.replica.write(&mut node.disk, &entry(1, key), write);
        written.expect("memory does not fail");
    }
    node.buckets = buckets(&BTreeSet::from([1]));
    assert!(node.sweep());
    assert_eq!(node.objects().len(), 2, "two of them are more than enough");
    while node.sweep() {}
    assert_eq!(node.objects().len(), 0);
}

#[test]
fn the_dots_of_a_dead_bucket_are_repaired_without_their_objects_and_handed_on() {
    let mut sender = half_dead(3);
    let (mut second, mut third) = (node(2), node(3));
    while sender.sweep() {}
    second.buckets = sender.buckets.clone();
    third.buckets = sender.buckets.clone();
    second.repair(&sender, usize::MAX);
    assert_eq!(second.replica.state().clock, sender.replica.state().clock);
    assert_eq!(second.replica.state().sum, sender.replica.state().sum);
    // The log names them here, too: no full transfer is needed to hand them on.
    let seen = third.replica.state().clock.seen().clone();
    let view = second.replica.view(&second.disk);
    let difference = view.difference(&seen, usize::MAX);
    let difference = difference.expect("a difference").found;
    assert!(
        matches!(difference, Difference::Items { .. }),
        "{difference:?}"
    );
    third.repair(&second, usize::MAX);
    assert_eq!(third.replica.state().clock, sender.replica.state().clock);
    assert_eq!(third.objects().len(), 1);
}

#[test]
fn what_a_transfer_brings_of_a_dead_bucket_is_swept_and_no_sum_is_compared_before() {
    let sender = half_dead(3);
    let mut receiver = node(2);
    receiver.buckets = sender.buckets.clone();
    receiver.transfer(&sender);
    assert!(!receiver.replica.is_swept(&receiver.buckets));
    while receiver.sweep() {}
    assert_eq!(receiver.objects().len(), 1);
    assert_eq!(receiver.replica.state().clock, sender.replica.state().clock);
    assert!(receiver.replica.is_swept(&receiver.buckets));
}

#[test]
fn a_bucket_that_is_not_known_yet_is_kept_and_makes_the_sum_incomparable() {
    let mut node = node(1);
    node.write(&entry(3, 0), 1, true, false);
    let older = Buckets {
        epoch: Epoch(2),
        open: BTreeSet::from([BucketId(1), BucketId(2)]),
        closing: BTreeSet::new(),
    };
    assert!(!node.replica.is_swept(&older) && !node.replica.needs_sweep(&older));
    node.replica
        .sweep(&mut node.disk, &older, 9)
        .expect("memory");
    assert_eq!(node.objects().len(), 1);
    assert!(node.replica.is_swept(&node.buckets));
}

#[test]
fn what_a_dropped_replica_left_is_removed_a_little_at_a_time() {
    let mut node = node(1);
    for key in 0..100 {
        node.write(&entry(1, key), 1, true, false);
    }
    let renewed = Replica::begin_anew(&mut node.disk, place(), (node.id, Incarnation(1)));
    node.replica = renewed.expect("memory does not fail");
    node.restart();
    assert!(!node.sweep(), "a suspect keeps what it has");
    node.replica.stand(Standing::Trusted);
    let mut steps = 1;
    while node.sweep() {
        steps += 1;
    }
    let records = 200_usize.div_ceil(SWEPT_PER_COMMIT);
    assert_eq!(steps, records, "an object and a log entry for each write");
    assert_eq!(node.disk.records.len(), 2, "the generation and the clock");
}

#[test]
fn a_partition_of_a_placement_that_is_gone_goes_whole_and_no_other_does() {
    let mut node = half_dead(100);
    let renewed = Replica::begin_anew(&mut node.disk, place(), (node.id, Incarnation(1)));
    node.replica = renewed.expect("memory does not fail");
    node.write(&entry(2, 1), 1, true, false);
    let mut neighbour = place();
    neighbour.placement.0 += 1;
    let life = (node.id, Incarnation(1));
    let opened = Replica::open(&node.disk, neighbour, life, Standing::Trusted);
    opened.expect("memory opens").save(&mut node.disk);
    let (from, to) = Layout::lives();
    let lives = |node: &Node| -> Vec<Place> {
        let listed = node.disk.list(&from, &to, 9).expect("memory").into_iter();
        let places = listed.map(|listed| Layout::place_of_life(&listed.key));
        places.collect::<Result<_, _>>().expect("places")
    };
    assert_eq!(lives(&node), [place(), neighbour]);
    let mut steps = 0;
    loop {
        let forgotten = Replica::forget(&mut node.disk, place(), SWEPT_PER_COMMIT);
        if !forgotten.expect("memory").more {
            break;
        }
        steps += 1;
    }
    assert!(3 <= steps, "{steps} steps for some 200 records");
    assert_eq!(lives(&node), [neighbour]);
    assert_eq!(node.disk.records.len(), 2, "the neighbour's two");
}

#[test]
fn a_live_key_is_looked_for_a_few_keys_at_a_time() {
    let (mut node, mut other) = (node(1), node(2));
    other.write(&entry(2, 0), 1, true, false);
    let first = other.replica.state().clock.seen().clone();
    for key in 0..10 {
        other.write(&entry(1, key), 1, false, false);
    }
    // Tombstones that wait for the first write, which has not come yet.
    let view = other.replica.view(&other.disk);
    let difference = view.difference(&first, usize::MAX).expect("memory");
    let Difference::Items { items, .. } = difference.found else {
        panic!("ten items");
    };
    for item in items {
        let merged = node.replica.merge_item(&mut node.disk, item, &node.buckets);
        merged.expect("memory does not fail");
    }
    let look = |node: &Node, from: Option<&Entry>| {
        let view = node.replica.view(&node.disk);
        view.live_key(BucketId(1), from, 4).expect("memory")
    };
    assert_eq!(look(&node, None), LiveKey::NotYet(entry(1, 4)));
    assert_eq!(
        look(&node, Some(&entry(1, 4))),
        LiveKey::NotYet(entry(1, 8))
    );
    assert_eq!(look(&node, Some(&entry(1, 8))), LiveKey::None);
    node.write(&entry(1, 9), 1, true, false);
    assert_eq!(
        look(&node, Some(&entry(1, 4))),
        LiveKey::NotYet(entry(1, 8))
    );
    assert_eq!(look(&node, Some(&entry(1, 8))), LiveKey::Found);
}
