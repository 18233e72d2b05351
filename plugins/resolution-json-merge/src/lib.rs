//! This is `json-merge`: objects are merged field by field, at any depth. Where two values are not
//! both objects, the one whose canonical JSON is greater by its bytes is kept, never the later one,
//! so that the same is kept in whichever order siblings meet.
//!
//! A tombstone beside values gives way to them. A value that is no JSON: all siblings are kept. So
//! they are where the values have more than 24 KiB together, or 1,500 fields, elements of lists and
//! escaped characters: it gives up on what its fuel might not be enough for.

use serde_json::Value;
use serde_json::map::Entry;
use soros_sdk::json::Bounds;
use soros_sdk::resolution::{Merged, Resolution, Resolved, Sibling};
use soros_sdk::{NoConfig, Policy, Problem};
use std::cmp::Ordering;
use std::io::{self, Write};
use std::mem;

/// What the fuel of a call is enough for, whatever the values are.
const BOUNDS: Bounds = Bounds {
    bytes_max: 24 << 10,
    items_max: 1_500,
};
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
        let values = BOUNDS.values(siblings)?;
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
        (Value::Object(mut all), Value::Object(mut more)) => {
            // The smaller goes into the larger, which makes no difference but in what it costs.
            if all.len() < more.len() {
                mem::swap(&mut all, &mut more);
            }
            for (name, value) in more {
                match all.entry(name) {
                    Entry::Vacant(place) => {
                        place.insert(value);
                    }
                    Entry::Occupied(mut known) => {
                        let known = known.get_mut();
                        *known = merged(known.take(), value);
                    }
                }
            }
            Value::Object(all)
        }
        (one, other) => greater(one, other),
    }
}

/// An object before anything else, so that what it is merged with does not depend on the order;
/// then by canonical bytes.
fn greater(one: Value, other: Value) -> Value {
    let is_less = match (one.is_object(), other.is_object()) {
        (true, false) => false,
        (false, true) => true,
        _ => order(&one, &other).is_lt(),
    };
    if is_less { other } else { one }
}

/// The order of two values by their canonical bytes. Of `one` no more is written than it takes to
/// tell, so that a large value is not written once for each small one that it meets.
fn order(one: &Value, other: &Value) -> Ordering {
    let bytes = other.to_string().into_bytes();
    let mut compared = Compared {
        rest: &bytes,
        order: Ordering::Equal,
    };
    match serde_json::to_writer(&mut compared, one) {
        Ok(()) if !compared.rest.is_empty() => Ordering::Less,
        Ok(()) | Err(_) => compared.order,
    }
}

/// Takes bytes until they differ from those that are left.
struct Compared<'a> {
    rest: &'a [u8],
    order: Ordering,
}

impl Write for Compared<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (found, rest) = self.rest.split_at(bytes.len().min(self.rest.len()));
        self.order = bytes.cmp(found);
        self.rest = rest;
        if self.order.is_eq() {
            Ok(bytes.len())
        } else {
            Err(io::ErrorKind::Other.into())
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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
        check(&["[1,2]", "[1,20]", "[1]", "[1,2,0]"], Some("[1]"));
        check(&["12", "123", "1"], Some("123"));
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
