//! This is the oracle of keys that keep siblings, or unite them: every acknowledged write is there,
//! or a write is that had seen it.

use super::Kept;
use crate::history::{History, Kind, Operation, Outcome};
use crate::moment::Moment;
use crate::report::Fault;
use crate::table::KeyId;
use std::collections::BTreeSet;

/// What a key holds in the end.
pub struct End<'a> {
    /// The writes whose values are there.
    pub found: &'a BTreeSet<u32>,
    /// The one that a client of a last-writer bucket sees; none is a tombstone or nothing.
    pub winner: Option<u32>,
    /// Whether an operation's acknowledgement outlives what happened to the disks since.
    pub durable: &'a dyn Fn(&Operation) -> bool,
}

/// What a read of `found` that ended at `end` accounts for: those writes, the deletes that may have
/// been applied by then, and all that their writers had seen.
fn accounted(
    history: &History,
    key: KeyId,
    found: &BTreeSet<u32>,
    end: Option<Moment>,
) -> BTreeSet<u32> {
    let applied = history.of_key(key).filter(|(_, operation)| {
        operation.kind == Kind::Delete
            && operation.outcome != Outcome::Failed
            && end.is_none_or(|end| operation.start < end)
    });
    let deletes = applied.map(|(id, _)| id);
    history.closure(key, found.iter().copied().chain(deletes), end)
}

/// Judges a quorum read. `exact` says whether what a writer has seen must be gone.
pub(super) fn judge_read(history: &History, read: u32, exact: bool, kept: Kept<'_>) -> Vec<Fault> {
    let Some(operation) = history.get(read) else {
        return Vec::new();
    };
    let (key, start) = (operation.key, operation.start);
    let firm = |operation: &Operation| {
        operation.is_firm() && operation.was_done_before(start) && kept(operation)
    };
    let accounted = accounted(history, key, &operation.found, operation.end);
    let writes = history.of_key(key);
    let missed: BTreeSet<u32> = writes
        .filter(|(id, other)| other.kind == Kind::Write && firm(other) && !accounted.contains(id))
        .map(|(id, _)| id)
        .collect();
    let found = superseded(history, key, &operation.found, firm);
    let mut faults = Vec::new();
    if !missed.is_empty() {
        faults.push(Fault::Stale { key, read, missed });
    }
    if exact && !found.is_empty() {
        faults.push(Fault::Outdated { key, read, found });
    }
    faults
}

/// Those of `found` that the writer of an operation that `counts` had seen.
fn superseded(
    history: &History,
    key: KeyId,
    found: &BTreeSet<u32>,
    counts: impl Fn(&Operation) -> bool,
) -> BTreeSet<u32> {
    let writers = history.of_key(key);
    let seen = writers
        .filter(|(_, operation)| operation.kind != Kind::Read && counts(operation))
        .flat_map(|(_, operation)| &operation.seen);
    seen.filter(|id| found.contains(id)).copied().collect()
}

/// Judges what is there in the end.
pub(super) fn judge_end(history: &History, key: KeyId, end: &End<'_>, exact: bool) -> Vec<Fault> {
    let counts =
        |operation: &Operation| operation.outcome == Outcome::Done && (end.durable)(operation);
    let accounted = accounted(history, key, end.found, None);
    let lost: BTreeSet<u32> = history
        .of_key(key)
        .filter(|(id, operation)| {
            operation.kind == Kind::Write && counts(operation) && !accounted.contains(id)
        })
        .map(|(id, _)| id)
        .collect();
    let back = superseded(history, key, end.found, counts);
    let mut faults = Vec::new();
    if !lost.is_empty() {
        faults.push(Fault::Lost { key, writes: lost });
    }
    if exact && !back.is_empty() {
        faults.push(Fault::Resurrected { key, writes: back });
    }
    faults
}
