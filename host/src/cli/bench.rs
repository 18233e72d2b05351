//! This is `soros bench`: a closed loop of clients, what they got out of a cluster, and what they
//! get out of a bare HTTP server on the same machine in the same minutes.

mod load;
mod mix;
mod preload;
mod report;
mod tally;

use super::Failure;
use super::connect::Caller;
use super::console::Console;
use crate::client::{BareServer, ClientOptions, Consistency, NodeUrl, Protocol, Route, Spread};
use bytes::Bytes;
use clap::Args;
use load::{Interval, Load, Target, schedule};
use mix::{Distribution, Mix};
use report::Measured;
use soros_core::limits::VALUE_BYTES_MAX;
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// The most clients that one load has.
const CLIENTS_MAX: usize = 10_000;
/// The most keys that one load asks for.
const KEYS_MAX: u32 = 100_000_000;
/// The longest that a load is measured.
const SECONDS_MAX: f64 = 86_400.0;

#[derive(Args, Debug)]
pub(super) struct BenchArgs {
    /// Which part of all requests reads, from 0 to 1
    #[arg(long, value_name = "RATIO", default_value_t = 0.5)]
    read_ratio: f64,
    /// How large values are
    #[arg(long, value_name = "BYTES", default_value_t = 1024)]
    value_bytes: usize,
    /// How many keys there are
    #[arg(long, value_name = "N", default_value_t = 100_000,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(KEYS_MAX)))]
    keys: u32,
    /// How often each key is asked for
    #[arg(long, value_enum, default_value_t)]
    distribution: Distribution,
    /// How many requests are under way at a time
    #[arg(long, value_name = "N", default_value_t = 64)]
    clients: usize,
    /// How long to measure each target
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    seconds: f64,
    /// Ask any node in turn, or the replicas of each key
    #[arg(long, value_enum, default_value_t)]
    route: RouteArg,
    /// The bucket
    #[arg(long, default_value = "default")]
    bucket: String,
    /// How many replicas must answer: one, quorum or all
    #[arg(long, value_name = "LEVEL")]
    consistency: Option<Consistency>,
    /// Speak HTTP/2, many requests on one connection
    #[arg(long)]
    http2: bool,
    /// Do not write all keys first
    #[arg(long)]
    no_preload: bool,
    /// Measure a bare HTTP server in turns with the cluster, and show ratios
    #[arg(long)]
    baseline: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum RouteArg {
    #[default]
    Any,
    Smart,
}

pub(super) fn run(
    args: &BenchArgs,
    caller: &Caller<'_>,
    console: &mut Console,
) -> Result<(), Failure> {
    args.check()?;
    let value = Bytes::from(vec![b'v'; args.value_bytes]);
    let baseline = if args.baseline {
        Some(BareServer::start(cores(), value.clone())?)
    } else {
        None
    };
    let baseline_url = baseline.as_ref().map(|server| server.url.clone());
    let load = Arc::new(args.load(caller.urls()?, baseline_url, value)?);
    if !args.no_preload && 0.0 < args.read_ratio {
        preload::run(&load, args.keys, |done| {
            console.progress(&format!("writing keys: {done} of {}", args.keys))
        })?;
    }
    let measured = Duration::from_secs_f64(args.seconds);
    let intervals = schedule(load.targets.len(), measured);
    let tallies = run_with_progress(&load, intervals, console)?;
    if let Some(server) = baseline {
        server.stop();
    }
    let names = ["soros", "baseline"];
    let measured: Vec<Measured> = names
        .into_iter()
        .zip(tallies)
        .map(|(name, tally)| Measured { name, tally })
        .collect();
    report::show(console, &measured)?;
    served(&measured[0])
}

/// A load of which nothing came through has measured nothing.
fn served(cluster: &Measured) -> Result<(), Failure> {
    if !cluster.tally.all().is_empty() {
        return Ok(());
    }
    let errors = cluster
        .tally
        .errors
        .iter()
        .map(|(name, count)| format!("{count} × {name}"));
    Err(Failure::NothingServed(
        errors.collect::<Vec<_>>().join(", "),
    ))
}

/// Runs the load beside, and says every second how far it has come.
fn run_with_progress(
    load: &Arc<Load>,
    intervals: Vec<Interval>,
    console: &mut Console,
) -> Result<Vec<tally::Tally>, Failure> {
    let whole: Duration = intervals.iter().map(|interval| interval.length).sum();
    let (sender, ended) = mpsc::channel();
    let load = Arc::clone(load);
    std::thread::Builder::new()
        .name("load".to_owned())
        .spawn(move || {
            // The receiver is gone only when the command has failed already.
            let _ = sender.send(load.run(&intervals));
        })?;
    let mut seconds = 0;
    loop {
        match ended.recv_timeout(Duration::from_secs(1)) {
            Ok(tallies) => return tallies,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                seconds += 1;
                console.progress(&format!("measuring: {seconds} of {} s", whole.as_secs()))?;
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                return Err(Failure::Panicked("the load"));
            }
        }
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

impl BenchArgs {
    fn check(&self) -> Result<(), Failure> {
        if !(0.0..=1.0).contains(&self.read_ratio) {
            return Err(Failure::Usage("--read-ratio is from 0 to 1"));
        }
        if !(0.05..=SECONDS_MAX).contains(&self.seconds) {
            return Err(Failure::Usage("--seconds is from 0.05 to 86400"));
        }
        if !(1..=CLIENTS_MAX).contains(&self.clients) {
            return Err(Failure::Usage("--clients is from 1 to 10000"));
        }
        if VALUE_BYTES_MAX < self.value_bytes {
            return Err(Failure::TooLarge(VALUE_BYTES_MAX));
        }
        Ok(())
    }

    fn load(
        &self,
        urls: Vec<NodeUrl>,
        baseline: Option<NodeUrl>,
        value: Bytes,
    ) -> Result<Load, Failure> {
        let protocol = if self.http2 {
            Protocol::Http2
        } else {
            Protocol::Http1
        };
        let route = match self.route {
            RouteArg::Any => Route::Any,
            RouteArg::Smart => Route::Smart,
        };
        let any = ClientOptions {
            protocol,
            spread: Spread::InTurn,
            ..ClientOptions::default()
        };
        let cluster = Target {
            urls,
            options: ClientOptions { route, ..any },
        };
        let baseline = baseline.map(|url| Target {
            urls: vec![url],
            options: any,
        });
        Ok(Load {
            bucket: self.bucket.parse()?,
            mix: Mix::new(self.read_ratio, self.keys, self.distribution),
            value,
            consistency: self.consistency,
            clients: self.clients,
            threads: cores().min(self.clients),
            targets: std::iter::once(cluster).chain(baseline).collect(),
        })
    }
}
