//! This is what must be gone from a disk after heal and quiet: tombstones, contexts, index and log,
//! and all that dead buckets and dropped partitions left.
//!
//! Dots of an actor that died with a disk may leave a gap that nobody can fill; what waits for such
//! an actor is excused.

use super::replicas;
use crate::disk::Disk;
use crate::node::partitions::Shown;
use crate::record::{self, Kind};
use crate::report::{Fault, LeftOver};
use soros_core::clock::Clock;
use soros_core::dot::{Actor, Dot};
use soros_core::dot_set::DotSet;
use soros_core::id::NodeId;
use soros_core::map::bucket::Buckets;
use soros_core::object::Object;

/// Judges what a replica has on its disk. `died` says whether an actor's dots died with a disk.
#[must_use]
pub fn judge(
    node: NodeId,
    shown: &Shown,
    disk: &Disk,
    died: &dyn Fn(&Actor) -> bool,
    buckets: &Buckets,
) -> Vec<Fault> {
    let mut left = Vec::new();
    for (entry, blocker, object) in replicas::objects(disk, &shown.layout) {
        if !buckets.has(entry.bucket) {
            left.push(LeftOver::Bucket);
        }
        let excused = blocker.is_some_and(|dot| is_excused(&object, dot, &shown.state.clock, died));
        if !object.is_live() && !excused {
            left.push(LeftOver::Tombstone);
        }
        if object.context.actors().any(|actor| !died(actor)) && !excused {
            left.push(LeftOver::Context);
        }
    }
    left.extend(entries(shown, disk, died));
    left.dedup();
    left.into_iter()
        .map(|what| Fault::LeftOver { node, what })
        .collect()
}

/// Whether an object waits for an actor that died; what it would drop meanwhile waits with it.
fn is_excused(object: &Object, blocker: Dot, clock: &Clock, died: &dyn Fn(&Actor) -> bool) -> bool {
    let mut dots: DotSet = object.context.clone();
    dots.join(&object.dots());
    let above = clock.strip(&dots);
    died(&blocker.actor) && above.actors().any(died)
}

/// The index and log entries that are left, and records of earlier generations.
fn entries<'a>(
    shown: &'a Shown,
    disk: &'a Disk,
    died: &'a dyn Fn(&Actor) -> bool,
) -> impl Iterator<Item = LeftOver> + 'a {
    let first = shown.layout.first();
    let place = first[..first.len() - 4].to_vec();
    let of_place = disk
        .records()
        .filter(move |(key, _)| key.starts_with(&place));
    of_place.filter_map(move |(key, _)| {
        if !key.starts_with(&first) {
            return Some(LeftOver::Generation);
        }
        let dot = record::dot_of(key)?;
        match record::kind(key)? {
            Kind::Log if !died(&dot.actor) => Some(LeftOver::Log),
            Kind::Unstripped if !died(&dot.actor) => Some(LeftOver::Unstripped),
            _ => None,
        }
    })
}
