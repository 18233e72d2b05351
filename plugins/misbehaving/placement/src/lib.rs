//! This is a placement that misbehaves in the way its config names, a JSON string: the sandbox is
//! tested on it.

use serde::Deserialize;
use soros_sdk::placement::{Placement, Previous, Snapshot};
use soros_sdk::{JsonConfig, Policy, Problem};

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
pub struct Misbehaving(String);

impl Policy for Misbehaving {
    const NAME: &'static str = "misbehaving";
    type Config = Manner;

    fn new(config: Manner) -> Result<Misbehaving, Vec<Problem>> {
        Ok(Misbehaving(config.0))
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
        Ok(match self.0.as_str() {
            "too short" => rows.skip(1).collect(),
            "one node" => vec![0; rows.count()],
            "nobody" => rows.map(|_| 999).collect(),
            "repeat what is seen" => return Err(format!("{now:?} {before:?} {seed}")),
            _ => rows.collect(),
        })
    }
}

soros_sdk::export_placement!(Misbehaving);
