//! This is what a table is worth: how large partitions may grow before a node is full, how evenly
//! nodes are used, and what it costs to go there from the table before.

use crate::id::NodeId;
use crate::key::Partition;
use crate::map::table::Table;
use crate::policy::topology::Snapshot;
use std::collections::BTreeMap;

/// The figures of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figures {
    /// How many bytes each partition may have before the first node is full.
    pub partition_bytes_max: u64,
    /// How many partitions each node holds.
    pub loads: BTreeMap<NodeId, u32>,
    /// How many copies have to be made that the table before does not have.
    pub moves: usize,
}

impl Figures {
    /// The figures of `table` on the members of `now`, coming from `before`.
    #[must_use]
    pub fn of(table: &Table, now: &Snapshot, before: Option<&Table>) -> Figures {
        let mut loads = BTreeMap::new();
        for node in table.rows().flat_map(|(_, row)| row) {
            *loads.entry(*node).or_insert(0) += 1;
        }
        let capacity = |node: &NodeId| now.member(*node).map_or(0, |member| member.node.capacity);
        let room = |(node, load): (&NodeId, &u32)| capacity(node) / u64::from(*load);
        let partition_bytes_max = loads.iter().map(room).min().unwrap_or(0);
        Figures {
            partition_bytes_max,
            loads,
            moves: moves(table, before),
        }
    }
}

/// How many copies `table` has that `before` does not have.
#[must_use]
pub fn moves(table: &Table, before: Option<&Table>) -> usize {
    let old = |partition| before.map_or(&[][..], |before| before.replicas_of(partition));
    let new_in = |(partition, row): (Partition, &[NodeId])| {
        row.iter()
            .filter(|node| !old(partition).contains(node))
            .count()
    };
    table.rows().map(new_in).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::epoch::Epoch;
    use crate::policy::topology::{Member, Node, State, Topology};

    fn table(cells: &[u64]) -> Table {
        let cells = cells.iter().copied().map(NodeId).collect();
        Table::new(2.try_into().expect("a power of two"), 2, cells).expect("a table")
    }

    fn now() -> Snapshot {
        let member = |id| {
            let (zone, rack) = (String::new(), String::new());
            let node = Node {
                id: NodeId(id),
                zone,
                rack,
                capacity: 100 * id,
                tags: Vec::new(),
            };
            Member {
                node,
                state: State::Active,
            }
        };
        let partitions = 2.try_into().expect("a power of two");
        let (epoch, members, bytes) = (Epoch(1), (1..5).map(member).collect(), Vec::new());
        let topology = Topology {
            epoch,
            members,
            partitions,
            replicas: 2,
            zones_min: None,
            bytes,
        };
        topology.try_into().expect("open members")
    }

    #[test]
    fn counts_what_has_to_be_copied_and_what_fits() {
        let (old, new) = (table(&[1, 4, 2, 4]), table(&[3, 1, 2, 3]));
        let figures = Figures::of(&new, &now(), Some(&old));
        assert_eq!((figures.moves, figures.partition_bytes_max), (2, 100));
        let loads = [(1, 1), (2, 1), (3, 2)].map(|(id, load)| (NodeId(id), load));
        assert_eq!(figures.loads, BTreeMap::from(loads));
        assert_eq!(Figures::of(&new, &now(), None).moves, 4);
        assert_eq!(Figures::of(&new, &now(), Some(&new)).moves, 0);
    }
}
