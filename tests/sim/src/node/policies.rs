//! This is how a node asks the policy with versions: always the one that is in force by the newest
//! map it has heard of, and none until its component is here. One that fails changes nothing, and
//! the authority is told.

use super::{Output, Process, Turn};
use crate::authority::Known;
use crate::bug::Bug;
use crate::ledger::{Consulted, Fate};
use crate::node::resolver;
use crate::policy::{Call, Manner, sibling};
use soros_core::object::{Object, Value, Version};
use soros_core::operation::Target;
use soros_core::policy::{PolicyError, Resolution as _, Resolved as Answer};
use soros_core::write::Resolved;
use std::collections::BTreeSet;
use std::sync::Arc;

impl Known {
    /// How the version in force answers.
    pub(super) fn manner(&self, releases: &[Manner]) -> Manner {
        manner(releases, self.in_force.version)
    }

    /// The version that is asked; none while it is in quarantine, or not here.
    fn asked(&self, turn: &Turn<'_>) -> Option<usize> {
        let is_right =
            |version: &usize| *version == self.in_force.version || turn.has(Bug::LastOneStandsIn);
        if self.in_force.is_quarantined && !turn.has(Bug::QuarantinedRuns) {
            None
        } else {
            self.component.filter(is_right)
        }
    }
}

fn manner(releases: &[Manner], version: usize) -> Manner {
    releases.get(version).copied().unwrap_or(Manner::KeepsAll)
}

/// A call, and what was answered.
pub(super) struct Asked {
    /// Its number in the ledger.
    pub(super) number: usize,
    /// None when it failed.
    pub(super) answer: Option<Answer>,
}

impl Process {
    /// Asks about the versions of an object, and a new one if there is one; none while the policy
    /// is in quarantine.
    fn consult(
        &mut self,
        turn: &mut Turn<'_>,
        target: &Target,
        (object, new): (&Object, Option<&Version>),
    ) -> Option<Asked> {
        let version = self.policy.asked(turn)?;
        let key = turn.table.key_of(&target.entry)?;
        let manner = manner(&turn.settings.releases, version);
        let call = Call {
            manner,
            own: turn.ledger.next_own(),
            node: self.me.0,
            draw: turn.random.word(),
        };
        let writers = object.versions.keys().map(|dot| dot.actor.node.0);
        let versions: Vec<&Version> = object.versions.values().chain(new).collect();
        let shown = writers.chain([u64::MAX]).zip(&versions);
        let siblings: Vec<_> = shown.map(|(writer, it)| sibling(writer, it)).collect();
        let answer = call.resolve(target.key().as_bytes(), &siblings);
        let held = |versions: &[&Version]| -> BTreeSet<u32> {
            let values = versions.iter().filter_map(|version| version.value.as_ref());
            values.flat_map(resolver::ids).collect()
        };
        let given = match &answer {
            Ok(Answer::Keep(index)) => held(&versions[*index..=*index]),
            Ok(Answer::Value(value)) => resolver::ids_of(&value.bytes).collect(),
            Ok(Answer::KeepAll | Answer::Tombstone) | Err(_) => BTreeSet::new(),
        };
        let write = new.and_then(|new| new.value.as_ref());
        let number = turn.ledger.enter(Consulted {
            node: self.me,
            at: turn.now,
            key,
            version,
            manner,
            answered: answer.is_ok(),
            write: write.and_then(|value| resolver::ids(value).first().copied()),
            inputs: held(&versions),
            answer: given,
            dots: object.dots(),
            fate: Fate::Told,
        });
        let is_fault = answer.as_ref().is_err_and(PolicyError::is_fault);
        if is_fault {
            let since = self.policy.in_force.since;
            turn.outputs.push(Output::Blames(since));
        }
        let answer = answer.ok();
        Some(Asked { number, answer })
    }

    /// What the policy makes of siblings and a new version, and the number of the call whose answer
    /// is to be stored.
    pub(super) fn resolve_write(
        &mut self,
        turn: &mut Turn<'_>,
        target: &Target,
        (object, new): (&Object, &Version),
    ) -> (Resolved, Option<usize>) {
        let Some(asked) = self.consult(turn, target, (object, Some(new))) else {
            return (Resolved::KeepAll, None);
        };
        let merged = |value| {
            let time = new.time;
            Resolved::Merged(Version { time, value })
        };
        let resolved = match asked.answer {
            None if turn.has(Bug::TrapLosesSiblings) => return (Resolved::KeepNew, None),
            None | Some(Answer::KeepAll) => return (Resolved::KeepAll, None),
            Some(Answer::Keep(index)) => match object.versions.values().nth(index) {
                None => Resolved::KeepNew,
                // A version that is only chosen keeps its time.
                Some(chosen) => Resolved::Merged(chosen.clone()),
            },
            Some(Answer::Value(value)) => merged(Some(value_of(value.bytes))),
            Some(Answer::Tombstone) => merged(None),
        };
        (resolved, Some(asked.number))
    }

    /// What a reader is shown of siblings. It changes nothing that is stored, but with a bug: then
    /// it is what other replicas are sent.
    pub(super) fn resolve_read(
        &mut self,
        turn: &mut Turn<'_>,
        target: &Target,
        object: &Object,
    ) -> Option<Answer> {
        if object.versions.len() < 2 {
            return None;
        }
        self.consult(turn, target, (object, None))?.answer
    }
}

/// An object as it is where an answer is put in the place of the siblings, under the dot of one.
pub(super) fn collapse(object: &mut Object, answer: Answer) {
    let chosen = match answer {
        Answer::KeepAll => return,
        Answer::Tombstone => None,
        Answer::Keep(index) => object.versions.keys().nth(index).copied(),
        Answer::Value(value) => {
            let last = object.versions.last_entry();
            last.map(|mut last| {
                last.get_mut().value = Some(value_of(value.bytes));
                *last.key()
            })
        }
    };
    object.versions.retain(|dot, _| Some(*dot) == chosen);
}

fn value_of(bytes: Vec<u8>) -> Value {
    Value {
        bytes: Arc::from(bytes),
        content_type: String::new(),
        content_encoding: None,
        meta: Vec::new(),
    }
}
