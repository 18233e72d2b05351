//! This is the oracle of keys where the last writer wins: at quorum, a write that began after
//! another was acknowledged wins over it, whatever the clocks say. At one replica it does if it
//! began long enough after, and the clocks that gave the times were held against each other.

use super::Kept;
use crate::history::{History, Kind, Operation, Outcome};
use crate::moment::Moment;
use crate::report::Fault;
use crate::table::KeyId;
use soros_core::operation::Consistency;

/// Judges a quorum read.
pub(super) fn judge_read(history: &History, read: u32, kept: Kept<'_>) -> Vec<Fault> {
    let Some(operation) = history.get(read) else {
        return Vec::new();
    };
    let winner = operation.found.first().copied();
    let key = operation.key;
    judge(history, (key, winner), Some(operation.start), kept)
}

/// Judges what is there in the end.
#[must_use]
pub fn judge_end(history: &History, key: KeyId, winner: Option<u32>, kept: Kept<'_>) -> Vec<Fault> {
    judge(history, (key, winner), None, kept)
}

/// Judges what is there in the end of a key that nobody deleted and no disk lost: no write wins
/// over one that began `apart` microseconds after it was acknowledged, and was acknowledged.
#[must_use]
pub fn judge_order(history: &History, key: KeyId, winner: Option<u32>, apart: u64) -> Vec<Fault> {
    let ended = match winner.map(|winner| history.get(winner)) {
        Some(Some(operation)) if operation.outcome == Outcome::Done => operation.end,
        Some(_) => None,
        None => Some(Moment::default()),
    };
    let Some(ended) = ended else {
        return Vec::new();
    };
    let overtaken = |operation: &Operation| {
        operation.kind == Kind::Write
            && operation.outcome == Outcome::Done
            && ended.after(apart) < operation.start
    };
    let later = history
        .of_key(key)
        .find(|(_, operation)| overtaken(operation));
    let fault = |(later, _)| Fault::Overtaken {
        key,
        winner: winner.unwrap_or(u32::MAX),
        later,
    };
    later.map(fault).into_iter().collect()
}

/// Whether some write that was acknowledged before `until` began after all that can explain
/// `winner` had ended.
fn judge(
    history: &History,
    (key, winner): (KeyId, Option<u32>),
    until: Option<Moment>,
    kept: Kept<'_>,
) -> Vec<Fault> {
    let Some(ended) = explained_until(history, key, winner) else {
        return Vec::new();
    };
    let overtaken = |operation: &Operation| {
        operation.kind != Kind::Read
            && operation.is_firm()
            && kept(operation)
            && until.is_none_or(|until| operation.was_done_before(until))
            && ended < operation.start
            // A delete that finds nothing leaves nothing: it is explained by what it found.
            && !(winner.is_none() && operation.kind == Kind::Delete)
    };
    let later = history.of_key(key).find(|(_, operation)| {
        overtaken(operation) && !may_be_deleted_alone(history, key, operation)
    });
    let fault = |(later, _)| Fault::Overtaken {
        key,
        winner: winner.unwrap_or(u32::MAX),
        later,
    };
    later.map(fault).into_iter().collect()
}

/// Whether a delete at one replica may have deleted what a write left, and with it what won over
/// earlier ones: it has met only what that replica holds, and nothing more is promised of it.
fn may_be_deleted_alone(history: &History, key: KeyId, write: &Operation) -> bool {
    history.of_key(key).any(|(_, other)| {
        other.kind == Kind::Delete
            && other.consistency == Consistency::One
            && other.outcome != Outcome::Failed
            && !other.was_done_before(write.start)
    })
}

/// When the last operation that can have left `winner` had ended; none when one may be under way
/// still, or is promised nothing.
fn explained_until(history: &History, key: KeyId, winner: Option<u32>) -> Option<Moment> {
    match winner {
        Some(winner) => {
            let operation = history.get(winner)?;
            if operation.is_firm() {
                operation.end
            } else {
                None
            }
        }
        None => history
            .of_key(key)
            .filter(|(_, operation)| {
                operation.kind == Kind::Delete && operation.outcome != Outcome::Failed
            })
            .map(|(_, operation)| {
                if operation.is_firm() {
                    operation.end
                } else {
                    None
                }
            })
            .try_fold(Moment::default(), |last, end| Some(last.max(end?))),
    }
}
