//! This is what must be gone after heal and quiet: from a disk, tombstones, contexts, index and
//! log, and what dead buckets held; from a clock, gaps, and actors that have ended.

use super::replicas;
use crate::disk::Disk;
use crate::node::partitions::Shown;
use crate::record::{self, Kind};
use crate::report::{Fault, LeftOver};
use soros_core::dot::Actor;
use soros_core::id::NodeId;
use soros_core::map::bucket::Buckets;

/// Judges what a replica has on its disk and in its clock. `current` are the actors that mint for
/// the partition now, `buckets` those of the map.
#[must_use]
pub fn judge(
    node: NodeId,
    shown: &Shown,
    disk: &Disk,
    (current, buckets): (&[Actor], &Buckets),
) -> Vec<Fault> {
    let mut left = Vec::new();
    for (entry, _, object) in replicas::objects(disk, &shown.layout) {
        if buckets.is_dead(entry.bucket) {
            left.push(LeftOver::Bucket);
        }
        if !object.is_live() {
            left.push(LeftOver::Tombstone);
        }
        if !object.context.is_empty() {
            left.push(LeftOver::Context);
        }
    }
    left.extend(entries(shown, disk));
    if shown.state.clock.seen().ranges_above() != 0 {
        left.push(LeftOver::Gap);
    }
    if replicas::has_ended(shown, current) {
        left.push(LeftOver::Actor);
    }
    left.dedup();
    left.into_iter()
        .map(|what| Fault::LeftOver { node, what })
        .collect()
}

/// The index and log entries that are left, and records of earlier generations.
fn entries<'a>(shown: &'a Shown, disk: &'a Disk) -> impl Iterator<Item = LeftOver> + 'a {
    let first = shown.layout.first();
    let place = first[..first.len() - 4].to_vec();
    let of_place = disk
        .records()
        .filter(move |(key, _)| key.starts_with(&place));
    of_place.filter_map(move |(key, _)| {
        if !key.starts_with(&first) {
            return Some(LeftOver::Generation);
        }
        match record::kind(key)? {
            Kind::Log => Some(LeftOver::Log),
            Kind::Unstripped => Some(LeftOver::Unstripped),
            Kind::Clock | Kind::Closed | Kind::Known | Kind::Object => None,
        }
    })
}
