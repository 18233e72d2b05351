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
    /// The first moment of a microsecond since 1970; of one that is too late, the last there is.
    #[must_use]
    pub fn at_micros(micros: u64) -> Time {
        Time(micros.min(u64::MAX >> COUNT_BITS) << COUNT_BITS)
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
    /// A moment after `seen` and not before `wall`; and after every one given before, unless that
    /// one stood more than `skew_max_micros` ahead of `wall`.
    ///
    /// What a version covers may have a time far ahead, of a clock that was wrong. This one version
    /// must be later, but what is written beside it must not be dragged along.
    pub fn tick(&mut self, wall: Time, seen: Time, skew_max_micros: u64) -> Time {
        let time = wall.max(self.last.next()).max(seen.next());
        self.observe(wall, time, skew_max_micros);
        time
    }

    /// Moves the clock on to a `time` heard from a peer, by at most `skew_max_micros` ahead of
    /// `wall`: a peer with a wild clock must not drag the cluster's time along.
    pub fn observe(&mut self, wall: Time, time: Time, skew_max_micros: u64) {
        self.last = self.last.max(time.min(latest(wall, skew_max_micros)));
    }

    /// Takes back what was given more than `skew_max_micros` ahead of `wall`, which was wrong until
    /// now. No version is overtaken by that: each is above all that its writer sees.
    pub fn set_back(&mut self, wall: Time, skew_max_micros: u64) {
        self.last = self.last.min(latest(wall, skew_max_micros));
    }
}

fn latest(wall: Time, skew_max_micros: u64) -> Time {
    Time::at_micros(wall.micros().saturating_add(skew_max_micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SKEW_MAX: u64 = 500;

    fn tick(clock: &mut HybridClock, wall: u64, seen: Time) -> Time {
        clock.tick(Time::at_micros(wall), seen, SKEW_MAX)
    }

    #[test]
    fn gives_later_moments_though_the_wall_clock_stands_or_goes_back() {
        let mut clock = HybridClock::default();
        let first = tick(&mut clock, 10, Time::default());
        let second = tick(&mut clock, 10, Time::default());
        let third = tick(&mut clock, 5, Time::default());
        assert!(first < second && second < third);
        assert_eq!(tick(&mut clock, 20, Time::default()), Time::at_micros(20));
    }

    #[test]
    fn is_later_than_what_the_writer_had_seen() {
        let mut clock = HybridClock::default();
        let seen = Time::at_micros(1_000);
        assert!(seen < tick(&mut clock, 10, seen));
    }

    #[test]
    fn is_not_dragged_along_by_one_version_from_far_ahead() {
        let mut clock = HybridClock::default();
        let wild = Time::at_micros(9_999_999);
        assert!(wild < tick(&mut clock, 1_000, wild));
        let next = tick(&mut clock, 1_000, Time::default());
        assert!(next < Time::at_micros(1_501), "{next:?}");
    }

    #[test]
    fn follows_a_peer_only_as_far_as_the_skew_allows() {
        let mut clock = HybridClock::default();
        let wall = Time::at_micros(1_000);
        clock.observe(wall, Time::at_micros(9_999_999), SKEW_MAX);
        let next = tick(&mut clock, 1_000, Time::default());
        assert!(Time::at_micros(1_500) < next && next < Time::at_micros(1_501));
    }

    #[test]
    fn goes_back_to_a_wall_clock_that_was_set_right() {
        let mut clock = HybridClock::default();
        tick(&mut clock, 9_999_999, Time::default());
        clock.set_back(Time::at_micros(1_000), SKEW_MAX);
        let next = tick(&mut clock, 1_000, Time::default());
        assert!(next < Time::at_micros(1_501), "{next:?}");
    }

    #[test]
    fn a_microsecond_beyond_the_last_is_the_last_and_not_an_early_one() {
        assert!(Time::at_micros(1) < Time::at_micros(u64::MAX));
        assert!(Time::at_micros(1 << 51) < Time::at_micros(1 << 52));
    }
}
