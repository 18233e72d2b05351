//! This is every partition a node holds, as its committer's thread owns them: each operation is
//! applied by the core's rules to the state so far, and what readers see is swapped whole after
//! each commit.

mod renewal;

pub use renewal::Renewal;

use super::damage::Damage;
use super::node_clock::NodeClock;
use super::operation::{Answer, Operation};
use crate::store::commit::{Commits, View};
use crate::store::overlay::Overlay;
use crate::store::{self, Space};
use arc_swap::ArcSwap;
use soros_core::clock::Clock;
use soros_core::closed::Closed;
use soros_core::dot::Actor;
use soros_core::dot_set::DotSet;
use soros_core::id::{Generation, Incarnation, NodeId};
use soros_core::map::bucket::Buckets;
use soros_core::operation::Target;
use soros_core::place::{Entry, Layout, Place};
use soros_core::record::{RecordError, Records};
use soros_core::replica::{
    self, Chunk, Item, Quorum, Reached, Replica, SWEPT_PER_COMMIT, Standing, State, Taken,
};
use soros_core::sync::Own;
use soros_core::write::Store;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

#[cfg(test)]
mod tests;

/// A partition as readers see it: its layout and state at the moment of the view.
#[derive(Debug)]
pub struct Shown {
    /// Where its records lie.
    pub layout: Layout,
    /// What it has seen, and how it stands.
    pub state: State,
    /// Whether it holds objects of the moment's buckets only.
    pub swept: bool,
    /// Whether it holds records that nobody reads any more.
    pub needs_sweep: bool,
    /// Whether it has compared clocks with another replica since the process started.
    pub compared: Arc<AtomicBool>,
    /// Who mints its dots.
    pub actor: Actor,
}

/// A consistent moment of all partitions: records and clocks that belong together.
pub struct Moment {
    records: View,
    buckets: Arc<Buckets>,
    places: BTreeMap<Place, Arc<Shown>>,
}

impl Moment {
    /// The partition at `place`, if the node holds it.
    #[must_use]
    pub fn shown(&self, place: &Place) -> Option<&Arc<Shown>> {
        self.places.get(place)
    }

    /// The buckets of the map that the node serves under.
    #[must_use]
    pub fn buckets(&self) -> &Buckets {
        &self.buckets
    }

    /// The partitions of which anything is stored, held or not.
    ///
    /// # Errors
    /// [`RecordError`] when they cannot be read.
    pub fn stored_places(&self) -> Result<Vec<Place>, RecordError> {
        let (from, to) = Layout::lives();
        let listed = self.records.list(&from, &to, usize::MAX)?.into_iter();
        listed
            .map(|listed| Layout::place_of_life(&listed.key))
            .collect()
    }

    /// The partition at `place` as a round of anti-entropy sees it.
    #[must_use]
    pub fn own<'a>(&self, shown: &'a Shown) -> Own<'a> {
        Own {
            state: &shown.state,
            epoch: self.buckets.epoch,
            swept: shown.swept,
        }
    }

    /// Whether the partition at `place` could be opened from what is stored, in the life `me`.
    ///
    /// # Errors
    /// [`RecordError`] when it could not.
    pub fn check_opens(&self, place: Place, me: (NodeId, Incarnation)) -> Result<(), RecordError> {
        Replica::open(&*self.records, place, me, Standing::suspect()).map(drop)
    }

    /// Reads all that is stored of the partition at `place`, of earlier generations too.
    ///
    /// # Errors
    /// [`RecordError`] when some of it cannot be read.
    pub fn read_through(&self, place: Place) -> Result<(), RecordError> {
        self.records.get(&Layout::life(place))?;
        let (from, to) = Layout::state(place);
        let mut read = Ok(());
        self.records.survey(&from, &to, &mut |_, value| {
            read = value.map(drop);
            if read.is_ok() {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })?;
        read
    }

    /// All partitions the node holds, in order.
    pub fn places(&self) -> impl Iterator<Item = (&Place, &Arc<Shown>)> {
        self.places.iter()
    }

    /// Reads of the partition at `place`, if the node holds it.
    #[must_use]
    pub fn view(&self, place: &Place) -> Option<replica::View<'_>> {
        let shown = self.places.get(place)?;
        Some(self.view_of(shown))
    }

    /// Reads of a partition of this moment.
    #[must_use]
    pub fn view_of<'a>(&'a self, shown: &'a Shown) -> replica::View<'a> {
        replica::View::new(shown.layout, &shown.state, &*self.records)
    }
}

/// The moment that readers see, swapped after each commit.
pub type Moments = Arc<ArcSwap<Moment>>;

