//! This is the policy `json-schema`: values that fit a schema of JSON Schema, Draft 2020-12, which
//! its config has.
//!
//! Nothing is fetched: what the schema refers to is in the config, too. Patterns take time that is
//! linear in the text.

mod check;
mod compile;
mod format;
mod metaschema;
mod number;
mod pattern;
mod resources;
mod schema;
mod uri;
mod value;

use check::Failure;
use compile::{Source, compile};
use schema::{Id, Schemas};
use serde_json::Value;
use soros_sdk::validation::{Change, Refusal, Validation, Verdict, Wants};
use soros_sdk::{JsonConfig, Policy, Problem};

/// Accepts JSON that fits its schema.
#[derive(Debug)]
pub struct JsonSchema {
    schemas: Schemas,
    root: Id,
}

/// What it is told.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What values must fit; unless told otherwise, all JSON does.
    #[serde(default = "any")]
    schema: Value,
    /// Schemas that it refers to by their `$id`.
    #[serde(default)]
    schemas: Vec<Value>,
    /// Whether texts must have the `format` that they are said to have.
    #[serde(default)]
    formats: bool,
}

fn any() -> Value {
    Value::Bool(true)
}

impl JsonConfig for Config {
    const SCHEMA: &'static str = include_str!("config.schema.json");
}

impl Policy for JsonSchema {
    const NAME: &'static str = "json-schema";
    type Config = Config;

    fn new(config: Config) -> Result<JsonSchema, Vec<Problem>> {
        let (schemas, root) = compile(&Source {
            schema: &config.schema,
            more: &config.schemas,
            formats: config.formats,
        })?;
        Ok(JsonSchema { schemas, root })
    }
}

impl JsonSchema {
    fn judge(&self, bytes: &[u8]) -> Result<(), Refusal> {
        let value: Value = serde_json::from_slice(bytes).map_err(|error| Refusal {
            code: "not-json".into(),
            message: format!("the value is not JSON: {error}"),
            pointer: None,
        })?;
        self.schemas.check(self.root, &value).map_err(refusal)
    }
}

fn refusal(failure: Failure) -> Refusal {
    let code = if failure.is_too_deep {
        "too-deep"
    } else {
        "does-not-fit"
    };
    Refusal {
        code: code.into(),
        message: failure.message,
        pointer: Some(failure.pointer),
    }
}

/// The largest value that is looked at: with a plain schema it takes about two thirds of the fuel
/// of a call. Larger ones are refused before, as too large.
const VALUE_BYTES_MAX: u32 = 48 << 10;

impl Validation for JsonSchema {
    fn wants(&self) -> Wants {
        Wants {
            prefixes: Vec::new(),
            current: false,
            deletes: false,
            value_bytes_max: VALUE_BYTES_MAX,
        }
    }

    fn check(&self, change: &Change) -> Verdict {
        let bytes = change.value.as_deref().unwrap_or_default();
        match self.judge(bytes) {
            Ok(()) => Verdict::Accept,
            Err(refusal) => Verdict::Refuse(refusal),
        }
    }
}

soros_sdk::export_validation!(JsonSchema);

#[cfg(test)]
mod suite;
#[cfg(test)]
mod tests;
