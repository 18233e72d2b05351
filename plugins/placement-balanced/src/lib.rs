//! This is `balanced`: partitions as large as the nodes' capacities and zones allow, and of all
//! tables that allow it one with the fewest moves.
//!
//! It is exact. [`shares`] says how many partitions each node may hold when partitions are as large
//! as possible; [`assignment`] holds rows within these shares and the zone rule, and [`exchange`]
//! completes them along cheapest paths of exchanges between nodes, which is where the fewest moves
//! come from. A seed, the partition and the node break ties, so the same question has the same
//! answer, and what one node holds is spread over all others.

mod assignment;
mod exchange;
mod plan;
mod shares;

#[cfg(test)]
mod tests;

use soros_sdk::placement::{Placement, Previous, Snapshot};
use soros_sdk::{NoConfig, Policy, Problem};

/// Spreads partitions by capacity and over zones, and moves as few as it can.
#[derive(Clone, Copy, Debug)]
pub struct Balanced;

impl Policy for Balanced {
    const NAME: &'static str = "balanced";
    type Config = NoConfig;

    fn new(_: NoConfig) -> Result<Balanced, Vec<Problem>> {
        Ok(Balanced)
    }
}

impl Placement for Balanced {
    fn plan(
        &self,
        now: &Snapshot,
        before: Option<&Previous>,
        seed: u64,
    ) -> Result<Vec<u16>, String> {
        plan::plan(now, before, seed)
    }
}

soros_sdk::export_placement!(Balanced);
