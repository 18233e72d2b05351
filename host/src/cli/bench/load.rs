//! This is the load itself: clients that each send a request as soon as the last one is answered,
//! on one current-thread runtime a core.
//!
//! With two targets the measured time goes to them in turns, so that both meet the same machine.

use super::super::{Failure, connect};
use super::mix::{Kind, Mix, Random, key};
use super::tally::Tally;
use crate::client::{
    Client, ClientError, ClientOptions, Consistency, Found, NodeUrl, ReadOptions, WriteOptions,
};
use bytes::Bytes;
use soros_core::id::BucketName;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};

/// How long a client waits after a failed request, so that it does not spin while nobody serves.
const PAUSE: Duration = Duration::from_millis(10);
/// How long the threads have to start.
const START_AFTER: Duration = Duration::from_millis(100);

/// What every client of a load knows.
pub(super) struct Load {
    pub(super) bucket: BucketName,
    pub(super) mix: Mix,
    pub(super) value: Bytes,
    pub(super) consistency: Option<Consistency>,
    pub(super) clients: usize,
    pub(super) threads: usize,
    pub(super) targets: Vec<Target>,
}

/// Who is asked.
pub(super) struct Target {
    pub(super) urls: Vec<NodeUrl>,
    pub(super) options: ClientOptions,
}

/// A stretch of time that belongs to one target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interval {
    pub(super) target: usize,
    pub(super) length: Duration,
    pub(super) purpose: Purpose,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Connections, tables and caches are filled.
    WarmUp,
    Measure,
}

/// The longest interval when targets take turns.
const TURN_MAX: Duration = Duration::from_secs(1);
/// The longest warm-up of a target.
const WARM_UP_MAX: Duration = Duration::from_secs(1);

/// The intervals that give each of `targets` `measured` of time, in turns when there are several.
pub(super) fn schedule(targets: usize, measured: Duration) -> Vec<Interval> {
    let warm_up = WARM_UP_MAX.min(measured / 10);
    let warm_ups = (0..targets).map(|target| Interval {
        target,
        length: warm_up,
        purpose: Purpose::WarmUp,
    });
    let turns = match targets {
        1 => 1,
        _ => u32::try_from(measured.as_millis().div_ceil(TURN_MAX.as_millis()))
            .unwrap_or(1)
            .max(1),
    };
    let length = measured / turns;
    let turn = move |target| Interval {
        target,
        length,
        purpose: Purpose::Measure,
    };
    warm_ups
        .chain((0..turns).flat_map(|_| (0..targets).map(turn)))
        .collect()
}

impl Load {
    /// Runs the intervals on all threads; blocks until they are over. What came of each target.
    pub(super) fn run(self: &Arc<Load>, intervals: &[Interval]) -> Result<Vec<Tally>, Failure> {
        let start = Instant::now() + START_AFTER;
        let mut threads = Vec::new();
        for number in 0..self.threads {
            let (load, intervals) = (Arc::clone(self), Arc::from(intervals));
            let name = format!("load-{number}");
            let run = move || load.run_thread(number, &intervals, start);
            threads.push(std::thread::Builder::new().name(name).spawn(run)?);
        }
        let mut sums: Vec<Tally> = self.targets.iter().map(|_| Tally::new()).collect();
        for thread in threads {
            let tallies = thread
                .join()
                .map_err(|_| Failure::Panicked("a thread of the load"))??;
            sums.iter_mut()
                .zip(&tallies)
                .for_each(|(sum, tally)| sum.add(tally));
        }
        Ok(sums)
    }

    fn run_thread(
        self: &Arc<Load>,
        number: usize,
        intervals: &Arc<[Interval]>,
        start: Instant,
    ) -> Result<Vec<Tally>, Failure> {
        let runtime = connect::runtime()?;
        let targets: Vec<Client> = self
            .targets
            .iter()
            .map(|target| target.client(number))
            .collect::<Result<_, _>>()?;
        let targets = Arc::new(targets);
        let tallies: Vec<Tally> = self.targets.iter().map(|_| Tally::new()).collect();
        let tallies = Arc::new(Mutex::new(tallies));
        runtime.block_on(async {
            let clients = (number..self.clients).step_by(self.threads);
            let tasks: Vec<_> = clients
                .map(|client| {
                    let running = Running {
                        load: Arc::clone(self),
                        targets: Arc::clone(&targets),
                        tallies: Arc::clone(&tallies),
                        random: Random::of_seed(seed(client)),
                    };
                    tokio::spawn(running.run(Arc::clone(intervals), start))
                })
                .collect();
            for task in tasks {
                // A client that panicked is missing in the figures; the panic was shown.
                let _ = task.await;
            }
        });
        let mut tallies = tallies.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(std::mem::take(&mut *tallies))
    }
}

