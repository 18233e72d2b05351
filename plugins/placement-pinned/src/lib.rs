//! This is `pinned`: partitions only on the nodes that have certain tags or are in certain zones,
//! and on these as `balanced` spreads them, by the very same code.
//!
//! Where too few nodes are left for the copies, or too few zones, there is no table, and the one in
//! force stays.

#[path = "../../placement-balanced/src/assignment.rs"]
mod assignment;
#[path = "../../placement-balanced/src/exchange.rs"]
mod exchange;
#[path = "../../placement-balanced/src/plan.rs"]
mod plan;
#[path = "../../placement-balanced/src/shares.rs"]
mod shares;

use serde::Deserialize;
use soros_sdk::placement::{Node, Placement, Previous, Snapshot, State};
use soros_sdk::{JsonConfig, Policy, Problem};
use std::collections::BTreeSet;

/// Where partitions may be.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Tags of which a node must have every one.
    tags: Vec<String>,
    /// Zones of which a node must be in one. Any zone when there are none.
    zones: Vec<String>,
}

impl JsonConfig for Config {
    const SCHEMA: &'static str = r#"{
        "type": "object",
        "properties": {
            "tags": {
                "type": "array", "items": {"type": "string"}, "default": [],
                "description": "Tags of which a node must have every one."
            },
            "zones": {
                "type": "array", "items": {"type": "string"}, "default": [],
                "description": "Zones of which a node must be in one; none: any."
            }
        },
        "additionalProperties": false,
        "examples": [{"tags": ["ssd"]}, {"zones": ["a", "b"]}]
    }"#;
}

/// Spreads partitions over some of the nodes.
#[derive(Clone, Debug)]
pub struct Pinned(Config);

impl Policy for Pinned {
    const NAME: &'static str = "pinned";
    type Config = Config;

    fn new(config: Config) -> Result<Pinned, Vec<Problem>> {
        Ok(Pinned(config))
    }
}

impl Pinned {
    fn takes(&self, node: &Node) -> bool {
        let Config { tags, zones } = &self.0;
        tags.iter().all(|tag| node.tags.contains(tag))
            && (zones.is_empty() || zones.contains(&node.zone))
    }
}

impl Placement for Pinned {
    fn plan(
        &self,
        now: &Snapshot,
        before: Option<&Previous>,
        seed: u64,
    ) -> Result<Vec<u16>, String> {
        let mut now = now.clone();
        let mut zones = BTreeSet::new();
        let mut nodes = 0;
        for member in &mut now.members {
            if member.state == State::Draining {
                continue;
            }
            if self.takes(&member.node) {
                nodes += 1;
                zones.insert(member.node.zone.clone());
            } else {
                member.state = State::Draining;
            }
        }
        if nodes < usize::from(now.copies) {
            let copies = now.copies;
            return Err(format!(
                "{copies} copies on the {nodes} nodes of these tags and zones"
            ));
        }
        let zones = zones.len();
        if let Some(needed) = now.zones_min.filter(|needed| zones < usize::from(*needed)) {
            return Err(format!(
                "{needed} zones are needed, and these nodes are in {zones}"
            ));
        }
        plan::plan(&now, before, seed)
    }
}

soros_sdk::export_placement!(Pinned);

#[cfg(test)]
mod tests {
    use super::*;
    use soros_sdk::testing;

    fn pinned(tags: &[&str], zones: &[&str]) -> Pinned {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let (tags, zones) = (texts(tags), texts(zones));
        Pinned::new(Config { tags, zones }).expect("a config")
    }

    fn snapshot() -> Snapshot {
        let mut now = testing::snapshot(&["a", "b", "c", "a", "b"], 16, 2);
        for at in [0, 1, 3] {
            now.members[at].node.tags = vec!["ssd".into(), "new".into()];
        }
        now
    }

    #[track_caller]
    fn check(policy: &Pinned, nodes: &[u16]) {
        let table = testing::assert_table(policy, &snapshot());
        let used: BTreeSet<u16> = table.into_iter().collect();
        assert_eq!(used.into_iter().collect::<Vec<_>>(), nodes);
    }

    #[test]
    fn places_where_tags_and_zones_allow() {
        check(&pinned(&[], &[]), &[0, 1, 2, 3, 4]);
        check(&pinned(&["ssd"], &[]), &[0, 1, 3]);
        check(&pinned(&["ssd", "new"], &["a"]), &[0, 3]);
        check(&pinned(&[], &["b", "c"]), &[1, 2, 4]);
    }

    #[test]
    fn gives_up_where_too_little_is_left() {
        let mut now = snapshot();
        let error = pinned(&["tape"], &[])
            .plan(&now, None, 0)
            .expect_err("no node");
        assert_eq!(error, "2 copies on the 0 nodes of these tags and zones");
        now.zones_min = Some(2);
        let error = pinned(&[], &["a"])
            .plan(&now, None, 0)
            .expect_err("one zone");
        assert_eq!(error, "2 zones are needed, and these nodes are in 1");
    }
}
