//! This is which ports the nodes of `soros dev` listen on: those asked for, or free ones. They stay
//! the same as long as the folder of the data does, for the nodes in it know each other by them.

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
/// The first port when nobody says otherwise.
const DEFAULT: u16 = 7070;
/// The file, beside the nodes' folders, that remembers the ports.
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
    /// The ports of `nodes` nodes: those that the folder remembers, else those from `port` on, or
    /// free ones when it is 0.
    pub(super) fn choose(port: Option<u16>, nodes: u16, folder: &Path) -> Result<Ports, Failure> {
        let path = folder.join(FILE);
        let remembered = Ports::remembered(&path);
        let first = remembered.0.first().map(|pair| pair.client);
        if port.is_some_and(|port| port != 0 && first.is_some_and(|first| first != port)) {
            return Err(Failure::Usage(
                "the nodes in the folder know each other by other ports: leave out --port",
            ));
        }
        let fixed = Ports::fixed(first.or(port).unwrap_or(DEFAULT), nodes);
        let is_fixed = fixed.as_ref().is_none_or(|fixed| {
            fixed
                .0
                .iter()
                .zip(&remembered.0)
                .all(|(one, other)| one == other)
        });
        let ports = if is_fixed && (first.is_some() || port != Some(0)) {
            fixed.ok_or(Failure::Usage(
                "the ports end above 65535: lower --port or --nodes",
            ))?
        } else {
            remembered.and_free(nodes)?
        };
        if let Some(taken) = ports.numbers().find(|&port| !is_free(port)) {
            return Err(Failure::PortTaken(taken));
        }
        let text = serde_json::to_vec(&ports).map_err(io::Error::from)?;
        std::fs::write(&path, text).map_err(|error| Failure::File(path, error))?;
        Ok(ports)
    }

    fn remembered(path: &Path) -> Ports {
        let text = std::fs::read(path).ok();
        text.and_then(|text| serde_json::from_slice(&text).ok())
            .unwrap_or(Ports(Vec::new()))
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

    /// The ports of `nodes` nodes, free ones where there are none yet.
    fn and_free(mut self, nodes: u16) -> Result<Ports, Failure> {
        self.0.truncate(usize::from(nodes));
        let mut taken: BTreeSet<u16> = self.numbers().collect();
        while self.0.len() < usize::from(nodes) {
            let client = free_port(&mut taken)?;
            self.0.push(Pair {
                client,
                peer: free_port(&mut taken)?,
            });
        }
        Ok(self)
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
        let free = Some(0);
        let first = Ports::choose(free, 2, folder.path()).expect("ports");
        assert!(first.numbers().all(|port| FREE.contains(&port)));
        let more = Ports::choose(free, 3, folder.path()).expect("ports");
        assert_eq!(first.0, more.0[..2]);
        let again = Ports::choose(None, 3, folder.path()).expect("ports");
        assert_eq!(again, more);
        let other = Ports::choose(Some(more.0[0].client + 1), 3, folder.path());
        assert!(matches!(other, Err(Failure::Usage(_))), "{other:?}");
        // The nodes know each other by them: others would find nobody.
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, more.0[0].peer)).expect("free");
        let none = Ports::choose(None, 3, folder.path());
        assert!(matches!(none, Err(Failure::PortTaken(_))), "{none:?}");
        drop(taken);
    }

    #[test]
    fn keeps_chosen_ports_as_long_as_the_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut taken = BTreeSet::new();
        let port = free_port(&mut taken).expect("a port");
        let first = Ports::choose(Some(port), 1, folder.path()).expect("ports");
        let again = Ports::choose(None, 1, folder.path()).expect("ports");
        assert_eq!((first.0[0].client, &again), (port, &first));
        let other = Ports::choose(Some(0), 1, folder.path()).expect("ports");
        assert_eq!(other, first);
    }

    #[test]
    fn says_which_port_is_taken() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let folder = tempfile::tempdir().expect("a folder");
        let failure = Ports::choose(Some(port), 1, folder.path()).expect_err("it is taken");
        assert!(failure.to_string().contains(&port.to_string()), "{failure}");
    }
}
