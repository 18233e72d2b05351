//! These are the figures of docs/reliability.md and docs/policies.md, measured on real processes.
//! They are of use from a release build on a quiet machine: `cargo build --release --workspace`,
//! then `target/release/soros-figures [failover | catch-up | swaps]...`; all without a name.

mod catch_up;
mod failover;
mod paced;
mod swaps;

use std::process::ExitCode;

/// A line of the report: what was measured, what it is, and what it should be at most.
struct Figure {
    what: &'static str,
    measured: String,
    goal: &'static str,
}

fn main() -> ExitCode {
    let mut names: Vec<String> = std::env::args().skip(1).collect();
    if names.is_empty() {
        names = ["failover", "catch-up", "swaps"].map(String::from).to_vec();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime");
    for name in &names {
        let figures = match name.as_str() {
            "failover" => runtime.block_on(failover::measure()),
            "catch-up" => runtime.block_on(catch_up::measure()),
            "swaps" => runtime.block_on(swaps::measure()),
            other => {
                tell(&format!(
                    "no figure is called {other:?}: name failover, catch-up or swaps"
                ));
                return ExitCode::from(2);
            }
        };
        for figure in figures {
            let Figure {
                what,
                measured,
                goal,
            } = figure;
            tell(&format!("{what}: {measured} (goal: {goal})"));
        }
    }
    ExitCode::SUCCESS
}

/// A count, to reckon with.
fn number(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

/// Says something at once, for what is measured takes minutes.
fn tell(line: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    let said = writeln!(out, "{line}").and_then(|()| out.flush());
    said.expect("standard output takes it");
}
