//! This is the `soros` binary: arguments, environment and streams in, an exit code out.

use soros_host::cli::console::Console;
use soros_host::cli::{run, run_node};
use std::process::ExitCode;

fn main() -> ExitCode {
    let environment = |name: &str| std::env::var(name).ok();
    run(
        std::env::args_os(),
        &environment,
        &mut Console::of_process(),
        run_node,
    )
    .into()
}
