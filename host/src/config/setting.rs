//! This is the list of a node's settings, and how their values are found: a flag over an
//! environment variable over the configuration file, all three under the same name.
//!
//! To add a setting: one line in [`SETTINGS`], one field in `Config`, one reading in `reading.rs`.

use super::fault::{ConfigProblem, Fault, Place};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A setting: `--name`, `SOROS_NAME` and the TOML key `name`.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Its name.
    pub name: &'static str,
    /// What its value is called.
    pub value: &'static str,
    /// What it is for, in a line.
    pub help: &'static str,
}

const fn setting(name: &'static str, value: &'static str, help: &'static str) -> Setting {
    Setting { name, value, help }
}

/// Every setting of a node.
pub const SETTINGS: [Setting; 18] = [
    setting(
        "name",
        "NAME",
        "The node's identity; needed at its first start, recorded then",
    ),
    setting("dir", "DIR", "The folder of its data [default: soros-data]"),
    setting(
        "listen",
        "ADDR",
        "Where clients connect [default: 127.0.0.1:7070]",
    ),
    setting(
        "peer",
        "ADDR",
        "Where other nodes connect [default: 127.0.0.1:7071]",
    ),
    setting(
        "advertise",
        "URL",
        "The client listener as others reach it [default: as listened]",
    ),
    setting(
        "peer-advertise",
        "ADDR",
        "The peer listener as others reach it [default: as listened]",
    ),
    setting(
        "zone",
        "ZONE",
        "What it shares a fate with: a rack, a room [default: default]",
    ),
    setting(
        "capacity",
        "BYTES",
        "How much it may hold, as in 500GiB [default: its disk]",
    ),
    setting("roles", "ROLES", "What it does [default: peer,authority]"),
    setting(
        "bootstrap",
        "PEERS",
        "Found a cluster with these members, host:port,..., itself too",
    ),
    setting(
        "join",
        "PEER",
        "Come into the cluster of this member, host:port",
    ),
    setting("ready-file", "FILE", "Write this file once the node serves"),
    setting(
        "insecure",
        "true|false",
        "Allow listeners that other machines reach, without TLS",
    ),
    setting(
        "workers",
        "N",
        "How many threads serve clients [default: one per core]",
    ),
    setting(
        "disk.high",
        "FRACTION",
        "How full the disk or the capacity may be before values are refused [default: 0.9]",
    ),
    setting(
        "repair.rate",
        "BYTES",
        "How much a second it takes from others to refill and repair [default: 128MiB]",
    ),
    setting(
        "log",
        "FILTER",
        "What is logged, as in debug or soros_host=debug [default: info,openraft=warn]",
    ),
    setting(
        "log-format",
        "text|json",
        "How log lines look [default: text]",
    ),
];

/// The environment variable of the setting `name`.
pub(super) fn variable(name: &str) -> String {
    format!(
        "SOROS_{}",
        name.to_ascii_uppercase().replace(['-', '.'], "_")
    )
}

/// What was given on the command line, as it was written.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    config: Option<PathBuf>,
    values: BTreeMap<&'static str, String>,
}

impl Flags {
    /// Sets the flag of the setting `name`, if there is such a setting.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Flags {
        if let Some(setting) = SETTINGS.iter().find(|setting| setting.name == name) {
            self.values.insert(setting.name, value.to_owned());
        }
        self
    }

    /// Sets the configuration file.
    #[must_use]
    pub fn with_file(mut self, path: &Path) -> Flags {
        self.config = Some(path.to_owned());
        self
    }
}

/// A value as it was written, and where.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) text: String,
    pub(super) place: Place,
}

