//! This is the exact placement: the largest possible partition, and of all tables that reach it one
//! with the fewest moves.
//!
//! After the layout computation of Garage (Auvolat, Dumas and Fadhlaoui, *An optimal algorithm for
//! the layout of a geo-distributed key-value store*, 2022). A node with capacity c holds at most
//! c / s partitions of size s. A unit of flow is a copy: from the source to a partition, through
//! one of its zones, to a node, to the sink. `zones` of a partition's copies must go through
//! different zones, the others go through any; a copy costs 1 where the table before has none.

use super::flow::Network;
use crate::id::NodeId;
use crate::map::table::Table;
use crate::policy::topology::Snapshot;
use crate::policy::{BadAnswer, Placement, PolicyError};
use std::collections::{BTreeMap, BTreeSet};

/// Spreads partitions by capacity and over zones, and moves as few as it can.
#[derive(Clone, Copy, Debug, Default)]
pub struct Balanced;

impl Placement for Balanced {
    fn plan(
        &self,
        now: &Snapshot,
        before: Option<&Table>,
        _seed: u64,
    ) -> Result<Table, PolicyError> {
        let cells = Question::of(now).cells(now, before);
        Table::new(now.partitions(), now.copies(), cells)
            .map_err(|error| BadAnswer::Table(error).into())
    }
}

/// A node that may hold partitions.
struct Holder {
    id: NodeId,
    zone: usize,
    capacity: u128,
}

struct Question {
    holders: Vec<Holder>,
    partitions: u32,
    copies: u32,
    /// In how many zones each partition must be.
    zones: u32,
    /// How many zones there are.
    zones_there: usize,
}

impl Question {
    fn of(now: &Snapshot) -> Question {
        let names: BTreeSet<&str> = now
            .open_members()
            .map(|member| member.node.zone.as_str())
            .collect();
        let numbers: BTreeMap<&str, usize> = names.iter().copied().zip(0..).collect();
        let holders = now.open_members().map(|member| Holder {
            id: member.node.id,
            zone: numbers[member.node.zone.as_str()],
            capacity: u128::from(member.node.capacity),
        });
        let copies = u32::from(now.copies());
        let most = u32::try_from(names.len()).map_or(copies, |zones| zones.min(copies));
        Question {
            holders: holders.collect(),
            partitions: now.partitions().get(),
            copies,
            zones: now.zones_min().map_or(most, u32::from),
            zones_there: names.len(),
        }
    }

    /// How many partitions each holder may have when partitions are as large as possible.
    fn shares(&self) -> Vec<u32> {
        let bytes = |holder: &Holder| holder.capacity;
        let capacities: Vec<u128> = self.holders.iter().map(bytes).collect();
        if self.fits(&self.shares_at(&capacities, 1)) {
            return self.shares_at(&capacities, self.largest(&capacities));
        }
        // Partitions smaller than a byte, or a copy that only a node without capacity can take:
        // capacities are weights. With so many units for each byte, each holder has room for a unit
        // of every partition.
        let fine = |capacity: u128| capacity.max(1) * u128::from(self.partitions);
        let capacities: Vec<u128> = capacities.into_iter().map(fine).collect();
        self.shares_at(&capacities, self.largest(&capacities))
    }

    /// The largest size that fits; a size of 1 does.
    fn largest(&self, capacities: &[u128]) -> u128 {
        let most = capacities.iter().max().copied().unwrap_or(1);
        let (mut fits, mut fails) = (1, most + 1);
        while fits + 1 < fails {
            let middle = fits.midpoint(fails);
            if self.fits(&self.shares_at(capacities, middle)) {
                fits = middle;
            } else {
                fails = middle;
            }
        }
        fits
    }

    fn shares_at(&self, capacities: &[u128], size: u128) -> Vec<u32> {
        let share = |capacity: &u128| u32::try_from(capacity / size).unwrap_or(u32::MAX);
        let shares = capacities.iter().map(share);
        shares.map(|share| share.min(self.partitions)).collect()
    }

    /// Whether all copies find room: there must be room for them all, and in the zones, each for
    /// one copy of a partition, for those that must be in different zones. That is enough: a flow
    /// through the zones as a whole, spread evenly over the partitions, is one through each of
    /// them, and where such a flow exists there is one in whole copies.
    fn fits(&self, shares: &[u32]) -> bool {
        let mut rooms = vec![0; self.zones_there];
        for (holder, share) in self.holders.iter().zip(shares) {
            rooms[holder.zone] += u64::from(*share);
        }
        let partitions = u64::from(self.partitions);
        let apart: u64 = rooms.iter().map(|room| partitions.min(*room)).sum();
        partitions * u64::from(self.zones) <= apart
            && partitions * u64::from(self.copies) <= rooms.iter().sum()
    }

    fn cells(&self, now: &Snapshot, before: Option<&Table>) -> Vec<NodeId> {
        let shares = self.shares();
        let rows = crate::key::Partition::all(now.partitions());
        let kept = rows.map(|partition| before.map(|table| table.replicas_of(partition)));
        let first_holder = 2;
        let first_row = first_holder + self.holders.len();
        let row_vertices = 2 + self.zones_there;
        let mut network = Network::new(first_row + self.partitions as usize * row_vertices);
        for (share, vertex) in shares.iter().zip(first_holder..) {
            network.connect(vertex, SINK, *share, 0);
        }
        let mut choices = Vec::new();
        for (row, vertex) in kept.zip((first_row..).step_by(row_vertices)) {
            self.connect_row(&mut network, vertex);
            for (holder, to) in self.holders.iter().zip(first_holder..) {
                let is_there = row.is_none_or(|row| row.contains(&holder.id));
                let from = vertex + 2 + holder.zone;
                choices.push((
                    holder.id,
                    network.connect(from, to, 1, i64::from(!is_there)),
                ));
            }
        }
        network.fill(SOURCE, SINK);
        let chosen = choices
            .into_iter()
            .filter(|(_, arc)| network.carried(*arc) == 1);
        chosen.map(|(id, _)| id).collect()
    }

    /// The vertices of a partition: its copies in different zones, its other copies, its zones.
    fn connect_row(&self, network: &mut Network, vertex: usize) {
        let (apart, free, first_zone) = (vertex, vertex + 1, vertex + 2);
        network.connect(SOURCE, apart, self.zones, 0);
        network.connect(SOURCE, free, self.copies - self.zones, 0);
        for zone in first_zone..first_zone + self.zones_there {
            network.connect(apart, zone, 1, 0);
            network.connect(free, zone, self.copies, 0);
        }
    }
}

const SOURCE: usize = 0;
const SINK: usize = 1;

#[cfg(test)]
#[path = "balanced_tests.rs"]
mod tests;
