//! This is what a placement policy sees: the members that may hold partitions, and what the table
//! for them must be.
//!
//! A [`Snapshot`] exists only for a question that has an answer: who makes one learns at once
//! what is wrong with the topology, before any policy is asked.

use crate::epoch::Epoch;
use crate::id::NodeId;
use crate::key::PartitionCount;
use crate::limits::{NODES_MAX, REPLICAS_MAX};
use crate::map::node::{self, NodeState, Role};
use crate::map::placement::PlacementConfig;
use crate::map::table::{Table, TableError};
use std::collections::{BTreeMap, BTreeSet};

/// A node as a placement policy sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its id.
    pub id: NodeId,
    /// What fails together with it: a data centre, a room.
    pub zone: String,
    /// A finer place within its zone; empty when unknown.
    pub rack: String,
    /// How many bytes it offers.
    pub capacity: u64,
    /// What its operator calls it.
    pub tags: Vec<String>,
}

/// What becomes of a member under the table that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It comes in with this table.
    Joining,
    /// It is there and stays.
    Active,
    /// It goes with this table: no partition may be placed on it.
    Draining,
}

/// A node and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The node.
    pub node: Node,
    /// What becomes of it.
    pub state: State,
}

impl Member {
    /// Whether partitions may be placed on it.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state != State::Draining
    }
}

/// The parts of a [`Snapshot`], as they are asked for.
#[derive(Clone, Debug)]
pub struct Topology {
    /// The map that the members are from.
    pub epoch: Epoch,
    /// All members, in any order.
    pub members: Vec<Member>,
    /// How many partitions there are.
    pub partitions: PartitionCount,
    /// How many copies of each are wanted.
    pub replicas: u8,
    /// In how many zones each partition must be, as far as there are as many; none when the policy
    /// decides.
    pub zones_min: Option<u8>,
    /// How many bytes each partition has; empty when unknown.
    pub bytes: Vec<u64>,
}

/// Why there can be no table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopologyError {
    /// A number of partitions that no placement may have.
    #[error(transparent)]
    Partitions(#[from] crate::key::PartitionCountError),
    /// A number of copies that no placement may have.
    #[error("{0} replicas: 1 to {REPLICAS_MAX} are possible")]
    Replicas(u8),
    /// More members than a cluster may have.
    #[error("{0} members, more than {NODES_MAX}")]
    TooManyMembers(usize),
    /// A node that is a member twice.
    #[error("node {0} is a member twice")]
    Repeated(NodeId),
    /// Nowhere to put anything.
    #[error("there is no node that partitions may be placed on")]
    NoOpenMember,
    /// Sizes of some partitions only.
    #[error("{sizes} sizes for {partitions} partitions")]
    Sizes {
        /// How many sizes there are.
        sizes: usize,
        /// How many partitions there are.
        partitions: u32,
    },
}

/// The members, and what a table for them must be.
///
/// Invariants: members are in the order of their ids, each once, at least one open; `copies` is at
/// least 1 and at most the number of open members; `zones_min` is at least 1, at most `copies`, and
/// at most the number of zones of open members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    epoch: Epoch,
    members: Vec<Member>,
    partitions: PartitionCount,
    copies: u8,
    zones_min: Option<u8>,
    bytes: Vec<u64>,
}

impl Snapshot {
    /// What a policy is asked for a placement with `config` on the active and draining nodes among
    /// `nodes`; who plans a node's coming in or going makes it so in `nodes` first.
    ///
    /// # Errors
    /// [`TopologyError`] when there can be no table.
    pub fn of(
        epoch: Epoch,
        nodes: &BTreeMap<NodeId, node::Node>,
        config: &PlacementConfig,
    ) -> Result<Snapshot, TopologyError> {
        let holders = nodes
            .iter()
            .filter(|(_, node)| node.identity.has(Role::Peer));
        let members = holders.filter_map(|(&id, node)| member(id, node)).collect();
        Snapshot::try_from(Topology {
            epoch,
            members,
            partitions: config.partitions.try_into()?,
            replicas: config.replicas,
            zones_min: config.zones_min,
            bytes: Vec::new(),
        })
    }

