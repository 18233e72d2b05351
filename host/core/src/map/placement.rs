//! This is a placement: how many partitions there are, how often each is held, which policy says
//! where, and the table that policy answered with.

use super::plugin::PolicyUse;
use super::problem::{ConfigProblem, Problems, number, optional_number};
use super::table::Table;
use crate::id::{NodeId, PlacementId};
use crate::key::{Partition, PartitionCount};
use crate::limits::REPLICAS_MAX;
use serde::{Deserialize, Serialize};

/// A placement as the map has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Placement {
    /// This life of the placement.
    pub id: PlacementId,
    /// How it is configured.
    pub config: PlacementConfig,
    /// Where its partitions are.
    pub table: Table,
}

impl Placement {
    /// How many partitions it has.
    #[must_use]
    pub fn partitions(&self) -> PartitionCount {
        self.table.partitions()
    }

    /// How many nodes hold each partition: as many as are wanted, or as there were.
    #[must_use]
    pub fn replicas(&self) -> u8 {
        self.table.copies()
    }

    /// The nodes that hold `partition`; none for a partition that the placement does not have.
    #[must_use]
    pub fn replicas_of(&self, partition: Partition) -> &[NodeId] {
        self.table.replicas_of(partition)
    }

    /// Whether each partition has fewer copies than the configuration asks for.
    #[must_use]
    pub fn is_under_replicated(&self) -> bool {
        self.table.copies() < self.config.replicas
    }
}

/// What an operator says of a placement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PlacementConfig {
    /// Who says where the partitions live.
    pub policy: PolicyUse,
    /// How many partitions there are: a power of two, for ever.
    #[serde(deserialize_with = "number")]
    pub partitions: u32,
    /// How many nodes hold each partition, where there are as many.
    #[serde(deserialize_with = "number")]
    pub replicas: u8,
    /// In how many zones each partition must be; `None` is as many as possible.
    #[serde(deserialize_with = "optional_number")]
    pub zones_min: Option<u8>,
}

impl Default for PlacementConfig {
    fn default() -> PlacementConfig {
        PlacementConfig {
            policy: PolicyUse::plain("balanced"),
            partitions: 256,
            replicas: 3,
            zones_min: None,
        }
    }
}

impl PlacementConfig {
    /// Whether every value is in its range.
    ///
    /// # Errors
    /// All that are not.
    pub fn check(&self) -> Result<(), Vec<ConfigProblem>> {
        let mut problems = Problems::default();
        if let Err(error) = PartitionCount::try_from(self.partitions) {
            problems.add("/partitions", error.to_string());
        }
        problems.range("/replicas", &self.replicas, &(1..=REPLICAS_MAX));
        if let Some(zones) = self.zones_min {
            let most = self.replicas.clamp(1, REPLICAS_MAX);
            problems.range("/zones_min", &zones, &(1..=most));
        }
        problems.finish()
    }
}
