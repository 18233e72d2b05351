//! This is the list of all writes there ever were, and which of them each one superseded: what the
//! replicas must agree on in the end is read from it alone.

use soros_core::dot::Dot;
use soros_core::time::Time;
use std::collections::{BTreeMap, BTreeSet};

/// The number of a write: unique, and none of the core's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WriteId(pub(crate) u32);

/// One write.
#[derive(Clone, Debug)]
pub(crate) struct Fact {
    pub(crate) dot: Dot,
    pub(crate) key: usize,
    pub(crate) is_live: bool,
    pub(crate) time: Time,
    pub(crate) supersedes: BTreeSet<WriteId>,
}

/// All writes.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    facts: BTreeMap<WriteId, Fact>,
    by_dot: BTreeMap<Dot, WriteId>,
}

impl History {
    /// Enters a write.
    #[track_caller]
    pub(crate) fn add(&mut self, fact: Fact) -> WriteId {
        let id = WriteId(u32::try_from(self.facts.len()).expect("a few writes"));
        let twin = self.by_dot.insert(fact.dot, id);
        assert_eq!(twin, None, "{:?} was minted twice", fact.dot);
        self.facts.insert(id, fact);
        id
    }

    pub(crate) fn fact(&self, id: WriteId) -> &Fact {
        &self.facts[&id]
    }

    #[track_caller]
    pub(crate) fn id(&self, dot: &Dot) -> WriteId {
        *self.by_dot.get(dot).expect("a dot that was minted")
    }

    /// The writes of a key, in order.
    pub(crate) fn of_key(&self, key: usize) -> impl Iterator<Item = (WriteId, &Fact)> {
        let of_key = move |(_, fact): &(&WriteId, &Fact)| fact.key == key;
        self.facts
            .iter()
            .filter(of_key)
            .map(|(id, fact)| (*id, fact))
    }

    /// The writes of a key that no other write superseded: what is left when all have met.
    pub(crate) fn maximal(&self, key: usize) -> BTreeSet<WriteId> {
        let superseded: BTreeSet<WriteId> = self
            .of_key(key)
            .flat_map(|(_, fact)| &fact.supersedes)
            .copied()
            .collect();
        let left = self.of_key(key).map(|(id, _)| id);
        left.filter(|id| !superseded.contains(id)).collect()
    }
}
