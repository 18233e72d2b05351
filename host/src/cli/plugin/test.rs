//! This is `soros plugin test` and `soros plugin replay`: a component is asked in the sandbox that
//! nodes run it in, and its answers are judged by the laws of its kind, or compared with earlier
//! ones.

use super::super::Failure;
use super::super::console::{Console, Output};
use super::super::table;
use super::build::{build, runtime};
use crate::plugin::laws::{Finding, Replay, Report, Trial};
use crate::plugin::{Ready, Runtime};
use clap::Args;
use serde_json::json;
use soros_core::map::json::Json;
use std::fs;
use std::path::{Path, PathBuf};

/// Where a crate has its sample calls.
const SAMPLES: &str = "samples.ndjson";

/// Which policy is asked.
#[derive(Args, Debug)]
struct Subject {
    /// The component; without one, the crate in this folder is built
    component: Option<PathBuf>,
    /// The policy's config, as JSON
    #[arg(long, value_name = "JSON", default_value = "{}")]
    config: String,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct TestArgs {
    #[command(flatten)]
    subject: Subject,
    /// Sample calls, one a line; samples.ndjson in this folder unless told otherwise
    #[arg(long, value_name = "FILE")]
    samples: Option<PathBuf>,
    /// Where the questions come from; a node that is pushed a component begins with 1
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many questions are asked
    #[arg(long, default_value_t = 1000)]
    cases: u32,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct ReplayArgs {
    /// The captured calls, one a line
    captured: PathBuf,
    #[command(flatten)]
    subject: Subject,
}

impl Subject {
    fn ready(&self) -> Result<(Runtime, Ready, Json), Failure> {
        let config = serde_json::from_str(&self.config)
            .map_err(|error| Failure::NotConfiguration("--config".to_owned(), error))?;
        let component = match &self.component {
            Some(path) => super::read(path)?,
            None => build(Path::new("."), None)?.bytes,
        };
        let runtime = runtime()?;
        let ready = runtime.ready(&component);
        let ready = ready.map_err(|error| Failure::BadComponent(error.to_string()))?;
        Ok((runtime, ready, config))
    }
}

fn text(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| Failure::File(path.to_owned(), error))
}

impl TestArgs {
    pub(super) fn run(&self, console: &mut Console) -> Result<(), Failure> {
        let (runtime, ready, config) = self.subject.ready()?;
        let samples = match &self.samples {
            Some(path) => text(path)?,
            None if Path::new(SAMPLES).exists() => text(Path::new(SAMPLES))?,
            None => String::new(),
        };
        let (seed, cases) = (self.seed, self.cases);
        let report = runtime.try_laws(&ready, &config, Trial { seed, cases }, &samples)?;
        match console.output {
            Output::Json => console.json(&json!(report))?,
            Output::Table => show(console, &report, &ready)?,
        }
        let is_broken = |finding: &&Finding| finding.breach.is_some();
        let broken = report.laws.iter().filter(is_broken);
        let names: Vec<&str> = broken.map(|finding| finding.law.as_str()).collect();
        if names.is_empty() {
            return Ok(());
        }
        Err(Failure::LawsBroken(names.join(", ")))
    }
}

fn show(console: &mut Console, report: &Report, ready: &Ready) -> Result<(), Failure> {
    let row = |finding: &Finding| {
        let result = if finding.breach.is_some() {
            "broken"
        } else {
            "holds"
        };
        vec![
            finding.law.clone(),
            result.to_owned(),
            finding.cases.to_string(),
        ]
    };
    let rows: Vec<Vec<String>> = report.laws.iter().map(row).collect();
    for line in table::lines(&["LAW", "RESULT", "CASES"], &rows) {
        console.line(&line)?;
    }
    let fuel = report.fuel;
    console.line("")?;
    console.line(&format!(
        "fuel of {} calls: p50 {}, p99 {}, at most {} of {}",
        fuel.calls, fuel.p50, fuel.p99, fuel.max, fuel.limit
    ))?;
    for Finding { law, breach, .. } in &report.laws {
        if let Some(breach) = breach {
            console.line("")?;
            console.line(&format!("{law} is broken: {}", breach.reason))?;
            console.line(&format!("    {}", breach.call))?;
        }
    }
    if report.holds() {
        let name = &ready.about().name;
        console.line(&format!("to use it: soros plugin push {name}.wasm"))?;
    }
    Ok(())
}

impl ReplayArgs {
    pub(super) fn run(&self, console: &mut Console) -> Result<(), Failure> {
        let captured = text(&self.captured)?;
        let (runtime, ready, config) = self.subject.ready()?;
        let replay = runtime.replay(&ready, &config, &captured)?;
        match console.output {
            Output::Json => console.json(&json!(replay))?,
            Output::Table => show_replay(console, &replay)?,
        }
        let (calls, differences) = (replay.calls, replay.differences.len());
        if differences == 0 {
            return Ok(());
        }
        Err(Failure::AnswersDiffer { calls, differences })
    }
}

fn show_replay(console: &mut Console, replay: &Replay) -> Result<(), Failure> {
    for difference in &replay.differences {
        console.line(&format!("call {}", difference.call))?;
        console.line(&format!("    then {}", difference.then))?;
        console.line(&format!("    now  {}", difference.now))?;
    }
    if replay.differences.is_empty() {
        let calls = replay.calls;
        console.line(&format!("all {calls} calls are answered as they were"))?;
    }
    Ok(())
}
