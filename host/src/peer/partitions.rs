//! This is every partition a node holds, as its committer's thread owns them: each operation is
//! applied by the core's rules to the state so far, and what readers see is swapped whole after
//! each commit.

use super::sweep::{add_removed_bytes, put_removed_bytes, removed_bytes};
use crate::store::commit::{Commits, View};
use crate::store::overlay::Overlay;
use arc_swap::ArcSwap;
use soros_core::clock::Clock;
use soros_core::dot::Dot;
use soros_core::id::{Generation, Incarnation, NodeId};
use soros_core::map::bucket::Buckets;
use soros_core::object::Object;
use soros_core::operation::Target;
use soros_core::place::{Entry, Layout, Place};
use soros_core::record::{RecordError, Records};
use soros_core::replica::{
    self, Chunk, Found, Item, LogBounds, Outcome, Quorum, Replica, SWEPT_PER_COMMIT, Standing,
    State, Swept,
};
use soros_core::sync::Own;
use soros_core::write::Store;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// What is asked of a node's partitions.
#[derive(Debug)]
pub enum Operation {
    /// Serves under a new map: opens the partitions it brings, those of which nothing is stored
    /// standing as said, and takes writes of its open buckets only from here on.
    Adopt {
        /// The partitions.
        places: Vec<(Place, Standing)>,
        /// The buckets.
        buckets: Buckets,
    },
    /// A client's write, at its coordinator.
    Write {
        /// The key.
        target: Target,
        /// What to write.
        store: Store,
        /// When it is too late to mint.
        deadline: Instant,
    },
    /// An object from the coordinator of a write, or a repair behind a read.
    Merge {
        /// The key.
        target: Target,
        /// The object, filled.
        object: Object,
        /// The dots that were minted for it.
        dots: Vec<Dot>,
    },
    /// Objects of anti-entropy.
    MergeItems {
        /// The partition.
        place: Place,
        /// The objects.
        items: Vec<Item>,
    },
    /// A range of a full transfer.
    MergeChunk {
        /// The partition.
        place: Place,
        /// Whose range it is.
        peer: NodeId,
        /// Where the range starts; none is the first key.
        from: Option<Entry>,
        /// The range.
        chunk: Chunk,
    },
    /// The end of a full transfer.
    Join {
        /// The partition.
        place: Place,
        /// Whose ranges were compared.
        peer: NodeId,
        /// What was compared.
        clock: Clock,
    },
    /// All that another replica held has been merged: a suspect may stand otherwise now.
    Stand {
        /// The partition.
        place: Place,
        /// The generation of its state in which the round began.
        begun: Generation,
        /// The other replica.
        peer: NodeId,
        /// Whether its silence can be believed.
        trusted: bool,
        /// How many replicas there are, and how many a write needs.
        quorum: Quorum,
    },
    /// Drops what of the dot log is past its bounds.
    BoundLog {
        /// The partition.
        place: Place,
        /// The bounds.
        bounds: LogBounds,
        /// The time since the process started.
        now: Duration,
    },
    /// A bounded part of what nobody reads any more goes.
    Sweep {
        /// The partition.
        place: Place,
    },
    /// A bounded part of what is stored of a partition goes whose placement is gone for ever.
    Forget {
        /// The partition.
        place: Place,
    },
    /// The space of this many removed bytes was given back to the disk.
    Reclaimed {
        /// The bytes.
        bytes: u64,
    },
    /// What another replica has seen, so that the dot log can be cut.
    Remember {
        /// The partition.
        place: Place,
        /// The other replica.
        peer: NodeId,
        /// What it has seen.
        clock: Clock,
        /// All other replicas of the partition.
        others: Vec<NodeId>,
    },
}

/// What a partition answers.
#[derive(Debug)]
pub enum Answer {
    /// It is done.
    Done,
    /// The node does not hold the partition, or the bucket takes no writes.
    NotHeld,
    /// The time given to it is up; nothing was written.
    TooLate,
    /// What became of a client's write.
    Written(Outcome),
    /// What was there when an object was merged.
    Found(Found),
    /// Where a range of a full transfer came to; none when all is merged.
    Reached(Option<Entry>),
    /// What a sweep did.
    Swept(Swept),
}

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

    /// The bytes of records that were removed and whose space the disk does not have back yet.
    ///
    /// # Errors
    /// [`RecordError`] when that cannot be read.
    pub fn removed_bytes(&self) -> Result<u64, RecordError> {
        removed_bytes(&*self.records)
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
    buckets: Arc<Buckets>,
    /// Whether the buckets are others than those that readers see.
    adopted: bool,
    moments: Moments,
}

impl Partitions {
    /// No partition yet, on `records`; the moments are where readers look. When the records are not
    /// `sound`, some may be missing, and what they say of a partition is not believed.
    #[must_use]
    pub fn new(me: (NodeId, Incarnation), sound: bool, records: View) -> (Partitions, Moments) {
        let moment = Moment {
            records,
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
        };
        (partitions, moments)
    }

