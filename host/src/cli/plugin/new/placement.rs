//! This is `my-plugin`: which nodes hold which partitions.

use soros_sdk::placement::{Member, Placement, Previous, Snapshot, State};
use soros_sdk::{NoConfig, Policy, Problem};
use std::cmp::Reverse;
use std::collections::BTreeSet;

/// Lets each node draw a number for each partition; the greatest win, a new zone before an old one.
/// A node that comes takes only what it wins, and one that goes leaves only what it had.
#[derive(Clone, Copy, Debug)]
pub struct MyPlugin;

impl Policy for MyPlugin {
    const NAME: &'static str = "my-plugin";
    type Config = NoConfig;

    fn new(_: NoConfig) -> Result<MyPlugin, Vec<Problem>> {
        Ok(MyPlugin)
    }
}

impl Placement for MyPlugin {
    fn plan(
        &self,
        now: &Snapshot,
        _before: Option<&Previous>,
        seed: u64,
    ) -> Result<Vec<u16>, String> {
        let open = |(_, member): &(u16, &Member)| member.state != State::Draining;
        let nodes: Vec<(u16, &Member)> = (0..).zip(&now.members).filter(open).collect();
        let rows = (0..now.partitions).map(|partition| {
            let mut nodes = nodes.clone();
            nodes.sort_by(|(_, one), (_, other)| {
                let draw = |member: &Member| draw(member, partition, seed);
                draw(other).total_cmp(&draw(one))
            });
            row(nodes, now)
        });
        Ok(rows.flatten().collect())
    }
}

/// The first nodes, those of a zone that is not there yet before the others until it is in enough.
fn row(nodes: Vec<(u16, &Member)>, now: &Snapshot) -> Vec<u16> {
    let copies = usize::from(now.copies);
    let zones_max = usize::from(now.zones_min.unwrap_or(now.copies));
    let mut zones = BTreeSet::new();
    let mut nodes: Vec<(bool, u16)> = nodes
        .into_iter()
        .map(|(at, member)| (zones.len() < zones_max && zones.insert(&member.node.zone), at))
        .collect();
    nodes.sort_by_key(|(is_new, _)| Reverse(*is_new));
    nodes.into_iter().take(copies).map(|(_, at)| at).collect()
}

/// The greater a node's capacity, the greater its numbers are on the whole.
#[allow(clippy::cast_precision_loss)]
fn draw(member: &Member, partition: u32, seed: u64) -> f64 {
    let mut bits = seed ^ member.node.id ^ (u64::from(partition) << 32);
    for factor in [0xbf58_476d_1ce4_e5b9_u64, 0x94d0_49bb_1331_11eb] {
        bits = (bits ^ (bits >> 30)).wrapping_mul(factor);
    }
    let unit = ((bits >> 11) as f64 + 1.0) / (1_u64 << 53) as f64;
    (member.node.capacity as f64) / -unit.ln()
}

soros_sdk::export_placement!(MyPlugin);

#[cfg(test)]
mod tests {
    use super::*;
    use soros_sdk::testing;

    #[test]
    fn tables_are_valid_and_stay_when_nothing_changes() {
        for zones in [&["a", "b", "c"][..], &["a", "a", "b", "b", "c"]] {
            testing::assert_table(&MyPlugin, &testing::snapshot(zones, 64, 3));
        }
    }
}
