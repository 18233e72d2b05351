//! This is a full transfer: two replicas' objects compared in key order, a range at a time, when
//! the dot log no longer says which keys differ.
//!
//! What one side lacks is obsolete there exactly if the base of its clock, or its object's context,
//! covers the dots. The sender fills each range from the clock of the same read. The clock joined
//! at the end is the one the sender had at its first range, for only of that can it be said that
//! every object was compared, and the dots repaired since; both together must cover the sender's
//! clock at its last range, for what it had forgotten by then it had under its base.
//!
//! Until the join the receiver remembers how far it came: of every key before that it has met what
//! the sender had seen at its first range, also of a key that neither of them stores.
//!
//! A damaged record stops no transfer. The sender names its key and says nothing of it, the
//! receiver leaves a key alone whose own record is damaged, and in either case nothing is joined.

use super::{Replica, parcel, view::View};
use crate::clock::Clock;
use crate::closed::Closed;
use crate::codec::{Codec, DecodeError, Reader, Writer};
use crate::dot::Dot;
use crate::dot_set::DotSet;
use crate::id::NodeId;
use crate::limits::{ITEMS_PER_ANSWER_MAX, REPAIR_BYTES};
use crate::object::Object;
use crate::place::Entry;
use crate::record::{Batch, RecordError};
use std::collections::BTreeSet;

/// What an absent version means in a full transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferKind {
    /// It is obsolete where the clock covers it.
    Clocked,
    /// It was lost, unless a stored context covers it: for replicas whose clocks agree and whose
    /// sums do not.
    Union,
}

/// A range of a replica's objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// What an absent version means.
    pub kind: TransferKind,
    /// What the sender had seen when it read the range.
    pub seen: DotSet,
    /// The objects of the range in order: filled, or as stored for a union.
    pub objects: Vec<(Entry, Object)>,
    /// The keys of the range in order whose records are damaged: nothing is said of them.
    pub damaged: Vec<Entry>,
    /// Where the range ends: this entry is the first behind it. None is the end of all keys.
    pub end: Option<Entry>,
}

/// How far the receiver of a full transfer has come.
#[derive(Clone, Debug)]
pub(super) struct Transfer {
    /// What the sender had seen at its first range.
    start: DotSet,
    /// What it had closed.
    closed: Closed,
    /// All keys before this one are compared; none when all keys are.
    reached: Option<Entry>,
    /// What of that is not compared: a record of it is damaged on either side.
    left_out: BTreeSet<Entry>,
}

/// Where a merge of a range came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reached {
    /// To the end of the range, or as far as one commit carries.
    To {
        /// The next range starts here; none when all is merged.
        next: Option<Entry>,
        /// Whether no key of the range was left alone because its record here is damaged.
        whole: bool,
    },
    /// The sender has closed other actors than it said, so that it is not clear what is obsolete.
    /// The transfer ends here; what is merged may stay.
    Unclear,
}

impl Transfer {
    /// Whether `entry` is compared.
    fn has_compared(&self, entry: &Entry) -> bool {
        let is_before = self.reached.as_ref().is_none_or(|reached| entry < reached);
        is_before && !self.left_out.contains(entry)
    }
}

impl View<'_> {
    /// The objects from `from` on (from the first when none), in about `bytes_max` bytes.
    ///
    /// # Errors
    /// [`RecordError`] when an object cannot be read.
    pub fn chunk(
        &self,
        kind: TransferKind,
        from: Option<&Entry>,
        bytes_max: usize,
    ) -> Result<Chunk, RecordError> {
        let (first, behind) = self.layout.objects();
        let from = from.map_or(first, |entry| self.layout.object(entry));
        let mut range = self.stored_range(&from, &behind, bytes_max)?;
        if kind == TransferKind::Clocked {
            for (_, object) in &mut range.objects {
                *object = std::mem::take(object).fill(&self.state.clock);
            }
        }
        Ok(Chunk {
            kind,
            seen: self.state.clock.seen().clone(),
            objects: range.objects,
            damaged: range.damaged,
            end: range.rest,
        })
    }
}

