//! This is what is left of deleted buckets going away, over the twin in memory and over real files:
//! a little with each commit, on after a restart and after a commit that failed.

use super::*;
use crate::store::commit::{CommitError, Core};
use crate::store::conformance::engine;
use crate::store::memory::{Fault, Memory};
use crate::store::{Space, Store};
use soros_core::dot_set::DotSet;
use soros_core::epoch::Epoch;
use soros_core::id::{BucketId, PlacementId};
use soros_core::key::{Key, Partition};
use soros_core::object::{Object, Value, Version};
use soros_core::place::Entry;
use soros_core::replica::{Inventory, Outcome, Swept};
use soros_core::sum::Sum;
use soros_core::time::Time;
use soros_core::write::Resolution;
use std::time::Duration;

const DEAD: BucketId = BucketId(2);
const LIVING: BucketId = BucketId(3);

fn place() -> Place {
    Place {
        placement: PlacementId(1),
        partition: Partition::from_wire(0),
    }
}

/// The buckets before one of them dies, and after.
fn buckets(has_dead: bool) -> Buckets {
    let all = [DEAD, LIVING].into_iter();
    Buckets {
        epoch: Epoch(if has_dead { 3 } else { 4 }),
        open: all.filter(|id| has_dead || *id != DEAD).collect(),
        closing: BTreeSet::new(),
    }
}

struct Node {
    core: Core<Partitions>,
    moments: Moments,
}

/// A process that starts on a store and adopts a map.
fn start(store: &Arc<dyn Store>, life: u128, buckets: Buckets) -> Node {
    let me = (NodeId(1), Incarnation(life));
    let clock = Arc::new(NodeClock::start());
    let (partitions, moments) = Partitions::new(me, true, Arc::clone(store), clock);
    let core = Core::new(partitions, Arc::clone(store), Space::Partitions);
    let core = core.expect("the store works");
    let mut node = Node { core, moments };
    let places = vec![(place(), Standing::Trusted)];
    node.done(Operation::Adopt { places, buckets });
    node
}

fn entry(bucket: BucketId, number: usize) -> Entry {
    let key = format!("key-{number:05}");
    let key = Key::try_from(key.as_bytes()).expect("a key");
    Entry { bucket, key }
}

impl Node {
    fn step(&mut self, operation: Operation) -> Result<Answer, CommitError> {
        self.core.step(vec![operation]).remove(0)
    }

    #[track_caller]
    fn done(&mut self, operation: Operation) -> Answer {
        self.step(operation).expect("the store works")
    }

    fn write(&mut self, bucket: BucketId, number: usize, bytes: usize) {
        let value = Value {
            bytes: vec![7; bytes].into(),
            content_type: String::new(),
            content_encoding: None,
            meta: Vec::new(),
        };
        let store = soros_core::write::Store {
            context: DotSet::default(),
            version: Version {
                time: Time::default(),
                value: Some(value),
            },
            siblings: Resolution::Keep,
            versions_max: 8,
        };
        let (place, entry) = (place(), entry(bucket, number));
        let answer = self.done(Operation::Write {
            target: Target { place, entry },
            store,
            deadline: Instant::now() + Duration::from_mins(1),
        });
        assert!(matches!(answer, Answer::Written(Outcome::Written(_))));
    }

    fn fill(&mut self, keys: usize, bytes: usize) {
        for number in 0..keys {
            self.write(DEAD, number, bytes);
            if number % 10 == 0 {
                self.write(LIVING, number, bytes);
            }
        }
    }

    fn sweep(&mut self) -> Result<Swept, CommitError> {
        match self.step(Operation::Sweep { place: place() })? {
            Answer::Swept(swept) => Ok(swept),
            other => panic!("{other:?}"),
        }
    }

    /// Whether the partition as readers see it is what its records say.
    #[track_caller]
    fn assert_figures(&self) {
        let moment = self.moments.load();
        let shown = moment.shown(&place()).expect("it is held");
        let view = moment.view(&place()).expect("it is held");
        let (mut sum, mut live) = (Sum::default(), 0);
        for entry in self.stored() {
            let object = view.object(&entry).expect("the store works");
            live += u64::from(object.is_live());
            for dot in object.versions.keys() {
                sum.toggle(entry.bucket, &entry.key, dot);
            }
        }
        assert_eq!((shown.state.sum, shown.state.live_keys), (sum, live));
        assert_eq!(shown.state.unstripped, 0);
    }

    /// The objects that readers see.
    fn stored(&self) -> Vec<Entry> {
        let moment = self.moments.load();
        let layout = moment.shown(&place()).expect("it is held").layout;
        let (from, to) = layout.objects();
        let listed = moment.records.list(&from, &to, usize::MAX);
        let listed = listed.expect("the store works").into_iter();
        let entries = listed.map(|listed| Layout::entry_of_object(&listed.key));
        entries.collect::<Result<_, _>>().expect("objects' keys")
    }

