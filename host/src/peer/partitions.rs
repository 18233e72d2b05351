//! This is every partition a node holds, as its committer's thread owns them: each operation is
//! applied by the core's rules to the state so far, and what readers see is swapped whole after
//! each commit.

use super::damage::Damage;
use super::node_clock::NodeClock;
use super::operation::{Answer, Buckets, Operation};
use crate::store::commit::{Commits, View};
use crate::store::overlay::Overlay;
use crate::store::{self, Space};
use arc_swap::ArcSwap;
use soros_core::clock::Clock;
use soros_core::dot::Actor;
use soros_core::dot_set::DotSet;
use soros_core::id::{Generation, Incarnation, NodeId};
use soros_core::operation::Target;
use soros_core::place::{Layout, Place};
use soros_core::record::{RecordError, Records};
use soros_core::replica::{self, Item, Quorum, Reached, Replica, Standing, State, Taken};
use soros_core::write::Store;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// How many records of a generation that was dropped are removed at a time.
const SWEPT_AT_ONCE: usize = 64;

/// A partition as readers see it: its layout and state at the moment of the view.
#[derive(Debug)]
pub struct Shown {
    /// Where its records lie.
    pub layout: Layout,
    /// What it has seen, and how it stands.
    pub state: State,
    /// Whether it has compared clocks with another replica since the process started.
    pub compared: Arc<AtomicBool>,
    /// Who mints its dots.
    pub actor: Actor,
}

/// A consistent moment of all partitions: records and clocks that belong together.
pub struct Moment {
    records: View,
    places: BTreeMap<Place, Arc<Shown>>,
}

impl Moment {
    /// The partition at `place`, if the node holds it.
    #[must_use]
    pub fn shown(&self, place: &Place) -> Option<&Arc<Shown>> {
        self.places.get(place)
    }

    /// All partitions the node holds, in order.
    pub fn places(&self) -> impl Iterator<Item = (&Place, &Arc<Shown>)> {
        self.places.iter()
    }

    /// Reads of the partition at `place`, if the node holds it.
    #[must_use]
    pub fn view(&self, place: &Place) -> Option<replica::View<'_>> {
        let shown = self.places.get(place)?;
        Some(replica::View::new(
            shown.layout,
            &shown.state,
            &*self.records,
        ))
    }
}

/// The moment that readers see, swapped after each commit.
pub type Moments = Arc<ArcSwap<Moment>>;

/// All partitions of a node, as the committer owns them.
pub struct Partitions {
    me: (NodeId, Incarnation),
    sound: bool,
    replicas: BTreeMap<Place, Replica>,
    compared: BTreeMap<Place, Arc<AtomicBool>>,
    touched: BTreeSet<Place>,
    buckets: Buckets,
    moments: Moments,
    damage: Arc<Damage>,
    clock: Arc<NodeClock>,
    store: Arc<dyn store::Store>,
}

impl Partitions {
    /// No partition yet, on `store`; the moments are where readers look. When its records are not
    /// `sound`, some may be missing, and what they say of a partition is not believed. Nothing is
    /// minted while `clock` is off, and no value is stored that the store's disk has no room for.
    #[must_use]
    pub fn new(
        me: (NodeId, Incarnation),
        sound: bool,
        store: Arc<dyn store::Store>,
        clock: Arc<NodeClock>,
    ) -> (Partitions, Moments) {
        let moment = Moment {
            records: store.snapshot(Space::Partitions).into(),
            places: BTreeMap::new(),
        };
        let moments = Arc::new(ArcSwap::from_pointee(moment));
        let partitions = Partitions {
            me,
            sound,
            replicas: BTreeMap::new(),
            compared: BTreeMap::new(),
            touched: BTreeSet::new(),
            buckets: Buckets::default(),
            moments: moments.clone(),
            damage: Arc::default(),
            clock,
            store,
        };
        (partitions, moments)
    }

    /// Where it is noted which partitions are damaged.
    #[must_use]
    pub fn damage(&self) -> Arc<Damage> {
        Arc::clone(&self.damage)
    }

