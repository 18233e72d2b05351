//! These tests run whole nodes, as they are, on a simulated network in one thread: what happens
//! follows from a seed. One process runs one seed, and the tests start one for each.
//!
//! `SOROS_SEED=7 SOROS_SHOW=logs cargo test --workspace --test turmoil one_seed -- --ignored
//! --nocapture` runs one seed and shows what happens; `SOROS_SHOW=messages` shows the network, too.
//! `SOROS_SEEDS=1000-2000 cargo test --workspace --test turmoil seeds` runs so many.
#![cfg(target_os = "linux")]

mod chance;
mod clients;
mod ending;
mod harm;
mod journal;
mod node;
mod policies;
mod process;
mod run;
mod wire;

use journal::Shows;
use process::{Ended, setting};
use run::{Plan, run};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// Says that randomness is the system's.
const UNSEEDED: &str = "SOROS_UNSEEDED";
/// Says that disks lose in a power cut what they said to have.
const LYING: &str = "SOROS_LYING";
/// Which seeds the tests run.
const SEEDS: RangeInclusive<u64> = 1..=24;

#[test]
#[ignore = "runs one seed in a process of its own"]
fn one_seed() {
    let seed = setting("SOROS_SEED").map_or(1, |seed| seed.parse().expect("a number"));
    let report = run(Plan {
        seed,
        seeded: setting(UNSEEDED).is_none(),
        lies: setting(LYING).is_some(),
        shows: match setting("SOROS_SHOW").as_deref() {
            Some("logs") => Shows::Logs,
            Some("messages") => Shows::Messages,
            _ => Shows::Nothing,
        },
    });
    println!("{report}");
    assert!(report.faults.is_empty(), "{:?}", report.faults);
}

/// The seeds of `SOROS_SEEDS`, as `first-last`, or those of every day.
fn seeds_asked_for() -> RangeInclusive<u64> {
    let Some(asked) = setting("SOROS_SEEDS") else {
        return SEEDS;
    };
    let (first, last) = asked.split_once('-').expect("two seeds with a `-` between");
    first.parse().expect("a number")..=last.parse().expect("a number")
}

#[test]
fn seeds() {
    let ended = process::run_all(seeds_asked_for());
    let mut harms: BTreeMap<String, u64> = BTreeMap::new();
    let mut failed = Vec::new();
    for one in &ended {
        for (harm, count) in &one.harms {
            *harms.entry(harm.clone()).or_default() += count;
        }
        if !one.is_well {
            println!("{}", one.output);
            failed.push(one.seed);
        }
    }
    let sum = |of: fn(&Ended) -> u64| ended.iter().map(of).sum::<u64>();
    let (values, buckets, terms) = (
        sum(|one| one.values),
        sum(|one| one.buckets),
        sum(|one| one.terms),
    );
    println!("{values} values and {buckets} buckets acknowledged in {terms} terms; {harms:?}");
    assert!(failed.is_empty(), "failed: {failed:?}");
    // Nothing is shown by a run in which nothing happened.
    let runs = ended.len() as u64;
    assert!(100 * runs < values && 4 * runs < buckets && runs < terms);
    assert_eq!(harms.len(), harm::NAMES.len(), "{harms:?}");
}

#[test]
fn a_seed_that_runs_twice_does_the_same() {
    let [first, second] = [5, 5].map(|seed| process::run_one(seed, &[]));
    assert!(first.is_well, "{}", first.output);
    assert_eq!(first.digest, second.digest);
}

#[test]
fn what_does_not_follow_from_the_seed_shows() {
    let [first, second] = [5, 5].map(|seed| process::run_one(seed, &[UNSEEDED]));
    assert_ne!(first.digest, second.digest);
}

#[test]
fn what_is_lost_is_found_out() {
    // All power goes in these; another harm may hide the loss of one.
    let is_found_out = |seed| {
        let ended = process::run_one(seed, &[LYING]);
        !ended.is_well && ended.output.contains("LOST")
    };
    assert!([200, 202].into_iter().any(is_found_out));
}
