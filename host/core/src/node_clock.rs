//! This is a node's clock: hybrid, anchored to a clock that nobody sets, and held against its
//! peers' before it is believed.
//!
//! The wall clock is read once, at the start. From then on a clock that only goes on is asked, so
//! that a step of the wall clock under a running process moves nothing. A clock that was wrong at
//! the start, or that stood still while the machine slept, is found out by its peers
//! ([`Judgement`]): then it gives no time, and without a time nothing is minted. It follows the
//! wall clock again as soon as that agrees with the peers', at once, for nothing that it gave is
//! taken back: a version's time is above those of all that it covers.
//!
//! The peers' wall clocks are what it is held against, not the clocks that they started with: when
//! all machines are set, all nodes follow, one after the other, and none is alone in being right.

use crate::id::NodeId;
use crate::skew::{Judgement, Reading, Readings, Skew, lead};
use crate::time::{HybridClock, Time};
use std::collections::BTreeSet;

/// What the clocks of a node's machine say at one moment, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clocks {
    /// The wall clock, since 1970. Anybody may set it.
    pub wall: u64,
    /// A clock that never goes back and that nobody sets, since some start.
    pub steady: u64,
}

/// What arrives at a node's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A peer has said what its wall clock says.
    Told {
        /// The peer.
        peer: NodeId,
        /// What the steady clock said when it was asked.
        asked: u64,
        /// What its wall clock said.
        theirs: u64,
    },
    /// Each of these was asked, and has answered or had the time to; there are no other peers.
    Asked(BTreeSet<NodeId>),
}

/// What follows, for who looks after the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The clock gives no time from here on: it is this far off.
    Refuses(Skew),
    /// It gives time again.
    Serves,
    /// As many clocks say that this one is off as say otherwise; it goes on.
    Divided(Skew),
    /// It was moved to the machine's wall clock, by this many microseconds.
    Followed(i64),
}

/// A node's clock.
#[derive(Clone, Debug)]
pub struct NodeClock {
    /// By how many microseconds it is ahead of the steady clock.
    lead: i64,
    hybrid: HybridClock,
    readings: Readings,
    judgement: Judgement,
    settled: bool,
}

impl NodeClock {
    /// A clock that starts at the wall clock's time.
    #[must_use]
    pub fn start(now: Clocks) -> NodeClock {
        NodeClock {
            lead: lead(now.wall, now.steady),
            hybrid: HybridClock::default(),
            readings: Readings::default(),
            judgement: Judgement::default(),
            settled: false,
        }
    }

    /// Takes an event and gives what follows; the clock may be `skew_max` microseconds off.
    pub fn step(&mut self, event: Event, now: Clocks, skew_max: u64) -> Vec<Effect> {
        match event {
            Event::Told {
                peer,
                asked,
                theirs,
            } => {
                let reading = Reading::new(asked, now.steady, theirs);
                self.readings.note(peer, reading, now.steady);
            }
            Event::Asked(peers) => {
                self.readings.retain(&peers, now.steady);
                self.settled = true;
            }
        }
        // Before all were asked, the first to answer would be the median.
        if self.settled {
            self.judge(now, skew_max)
        } else {
            Vec::new()
        }
    }

    /// A moment after `seen` and, but for what stood too far ahead, after every one given before.
    ///
    /// # Errors
    /// How far the clock is off, when it must not be believed.
    pub fn tick(&mut self, now: Clocks, seen: Time, skew_max: u64) -> Result<Time, Skew> {
        self.check()?;
        Ok(self.hybrid.tick(self.time(now), seen, skew_max))
    }

    /// Moves on to a `time` heard from another node, by at most `skew_max` microseconds ahead of
    /// this one's.
    pub fn observe(&mut self, now: Clocks, time: Time, skew_max: u64) {
        self.hybrid.observe(self.time(now), time, skew_max);
    }

    /// Whether the clock may be believed: a write that has its time is minted only if so.
    ///
    /// # Errors
    /// How far it is off, when not.
    pub fn check(&self) -> Result<(), Skew> {
        match self.judgement {
            Judgement::Off(skew) => Err(skew),
            Judgement::Unheard | Judgement::Agrees(_) | Judgement::Divided(_) => Ok(()),
        }
    }

    /// What the peers' clocks say of it.
    #[must_use]
    pub fn judgement(&self) -> Judgement {
        self.judgement
    }

    /// Whether all peers were asked at least once. Before, nothing is known of the clock, and
    /// nothing should be minted.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.settled
    }

    fn time(&self, now: Clocks) -> Time {
        let micros = i128::from(now.steady) + i128::from(self.lead);
        Time::at_micros(u64::try_from(micros.max(0)).unwrap_or(u64::MAX))
    }

    fn judge(&mut self, now: Clocks, skew_max: u64) -> Vec<Effect> {
        let mut effects = Vec::new();
        let before = self.judgement;
        self.judgement = self.readings.judge(self.lead, now.steady, skew_max);
        if matches!(self.judgement, Judgement::Off(_) | Judgement::Divided(_)) {
            effects.extend(self.follow(now, skew_max));
        }
        match (before, self.judgement) {
            (Judgement::Off(_), Judgement::Off(_))
            | (Judgement::Divided(_), Judgement::Divided(_)) => (),
            (_, Judgement::Off(skew)) => effects.push(Effect::Refuses(skew)),
            (Judgement::Off(_), _) => effects.push(Effect::Serves),
            (_, Judgement::Divided(skew)) => effects.push(Effect::Divided(skew)),
            _ => (),
        }
        effects
    }

    /// Moves to the machine's wall clock, if the peers' agree with that.
    fn follow(&mut self, now: Clocks, skew_max: u64) -> Option<Effect> {
        let wall = lead(now.wall, now.steady);
        let judgement = self.readings.judge(wall, now.steady, skew_max);
        if !matches!(judgement, Judgement::Agrees(_)) {
            return None;
        }
        let by = wall.saturating_sub(self.lead);
        (self.lead, self.judgement) = (wall, judgement);
        self.hybrid.set_back(self.time(now), skew_max);
        Some(Effect::Followed(by))
    }
}

#[cfg(test)]
mod tests;
