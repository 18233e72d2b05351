//! This is where the command line meets the node: what it hands over, and how it learns what went
//! wrong. The commands that run nodes take it as an argument, so that tests run them without.

use crate::app;
use crate::config::Config;
use crate::network::Shutdown;
use crate::plugin::Compiler;

/// Runs a node on this thread until it is told to stop, and drains it then. The node writes its
/// ready file itself, once it serves and knows a map.
pub type RunNode = fn(Config, Shutdown) -> Result<(), NodeFailure>;

/// Why a node could not start, or could not go on.
#[derive(Debug, thiserror::Error)]
pub enum NodeFailure {
    /// It was started in a way that makes no sense, as under another name on a known directory.
    #[error("{0}")]
    Usage(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Anything else.
    #[error("{0}")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Runs the node of this program.
///
/// # Errors
/// [`NodeFailure`] when it cannot start or go on.
pub fn run_node(config: Config, shutdown: Shutdown) -> Result<(), NodeFailure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| NodeFailure::Failed(Box::new(error)))?;
    // This very program, even where its file has been replaced since.
    let program = std::env::current_exe().ok();
    let compiler = program.map_or(Compiler::Here, Compiler::Child);
    runtime
        .block_on(app::run(config, compiler, shutdown))
        .map_err(|error| {
            if error.is_usage() {
                NodeFailure::Usage(Box::new(error))
            } else {
                NodeFailure::Failed(Box::new(error))
            }
        })
}
