//! This is the oracle: it holds what clients were told against what they were told before, and
//! against what the disks hold in the end. It trusts values alone, never a clock of the server's.

pub mod leftovers;
pub mod policies;
pub mod register;
pub mod replicas;
pub mod siblings;

use crate::history::{History, Kind, Operation, Outcome};
use crate::ledger::OWN;
use crate::report::Fault;
use crate::table::{Bucket, KeyId, Table};
use std::collections::BTreeSet;

/// Whether what an operation was acknowledged for was lost by no end of a process that had not
/// synced it.
pub type Kept<'a> = &'a dyn Fn(&Operation) -> bool;

/// Judges a quorum read that has just been answered.
#[must_use]
pub fn judge_read(table: &Table, history: &History, read: u32, kept: Kept<'_>) -> Vec<Fault> {
    let Some(operation) = history.get(read) else {
        return Vec::new();
    };
    let mut faults = phantoms(history, operation.key, &operation.found);
    if operation.is_firm() {
        faults.extend(match table.bucket(operation.key) {
            Bucket::Siblings => siblings::judge_read(history, read, true, kept),
            Bucket::Union | Bucket::Policy => siblings::judge_read(history, read, false, kept),
            Bucket::LastWriter => register::judge_read(history, read, kept),
        });
    }
    faults
}

/// Judges what a key holds in the end, the same at all replicas. `durable` says whether what an
/// operation was acknowledged for can have been lost by no disk's loss.
#[must_use]
pub fn judge_end(
    table: &Table,
    history: &History,
    key: KeyId,
    end: &siblings::End<'_>,
) -> Vec<Fault> {
    let mut faults = phantoms(history, key, end.found);
    faults.extend(match table.bucket(key) {
        Bucket::Siblings => siblings::judge_end(history, key, end, true),
        Bucket::Union | Bucket::Policy => siblings::judge_end(history, key, end, false),
        Bucket::LastWriter => register::judge_end(history, key, end.winner, end.durable),
    });
    faults
}

/// Values that nobody wrote to the key, or whose writes are said to have failed.
fn phantoms(history: &History, key: KeyId, found: &BTreeSet<u32>) -> Vec<Fault> {
    let is_phantom = |id: &u32| {
        if OWN <= *id {
            return !history.ledger.may_be_stored(*id, key);
        }
        history.get(*id).is_none_or(|operation| {
            operation.key != key
                || operation.kind != Kind::Write
                || operation.outcome == Outcome::Failed
        })
    };
    let writes: BTreeSet<u32> = found.iter().copied().filter(is_phantom).collect();
    if writes.is_empty() {
        Vec::new()
    } else {
        vec![Fault::Phantom { key, writes }]
    }
}
