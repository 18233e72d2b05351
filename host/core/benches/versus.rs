//! This is a group of benchmarks that are told against the first of them: the times of two machines
//! or of two days do not compare, but a ratio within one run says something on any.

#![allow(dead_code, reason = "each benchmark measures in the way that fits it")]

use criterion::measurement::{Measurement, WallTime};
use criterion::{BenchmarkGroup, Criterion};
use std::hint::black_box;
use std::time::Duration;

/// How many inputs are made ahead, outside of the time that is measured.
const INPUTS_AHEAD: u64 = 256;

/// A group of benchmarks of which the first is the baseline.
pub(crate) struct Versus<'a> {
    name: String,
    group: BenchmarkGroup<'a, WallTime>,
    /// The best nanoseconds of each.
    best: Vec<(String, f64)>,
}

impl<'a> Versus<'a> {
    /// An empty group.
    pub(crate) fn new(criterion: &'a mut Criterion, name: &str) -> Versus<'a> {
        Versus {
            name: name.to_owned(),
            group: criterion.benchmark_group(name),
            best: Vec::new(),
        }
    }

    /// Measures `act`.
    pub(crate) fn measure<T>(&mut self, name: &str, mut act: impl FnMut() -> T) {
        self.time(name, |count| {
            let since = WallTime.start();
            for _ in 0..count {
                black_box(act());
            }
            WallTime.end(since)
        });
    }

    /// Measures `act` on inputs that it uses up; making them is not counted.
    pub(crate) fn measure_on<I: Clone, T>(
        &mut self,
        name: &str,
        input: &I,
        mut act: impl FnMut(I) -> T,
    ) {
        self.time(name, |count| {
            let (mut left, mut took) = (count, Duration::ZERO);
            while 0 < left {
                let inputs =
                    vec![input.clone(); usize::try_from(left.min(INPUTS_AHEAD)).unwrap_or(1)];
                left -= inputs.len() as u64;
                let since = WallTime.start();
                for input in inputs {
                    black_box(act(input));
                }
                took += WallTime.end(since);
            }
            took
        });
    }

    /// Measures what `took` says that so many calls took.
    pub(crate) fn time(&mut self, name: &str, mut took: impl FnMut(u64) -> Duration) {
        let mut best = f64::INFINITY;
        self.group.bench_function(name, |bencher| {
            bencher.iter_custom(|count| {
                let took = took(count);
                #[expect(clippy::cast_precision_loss, reason = "a ratio needs no more digits")]
                let one = took.as_nanos() as f64 / count as f64;
                best = best.min(one);
                took
            });
        });
        if best.is_finite() {
            self.best.push((name.to_owned(), best));
        }
    }

    /// Ends the group and tells what each costs of what the first does.
    pub(crate) fn finish(self) {
        self.group.finish();
        let Some((baseline, least)) = self.best.first() else {
            return;
        };
        for (name, best) in &self.best[1..] {
            let ratio = best / least;
            eprintln!("{}: {name} takes {ratio:.2} times {baseline}", self.name);
        }
    }
}
