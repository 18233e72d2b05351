//! This is what a placement policy is asked, and whether the host takes its answer.
//!
//! A table is computed by a plugin and then used as data: so it is checked whole, against the nodes
//! and the configuration it was computed for, before it becomes part of a map.

use super::Map;
use super::node::Node;
use super::placement::PlacementConfig;
use super::table::{Table, TableError};
use crate::id::NodeId;
use std::collections::{BTreeMap, BTreeSet};

/// How many copies of each partition there can be: as many as wanted, or one a node that may hold
/// data.
#[must_use]
pub fn copies(nodes: &BTreeMap<NodeId, Node>, config: &PlacementConfig) -> u8 {
    let eligible = nodes.values().filter(|node| node.is_eligible()).count();
    u8::try_from(eligible)
        .unwrap_or(u8::MAX)
        .min(config.replicas)
}

/// In how many zones each partition must be: as many as asked for, or as there are. Where none are
/// asked for the policy alone decides, so that it may keep a bucket in one region.
#[must_use]
pub fn zones(nodes: &BTreeMap<NodeId, Node>, config: &PlacementConfig) -> usize {
    let eligible = nodes.values().filter(|node| node.is_eligible());
    let there: BTreeSet<_> = eligible.map(|node| &node.identity.zone).collect();
    let copies = usize::from(copies(nodes, config));
    usize::from(config.zones_min.unwrap_or(1))
        .min(there.len())
        .min(copies)
}

/// Whether `table` may be the table of a placement with `config` on `nodes`.
///
/// # Errors
/// [`TableError`] says what is wrong with it.
pub fn check_table(
    nodes: &BTreeMap<NodeId, Node>,
    config: &PlacementConfig,
    table: &Table,
) -> Result<(), TableError> {
    let (have, need) = (table.partitions().get(), config.partitions);
    if have != need {
        return Err(TableError::WrongPartitions { have, need });
    }
    let (have, need) = (table.copies(), copies(nodes, config));
    if have != need {
        return Err(TableError::WrongCopies { have, need });
    }
    let eligible = |node: &NodeId| nodes.get(node).is_some_and(Node::is_eligible);
    if let Some(&node) = table.members().iter().find(|node| !eligible(node)) {
        return Err(TableError::NotEligible(node));
    }
    check_zones(nodes, zones(nodes, config), table)
}

fn check_zones(
    nodes: &BTreeMap<NodeId, Node>,
    need: usize,
    table: &Table,
) -> Result<(), TableError> {
    for (partition, row) in table.rows() {
        let zone = |node| nodes.get(node).map(|node| &node.identity.zone);
        let have = row.iter().filter_map(zone).collect::<BTreeSet<_>>().len();
        if have < need {
            return Err(TableError::Zones {
                partition,
                have,
                need,
            });
        }
    }
    Ok(())
}

impl Map {
    /// How many copies of each partition a new table of `config` must have.
    #[must_use]
    pub fn copies(&self, config: &PlacementConfig) -> u8 {
        copies(self.nodes(), config)
    }
}
