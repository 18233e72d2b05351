//! This is how many partitions each node may hold when partitions are as large as possible.
//!
//! A node with capacity c has room for c / s partitions of size s, and never holds one twice. All
//! copies of all partitions find room exactly if there is room for them all, and the zones, each
//! counted for at most one copy of each partition, have room for those that must be in different
//! zones: a flow through the zones as a whole, spread evenly over the partitions, is one through
//! each of them, and where such a flow exists there is one in whole copies.

use soros_sdk::placement::Snapshot;

/// A node that partitions may be placed on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Holder {
    /// Its position among the members.
    pub(crate) position: u16,
    /// Its id.
    pub(crate) id: u64,
    /// The number of its zone.
    pub(crate) zone: usize,
    /// What it offers.
    pub(crate) capacity: u128,
}

/// What a table must be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// How many partitions there are.
    pub(crate) partitions: u32,
    /// How many copies each has.
    pub(crate) copies: usize,
    /// In how many zones each must be.
    pub(crate) zones: usize,
    /// How many zones there are.
    pub(crate) zones_there: usize,
}

impl Shape {
    /// What is asked for, on these holders: as many zones as possible unless a number is asked for.
    pub(crate) fn of(now: &Snapshot, holders: &[Holder]) -> Shape {
        let zones_there = holders
            .iter()
            .map(|holder| holder.zone + 1)
            .max()
            .unwrap_or(0);
        let copies = usize::from(now.copies);
        let wanted = now.zones_min.map_or(zones_there, usize::from);
        Shape {
            partitions: now.partitions,
            copies,
            zones: wanted.clamp(1, copies.max(1)).min(zones_there),
            zones_there,
        }
    }

    /// The share of each holder at the largest possible size.
    pub(crate) fn shares(&self, holders: &[Holder]) -> Vec<u32> {
        let bytes = |holder: &Holder| holder.capacity;
        let capacities: Vec<u128> = holders.iter().map(bytes).collect();
        if self.fits(holders, &self.shares_at(&capacities, 1)) {
            return self.shares_at(&capacities, self.largest(holders, &capacities));
        }
        // Partitions smaller than a byte, or a copy that only a node without capacity can take:
        // capacities are weights. In units so small that each holder has one for every partition,
        // some size fits.
        let fine = |capacity: u128| capacity.max(1) * u128::from(self.partitions);
        let capacities: Vec<u128> = capacities.into_iter().map(fine).collect();
        self.shares_at(&capacities, self.largest(holders, &capacities))
    }

    /// The largest size that fits; a size of 1 does.
    fn largest(&self, holders: &[Holder], capacities: &[u128]) -> u128 {
        let most = capacities.iter().max().copied().unwrap_or(1);
        let (mut fits, mut fails) = (1, most + 1);
        while fits + 1 < fails {
            let middle = fits.midpoint(fails);
            if self.fits(holders, &self.shares_at(capacities, middle)) {
                fits = middle;
            } else {
                fails = middle;
            }
        }
        fits
    }

    fn shares_at(&self, capacities: &[u128], size: u128) -> Vec<u32> {
        let share = |capacity: &u128| u32::try_from(capacity / size).unwrap_or(u32::MAX);
        capacities
            .iter()
            .map(share)
            .map(|share| share.min(self.partitions))
            .collect()
    }

    fn fits(&self, holders: &[Holder], shares: &[u32]) -> bool {
        let mut rooms = vec![0; self.zones_there];
        for (holder, share) in holders.iter().zip(shares) {
            rooms[holder.zone] += u64::from(*share);
        }
        let partitions = u64::from(self.partitions);
        let apart: u64 = rooms.iter().map(|room| partitions.min(*room)).sum();
        partitions * self.zones as u64 <= apart
            && partitions * self.copies as u64 <= rooms.iter().sum()
    }
}
