//! This is a version's time: a hybrid logical clock, so that a version is later than every version
//! its writer had seen, whatever the wall clocks say.
//!
//! After Kulkarni, Demirbas, Madappa, Avva and Leone, *Logical Physical Clocks* (2014), packed into
//! 64 bits: microseconds since 1970 in the upper 52 (until 2112), a count in the lower 12.

use serde::{Deserialize, Serialize};

/// Microseconds since 1970 by the wall clock, and a count that orders what happens within one.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Time(pub u64);

const COUNT_BITS: u32 = 12;

impl Time {
    /// The first moment of a microsecond since 1970.
    #[must_use]
    pub fn at_micros(micros: u64) -> Time {
        Time(micros << COUNT_BITS)
    }

    /// The microseconds since 1970.
    #[must_use]
    pub fn micros(self) -> u64 {
        self.0 >> COUNT_BITS
    }

    /// The next moment.
    #[must_use]
    pub fn next(self) -> Time {
        Time(self.0.saturating_add(1))
    }
}

/// A node's hybrid logical clock.
#[derive(Clone, Debug, Default)]
pub struct HybridClock {
    last: Time,
}

impl HybridClock {
    /// A moment after every one given before, after `seen`, and not before `wall`.
    pub fn tick(&mut self, wall: Time, seen: Time) -> Time {
        self.last = wall.max(self.last.next()).max(seen.next());
        self.last
    }

    /// Moves the clock on to a `time` heard from a peer, by at most `skew_max_micros` ahead of
    /// `wall`: a peer with a wild clock must not drag the cluster's time along.
    pub fn observe(&mut self, wall: Time, time: Time, skew_max_micros: u64) {
        let most = Time::at_micros(wall.micros().saturating_add(skew_max_micros));
        self.last = self.last.max(time.min(most));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_later_moments_though_the_wall_clock_stands_or_goes_back() {
        let mut clock = HybridClock::default();
        let first = clock.tick(Time::at_micros(10), Time::default());
        let second = clock.tick(Time::at_micros(10), Time::default());
        let third = clock.tick(Time::at_micros(5), Time::default());
        assert!(first < second && second < third);
        assert_eq!(
            clock.tick(Time::at_micros(20), Time::default()),
            Time::at_micros(20)
        );
    }

    #[test]
    fn is_later_than_what_the_writer_had_seen() {
        let mut clock = HybridClock::default();
        let seen = Time::at_micros(1_000);
        assert!(seen < clock.tick(Time::at_micros(10), seen));
    }

    #[test]
    fn follows_a_peer_only_as_far_as_the_skew_allows() {
        let mut clock = HybridClock::default();
        let wall = Time::at_micros(1_000);
        clock.observe(wall, Time::at_micros(9_999_999), 500);
        let tick = clock.tick(wall, Time::default());
        assert!(Time::at_micros(1_500) < tick && tick < Time::at_micros(1_501));
    }
}
