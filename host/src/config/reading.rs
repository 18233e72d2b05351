//! This is how texts become a typed `Config`: every value is read, every fault is kept, and only
//! then is it decided whether there is a configuration at all.

use super::address::{HostPort, ListenerUrl, is_loopback, listen_address};
use super::fault::{ConfigErrors, ConfigProblem, Fault, Place};
use super::setting::Values;
use super::{Config, Disk, Repair, Start};
use crate::telemetry::{Log, LogFormat, is_filter};
use soros_core::limits::NAME_BYTES_MAX;
use soros_core::map::node::Role;
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::{NonZeroU16, NonZeroUsize};
use std::path::PathBuf;

/// The client listener's port, unless told otherwise.
const LISTEN_PORT: u16 = 7070;
/// The peer listener's port, unless told otherwise.
const PEER_PORT: u16 = 7071;
/// How full the disk may be before writes stop, unless told otherwise.
const DISK_HIGH: f64 = 0.90;
/// How many bytes a second are taken for repair, unless told otherwise.
const REPAIR_RATE: u64 = 128 << 20;
/// The most threads that serve clients.
const WORKERS_MAX: usize = 1024;

/// Whether the node's folder counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Folder {
    /// It may be any.
    Any,
    /// As it is now.
    Present,
}

/// Reads all settings.
pub(super) fn read(
    values: &Values,
    problems: Vec<ConfigProblem>,
    folder: Folder,
) -> Result<Config, ConfigErrors> {
    let mut reading = Reading {
        values,
        problems,
        wrong: BTreeSet::new(),
    };
    let config = reading.config();
    reading.check_together(&config);
    if folder == Folder::Present {
        reading.check_folder(&config);
    }
    if reading.problems.is_empty() {
        Ok(config)
    } else {
        Err(ConfigErrors(reading.problems))
    }
}

struct Reading<'a> {
    values: &'a Values,
    problems: Vec<ConfigProblem>,
    /// The settings whose own value makes no sense: how they fit with others is not asked.
    wrong: BTreeSet<&'static str>,
}

