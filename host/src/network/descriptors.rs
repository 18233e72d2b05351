//! This is how a process's file descriptors are shared out, so that no crowd of clients or peers
//! takes those that the disk needs.

use std::num::NonZeroU16;

/// A process with less is short of them whatever it does.
const FEW: u64 = 256;
/// The most that the shares may be, however many descriptors there are.
const CLIENTS_MAX: u32 = 10_000;
const REFUSALS_MAX: u32 = 64;
const PEERS_MAX: u32 = 1024;
const FILES_MAX: u32 = 900;

/// The most descriptors that each may take. What is left is for all else: journals, runtimes,
/// connections to other nodes, children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// Connections of clients.
    pub clients: u32,
    /// Connections of clients that are told that there is no place for them.
    pub refusals: u32,
    /// Connections of other nodes.
    pub peers: u32,
    /// Files of the engine that are kept open.
    pub files: u32,
}

impl Shares {
    /// The shares of a process that may have so many descriptors.
    #[must_use]
    pub fn of(descriptors: u64) -> Shares {
        let share = |parts: u64, most: u32| {
            let share = descriptors.saturating_mul(parts) / 32;
            u32::try_from(share).unwrap_or(u32::MAX).clamp(1, most)
        };
        Shares {
            clients: share(12, CLIENTS_MAX),
            refusals: share(1, REFUSALS_MAX),
            peers: share(4, PEERS_MAX),
            files: share(8, FILES_MAX),
        }
    }

    /// The shares of one of so many nodes in such a process.
    fn of_one(descriptors: u64, nodes: NonZeroU16) -> Shares {
        Shares::of(descriptors / u64::from(nodes.get()))
    }

    /// The shares of one of so many nodes of this process, whose limit is raised as far as it may
    /// raise it itself.
    #[must_use]
    pub fn of_this_process(nodes: NonZeroU16) -> Shares {
        let descriptors = raise();
        let shares = Shares::of_one(descriptors, nodes);
        if descriptors < FEW {
            tracing::warn!(
                descriptors,
                "the process may open few files: raise `ulimit -n`"
            );
        }
        shares
    }
}

fn raise() -> u64 {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::warn!(%error, "the number of file descriptors could not be raised");
        }
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nodes_of_a_process_share_what_it_may_open() {
        for (descriptors, nodes) in [(1024, 3), (20_000, 32)] {
            let one = Shares::of_one(descriptors, NonZeroU16::new(nodes).expect("some"));
            let taken = u64::from(one.clients + one.refusals + one.peers + one.files);
            let all = taken * u64::from(nodes);
            assert!(
                all <= descriptors / 32 * 25,
                "{nodes} of {descriptors}: {all}"
            );
        }
    }

    #[test]
    fn leaves_some_to_each_and_some_to_all_else() {
        for descriptors in [64, 256, 1024, 20_000, u64::MAX] {
            let Shares {
                clients,
                refusals,
                peers,
                files,
            } = Shares::of(descriptors);
            let shares = [clients, refusals, peers, files];
            assert!(shares.iter().all(|share| 0 < *share), "{descriptors}");
            let taken: u64 = shares.into_iter().map(u64::from).sum();
            assert!(taken <= descriptors / 32 * 25, "{descriptors}: {taken}");
        }
        assert_eq!(Shares::of(u64::MAX).clients, CLIENTS_MAX);
        assert!(64 <= raise());
    }
}
