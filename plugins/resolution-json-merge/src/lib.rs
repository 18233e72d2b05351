//! This is `json-merge`: objects are merged field by field, at any depth. Where two values are not
//! both objects, the one whose canonical JSON is greater by its bytes is kept, never the later one,
//! so that the same is kept in whichever order siblings meet.
//!
//! A tombstone beside values gives way to them. A value that is no JSON: all siblings are kept.

use serde_json::Value;
use soros_sdk::resolution::{Merged, Resolution, Resolved, Sibling};
use soros_sdk::{NoConfig, Policy, Problem};

/// How deep values may be; the parser takes no deeper ones either.
const DEPTH_MAX: usize = 100;

/// Merges JSON.
#[derive(Clone, Copy, Debug)]
pub struct JsonMerge;

impl Policy for JsonMerge {
    const NAME: &'static str = "json-merge";
    type Config = NoConfig;

    fn new(_: NoConfig) -> Result<JsonMerge, Vec<Problem>> {
        Ok(JsonMerge)
    }
}

impl Resolution for JsonMerge {
    fn resolve(&self, _key: &[u8], siblings: &[Sibling]) -> Result<Resolved, String> {
        let values = siblings.iter().filter_map(|one| one.value.as_deref());
        let mut all: Option<Value> = None;
        for value in values {
            let value = serde_json::from_slice::<Value>(value).ok();
            let Some(value) = value.filter(|value| depth(value) <= DEPTH_MAX) else {
                return Ok(Resolved::KeepAll);
            };
            all = Some(match all {
                None => value,
                Some(all) => merged(all, value),
            });
        }
        Ok(all.map_or(Resolved::Tombstone, |value| {
            Resolved::Value(Merged {
                content_type: "application/json".into(),
                bytes: value.to_string().into_bytes(),
            })
        }))
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn merged(one: Value, other: Value) -> Value {
    match (one, other) {
        (Value::Object(mut all), Value::Object(more)) => {
            for (name, value) in more {
                let value = match all.remove(&name) {
                    None => value,
                    Some(known) => merged(known, value),
                };
                all.insert(name, value);
            }
            Value::Object(all)
        }
        (one, other) => greater(one, other),
    }
}

/// An object before anything else, so that what it is merged with does not depend on the order;
/// then by canonical bytes.
fn greater(one: Value, other: Value) -> Value {
    let rank = |value: &Value| (value.is_object(), value.to_string());
    if rank(&one) < rank(&other) {
        other
    } else {
        one
    }
}

soros_sdk::export_resolution!(JsonMerge);

#[cfg(test)]
mod tests {
    use super::*;
    use soros_sdk::testing;

    #[track_caller]
    fn check(values: &[&str], expected: Option<&str>) {
        testing::assert_merges(&JsonMerge, values, expected);
    }

    #[test]
    fn merges_objects_at_any_depth() {
        check(
            &[
                r#"{"a":{"x":1},"b":2}"#,
                r#"{"a":{"y":[1]},"b":3}"#,
                r#"{"a":{"x":0}}"#,
            ],
            Some(r#"{"a":{"x":1,"y":[1]},"b":3}"#),
        );
    }

    #[test]
    fn keeps_an_object_before_anything_else() {
        check(&["{}", "\"z\"", "[9]", "null"], Some("{}"));
        check(&["[9]", "\"z\"", "null"], Some("null"));
    }

    #[test]
    fn keeps_all_where_one_is_no_json() {
        check(&["{}", "{"], None);
    }

    #[test]
    fn values_win_over_tombstones() {
        testing::assert_values_win(&JsonMerge, "[1]");
    }
}
