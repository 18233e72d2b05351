//! This is what must be true of values, whatever clocks say: an acknowledged write is there, or
//! something that had seen it is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

/// What clients wrote, what each had seen, and what was acknowledged. Every value is written once.
#[derive(Debug, Default)]
pub struct Oracle(Mutex<Writes>);

#[derive(Debug, Default)]
struct Writes {
    /// The values each value's writer had seen.
    seen: BTreeMap<String, BTreeSet<String>>,
    /// The acknowledged values of each key.
    acknowledged: BTreeMap<String, BTreeSet<String>>,
    /// All values sent to each key, acknowledged or not.
    sent: BTreeMap<String, BTreeSet<String>>,
    /// How often clients began.
    turns: u64,
}

impl Oracle {
    fn with<T>(&self, change: impl FnOnce(&mut Writes) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A number for clients that begin, so that their values differ from those before.
    #[must_use]
    pub fn next_turn(&self) -> u64 {
        self.with(|writes| {
            writes.turns += 1;
            writes.turns
        })
    }

    /// A client is about to write `value`, having seen `seen`.
    pub fn sends(&self, key: &str, value: &str, seen: &BTreeSet<String>) {
        self.with(|writes| {
            writes.seen.insert(value.to_owned(), seen.clone());
            writes
                .sent
                .entry(key.to_owned())
                .or_default()
                .insert(value.to_owned());
        });
    }

    /// The write of `value` was acknowledged.
    pub fn acknowledged(&self, key: &str, value: &str) {
        self.with(|writes| {
            writes
                .acknowledged
                .entry(key.to_owned())
                .or_default()
                .insert(value.to_owned());
        });
    }

    /// How many writes were acknowledged.
    #[must_use]
    pub fn acknowledged_count(&self) -> usize {
        self.with(|writes| writes.acknowledged.values().map(BTreeSet::len).sum())
    }

    /// The keys that were written.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        self.with(|writes| writes.sent.keys().cloned().collect())
    }

    /// What is wrong with a key that holds `values` in the end.
    #[must_use]
    pub fn faults(&self, key: &str, values: &BTreeSet<String>) -> Vec<String> {
        self.with(|writes| writes.faults(key, values))
    }
}

impl Writes {
    fn faults(&self, key: &str, values: &BTreeSet<String>) -> Vec<String> {
        let nothing = BTreeSet::new();
        let mut met = values.clone();
        let mut open: Vec<&String> = values.iter().collect();
        while let Some(value) = open.pop() {
            for seen in self.seen.get(value).unwrap_or(&nothing) {
                if met.insert(seen.clone()) {
                    open.push(seen);
                }
            }
        }
        let acknowledged = self.acknowledged.get(key).unwrap_or(&nothing);
        let lost = acknowledged
            .difference(&met)
            .map(|value| format!("LOST {key}: {value}"));
        let sent = self.sent.get(key).unwrap_or(&nothing);
        let phantoms = values
            .difference(sent)
            .map(|value| format!("PHANTOM {key}: {value}"));
        lost.chain(phantoms).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(values: &[&str]) -> BTreeSet<String> {
        values.iter().map(|value| (*value).to_owned()).collect()
    }

    #[test]
    fn takes_a_value_for_there_when_one_that_had_seen_it_is() {
        let oracle = Oracle::default();
        oracle.sends("k", "a", &set(&[]));
        oracle.acknowledged("k", "a");
        oracle.sends("k", "b", &set(&["a"]));
        oracle.sends("k", "c", &set(&["b"]));
        assert!(oracle.faults("k", &set(&["c"])).is_empty());
        assert_eq!(oracle.acknowledged_count(), 1);
    }

    #[test]
    fn finds_what_is_lost_and_what_nobody_wrote() {
        let oracle = Oracle::default();
        oracle.sends("k", "a", &set(&[]));
        oracle.acknowledged("k", "a");
        oracle.sends("k", "b", &set(&[]));
        assert_eq!(oracle.faults("k", &set(&["b"])), ["LOST k: a"]);
        assert_eq!(oracle.faults("k", &set(&["a", "x"])), ["PHANTOM k: x"]);
    }
}