    fn open(
        &mut self,
        batch: &mut Overlay<'_>,
        places: Vec<(Place, Standing)>,
    ) -> Result<Answer, RecordError> {
        let mut opened = Vec::new();
        for (place, standing) in places {
            if !self.replicas.contains_key(&place) {
                let is_stored = batch.get(&Layout::life(place))?.is_some();
                // A replica that is born trusted has nobody to ask what it may have lost.
                let born = !is_stored && standing.is_trusted();
                let mut replica = Replica::open(batch, place, self.me, standing)?;
                if is_stored && !self.sound {
                    replica.stand(Standing::suspect());
                }
                opened.push((place, replica, Arc::new(AtomicBool::new(born))));
            }
        }
        for (place, mut replica, compared) in opened {
            replica.save(batch);
            self.replicas.insert(place, replica);
            self.compared.insert(place, compared);
            self.touched.insert(place);
        }
        Ok(Answer::Done)
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

    fn merge_items(
        &mut self,
        batch: &mut Overlay<'_>,
        place: Place,
        items: Vec<Item>,
    ) -> Result<Answer, RecordError> {
        let buckets = Arc::clone(&self.buckets);
        self.change_many(place, |replica| {
            for item in items {
                replica.merge_item(batch, item, &buckets)?;
            }
            replica.save(batch);
            Ok(Answer::Done)
        })
    }

    fn sweep(&mut self, batch: &mut Overlay<'_>, place: Place) -> Result<Answer, RecordError> {
        let buckets = Arc::clone(&self.buckets);
        self.change_many(place, |replica| {
            let swept = replica.sweep(batch, &buckets, SWEPT_PER_COMMIT)?;
            add_removed_bytes(batch, swept.bytes)?;
            Ok(Answer::Swept(swept))
        })
    }

    fn forget(&mut self, batch: &mut Overlay<'_>, place: Place) -> Result<Answer, RecordError> {
        let swept = Replica::forget(batch, place, SWEPT_PER_COMMIT)?;
        add_removed_bytes(batch, swept.bytes)?;
        self.replicas.remove(&place);
        self.compared.remove(&place);
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
                | Operation::Join { .. }
                | Operation::Stand { .. }
                | Operation::BoundLog { .. }
                | Operation::Sweep { .. }
                | Operation::Forget { .. }
                | Operation::Reclaimed { .. }
                | Operation::Remember { .. } => 0,
            }
    }

    fn apply(
        &mut self,
        operation: Operation,
        batch: &mut Overlay<'_>,
    ) -> Result<Answer, RecordError> {
        match operation {
            Operation::Adopt { places, buckets } => {
                let answer = self.open(batch, places)?;
                self.buckets = Arc::new(buckets);
                self.adopted = true;
                Ok(answer)
            }
            Operation::Write { target, .. } | Operation::Merge { target, .. }
                if !self.buckets.open.contains(&target.bucket()) =>
            {
                Ok(Answer::NotHeld)
            }
            Operation::Write { deadline, .. } if deadline <= Instant::now() => Ok(Answer::TooLate),
            Operation::Write { target, store, .. } => self.change(target.place, |replica| {
                replica
                    .write(batch, &target.entry, store.into())
                    .map(Answer::Written)
            }),
            Operation::Merge {
                target,
                object,
                dots,
            } => self.change(target.place, |replica| {
                replica
                    .merge(batch, &target.entry, object, &dots)
                    .map(Answer::Found)
            }),
            Operation::MergeItems { place, items } => self.merge_items(batch, place, items),
            Operation::MergeChunk {
                place,
                peer,
                from,
                chunk,
            } => {
                let buckets = Arc::clone(&self.buckets);
                self.change_many(place, |replica| {
                    replica
                        .merge_chunk(batch, peer, from.as_ref(), chunk, &buckets)
                        .map(Answer::Reached)
                })
            }
            Operation::Join { place, peer, clock } => {
                self.change(place, |replica| Ok(join(replica, batch, peer, &clock)))
            }
            Operation::Stand {
                place,
                begun,
                peer,
                trusted,
                quorum,
            } => self.change(place, |replica| {
                Ok(stand(replica, batch, begun, (peer, trusted), quorum))
            }),
            Operation::BoundLog { place, bounds, now } => self.change_many(place, |replica| {
                let more = replica.bound_log(batch, bounds, now);
                more.map(|_| Answer::Done)
            }),
            Operation::Sweep { place } => self.sweep(batch, place),
            Operation::Forget { place } => self.forget(batch, place),
            Operation::Reclaimed { bytes } => {
                let left = removed_bytes(batch)?.saturating_sub(bytes);
                put_removed_bytes(batch, left);
                Ok(Answer::Done)
            }
            Operation::Remember {
                place,
                peer,
                clock,
                others,
            } => self.change_many(place, |replica| {
                replica.remember(peer, clock);
                replica.truncate(batch, &others)?;
                Ok(Answer::Done)
            }),
        }
    }

    fn seal(&mut self, batch: &mut Overlay<'_>) -> Result<(), RecordError> {
        for place in &self.touched {
            if let Some(replica) = self.replicas.get_mut(place) {
                replica.settle(batch)?;
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
        for place in self.replicas.keys() {
            let standing = Standing::suspect();
            replicas.insert(*place, Replica::open(&*view, *place, self.me, standing)?);
        }
        self.replicas = replicas;
        self.show_all(view);
        Ok(())
    }
}

/// Takes note that all that `peer` held has been merged. What a round merged before the partition
/// was dropped is not there any more.
fn stand(
    replica: &mut Replica,
    batch: &mut Overlay<'_>,
    begun: Generation,
    (peer, trusted): (NodeId, bool),
    quorum: Quorum,
) -> Answer {
    if begun != replica.layout().generation() {
        return Answer::NotHeld;
    }
    let standing = &replica.state().standing;
    replica.stand(standing.after_merging(peer, trusted, quorum));
    replica.save(batch);
    Answer::Done
}

/// Ends a full transfer.
fn join(replica: &mut Replica, batch: &mut Overlay<'_>, sender: NodeId, clock: &Clock) -> Answer {
    let joined = replica.join(sender, clock);
    replica.save(batch);
    if joined {
        Answer::Done
    } else {
        Answer::NotHeld
    }
}
