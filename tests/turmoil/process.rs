//! This is a process that runs one seed, as the test that started it sees it. It is this program
//! again: what a process holds for all its threads would differ in the second run.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// What a process that ran a seed said.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ended {
    pub(crate) seed: u64,
    pub(crate) is_well: bool,
    pub(crate) digest: String,
    pub(crate) values: u64,
    pub(crate) buckets: u64,
    pub(crate) terms: u64,
    pub(crate) harms: BTreeMap<String, u64>,
    pub(crate) output: String,
}

/// What the environment says.
pub(crate) fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Runs `seed` in a process of its own that has these `settings`.
pub(crate) fn run_one(seed: u64, settings: &[&str]) -> Ended {
    let program = std::env::current_exe().expect("this program");
    let mut command = Command::new(program);
    command.args(["one_seed", "--exact", "--ignored", "--nocapture"]);
    command.env("SOROS_SEED", seed.to_string());
    command.envs(settings.iter().map(|setting| (setting, "1")));
    let ended = command.output().expect("a process");
    let said = [ended.stdout, ended.stderr].concat();
    let output = format!("seed {seed}\n{}", String::from_utf8_lossy(&said));
    read(seed, ended.status.success(), output)
}

/// Runs all of `seeds`, as many at a time as there are processors.
pub(crate) fn run_all(seeds: RangeInclusive<u64>) -> Vec<Ended> {
    let next = AtomicU64::new(*seeds.start());
    let ended = Mutex::new(Vec::new());
    let at_a_time = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..at_a_time {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if !seeds.contains(&seed) {
                        return;
                    }
                    let one = run_one(seed, &[]);
                    ended.lock().expect("no thread panicked").push(one);
                }
            });
        }
    });
    ended.into_inner().expect("no thread panicked")
}

/// Reads the report of a run in what its process said.
fn read(seed: u64, is_well: bool, output: String) -> Ended {
    let mut ended = Ended {
        seed,
        is_well,
        ..Ended::default()
    };
    for line in output.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["digest", digest] => digest.clone_into(&mut ended.digest),
            ["values", count] => ended.values = number(count),
            ["buckets", count] => ended.buckets = number(count),
            ["terms", count] => ended.terms = number(count),
            ["harm", name, count] => {
                ended.harms.insert(name.to_owned(), number(count));
            }
            _ => {}
        }
    }
    ended.output = output;
    ended
}

fn number(text: &str) -> u64 {
    text.parse().expect("a number")
}
