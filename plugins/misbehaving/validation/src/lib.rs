//! This is a validator that misbehaves in the way its config names, a JSON string: the sandbox is
//! tested on it.

use serde::Deserialize;
use soros_sdk::validation::{Change, Refusal, Validation, Verdict, Wants};
use soros_sdk::{JsonConfig, Policy, Problem};
use std::cell::Cell;
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

/// A validator that misbehaves.
#[derive(Clone, Debug)]
pub struct Misbehaving(String, Cell<bool>);

impl Policy for Misbehaving {
    const NAME: &'static str = "misbehaving";
    type Config = Manner;

    fn new(config: Manner) -> Result<Misbehaving, Vec<Problem>> {
        Ok(Misbehaving(config.0, Cell::new(false)))
    }
}

impl Validation for Misbehaving {
    fn wants(&self) -> Wants {
        let is_about_all = self.0.starts_with("any key");
        let prefixes = [b"a/", b"b/"].map(|prefix| prefix.to_vec());
        Wants {
            prefixes: prefixes.into_iter().filter(|_| !is_about_all).collect(),
            current: !is_about_all && !matches!(self.0.as_str(), "stamp" | "turn bad"),
            deletes: self.0 != "not deletes",
            value_bytes_max: 1 << 10,
        }
    }

    fn check(&self, change: &Change) -> Verdict {
        match self.0.as_str() {
            "panic" => panic!("on purpose"),
            "any key, without end" => run_for_ever(),
            "stamp" => Verdict::AcceptAs(stamped(change.value.as_deref().unwrap_or_default())),
            "turn bad" => turned_bad(change.value.as_deref().unwrap_or_default()),
            "change everything" => Verdict::AcceptAs(b"changed".to_vec()),
            "refuse" => refused(format!("{change:?}")),
            // The second of each call, and also another answer when it is asked again.
            "refuse every second" if self.1.replace(!self.1.get()) => {
                refused("the last passed".into())
            }
            _ => Verdict::Accept,
        }
    }
}

fn run_for_ever() -> Verdict {
    while black_box(true) {}
    Verdict::Accept
}

fn refused(message: String) -> Verdict {
    Verdict::Refuse(Refusal {
        code: "because".into(),
        message,
        pointer: Some("/a".into()),
    })
}

/// As a stamp, but at a value with `bad` in it versions that begin with 6 panic, and those that
/// begin with 7 refuse.
fn turned_bad(value: &[u8]) -> Verdict {
    // Tests give the component other versions after it was compiled.
    let version = black_box(env!("CARGO_PKG_VERSION"));
    if value.windows(3).any(|part| part == b"bad") {
        assert!(!version.starts_with('6'), "on purpose");
        if version.starts_with('7') {
            return refused("it is bad".into());
        }
    }
    Verdict::AcceptAs(stamped(value))
}

/// The value behind this version, so that it shows which one took it.
fn stamped(value: &[u8]) -> Vec<u8> {
    [env!("CARGO_PKG_VERSION").as_bytes(), b":", value].concat()
}

soros_sdk::export_validation!(Misbehaving);