    fn stored_of(&self, bucket: BucketId) -> usize {
        let stored = self.stored().into_iter();
        stored.filter(|entry| entry.bucket == bucket).count()
    }

    fn shown(&self) -> Arc<Shown> {
        let moment = self.moments.load();
        Arc::clone(moment.shown(&place()).expect("it is held"))
    }
}

fn on_each(check: impl Fn(Arc<dyn Store>)) {
    let folder = tempfile::tempdir().expect("a folder");
    check(Arc::new(engine(folder.path())));
    check(Arc::new(Memory::new(1)));
}

#[test]
fn a_new_map_is_shown_to_readers_though_nothing_is_written() {
    on_each(|store| {
        let mut node = start(&store, 1, buckets(true));
        node.fill(1, 1);
        assert!(node.shown().swept && !node.shown().needs_sweep);
        let after = buckets(false);
        node.done(Operation::Adopt {
            places: Vec::new(),
            buckets: after.clone(),
        });
        assert_eq!(*node.moments.load().buckets(), after);
        assert!(!node.shown().swept && node.shown().needs_sweep);
    });
}

#[test]
fn an_older_map_does_not_take_the_place_of_a_newer_one() {
    let store: Arc<dyn Store> = Arc::new(Memory::new(1));
    let mut node = start(&store, 1, buckets(false));
    node.done(Operation::Adopt {
        places: Vec::new(),
        buckets: buckets(true),
    });
    assert_eq!(*node.moments.load().buckets(), buckets(false));
}

#[test]
fn a_dead_bucket_goes_and_its_neighbour_stays() {
    on_each(|store| {
        let mut node = start(&store, 1, buckets(true));
        node.fill(200, 10);
        node.done(Operation::Adopt {
            places: Vec::new(),
            buckets: buckets(false),
        });
        let (mut left, mut bytes) = (node.stored_of(DEAD), 0);
        loop {
            let swept = node.sweep().expect("the store works");
            bytes += swept.bytes;
            node.assert_figures();
            let now = node.stored_of(DEAD);
            assert!(left - now <= SWEPT_PER_COMMIT, "{left} to {now}");
            left = now;
            if !swept.more {
                break;
            }
        }
        assert_eq!((left, node.stored_of(LIVING)), (0, 20));
        assert!(node.shown().swept && !node.shown().needs_sweep);
        assert!(200 * 10 < bytes, "{bytes}");
    });
}

#[test]
fn a_write_of_a_dead_bucket_is_not_taken_while_it_is_swept() {
    let store: Arc<dyn Store> = Arc::new(Memory::new(1));
    let mut node = start(&store, 1, buckets(true));
    node.fill(3, 10);
    node.done(Operation::Adopt {
        places: Vec::new(),
        buckets: buckets(false),
    });
    let (place, entry) = (place(), entry(DEAD, 0));
    let object = Object::default();
    let merge = Operation::Merge {
        target: Target { place, entry },
        object,
        dots: Vec::new(),
    };
    assert!(matches!(node.done(merge), Answer::NotHeld));
}

#[test]
fn a_process_that_starts_goes_on_with_the_sweep() {
    on_each(|store| {
        let mut node = start(&store, 1, buckets(true));
        node.fill(200, 10);
        drop(node);
        // It starts under the new map at once: nothing tells it what died meanwhile.
        let mut node = start(&store, 2, buckets(false));
        assert!(node.sweep().expect("the store works").more);
        drop(node);
        let mut node = start(&store, 3, buckets(false));
        while node.sweep().expect("the store works").more {}
        assert_eq!((node.stored_of(DEAD), node.stored_of(LIVING)), (0, 20));
        node.assert_figures();
        assert_eq!(node.shown().state.live_keys, 20);
    });
}

#[test]
fn a_partition_of_a_placement_that_is_gone_is_forgotten() {
    on_each(|store| {
        let mut node = start(&store, 1, buckets(true));
        node.fill(100, 10);
        assert_eq!(node.moments.load().stored_places(), Ok(vec![place()]));
        loop {
            match node.done(Operation::Forget { place: place() }) {
                Answer::Swept(swept) if swept.more => (),
                Answer::Swept(_) => break,
                other => panic!("{other:?}"),
            }
            assert!(node.moments.load().shown(&place()).is_none());
        }
        let moment = node.moments.load();
        assert_eq!(moment.stored_places(), Ok(Vec::new()));
        let left = moment.records.list(&[1], &[3], usize::MAX);
        assert_eq!(left.map(|left| left.len()), Ok(0));
    });
}

