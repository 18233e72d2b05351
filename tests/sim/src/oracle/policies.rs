//! This is the oracle of what a policy made of siblings: once it is stored, they are gone.

use crate::history::{History, Operation, Outcome};
use crate::report::Fault;
use crate::table::KeyId;
use soros_core::object::Object;

/// Judges what the replicas of a key hold in the end.
#[must_use]
pub fn judge_end(
    history: &History,
    key: KeyId,
    objects: &[Object],
    durable: &dyn Fn(&Operation) -> bool,
) -> Option<Fault> {
    let is_done = |write: u32| {
        let operation = history.get(write);
        operation.is_some_and(|operation| {
            operation.outcome == Outcome::Done && operation.is_firm() && durable(operation)
        })
    };
    let mut stored = history.ledger.stored(key, None);
    let leaks = stored.any(|call| {
        let is_there = |object: &Object| object.versions.keys().any(|dot| call.dots.has(dot));
        call.write.is_some_and(is_done) && objects.iter().any(is_there)
    });
    leaks.then_some(Fault::Leaked { key })
}
