//! These are the seeds that every change is held to: sound ones that must stay sound, and planted
//! bugs that must be found, by a seed or in a scene.

use soros_sim::bug::Bug;
use soros_sim::report::Deed;
use soros_sim::{scenes, world};
use std::collections::BTreeMap;

/// How many sound seeds are run.
const SEEDS: u64 = 1_000;
/// How often at least each of these is done with the policy.
const DEEDS: [(Deed, usize); 8] = [
    (Deed::Activated, 1_000),
    (Deed::RolledBack, 200),
    (Deed::Withdrawn, 10),
    (Deed::Quarantined, 50),
    (Deed::BlamedLate, 50),
    (Deed::AskedMixed, 1_000),
    (Deed::Failed, 1_000),
    (Deed::Stored, 5_000),
];
/// Within how many seeds a planted bug must be found.
const SEEDS_TO_FIND: u64 = 1_000;

#[test]
fn every_seed_keeps_the_promises() {
    let (mut done, mut eventful) = (0, 0);
    let mut deeds: BTreeMap<Deed, usize> = BTreeMap::new();
    for seed in 0..SEEDS {
        let report = world::run(seed, None);
        assert!(report.is_sound(), "seed {seed}: {:?}", report.faults);
        done += report.done;
        eventful += u64::from(report.is_eventful());
        for (deed, count) in report.deeds {
            *deeds.entry(deed).or_default() += count;
        }
    }
    println!("{SEEDS} seeds, {eventful} eventful, {done} operations acknowledged; {deeds:?}");
    // Passing because nothing happened would prove nothing.
    assert!(
        SEEDS * 3 / 4 < eventful,
        "{eventful} of {SEEDS} seeds were eventful"
    );
    assert!(
        30 * SEEDS < done as u64,
        "{done} operations were acknowledged"
    );
    for (deed, least) in DEEDS {
        let count = deeds.get(&deed).copied().unwrap_or(0);
        assert!(least < count, "{deed:?}: {count}");
    }
}

#[test]
fn every_planted_bug_is_found() {
    for bug in Bug::all() {
        let seed = (0..SEEDS_TO_FIND).find(|seed| !world::run(*seed, Some(bug)).is_sound());
        let scenes = scenes::ALL
            .iter()
            .filter(|scene| scene.opposites.contains(&bug) && !scene.play(Some(bug)).is_sound());
        let scenes: Vec<&str> = scenes.map(|scene| scene.name).collect();
        println!(
            "{}: found by {seed:?} of the seeds, and in {scenes:?}",
            bug.name()
        );
        assert!(
            seed.is_some() || !scenes.is_empty(),
            "{} was not found",
            bug.name()
        );
    }
}

#[test]
fn a_seed_is_the_same_run_every_time() {
    for seed in 0..20 {
        let (first, second) = (world::run(seed, None), world::run(seed, None));
        assert_eq!(first.digest, second.digest, "seed {seed}");
    }
}
