//! This is `set`: values `{"add": {ELEMENT: [TAG]}, "del": {ELEMENT: [TAG]}}`. Who adds an element
//! adds a tag that nobody has used; who removes it copies the tags that they see into `del`. Both
//! sides only grow, by union, so an element is in the set while it has a tag that is not removed,
//! and of an addition and a removal at one time the addition wins.
//!
//! A tombstone beside values gives way to them. Anything else as a value: all siblings are kept.

use serde_json::{Map, Value};
use soros_sdk::resolution::{Merged, Resolution, Resolved, Sibling};
use soros_sdk::{NoConfig, Policy, Problem};
use std::collections::{BTreeMap, BTreeSet};

type Tags = BTreeMap<String, BTreeSet<String>>;

/// What was added and what was removed.
#[derive(Clone, Debug, Default)]
struct Elements {
    added: Tags,
    removed: Tags,
}

/// Merges sets.
#[derive(Clone, Copy, Debug)]
pub struct Set;

impl Policy for Set {
    const NAME: &'static str = "set";
    type Config = NoConfig;

    fn new(_: NoConfig) -> Result<Set, Vec<Problem>> {
        Ok(Set)
    }
}

impl Resolution for Set {
    fn resolve(&self, _key: &[u8], siblings: &[Sibling]) -> Result<Resolved, String> {
        let values: Vec<&Vec<u8>> = siblings
            .iter()
            .filter_map(|one| one.value.as_ref())
            .collect();
        if values.is_empty() {
            return Ok(Resolved::Tombstone);
        }
        let mut all = Elements::default();
        for value in &values {
            let Some(elements) = read(value) else {
                return Ok(Resolved::KeepAll);
            };
            join(&mut all.added, elements.added);
            join(&mut all.removed, elements.removed);
        }
        Ok(Resolved::Value(Merged {
            content_type: "application/json".into(),
            bytes: write(all).into_bytes(),
        }))
    }
}

fn join(all: &mut Tags, more: Tags) {
    for (element, tags) in more {
        all.entry(element).or_default().extend(tags);
    }
}

fn read(value: &[u8]) -> Option<Elements> {
    let Value::Object(mut fields) = serde_json::from_slice(value).ok()? else {
        return None;
    };
    let tags = |list: Value| match list {
        Value::Array(tags) => tags
            .into_iter()
            .map(|tag| match tag {
                Value::String(tag) => Some(tag),
                _ => None,
            })
            .collect::<Option<BTreeSet<String>>>(),
        _ => None,
    };
    let mut side = |name| match fields.remove(name) {
        None => Some(Tags::new()),
        Some(Value::Object(elements)) => elements
            .into_iter()
            .map(|(element, list)| Some((element, tags(list)?)))
            .collect(),
        Some(_) => None,
    };
    let (added, removed) = (side("add")?, side("del")?);
    fields.is_empty().then_some(Elements { added, removed })
}

fn write(elements: Elements) -> String {
    let side = |tags: Tags| {
        let list = |tags: BTreeSet<String>| tags.into_iter().map(Value::String).collect();
        let elements = tags
            .into_iter()
            .map(|(element, tags)| (element, list(tags)));
        Value::Object(elements.collect::<Map<_, _>>())
    };
    let mut fields = Map::new();
    fields.insert("add".into(), side(elements.added));
    fields.insert("del".into(), side(elements.removed));
    Value::Object(fields).to_string()
}

soros_sdk::export_resolution!(Set);

#[cfg(test)]
mod tests {
    use super::*;
    use soros_sdk::testing;

    #[track_caller]
    fn check(values: &[&str], expected: Option<&str>) {
        testing::assert_merges(&Set, values, expected);
    }

    #[test]
    fn additions_win_over_removals_that_have_not_seen_them() {
        check(
            &[
                r#"{"add":{"milk":["1"]}}"#,
                r#"{"add":{"milk":["1"]},"del":{"milk":["1"]}}"#,
                r#"{"add":{"milk":["2","1"],"eggs":["3"]}}"#,
            ],
            Some(r#"{"add":{"eggs":["3"],"milk":["1","2"]},"del":{"milk":["1"]}}"#),
        );
    }

    #[test]
    fn keeps_all_where_one_is_no_set() {
        for odd in [
            r#"{"add":{"a":[1]}}"#,
            r#"{"add":[]}"#,
            r#"{"x":{}}"#,
            "[]",
            "",
        ] {
            check(&[r#"{"add":{"a":["1"]}}"#, odd], None);
        }
    }

    #[test]
    fn values_win_over_tombstones() {
        testing::assert_values_win(&Set, "{}");
    }
}