impl Replica {
    /// Merges a range of the `sender`'s objects that starts at `from`, own keys that the range
    /// lacks included; `closed` are the actors that the sender has closed. Gives where it came to.
    /// The dots of versions that came count as seen, and all others only after [`Replica::join`].
    /// A union counts none, and with a sender that lacks some dots it merges nothing: what that
    /// one still has may be obsolete here.
    ///
    /// # Errors
    /// [`RecordError`] when an object cannot be read.
    pub fn merge_chunk(
        &mut self,
        batch: &mut dyn Batch,
        sender: NodeId,
        from: Option<&Entry>,
        chunk: Chunk,
        closed: &Closed,
    ) -> Result<Reached, RecordError> {
        if !chunk.seen.names().copied().eq(closed.name()) {
            return Ok(Reached::Unclear);
        }
        let (kind, own) = (chunk.kind, self.state.clock.seen());
        if kind == TransferKind::Union && !chunk.seen.includes(own) {
            let (next, whole) = (chunk.end, true);
            return Ok(Reached::To { next, whole });
        }
        let (first, behind) = self.layout.objects();
        let first = from.map_or(first, |entry| self.layout.object(entry));
        let behind = chunk
            .end
            .as_ref()
            .map_or(behind, |entry| self.layout.object(entry));
        // More own keys than one commit should carry: the range is cut where they end.
        let own = self
            .view(batch)
            .stored_range(&first, &behind, REPAIR_BYTES)?;
        let whole = own.damaged.is_empty();
        let mut left_out: BTreeSet<Entry> = chunk.damaged.into_iter().collect();
        left_out.extend(own.damaged);
        let cut = own.rest;
        let within = |entry: &Entry| cut.as_ref().is_none_or(|cut| entry < cut);
        let mut lacking = own.objects;
        lacking.retain(|(entry, _)| {
            let sent = chunk
                .objects
                .binary_search_by(|(other, _)| other.cmp(entry));
            sent.is_err() && !left_out.contains(entry)
        });
        let absent = absent(kind, &chunk.seen);
        let next = cut.clone().or(chunk.end);
        let lacking = lacking
            .into_iter()
            .map(|(entry, _)| (entry, absent.clone()));
        let is_merged = |entry: &Entry| within(entry) && !left_out.contains(entry);
        let theirs = chunk.objects.into_iter();
        let theirs = theirs.filter(|(entry, _)| is_merged(entry));
        for (entry, object) in lacking.chain(theirs) {
            if !self.merge_compared(batch, &entry, object, (kind, closed))? {
                return Ok(Reached::Unclear);
            }
        }
        if kind == TransferKind::Clocked {
            left_out.retain(within);
            let range = Transfer {
                start: chunk.seen,
                closed: closed.clone(),
                reached: next.clone(),
                left_out,
            };
            self.advance(sender, from, range);
        }
        Ok(Reached::To { next, whole })
    }

    fn advance(&mut self, sender: NodeId, from: Option<&Entry>, range: Transfer) {
        let mut transfer = match (from, self.transfers.remove(&sender)) {
            (None, _) => Transfer {
                left_out: BTreeSet::new(),
                ..range.clone()
            },
            (Some(from), Some(before)) if before.reached.as_ref() == Some(from) => before,
            // What came before this range was merged by a replica that was opened again since.
            (Some(_), _) => return,
        };
        transfer.reached = range.reached;
        transfer.left_out.extend(range.left_out);
        self.transfers.insert(sender, transfer);
    }

    /// What has been met of a key beside what its object and the clock say: all that the sender of
    /// a full transfer had seen at its first range, if the key has been compared. A version that
    /// the sender knew to be obsolete may still come from a third replica before the join.
    pub(super) fn compared<'a>(&'a self, entry: &'a Entry) -> impl Iterator<Item = &'a DotSet> {
        let transfers = self.transfers.values();
        let transfers = transfers.filter(move |transfer| transfer.has_compared(entry));
        transfers.map(|transfer| &transfer.start)
    }

    /// The lists of closed actors that are known here.
    pub(super) fn lists(&self) -> Vec<&Closed> {
        let mut lists = self.state.lists();
        lists.extend(self.transfers.values().map(|transfer| &transfer.closed));
        lists
    }

    /// Ends a full transfer: all of `clock` counts as seen here, too. It is the sender's at its
    /// first range, with the dots repaired since, and covers the sender's at its last range.
    /// Nothing is joined, and false given, when this replica did not compare all: what was merged
    /// before it was dropped or opened again may be gone, and a damaged record was left out.
    pub fn join(&mut self, sender: NodeId, clock: &Clock) -> bool {
        let is_whole = |transfer: Transfer| {
            transfer.reached.is_none()
                && transfer.left_out.is_empty()
                && transfer.closed == *clock.closed()
                && clock.seen().includes(&transfer.start)
        };
        let transfer = self.transfers.remove(&sender);
        if !transfer.is_some_and(is_whole) || clock.closed().has(&self.actor) {
            return false;
        }
        let own: Vec<Dot> = clock
            .missing_from(self.state.clock.seen())
            .filter(|(actor, ..)| actor.node == self.actor.node)
            .map(|(actor, _, end)| actor.dot(end))
            .collect();
        self.check_own(&own);
        let closed = clock.closed().beyond(self.state.clock.closed());
        self.check_agreed(&closed);
        self.stray_if(closed.is_beyond(self.state.clock.seen()));
        self.state.clock.join(clock);
        self.advanced.extend(clock.seen().actors().copied());
        self.on_closed(&closed);
        true
    }

