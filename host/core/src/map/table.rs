//! This is the table of a placement: for every partition the nodes that hold it.
//!
//! As JSON the nodes are named once and each cell is an index into them, so that the table of
//! 65,536 partitions stays below a megabyte.

use crate::id::NodeId;
use crate::key::{Partition, PartitionCount};
use crate::limits::REPLICAS_MAX;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Which nodes hold which partition. Invariant: every partition has `copies` different nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "TableForm", into = "TableForm")]
pub struct Table {
    partitions: PartitionCount,
    copies: u8,
    cells: Vec<NodeId>,
}

/// Why cells are not a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TableError {
    /// No copy, or more than a partition may have.
    #[error("{0} copies of a partition: 1 to {REPLICAS_MAX} are needed")]
    Copies(u8),
    /// Another number of copies than the placement and its nodes ask for.
    #[error("{have} copies of a partition, but {need} are needed")]
    WrongCopies {
        /// How many the table has.
        have: u8,
        /// How many there must be.
        need: u8,
    },
    /// Another number of partitions than the placement has.
    #[error("{have} partitions, but {need} are needed")]
    WrongPartitions {
        /// How many the table has.
        have: u32,
        /// How many there must be.
        need: u32,
    },
    /// Not one cell for every copy of every partition.
    #[error("{have} cells, but {need} are needed")]
    Cells {
        /// How many there are.
        have: usize,
        /// How many there must be.
        need: usize,
    },
    /// A cell that names none of the table's members.
    #[error("a cell names member {0}, which there is not")]
    NoMember(u16),
    /// One node twice in a partition.
    #[error("partition {partition} names node {node} twice")]
    Twice {
        /// The partition.
        partition: Partition,
        /// The node.
        node: NodeId,
    },
    /// A node that may hold no data.
    #[error("node {0} may hold no data")]
    NotEligible(NodeId),
    /// A partition in too few zones.
    #[error("partition {partition} is in {have} zones, but {need} are needed")]
    Zones {
        /// The partition.
        partition: Partition,
        /// In how many zones it is.
        have: usize,
        /// In how many it must be.
        need: usize,
    },
}

impl Table {
    /// The table of `cells`, which has `copies` nodes for each partition, partition by partition.
    ///
    /// # Errors
    /// [`TableError`] when a cell is missing or left over, or a partition names a node twice.
    pub fn new(
        partitions: PartitionCount,
        copies: u8,
        cells: Vec<NodeId>,
    ) -> Result<Table, TableError> {
        if !(1..=REPLICAS_MAX).contains(&copies) {
            return Err(TableError::Copies(copies));
        }
        let need = partitions.get() as usize * usize::from(copies);
        if cells.len() != need {
            return Err(TableError::Cells {
                have: cells.len(),
                need,
            });
        }
        let table = Table {
            partitions,
            copies,
            cells,
        };
        table
            .rows()
            .try_for_each(|(partition, row)| distinct(partition, row))?;
        Ok(table)
    }

    /// The table whose cells are positions in `members`, as placement policies answer.
    ///
    /// # Errors
    /// [`TableError`] when a cell names no member, or as [`Table::new`] does.
    pub fn of_positions(
        partitions: PartitionCount,
        copies: u8,
        members: &[NodeId],
        cells: &[u16],
    ) -> Result<Table, TableError> {
        let member = |&cell: &u16| {
            members
                .get(usize::from(cell))
                .copied()
                .ok_or(TableError::NoMember(cell))
        };
        Table::new(
            partitions,
            copies,
            cells.iter().map(member).collect::<Result<_, _>>()?,
        )
    }

    /// How many partitions it has.
    #[must_use]
    pub fn partitions(&self) -> PartitionCount {
        self.partitions
    }

    /// How many nodes hold each partition.
    #[must_use]
    pub fn copies(&self) -> u8 {
        self.copies
    }

    /// The nodes that hold `partition`; none for a partition that the table does not have.
    #[must_use]
    pub fn replicas_of(&self, partition: Partition) -> &[NodeId] {
        let copies = usize::from(self.copies);
        let start = partition.index() * copies;
        self.cells.get(start..start + copies).unwrap_or_default()
    }

