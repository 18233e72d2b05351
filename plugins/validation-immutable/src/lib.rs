//! This is `immutable`: a value that is there stays as it is.
//!
//! It is shown what a quorum read answers before the write. Two first writes at the same time may
//! both pass, and are siblings like any others; with a resolver one of them is then the value.

use serde::Deserialize;
use soros_sdk::validation::{Change, Refusal, Validation, Verdict, Wants};
use soros_sdk::{JsonConfig, Policy, Problem};

/// What may still be done to a value.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Whether it may be deleted, after which its key may be written again.
    deletes: bool,
}

impl JsonConfig for Config {
    const SCHEMA: &'static str = r#"{
        "type": "object",
        "properties": {"deletes": {
            "type": "boolean", "default": false, "description": "Whether values may be deleted."
        }},
        "additionalProperties": false
    }"#;
}

/// Refuses to overwrite.
#[derive(Clone, Copy, Debug)]
pub struct Immutable {
    deletes: bool,
}

impl Policy for Immutable {
    const NAME: &'static str = "immutable";
    type Config = Config;

    fn new(config: Config) -> Result<Immutable, Vec<Problem>> {
        let Config { deletes } = config;
        Ok(Immutable { deletes })
    }
}

impl Validation for Immutable {
    fn wants(&self) -> Wants {
        Wants {
            prefixes: Vec::new(),
            current: true,
            deletes: !self.deletes,
            value_bytes_max: u32::MAX,
        }
    }

    fn check(&self, change: &Change) -> Verdict {
        if change.current.is_none() {
            return Verdict::Accept;
        }
        let verb = match change.value {
            Some(_) => "overwritten",
            None => "deleted",
        };
        Verdict::Refuse(Refusal {
            code: "immutable".into(),
            message: format!("the key has a value, which may not be {verb}"),
            pointer: None,
        })
    }
}

soros_sdk::export_validation!(Immutable);

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(value: Option<&str>, current: Option<&str>) -> Verdict {
        let bytes = |text: &str| text.as_bytes().to_vec();
        let policy = Immutable::new(Config::default()).expect("a config");
        policy.check(&Change {
            bucket: "b".into(),
            key: b"k".to_vec(),
            content_type: "text/plain".into(),
            value: value.map(bytes),
            current: current.map(bytes),
            principal: String::new(),
        })
    }

    #[test]
    fn lets_what_is_new_pass() {
        assert!(matches!(verdict(Some("a"), None), Verdict::Accept));
        assert!(matches!(verdict(None, None), Verdict::Accept));
    }

    #[test]
    fn keeps_what_is_there() {
        for value in [Some("a"), Some("b"), None] {
            let Verdict::Refuse(refusal) = verdict(value, Some("a")) else {
                panic!("{value:?} passes");
            };
            assert_eq!(refusal.code, "immutable");
        }
    }

    #[test]
    fn asks_about_deletes_unless_they_are_allowed() {
        let wants = |deletes| Immutable { deletes }.wants();
        assert!(wants(false).deletes && !wants(true).deletes);
        assert!(wants(true).current);
    }
}
