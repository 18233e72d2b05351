//! This is what the replicas must agree on after heal and quiet: clocks, sums and live values; and
//! what each must say of itself at any time.

use crate::disk::Disk;
use crate::node::partitions::{Partitions, Shown};
use crate::record::{self, Kind};
use crate::report::Fault;
use soros_core::dot::Actor;
use soros_core::id::NodeId;
use soros_core::object::Object;
use soros_core::place::{Entry, Layout, Place};
use soros_core::sum::Sum;

/// The stored objects of a partition.
pub fn objects<'a>(
    disk: &'a Disk,
    layout: &Layout,
) -> impl Iterator<Item = (Entry, Option<soros_core::dot::Dot>, Object)> + 'a {
    let first = layout.first();
    let of_layout =
        move |key: &&Vec<u8>| key.starts_with(&first) && record::kind(key) == Some(Kind::Object);
    let stored = disk.records().filter(move |(key, _)| of_layout(key));
    stored.filter_map(|(key, value)| {
        let entry = Layout::entry_of_object(key).ok()?;
        let (blocker, object) = record::stored(value)?;
        Some((entry, blocker, object))
    })
}

/// Whether the sum and the counts of a partition are those of its objects.
#[must_use]
pub fn judge_counts(node: NodeId, place: Place, shown: &Shown, disk: &Disk) -> Option<Fault> {
    let (mut sum, mut live, mut waiting) = (Sum::default(), 0, 0);
    for (entry, blocker, object) in objects(disk, &shown.layout) {
        live += u64::from(object.is_live());
        waiting += u64::from(blocker.is_some());
        for (dot, version) in &object.versions {
            if version.value.is_some() {
                sum.toggle(entry.bucket, &entry.key, dot);
            }
        }
    }
    let state = &shown.state;
    let right = state.sum == sum && state.live_keys == live && state.unstripped == waiting;
    (!right).then_some(Fault::Miscounted { node, place })
}

/// Whether two replicas hold the same: the same was seen, and the same live versions are there.
#[must_use]
pub fn agree(one: &Shown, other: &Shown) -> bool {
    one.state.clock == other.state.clock && one.state.sum == other.state.sum
}

/// Whether a partition is at rest: believed everywhere, with equal clocks and sums, and without an
/// actor that has ended and is not closed, or an object that waits for one.
#[must_use]
pub fn is_at_rest(place: Place, replicas: &[&Partitions]) -> bool {
    let shown: Option<Vec<&Shown>> = replicas.iter().map(|node| node.shown(place)).collect();
    shown.is_some_and(|shown| {
        let current: Vec<Actor> = shown.iter().map(|shown| shown.actor).collect();
        let believed = |shown: &&Shown| shown.compared && shown.state.standing.is_trusted();
        shown.iter().all(believed)
            && shown.iter().all(|other| agree(shown[0], other))
            && !shown.iter().any(|shown| has_ended(shown, &current))
            && shown.iter().all(|shown| shown.state.unstripped == 0)
    })
}

/// Whether a clock has an actor that is not one of `current`, who mint now, or waits for one.
#[must_use]
pub fn has_ended(shown: &Shown, current: &[Actor]) -> bool {
    let state = &shown.state;
    let is_over = |actor: &Actor| !actor.is_name() && !current.contains(actor);
    state.clock.seen().actors().any(is_over) || !state.refused.is_empty()
}
