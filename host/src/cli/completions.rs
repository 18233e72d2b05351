//! This is `soros completions`: a script by which a shell completes what is typed.

use super::console::Console;
use super::{Arguments, Failure};
use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

#[derive(Args, Debug)]
pub(super) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

pub(super) fn run(args: &CompletionsArgs, console: &mut Console) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Arguments::command(), "soros", &mut script);
    Ok(console.write(&script)?)
}
