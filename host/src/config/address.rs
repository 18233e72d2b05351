//! This is how a node's addresses are written: a host and a port, and the URL of a client listener.

use super::fault::Fault;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// A host and a port, as a peer listener is advertised.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    /// A name or an IP address; IPv6 without its brackets.
    pub host: String,
    /// The port, not 0.
    pub port: u16,
}

impl FromStr for HostPort {
    type Err = Fault;

    fn from_str(text: &str) -> Result<HostPort, Fault> {
        let fault = || Fault::HostPort(text.to_owned());
        let (host, port) = text.rsplit_once(':').ok_or_else(fault)?;
        let port = port
            .parse()
            .ok()
            .filter(|&port| port != 0)
            .ok_or_else(fault)?;
        Ok(HostPort {
            host: host_of(host).ok_or_else(fault)?,
            port,
        })
    }
}

impl From<SocketAddr> for HostPort {
    fn from(address: SocketAddr) -> HostPort {
        HostPort {
            host: address.ip().to_string(),
            port: address.port(),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(formatter, "[{}]:{}", self.host, self.port)
        } else {
            write!(formatter, "{}:{}", self.host, self.port)
        }
    }
}

fn host_of(text: &str) -> Option<String> {
    if let Some(inner) = text.strip_prefix('[') {
        let address: std::net::Ipv6Addr = inner.strip_suffix(']')?.parse().ok()?;
        return Some(address.to_string());
    }
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    (!text.is_empty() && text.len() <= 253 && text.bytes().all(is_host))
        .then(|| text.to_ascii_lowercase())
}

/// The URL of a client listener: `http://HOST:PORT`, nothing behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerUrl(pub HostPort);

impl FromStr for ListenerUrl {
    type Err = Fault;

    fn from_str(text: &str) -> Result<ListenerUrl, Fault> {
        let fault = || Fault::Url(text.to_owned());
        let rest = text.strip_prefix("http://").ok_or_else(fault)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let address = rest.parse().or_else(|_| format!("{rest}:80").parse());
        address.map(ListenerUrl).map_err(|_: Fault| fault())
    }
}

impl fmt::Display for ListenerUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "http://{}", self.0)
    }
}

/// Reads an address to bind: an IP address or `localhost`, and a port that may be 0.
pub(super) fn listen_address(text: &str) -> Result<SocketAddr, Fault> {
    let address = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}").parse(),
        None => text.parse(),
    };
    address.map_err(|_| Fault::Address(text.to_owned()))
}

/// Whether only this machine reaches `address`.
pub(super) fn is_loopback(address: SocketAddr) -> bool {
    match address.ip() {
        IpAddr::V4(ip) => ip.is_loopback(),
        IpAddr::V6(ip) => ip.to_canonical().is_loopback(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_hosts_and_ports_as_they_are_written() {
        for text in ["10.0.0.1:7071", "node-1.example:1", "[::1]:65535"] {
            let address: HostPort = text.parse().expect("an address");
            assert_eq!(address.to_string(), text);
        }
        for text in [
            "", "a", ":1", "a:", "a:0", "a:65536", "::1:7071", "[a]:1", "a b:1", "a/b:1",
        ] {
            assert!(text.parse::<HostPort>().is_err(), "{text}");
        }
    }

    #[test]
    fn reads_urls_of_listeners_only() {
        let url = |text: &str| text.parse::<ListenerUrl>().ok().map(|url| url.to_string());
        assert_eq!(url("http://a:7070/").as_deref(), Some("http://a:7070"));
        assert_eq!(url("http://a").as_deref(), Some("http://a:80"));
        for text in [
            "a:7070",
            "https://a:7070",
            "http://",
            "http://a:7070/x",
            "http://u@a:1",
        ] {
            assert_eq!(url(text), None, "{text}");
        }
    }

    #[test]
    fn tells_this_machine_from_others() {
        let loopback = |text: &str| is_loopback(listen_address(text).expect("an address"));
        for text in [
            "127.0.0.1:1",
            "127.9.9.9:0",
            "[::1]:1",
            "[::ffff:127.0.0.1]:1",
            "localhost:9",
        ] {
            assert!(loopback(text), "{text}");
        }
        for text in ["0.0.0.0:1", "10.0.0.1:1", "[::]:1", "[fe80::1]:1"] {
            assert!(!loopback(text), "{text}");
        }
    }
}
