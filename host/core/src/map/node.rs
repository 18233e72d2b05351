//! This is a node as the map has it: who it says it is, where it listens, what it can hold.

use super::format::Format;
use super::problem::{ConfigProblem, Problems};
use crate::epoch::Epoch;
use crate::id::{Incarnation, NodeId, NodeName};
use crate::limits::{ADDRESS_BYTES_MAX, CAPACITY_BYTES_MAX, NAME_BYTES_MAX, VERSION_BYTES_MAX};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A member of the Raft group: 64 random bits, drawn with a node's directory. A node whose
/// directory was emptied comes back as a new member, so no vote is ever given twice under one id.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct RaftId(pub u64);

impl From<u64> for RaftId {
    fn from(bits: u64) -> RaftId {
        RaftId(bits)
    }
}

impl std::fmt::Display for RaftId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

/// What a node does for the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It holds partitions.
    Peer,
    /// It may vote on the map.
    Authority,
}

/// What a node says of itself when it founds, joins or comes back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its name; its [`NodeId`] is the name's hash.
    pub name: NodeName,
    /// This life of its process.
    pub incarnation: Incarnation,
    /// Its member id in the Raft group.
    pub raft: RaftId,
    /// Where clients reach it: the URL of its client listener.
    pub url: String,
    /// Where peers reach it: host and port of its peer listener.
    pub peer: String,
    /// What it shares a fate with.
    pub zone: String,
    /// How many bytes it can hold.
    pub capacity: u64,
    /// What it does.
    pub roles: BTreeSet<Role>,
    /// The version of its program.
    pub version: String,
    /// The newest format that its program knows.
    pub format: Format,
}

impl Identity {
    /// The node's id.
    #[must_use]
    pub fn id(&self) -> NodeId {
        NodeId::of(&self.name)
    }

    /// Whether it has `role`.
    #[must_use]
    pub fn has(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// Whether every field is within its limits.
    ///
    /// # Errors
    /// All that are not.
    pub fn check(&self) -> Result<(), Vec<ConfigProblem>> {
        let mut problems = Problems::default();
        problems.text("/url", &self.url, ADDRESS_BYTES_MAX);
        problems.text("/peer", &self.peer, ADDRESS_BYTES_MAX);
        problems.text("/zone", &self.zone, NAME_BYTES_MAX);
        problems.text("/version", &self.version, VERSION_BYTES_MAX);
        if CAPACITY_BYTES_MAX < self.capacity {
            problems.add(
                "/capacity",
                format!("at most {CAPACITY_BYTES_MAX} bytes are counted"),
            );
        }
        if self.roles.is_empty() {
            problems.add("/roles", "a node has at least one role");
        }
        problems.finish()
    }
}

/// Where a node stands in the cluster. Whether it is alive is not in the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeState {
    /// It came in and holds no partition until a plan gives it some.
    Joining,
    /// It may hold partitions.
    Active,
    /// Its partitions are moving away.
    Draining,
}

/// A node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Where it stands.
    pub state: NodeState,
    /// The epoch at which the directory it has now came in: of placements older than that it may
    /// have lost what it held.
    pub since: Epoch,
    /// What it said of itself when it last started.
    pub identity: Identity,
}

impl Node {
    /// Whether a new table may name it.
    #[must_use]
    pub fn is_eligible(&self) -> bool {
        self.state == NodeState::Active && self.identity.has(Role::Peer)
    }
}
