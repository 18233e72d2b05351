//! This is how a replica's state is dropped: one batch ends a generation and begins the next.
//!
//! The generation is part of every key, so that what the old one left is never read again, and is
//! removed at leisure; the lists of closed actors that it knew are stored anew. No path removes
//! objects while a clock that covers them exists: what such a clock has seen and no longer holds
//! would count as deleted everywhere.
//!
//! A replica with a damaged record is dropped once enough others hold what else it holds. What the
//! last of them lack, as long as it is little, it takes along: the new replica merges it from the
//! old one as from any other. What is damaged is left out, and only that can be lost.
//!
//! Two that drop what they hold at once, each because the other has it, would lose it. So others
//! are asked, and one that promises to hold what it has gives up an attempt of its own; of two that
//! ask each other the one with the lower id goes first. One that promises names what it cannot read
//! itself: that is taken along, too, for nobody else may have it.

use super::{Difference, Inventory, Item, Quorum, Readable, Replica, Standing, closing, state};
use crate::clock::Clock;
use crate::closed::Closed;
use crate::codec::{Codec, DecodeError, Reader, Writer};
use crate::dot::Actor;
use crate::dot_set::{Counters, DotSet};
use crate::id::{Generation, Incarnation, NodeId};
use crate::limits::{REPAIR_BYTES, SIBLINGS_BYTES_MAX, UNREADABLE_TOLD_MAX};
use crate::place::{Entry, Layout, Place};
use crate::record::{Batch, RecordError, Records};
use std::collections::{BTreeMap, btree_map};

/// An attempt to drop a replica, in its generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    generation: Generation,
    number: u64,
}

/// What another replica holds that lets this one be dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promise {
    /// The life of it that holds that.
    pub holder: Actor,
    /// What it has seen.
    pub clock: Clock,
    /// Of which keys it cannot read the object: of those it holds nothing.
    pub unreadable: Vec<Entry>,
}

/// What came of an attempt's questions.
#[derive(Clone, Debug)]
pub struct Promises {
    /// The attempt.
    pub attempt: Attempt,
    /// What the others that promised hold.
    pub of: Vec<(NodeId, Promise)>,
    /// How many replicas there are, and how many a write needs.
    pub quorum: Quorum,
    /// How much of what some of them lack is taken along, in about so many bytes for each.
    pub bytes_max: usize,
}

/// How many attempts a replica passes over once it let another go first; more when its own had been
/// in vain. Two that need each other would else stop each other for ever, one of them always being
/// asked while it asks.
const PASSED_OVER: u32 = 1;
const PASSED_OVER_IN_VAIN: u32 = 4;

/// A replica's attempts to be dropped.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Attempts {
    last: u64,
    under_way: bool,
    /// Whether too few held the rest at the last one.
    in_vain: bool,
    /// How many of the next ones are passed over.
    passed_over: u32,
}

impl Attempts {
    /// These, none of them under way any more.
    pub(super) fn ended(self) -> Attempts {
        Attempts {
            last: self.last + 1,
            under_way: false,
            ..self
        }
    }

    /// These, after another replica was let go first.
    fn yielded(self) -> Attempts {
        let passed_over = match self {
            Attempts { in_vain: true, .. } => PASSED_OVER_IN_VAIN,
            Attempts {
                under_way: true, ..
            } => PASSED_OVER,
            _ => 0,
        };
        Attempts {
            in_vain: false,
            passed_over: self.passed_over.max(passed_over),
            ..self.ended()
        }
    }
}

impl Replica {
    /// Begins an attempt to drop this replica, in which a record was seen to be damaged: the others
    /// are to be asked for a promise from here on. None when it is another's turn.
    pub fn attempt_renewal(&mut self) -> Option<Attempt> {
        if let Some(left) = self.attempts.passed_over.checked_sub(1) {
            self.attempts.passed_over = left;
            return None;
        }
        self.attempts.last += 1;
        self.attempts.under_way = true;
        Some(Attempt {
            generation: self.layout.generation(),
            number: self.attempts.last,
        })
    }