/// What was given for each setting, the strongest source only.
#[derive(Debug, Default)]
pub(super) struct Values(BTreeMap<&'static str, Found>);

impl Values {
    /// Looks at the flags, the environment and the file, and notes what is wrong with the file.
    pub(super) fn gather(
        flags: &Flags,
        environment: &dyn Fn(&str) -> Option<String>,
        problems: &mut Vec<ConfigProblem>,
    ) -> Values {
        let mut values = Values::default();
        if let Some(path) = file_path(flags, environment) {
            values.add_file(&path, problems);
        }
        for Setting { name, .. } in SETTINGS {
            if let Some(text) = environment(&variable(name)) {
                values.0.insert(
                    name,
                    Found {
                        text,
                        place: Place::Environment(name),
                    },
                );
            }
            if let Some(text) = flags.values.get(name) {
                values.0.insert(
                    name,
                    Found {
                        text: text.clone(),
                        place: Place::Flag(name),
                    },
                );
            }
        }
        values
    }

    /// What was given for the setting `name`.
    pub(super) fn get(&self, name: &str) -> Option<&Found> {
        self.0.get(name)
    }

    fn add_file(&mut self, path: &Path, problems: &mut Vec<ConfigProblem>) {
        match read_table(path) {
            Ok(table) => self.add_table("", &table, path, problems),
            Err(fault) => {
                let place = Place::WholeFile(path.to_owned());
                problems.push(ConfigProblem { place, fault });
            }
        }
    }

    fn add_table(
        &mut self,
        prefix: &str,
        table: &toml::Table,
        path: &Path,
        problems: &mut Vec<ConfigProblem>,
    ) {
        for (key, value) in table {
            let key = format!("{prefix}{key}");
            match value {
                toml::Value::Table(inner) if !is_setting(&key) => {
                    self.add_table(&format!("{key}."), inner, path, problems);
                }
                value => self.add_value(&key, value, path, problems),
            }
        }
    }

    fn add_value(
        &mut self,
        key: &str,
        value: &toml::Value,
        path: &Path,
        problems: &mut Vec<ConfigProblem>,
    ) {
        let known = SETTINGS.iter().find(|setting| setting.name == key);
        let place = Place::File(key.to_owned(), path.to_owned());
        let fault = match (known, text_of(value)) {
            (Some(setting), Some(text)) => {
                self.0.insert(setting.name, Found { text, place });
                return;
            }
            (Some(_), None) => Fault::WrongType,
            (None, _) => Fault::Unknown {
                nearest: nearest(key),
            },
        };
        problems.push(ConfigProblem { place, fault });
    }
}

fn is_setting(key: &str) -> bool {
    SETTINGS.iter().any(|setting| setting.name == key)
}

fn file_path(flags: &Flags, environment: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    flags
        .config
        .clone()
        .or_else(|| environment("SOROS_CONFIG").map(PathBuf::from))
}

fn read_table(path: &Path) -> Result<toml::Table, Fault> {
    let text = std::fs::read_to_string(path).map_err(Fault::Unreadable)?;
    toml::from_str(&text).map_err(|error| Fault::NotToml(Box::new(error)))
}

/// A TOML value as a flag would have it; lists become texts with commas between.
fn text_of(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Float(number) => Some(number.to_string()),
        toml::Value::Boolean(flag) => Some(flag.to_string()),
        toml::Value::Array(items) => {
            let texts: Option<Vec<&str>> = items.iter().map(toml::Value::as_str).collect();
            texts.map(|texts| texts.join(","))
        }
        toml::Value::Datetime(_) | toml::Value::Table(_) => None,
    }
}

/// The setting that differs from `key` in the fewest letters, if they are few.
fn nearest(key: &str) -> Option<&'static str> {
    let distance = |setting: &Setting| (edits(key, setting.name), setting.name);
    let (edits, name) = SETTINGS.iter().map(distance).min()?;
    (edits <= 2).then_some(name)
}

/// How many letters must be added, dropped or replaced to make `there` of `here`.
fn edits(here: &str, there: &str) -> usize {
    let there: Vec<char> = there.chars().collect();
    let mut row: Vec<usize> = (0..=there.len()).collect();
    for (at, letter) in here.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (column, &other) in there.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[there.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_setting_that_was_meant() {
        assert_eq!(nearest("lisen"), Some("listen"));
        assert_eq!(nearest("ready_file"), Some("ready-file"));
        assert_eq!(nearest("disk.hgih"), Some("disk.high"));
        assert_eq!(nearest("colour"), None);
    }

    #[test]
    fn names_variables_after_settings() {
        assert_eq!(variable("peer-advertise"), "SOROS_PEER_ADVERTISE");
        assert_eq!(variable("disk.high"), "SOROS_DISK_HIGH");
    }
}