/// All partitions of a node, as the committer owns them.
pub struct Partitions {
    me: (NodeId, Incarnation),
    /// Whether what the directory holds can be believed; once doubted, no more in this process.
    sound: bool,
    replicas: BTreeMap<Place, Replica>,
    compared: BTreeMap<Place, Arc<AtomicBool>>,
    touched: BTreeSet<Place>,
    buckets: Arc<Buckets>,
    /// Whether the buckets are others than those that readers see.
    adopted: bool,
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
            buckets: Arc::default(),
            places: BTreeMap::new(),
        };
        let moments = Arc::new(ArcSwap::from_pointee(moment));
        let partitions = Partitions {
            me,
            sound,
            replicas: BTreeMap::new(),
            compared: BTreeMap::new(),
            touched: BTreeSet::new(),
            buckets: Arc::default(),
            adopted: false,
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
                let born = is_new && self.sound && standing.is_trusted();
                match Replica::open(batch, place, self.me, standing) {
                    Ok(replica) => opened.push((place, replica, Arc::new(AtomicBool::new(born)))),
                    // The other partitions are opened all the same.
                    Err(error @ (RecordError::Damaged(_) | RecordError::Strange(_))) => {
                        self.damage.note(place, None, &error);
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

    /// Takes note when a record of a partition cannot be read for good.
    fn note_damage(&self, place: Place, error: &RecordError) {
        let replica = self.replicas.get(&place);
        let seen = replica.map(|replica| replica.layout().generation());
        self.damage.note(place, seen, error);
    }

    /// Merges objects of anti-entropy. One whose own record is damaged is left out.
    fn merge_items(
        &mut self,
        batch: &mut Overlay<'_>,
        place: Place,
        items: Vec<Item>,
    ) -> Result<Answer, RecordError> {
        let buckets = Arc::clone(&self.buckets);
        let mut damage = None;
        let merged = self.change_many(place, |replica| {
            for item in items {
                match replica.merge_item(batch, item, &buckets) {
                    Err(error @ RecordError::Damaged(_)) => damage = Some(error),
                    Ok(None) => return Ok(Answer::Unclear),
                    merged => drop(merged?),
                }
            }
            replica.save(batch);
            Ok(Answer::Done)
        })?;
        let Some(error) = damage else {
            return Ok(merged);
        };
        self.note_damage(place, &error);
        Ok(match merged {
            Answer::Done => Answer::Partly,
            other => other,
        })
    }

    fn merge_chunk(
        &mut self,
        batch: &mut Overlay<'_>,
        (place, peer): (Place, NodeId),
        from: Option<&Entry>,
        (chunk, closed): (Chunk, &Closed),
    ) -> Result<Answer, RecordError> {
        let merged = self.change_many(place, |replica| {
            let reached = replica.merge_chunk(batch, peer, from, chunk, closed)?;
            Ok(match reached {
                Reached::Unclear => Answer::Unclear,
                reached @ Reached::To { .. } => Answer::Reached(reached),
            })
        })?;
        if matches!(&merged, Answer::Reached(Reached::To { whole: false, .. })) {
            self.note_damage(place, &RecordError::Damaged("an object"));
        }
        Ok(merged)
    }

    /// Takes note of what another replica has seen, and of what that lets this one forget. What is
    /// damaged here is no reason to refuse the other an answer.
    fn remember(
        &mut self,
        batch: &mut Overlay<'_>,
        place: Place,
        (peer, seen, trusted): (NodeId, DotSet, bool),
        others: &[NodeId],
    ) -> Result<Answer, RecordError> {
        let Some(replica) = self.replicas.get_mut(&place) else {
            return Ok(Answer::NotHeld);
        };
        self.touched.insert(place);
        if !replica.remember(peer, seen, trusted) {
            return Ok(Answer::Behind);
        }
        let before = replica.clone();
        match tidy(replica, batch, others) {
            Err(error @ RecordError::Damaged(_)) => {
                let seen = Some(replica.layout().generation());
                self.damage.note(place, seen, &error);
            }
            tidied => tidied.inspect_err(|_| *replica = before)?,
        }
        replica.save(batch);
        Ok(Answer::Done)
    }

    fn sweep(&mut self, batch: &mut Overlay<'_>, place: Place) -> Result<Answer, RecordError> {
        let buckets = Arc::clone(&self.buckets);
        self.change_many(place, |replica| {
            let swept = replica.sweep(batch, &buckets, SWEPT_PER_COMMIT)?;
            Ok(Answer::Swept(swept))
        })
    }

    fn forget(&mut self, batch: &mut Overlay<'_>, place: Place) -> Result<Answer, RecordError> {
        let swept = Replica::forget(batch, place, SWEPT_PER_COMMIT)?;
        self.replicas.remove(&place);
        self.compared.remove(&place);
        if let Some(note) = self.damage.at(&place) {
            self.damage.clear(&place, note);
        }
        self.touched.insert(place);
        Ok(Answer::Swept(swept))
    }

    fn show_all(&self, view: View) {
        let show = |(place, replica): (&Place, &Replica)| (*place, self.show(place, replica));
        self.moments.store(Arc::new(Moment {
            records: view,
            buckets: Arc::clone(&self.buckets),
            places: self.replicas.iter().map(show).collect(),
        }));
    }

    fn show(&self, place: &Place, replica: &Replica) -> Arc<Shown> {
        Arc::new(Shown {
            layout: replica.layout(),
            state: replica.state().clone(),
            swept: replica.is_swept(&self.buckets),
            needs_sweep: replica.needs_sweep(&self.buckets),
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
                | Operation::Learn { .. }
                | Operation::Agree { .. }
                | Operation::Stand { .. }
                | Operation::BoundLog { .. }
                | Operation::Sweep { .. }
                | Operation::Forget { .. }
                | Operation::Remember { .. }
                | Operation::Doubt { .. }
                | Operation::DoubtAll
                | Operation::Renewal { .. } => 0,
            }
    }

    fn may_be_unsynced(operation: &Operation) -> bool {
        matches!(operation, Operation::Write { .. } | Operation::Merge { .. })
    }

    fn apply(
        &mut self,
        operation: Operation,
        batch: &mut Overlay<'_>,
    ) -> Result<Answer, RecordError> {
        let place = operation.place();
        let applied = self.apply_to(operation, batch);
        if let (Err(error), Some(place)) = (&applied, place) {
            self.note_damage(place, error);
        }
        applied
    }

    fn seal(&mut self, batch: &mut Overlay<'_>) -> Result<(), RecordError> {
        for place in &self.touched {
            if let Some(replica) = self.replicas.get_mut(place) {
                // What is damaged waits; the other operations of the commit must not wait for it.
                match replica.settle(batch) {
                    Err(error @ (RecordError::Damaged(_) | RecordError::Strange(_))) => {
                        let seen = Some(replica.layout().generation());
                        self.damage.note(*place, seen, &error);
                    }
                    settled => drop(settled?),
                }
                replica.save(batch);
            }
        }
        Ok(())
    }

    fn publish(&mut self, view: View) {
        let touched = std::mem::take(&mut self.touched);
        if std::mem::take(&mut self.adopted) {
            // What is to be swept is another thing for every partition.
            return self.show_all(view);
        }
        let mut places = self.moments.load().places.clone();
        for place in touched {
            match self.replicas.get(&place) {
                Some(replica) => places.insert(place, self.show(&place, replica)),
                None => places.remove(&place),
            };
        }
        self.moments.store(Arc::new(Moment {
            records: view,
            buckets: Arc::clone(&self.buckets),
            places,
        }));
    }

    fn reload(&mut self, view: View) -> Result<(), RecordError> {
        self.touched.clear();
        let mut replicas = BTreeMap::new();
        for (place, before) in &self.replicas {
            let standing = Standing::suspect();
            match Replica::open(&*view, *place, self.me, standing) {
                Ok(mut replica) => {
                    replica.take_over(before);
                    replicas.insert(*place, replica);
                }
                Err(error @ (RecordError::Damaged(_) | RecordError::Strange(_))) => {
                    self.damage.note(*place, None, &error);
                }
                Err(error) => return Err(error),
            }
        }
        self.replicas = replicas;
        self.show_all(view);
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
                // Two that adopt at once may come in any order.
                if self.buckets.epoch <= buckets.epoch {
                    self.buckets = Arc::new(buckets);
                    self.adopted = true;
                }
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
            } => self.merge_chunk(batch, (place, peer), from.as_ref(), (chunk, &closed)),
            operation @ (Operation::Join { place, .. }
            | Operation::Closing { place, .. }
            | Operation::Close { place, .. }
            | Operation::Learn { place, .. }
            | Operation::Agree { place, .. }
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
            } => self.remember(batch, place, (peer, seen, trusted), &others),
            Operation::Sweep { place } => self.sweep(batch, place),
            Operation::Forget { place } => self.forget(batch, place),
            Operation::DoubtAll => Ok(self.doubt_all(batch)),
            Operation::Renewal { place, step } => self.apply_step(batch, place, step),
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
}

fn doubt(replica: &mut Replica) -> Answer {
    replica.doubt();
    Answer::Done
}

/// Drops what nobody needs any more.
fn tidy(
    replica: &mut Replica,
    batch: &mut Overlay<'_>,
    others: &[NodeId],
) -> Result<(), RecordError> {
    replica.truncate(batch, others)?;
    // A partition that nobody writes to would wait for the next write.
    replica.settle(batch)?;
    Ok(())
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
        Operation::Learn { lists, .. } => {
            replica.learn(&lists);
            Answer::Done
        }
        Operation::Agree {
            peer,
            settled,
            replicas,
            ..
        } => {
            replica.agree(peer, settled, replicas);
            Answer::Done
        }
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
