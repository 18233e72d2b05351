//! This is how objects of other replicas are merged, with the bugs that merge them otherwise.

use super::partitions::{Answer, Applied};
use super::{closing, policies};
use crate::bug::Bug;
use crate::disk::Overlay;
use crate::policy::{Call, Manner, sibling};
use crate::table::Bucket;
use soros_core::clock::Clock;
use soros_core::closed::Closed;
use soros_core::dot::Dot;
use soros_core::dot_set::DotSet;
use soros_core::id::{BucketId, NodeId};
use soros_core::key::Key;
use soros_core::map::bucket::Buckets;
use soros_core::object::Object;
use soros_core::place::Entry;
use soros_core::policy::{Resolution as _, Resolved as Chosen};
use soros_core::record::RecordError;
use soros_core::replica::{Chunk, Item, Reached, Replica, Taken, TransferKind};
use soros_core::write::{Resolution, Store};

/// What is planted in how objects are merged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Planted {
    pub(super) bug: Option<Bug>,
    /// How the version of the policy answers that the node knows to be in force.
    pub(super) manner: Manner,
}

/// Takes an object from the coordinator of a write, or a repair behind a read.
pub(super) fn take(
    replica: &mut Replica,
    batch: &mut Overlay<'_>,
    (entry, object, dots): (&Entry, Object, &[Dot]),
    planted: Planted,
) -> Applied {
    let object = read(replica, batch, entry, object, planted)?;
    Ok(match replica.take(batch, entry, object, dots)? {
        Taken::Merged(found) => Answer::Found(found),
        Taken::Ended => Answer::Ended,
        Taken::Unclear => Answer::Unclear,
    })
}

/// Merges objects of anti-entropy.
pub(super) fn items(
    replica: &mut Replica,
    batch: &mut Overlay<'_>,
    items: Vec<Item>,
    (buckets, planted): (&Buckets, Planted),
) -> Applied {
    let mut answer = Answer::Done;
    for mut item in items {
        if planted.bug == Some(Bug::DeadDotsSkipped) && buckets.is_dead(item.entry.bucket) {
            continue;
        }
        let merged =
            read(replica, batch, &item.entry, item.object.clone(), planted).and_then(|object| {
                item.object = object;
                replica.merge_item(batch, item, buckets)
            });
        match merged {
            Err(RecordError::Damaged(_)) => answer = Answer::Partly,
            Ok(None) => return Ok(Answer::Unclear),
            merged => drop(merged?),
        }
    }
    Ok(answer)
}

/// Merges a range of a full transfer.
pub(super) fn chunk(
    replica: &mut Replica,
    batch: &mut Overlay<'_>,
    (sender, from): (NodeId, Option<&Entry>),
    (chunk, closed): (Chunk, &Closed),
    bug: Option<Bug>,
) -> Applied {
    if bug == Some(Bug::OneWayTransfer) {
        return one_way(replica, batch, sender, (chunk, closed));
    }
    let reached = replica.merge_chunk(batch, sender, from, chunk, closed)?;
    Ok(match reached {
        Reached::Unclear => Answer::Unclear,
        reached @ Reached::To { .. } => Answer::Reached(reached),
    })
}

fn read(
    replica: &Replica,
    batch: &Overlay<'_>,
    entry: &Entry,
    object: Object,
    planted: Planted,
) -> Result<Object, RecordError> {
    let object = collapsed(replica, batch, entry, object, planted)?;
    let closed = replica.state().clock.closed();
    Ok(closing::misread(closed, object, planted.bug))
}