impl Target {
    fn client(&self, number: usize) -> Result<Client, Failure> {
        Ok(connect::client(&self.urls, self.options)?.beginning_at(number))
    }
}

fn seed(client: usize) -> u64 {
    u64::try_from(client)
        .unwrap_or(0)
        .wrapping_mul(0x5851_f42d_4c95_7f2d)
}

/// One client while it runs.
struct Running {
    load: Arc<Load>,
    targets: Arc<Vec<Client>>,
    /// Shared by the clients of a thread, so never waited for.
    tallies: Arc<Mutex<Vec<Tally>>>,
    random: Random,
}

impl Running {
    async fn run(mut self, intervals: Arc<[Interval]>, start: Instant) {
        sleep_until(start).await;
        let mut busy = vec![(0_u32, Duration::ZERO); self.targets.len()];
        let mut end = start;
        for interval in intervals.iter() {
            end += interval.length;
            let began = Instant::now();
            let requests = self.run_until(end, *interval).await;
            if interval.purpose == Purpose::Measure {
                let (made, time) = &mut busy[interval.target];
                *made += requests;
                *time += began.elapsed();
            }
        }
        let mut tallies = self.tallies();
        for (tally, (requests, time)) in tallies.iter_mut().zip(busy) {
            tally.client_made(requests, time);
        }
    }

    /// Sends requests until `end`; how many succeeded.
    async fn run_until(&mut self, end: Instant, interval: Interval) -> u32 {
        let mut requests = 0;
        let mut began = Instant::now();
        while began < end {
            let (kind, number) = self.load.mix.next(&mut self.random);
            let result = self.request(interval.target, kind, number).await;
            let now = Instant::now();
            requests += u32::from(result.is_ok());
            let failed = result.is_err();
            if interval.purpose == Purpose::Measure {
                self.note(interval.target, kind, now - began, result);
            }
            if failed {
                sleep(PAUSE).await;
            }
            began = Instant::now();
        }
        requests
    }

    async fn request(&self, target: usize, kind: Kind, number: u32) -> Result<Hit, ClientError> {
        let load = &self.load;
        let key = key(number).expect("a number makes a key");
        let client = &self.targets[target];
        match kind {
            Kind::Read => {
                let options = ReadOptions {
                    consistency: load.consistency,
                    ..ReadOptions::default()
                };
                let read = client.get(&load.bucket, &key, &options).await?;
                Ok(if matches!(read.found, Found::Nothing) {
                    Hit::Missed
                } else {
                    Hit::Served
                })
            }
            Kind::Write => {
                let options = WriteOptions {
                    consistency: load.consistency,
                    ..WriteOptions::default()
                };
                client
                    .put(&load.bucket, &key, load.value.clone(), &options)
                    .await?;
                Ok(Hit::Served)
            }
        }
    }

    fn note(&self, target: usize, kind: Kind, time: Duration, result: Result<Hit, ClientError>) {
        let mut tallies = self.tallies();
        let tally = &mut tallies[target];
        match result {
            Ok(hit) => {
                tally.succeeded(kind, time);
                tally.misses += u64::from(hit == Hit::Missed);
            }
            Err(error) => tally.failed(&error),
        }
    }

    fn tallies(&self) -> std::sync::MutexGuard<'_, Vec<Tally>> {
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hit {
    Served,
    Missed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_both_targets_the_same_time_in_turns() {
        let intervals = schedule(2, Duration::from_secs(3));
        let time = |target: usize| {
            let measured = intervals.iter().filter(|interval| {
                interval.target == target && interval.purpose == Purpose::Measure
            });
            measured.map(|interval| interval.length).sum::<Duration>()
        };
        assert_eq!(time(0), Duration::from_secs(3));
        assert_eq!(time(1), Duration::from_secs(3));
        let turns: Vec<usize> = intervals.iter().map(|interval| interval.target).collect();
        assert_eq!(turns, [0, 1, 0, 1, 0, 1, 0, 1]);
        assert_eq!(schedule(1, Duration::from_secs(30)).len(), 2);
    }
}
