//! This is what differs between two maps of a cluster: which partitions a node gains and loses, and
//! which buckets and placements are gone.

use super::Map;
use super::placement::Placement;
use crate::id::{BucketId, NodeId, PlacementId};
use crate::key::Partition;
use std::collections::{BTreeMap, BTreeSet};

/// A partition whose replicas are not the same in both maps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// The life of the placement.
    pub placement: PlacementId,
    /// The partition.
    pub partition: Partition,
    /// Who holds it in the newer map only.
    pub gained: Vec<NodeId>,
    /// Who held it in the older map only.
    pub lost: Vec<NodeId>,
}

/// What differs between two maps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// Partitions that moved, those of new and removed placements included.
    pub moves: Vec<Move>,
    /// Buckets that are gone.
    pub buckets_gone: Vec<BucketId>,
    /// Placements that are gone.
    pub placements_gone: Vec<PlacementId>,
    /// Nodes that are new, or that came back or changed.
    pub nodes_changed: Vec<NodeId>,
}

impl Diff {
    /// What `node` holds in the newer map only.
    pub fn gained(&self, node: NodeId) -> impl Iterator<Item = (PlacementId, Partition)> {
        let gains = move |moved: &&Move| moved.gained.contains(&node);
        self.moves
            .iter()
            .filter(gains)
            .map(|moved| (moved.placement, moved.partition))
    }

    /// What `node` held in the older map only.
    pub fn lost(&self, node: NodeId) -> impl Iterator<Item = (PlacementId, Partition)> {
        let loses = move |moved: &&Move| moved.lost.contains(&node);
        self.moves
            .iter()
            .filter(loses)
            .map(|moved| (moved.placement, moved.partition))
    }
}

/// What is different in `newer` from `older`; without an older map all is new.
#[must_use]
pub fn diff(older: Option<&Map>, newer: &Map) -> Diff {
    let (old_places, new_places) = (older.map(by_id).unwrap_or_default(), by_id(newer));
    let ids: BTreeSet<_> = old_places
        .keys()
        .chain(new_places.keys())
        .copied()
        .collect();
    let mut moves = Vec::new();
    for id in ids {
        moved(
            id,
            old_places.get(&id).copied(),
            new_places.get(&id).copied(),
            &mut moves,
        );
    }
    Diff {
        moves,
        buckets_gone: buckets_gone(older, newer),
        placements_gone: old_places
            .into_keys()
            .filter(|id| !new_places.contains_key(id))
            .collect(),
        nodes_changed: nodes_changed(older, newer),
    }
}

fn by_id(map: &Map) -> BTreeMap<PlacementId, &Placement> {
    map.placements()
        .values()
        .map(|placement| (placement.id, placement))
        .collect()
}

fn moved(
    id: PlacementId,
    older: Option<&Placement>,
    newer: Option<&Placement>,
    moves: &mut Vec<Move>,
) {
    let Some(partitions) = newer.or(older).map(Placement::partitions) else {
        return;
    };
    for partition in Partition::all(partitions) {
        let before = older.map_or(&[][..], |old| old.replicas_of(partition));
        let after = newer.map_or(&[][..], |new| new.replicas_of(partition));
        let (gained, lost) = (without(after, before), without(before, after));
        if !gained.is_empty() || !lost.is_empty() {
            moves.push(Move {
                placement: id,
                partition,
                gained,
                lost,
            });
        }
    }
}

fn without(nodes: &[NodeId], others: &[NodeId]) -> Vec<NodeId> {
    nodes
        .iter()
        .filter(|node| !others.contains(node))
        .copied()
        .collect()
}

fn buckets_gone(older: Option<&Map>, newer: &Map) -> Vec<BucketId> {
    let before = older.into_iter().flat_map(|map| map.buckets().values());
    before
        .map(|bucket| bucket.id)
        .filter(|&id| newer.bucket_by_id(id).is_none())
        .collect()
}

fn nodes_changed(older: Option<&Map>, newer: &Map) -> Vec<NodeId> {
    let same = |id: NodeId| older.is_some_and(|older| older.node(id) == newer.node(id));
    newer
        .nodes()
        .keys()
        .copied()
        .filter(|&id| !same(id))
        .collect()
}
