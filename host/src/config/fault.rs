//! This is what can be wrong with a configuration, each fault said with what to do about it.

use super::address::HostPort;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Everything that is wrong with a configuration, found before a port is bound.
#[derive(Debug, thiserror::Error)]
pub struct ConfigErrors(pub Vec<ConfigProblem>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ConfigErrors(problems) = self;
        for (number, problem) in problems.iter().enumerate() {
            let separator = if number == 0 { "" } else { "\n" };
            write!(formatter, "{separator}{problem}")?;
        }
        Ok(())
    }
}

/// One fault and where it is.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {fault}")]
pub struct ConfigProblem {
    /// The flag, the environment variable, or the key and its file.
    pub place: Place,
    /// What is wrong there.
    pub fault: Fault,
}

/// Where a value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The flag of a setting.
    Flag(&'static str),
    /// The environment variable of a setting.
    Environment(&'static str),
    /// A key in the configuration file.
    File(String, PathBuf),
    /// The configuration file as a whole.
    WholeFile(PathBuf),
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Flag(name) => write!(formatter, "--{name}"),
            Place::Environment(name) => formatter.write_str(&super::setting::variable(name)),
            Place::File(key, path) => write!(formatter, "`{key}` in {}", path.display()),
            Place::WholeFile(path) => write!(formatter, "{}", path.display()),
        }
    }
}

/// What is wrong with a value, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// A key that is no setting.
    #[error("there is no such setting{}", meant(*nearest))]
    Unknown {
        /// The setting whose name is nearest.
        nearest: Option<&'static str>,
    },
    /// A TOML value of a type that no setting has.
    #[error("a text, a number, true or false, or a list of texts is needed")]
    WrongType,
    /// A file that cannot be read.
    #[error("cannot be read ({0}); check the path given by --config or SOROS_CONFIG")]
    Unreadable(#[source] std::io::Error),
    /// A file that is not TOML.
    #[error("is not TOML: {0}")]
    NotToml(#[source] Box<toml::de::Error>),
    /// Not a node's name.
    #[error(transparent)]
    Name(#[from] soros_core::id::NameError),
    /// Not an address to bind.
    #[error("`{0}` is not an address to listen on: write IP:PORT, as in 127.0.0.1:7070")]
    Address(String),
    /// Not a host and a port.
    #[error("`{0}` is not HOST:PORT, as in 10.0.0.1:7071 or node1.example:7071")]
    HostPort(String),
    /// Not the URL of a client listener.
    #[error("`{0}` is not a URL of the form http://HOST:PORT")]
    Url(String),
    /// Not a number of bytes.
    #[error("`{0}` is not a number of bytes: write digits, with KiB, MiB, GiB, TiB or kB to TB")]
    Bytes(String),
    /// Not a number in the range.
    #[error("`{given}` is not a whole number from {least} to {most}")]
    Number {
        /// What was written.
        given: String,
        /// The smallest number allowed.
        least: usize,
        /// The largest number allowed.
        most: usize,
    },
    /// Not a fraction.
    #[error("`{0}` is not a fraction of the disk: write a number above 0 and at most 1, as in 0.9")]
    Fraction(String),
    /// Neither true nor false.
    #[error("`{0}` is neither true nor false")]
    Switch(String),
    /// Not a role.
    #[error("`{0}` is not a role: write peer, authority or both with a comma between")]
    Role(String),
    /// Not a zone.
    #[error(
        "a zone has 1 to {} bytes and no control characters",
        soros_core::limits::NAME_BYTES_MAX
    )]
    Zone,
    /// Not a format of log lines.
    #[error("`{0}` is not a log format: write text or json")]
    LogFormat(String),
    /// Not a filter of log lines.
    #[error("`{0}` is not a log filter: write a level, or pairs as in soros_host=debug,warn")]
    LogFilter(String),
    /// An empty value where one is needed.
    #[error("is empty: give it a value, or leave it out")]
    Empty,
    /// A listener that other machines reach, without TLS.
    #[error(
        "{0} can be reached from other machines, and nothing is encrypted: \
         listen on 127.0.0.1, or add --insecure if everyone on that network may be trusted"
    )]
    Insecure(SocketAddr),
    /// Both listeners on one port.
    #[error("{0} is the client listener's address too: give each its own port")]
    SamePort(SocketAddr),
    /// A listener on all addresses, and no word on which one others should use.
    #[error("{0} is no address that others could use: add --{1} with the one they should")]
    Unspecified(SocketAddr, &'static str),
    /// A founding list without this node.
    #[error(
        "the list must contain this node itself, which its peers reach at {own}: \
         add {own}, or set --peer-advertise to how the list writes it"
    )]
    NotFounding {
        /// This node's own peer address.
        own: HostPort,
    },
    /// A founding list that names a node twice.
    #[error("{0} is in the list twice: name each founding member once")]
    Twice(HostPort),
    /// A founding member whose port is drawn by the system.
    #[error("a founding member needs a peer port that is known before: set --peer with a port")]
    PortUnknown,
    /// Both ways to start.
    #[error("a node founds a cluster or joins one: leave out --bootstrap or --join")]
    FoundsAndJoins,
    /// A new folder and no name.
    #[error("the folder is new, so the node needs a name: add --name")]
    Nameless,
    /// A new folder and no way into a cluster.
    #[error(
        "the folder is new, so the node is in no cluster: found one with --bootstrap or enter one \
         with --join"
    )]
    NoCluster,
    /// A ready file in a folder that is not there.
    #[error("the folder {} does not exist: make it, or choose another path", .0.display())]
    NoFolder(PathBuf),
}

fn meant(nearest: Option<&str>) -> String {
    match nearest {
        Some(name) => format!("; `{name}` was perhaps meant"),
        None => "; `soros serve --help` lists them".to_owned(),
    }
}