/// The object as it is merged: with a bug that collapses in place, only one version of both sides
/// is left, the greatest or the one that the node's version of the policy keeps, and the others
/// count as met.
fn collapsed(
    replica: &Replica,
    batch: &Overlay<'_>,
    entry: &Entry,
    object: Object,
    planted: Planted,
) -> Result<Object, RecordError> {
    let by_version = planted.bug == Some(Bug::CollapseByVersion);
    if !by_version && planted.bug != Some(Bug::CollapseInPlace) || object.versions.is_empty() {
        return Ok(object);
    }
    let own = replica.view(batch).object(entry)?;
    let Some(mut both) = own.sync(object.clone(), &[replica.state().clock.closed()]) else {
        return Ok(object);
    };
    if !by_version {
        let greatest = both.versions.keys().next_back().copied();
        both.versions.retain(|dot, _| Some(*dot) == greatest);
        return Ok(both);
    }
    if entry.bucket != Bucket::Policy.id() {
        return Ok(object);
    }
    let call = Call {
        manner: planted.manner,
        own: 0,
        node: replica.actor().node.0,
        draw: 0,
    };
    let shown = both.versions.iter();
    let shown: Vec<_> = shown
        .map(|(dot, version)| sibling(dot.actor.node.0, version))
        .collect();
    if let Ok(Chosen::Keep(place)) = call.resolve(entry.key.as_bytes(), &shown) {
        policies::collapse(&mut both, Chosen::Keep(place));
    }
    Ok(both)
}

/// A write as it is applied: with the bug that holds a resolver's answer for good whatever it has
/// seen, as if it had seen what is there.
pub(super) fn unmoved(
    replica: &Replica,
    batch: &Overlay<'_>,
    entry: &Entry,
    mut store: Store,
    bug: Option<Bug>,
) -> Result<Store, RecordError> {
    if bug == Some(Bug::MovedIgnored)
        && let Resolution::Supersede(seen) | Resolution::Merge(seen, _) = &mut store.siblings
    {
        *seen = replica.view(batch).object(entry)?.dots();
    }
    Ok(store)
}

/// A range of a full transfer, key by key, so that keys only the receiver has are passed over.
fn one_way(
    replica: &mut Replica,
    batch: &mut Overlay<'_>,
    sender: NodeId,
    (chunk, closed): (Chunk, &Closed),
) -> Applied {
    for (entry, object) in chunk.objects {
        let mut next = entry.key.as_bytes().to_vec();
        next.push(0);
        let key = Key::try_from(next.as_slice());
        let end = key.ok().map(|key| Entry {
            bucket: entry.bucket,
            key,
        });
        let one = Chunk {
            kind: TransferKind::Clocked,
            seen: chunk.seen.clone(),
            objects: vec![(entry.clone(), object)],
            damaged: Vec::new(),
            end,
        };
        replica.merge_chunk(batch, sender, Some(&entry), one, closed)?;
    }
    let (next, whole) = (chunk.end, true);
    Ok(Answer::Reached(Reached::To { next, whole }))
}

/// Ends a full transfer.
pub(super) fn join(
    replica: &mut Replica,
    batch: &mut Overlay<'_>,
    (sender, clock): (NodeId, &Clock),
    bug: Option<Bug>,
) -> Applied {
    if replica.join(sender, clock) {
        Ok(Answer::Done)
    } else if matches!(bug, Some(Bug::JoinAfterDrop | Bug::OneWayTransfer)) {
        skip(replica, batch, clock.seen())
    } else {
        Ok(Answer::NotHeld)
    }
}

/// Counts all of `seen` as seen, as if it had been of a key that nobody has.
pub(super) fn skip(replica: &mut Replica, batch: &mut Overlay<'_>, seen: &DotSet) -> Applied {
    let Ok(key) = Key::try_from(&b"nobody's"[..]) else {
        return Ok(Answer::NotHeld);
    };
    let bucket = BucketId(1);
    let entry = Entry { bucket, key };
    for (actor, start, end) in seen.minus(&DotSet::default()) {
        let dots: Vec<Dot> = (start..=end).map(|counter| actor.dot(counter)).collect();
        replica.merge(batch, &entry, Object::default(), &dots)?;
    }
    Ok(Answer::Done)
}
