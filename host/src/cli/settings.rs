//! This is how `bucket set` and `placement set` come to a whole configuration: given as JSON, or as
//! flags over the one in force.

use super::Failure;
use crate::client::{ClientError, Configured};
use clap::Args;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// A configuration given whole.
#[derive(Args, Debug)]
pub(super) struct WholeArgs {
    /// The whole configuration as JSON; what it leaves out takes its default
    #[arg(value_name = "JSON", conflicts_with = "config_file")]
    config: Option<String>,
    /// The same, from a file
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    config_file: Option<PathBuf>,
    /// Change it only while the cluster's map is at this epoch
    #[arg(long, value_name = "EPOCH")]
    pub(super) if_match: Option<u64>,
}

impl WholeArgs {
    /// The configuration, if it was given whole.
    pub(super) fn config(&self) -> Result<Option<Value>, Failure> {
        match (&self.config, &self.config_file) {
            (Some(text), _) => parse(text, "the argument").map(Some),
            (None, Some(path)) => parse(&read(path)?, &path.display().to_string()).map(Some),
            (None, None) => Ok(None),
        }
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|error| Failure::File(path.to_owned(), error))
}

fn parse(text: &str, place: &str) -> Result<Value, Failure> {
    let object: Result<Map<String, Value>, _> = serde_json::from_str(text);
    object
        .map(Value::Object)
        .map_err(|error| Failure::NotConfiguration(place.to_owned(), error))
}

/// A policy on the command line: `NAME`, `NAME={...}` with its configuration, or `none`.
pub(super) fn policy(text: &str) -> Result<Value, serde_json::Error> {
    if text == "none" {
        return Ok(Value::Null);
    }
    let mut policy = Map::new();
    let (name, config) = text.split_once('=').unwrap_or((text, ""));
    policy.insert("plugin".to_owned(), name.into());
    if !config.is_empty() {
        policy.insert("config".to_owned(), serde_json::from_str(config)?);
    }
    Ok(Value::Object(policy))
}

/// What flags change, by field.
pub(super) type Changes = Vec<(&'static str, Value)>;

/// The configuration in force with `changes` made to it, or the default one with them where there
/// is none yet. Only `fields` are kept: a node may show more than it takes.
pub(super) fn changed(
    in_force: Result<Configured, ClientError>,
    fields: &[&str],
    changes: Changes,
) -> Result<Configured, Failure> {
    let mut configured = match in_force {
        Ok(configured) => configured,
        Err(error) if is_absent(&error) => Configured {
            config: Value::Object(Map::new()),
            epoch: None,
            created: true,
        },
        Err(error) => return Err(Failure::read(error)),
    };
    let mut config = std::mem::take(&mut configured.config);
    if let Some(object) = config.as_object_mut() {
        object.retain(|name, _| fields.contains(&name.as_str()));
        object.extend(
            changes
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value)),
        );
    }
    Ok(Configured {
        config,
        ..configured
    })
}

fn is_absent(error: &ClientError) -> bool {
    error
        .refusal()
        .is_some_and(|refusal| refusal.status == http::StatusCode::NOT_FOUND)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reads_policies_with_and_without_their_configuration() {
        assert_eq!(policy("lww").expect("a policy"), json!({"plugin": "lww"}));
        assert_eq!(policy("none").expect("no policy"), Value::Null);
        let expected = json!({"plugin": "set", "config": {"most": 3}});
        assert_eq!(policy(r#"set={"most": 3}"#).expect("a policy"), expected);
        assert!(policy("set={").is_err());
    }

    #[test]
    fn changes_only_what_is_asked_and_drops_what_no_node_takes() {
        let in_force = Configured {
            config: json!({"name": "b", "a": 1, "b": 2}),
            epoch: None,
            created: false,
        };
        let changes = vec![("b", json!(3))];
        let configured = changed(Ok(in_force), &["a", "b"], changes).expect("a configuration");
        assert_eq!(configured.config, json!({"a": 1, "b": 3}));
    }
}
