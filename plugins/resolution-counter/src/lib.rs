//! This is `counter`: values `{"p": {ACTOR: COUNT}, "n": {ACTOR: COUNT}}`, what each actor has
//! added and taken away. Of each count the greatest is kept, so every actor counts for itself and
//! nothing is counted twice; the sum of `p` less the sum of `n` is what the counter stands at.
//!
//! A tombstone beside values gives way to them. Anything else as a value: all siblings are kept.

use serde_json::{Map, Value};
use soros_sdk::resolution::{Merged, Resolution, Resolved, Sibling};
use soros_sdk::{NoConfig, Policy, Problem};
use std::collections::BTreeMap;

type Counts = BTreeMap<String, u64>;

/// What all actors have added and taken away.
#[derive(Clone, Debug, Default)]
struct Tally {
    added: Counts,
    taken: Counts,
}

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
        let values: Vec<&Vec<u8>> = siblings
            .iter()
            .filter_map(|one| one.value.as_ref())
            .collect();
        if values.is_empty() {
            return Ok(Resolved::Tombstone);
        }
        let mut all = Tally::default();
        for value in &values {
            let Some(tally) = read(value) else {
                return Ok(Resolved::KeepAll);
            };
            join(&mut all.added, tally.added);
            join(&mut all.taken, tally.taken);
        }
        Ok(Resolved::Value(Merged {
            content_type: "application/json".into(),
            bytes: write(all).into_bytes(),
        }))
    }
}

fn join(all: &mut Counts, more: Counts) {
    for (actor, count) in more {
        let known = all.entry(actor).or_default();
        *known = count.max(*known);
    }
}

fn read(value: &[u8]) -> Option<Tally> {
    let Value::Object(mut fields) = serde_json::from_slice(value).ok()? else {
        return None;
    };
    let mut side = |name| match fields.remove(name) {
        None => Some(Counts::new()),
        Some(Value::Object(counts)) => counts
            .into_iter()
            .map(|(actor, count)| Some((actor, count.as_u64()?)))
            .collect(),
        Some(_) => None,
    };
    let (added, taken) = (side("p")?, side("n")?);
    fields.is_empty().then_some(Tally { added, taken })
}

fn write(tally: Tally) -> String {
    let side = |counts: Counts| {
        let counts = counts
            .into_iter()
            .map(|(actor, count)| (actor, count.into()));
        Value::Object(counts.collect::<Map<_, _>>())
    };
    let mut fields = Map::new();
    fields.insert("p".into(), side(tally.added));
    fields.insert("n".into(), side(tally.taken));
    Value::Object(fields).to_string()
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
