//! This is what a load measured: how many requests, how long they took, how others failed.

use super::mix::Kind;
use crate::client::ClientError;
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::time::Duration;

/// The longest time that is told apart from longer ones, in microseconds.
const MICROSECONDS_MAX: u64 = 120_000_000;

/// What came of the requests to one target.
pub(super) struct Tally {
    pub(super) reads: Histogram<u64>,
    pub(super) writes: Histogram<u64>,
    /// Reads of keys that had no value.
    pub(super) misses: u64,
    /// Failed requests by what went wrong.
    pub(super) errors: BTreeMap<String, u64>,
    /// Requests a second that succeeded, all clients together.
    pub(super) rate: f64,
}

impl Tally {
    pub(super) fn new() -> Tally {
        let histogram =
            || Histogram::new_with_bounds(1, MICROSECONDS_MAX, 3).expect("the bounds are in order");
        Tally {
            reads: histogram(),
            writes: histogram(),
            misses: 0,
            errors: BTreeMap::new(),
            rate: 0.0,
        }
    }

    /// Notes a request that succeeded.
    pub(super) fn succeeded(&mut self, kind: Kind, time: Duration) {
        let microseconds = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        match kind {
            Kind::Read => self.reads.saturating_record(microseconds),
            Kind::Write => self.writes.saturating_record(microseconds),
        }
    }

    /// Notes a request that failed.
    pub(super) fn failed(&mut self, error: &ClientError) {
        *self.errors.entry(name_of(error)).or_default() += 1;
    }

    /// Notes that a client made `requests` in the time that it was busy with this target.
    pub(super) fn client_made(&mut self, requests: u32, busy: Duration) {
        if !busy.is_zero() {
            self.rate += f64::from(requests) / busy.as_secs_f64();
        }
    }

    /// Adds what another thread measured.
    pub(super) fn add(&mut self, other: &Tally) {
        self.reads
            .add(&other.reads)
            .expect("both have the same bounds");
        self.writes
            .add(&other.writes)
            .expect("both have the same bounds");
        self.misses += other.misses;
        self.rate += other.rate;
        for (name, count) in &other.errors {
            *self.errors.entry(name.clone()).or_default() += count;
        }
    }

    /// Reads and writes together.
    pub(super) fn all(&self) -> Histogram<u64> {
        let mut all = self.reads.clone();
        all.add(&self.writes).expect("both have the same bounds");
        all
    }

    /// How many requests failed.
    pub(super) fn error_count(&self) -> u64 {
        self.errors.values().sum()
    }
}

fn name_of(error: &ClientError) -> String {
    match error {
        ClientError::Unreachable { .. } => "unreachable".to_owned(),
        ClientError::NoAnswer { .. } => "no-answer".to_owned(),
        ClientError::BadAnswer { .. } => "bad-answer".to_owned(),
        ClientError::Refused(refusal) => match refusal.code() {
            Some(code) => code.to_string(),
            None => format!("status-{}", refusal.status.as_u16()),
        },
    }
}