    /// Merges one object of a range; false when it is not clear what is obsolete.
    fn merge_compared(
        &mut self,
        batch: &mut dyn Batch,
        entry: &Entry,
        object: Object,
        (kind, closed): (TransferKind, &Closed),
    ) -> Result<bool, RecordError> {
        let stored = self.load(batch, entry)?;
        if kind == TransferKind::Union && stored.blocker.is_some() {
            // It has met more than the clock says: what it lacks may be obsolete by that.
            return Ok(true);
        }
        let mine = stored.object.clone();
        let clock = &self.state.clock;
        let merged = match kind {
            TransferKind::Clocked => {
                let mut lists = self.lists();
                lists.push(closed);
                self.sync(self.met(entry, mine), object, lists)
            }
            TransferKind::Union => Some(union(&mine, object, clock).fill(clock)),
        };
        let Some(merged) = merged else {
            return Ok(false);
        };
        // They are here with all that the sender knew of their key: should it be gone before the
        // join, others learn of them from this replica.
        let dots: Vec<Dot> = merged.versions.keys().copied().collect();
        self.check_own(&dots);
        self.store(batch, entry, &stored, merged, &dots);
        Ok(true)
    }
}

/// What a replica holds of a key that its range lacks.
fn absent(kind: TransferKind, seen: &DotSet) -> Object {
    let mut absent = Object::default();
    if kind == TransferKind::Clocked {
        absent.context.join_bases(seen);
    }
    absent
}

/// Merges two stored objects: without the clocks, which agree, what one lacks was lost there. One
/// with a version that `clock`, the own one, has not seen is left to the repair of that dot.
fn union(mine: &Object, other: Object, clock: &Clock) -> Object {
    if other.versions.keys().any(|dot| !clock.has(dot)) {
        return mine.clone();
    }
    let mut context: DotSet = mine.context.clone();
    context.join(&other.context);
    let obsolete = |object: &Object, dot: &Dot| object.context.has(dot);
    let mut versions = mine.versions.clone();
    versions.retain(|dot, _| other.versions.contains_key(dot) || !obsolete(&other, dot));
    for (dot, version) in other.versions {
        if mine.versions.contains_key(&dot) || !mine.context.has(&dot) {
            versions.insert(dot, version);
        }
    }
    Object { versions, context }
}

const CLOCKED: u8 = 0;
const UNION: u8 = 1;

impl Codec for TransferKind {
    fn encode(&self, writer: &mut Writer) {
        writer.u8(match self {
            TransferKind::Clocked => CLOCKED,
            TransferKind::Union => UNION,
        });
    }

    fn decode(reader: &mut Reader<'_>) -> Result<TransferKind, DecodeError> {
        match reader.u8()? {
            CLOCKED => Ok(TransferKind::Clocked),
            UNION => Ok(TransferKind::Union),
            _ => Err(DecodeError::Invalid("a transfer's kind")),
        }
    }
}

/// Kind 1, what was seen, objects: count 4, each entry and object as sent beside that; damaged:
/// count 4, each entry; end: 0, or 1 and the entry.
impl Codec for Chunk {
    fn encode(&self, writer: &mut Writer) {
        self.kind.encode(writer);
        self.seen.encode(writer);
        writer.len(self.objects.len());
        for (entry, object) in &self.objects {
            entry.encode(writer);
            parcel::write_object(writer, object, &self.seen);
        }
        writer.list(&self.damaged);
        writer.option(self.end.as_ref());
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Chunk, DecodeError> {
        let (kind, seen) = (TransferKind::decode(reader)?, DotSet::decode(reader)?);
        let count = reader.len(ITEMS_PER_ANSWER_MAX)?;
        let object = |_| Ok((Entry::decode(reader)?, parcel::read_object(reader, &seen)?));
        let objects = (0..count).map(object).collect::<Result<_, _>>()?;
        Ok(Chunk {
            kind,
            seen,
            objects,
            damaged: reader.list(ITEMS_PER_ANSWER_MAX)?,
            end: reader.option()?,
        })
    }
}
