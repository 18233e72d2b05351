//! This is load at a steady pace: requests begin when it is their time, whether or not those before
//! them are answered, and a late answer is late by the time it should have begun at.

use soros_tests::cluster::Cluster;
use soros_tests::http::Http;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::sleep_until;

const CLIENTS: u32 = 48;

/// What became of a load.
#[derive(Default)]
pub(crate) struct Outcome {
    /// How late each answer was.
    pub(crate) times: Vec<Duration>,
    /// Requests that were not answered as hoped.
    pub(crate) failed: Vec<String>,
}

impl Outcome {
    /// The time that 99 of 100 answers took at most.
    pub(crate) fn p99(&mut self) -> Duration {
        self.times.sort();
        let at = self.times.len() * 99 / 100;
        self.times.get(at).copied().unwrap_or_default()
    }
}

/// Writes to `bucket` at all nodes for a time: so many writes a second, or as fast as can be.
pub(crate) async fn run(
    cluster: &Cluster,
    bucket: &'static str,
    length: Duration,
    rate: Option<f64>,
) -> Outcome {
    let mut clients = JoinSet::new();
    let begun = Instant::now();
    for number in 0..CLIENTS {
        let address = cluster.address(number as usize % cluster.count());
        let pace = rate.map(|rate| Duration::from_secs_f64(f64::from(CLIENTS) / rate));
        let end = begun + length;
        let first = begun + pace.unwrap_or_default() * number / CLIENTS;
        clients.spawn(client(address, bucket, (first, end), pace));
    }
    let mut sum = Outcome::default();
    while let Some(outcome) = clients.join_next().await {
        let outcome = outcome.expect("a client");
        sum.times.extend(outcome.times);
        sum.failed.extend(outcome.failed);
    }
    sum
}

async fn client(
    address: SocketAddr,
    bucket: &str,
    (first, end): (Instant, Instant),
    pace: Option<Duration>,
) -> Outcome {
    let (mut http, mut outcome) = (Http::new(address), Outcome::default());
    let mut due = first;
    for number in 0_u64.. {
        if end <= due || end <= Instant::now() {
            break;
        }
        sleep_until(due.into()).await;
        let path = format!("/v1/kv/{bucket}/a/{}", number % 1000);
        match http.put(&path, &[], "0123456789".repeat(10)).await {
            Ok(answer) if answer.status.is_success() => outcome.times.push(due.elapsed()),
            Ok(answer) => outcome.failed.push(answer.text()),
            Err(error) => outcome.failed.push(format!("{error:?}")),
        }
        due = pace.map_or_else(Instant::now, |pace| due + pace);
    }
    outcome
}