    /// The map that the members are from.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// All members, in the order of their ids.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The members that partitions may be placed on, in the order of their ids.
    pub fn open_members(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.is_open())
    }

    /// The member that is the node `id`.
    #[must_use]
    pub fn member(&self, id: NodeId) -> Option<&Member> {
        let place = self
            .members
            .binary_search_by_key(&id, |member| member.node.id);
        place.ok().map(|place| &self.members[place])
    }

    /// How many partitions there are.
    #[must_use]
    pub fn partitions(&self) -> PartitionCount {
        self.partitions
    }

    /// How many copies of each partition there can be: those wanted, or one an open member.
    #[must_use]
    pub fn copies(&self) -> u8 {
        self.copies
    }

    /// In how many zones each partition must be; none when the policy decides.
    #[must_use]
    pub fn zones_min(&self) -> Option<u8> {
        self.zones_min
    }

    /// How many bytes each partition has; empty when unknown.
    #[must_use]
    pub fn bytes(&self) -> &[u64] {
        &self.bytes
    }

    /// Checks a whole table: the right size, open members only, each partition in enough zones.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self, table: &Table) -> Result<(), TableError> {
        let (have, need) = (table.partitions().get(), self.partitions.get());
        if have != need {
            return Err(TableError::WrongPartitions { have, need });
        }
        let (have, need) = (table.copies(), self.copies);
        if have != need {
            return Err(TableError::WrongCopies { have, need });
        }
        table.rows().try_for_each(|(partition, row)| {
            let (have, need) = (
                self.zones_of(row)?,
                usize::from(self.zones_min.unwrap_or(1)),
            );
            if have < need {
                return Err(TableError::Zones {
                    partition,
                    have,
                    need,
                });
            }
            Ok(())
        })
    }

    /// In how many zones the nodes of `row` are, all of them open members.
    fn zones_of(&self, row: &[NodeId]) -> Result<usize, TableError> {
        let mut zones = BTreeSet::new();
        for &id in row {
            let member = self.member(id).filter(|member| member.is_open());
            zones.insert(&member.ok_or(TableError::NotEligible(id))?.node.zone);
        }
        Ok(zones.len())
    }
}

/// A node that is not yet active is no member.
fn member(id: NodeId, node: &node::Node) -> Option<Member> {
    let state = match node.state {
        NodeState::Joining => return None,
        NodeState::Active => State::Active,
        NodeState::Draining => State::Draining,
    };
    let node = Node {
        id,
        zone: node.identity.zone.clone(),
        rack: String::new(),
        capacity: node.identity.capacity,
        tags: Vec::new(),
    };
    Some(Member { node, state })
}

impl TryFrom<Topology> for Snapshot {
    type Error = TopologyError;

    fn try_from(mut topology: Topology) -> Result<Snapshot, TopologyError> {
        if !(1..=REPLICAS_MAX).contains(&topology.replicas) {
            return Err(TopologyError::Replicas(topology.replicas));
        }
        check_sizes(&topology)?;
        topology.members.sort_by_key(|member| member.node.id);
        check_members(&topology.members)?;
        let Topology {
            epoch,
            members,
            partitions,
            replicas,
            zones_min,
            bytes,
        } = topology;
        let open = || members.iter().filter(|member| member.is_open());
        let zones: BTreeSet<&str> = open().map(|member| member.node.zone.as_str()).collect();
        let copies = u8::try_from(open().count()).map_or(replicas, |open| open.min(replicas));
        let zones = u8::try_from(zones.len()).map_or(copies, |zones| zones.min(copies));
        if copies == 0 {
            return Err(TopologyError::NoOpenMember);
        }
        let zones_min = zones_min.map(|wanted| wanted.clamp(1, zones));
        Ok(Snapshot {
            epoch,
            members,
            partitions,
            copies,
            zones_min,
            bytes,
        })
    }
}

fn check_sizes(topology: &Topology) -> Result<(), TopologyError> {
    let (sizes, partitions) = (topology.bytes.len(), topology.partitions.get());
    if sizes == 0 || sizes == partitions as usize {
        Ok(())
    } else {
        Err(TopologyError::Sizes { sizes, partitions })
    }
}

