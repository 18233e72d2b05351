//! This is the `soros` binary again, under a name of its own: built by the cargo that builds the
//! tests, of the very crates that they build, so that nothing is compiled twice.

use std::process::ExitCode;

fn main() -> ExitCode {
    soros_host::cli::run_process().into()
}
