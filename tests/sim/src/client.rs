//! This is a client: it reads, remembers tokens and the values it saw, and writes and deletes with
//! what it remembers or without.

use crate::history::{Kind, Operation, Outcome};
use crate::moment::Moment;
use crate::node::forward::Ask;
use crate::node::{Told, resolver};
use crate::plan::Habits;
use crate::random::Random;
use crate::table::{Bucket, KeyId, Table};
use soros_core::dot_set::DotSet;
use soros_core::object::Object;
use soros_core::operation::{Basis, Consistency, OperationError, ReadRequest, WriteRequest};
use std::collections::{BTreeMap, BTreeSet};

/// What a client has seen of a key.
#[derive(Clone, Debug, Default)]
struct Memory {
    context: DotSet,
    seen: BTreeSet<u32>,
}

/// What a client says of what it had seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    /// That it had seen nothing.
    Blind,
    /// What it remembers of the key, or nothing at all.
    Seen,
}

/// A client with at most one operation under way.
#[derive(Debug)]
pub struct Client {
    random: Random,
    memory: BTreeMap<KeyId, Memory>,
    /// What the operation under way said it had seen.
    said: BTreeSet<u32>,
    /// How many of a thousand operations are reads.
    reads: u64,
    habits: Habits,
    /// The key of its last operation.
    last: Option<KeyId>,
}

impl Client {
    /// A client with a stream of chance of its own.
    pub fn new(random: &mut Random, habits: Habits) -> Client {
        Client {
            random: random.fork(),
            memory: BTreeMap::new(),
            said: BTreeSet::new(),
            reads: random.between(200, 500),
            habits,
            last: None,
        }
    }

    /// The next operation, as the history will know it.
    pub fn next(&mut self, table: &Table, now: Moment) -> (Operation, Basis) {
        let keys: Vec<KeyId> = table.keys().collect();
        let faithful = self.random.chance(self.habits.faithful);
        let last = self.last.filter(|_| faithful);
        let key = last.unwrap_or_else(|| *self.random.pick(&keys));
        self.last = Some(key);
        let kind = match () {
            () if self.random.chance(self.reads) => Kind::Read,
            () if self.random.chance(self.habits.deletes) => Kind::Delete,
            () => Kind::Write,
        };
        let (basis, seen) = match kind {
            Kind::Read => (Basis::Unsaid, BTreeSet::new()),
            Kind::Write | Kind::Delete => self.basis(kind, key, table.bucket(key)),
        };
        self.said.clone_from(&seen);
        let operation = Operation {
            kind,
            key,
            consistency: self.consistency(kind, table.bucket(key)),
            seen,
            start: now,
            end: None,
            outcome: Outcome::Pending,
            found: BTreeSet::new(),
            served_by: None,
        };
        (operation, basis)
    }

    /// A delete at one replica excuses much where the last writer wins: those who do not work alone
    /// most of the time do without.
    fn consistency(&mut self, kind: Kind, bucket: Bucket) -> Consistency {
        let shared = self.habits.alone < 500;
        match () {
            () if shared && kind == Kind::Delete && bucket == Bucket::LastWriter => {
                Consistency::Quorum
            }
            () if self.random.chance(self.habits.alone) => Consistency::One,
            () if self.random.chance(100) => Consistency::All,
            () => Consistency::Quorum,
        }
    }

    fn basis(&mut self, kind: Kind, key: KeyId, bucket: Bucket) -> (Basis, BTreeSet<u32>) {
        let unsaid = if bucket == Bucket::Siblings { 100 } else { 600 };
        if self.random.chance(unsaid) {
            return (Basis::Unsaid, BTreeSet::new());
        }
        match self.memory.get(&key) {
            Some(memory) if kind == Kind::Delete || self.random.chance(750) => {
                (Basis::Seen(memory.context.clone()), memory.seen.clone())
            }
            _ if kind == Kind::Delete => (Basis::Unsaid, BTreeSet::new()),
            _ => (Basis::Blind, BTreeSet::new()),
        }
    }

