//! This is the simulator's command: it runs seeds, says how far it is, and how each seed that broke
//! a promise can be run again.

use soros_sim::bug::Bug;
use soros_sim::report::{Deed, Fault, Harm, Report};
use soros_sim::world;
use std::collections::BTreeMap;
use std::process::ExitCode;

const USAGE: &str =
    "usage: soros-sim [--seeds N] [--from S] [--bug NAME] [--keep-going] [--explain]";

/// What to run.
struct Arguments {
    seeds: u64,
    from: u64,
    bug: Option<Bug>,
    keep_going: bool,
    explain: bool,
}

fn arguments() -> Result<Arguments, String> {
    let mut parsed = Arguments {
        seeds: 1_000,
        from: 0,
        bug: None,
        keep_going: false,
        explain: false,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "--seeds" => parsed.seeds = number(&value()?)?,
            "--from" => parsed.from = number(&value()?)?,
            "--bug" => {
                let name = value()?;
                let bug = Bug::named(&name);
                parsed.bug = Some(bug.ok_or_else(|| format!("{name} is none of: {}", names()))?);
            }
            "--keep-going" => parsed.keep_going = true,
            "--explain" => parsed.explain = true,
            _ => return Err(USAGE.to_owned()),
        }
    }
    Ok(parsed)
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text} is not a number"))
}

fn names() -> String {
    let names: Vec<&str> = Bug::all().map(Bug::name).collect();
    names.join(", ")
}

/// What all runs together did.
#[derive(Default)]
struct Totals {
    seeds: u64,
    broken: u64,
    uneventful: u64,
    done: usize,
    unknown: usize,
    failed: usize,
    renewed: usize,
    transfers: usize,
    closed: usize,
    events: u64,
    harms: BTreeMap<Harm, usize>,
    deeds: BTreeMap<Deed, usize>,
}

impl Totals {
    fn add(&mut self, report: &Report) {
        self.seeds += 1;
        self.broken += u64::from(!report.is_sound());
        self.uneventful += u64::from(!report.is_eventful());
        self.done += report.done;
        self.unknown += report.unknown;
        self.failed += report.failed;
        self.renewed += report.renewed;
        self.transfers += report.transfers;
        self.closed += report.closed;
        self.events += report.events;
        for (harm, count) in &report.harms {
            *self.harms.entry(*harm).or_default() += count;
        }
        for (deed, count) in &report.deeds {
            *self.deeds.entry(*deed).or_default() += count;
        }
    }
}

impl std::fmt::Display for Totals {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "{} seeds, {} broken, {} uneventful; {} operations done, {} unknown, {} failed; \
             {} transfers, {} partitions dropped, {} actors closed, {} events; harms {:?}; \
             policies {:?}",
            self.seeds,
            self.broken,
            self.uneventful,
            self.done,
            self.unknown,
            self.failed,
            self.transfers,
            self.renewed,
            self.closed,
            self.events,
            self.harms,
            self.deeds,
        )
    }
}

/// What the clients did with the keys that broke.
#[expect(clippy::print_stdout, reason = "a command speaks by printing")]
fn explain(report: &Report) {
    for key in report.faults.iter().filter_map(Fault::key) {
        for (id, operation) in report.history.of_key(key) {
            println!("{id:4} {operation}");
        }
    }
}

#[expect(clippy::print_stdout, reason = "a command speaks by printing")]
fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(arguments) => arguments,
        Err(message) => {
            println!("{message}");
            return ExitCode::from(2);
        }
    };
    let mut totals = Totals::default();
    for seed in arguments.from..arguments.from + arguments.seeds {
        let report = world::run(seed, arguments.bug);
        totals.add(&report);
        if !report.is_sound() {
            println!("seed {seed}, digest {}: {:?}", report.digest, report.faults);
            if arguments.explain {
                explain(&report);
            }
            if !arguments.keep_going {
                break;
            }
        }
        if totals.seeds.is_multiple_of(500) {
            println!("{totals}");
        }
    }
    println!("{totals}");
    if totals.broken == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
