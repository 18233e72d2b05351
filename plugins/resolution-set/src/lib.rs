//! This is `set`: values `{"add": {ELEMENT: [TAG]}, "del": {ELEMENT: [TAG]}}`. Who adds an element
//! adds a tag that nobody has used; who removes it copies the tags that they see into `del`. Both
//! sides only grow, by union, so an element is in the set while it has a tag that is not removed,
//! and of an addition and a removal at one time the addition wins.
//!
//! A tombstone beside values gives way to them. Anything else as a value: all siblings are kept. So
//! they are where the values have more than 32 KiB together, or 3,000 elements, tags and
//! escaped characters: it gives up on what its fuel might not be enough for.

use soros_sdk::json::{Bounds, Fields, Text};
use soros_sdk::resolution::{Merged, Resolution, Resolved, Sibling};
use soros_sdk::{NoConfig, Policy, Problem};
use std::borrow::Cow;

/// What the fuel of a call is enough for, whatever the elements are.
const BOUNDS: Bounds = Bounds {
    bytes_max: 32 << 10,
    items_max: 3_000,
};

/// Elements with their tags.
type Elements<'a> = Fields<'a, Vec<Text<'a>>>;

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
        let values = BOUNDS.values(siblings)?;
        if values.is_empty() {
            return Ok(Resolved::Tombstone);
        }
        let (mut added, mut removed) = (Vec::new(), Vec::new());
        for value in values {
            let Ok(Fields(sides)) = serde_json::from_slice::<Fields<'_, Elements<'_>>>(value)
            else {
                return Ok(Resolved::KeepAll);
            };
            for (side, Fields(elements)) in sides {
                match &*side.0 {
                    "add" => added.extend(elements),
                    "del" => removed.extend(elements),
                    _ => return Ok(Resolved::KeepAll),
                }
            }
        }
        let side = |name, elements| (Text(Cow::Borrowed(name)), united(Fields(elements)));
        let merged = Fields(vec![side("add", added), side("del", removed)]);
        Ok(Resolved::Value(Merged {
            content_type: "application/json".into(),
            bytes: serde_json::to_vec(&merged).map_err(|error| error.to_string())?,
        }))
    }
}

fn united(elements: Elements<'_>) -> Elements<'_> {
    let mut united = elements.united(Extend::extend);
    for (_, tags) in &mut united.0 {
        tags.sort();
        tags.dedup();
    }
    united
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
