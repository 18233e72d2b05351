//! This is what does not change in the map of a simulated cluster: its nodes, its partitions and who
//! holds them, its keys and what becomes of their siblings.

use crate::catalog::LifeId;
use crate::random::Random;
use soros_core::id::{BucketId, NodeId, PlacementId};
use soros_core::key::{Key, Partition, PartitionCount};
use soros_core::operation::{Consistency, Target};
use soros_core::place::{Entry, Place};
use soros_core::replica::Quorum;
use std::collections::BTreeMap;

/// What becomes of a key's siblings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bucket {
    /// They stay side by side until a client that has seen them writes.
    Siblings,
    /// A resolver makes one value of them, which holds what each of them held.
    Union,
    /// The last writer wins.
    LastWriter,
}

impl Bucket {
    /// All buckets.
    pub const ALL: [Bucket; 3] = [Bucket::Siblings, Bucket::Union, Bucket::LastWriter];
}

/// A key of the workload in one life of its bucket: a deleted bucket's keys are others than those
/// of the one that was made again under its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyId {
    /// Which key.
    pub number: u32,
    /// The life of its bucket; none yet for an operation that has come to no node.
    pub life: LifeId,
}

/// A simulated cluster's table of replicas, and its keys.
#[derive(Clone, Debug)]
pub struct Table {
    nodes: Vec<NodeId>,
    replicas: usize,
    rows: BTreeMap<Place, Vec<NodeId>>,
    keys: Vec<(Place, Key, Bucket)>,
}

const PLACEMENT: PlacementId = PlacementId(1);

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
        let key = |(number, bucket): (u32, &Bucket)| {
            let key = Key::try_from(&number.to_be_bytes()[..]).expect("four bytes");
            (place(Partition::of(&key, count)), key, *bucket)
        };
        Table {
            replicas: size.replicas,
            rows,
            keys: (0..).zip(buckets).map(key).collect(),
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

    /// The numbers of the keys of the workload.
    pub fn numbers(&self) -> impl Iterator<Item = u32> {
        (0..).zip(&self.keys).map(|(number, _)| number)
    }

    /// Where a key lies.
    #[must_use]
    pub fn place_of(&self, number: u32) -> Place {
        self.keys[number as usize].0
    }

    /// What a key is in the life of its bucket that has the id `bucket`.
    #[must_use]
    pub fn target(&self, number: u32, bucket: BucketId) -> Target {
        let (place, key, _) = self.keys[number as usize].clone();
        let entry = Entry { bucket, key };
        Target { place, entry }
    }

    /// What becomes of a key's siblings.
    #[must_use]
    pub fn bucket(&self, number: u32) -> Bucket {
        self.keys[number as usize].2
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
