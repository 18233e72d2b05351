//! This is how long the dot log is kept: until every replica has seen its dots, within bounds of
//! bytes and of age. A replica that is behind by more gets a full transfer.
//!
//! No entry says when it was written. Instead the replica notes from time to time what it has seen,
//! and what lies under such a milestone is at least as old. Milestones are in memory: a start
//! begins to count anew, so an entry may live for two bounds of age, and no longer.

use super::Replica;
use crate::clock::Clock;
use crate::dot::{Actor, Dot};
use crate::id::NodeId;
use crate::place::{Entry, Layout};
use crate::record::{Batch, RecordError};
use std::time::Duration;

/// How many dot log entries a commit drops.
pub const LOG_ENTRIES_CUT_PER_COMMIT: usize = 256;
/// Into how many milestones a bound is divided: this much finer is it kept.
const MILESTONES: u32 = 4;

/// How much of the dot log a replica keeps for another that is behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogBounds {
    /// The most bytes, about.
    pub bytes: u64,
    /// The greatest age, about.
    pub age: Duration,
}

/// What a replica had seen at a moment.
#[derive(Clone, Debug)]
pub(super) struct Milestone {
    when: Duration,
    /// How many bytes the log held.
    bytes: u64,
    clock: Clock,
}

impl Replica {
    /// Drops a bounded number of log entries that this replica and all `others` have seen. True
    /// when there may be more.
    ///
    /// # Errors
    /// [`RecordError`] when the log cannot be read.
    pub fn truncate(
        &mut self,
        batch: &mut dyn Batch,
        others: &[NodeId],
    ) -> Result<bool, RecordError> {
        let clocks = others.iter().map(|node| self.remembered.get(node));
        let Some(clocks) = clocks.collect::<Option<Vec<_>>>() else {
            return Ok(false);
        };
        let seen_by_all = |actor: &Actor| {
            let bases = clocks.iter().map(|seen| seen.base(actor));
            bases.min().unwrap_or(u64::MAX)
        };
        let cuts = self.cuts(seen_by_all);
        Ok(!self.cut(batch, &cuts, 0)?)
    }

    /// Drops a bounded number of log entries that are past `bounds` at the moment `now` since the
    /// process started, whoever may need them. True when there may be more.
    ///
    /// # Errors
    /// [`RecordError`] when the log cannot be read.
    pub fn bound_log(
        &mut self,
        batch: &mut dyn Batch,
        bounds: LogBounds,
        now: Duration,
    ) -> Result<bool, RecordError> {
        self.reach_milestone(bounds, now);
        let Some(oldest) = self.milestones.front() else {
            return Ok(false);
        };
        let aged = bounds.age <= now.saturating_sub(oldest.when);
        let least = if aged { 0 } else { bounds.bytes };
        if self.state.log_bytes <= least {
            return Ok(false);
        }
        let old = &oldest.clock;
        let cuts = self.cuts(|actor| old.seen().base(actor));
        if self.cut(batch, &cuts, least)? {
            self.milestones.pop_front();
        }
        Ok(least < self.state.log_bytes && !self.milestones.is_empty())
    }

    fn reach_milestone(&mut self, bounds: LogBounds, now: Duration) {
        let bytes = self.state.log_bytes;
        let due = self.milestones.back().is_none_or(|last| {
            bounds.age / MILESTONES <= now.saturating_sub(last.when)
                || bounds.bytes / u64::from(MILESTONES) <= bytes.saturating_sub(last.bytes)
        });
        if due && 0 < bytes {
            self.milestones.push_back(Milestone {
                when: now,
                bytes,
                clock: self.state.clock.clone(),
            });
        }
    }

    /// Up to which counter the log of each actor goes: `to`, as far as this replica has seen it.
    fn cuts(&self, to: impl Fn(&Actor) -> u64) -> Vec<(Actor, u64)> {
        let seen = self.state.clock.seen();
        let cut = |actor: &Actor| (*actor, to(actor).min(seen.base(actor)));
        seen.actors().map(cut).collect()
    }

    /// Drops a bounded number of entries until at most `least` bytes are left. True when all up to
    /// `cuts` are gone.
    fn cut(
        &mut self,
        batch: &mut dyn Batch,
        cuts: &[(Actor, u64)],
        least: u64,
    ) -> Result<bool, RecordError> {
        let mut room = LOG_ENTRIES_CUT_PER_COMMIT;
        for (actor, to) in cuts {
            let from = self.truncated.get(actor).copied().unwrap_or(0);
            if *to <= from {
                continue;
            }
            let (first, behind) = (
                self.layout.log(&actor.dot(from)),
                self.layout.log(&actor.dot(to + 1)),
            );
            for (key, value) in batch.scan(&first, &behind, room)? {
                if 0 < least && self.state.log_bytes <= least {
                    return Ok(false);
                }
                self.unlog(batch, key, &value);
                room -= 1;
            }
            if room == 0 {
                return Ok(false);
            }
            self.truncated.insert(*actor, *to);
        }
        Ok(true)
    }

    /// Drops a bounded number of entries of closed actors: nobody asks for their dots any more.
    /// True when there may be more.
    pub(super) fn drop_closed_log(&mut self, batch: &mut dyn Batch) -> Result<bool, RecordError> {
        let mut room = LOG_ENTRIES_CUT_PER_COMMIT;
        while let Some(actor) = self.logged.first().copied() {
            let from = self.layout.log(&actor.dot(0));
            let (behind, _) = self.layout.log_behind(Some(&actor));
            for (key, value) in batch.scan(&from, &behind, room)? {
                self.unlog(batch, key, &value);
                room -= 1;
            }
            if room == 0 {
                return Ok(true);
            }
            self.logged.remove(&actor);
            self.truncated.remove(&actor);
        }
        Ok(false)
    }

    fn unlog(&mut self, batch: &mut dyn Batch, key: Vec<u8>, value: &[u8]) {
        let bytes = (key.len() + value.len()) as u64;
        self.state.log_bytes = self.state.log_bytes.saturating_sub(bytes);
        self.changed = true;
        batch.remove(key);
    }

    /// Adds an entry to the log.
    pub(super) fn log(&mut self, batch: &mut dyn Batch, dot: &Dot, entry: &Entry) {
        let (key, value) = (self.layout.log(dot), Layout::entry_bytes(entry));
        self.state.log_bytes += (key.len() + value.len()) as u64;
        batch.put(key, value);
    }
}