    /// Lets another replica, which wants to be dropped, rely on what this one holds: an own attempt
    /// ends. None while this one attempts the same and goes first, or when it does not know what it
    /// holds: `inventory` has not looked at all of it, or found too much that is damaged. Nothing
    /// may be told before the commit is durable.
    pub fn promise(&mut self, other: NodeId, inventory: &Inventory) -> Option<Promise> {
        let unreadable = inventory.found(self.layout.generation())?;
        let goes_first = self.actor.node < other && !self.attempts.in_vain;
        if self.attempts.under_way && goes_first {
            return None;
        }
        self.attempts = self.attempts.yielded();
        // What it cannot be opened without may be damaged, and nobody reads that before then.
        (self.changed, self.steps_stored, self.known_stored) = (true, 0, None);
        // Its copy may go now, with what it has merged and not seen.
        self.held.remove(&other);
        Some(Promise {
            holder: self.actor,
            clock: self.state.clock.clone(),
            unreadable,
        })
    }

    /// Ends an attempt: drops this replica for one that begins anew, as a suspect, with what some
    /// of those that promised lack. None, and nothing is changed, when too few of them hold the
    /// rest, or the attempt has ended before.
    ///
    /// # Errors
    /// [`RecordError`] when the engine fails, or a record is of an unknown layout.
    pub fn renew(
        &mut self,
        batch: &mut dyn Batch,
        promises: &Promises,
    ) -> Result<Option<Replica>, RecordError> {
        let attempt = Attempt {
            generation: self.layout.generation(),
            number: self.attempts.last,
        };
        if !self.attempts.under_way || promises.attempt != attempt {
            return Ok(None);
        }
        self.attempts.under_way = false;
        let Some(rest) = self.taken_along(batch, promises)? else {
            self.attempts.in_vain = true;
            return Ok(None);
        };
        let life = (self.actor.node, self.actor.incarnation);
        let next = drop_generation(batch, self.layout);
        let mut replica = Replica::begin(batch, (self.layout.place(), next), life, &self.lists())?;
        let is_whole = rest.is_all && self.state.standing.has_lost_nothing();
        replica.stand(Standing::beginning(is_whole));
        for item in rest.items {
            let merged = replica.merge(batch, &item.entry, item.object, &item.dots)?;
            debug_assert!(merged.is_some(), "nothing was there that could be unclear");
        }
        // What is refused is refused by all lives until it is closed.
        replica.state.refused.clone_from(&self.state.refused);
        replica.changed = true;
        replica.save(batch);
        Ok(Some(replica))
    }

    /// What is readable here and some of those that promised lack; none when too few of them hold
    /// nearly all.
    fn taken_along(
        &self,
        records: &dyn Records,
        promises: &Promises,
    ) -> Result<Option<Rest>, RecordError> {
        let (mut holders, mut of_all, mut lacking) = (0, 0, BTreeMap::new());
        for (node, promise) in &promises.of {
            let held = self.held_by(*node, promise);
            let first = self.lacked(records, held, promise, promises.bytes_max)?;
            let spared = self.spared(records, &promise.unreadable)?;
            let Some(spared) = spared.filter(|_| is_told(&first)) else {
                continue;
            };
            holders += 1;
            // What it merged without having seen it, it cannot hand on, a delete least of all.
            let unseen = held.map(|_| self.lacked(records, None, promise, REPAIR_BYTES));
            let unseen = unseen.transpose()?;
            let all = unseen.as_ref().unwrap_or(&first);
            let is_all = is_told(all) && all.damage.is_none();
            of_all += usize::from(is_all && spared.len() == promise.unreadable.len());
            for item in spared {
                take_along(&mut lacking, item);
            }
            for found in std::iter::once(first).chain(unseen) {
                if let Difference::Items { items, .. } = found.found {
                    for item in items {
                        take_along(&mut lacking, item);
                    }
                }
            }
        }
        let needed = promises.quorum.holders();
        Ok((needed <= holders).then(|| Rest {
            items: lacking.into_values().collect(),
            is_all: needed <= of_all,
        }))
    }