    /// What a client that is told what to say says it had seen of a key; it remembers that.
    pub fn say(&mut self, key: KeyId, says: Says) -> (Basis, BTreeSet<u32>) {
        let (basis, seen) = match (says, self.memory.get(&key)) {
            (Says::Blind, _) => (Basis::Blind, BTreeSet::new()),
            (Says::Seen, Some(memory)) => {
                (Basis::Seen(memory.context.clone()), memory.seen.clone())
            }
            (Says::Seen, None) => (Basis::Unsaid, BTreeSet::new()),
        };
        self.said.clone_from(&seen);
        (basis, seen)
    }

    /// A client is told how its operation `id` ended. What it found, and whether it is done.
    pub fn on_told(&mut self, table: &Table, id: u32, key: KeyId, told: &Told) -> Ending {
        match told {
            Told::Read(Ok(answer)) => {
                let found = found(table.bucket(key), &answer.object);
                let context = answer.object.seen();
                let seen = found.clone();
                self.memory.insert(key, Memory { context, seen });
                Ending {
                    outcome: Outcome::Done,
                    found,
                    served_by: Some(answer.served_by),
                }
            }
            Told::Written(Ok(answer)) => {
                let (context, mut seen) = (answer.context.clone(), self.said.clone());
                seen.insert(id);
                self.memory.insert(key, Memory { context, seen });
                Ending {
                    outcome: Outcome::Done,
                    found: BTreeSet::new(),
                    served_by: Some(answer.served_by),
                }
            }
            Told::Read(Err(_)) => Ending::of(Outcome::Failed),
            Told::Written(Err(error)) => Ending::of(outcome(error)),
        }
    }
}

/// How an operation ended, as its client sees it.
#[derive(Clone, Debug)]
pub struct Ending {
    /// Whether it is done.
    pub outcome: Outcome,
    /// What a read found.
    pub found: BTreeSet<u32>,
    /// Who coordinated.
    pub served_by: Option<soros_core::id::NodeId>,
}

impl Ending {
    /// An ending that tells nothing else.
    #[must_use]
    pub fn of(outcome: Outcome) -> Ending {
        Ending {
            outcome,
            found: BTreeSet::new(),
            served_by: None,
        }
    }
}

/// What an error says of what was stored. Every variant must choose.
fn outcome(error: &OperationError) -> Outcome {
    match error {
        OperationError::OutcomeUnknown { .. } | OperationError::Storage => Outcome::Unknown,
        OperationError::ContextRequired { .. }
        | OperationError::TooManySiblings { .. }
        | OperationError::QuorumUnavailable { .. }
        | OperationError::ClockSkew { .. }
        | OperationError::DiskFull
        | OperationError::Overloaded
        | OperationError::NotServed
        | OperationError::NotReady
        | OperationError::Rejected(_)
        | OperationError::PolicyUnavailable { .. } => Outcome::Failed,
    }
}

/// The writes that a client of a bucket sees in an object.
#[must_use]
pub fn found(bucket: Bucket, object: &Object) -> BTreeSet<u32> {
    if bucket == Bucket::LastWriter {
        return latest(object).into_iter().collect();
    }
    all_found(object)
}

/// The write that wins where the last writer does; none is a tombstone or nothing.
#[must_use]
pub fn latest(object: &Object) -> Option<u32> {
    let (_, version) = resolver::latest(object)?;
    let ids = version.value.as_ref().map(resolver::ids)?;
    ids.first().copied()
}

/// The writes whose values are in an object, whatever a client of the bucket sees of them.
#[must_use]
pub fn all_found(object: &Object) -> BTreeSet<u32> {
    let values = object
        .versions
        .values()
        .filter_map(|version| version.value.as_ref());
    values.flat_map(resolver::ids).collect()
}

/// What is asked of the cluster for an operation.
#[must_use]
pub fn ask(table: &Table, id: u32, operation: &Operation, basis: Basis) -> Ask {
    let target = table.target(operation.key).clone();
    let consistency = operation.consistency;
    let value = match operation.kind {
        Kind::Read => {
            return Ask::Read(ReadRequest {
                target,
                consistency,
            });
        }
        Kind::Delete => None,
        Kind::Write => Some(resolver::value(&BTreeSet::from([id]))),
    };
    Ask::Write(WriteRequest {
        target,
        value,
        basis,
        consistency,
    })
}