    fn open(
        &mut self,
        batch: &mut Overlay<'_>,
        places: Vec<(Place, Standing)>,
    ) -> Result<Answer, RecordError> {
        let mut opened = Vec::new();
        for (place, standing) in places {
            if !self.replicas.contains_key(&place) {
                // A replica that is born trusted has nobody to ask what it may have lost.
                let is_new = matches!(batch.get(&Layout::life(place)), Ok(None));
                let born = is_new && standing.is_trusted();
                match Replica::open(batch, place, self.me, standing) {
                    Ok(replica) => opened.push((place, replica, Arc::new(AtomicBool::new(born)))),
                    // The other partitions are opened all the same.
                    Err(error @ (RecordError::Damaged(_) | RecordError::Strange(_))) => {
                        self.damage.note(place, &error);
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        for (place, mut replica, compared) in opened {
            if !self.sound {
                replica.stand(Standing::suspect());
            }
            replica.save(batch);
            self.replicas.insert(place, replica);
            self.compared.insert(place, compared);
            self.touched.insert(place);
        }
        Ok(Answer::Done)
    }

    /// Mints a client's write, if this node's clock may be believed.
    fn write(
        &mut self,
        batch: &mut Overlay<'_>,
        target: &Target,
        store: Store,
    ) -> Result<Answer, RecordError> {
        if let Err(skew) = self.clock.check() {
            return Ok(Answer::ClockOff(skew));
        }
        self.change(target.place, |replica| {
            let written = replica.write(batch, &target.entry, store.into());
            written.map(Answer::Written)
        })
    }

    /// Applies a change of one object to the replica at `place`; it fails before it changes any.
    fn change(
        &mut self,
        place: Place,
        change: impl FnOnce(&mut Replica) -> Result<Answer, RecordError>,
    ) -> Result<Answer, RecordError> {
        let Some(replica) = self.replicas.get_mut(&place) else {
            return Ok(Answer::NotHeld);
        };
        self.touched.insert(place);
        change(replica)
    }

    /// Applies a change of many objects; one that fails half-way leaves the replica as it was.
    fn change_many(
        &mut self,
        place: Place,
        change: impl FnOnce(&mut Replica) -> Result<Answer, RecordError>,
    ) -> Result<Answer, RecordError> {
        let Some(replica) = self.replicas.get_mut(&place) else {
            return Ok(Answer::NotHeld);
        };
        self.touched.insert(place);
        let before = replica.clone();
        change(replica).inspect_err(|_| *replica = before)
    }

    /// Merges objects of anti-entropy. Of a deleted bucket only the dots count, or they would be
    /// missing for ever.
    fn merge_items(
        &mut self,
        batch: &mut Overlay<'_>,
        place: Place,
        items: Vec<Item>,
    ) -> Result<Answer, RecordError> {
        let buckets = self.buckets.clone();
        self.change_many(place, |replica| {
            for item in items {
                if buckets.is_dead(item.entry.bucket) {
                    replica.skip(&item.dots);
                } else {
                    let merged = replica.merge(batch, &item.entry, item.object, &item.dots)?;
                    if merged.is_none() {
                        return Ok(Answer::Unclear);
                    }
                }
            }
            replica.save(batch);
            Ok(Answer::Done)
        })
    }

    fn show(&self, place: &Place, replica: &Replica) -> Arc<Shown> {
        Arc::new(Shown {
            layout: replica.layout(),
            state: replica.state().clone(),
            compared: self.compared.get(place).cloned().unwrap_or_default(),
            actor: replica.actor(),
        })
    }
}

impl Commits for Partitions {
    type Operation = Operation;
    type Answer = Answer;

    fn weight(operation: &Operation) -> usize {
        const LEAST: usize = 256;
        let value = |version: &soros_core::object::Version| {
            version.value.as_ref().map_or(0, |value| value.bytes.len())
        };
        LEAST
            + match operation {
                Operation::Write { store, .. } => value(&store.version),
                Operation::Merge { object, .. } => object.size(),
                Operation::MergeItems { items, .. } => {
                    items.iter().map(|item| item.object.size()).sum()
                }
                Operation::MergeChunk { chunk, .. } => {
                    chunk.objects.iter().map(|(_, object)| object.size()).sum()
                }
                Operation::Adopt { .. }
                | Operation::Closing { .. }
                | Operation::Close { .. }
                | Operation::Join { .. }
                | Operation::Stand { .. }
                | Operation::BoundLog { .. }
                | Operation::Remember { .. }
                | Operation::Doubt { .. }
                | Operation::DoubtAll
                | Operation::Renew { .. } => 0,
            }
    }

    fn apply(
        &mut self,
        operation: Operation,
        batch: &mut Overlay<'_>,
    ) -> Result<Answer, RecordError> {
        let place = operation.place();
        let applied = self.apply_to(operation, batch);
        if let (Err(error), Some(place)) = (&applied, place) {
            self.damage.note(place, error);
        }
        applied
    }

    fn seal(&mut self, batch: &mut Overlay<'_>) -> Result<(), RecordError> {
        for place in &self.touched {
            if let Some(replica) = self.replicas.get_mut(place) {
                // What is damaged waits; the other operations of the commit must not wait for it.
                match replica.settle(batch) {
                    Err(error @ (RecordError::Damaged(_) | RecordError::Strange(_))) => {
                        self.damage.note(*place, &error);
                    }
                    settled => drop(settled?),
                }
                replica.save(batch);
            }
        }
        Ok(())
    }

    fn publish(&mut self, view: View) {
        let mut places = self.moments.load().places.clone();
        for place in std::mem::take(&mut self.touched) {
            if let Some(replica) = self.replicas.get(&place) {
                places.insert(place, self.show(&place, replica));
            }
        }
        self.moments.store(Arc::new(Moment {
            records: view,
            places,
        }));
    }

    fn reload(&mut self, view: View) -> Result<(), RecordError> {
        self.touched.clear();
        let mut replicas = BTreeMap::new();
        for place in self.replicas.keys() {
            let standing = Standing::suspect();
            match Replica::open(&*view, *place, self.me, standing) {
                Ok(replica) => drop(replicas.insert(*place, replica)),
                Err(error @ (RecordError::Damaged(_) | RecordError::Strange(_))) => {
                    self.damage.note(*place, &error);
                }
                Err(error) => return Err(error),
            }
        }
        self.replicas = replicas;
        let show = |(place, replica): (&Place, &Replica)| (*place, self.show(place, replica));
        let places = self.replicas.iter().map(show).collect();
        self.moments.store(Arc::new(Moment {
            records: view,
            places,
        }));
        Ok(())
    }
}

impl Partitions {
    fn apply_to(
        &mut self,
        operation: Operation,
        batch: &mut Overlay<'_>,
    ) -> Result<Answer, RecordError> {
        match operation {
            Operation::Adopt { places, buckets } => {
                let answer = self.open(batch, places)?;
                self.buckets = buckets;
                Ok(answer)
            }
            Operation::Write { target, .. } | Operation::Merge { target, .. }
                if !self.buckets.open.contains(&target.bucket()) =>
            {
                Ok(Answer::NotHeld)
            }
            Operation::Write { deadline, .. } if deadline <= Instant::now() => Ok(Answer::TooLate),
            operation if operation.needs() < self.store.disk().room => Ok(Answer::Full),
            Operation::Write { target, store, .. } => self.write(batch, &target, store),
            Operation::Merge {
                target,
                object,
                dots,
            } => self.change(target.place, |replica| {
                replica.take(batch, &target.entry, object, &dots).map(taken)
            }),
            Operation::MergeItems { place, items } => self.merge_items(batch, place, items),
            Operation::MergeChunk {
                place,
                peer,
                from,
                chunk,
                closed,
            } => self.change_many(place, |replica| {
                let reached = replica.merge_chunk(batch, peer, from.as_ref(), chunk, &closed);
                reached.map(|reached| match reached {
                    Reached::To(next) => Answer::Reached(next),
                    Reached::Unclear => Answer::Unclear,
                })
            }),
            operation @ (Operation::Join { place, .. }
            | Operation::Closing { place, .. }
            | Operation::Close { place, .. }
            | Operation::Stand { place, .. }
            | Operation::Doubt { place }) => {
                self.note(batch, place, |replica| noted(replica, operation))
            }
            Operation::BoundLog { place, bounds, now } => self.change_many(place, |replica| {
                replica.bound_log(batch, bounds, now).map(|_| Answer::Done)
            }),
            Operation::Remember {
                place,
                peer,
                seen,
                trusted,
                others,
            } => self.change_many(place, |replica| {
                remember(replica, batch, (peer, seen, trusted), &others)
            }),
            Operation::DoubtAll => Ok(self.doubt_all(batch)),
            Operation::Renew { place } => self.renew(batch, place),
        }
    }

    /// Changes what a replica says of itself.
    fn note(
        &mut self,
        batch: &mut Overlay<'_>,
        place: Place,
        change: impl FnOnce(&mut Replica) -> Answer,
    ) -> Result<Answer, RecordError> {
        self.change(place, |replica| {
            let answer = change(replica);
            replica.save(batch);
            Ok(answer)
        })
    }

    fn doubt_all(&mut self, batch: &mut Overlay<'_>) -> Answer {
        self.sound = false;
        for (place, replica) in &mut self.replicas {
            replica.stand(Standing::suspect());
            replica.save(batch);
            self.touched.insert(*place);
        }
        Answer::Done
    }

    fn renew(&mut self, batch: &mut Overlay<'_>, place: Place) -> Result<Answer, RecordError> {
        let replica = Replica::renew(batch, place, self.me)?;
        self.replicas.insert(place, replica);
        self.compared.insert(place, Arc::default());
        self.touched.insert(place);
        Ok(Answer::Done)
    }
}

fn doubt(replica: &mut Replica) -> Answer {
    replica.doubt();
    Answer::Done
}

/// Takes note of what another replica has seen, and of what that lets this one forget.
fn remember(
    replica: &mut Replica,
    batch: &mut Overlay<'_>,
    (peer, seen, trusted): (NodeId, DotSet, bool),
    others: &[NodeId],
) -> Result<Answer, RecordError> {
    if !replica.remember(peer, seen, trusted) {
        return Ok(Answer::Behind);
    }
    replica.truncate(batch, others)?;
    // A partition that nobody writes to would wait for the next write.
    replica.settle(batch)?;
    if replica.state().standing.is_trusted() {
        // What is left of an earlier generation may be damaged: nobody needs it.
        let _ = replica.sweep(batch, SWEPT_AT_ONCE);
    }
    replica.save(batch);
    Ok(Answer::Done)
}

/// Takes note that all that `peer` held has been merged. What a round merged before the partition
/// was dropped is not there any more.
fn stand(
    replica: &mut Replica,
    begun: Generation,
    (peer, trusted): (NodeId, bool),
    quorum: Quorum,
) -> Answer {
    if begun != replica.layout().generation() {
        return Answer::NotHeld;
    }
    let standing = &replica.state().standing;
    replica.stand(standing.after_merging(peer, trusted, quorum));
    Answer::Done
}

/// Applies what changes no record but the clock's.
fn noted(replica: &mut Replica, operation: Operation) -> Answer {
    match operation {
        Operation::Join { peer, clock, .. } => join(replica, peer, &clock),
        Operation::Closing { ask, believed, .. } => {
            let answer = replica.answer(&ask, believed);
            answer.map_or(Answer::NotHeld, Answer::Closing)
        }
        Operation::Close { after, steps, .. } => Answer::Closed(replica.close(after, &steps)),
        Operation::Stand {
            begun,
            peer,
            trusted,
            quorum,
            ..
        } => stand(replica, begun, (peer, trusted), quorum),
        Operation::Doubt { .. } => doubt(replica),
        _ => Answer::NotHeld,
    }
}

/// Ends a full transfer.
fn join(replica: &mut Replica, sender: NodeId, clock: &Clock) -> Answer {
    if replica.join(sender, clock) {
        Answer::Done
    } else {
        Answer::NotHeld
    }
}

fn taken(taken: Taken) -> Answer {
    match taken {
        Taken::Merged(found) => Answer::Found(found),
        Taken::Ended => Answer::Ended,
        Taken::Unclear => Answer::Unclear,
    }
}
