//! This is `soros serve`: one node, from its configuration to its last answer.

use super::node::RunNode;
use super::ready::remove_stale;
use super::{Environment, Failure, signals};
use crate::config::{Config, Flags, SETTINGS, Setting};
use crate::telemetry::start_log;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use std::path::PathBuf;

/// The settings of a node as flags.
#[derive(Clone, Debug, Default)]
pub(super) struct ServeArgs {
    flags: Flags,
}

/// The setting that is given by its flag alone.
const SWITCH: &str = "insecure";

impl Args for ServeArgs {
    fn augment_args(command: Command) -> Command {
        let file = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .help("A TOML file with the names below as its keys; flags and SOROS_* go before it");
        let command = command.after_help(
            "Each of these may also be a variable (--disk.high is SOROS_DISK_HIGH) or a key of the \
             file. A node that is in no cluster needs --bootstrap or --join.",
        );
        SETTINGS
            .iter()
            .map(flag)
            .fold(command.arg(file), Command::arg)
    }

    fn augment_args_for_update(command: Command) -> Command {
        ServeArgs::augment_args(command)
    }
}

fn flag(setting: &Setting) -> Arg {
    let arg = Arg::new(setting.name)
        .long(setting.name)
        .value_name(setting.value)
        .help(setting.help);
    if setting.name == SWITCH {
        return arg
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true");
    }
    arg
}

impl FromArgMatches for ServeArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<ServeArgs, clap::Error> {
        let mut flags = Flags::default();
        if let Some(path) = matches.get_one::<PathBuf>("config") {
            flags = flags.with_file(path);
        }
        for Setting { name, .. } in SETTINGS {
            if let Some(value) = matches.get_one::<String>(name) {
                flags = flags.with(name, value);
            }
        }
        Ok(ServeArgs { flags })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = ServeArgs::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Runs one node until it is told to stop.
pub(super) fn run(
    args: &ServeArgs,
    environment: Environment<'_>,
    run_node: RunNode,
) -> Result<(), Failure> {
    let config = Config::load_to_start(&args.flags, environment)?;
    if let Some(stale) = &config.ready_file {
        remove_stale(stale)?;
    }
    start_log(&config.log, None)?;
    let shutdown = signals::shutdown_at_signal()?;
    run_node(config, shutdown).map_err(Failure::Node)
}
