//! This is the set-up of the log: which lines are written to standard error, and how they look.

use std::io::IsTerminal as _;
use tracing_subscriber::EnvFilter;

/// What is logged unless anyone says otherwise. A node that is gone is told of once, not at each
/// heartbeat that it misses.
const FILTER_DEFAULT: &str = "info,openraft=error";

/// What a node logs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// Which lines; what the environment's `RUST_LOG` says when absent.
    pub filter: Option<String>,
    /// How they look.
    pub format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for programs.
    Json,
}

/// Why the log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is no filter.
    #[error("`{0}` is not a log filter: write a level, or pairs as in soros_host=debug,warn")]
    Filter(String),
    /// Something else in this process receives the log already.
    #[error("the log is received by another part of this process")]
    Taken,
}

/// Whether `text` says which lines to log.
#[must_use]
pub fn is_filter(text: &str) -> bool {
    !text.is_empty() && filter(text).is_ok()
}

/// Starts to write log lines to standard error, for the whole process. What `log` leaves open is
/// taken from `RUST_LOG`, else from `fallback`, else it is `info`, with only errors of Raft's
/// inner life.
///
/// # Errors
/// [`LogError`] when the filter is none, or the log was started before.
pub fn start_log(log: &Log, fallback: Option<&str>) -> Result<(), LogError> {
    let given = log
        .filter
        .clone()
        .or_else(|| std::env::var("RUST_LOG").ok());
    let given = given.filter(|text| !text.is_empty());
    let filter = filter(given.as_deref().or(fallback).unwrap_or(FILTER_DEFAULT))?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none());
    let started = match log.format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().try_init(),
    };
    started.map_err(|_| LogError::Taken)
}

fn filter(text: &str) -> Result<EnvFilter, LogError> {
    EnvFilter::builder()
        .parse(text)
        .map_err(|_| LogError::Filter(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_filters() {
        for text in [
            FILTER_DEFAULT,
            "info",
            "soros_host=debug,warn",
            "fjall::journal=trace",
            "off",
        ] {
            assert!(is_filter(text), "{text}");
        }
        for text in ["", "soros_host=loud", "a=b=c"] {
            assert!(!is_filter(text), "{text}");
        }
    }
}
