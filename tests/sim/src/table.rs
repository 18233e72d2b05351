//! This is the map of a simulated cluster: its nodes, its partitions and who holds them, its keys
//! and what becomes of their siblings.

use crate::random::Random;
use soros_core::epoch::Epoch;
use soros_core::id::{BucketId, NodeId, PlacementId};
use soros_core::key::{Key, Partition, PartitionCount};
use soros_core::map::bucket::Buckets;
use soros_core::operation::{Consistency, Target};
use soros_core::place::{Entry, Place};
use soros_core::replica::Quorum;
use std::collections::{BTreeMap, BTreeSet};

/// What becomes of a key's siblings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bucket {
    /// They stay side by side until a client that has seen them writes.
    Siblings,
    /// A resolver makes one value of them, which holds what each of them held.
    Union,
    /// The last writer wins.
    LastWriter,
    /// What the version of a policy says that is in force.
    Policy,
}

impl Bucket {
    /// Its id.
    #[must_use]
    pub fn id(self) -> BucketId {
        BucketId(self as u64 + 1)
    }

    /// One of those whose resolver never changes.
    pub fn any(random: &mut Random) -> Bucket {
        *random.pick(&BUCKETS[..3])
    }
}

/// The number of a key of the workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyId(pub u32);

/// What does not change of a simulated cluster's map.
#[derive(Clone, Debug)]
pub struct Table {
    nodes: Vec<NodeId>,
    replicas: usize,
    rows: BTreeMap<Place, Vec<NodeId>>,
    targets: Vec<(Target, Bucket)>,
}

const PLACEMENT: PlacementId = PlacementId(1);
const BUCKETS: [Bucket; 4] = [
    Bucket::Siblings,
    Bucket::Union,
    Bucket::LastWriter,
    Bucket::Policy,
];

/// How large a simulated cluster is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Its nodes.
    pub nodes: usize,
    /// The replicas of each partition.
    pub replicas: usize,
    /// Its partitions: a power of two.
    pub partitions: u32,
}

impl Table {
    /// A cluster of `size` with one key for each of `buckets`.
    ///
    /// # Panics
    /// When the number of partitions is not a power of two.
    #[must_use]
    pub fn new(size: Size, buckets: &[Bucket]) -> Table {
        let count = PartitionCount::try_from(size.partitions).expect("a power of two");
        let nodes: Vec<NodeId> = (1..=size.nodes as u64).map(NodeId).collect();
        let row = |partition: Partition| {
            let mut row = nodes.clone();
            row.rotate_left(partition.index() % nodes.len());
            row.truncate(size.replicas);
            row
        };
        let rows = Partition::all(count).map(|partition| (place(partition), row(partition)));
        let rows = rows.collect();
        let target = |(number, bucket): (u32, &Bucket)| {
            let key = Key::try_from(&number.to_be_bytes()[..]).expect("four bytes");
            let place = place(Partition::of(&key, count));
            let entry = Entry {
                bucket: bucket.id(),
                key,
            };
            (Target { place, entry }, *bucket)
        };
        Table {
            replicas: size.replicas,
            rows,
            targets: (0..).zip(buckets).map(target).collect(),
            nodes,
        }
    }

    /// The nodes.
    #[must_use]
    pub fn nodes(&self) -> &[NodeId] {
        &self.nodes
    }

    /// The partitions that `node` holds.
    pub fn places_of(&self, node: NodeId) -> impl Iterator<Item = Place> {
        let held = move |(_, row): &(&Place, &Vec<NodeId>)| row.contains(&node);
        self.rows.iter().filter(held).map(|(place, _)| *place)
    }

    /// All partitions.
    pub fn places(&self) -> impl Iterator<Item = Place> {
        self.rows.keys().copied()
    }

    /// The replicas of a partition; none when there is no such partition.
    #[must_use]
    pub fn replicas_of(&self, place: Place) -> &[NodeId] {
        self.rows.get(&place).map_or(&[], Vec::as_slice)
    }

    /// The replicas of a partition but `node`.
    #[must_use]
    pub fn others_of(&self, place: Place, node: NodeId) -> Vec<NodeId> {
        let mut others = self.replicas_of(place).to_vec();
        others.retain(|other| *other != node);
        others
    }

    /// How many replicas a partition has, and how many a write at quorum needs.
    #[must_use]
    pub fn quorum(&self) -> Quorum {
        Quorum {
            replicas: self.replicas,
            writes: Consistency::Quorum.needed(self.replicas),
        }
    }

    /// The keys of the workload.
    pub fn keys(&self) -> impl Iterator<Item = KeyId> {
        (0..).take(self.targets.len()).map(KeyId)
    }

    /// Where a key lies.
    #[must_use]
    pub fn target(&self, key: KeyId) -> &Target {
        &self.targets[key.0 as usize].0
    }

    /// What becomes of a key's siblings.
    #[must_use]
    pub fn bucket(&self, key: KeyId) -> Bucket {
        self.targets[key.0 as usize].1
    }

    /// What becomes of the siblings of a key of the bucket `id`.
    #[must_use]
    pub fn bucket_by_id(&self, id: BucketId) -> Bucket {
        let found = BUCKETS.iter().find(|bucket| bucket.id() == id);
        found.copied().unwrap_or(Bucket::Siblings)
    }

    /// The buckets before one is deleted.
    #[must_use]
    pub fn all_buckets() -> Buckets {
        let ids = BUCKETS.map(Bucket::id);
        Buckets {
            epoch: Epoch(BUCKETS.len() as u64),
            open: ids.into_iter().collect(),
            closing: BTreeSet::new(),
        }
    }

    /// The key of an entry.
    #[must_use]
    pub fn key_of(&self, entry: &Entry) -> Option<KeyId> {
        self.keys().find(|key| self.target(*key).entry == *entry)
    }
}

/// Buckets for `count` keys, mostly those that keep siblings.
pub fn buckets(random: &mut Random, count: usize) -> Vec<Bucket> {
    let pick = |random: &mut Random| match random.below(10) {
        0..6 => Bucket::Siblings,
        6..8 => Bucket::Union,
        _ => Bucket::LastWriter,
    };
    (0..count).map(|_| pick(random)).collect()
}

fn place(partition: Partition) -> Place {
    Place {
        placement: PLACEMENT,
        partition,
    }
}
