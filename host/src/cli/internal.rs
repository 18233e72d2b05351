//! This is `soros internal`: what this program asks of a child of its own. Not for people.

use super::Failure;
use crate::plugin::compiler::compile_here;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(super) enum InternalCommand {
    /// Compile a component from standard input to standard output, within bounds
    Compile {
        /// What it decides
        kind: String,
    },
}

impl InternalCommand {
    pub(super) fn run(self) -> Result<(), Failure> {
        let InternalCommand::Compile { kind } = self;
        Ok(compile_here(&kind, std::io::stdin(), std::io::stdout())?)
    }
}
