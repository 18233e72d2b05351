//! This is which ports the nodes of `soros dev` listen on: those asked for, or free ones that stay
//! the same as long as the folder of the data does.

use super::super::Failure;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::RangeInclusive;
use std::path::Path;

/// How far apart the ports of two nodes are.
const STEP: u16 = 10;
/// Where free ports are looked for: above those of well-known services, below those that the system
/// gives to outgoing connections.
const FREE: RangeInclusive<u16> = 10_000..=32_767;
/// The file, beside the nodes' folders, that remembers which free ports were chosen.
const FILE: &str = "ports.json";

/// The ports of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pair {
    /// Of its client listener.
    pub(super) client: u16,
    /// Of its peer listener.
    pub(super) peer: u16,
}

/// The ports of all nodes, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Ports(pub(super) Vec<Pair>);

impl Ports {
    /// The ports of `nodes` nodes that begin at `port`, or free ones when it is 0.
    pub(super) fn choose(port: u16, nodes: u16, folder: &Path) -> Result<Ports, Failure> {
        if port == 0 {
            return Ports::free(nodes, folder);
        }
        let ports = Ports::fixed(port, nodes).ok_or(Failure::Usage(
            "the ports end above 65535: lower --port or --nodes",
        ))?;
        let taken = ports.numbers().find(|&port| !is_free(port));
        match taken {
            Some(taken) => Err(Failure::PortTaken(taken)),
            None => Ok(ports),
        }
    }

    fn fixed(port: u16, nodes: u16) -> Option<Ports> {
        let pair = |number: u16| {
            let client = port.checked_add(number.checked_mul(STEP)?)?;
            Some(Pair {
                client,
                peer: client.checked_add(1)?,
            })
        };
        (0..nodes)
            .map(pair)
            .collect::<Option<Vec<Pair>>>()
            .map(Ports)
    }

    /// Free ports; those of the last time where they still are.
    fn free(nodes: u16, folder: &Path) -> Result<Ports, Failure> {
        let path = folder.join(FILE);
        let remembered = std::fs::read(&path)
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok());
        let mut ports = remembered.unwrap_or(Ports(Vec::new()));
        ports.0.truncate(usize::from(nodes));
        if !ports.numbers().all(is_free) {
            ports.0.clear();
        }
        let mut taken: BTreeSet<u16> = ports.numbers().collect();
        while ports.0.len() < usize::from(nodes) {
            let client = free_port(&mut taken)?;
            ports.0.push(Pair {
                client,
                peer: free_port(&mut taken)?,
            });
        }
        let text = serde_json::to_vec(&ports).map_err(io::Error::from)?;
        std::fs::write(&path, text).map_err(|error| Failure::File(path, error))?;
        Ok(ports)
    }

    fn numbers(&self) -> impl Iterator<Item = u16> {
        self.0.iter().flat_map(|pair| [pair.client, pair.peer])
    }
}

/// A free port that is not among `taken`, and is from now on.
fn free_port(taken: &mut BTreeSet<u16>) -> io::Result<u16> {
    let count = FREE.end() - FREE.start() + 1;
    let start = getrandom::u32().map_or(0, |bits| bits % u32::from(count));
    let start = u16::try_from(start).unwrap_or(0);
    let all = (0..count).map(|step| FREE.start() + (start + step) % count);
    for port in all {
        if !taken.contains(&port) && is_free(port) {
            taken.insert(port);
            return Ok(port);
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_ten_from_node_to_node() {
        let ports = Ports::fixed(7070, 3).expect("ports");
        assert_eq!(
            ports.numbers().collect::<Vec<_>>(),
            [7070, 7071, 7080, 7081, 7090, 7091]
        );
        assert_eq!(Ports::fixed(65_530, 2), None);
        assert_eq!(Ports::fixed(65_535, 1), None);
    }

    #[test]
    fn keeps_free_ports_as_long_as_the_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = Ports::choose(0, 2, folder.path()).expect("ports");
        assert!(first.numbers().all(|port| FREE.contains(&port)));
        let more = Ports::choose(0, 3, folder.path()).expect("ports");
        assert_eq!(first.0, more.0[..2]);
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, more.0[0].peer)).expect("free");
        let others = Ports::choose(0, 3, folder.path()).expect("ports");
        assert!(others.numbers().all(is_free), "{others:?}");
        drop(taken);
    }

    #[test]
    fn says_which_port_is_taken() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let folder = tempfile::tempdir().expect("a folder");
        let failure = Ports::choose(port, 1, folder.path()).expect_err("it is taken");
        assert!(failure.to_string().contains(&port.to_string()), "{failure}");
    }
}
