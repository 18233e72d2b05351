//! This is what a figure is: a count that grows, a level that moves, or a spread of measurements.
//! All are atomics, so that any thread may note something without waiting.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// A count that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Counts `number`.
    pub fn add(&self, number: u64) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    /// Takes a count over that is kept elsewhere.
    pub fn catch_up(&self, count: u64) {
        self.0.fetch_max(count, Ordering::Relaxed);
    }

    /// The count so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A level that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Sets the level.
    pub fn set(&self, level: u64) {
        self.0.store(level, Ordering::Relaxed);
    }

    /// Raises the level by `number`.
    pub fn add(&self, number: u64) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    /// Lowers the level by `number`, to 0 at least.
    pub fn subtract(&self, number: u64) {
        let lower = |level: u64| Some(level.saturating_sub(number));
        // The closure always answers, so the update cannot fail.
        let _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, lower);
    }

    /// The level.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How far something is ahead of something else, or behind it, in microseconds.
#[derive(Debug, Default)]
pub struct Offset(AtomicI64);

impl Offset {
    /// Sets it.
    pub fn set(&self, micros: i64) {
        self.0.store(micros, Ordering::Relaxed);
    }

    /// The offset.
    #[must_use]
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds for how long a request, a commit or a call takes, in microseconds.
const MICROSECONDS: [u64; 18] = [
    10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000,
    500_000, 1_000_000, 2_000_000, 5_000_000,
];
/// Upper bounds for how many things came together.
const COUNTS: [u64; 11] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];

/// What a histogram measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// How many.
    Count,
    /// How long; noted in microseconds, shown in seconds.
    Time,
}

/// How measurements spread over fixed bounds.
#[derive(Debug)]
pub struct Histogram {
    unit: Unit,
    bounds: &'static [u64],
    /// One for each bound, and one for what is above all of them.
    buckets: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    /// Measures how long things take, from 10 µs to 5 s.
    #[must_use]
    pub fn of_times() -> Histogram {
        Histogram::new(Unit::Time, &MICROSECONDS)
    }

    /// Measures how many things come together, from 1 to 1024.
    #[must_use]
    pub fn of_counts() -> Histogram {
        Histogram::new(Unit::Count, &COUNTS)
    }

    fn new(unit: Unit, bounds: &'static [u64]) -> Histogram {
        let buckets = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Histogram {
            unit,
            bounds,
            buckets,
            sum: AtomicU64::new(0),
        }
    }

    /// Notes how long something took.
    pub fn observe_time(&self, time: Duration) {
        debug_assert_eq!(self.unit, Unit::Time, "a time goes to a histogram of times");
        self.observe(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    /// Notes how many came together.
    pub fn observe_count(&self, count: usize) {
        debug_assert_eq!(
            self.unit,
            Unit::Count,
            "a count goes to a histogram of counts"
        );
        self.observe(u64::try_from(count).unwrap_or(u64::MAX));
    }

    /// How many there are, their mean, and what 99 of 100 stayed within, by the bounds: the last
    /// one stands for all that is above.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let Reading {
            cumulative, sum, ..
        } = self.read();
        let count = cumulative.last().copied().unwrap_or(0);
        let place = cumulative.partition_point(|&up_to| up_to < count - count / 100);
        let last = self.bounds.len().saturating_sub(1);
        Summary {
            count,
            mean: sum.checked_div(count).unwrap_or(0),
            p99: if count == 0 {
                0
            } else {
                self.bounds[place.min(last)]
            },
        }
    }

    fn observe(&self, value: u64) {
        let bucket = self.bounds.partition_point(|&bound| bound < value);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> Reading {
        let mut total = 0;
        let mut up_to = |bucket: &AtomicU64| {
            total += bucket.load(Ordering::Relaxed);
            total
        };
        let cumulative: Vec<u64> = self.buckets.iter().map(&mut up_to).collect();
        let sum = self.sum.load(Ordering::Relaxed);
        Reading {
            unit: self.unit,
            bounds: self.bounds,
            cumulative,
            sum,
        }
    }
}

/// What a histogram says in short; times are in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many measurements there are.
    pub count: u64,
    /// Their mean.
    pub mean: u64,
    /// A bound that 99 of 100 of them stayed within.
    pub p99: u64,
}

/// A histogram at one moment.
pub(super) struct Reading {
    pub(super) unit: Unit,
    pub(super) bounds: &'static [u64],
    /// How many measurements are at or below each bound, and last how many there are.
    pub(super) cumulative: Vec<u64>,
    pub(super) sum: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_each_measurement_at_its_bound_and_above() {
        let sizes = Histogram::of_counts();
        for count in [1, 2, 3, 1024, 5000] {
            sizes.observe_count(count);
        }
        let reading = sizes.read();
        assert_eq!(reading.cumulative, [1, 2, 3, 3, 3, 3, 3, 3, 3, 3, 4, 5]);
        assert_eq!(reading.sum, 6030);
        let summary = sizes.summary();
        assert_eq!((summary.count, summary.mean, summary.p99), (5, 1206, 1024));
        assert_eq!(Histogram::of_times().summary(), Summary::default());
        let times = Histogram::of_times();
        (0..1000).for_each(|_| times.observe_time(Duration::from_micros(7)));
        times.observe_time(Duration::from_secs(1));
        assert_eq!(times.summary().p99, 10);
    }

    #[test]
    fn lowers_a_level_to_zero_at_least() {
        let level = Gauge::default();
        level.add(2);
        level.subtract(5);
        assert_eq!(level.get(), 0);
    }
}
