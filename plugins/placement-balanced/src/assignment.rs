//! This is a table in the making: for each partition the holders chosen so far, never more on a
//! holder than its share, never so many in one zone that the zone rule can no longer be kept.
//!
//! A copy costs 0 where the table before has it, 1 elsewhere; nothing costs anything when there is
//! no table before. The rows begin with what is kept, which costs nothing, and every step after it
//! is the cheapest there is; so the rows are at every moment the cheapest of their size.

use crate::shares::Shape;

/// What every row must obey.
#[derive(Debug)]
pub(crate) struct Rules {
    /// The size of the table, and in how many zones each row must be.
    pub(crate) shape: Shape,
    /// The zone of each holder.
    pub(crate) zones: Vec<usize>,
    /// How many partitions each holder may have.
    pub(crate) shares: Vec<u32>,
}

impl Rules {
    /// Whether `row`, without `leaving` and with `coming`, can still become a whole row: apart from
    /// one copy in each of the zones that it must be in, it has a few free copies.
    pub(crate) fn admit(&self, row: &[usize], leaving: Option<usize>, coming: usize) -> bool {
        let stays = |holder: &&usize| Some(**holder) != leaving;
        let coming_zone = self.zones[coming];
        let (mut len, mut zones) = (1, 1);
        for (at, holder) in row.iter().enumerate().filter(|(_, holder)| stays(holder)) {
            let zone = self.zones[*holder];
            let is_of = |other: &usize| self.zones[*other] == zone;
            let known = zone == coming_zone || row[..at].iter().filter(stays).any(is_of);
            len += 1;
            zones += usize::from(!known);
        }
        len <= self.shape.copies && self.free_copies(len, zones) <= self.free_copies_max()
    }

    fn free_copies(&self, len: usize, zones: usize) -> usize {
        len - zones.min(self.shape.zones)
    }

    fn free_copies_max(&self) -> usize {
        self.shape.copies - self.shape.zones
    }
}

/// The rows so far.
#[derive(Debug)]
pub(crate) struct Assignment {
    pub(crate) rules: Rules,
    /// The holders that had each partition; none when there is no table before.
    old: Option<Vec<Vec<usize>>>,
    pub(crate) rows: Vec<Vec<usize>>,
    /// How many partitions each holder has.
    pub(crate) loads: Vec<u32>,
    seed: u64,
}

impl Assignment {
    /// The rows of the table before, as far as the rules keep them.
    pub(crate) fn new(rules: Rules, old: Option<Vec<Vec<usize>>>, seed: u64) -> Assignment {
        let rows = vec![Vec::new(); rules.shape.partitions as usize];
        let loads = vec![0; rules.shares.len()];
        let mut assignment = Assignment {
            rules,
            old,
            rows,
            loads,
            seed,
        };
        assignment.keep();
        assignment
    }

    /// The complete rows.
    ///
    /// # Errors
    /// When no table obeys the rules; the shares see to it that one does.
    pub(crate) fn complete(mut self) -> Result<Vec<Vec<usize>>, String> {
        for cost_max in [0, 1] {
            self.fill(cost_max);
            while self.exchange(Some(cost_max)) {}
        }
        while self.exchange(None) {}
        if self
            .rows
            .iter()
            .all(|row| row.len() == self.rules.shape.copies)
        {
            Ok(self.rows)
        } else {
            Err("the copies do not fit on the nodes".into())
        }
    }

    /// What it costs that `holder` has `partition`.
    pub(crate) fn cost(&self, partition: usize, holder: usize) -> i64 {
        let is_there = |old: &Vec<Vec<usize>>| old[partition].contains(&holder);
        i64::from(!self.old.as_ref().is_none_or(is_there))
    }

    /// The holders that had `partition`.
    pub(crate) fn old_row(&self, partition: usize) -> &[usize] {
        self.old.as_ref().map_or(&[], |old| &old[partition])
    }

    pub(crate) fn has_room(&self, holder: usize) -> bool {
        self.loads[holder] < self.rules.shares[holder]
    }

    /// A number that breaks ties, the same for the same question.
    fn tie(&self, partition: usize, holder: usize) -> u64 {
        let mut mixed = self.seed ^ ((partition as u64) << 32) ^ holder as u64;
        for _ in 0..2 {
            mixed = mixed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^= mixed >> 31;
        }
        mixed
    }

    /// Keeps of the rows before what the rules and shares allow. What is given up is spread over
    /// the partitions, because a partition that gives up two copies may not find two others.
    fn keep(&mut self) {
        for partition in 0..self.rows.len() {
            for holder in self.old_row(partition).to_vec() {
                let row = &self.rows[partition];
                if !row.contains(&holder) && self.rules.admit(row, None, holder) {
                    self.add(partition, holder);
                }
            }
        }
        let mut given_up = vec![0_usize; self.rows.len()];
        for holder in 0..self.loads.len() {
            self.give_up_excess(holder, &mut given_up);
        }
    }

    fn give_up_excess(&mut self, holder: usize, given_up: &mut [usize]) {
        let excess = self.loads[holder].saturating_sub(self.rules.shares[holder]);
        if excess == 0 {
            return;
        }
        let held = (0..self.rows.len()).filter(|partition| self.rows[*partition].contains(&holder));
        let mut held: Vec<usize> = held.collect();
        held.sort_by_cached_key(|&partition| (given_up[partition], self.tie(partition, holder)));
        for &partition in &held[..excess as usize] {
            self.rows[partition].retain(|kept| *kept != holder);
            given_up[partition] += 1;
        }
        self.loads[holder] -= excess;
    }

    pub(crate) fn add(&mut self, partition: usize, holder: usize) {
        self.rows[partition].push(holder);
        self.loads[holder] += 1;
    }

    /// Adds copies that cost at most `cost_max` where there is room for them, on the holders with
    /// the most room. Cheapest steps, as long as no path of exchanges is cheaper.
    fn fill(&mut self, cost_max: i64) {
        for partition in 0..self.rows.len() {
            while let Some(holder) = self.roomiest(partition, cost_max) {
                self.add(partition, holder);
            }
        }
    }

    fn roomiest(&self, partition: usize, cost_max: i64) -> Option<usize> {
        let row = &self.rows[partition];
        if row.len() == self.rules.shape.copies {
            return None;
        }
        let fits = |holder: &usize| {
            self.has_room(*holder)
                && self.cost(partition, *holder) <= cost_max
                && !row.contains(holder)
                && self.rules.admit(row, None, *holder)
        };
        let room = |holder: usize| self.rules.shares[holder] - self.loads[holder];
        let candidates = (0..self.loads.len()).filter(fits);
        candidates.max_by_key(|&holder| (room(holder), self.tie(partition, holder)))
    }
}
