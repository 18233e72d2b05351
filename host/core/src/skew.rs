//! This is how far a node's clock is from its peers': what their wall clocks said, how sure that
//! is, and what the median says of its own.
//!
//! A peer's clock is read as NTP reads one (RFC 5905): asked at one moment and answered at a later
//! one, it was read somewhere between, so that the middle is wrong by half the round trip at most.
//! The older a reading, the less is sure of it. A clock counts as far from the node's only when it
//! certainly is: a slow network or an old reading cannot make a node refuse.
//!
//! A node is off when most of the clocks that it knows, its own among them, are ahead of it by more
//! than is allowed, or most are behind it. That is what the median says, made safe against what is
//! not sure: one wrong clock of three is off by two voices, and the other two agree by two.
//!
//! Where as many say so as say otherwise, as between two nodes, nobody knows whose clock is wrong.
//! The node goes on then, and says that the clocks are divided. To refuse, both would have to: one
//! wrong clock would stop a cluster of two, and one of three whose third is down. What a quorum
//! acknowledged keeps its order without any clock.

use crate::id::NodeId;
use std::collections::{BTreeMap, BTreeSet};

/// How long a reading says anything, in microseconds: through the restart of a peer, but not for
/// ever after it is gone.
const KEPT: u64 = 10 * 60 * 1_000_000;
/// A reading gets worse by one part in this many of its age: two clocks that are being steered may
/// run apart that fast.
const DRIFT_PARTS: u64 = 1_000;

/// What a peer's wall clock said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// By how many microseconds it was ahead of this node's steady clock.
    lead: i64,
    /// By how many that may be wrong.
    error: u64,
    /// When that was, by the steady clock.
    at: u64,
}

impl Reading {
    /// A peer that was asked when the steady clock said `asked`, and whose answer was there when it
    /// said `answered`, says that its wall clock says `theirs`; all in microseconds.
    #[must_use]
    pub fn new(asked: u64, answered: u64, theirs: u64) -> Reading {
        let trip = answered.saturating_sub(asked);
        let middle = asked.saturating_add(trip / 2);
        Reading {
            lead: lead(theirs, middle),
            error: trip.div_ceil(2),
            at: middle,
        }
    }

    fn error_at(&self, now: u64) -> u64 {
        let drift = now.saturating_sub(self.at) / DRIFT_PARTS;
        self.error.saturating_add(drift)
    }

    /// Between which offsets the peer's clock certainly is from one that is ahead of the steady
    /// clock by `own`.
    fn offsets(&self, own: i64, now: u64) -> (i64, i64) {
        let offset = self.lead.saturating_sub(own);
        let error = signed(self.error_at(now));
        (offset.saturating_sub(error), offset.saturating_add(error))
    }

    /// Whether both may be right.
    fn agrees(&self, other: &Reading, now: u64) -> bool {
        let (low, high) = self.offsets(0, now);
        let (other_low, other_high) = other.offsets(0, now);
        low <= other_high && other_low <= high
    }
}

/// By how many microseconds a clock that says `clock` is ahead of one that says `steady`.
pub(crate) fn lead(clock: u64, steady: u64) -> i64 {
    signed(clock).saturating_sub(signed(steady))
}

fn signed(micros: u64) -> i64 {
    i64::try_from(micros).unwrap_or(i64::MAX)
}

/// How far a node's clock is ahead of the median of its peers', in microseconds; behind it when
/// negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Skew(pub i64);

/// Seconds, and in which direction.
impl std::fmt::Display for Skew {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (millis, direction) = (self.0.unsigned_abs() / 1_000, self.0 < 0);
        let direction = if direction { "behind" } else { "ahead of" };
        write!(
            formatter,
            "{}.{:03} s {direction} the median of its peers'",
            millis / 1_000,
            millis % 1_000
        )
    }
}

/// What the peers' clocks say of a node's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Judgement {
    /// Nothing: there is nobody to ask, or nobody has answered of late.
    #[default]
    Unheard,
    /// That it is not certainly off.
    Agrees(Skew),
    /// As many that it is off as that it is not.
    Divided(Skew),
    /// Most, that it is off.
    Off(Skew),
}

impl Judgement {
    /// Whether the clock must not be believed.
    #[must_use]
    pub fn is_off(self) -> bool {
        matches!(self, Judgement::Off(_))
    }

    /// How far the clock is from the median of the peers', if that is known.
    #[must_use]
    pub fn skew(self) -> Option<Skew> {
        match self {
            Judgement::Unheard => None,
            Judgement::Agrees(skew) | Judgement::Divided(skew) | Judgement::Off(skew) => Some(skew),
        }
    }
}

/// The last reading of each peer's clock.
#[derive(Clone, Debug, Default)]
pub struct Readings(BTreeMap<NodeId, Reading>);

impl Readings {
    /// Takes note of a reading. Of two that agree the surer one stays; one that contradicts is of a
    /// clock that was set since.
    pub fn note(&mut self, peer: NodeId, reading: Reading, now: u64) {
        let kept = self.0.get(&peer).is_some_and(|kept| {
            kept.agrees(&reading, now) && kept.error_at(now) < reading.error_at(now)
        });
        if !kept {
            self.0.insert(peer, reading);
        }
    }

    /// Forgets all nodes but `peers`, and what is too old.
    pub fn retain(&mut self, peers: &BTreeSet<NodeId>, now: u64) {
        self.0
            .retain(|peer, reading| peers.contains(peer) && now.saturating_sub(reading.at) <= KEPT);
    }

    /// What they say of a clock that is ahead of the steady clock by `own`, at `now`, when it may
    /// be `skew_max` microseconds off.
    #[must_use]
    pub fn judge(&self, own: i64, now: u64, skew_max: u64) -> Judgement {
        let most = signed(skew_max);
        let (mut ahead, mut behind) = (0, 0);
        let mut offsets = Vec::with_capacity(self.0.len());
        for reading in self.0.values() {
            let (low, high) = reading.offsets(own, now);
            ahead += usize::from(most < low);
            behind += usize::from(high < -most);
            offsets.push(reading.lead.saturating_sub(own));
        }
        let Some(median) = median(offsets) else {
            return Judgement::Unheard;
        };
        let skew = Skew(median.saturating_neg());
        // The node's own clock is one of them, and agrees with itself.
        let clocks = self.0.len() + 1;
        match (2 * ahead.max(behind)).cmp(&clocks) {
            std::cmp::Ordering::Less => Judgement::Agrees(skew),
            std::cmp::Ordering::Equal => Judgement::Divided(skew),
            std::cmp::Ordering::Greater => Judgement::Off(skew),
        }
    }
}

/// The middle one; of two in the middle the one nearer to 0.
fn median(mut offsets: Vec<i64>) -> Option<i64> {
    offsets.sort_unstable();
    let last = offsets.len().checked_sub(1)?;
    let (low, high) = (offsets[last / 2], offsets[last.div_ceil(2)]);
    Some(if low.unsigned_abs() < high.unsigned_abs() {
        low
    } else {
        high
    })
}

#[cfg(test)]
mod tests;
