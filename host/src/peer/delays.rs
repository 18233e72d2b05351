//! This is how long replicas take to answer a read, so that one that takes longer than most is
//! hedged: another is asked, too.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// An estimate of the 95th percentile of delays, in microseconds: it moves up by a step for each
/// longer delay and down by a nineteenth of it for each shorter one, so that it rests where one in
/// twenty is longer (Ma, Muthukrishnan, Sandler, *Frugal Streaming*, 2013).
#[derive(Debug)]
pub struct Delays(AtomicU64);

const FIRST_MICROS: u64 = 20_000;
const LEAST_MICROS: u64 = 2_000;
const MOST_MICROS: u64 = 500_000;

impl Default for Delays {
    fn default() -> Delays {
        Delays(AtomicU64::new(FIRST_MICROS))
    }
}

impl Delays {
    /// Takes one delay into account. A lost race between two threads loses one observation.
    pub fn observe(&self, delay: Duration) {
        let delay = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
        let estimate = self.0.load(Ordering::Relaxed);
        let step = estimate / 20 + 19;
        let moved = if estimate < delay {
            estimate.saturating_add(step)
        } else {
            estimate.saturating_sub(step / 19)
        };
        self.0
            .store(moved.clamp(LEAST_MICROS, MOST_MICROS), Ordering::Relaxed);
    }

    /// How long to wait before one more replica is asked.
    #[must_use]
    pub fn hedge(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_where_one_in_twenty_takes_longer() {
        let delays = Delays::default();
        for number in 0..20_000_u64 {
            // 1 to 100 ms, spread evenly: 61 and 100 have no common factor.
            delays.observe(Duration::from_millis(number * 61 % 100 + 1));
        }
        let hedge = delays.hedge();
        assert!((85..=105).contains(&hedge.as_millis()), "{hedge:?}");
    }

    #[test]
    fn stays_within_its_bounds() {
        let delays = Delays::default();
        for _ in 0..10_000 {
            delays.observe(Duration::ZERO);
        }
        assert_eq!(delays.hedge(), Duration::from_micros(LEAST_MICROS));
        for _ in 0..10_000 {
            delays.observe(Duration::from_mins(1));
        }
        assert_eq!(delays.hedge(), Duration::from_micros(MOST_MICROS));
    }
}