    /// What is readable here and another lacks that promised, beside what it `held` of this one's.
    fn lacked(
        &self,
        records: &dyn Records,
        held: Option<&DotSet>,
        promise: &Promise,
        bytes_max: usize,
    ) -> Result<Readable<Difference>, RecordError> {
        let left_out = promise.unreadable.iter().map(Layout::entry_bytes).collect();
        match self.told_of(held, &promise.clock) {
            Some(told) => {
                let view = self.view(records);
                view.difference_but(&told, bytes_max, left_out)
            }
            None => Ok(Readable {
                found: Difference::LogTooShort,
                damage: None,
            }),
        }
    }

    /// What this replica holds of the entries that another cannot read; none when that is too much.
    /// What it has met of them counts, too: of one that was deleted there may be nothing else.
    fn spared(
        &self,
        records: &dyn Records,
        unreadable: &[Entry],
    ) -> Result<Option<Vec<Item>>, RecordError> {
        let (mut items, mut bytes) = (Vec::new(), 0);
        for entry in unreadable {
            if SIBLINGS_BYTES_MAX <= bytes {
                return Ok(None);
            }
            let object = match self.view(records).object(entry) {
                Ok(object) => object,
                Err(RecordError::Damaged(_)) => continue,
                Err(error) => return Err(error),
            };
            bytes += object.size();
            items.push(Item {
                entry: entry.clone(),
                object,
                dots: Vec::new(),
            });
        }
        Ok(Some(items))
    }

    /// What another replica holds by its clock and by what it merged of this one's, in the words of
    /// this one's list of closed actors; none when it lacks dots of actors that are closed here.
    fn told_of(&self, held: Option<&DotSet>, other: &Clock) -> Option<DotSet> {
        let own = &self.state.clock;
        let mut told = other.seen().clone();
        let mut steps = 0;
        if let Some(held) = held {
            told.join(held);
            let name = held.names().next();
            steps = name
                .and_then(|name| own.closed().steps_of(name))
                .unwrap_or(0);
        }
        let beyond = own.closed().beyond(other.closed());
        let is_held = |(actor, agreed): (&Actor, &Counters)| {
            own.closed().has_within(steps, actor) || told.of_actor(actor).includes(agreed)
        };
        if !beyond.iter().all(is_held) {
            return None;
        }
        told.retain(|actor| !actor.is_name() && !own.closed().has(actor));
        // When it closed an actor, all dots of it were there.
        let mut closed = own.seen().clone();
        closed.retain(|actor| actor.is_name() || other.closed().has(actor));
        told.join(&closed);
        Some(told)
    }

    /// What another replica merged of this one's, if it has lost nothing since. An emptied one may
    /// have seen again all that it had seen; what it only held is gone with its life.
    fn held_by(&self, node: NodeId, promise: &Promise) -> Option<&DotSet> {
        let before = self.remembered.get(&node)?;
        let (holder, held) = self.held.get(&node)?;
        let is_whole = *holder == promise.holder && !self.is_less(promise.clock.seen(), before);
        is_whole.then_some(held)
    }

    /// Drops what is stored of `place`, which cannot be opened, and begins anew with nothing, as a
    /// suspect. The new replica mints under a new actor, in the same process too.
    ///
    /// # Errors
    /// [`RecordError`] when the engine fails, or a record is of an unknown layout.
    pub fn begin_anew(
        batch: &mut dyn Batch,
        place: Place,
        life: (NodeId, Incarnation),
    ) -> Result<Replica, RecordError> {
        let mut known = Vec::new();
        let next = match Replica::stored_generation(batch, place) {
            Ok(old) => {
                let layout = Layout::new(place, old);
                known = closing::known_to(batch, layout)?;
                drop_generation(batch, layout)
            }
            Err(RecordError::Damaged(_)) => unused_generation(batch, place, life.1)?,
            Err(error) => return Err(error),
        };
        let known: Vec<&Closed> = known.iter().collect();
        let mut replica = Replica::begin(batch, (place, next), life, &known)?;
        replica.save(batch);
        Ok(replica)
    }