    /// Every partition with the nodes that hold it, in order.
    pub fn rows(&self) -> impl Iterator<Item = (Partition, &[NodeId])> {
        Partition::all(self.partitions).zip(self.cells.chunks_exact(usize::from(self.copies)))
    }

    /// All nodes that hold a partition.
    #[must_use]
    pub fn members(&self) -> BTreeSet<NodeId> {
        self.cells.iter().copied().collect()
    }

    /// Its members in order, and its cells as positions among them, as placement policies read.
    ///
    /// # Panics
    /// Never: a map has far fewer nodes than 65,536.
    #[must_use]
    pub fn positions(&self) -> (Vec<NodeId>, Vec<u16>) {
        let members: Vec<NodeId> = self.members().into_iter().collect();
        let numbered = members.iter().zip(0_u16..).map(|(&node, at)| (node, at));
        let at: BTreeMap<NodeId, u16> = numbered.collect();
        let cells = self.cells.iter().map(|node| at[node]).collect();
        (members, cells)
    }
}

fn distinct(partition: Partition, row: &[NodeId]) -> Result<(), TableError> {
    for (at, &node) in row.iter().enumerate() {
        if row[..at].contains(&node) {
            return Err(TableError::Twice { partition, node });
        }
    }
    Ok(())
}

/// A table as it is written.
#[derive(Serialize, Deserialize)]
struct TableForm {
    partitions: PartitionCount,
    copies: u8,
    members: Vec<NodeId>,
    cells: Vec<u16>,
}

impl From<Table> for TableForm {
    fn from(table: Table) -> TableForm {
        let (members, cells) = table.positions();
        TableForm {
            partitions: table.partitions,
            copies: table.copies,
            members,
            cells,
        }
    }
}

impl TryFrom<TableForm> for Table {
    type Error = TableError;

    fn try_from(form: TableForm) -> Result<Table, TableError> {
        Table::of_positions(form.partitions, form.copies, &form.members, &form.cells)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(partitions: u32) -> PartitionCount {
        PartitionCount::try_from(partitions).expect("a power of two")
    }

    fn table(partitions: u32, copies: u8, cells: &[u64]) -> Result<Table, TableError> {
        Table::new(
            count(partitions),
            copies,
            cells.iter().copied().map(NodeId).collect(),
        )
    }

    #[test]
    fn names_the_nodes_of_each_partition() {
        let table = table(2, 2, &[7, 8, 8, 9]).expect("a table");
        let second = Partition::from_wire(1);
        assert_eq!(table.replicas_of(second), [NodeId(8), NodeId(9)]);
        assert_eq!(table.replicas_of(Partition::from_wire(2)), []);
        assert_eq!(table.members().len(), 3);
    }

    #[test]
    fn refuses_missing_cells_and_repeated_nodes() {
        assert_eq!(
            table(2, 2, &[1, 2, 3]),
            Err(TableError::Cells { have: 3, need: 4 })
        );
        assert_eq!(table(1, 0, &[]), Err(TableError::Copies(0)));
        let partition = Partition::from_wire(1);
        let twice = TableError::Twice {
            partition,
            node: NodeId(3),
        };
        assert_eq!(table(2, 2, &[1, 2, 3, 3]), Err(twice));
        let positions = Table::of_positions(count(1), 1, &[NodeId(1)], &[1]);
        assert_eq!(positions, Err(TableError::NoMember(1)));
    }

    #[test]
    fn is_written_with_each_node_named_once() {
        let table = table(2, 2, &[7, 8, 9, 7]).expect("a table");
        let text = serde_json::to_string(&table).expect("JSON");
        let form = r#"{"partitions":2,"copies":2,"members":[7,8,9],"cells":[0,1,2,0]}"#;
        assert_eq!(text, form);
        assert_eq!(
            serde_json::from_str::<Table>(&text).expect("a table"),
            table
        );
        assert!(serde_json::from_str::<Table>(&text.replace("[0,1,2,0]", "[0,0,2,0]")).is_err());
    }
}