#[test]
fn a_commit_that_fails_takes_the_sweep_back_and_it_is_done_again() {
    for seed in 0..8 {
        let memory = Memory::new(seed);
        let store: Arc<dyn Store> = Arc::new(memory.clone());
        let mut node = start(&store, 1, buckets(true));
        node.fill(150, 10);
        node.done(Operation::Adopt {
            places: Vec::new(),
            buckets: buckets(false),
        });
        node.sweep().expect("the store works");
        for fault in [Fault::Full, Fault::Broken] {
            memory.fail_next(fault);
            assert!(node.sweep().is_err());
            node.assert_figures();
        }
        while node.sweep().expect("the store works").more {
            node.assert_figures();
        }
        assert_eq!((node.stored_of(DEAD), node.stored_of(LIVING)), (0, 15));
        node.assert_figures();
    }
}

#[test]
fn a_damaged_object_of_a_dead_bucket_stops_the_sweep_and_harms_nothing() {
    let memory = Memory::new(3);
    let store: Arc<dyn Store> = Arc::new(memory.clone());
    let mut node = start(&store, 1, buckets(true));
    node.fill(20, 10);
    node.done(Operation::Adopt {
        places: Vec::new(),
        buckets: buckets(false),
    });
    let key = node.shown().layout.object(&entry(DEAD, 10));
    assert!(memory.flip(Space::Partitions, &key));
    let before = node.shown().state.clone();
    for _ in 0..2 {
        let swept = node.sweep();
        assert!(
            matches!(swept, Err(CommitError::Unreadable(_))),
            "{swept:?}"
        );
        assert_eq!(node.shown().state, before, "half a step was taken");
    }
    node.write(LIVING, 77, 10);
    assert_eq!(node.stored_of(LIVING), 3);
}

/// The power goes after writes that were answered before they were synced.
#[test]
fn a_power_cut_takes_whole_writes_and_leaves_a_suspect_that_mints_none_of_their_dots() {
    let memory = Memory::new(1);
    let store: Arc<dyn Store> = Arc::new(memory.clone());
    let mut node = start(&store, 1, buckets(true));
    node.core.set_unsynced(true);
    node.write(LIVING, 1, 1);
    node.core.sync().expect("the store works");
    let synced = node.shown().state.clone();
    node.write(LIVING, 2, 1);
    let (before, actor) = (node.shown().state.clone(), node.shown().actor);
    assert_eq!(node.stored_of(LIVING), 2);
    assert_eq!(before.clock.highest(&actor), 2);
    memory.crash();
    // As a directory says whose writes were answered unsynced and that was not closed.
    let me = (NodeId(1), Incarnation(2));
    let clock = Arc::new(NodeClock::start());
    let (partitions, moments) = Partitions::new(me, false, Arc::clone(&store), clock);
    let core = Core::new(partitions, store, Space::Partitions).expect("the store works");
    let mut node = Node { core, moments };
    node.done(Operation::Adopt {
        places: vec![(place(), Standing::Trusted)],
        buckets: buckets(true),
    });
    let shown = node.shown();
    assert_eq!(shown.state.clock, synced.clock, "not ahead of the objects");
    assert!(!shown.state.standing.is_trusted());
    assert_eq!(node.stored_of(LIVING), 1);
    node.write(LIVING, 3, 1);
    let shown = node.shown();
    assert_ne!(shown.actor, actor);
    assert_eq!(shown.state.clock.highest(&actor), 1);
    assert_eq!(shown.state.clock.highest(&shown.actor), 1);
}

#[test]
fn who_promises_writes_anew_what_it_cannot_be_opened_without() {
    let memory = Memory::new(1);
    let store: Arc<dyn Store> = Arc::new(memory.clone());
    let mut node = start(&store, 1, buckets(true));
    node.write(LIVING, 1, 1);
    let layout = node.shown().layout;
    let mut inventory = Inventory::new(layout);
    let moment = node.moments.load_full();
    let view = moment.view(&place()).expect("it is held");
    let looked = view.take_stock(&mut inventory, usize::MAX);
    looked.expect("the store works");
    assert!(memory.flip(Space::Partitions, &layout.clock()));
    let peer = NodeId(2);
    let promised = node.done(Operation::Renewal {
        place: place(),
        step: Renewal::Promise { peer, inventory },
    });
    assert!(matches!(promised, Answer::Promised(..)), "{promised:?}");
    drop(node);
    let node = start(&store, 2, buckets(true));
    assert_eq!(node.shown().layout, layout);
}

#[test]
fn what_a_partition_says_of_itself_is_synced_before_it_is_said() {
    let memory = Memory::new(1);
    let store: Arc<dyn Store> = Arc::new(memory.clone());
    let mut node = start(&store, 1, buckets(true));
    node.core.set_unsynced(true);
    let strict: [fn() -> Operation; 2] = [
        || Operation::Doubt { place: place() },
        || Operation::Sweep { place: place() },
    ];
    for operation in strict {
        node.write(LIVING, 1, 1);
        assert_eq!(memory.unsynced(), 1);
        node.done(operation());
        assert_eq!(memory.unsynced(), 0);
    }
}
