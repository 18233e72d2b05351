//! This is a placement that misbehaves in the way its config names, a JSON string: the sandbox is
//! tested on it.

use serde::Deserialize;
use soros_sdk::placement::{Placement, Previous, Snapshot, State};
use soros_sdk::{JsonConfig, Policy, Problem};
use std::cell::Cell;

/// How it misbehaves.
#[derive(Clone, Debug)]
pub struct Manner(String);

impl<'de> Deserialize<'de> for Manner {
    fn deserialize<D: serde::Deserializer<'de>>(source: D) -> Result<Manner, D::Error> {
        String::deserialize(source).map(Manner)
    }
}

impl JsonConfig for Manner {
    const SCHEMA: &'static str = r#"{"type":"string"}"#;
}

/// A placement that misbehaves.
#[derive(Clone, Debug)]
pub struct Misbehaving(String, Cell<bool>);

impl Policy for Misbehaving {
    const NAME: &'static str = "misbehaving";
    type Config = Manner;

    fn new(config: Manner) -> Result<Misbehaving, Vec<Problem>> {
        Ok(Misbehaving(config.0, Cell::new(false)))
    }
}

impl Placement for Misbehaving {
    fn plan(
        &self,
        now: &Snapshot,
        before: Option<&Previous>,
        seed: u64,
    ) -> Result<Vec<u16>, String> {
        let row = 0..now.copies;
        let rows = (0..now.partitions).flat_map(|_| row.clone());
        let nodes = u16::try_from(now.members.len()).unwrap_or(u16::MAX);
        let partitions = 0..u16::try_from(now.partitions).unwrap_or(u16::MAX);
        let turned = |by: &dyn Fn(u16) -> u16| {
            let rows = partitions
                .clone()
                .flat_map(|at| row.clone().map(move |copy| (at, copy)));
            rows.map(|(at, copy)| (by(at) + copy) % nodes).collect()
        };
        if let Some(member) = now
            .members
            .iter()
            .find(|member| member.state == State::Draining)
        {
            return Err(format!(
                "{} goes, and that is not what is tried",
                member.node.id
            ));
        }
        Ok(match self.0.as_str() {
            "in turn" => turned(&|at| at),
            "restless" => turned(&|at| at + before.map_or(0, |before| before.cells[0] + 1)),
            "uneven" => turned(&|at| if at < nodes { at } else { 0 }),
            "zone by zone" => zone_by_zone(now),
            "remember" => turned(&|at| at + u16::from(self.1.replace(!self.1.get()))),
            "too short" => rows.skip(1).collect(),
            "one node" => vec![0; rows.count()],
            "nobody" => rows.map(|_| 999).collect(),
            "repeat what is seen" => return Err(format!("{now:?} {before:?} {seed}")),
            _ => rows.collect(),
        })
    }
}

/// Each partition in one zone, as far as one is large enough.
fn zone_by_zone(now: &Snapshot) -> Vec<u16> {
    let (copies, members) = (usize::from(now.copies), &now.members);
    let mut order: Vec<u16> = (0..).take(members.len()).collect();
    order.sort_by_key(|at| &members[usize::from(*at)].node.zone);
    let rows = (0..now.partitions as usize).map(|partition| {
        let start = (partition * copies) % order.len();
        order.iter().cycle().skip(start).take(copies)
    });
    rows.flatten().copied().collect()
}

soros_sdk::export_placement!(Misbehaving);
