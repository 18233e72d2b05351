//! This is the ledger of the policy's calls: who asked which version about what, and what became of
//! its answer. It is what the policies themselves would have written down, and the oracle believes
//! it as it believes what clients wrote down.

use crate::moment::Moment;
use crate::policy::Manner;
use crate::table::KeyId;
use soros_core::dot_set::DotSet;
use soros_core::id::NodeId;
use std::collections::BTreeSet;

/// The least number that a policy's own value holds; clients' are below it.
pub const OWN: u32 = 1 << 31;

/// What became of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was given to a reader, it was to keep all, or it was none.
    Told,
    /// It is stored, or may be.
    Stored,
    /// It was not stored: the versions had moved, or the replica could not.
    Refused,
}

/// A call of a version of the policy.
#[derive(Clone, Debug)]
pub struct Consulted {
    /// Who asked.
    pub node: NodeId,
    /// When.
    pub at: Moment,
    /// About which key.
    pub key: KeyId,
    /// The number of the version.
    pub version: usize,
    /// How it answers.
    pub manner: Manner,
    /// Whether it answered at all.
    pub answered: bool,
    /// The client's write that met the siblings; none for a read or a delete.
    pub write: Option<u32>,
    /// The writes that the siblings held.
    pub inputs: BTreeSet<u32>,
    /// The writes that the answer holds.
    pub answer: BTreeSet<u32>,
    /// The dots of the siblings.
    pub dots: DotSet,
    /// What became of the answer.
    pub fate: Fate,
}

/// All calls, by number.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    calls: Vec<Consulted>,
}

impl Ledger {
    /// The number that the next call's own value holds.
    #[must_use]
    pub fn next_own(&self) -> u32 {
        OWN | u32::try_from(self.calls.len()).unwrap_or(OWN - 1)
    }

    /// Enters a call, and gives its number.
    pub fn enter(&mut self, call: Consulted) -> usize {
        self.calls.push(call);
        self.calls.len() - 1
    }

    /// What becomes of a call's answer.
    pub fn settle(&mut self, number: usize, fate: Fate) {
        if let Some(call) = self.calls.get_mut(number) {
            call.fate = fate;
        }
    }

    /// All calls.
    #[must_use]
    pub fn calls(&self) -> &[Consulted] {
        &self.calls
    }

    /// Whether a value that holds `own` may be stored under a key.
    #[must_use]
    pub fn may_be_stored(&self, own: u32, key: KeyId) -> bool {
        let call = self.calls.get((own & !OWN) as usize);
        call.is_some_and(|call| call.key == key && call.fate == Fate::Stored)
    }

    /// The calls about a key from before `until` whose answers are stored, or may be.
    pub fn stored(&self, key: KeyId, until: Option<Moment>) -> impl Iterator<Item = &Consulted> {
        self.calls.iter().filter(move |call| {
            call.key == key
                && call.fate == Fate::Stored
                && until.is_none_or(|until| call.at < until)
        })
    }
}