impl Reading<'_> {
    /// The value of the setting `name`, if it was given and makes sense.
    fn take<T>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, Fault>,
    ) -> Option<T> {
        let found = self.values.get(name)?;
        match parse(&found.text) {
            Ok(value) => Some(value),
            Err(fault) => {
                self.problems.push(ConfigProblem {
                    place: found.place.clone(),
                    fault,
                });
                self.wrong.insert(name);
                None
            }
        }
    }

    /// The items of the setting `name`, between commas, if it was given and they all make sense.
    fn take_list<T>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, Fault>,
    ) -> Option<Vec<T>> {
        let found = self.values.get(name)?;
        let (mut items, mut is_whole) = (Vec::new(), true);
        for item in found.text.split(',') {
            match parse(item.trim()) {
                Ok(item) => items.push(item),
                Err(fault) => {
                    let place = found.place.clone();
                    self.problems.push(ConfigProblem { place, fault });
                    is_whole = false;
                }
            }
        }
        if !is_whole {
            self.wrong.insert(name);
        }
        is_whole.then_some(items)
    }

    /// Notes a fault in how `name` and `others` fit together, at the one to change. Nothing if one
    /// is wrong by itself.
    fn refuse(&mut self, name: &'static str, others: &[&str], fault: Fault) {
        if self.wrong.contains(name) || others.iter().any(|other| self.wrong.contains(other)) {
            return;
        }
        let place = self
            .values
            .get(name)
            .map_or(Place::Flag(name), |found| found.place.clone());
        self.problems.push(ConfigProblem { place, fault });
    }

    fn config(&mut self) -> Config {
        Config {
            name: self.take("name", |text| Ok(text.parse()?)),
            dir: self
                .take("dir", path)
                .unwrap_or_else(|| "soros-data".into()),
            listen: self
                .take("listen", listen_address)
                .unwrap_or(loopback(LISTEN_PORT)),
            peer: self
                .take("peer", listen_address)
                .unwrap_or(loopback(PEER_PORT)),
            advertise: self.take("advertise", str::parse::<ListenerUrl>),
            peer_advertise: self.take("peer-advertise", str::parse::<HostPort>),
            zone: self
                .take("zone", zone)
                .unwrap_or_else(|| "default".to_owned()),
            capacity: self.take("capacity", bytes),
            roles: self.roles(),
            start: self.start(),
            ready_file: self.take("ready-file", path),
            insecure: self.take("insecure", switch).unwrap_or(false),
            workers: self.take("workers", workers).unwrap_or_else(cores),
            disk: Disk {
                high: self.take("disk.high", fraction).unwrap_or(DISK_HIGH),
            },
            repair: Repair {
                rate: self.take("repair.rate", rate).unwrap_or(REPAIR_RATE),
            },
            log: Log {
                filter: self.take("log", log_filter),
                format: self.take("log-format", log_format).unwrap_or_default(),
            },
            nodes_here: NonZeroU16::MIN,
        }
    }

    fn roles(&mut self) -> BTreeSet<Role> {
        let roles = self.take_list("roles", role);
        roles.map_or_else(all_roles, |roles| roles.into_iter().collect())
    }

    fn founding_members(&mut self) -> Option<Vec<HostPort>> {
        let members = self.take_list("bootstrap", str::parse::<HostPort>)?;
        for (number, member) in members.iter().enumerate() {
            if members[..number].contains(member) {
                self.refuse("bootstrap", &[], Fault::Twice(member.clone()));
            }
        }
        Some(members)
    }

    fn start(&mut self) -> Start {
        let founding = self.founding_members();
        let member = self.take("join", str::parse::<HostPort>);
        match (founding, member) {
            (Some(members), None) => Start::Bootstrap(members),
            (None, Some(member)) => Start::Join(member),
            (None, None) => Start::Known,
            (Some(_), Some(member)) => {
                self.refuse("join", &[], Fault::FoundsAndJoins);
                Start::Join(member)
            }
        }
    }

    fn check_together(&mut self, config: &Config) {
        self.check_listeners(config);
        self.check_advertised(config);
        if let Start::Bootstrap(members) = &config.start {
            self.check_founding(config, members);
        }
        if let Some(folder) = config.ready_file.as_deref().and_then(missing_folder) {
            self.refuse("ready-file", &[], Fault::NoFolder(folder));
        }
    }

    fn check_listeners(&mut self, config: &Config) {
        for (name, address) in [("listen", config.listen), ("peer", config.peer)] {
            if !config.insecure && !is_loopback(address) {
                self.refuse(name, &["insecure"], Fault::Insecure(address));
            }
        }
        if config.listen == config.peer && config.peer.port() != 0 {
            self.refuse("peer", &["listen"], Fault::SamePort(config.peer));
        }
    }

    fn check_advertised(&mut self, config: &Config) {
        if config.host_of_client_listener().is_none() {
            let fault = Fault::Unspecified(config.listen, "advertise");
            self.refuse("listen", &["advertise"], fault);
        }
        if config.host_of_peer_listener().is_none() {
            let fault = Fault::Unspecified(config.peer, "peer-advertise");
            self.refuse("peer", &["peer-advertise"], fault);
        }
    }

    fn check_founding(&mut self, config: &Config, members: &[HostPort]) {
        let own = config.advertised_peer(config.peer);
        let others = ["peer", "peer-advertise", "listen", "advertise"];
        if own.port == 0 {
            self.refuse("bootstrap", &others, Fault::PortUnknown);
        } else if !members.contains(&own) {
            self.refuse("bootstrap", &others, Fault::NotFounding { own });
        }
    }

    /// What a folder that no node has used before needs to be told.
    fn check_folder(&mut self, config: &Config) {
        let is_new = ["identity", "engine"]
            .iter()
            .all(|file| !config.dir.join(file).exists());
        if !is_new {
            return;
        }
        if config.name.is_none() {
            self.refuse("name", &["dir"], Fault::Nameless);
        }
        if config.start == Start::Known {
            self.refuse("bootstrap", &["dir", "join"], Fault::NoCluster);
        }
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn all_roles() -> BTreeSet<Role> {
    BTreeSet::from([Role::Peer, Role::Authority])
}

fn cores() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// The folder that a file would lie in, if it is not there.
pub(crate) fn missing_folder(file: &std::path::Path) -> Option<PathBuf> {
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())?;
    (!folder.is_dir()).then(|| folder.to_owned())
}