fn check_members(members: &[Member]) -> Result<(), TopologyError> {
    if NODES_MAX < members.len() {
        return Err(TopologyError::TooManyMembers(members.len()));
    }
    let repeated = members
        .windows(2)
        .find(|pair| pair[0].node.id == pair[1].node.id);
    repeated.map_or(Ok(()), |pair| Err(TopologyError::Repeated(pair[0].node.id)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Partition;

    fn member(id: u64, zone: &str, state: State) -> Member {
        let (zone, rack) = (zone.to_owned(), String::new());
        let node = Node {
            id: NodeId(id),
            zone,
            rack,
            capacity: 1 << 30,
            tags: Vec::new(),
        };
        Member { node, state }
    }

    fn snapshot(members: Vec<Member>, zones_min: Option<u8>) -> Result<Snapshot, TopologyError> {
        let partitions = 2.try_into().expect("a power of two");
        let (epoch, bytes) = (Epoch(1), Vec::new());
        Topology {
            epoch,
            members,
            partitions,
            replicas: 2,
            zones_min,
            bytes,
        }
        .try_into()
    }

    fn five() -> Vec<Member> {
        vec![
            member(1, "a", State::Active),
            member(2, "a", State::Active),
            member(3, "b", State::Joining),
            member(4, "b", State::Draining),
        ]
    }

    #[test]
    fn has_one_copy_a_node_while_nodes_are_few() {
        let one = vec![
            member(2, "a", State::Active),
            member(1, "b", State::Draining),
        ];
        let now = snapshot(one, Some(2)).expect("an open member");
        assert_eq!((now.copies(), now.zones_min()), (1, Some(1)));
        assert_eq!(now.members()[0].node.id, NodeId(1));
        assert_eq!(
            now.member(NodeId(2)).map(|member| member.state),
            Some(State::Active)
        );
        assert_eq!(now.open_members().count(), 1);
    }

    #[test]
    fn refuses_what_no_table_can_be_made_for() {
        let going = vec![member(1, "a", State::Draining)];
        assert_eq!(snapshot(going, None), Err(TopologyError::NoOpenMember));
        assert_eq!(snapshot(Vec::new(), None), Err(TopologyError::NoOpenMember));
        let twice = vec![member(1, "a", State::Active), member(1, "b", State::Active)];
        assert_eq!(
            snapshot(twice, None),
            Err(TopologyError::Repeated(NodeId(1)))
        );
        let many = (0..2000).map(|id| member(id, "a", State::Active)).collect();
        assert_eq!(
            snapshot(many, None),
            Err(TopologyError::TooManyMembers(2000))
        );
    }

    #[track_caller]
    fn check(cells: &[u64], expected: Result<(), TableError>) {
        let now = snapshot(five(), Some(2)).expect("open members in two zones");
        let cells = cells.iter().copied().map(NodeId).collect();
        let table = Table::new(2.try_into().expect("a power of two"), 2, cells).expect("a table");
        assert_eq!(now.check(&table), expected);
    }

    #[test]
    fn takes_only_open_members_in_enough_zones() {
        check(&[1, 3, 3, 2], Ok(()));
        check(&[1, 4, 1, 3], Err(TableError::NotEligible(NodeId(4))));
        check(&[1, 3, 1, 9], Err(TableError::NotEligible(NodeId(9))));
        let partition = Partition::from_wire(1);
        check(
            &[1, 3, 1, 2],
            Err(TableError::Zones {
                partition,
                have: 1,
                need: 2,
            }),
        );
    }

    #[test]
    fn takes_only_tables_of_its_size() {
        let now = snapshot(five(), None).expect("open members");
        let table = |partitions: u32, copies, cells: &[u64]| {
            let cells = cells.iter().copied().map(NodeId).collect();
            Table::new(
                partitions.try_into().expect("a power of two"),
                copies,
                cells,
            )
        };
        let short = table(1, 2, &[1, 2]).expect("a table");
        assert_eq!(
            now.check(&short),
            Err(TableError::WrongPartitions { have: 1, need: 2 })
        );
        let thin = table(2, 1, &[1, 2]).expect("a table");
        assert_eq!(
            now.check(&thin),
            Err(TableError::WrongCopies { have: 1, need: 2 })
        );
        let narrow = table(2, 2, &[1, 2, 2, 1]).expect("a table");
        assert_eq!(now.check(&narrow), Ok(()));
    }
}
