//! This is `counter`: values `{"p": {ACTOR: COUNT}, "n": {ACTOR: COUNT}}`, what each actor has
//! added and taken away. Of each count the greatest is kept, so every actor counts for itself and
//! nothing is counted twice; the sum of `p` less the sum of `n` is what the counter stands at.
//!
//! A tombstone beside values gives way to them. Anything else as a value: all siblings are kept. So
//! they are where the values have more than 32 KiB together, or 3,000 counts and
//! escaped characters: it gives up on what its fuel might not be enough for.

use soros_sdk::json::{Bounds, Fields, Text};
use soros_sdk::resolution::{Merged, Resolution, Resolved, Sibling};
use soros_sdk::{NoConfig, Policy, Problem};
use std::borrow::Cow;

/// What the fuel of a call is enough for, whatever the counts are.
const BOUNDS: Bounds = Bounds {
    bytes_max: 32 << 10,
    items_max: 3_000,
};

/// The counts of actors.
type Counts<'a> = Fields<'a, u64>;

/// Merges counters.
#[derive(Clone, Copy, Debug)]
pub struct Counter;

impl Policy for Counter {
    const NAME: &'static str = "counter";
    type Config = NoConfig;

    fn new(_: NoConfig) -> Result<Counter, Vec<Problem>> {
        Ok(Counter)
    }
}

impl Resolution for Counter {
    fn resolve(&self, _key: &[u8], siblings: &[Sibling]) -> Result<Resolved, String> {
        let values = BOUNDS.values(siblings)?;
        if values.is_empty() {
            return Ok(Resolved::Tombstone);
        }
        let (mut added, mut taken) = (Vec::new(), Vec::new());
        for value in values {
            let Ok(Fields(sides)) = serde_json::from_slice::<Fields<'_, Counts<'_>>>(value) else {
                return Ok(Resolved::KeepAll);
            };
            for (side, Fields(counts)) in sides {
                match &*side.0 {
                    "p" => added.extend(counts),
                    "n" => taken.extend(counts),
                    _ => return Ok(Resolved::KeepAll),
                }
            }
        }
        let side = |name, counts| {
            let greatest = |known: &mut u64, count: u64| *known = count.max(*known);
            (Text(Cow::Borrowed(name)), Fields(counts).united(greatest))
        };
        let merged = Fields(vec![side("n", taken), side("p", added)]);
        Ok(Resolved::Value(Merged {
            content_type: "application/json".into(),
            bytes: serde_json::to_vec(&merged).map_err(|error| error.to_string())?,
        }))
    }
}

soros_sdk::export_resolution!(Counter);

#[cfg(test)]
mod tests {
    use super::*;
    use soros_sdk::testing;

    #[track_caller]
    fn check(values: &[&str], expected: Option<&str>) {
        testing::assert_merges(&Counter, values, expected);
    }

    #[test]
    fn counts_each_actor_once() {
        check(
            &[
                r#"{"p":{"a":3,"b":1}}"#,
                r#"{"p":{"a":2},"n":{"a":18446744073709551615}}"#,
                "{}",
            ],
            Some(r#"{"n":{"a":18446744073709551615},"p":{"a":3,"b":1}}"#),
        );
    }

    #[test]
    fn keeps_all_where_one_is_no_counter() {
        for odd in [
            r#"{"p":{"a":-1}}"#,
            r#"{"p":1}"#,
            r#"{"q":{}}"#,
            "7",
            "",
            "{",
        ] {
            check(&[r#"{"p":{"a":1}}"#, odd], None);
        }
    }

    #[test]
    fn values_win_over_tombstones() {
        testing::assert_values_win(&Counter, "{}");
    }
}
