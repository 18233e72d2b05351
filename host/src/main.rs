//! This is the `soros` binary: arguments, environment and streams in, an exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    soros_host::cli::run_process().into()
}
