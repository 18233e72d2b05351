//! This is the command line: what may be asked, who is asked, and how it ends.
//!
//! Arguments, environment and streams come from outside, so that a test runs a whole command. Each
//! subcommand has a file of its own.

mod bench;
mod bucket;
mod cluster;
mod completions;
mod connect;
pub mod console;
mod dev;
mod exit;
mod failure;
mod headers;
mod internal;
mod key;
mod kv;
mod locate;
mod node;
mod placement;
mod plugin;
mod ready;
mod serve;
mod settings;
mod signals;
mod table;

pub use exit::Exit;
pub use failure::Failure;
pub use node::{NodeFailure, RunNode, run_node};
pub use plugin::BuildError;

use clap::{Args, Parser, Subcommand};
use console::{Console, Output};
use std::ffi::OsString;

/// The value of an environment variable by its name.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A distributed key-value store that its users program.
#[derive(Debug, Parser)]
#[command(name = "soros", version, after_help = AFTER_HELP)]
struct Arguments {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 precondition or \
                          conflict, 5 unavailable (not applied), 6 outcome unknown";

const URL_HELP: &str = "A node to ask, repeatable [env: SOROS_URL, with commas between; default: \
                        http://127.0.0.1:7070]";

/// What every command understands.
#[derive(Args, Debug)]
struct Common {
    #[arg(long, global = true, value_name = "URL", help = URL_HELP)]
    url: Vec<String>,
    /// How results and errors are shown
    #[arg(long, global = true, value_enum, default_value_t)]
    output: Output,
    /// Show the headers of interest of keys and of errors, on standard error
    #[arg(short, long, global = true)]
    verbose: bool,
    #[arg(long, global = true, help = "Do not colour messages [env: NO_COLOR]")]
    no_color: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a whole cluster on this machine, to try things out
    Dev(dev::DevArgs),
    /// Run one node
    Serve(serve::ServeArgs),
    /// Read, write and delete keys
    #[command(subcommand)]
    Kv(kv::KvCommand),
    /// See and set buckets
    #[command(subcommand)]
    Bucket(bucket::BucketCommand),
    /// See and set placements
    #[command(subcommand)]
    Placement(placement::PlacementCommand),
    /// See plugins, and bring, switch and remove them
    #[command(subcommand)]
    Plugin(plugin::PluginCommand),
    /// See the cluster
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    /// Show which nodes hold a key
    Locate(locate::LocateArgs),
    /// Measure a cluster under load
    Bench(bench::BenchArgs),
    /// Print a script that completes commands in a shell
    Completions(completions::CompletionsArgs),
    #[command(subcommand, hide = true)]
    Internal(internal::InternalCommand),
}

/// Runs the command of this process, with its arguments, environment and streams.
pub fn run_process() -> Exit {
    let environment = |name: &str| std::env::var(name).ok();
    let console = &mut Console::of_process();
    run(std::env::args_os(), &environment, console, run_node)
}

/// Runs the command that `arguments` ask for, the first of them the program's name.
pub fn run(
    arguments: impl IntoIterator<Item = OsString>,
    environment: Environment<'_>,
    console: &mut Console,
    run_node: RunNode,
) -> Exit {
    let words: Vec<OsString> = arguments.into_iter().collect();
    let program = words
        .first()
        .map(|word| word.to_string_lossy().into_owned());
    let program = program.unwrap_or_else(|| "soros".to_owned());
    let arguments = match Arguments::try_parse_from(&words) {
        Ok(arguments) => arguments,
        Err(error) => {
            if asks_for_json(&words) {
                console.output = Output::Json;
            }
            return explain(&error, console);
        }
    };
    let common = &arguments.common;
    console.output = common.output;
    console.verbose = common.verbose;
    console.color &= !common.no_color && environment("NO_COLOR").is_none_or(|text| text.is_empty());
    let surroundings = Surroundings {
        program: &program,
        environment,
        run_node,
    };
    match arguments.command.run(common, &surroundings, console) {
        Ok(()) => Exit::Done,
        Err(failure) => {
            // When even that cannot be written, the exit code is all there is to say.
            let _ = failure.report(console);
            failure.exit()
        }
    }
}

/// Whether arguments that make no sense say all the same how they want that told.
fn asks_for_json(words: &[OsString]) -> bool {
    let pairs = words.windows(2);
    let mut apart = pairs.map(|pair| pair[0] == "--output" && pair[1] == "json");
    apart.any(|asks| asks) || words.iter().any(|word| word == "--output=json")
}

/// Help, the version, or what is wrong with the arguments.
fn explain(error: &clap::Error, console: &mut Console) -> Exit {
    let text = error.render().to_string();
    let text = text.trim_end();
    if error.use_stderr() {
        // As above.
        let _ = match console.output {
            Output::Table => console.message(text),
            Output::Json => console.message(&failure::usage_json(text).to_string()),
        };
        return Exit::Usage;
    }
    match console.line(text) {
        Ok(()) => Exit::Done,
        Err(error) => Failure::from(error).exit(),
    }
}

/// What a command finds around it.
struct Surroundings<'a> {
    /// What the program was called by.
    program: &'a str,
    environment: Environment<'a>,
    run_node: RunNode,
}

impl Command {
    fn run(
        self,
        common: &Common,
        surroundings: &Surroundings<'_>,
        console: &mut Console,
    ) -> Result<(), Failure> {
        let Surroundings {
            environment,
            run_node,
            ..
        } = *surroundings;
        let caller = connect::Caller {
            urls: &common.url,
            environment,
        };
        match self {
            Command::Dev(args) => dev::run(&args, surroundings, console),
            Command::Serve(args) => serve::run(&args, environment, run_node),
            Command::Kv(command) => caller.run(|client| command.run(client, console)),
            Command::Bucket(command) => caller.run(|client| command.run(client, console)),
            Command::Placement(command) => caller.run(|client| command.run(client, console)),
            Command::Plugin(command) => command.run(&caller, console),
            Command::Cluster(command) => caller.run(|client| command.run(client, console)),
            Command::Locate(args) => caller.run(|client| args.run(client, console)),
            Command::Bench(args) => bench::run(&args, &caller, console),
            Command::Completions(args) => completions::run(&args, console),
            Command::Internal(command) => command.run(),
        }
    }
}

#[cfg(test)]
mod tests;
