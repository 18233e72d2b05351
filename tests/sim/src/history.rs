//! This is what the clients did and were told: all that the oracle trusts.

use crate::ledger::{Consulted, Ledger};
use crate::moment::Moment;
use crate::table::KeyId;
use soros_core::id::NodeId;
use soros_core::operation::Consistency;
use std::collections::BTreeSet;

/// What a client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// To write a value that nobody else writes: the operation's number.
    Write,
    /// To delete.
    Delete,
    /// To read.
    Read,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing was heard yet.
    Pending,
    /// It is done.
    Done,
    /// It may be done.
    Unknown,
    /// It is certainly not done.
    Failed,
}

/// A client's operation.
#[derive(Clone, Debug)]
pub struct Operation {
    /// What was asked for.
    pub kind: Kind,
    /// Of which key.
    pub key: KeyId,
    /// How many replicas must agree.
    pub consistency: Consistency,
    /// The writes whose values the client had seen, and said so.
    pub seen: BTreeSet<u32>,
    /// When it was asked for.
    pub start: Moment,
    /// When the answer came; never, where none did.
    pub end: Option<Moment>,
    /// How it ended.
    pub outcome: Outcome,
    /// What a read found.
    pub found: BTreeSet<u32>,
    /// Who coordinated, where it is known.
    pub served_by: Option<NodeId>,
}

impl Operation {
    /// Whether it was done by more than one replica's word.
    #[must_use]
    pub fn is_firm(&self) -> bool {
        self.outcome == Outcome::Done && self.consistency != Consistency::One
    }

    /// Whether it was done before `moment`.
    #[must_use]
    pub fn was_done_before(&self, moment: Moment) -> bool {
        self.outcome == Outcome::Done && self.end.is_some_and(|end| end < moment)
    }
}

impl std::fmt::Display for Operation {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let end = self.end.map_or("never".to_owned(), |end| end.to_string());
        write!(formatter, "{} to {end}: {:?} of ", self.start, self.kind)?;
        write!(formatter, "{:?} at {:?}, ", self.key, self.consistency)?;
        write!(formatter, "seen {:?}: {:?}", self.seen, self.outcome)?;
        if self.kind == Kind::Read {
            write!(formatter, " {:?}", self.found)?;
        }
        match self.served_by {
            Some(node) => write!(formatter, " by {}", node.0),
            None => Ok(()),
        }
    }
}

/// All operations, by number.
#[derive(Clone, Debug, Default)]
pub struct History {
    operations: Vec<Operation>,
    /// What the policy was asked meanwhile.
    pub ledger: Ledger,
}

impl History {
    /// Enters an operation, and gives its number.
    ///
    /// # Panics
    /// After four billion operations.
    pub fn begin(&mut self, operation: Operation) -> u32 {
        let id = u32::try_from(self.operations.len()).expect("a run of some thousand operations");
        self.operations.push(operation);
        id
    }

    /// The operation of a number.
    #[must_use]
    pub fn get(&self, id: u32) -> Option<&Operation> {
        self.operations.get(id as usize)
    }

    /// The operation of a number, to be ended.
    pub fn get_mut(&mut self, id: u32) -> Option<&mut Operation> {
        self.operations.get_mut(id as usize)
    }

    /// The operations on a key, in the order they began.
    pub fn of_key(&self, key: KeyId) -> impl Iterator<Item = (u32, &Operation)> {
        (0..)
            .zip(&self.operations)
            .filter(move |(_, operation)| operation.key == key)
    }

    /// All operations, in the order they began.
    pub fn all(&self) -> impl Iterator<Item = &Operation> {
        self.operations.iter()
    }

    /// The writes `ids` of a key and all that their writers had seen, and the writers of those, and
    /// so on. Who holds what the policy made of siblings, or nothing where it buried them, by an
    /// answer from before `until` that may be stored, has seen those.
    #[must_use]
    pub fn closure(
        &self,
        key: KeyId,
        ids: impl IntoIterator<Item = u32>,
        until: Option<Moment>,
    ) -> BTreeSet<u32> {
        let mut left: Vec<u32> = ids.into_iter().collect();
        let mut all = BTreeSet::new();
        let mut answers: Vec<&Consulted> = self.ledger.stored(key, until).collect();
        loop {
            while let Some(id) = left.pop() {
                if all.insert(id)
                    && let Some(operation) = self.get(id)
                {
                    left.extend(&operation.seen);
                }
            }
            let is_there = |call: &mut &Consulted| call.answer.is_subset(&all);
            let there: Vec<&Consulted> = answers.extract_if(.., is_there).collect();
            if there.is_empty() {
                return all;
            }
            left.extend(there.iter().flat_map(|call| &call.inputs));
        }
    }
}