    /// The replica of a generation in which nothing is stored, as a suspect to which the lists of
    /// closed actors are known that were before it.
    fn begin(
        batch: &mut dyn Batch,
        (place, next): (Place, Generation),
        life: (NodeId, Incarnation),
        known: &[&Closed],
    ) -> Result<Replica, RecordError> {
        batch.put(Layout::life(place), state::encode_generation(next));
        let mut replica = Replica::open(batch, place, life, Standing::suspect())?;
        for list in known {
            replica.learn_list(list);
        }
        Ok(replica)
    }

    /// The generation of `place` that is in use; the first when nothing is stored.
    pub(super) fn stored_generation(
        records: &dyn Records,
        place: Place,
    ) -> Result<Generation, RecordError> {
        let life = records.get(&Layout::life(place))?;
        let generation = life.as_deref().map(state::decode_generation).transpose()?;
        Ok(generation.unwrap_or(Generation(1)))
    }
}

/// What a replica that is dropped takes along.
struct Rest {
    items: Vec<Item>,
    /// Whether enough others hold all else, what is damaged here too: nothing is lost with it.
    is_all: bool,
}

/// Whether these are all items that another lacks and that can be read.
fn is_told(lacked: &Readable<Difference>) -> bool {
    match lacked.found {
        Difference::None => true,
        Difference::Items { more, .. } => !more,
        Difference::LogTooShort | Difference::Closed(_) => false,
    }
}

/// Ends a generation: what is stored of it is never read again. Gives the one that comes after it.
fn drop_generation(batch: &mut dyn Batch, layout: Layout) -> Generation {
    batch.remove(layout.clock());
    Generation(layout.generation().0 + 1)
}

fn take_along(lacking: &mut BTreeMap<Entry, Item>, item: Item) {
    match lacking.entry(item.entry.clone()) {
        btree_map::Entry::Vacant(vacant) => {
            vacant.insert(item);
        }
        btree_map::Entry::Occupied(mut before) => before.get_mut().dots.extend(item.dots),
    }
}

/// A generation that no record of `place` has, when it cannot be read which ones had: one that is
/// far above all, chosen by the bits of the process's incarnation. It fails when the next few
/// cannot be read either: then it is the disk, which may read again.
fn unused_generation(
    records: &dyn Records,
    place: Place,
    incarnation: Incarnation,
) -> Result<Generation, RecordError> {
    const FAR: u32 = 1 << 31;
    const TRIED: usize = 8;
    let bits = u32::try_from(incarnation.0 & u128::from(FAR / 2 - 1)).unwrap_or(0);
    let mut last = RecordError::Failed("all generations tried are in use".to_owned());
    for generation in (FAR | bits..).map(Generation).take(TRIED) {
        match records.get(&Layout::new(place, generation).clock()) {
            Ok(None) => return Ok(generation),
            Ok(Some(_)) => (),
            Err(error @ RecordError::Damaged(_)) => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

/// Holder, clock, then the unreadable entries: count 4, each as an entry.
impl Codec for Promise {
    fn encode(&self, writer: &mut Writer) {
        self.holder.encode(writer);
        self.clock.encode(writer);
        writer.list(&self.unreadable);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Promise, DecodeError> {
        Ok(Promise {
            holder: Actor::decode(reader)?,
            clock: Clock::decode(reader)?,
            unreadable: reader.list(UNREADABLE_TOLD_MAX)?,
        })
    }
}