fn path(text: &str) -> Result<PathBuf, Fault> {
    if text.is_empty() {
        Err(Fault::Empty)
    } else {
        Ok(PathBuf::from(text))
    }
}

fn zone(text: &str) -> Result<String, Fault> {
    let fits = (1..=NAME_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control);
    if fits {
        Ok(text.to_owned())
    } else {
        Err(Fault::Zone)
    }
}

fn switch(text: &str) -> Result<bool, Fault> {
    text.parse().map_err(|_| Fault::Switch(text.to_owned()))
}

fn workers(text: &str) -> Result<NonZeroUsize, Fault> {
    let number: Option<NonZeroUsize> = text.parse().ok();
    number
        .filter(|number| number.get() <= WORKERS_MAX)
        .ok_or_else(|| Fault::Number {
            given: text.to_owned(),
            least: 1,
            most: WORKERS_MAX,
        })
}

fn fraction(text: &str) -> Result<f64, Fault> {
    let number: Option<f64> = text.parse().ok();
    number
        .filter(|&number| 0.0 < number && number <= 1.0)
        .ok_or_else(|| Fault::Fraction(text.to_owned()))
}

fn rate(text: &str) -> Result<u64, Fault> {
    let rate = bytes(text)?;
    (0 < rate)
        .then_some(rate)
        .ok_or_else(|| Fault::Bytes(text.to_owned()))
}

fn log_format(text: &str) -> Result<LogFormat, Fault> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        other => Err(Fault::LogFormat(other.to_owned())),
    }
}

fn log_filter(text: &str) -> Result<String, Fault> {
    if is_filter(text) {
        Ok(text.to_owned())
    } else {
        Err(Fault::LogFilter(text.to_owned()))
    }
}

fn role(text: &str) -> Result<Role, Fault> {
    match text {
        "peer" => Ok(Role::Peer),
        "authority" => Ok(Role::Authority),
        other => Err(Fault::Role(other.to_owned())),
    }
}

/// Reads a number of bytes: digits, and perhaps a unit of 1000 or of 1024 bytes.
fn bytes(text: &str) -> Result<u64, Fault> {
    let fault = || Fault::Bytes(text.to_owned());
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| fault())?;
    let unit: u64 = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        _ => return Err(fault()),
    };
    number
        .checked_mul(unit)
        .filter(|&bytes| bytes != 0)
        .ok_or_else(fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_bytes_with_units_of_both_kinds() {
        let cases = [
            ("1", Some(1)),
            ("4096b", Some(4096)),
            ("10GiB", Some(10 << 30)),
            ("10 gb", Some(10_000_000_000)),
            ("2TiB", Some(2 << 40)),
            ("", None),
            ("0", None),
            ("GiB", None),
            ("-1", None),
            ("1.5GiB", None),
            ("20000000TiB", None),
        ];
        for (text, expected) in cases {
            assert_eq!(bytes(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn reads_fractions_above_zero_up_to_one() {
        for text in ["0.9", "1", "0.05"] {
            assert!(fraction(text).is_ok(), "{text}");
        }
        for text in ["0", "-0.1", "1.01", "NaN", "inf", "90%"] {
            assert!(fraction(text).is_err(), "{text}");
        }
    }
}
