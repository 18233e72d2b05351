//! This is a resolver that misbehaves in the way its config names, a JSON string: the sandbox is
//! tested on it.

use serde::Deserialize;
use soros_sdk::resolution::{Merged, Resolution, Resolved, Sibling};
use soros_sdk::{JsonConfig, Policy, Problem, log};
use std::cell::RefCell;
use std::hint::black_box;

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

/// A resolver that misbehaves.
#[derive(Debug)]
pub struct Misbehaving {
    manner: String,
    hoard: RefCell<Vec<Vec<u8>>>,
}

impl Policy for Misbehaving {
    const NAME: &'static str = "misbehaving";
    type Config = Manner;

    fn new(config: Manner) -> Result<Misbehaving, Vec<Problem>> {
        let manner = config.0;
        match manner.as_str() {
            "loop at once" => run_for_ever(),
            "refuse the config" => {
                let (path, message) = ("/manner".into(), "not today".into());
                return Err(vec![Problem { path, message }]);
            }
            _ => {}
        }
        Ok(Misbehaving {
            manner,
            hoard: RefCell::default(),
        })
    }
}

impl Resolution for Misbehaving {
    fn resolve(&self, key: &[u8], siblings: &[Sibling]) -> Result<Resolved, String> {
        // Under any manner it behaves for this key: the next call is seen to work.
        if key == b"behave" {
            return Ok(Resolved::Keep(0));
        }
        // What follows a comma only makes it a policy of its own.
        match self.manner.split(',').next().unwrap_or_default() {
            "loop" => run_for_ever(),
            "panic" => panic!("on purpose, at {} siblings", siblings.len()),
            "grow" => grow(),
            "recurse" => recurse(0),
            "flood the log" => (0..100_000).for_each(|line| log::warn(&format!("line {line}"))),
            "log a long line" => log::error(&"long ".repeat(1 << 20)),
            "keep one too many" => return Ok(Resolved::Keep(count(siblings))),
            "answer too much" => return Ok(value("text/plain", 9 << 20)),
            "answer an odd type" => return Ok(value("text/plain\r\nX-Injected: yes", 1)),
            "give up" => return Err("no idea ".repeat(1 << 12)),
            "hoard" => self.hoard.borrow_mut().push(vec![1; 64 << 10]),
            "remember" => return Ok(Resolved::Keep(self.remembered(siblings))),
            "merge" => return Ok(concatenated(siblings)),
            "keep the middle one" => return Ok(Resolved::Keep(count(siblings) / 2)),
            "delete" => return Ok(Resolved::Tombstone),
            _ => return Ok(Resolved::KeepAll),
        }
        Ok(Resolved::Keep(0))
    }
}

impl Misbehaving {
    /// Another answer from call to call, as long as the instance is the same.
    fn remembered(&self, siblings: &[Sibling]) -> u32 {
        let mut hoard = self.hoard.borrow_mut();
        hoard.push(Vec::new());
        u32::try_from(hoard.len()).unwrap_or(0) % count(siblings)
    }
}

fn count(siblings: &[Sibling]) -> u32 {
    u32::try_from(siblings.len()).unwrap_or(u32::MAX)
}

fn run_for_ever() {
    while black_box(true) {}
}

fn grow() {
    let mut blocks: Vec<Vec<u8>> = Vec::new();
    while black_box(true) {
        blocks.push(Vec::with_capacity(black_box(1 << 20)));
    }
}

fn recurse(depth: u64) {
    let frame = black_box([depth; 2]);
    if frame[0] < u64::MAX {
        recurse(black_box(frame[0] + 1));
    }
    black_box(frame);
}

fn value(content_type: &str, len: usize) -> Resolved {
    let (content_type, bytes) = (content_type.into(), [b'a'].repeat(len));
    Resolved::Value(Merged {
        content_type,
        bytes,
    })
}

/// A merge that behaves, so that merged values have a test too.
fn concatenated(siblings: &[Sibling]) -> Resolved {
    let values = siblings.iter().filter_map(|sibling| sibling.value.clone());
    let bytes = values.collect::<Vec<_>>().concat();
    Resolved::Value(Merged {
        content_type: "text/plain".into(),
        bytes,
    })
}

soros_sdk::export_resolution!(Misbehaving);
