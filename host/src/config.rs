//! This is a node's own configuration: flags over environment over file, all errors at once, before
//! a port is bound. What concerns the whole cluster is in the map instead.

mod address;
mod fault;
mod reading;
mod ready;
mod setting;

pub use address::{HostPort, ListenerUrl};
pub use fault::{ConfigErrors, ConfigProblem, Fault, Place};
pub(crate) use reading::missing_folder;
pub use ready::{ReadyNode, write_ready_file};
pub use setting::{Flags, SETTINGS, Setting};

use crate::telemetry::Log;
use setting::Values;
use soros_core::id::NodeName;
use soros_core::map::node::Role;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::num::{NonZeroU16, NonZeroUsize};
use std::path::PathBuf;

/// How one node runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Its identity; may be absent once its directory knows it.
    pub name: Option<NodeName>,
    /// The folder of its data.
    pub dir: PathBuf,
    /// Where clients connect; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Where other nodes connect; port 0 lets the system choose.
    pub peer: SocketAddr,
    /// The client listener as others reach it, when that is not as it listens.
    pub advertise: Option<ListenerUrl>,
    /// The peer listener as others reach it, when that is not as it listens.
    pub peer_advertise: Option<HostPort>,
    /// What it shares a fate with.
    pub zone: String,
    /// How many bytes it may hold; as many as its disk when absent.
    pub capacity: Option<u64>,
    /// What it does.
    pub roles: BTreeSet<Role>,
    /// How it comes into a cluster.
    pub start: Start,
    /// Where to say that it serves.
    pub ready_file: Option<PathBuf>,
    /// Whether listeners that other machines reach are allowed without TLS.
    pub insecure: bool,
    /// How many threads serve clients.
    pub workers: NonZeroUsize,
    /// How it uses its disk.
    pub disk: Disk,
    /// How it repairs its partitions.
    pub repair: Repair,
    /// What it logs.
    pub log: Log,
    /// How many nodes run in its process, itself among them: they share what that may open. No
    /// setting; who starts several says so.
    pub nodes_here: NonZeroU16,
}

/// How a node comes into a cluster. On a node that is in one already, it changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// It founds one with these members, itself among them.
    Bootstrap(Vec<HostPort>),
    /// It asks this member to be let in.
    Join(HostPort),
    /// It is in one and knows it.
    Known,
}

/// How a node uses its disk.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Disk {
    /// How full the disk, or the capacity, may be before values are refused: above 0, at most 1.
    pub high: f64,
}

/// How a node repairs its partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repair {
    /// The most bytes a second that it takes from others, over some time.
    pub rate: u64,
}

impl Config {
    /// Reads the configuration of a node from its flags, from `environment` (a variable's value by
    /// its name) and from the file that either of them names.
    ///
    /// # Errors
    /// All faults at once, each with what to do about it.
    pub fn load(
        flags: &Flags,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Config, ConfigErrors> {
        Config::load_for(flags, &environment, reading::Folder::Any)
    }

    /// As [`Config::load`], for a node that is started on its folder now: a folder without an
    /// identity needs a name, and a way into a cluster.
    ///
    /// # Errors
    /// All faults at once, each with what to do about it.
    pub fn load_to_start(
        flags: &Flags,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Config, ConfigErrors> {
        Config::load_for(flags, &environment, reading::Folder::Present)
    }

    fn load_for(
        flags: &Flags,
        environment: &dyn Fn(&str) -> Option<String>,
        folder: reading::Folder,
    ) -> Result<Config, ConfigErrors> {
        let mut problems = Vec::new();
        // An empty variable is one that a script left unset.
        let environment = |name: &str| environment(name).filter(|text| !text.is_empty());
        let values = Values::gather(flags, &environment, &mut problems);
        reading::read(&values, problems, folder)
    }

    /// The URL at which others reach the client listener, which was bound to `bound`.
    #[must_use]
    pub fn advertised_url(&self, bound: SocketAddr) -> ListenerUrl {
        let as_bound = || ListenerUrl(reached(self.host_of_client_listener(), bound));
        self.advertise.clone().unwrap_or_else(as_bound)
    }

    /// The address at which others reach the peer listener, which was bound to `bound`.
    #[must_use]
    pub fn advertised_peer(&self, bound: SocketAddr) -> HostPort {
        let as_bound = || reached(self.host_of_peer_listener(), bound);
        self.peer_advertise.clone().unwrap_or_else(as_bound)
    }

    /// Whoever reaches the one listener reaches the other under the same host, so a listener on all
    /// addresses takes its host from the other one.
    fn host_of_client_listener(&self) -> Option<String> {
        let said = self.advertise.as_ref().map(|url| url.0.host.clone());
        let other = || {
            self.peer_advertise
                .as_ref()
                .map(|address| address.host.clone())
        };
        said.or_else(|| host(self.listen))
            .or_else(other)
            .or_else(|| host(self.peer))
    }

    fn host_of_peer_listener(&self) -> Option<String> {
        let said = self
            .peer_advertise
            .as_ref()
            .map(|address| address.host.clone());
        let other = || self.advertise.as_ref().map(|url| url.0.host.clone());
        said.or_else(|| host(self.peer))
            .or_else(other)
            .or_else(|| host(self.listen))
    }
}

fn host(address: SocketAddr) -> Option<String> {
    (!address.ip().is_unspecified()).then(|| address.ip().to_string())
}

fn reached(host: Option<String>, bound: SocketAddr) -> HostPort {
    let host = host.unwrap_or_else(|| bound.ip().to_string());
    HostPort {
        host,
        port: bound.port(),
    }
}

#[cfg(test)]
mod tests;
