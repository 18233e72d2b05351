//! This is every partition a node holds, as its committer owns them: operations in, and what
//! readers see swapped after each sync.

mod renewal;
mod words;

pub use renewal::Renewal;
use words::{agree, doubt, learn};

use crate::bug::Bug;
use crate::disk::{Disk, Overlay};
use crate::moment::Moment;
use crate::node::merge::Planted;
use crate::node::{closing, merge};
use crate::policy::Manner;
use soros_core::clock::Clock;
use soros_core::close::{self, Ask};
use soros_core::closed::{Closed, Closing};
use soros_core::dot::{Actor, Dot};
use soros_core::dot_set::DotSet;
use soros_core::id::{BucketId, Generation, Incarnation, NodeId};
use soros_core::known::KnownLists;
use soros_core::map::bucket::Buckets;
use soros_core::object::Object;
use soros_core::operation::Target;
use soros_core::place::{Entry, Layout, Place};
use soros_core::record::{Batch, RecordError};
use soros_core::replica::{
    Chunk, Found, Item, LogBounds, Outcome, Promise, Quorum, Reached, Replica, Standing, State,
    View,
};
use soros_core::skew::Skew;
use soros_core::sync::Own;
use soros_core::write::Store;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How many records a sweep looks at.
const SWEPT_AT_ONCE: usize = 16;

/// What is asked of a node's partitions.
#[derive(Clone, Debug)]
pub enum Operation {
    /// Opens partitions on a disk that can be believed or not, or that is new.
    Open {
        /// The partitions.
        places: Vec<Place>,
        /// Whether nothing on it was lost.
        sound: bool,
        /// Whether nothing can have been lost: the cluster begins.
        new: bool,
    },
    /// Serves under a newer map.
    Adopt {
        /// Its buckets.
        buckets: Buckets,
    },
    /// Removes some of what nobody reads any more.
    Sweep {
        /// The partition.
        place: Place,
    },
    /// A client's write, at its coordinator.
    Write {
        /// The key.
        target: Target,
        /// What to write.
        store: Store,
        /// When it is too late to mint.
        deadline: Moment,
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
        /// Where the range starts.
        from: Option<Entry>,
        /// The range.
        chunk: Chunk,
        /// What its sender has closed.
        closed: Closed,
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
    /// Takes part in the closing of actors.
    Closing {
        /// The partition.
        place: Place,
        /// What the leader asks.
        ask: Ask,
    },
    /// Closes what another replica has closed.
    Close {
        /// The partition.
        place: Place,
        /// The name of the list of those closed before.
        after: Option<Actor>,
        /// The steps that the other has taken since.
        steps: Vec<Closing>,
    },
    /// Takes note of the lists of closed actors that another replica knows beside its own.
    Learn {
        /// The partition.
        place: Place,
        /// The lists.
        lists: KnownLists,
    },
    /// Another replica has seen the same and holds the same.
    Agree {
        /// The partition.
        place: Place,
        /// The other replica.
        peer: NodeId,
        /// Whether it is settled.
        settled: bool,
        /// How many replicas there are.
        replicas: usize,
    },
    /// All that another replica held has been merged.
    Merged {
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
    /// What another replica has seen, so that the dot log can be cut.
    Remember {
        /// The partition.
        place: Place,
        /// The other replica.
        peer: NodeId,
        /// What it has seen.
        seen: DotSet,
        /// Whether it believes that it holds all that it acknowledged.
        trusted: bool,
        /// All other replicas.
        others: Vec<NodeId>,
    },
    /// There is reason to doubt that the replica holds all that it acknowledged.
    Doubt {
        /// The partition.
        place: Place,
    },
    /// A step on the way to a partition that begins anew: a record of it is damaged.
    Renewal {
        /// The partition.
        place: Place,
        /// The step.
        step: Renewal,
    },
    /// Counts all that a clock has seen as seen, compared or not: a bug.
    Skip {
        /// The partition.
        place: Place,
        /// What counts as seen.
        seen: DotSet,
    },
    /// Removes the objects of a partition and nothing else: a bug.
    DropObjects {
        /// The partition.
        place: Place,
    },
    /// Cuts the dot log whoever may need it: it has a bound.
    CutLog {
        /// The partition.
        place: Place,
    },
}

/// What a partition answers.
#[derive(Clone, Debug)]
pub enum Answer {
    /// It is done.
    Done,
    /// The node does not hold the partition.
    NotHeld,
    /// The time given to it is up; nothing was written.
    TooLate,
    /// The node's clock cannot be believed; nothing was written.
    ClockOff(Skew),
    /// The disk failed; nothing was written.
    Failed,
    /// The other replica once had seen more, and does not know that it has lost something.
    Behind,
    /// What became of a client's write.
    Written(Outcome),
    /// What was there when an object was merged.
    Found(Found),
    /// Where a range of a full transfer came to.
    Reached(Reached),
    /// It is not taken: the actor that minted it has ended.
    Ended,
    /// It is not clear what is obsolete of what was to be merged.
    Unclear,
    /// What the leader of a closing is told.
    Closing(close::Answer),
    /// Whether actors were closed.
    Closed(bool),
    /// What is held when another was promised to rely on it, and whether by one that is trusted.
    Promised(Promise, bool),
    /// Another cannot be promised anything now.
    NotPromised,
    /// Some of it was merged; the record of another key is damaged.
    Partly,
}

impl Operation {
    /// Whether it may be answered before it is synced, where the settings say so: a value, or a
    /// copy of one. What a partition says of itself may not.
    #[must_use]
    pub fn may_be_unsynced(&self) -> bool {
        matches!(self, Operation::Write { .. } | Operation::Merge { .. })
    }

    /// The partition that is meant; none when it is all of them.
    #[must_use]
    pub fn place(&self) -> Option<Place> {
        match self {
            Operation::Open { .. } | Operation::Adopt { .. } => None,
            Operation::Write { target, .. } | Operation::Merge { target, .. } => Some(target.place),
            Operation::MergeItems { place, .. }
            | Operation::Sweep { place }
            | Operation::MergeChunk { place, .. }
            | Operation::Join { place, .. }
            | Operation::Closing { place, .. }
            | Operation::Close { place, .. }
            | Operation::Learn { place, .. }
            | Operation::Agree { place, .. }
            | Operation::Merged { place, .. }
            | Operation::Remember { place, .. }
            | Operation::Doubt { place }
            | Operation::Renewal { place, .. }
            | Operation::Skip { place, .. }
            | Operation::DropObjects { place }
            | Operation::CutLog { place } => Some(*place),
        }
    }
}

/// A partition as readers see it.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Where its records lie.
    pub layout: Layout,
    /// What it has seen, and how it stands.
    pub state: State,
    /// Whether it has compared clocks with another since the process started.
    pub compared: bool,
    /// Who mints its dots.
    pub actor: Actor,
    /// Whether it holds objects of the map's buckets only.
    pub swept: bool,
    /// Whether there are records that nobody reads any more.
    pub needs_sweep: bool,
}

impl Shown {
    /// Whether the replica's silence can be believed.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        self.state.standing.is_trusted()
    }
}

/// All partitions of a node.
#[derive(Debug)]
pub struct Partitions {
    me: (NodeId, Incarnation),
    replicas: BTreeMap<Place, Replica>,
    compared: BTreeSet<Place>,
    touched: BTreeSet<Place>,
    shown: BTreeMap<Place, Shown>,
    /// Dropped since the last batch was published.
    renewed: BTreeSet<Place>,
    /// The buckets of the newest map.
    serving: Buckets,
    /// The buckets as readers see them.
    buckets: Buckets,
    /// Where a damaged record was come to; of no generation when it cannot be opened.
    noted: Vec<(Place, Option<Generation>)>,
    /// How the version of the policy answers that the node knows to be in force, for the bug that
    /// asks it here.
    pub(super) manner: Manner,
}

pub(super) type Applied = Result<Answer, RecordError>;

impl Partitions {
    pub(super) fn new(me: NodeId, incarnation: Incarnation, buckets: &Buckets) -> Partitions {
        Partitions {
            me: (me, incarnation),
            replicas: BTreeMap::new(),
            compared: BTreeSet::new(),
            touched: BTreeSet::new(),
            shown: BTreeMap::new(),
            renewed: BTreeSet::new(),
            serving: buckets.clone(),
            buckets: buckets.clone(),
            noted: Vec::new(),
            manner: Manner::KeepsAll,
        }
    }

    /// The buckets of the map that the node serves under.
    #[must_use]
    pub fn buckets(&self) -> &Buckets {
        &self.buckets
    }

    /// A partition as a round of anti-entropy sees it.
    #[must_use]
    pub fn own<'a>(&self, shown: &'a Shown) -> Own<'a> {
        Own {
            state: &shown.state,
            epoch: self.buckets.epoch,
            swept: shown.swept,
        }
    }

    /// The partitions in which a damaged record was come to, and in which generation; none is one
    /// that cannot be opened.
    pub(super) fn take_noted(&mut self) -> Vec<(Place, Option<Generation>)> {
        std::mem::take(&mut self.noted)
    }

    fn note(&mut self, place: Place) {
        let replica = self.replicas.get(&place);
        let generation = replica.map(|replica| replica.layout().generation());
        self.noted.push((place, generation));
    }

    /// The partition at `place` as readers see it.
    #[must_use]
    pub fn shown(&self, place: Place) -> Option<&Shown> {
        self.shown.get(&place)
    }

    /// Reads of the partition at `place`.
    #[must_use]
    pub fn view<'a>(&'a self, place: Place, disk: &'a Disk) -> Option<View<'a>> {
        let shown = self.shown.get(&place)?;
        Some(View::new(shown.layout, &shown.state, disk))
    }

    /// Applies an operation to the state so far. One that comes to a damaged record changes
    /// nothing.
    pub(super) fn apply(
        &mut self,
        operation: Operation,
        batch: &mut Overlay<'_>,
        now: Moment,
        bug: Option<Bug>,
    ) -> Answer {
        let place = operation.place();
        batch.keep();
        let applied = self.apply_to(operation, batch, now, bug);
        let is_whole = match &applied {
            Ok(Answer::Reached(Reached::To { whole, .. })) => *whole,
            Ok(Answer::Partly) | Err(_) => false,
            Ok(_) => true,
        };
        if let Some(place) = place.filter(|_| !is_whole) {
            self.note(place);
        }
        applied.unwrap_or_else(|_| {
            batch.take_back();
            Answer::Failed
        })
    }

    fn apply_to(
        &mut self,
        operation: Operation,
        batch: &mut Overlay<'_>,
        now: Moment,
        bug: Option<Bug>,
    ) -> Applied {
        let planted = self.planted(bug);
        match operation {
            Operation::Write { target, .. } | Operation::Merge { target, .. }
                if !self.serving.open.contains(&target.bucket()) =>
            {
                Ok(Answer::NotHeld)
            }
            Operation::Write { deadline, .. } if deadline <= now => Ok(Answer::TooLate),
            Operation::Write { target, store, .. } => self.change(target.place, |replica| {
                let store = merge::unmoved(replica, batch, &target.entry, store, bug)?;
                let written = replica.write(batch, &target.entry, store.into());
                written.map(Answer::Written)
            }),
            Operation::Merge {
                target,
                object,
                dots,
            } => self.change(target.place, |replica| {
                merge::take(replica, batch, (&target.entry, object, &dots), planted)
            }),
            Operation::MergeItems { place, items } => {
                let buckets = self.serving.clone();
                self.change_many(place, |replica| {
                    merge::items(replica, batch, items, (&buckets, planted))
                })
            }
            Operation::MergeChunk {
                place,
                peer,
                from,
                chunk,
                closed,
            } => self.change_many(place, |replica| {
                merge::chunk(replica, batch, (peer, from.as_ref()), (chunk, &closed), bug)
            }),
            Operation::Join { place, peer, clock } => self.change(place, |replica| {
                let joined = merge::join(replica, batch, (peer, &clock), bug);
                replica.save(batch);
                joined
            }),
            Operation::Closing { place, ask } => self.take_part(batch, place, &ask, bug),
            Operation::Close {
                place,
                after,
                steps,
            } => self.say(batch, place, |replica| {
                Answer::Closed(replica.close(after, &steps))
            }),
            Operation::Merged {
                place,
                begun,
                peer,
                trusted,
                quorum,
            } => {
                let merged = self.merged((place, begun), (peer, trusted), quorum, bug);
                self.say(batch, place, |_| merged)
            }
            operation => self.apply_to_one(operation, batch, now, bug),
        }
    }

    fn planted(&self, bug: Option<Bug>) -> Planted {
        let manner = self.manner;
        Planted { bug, manner }
    }

    /// Applies what brings nothing from a client or another replica.
    fn apply_to_one(
        &mut self,
        operation: Operation,
        batch: &mut Overlay<'_>,
        now: Moment,
        bug: Option<Bug>,
    ) -> Applied {
        match operation {
            Operation::Open { places, sound, new } => {
                Ok(self.open(batch, places, (sound, new), bug))
            }
            Operation::Adopt { buckets } => {
                self.serving = buckets;
                Ok(Answer::Done)
            }
            Operation::Sweep { place } => self.sweep(batch, place, bug),
            Operation::Learn { place, lists } => self.say(batch, place, |it| learn(it, &lists)),
            Operation::Agree {
                place,
                peer,
                settled,
                replicas,
            } => self.say(batch, place, |it| agree(it, peer, settled, replicas)),
            Operation::Remember {
                place,
                peer,
                seen,
                trusted,
                others,
            } => Ok(self.remember(batch, place, (peer, seen, trusted), &others)),
            Operation::Doubt { place } => self.say(batch, place, doubt),
            Operation::Renewal { place, step } => self.apply_step(batch, place, step, bug),
            Operation::Skip { place, seen } => {
                self.change(place, |it| merge::skip(it, batch, &seen))
            }
            Operation::DropObjects { place } => {
                self.change(place, |it| Ok(drop_objects(it, batch)))
            }
            Operation::CutLog { place } => self.change_many(place, |it| cut_log(it, batch, now)),
            _ => Ok(Answer::NotHeld),
        }
    }

    fn sweep(&mut self, batch: &mut Overlay<'_>, place: Place, bug: Option<Bug>) -> Applied {
        let buckets = self.serving.clone();
        self.change_many(place, |replica| {
            if bug == Some(Bug::SweepKeepsSum) {
                remove_dead(replica, batch, &buckets);
            }
            while replica.sweep(batch, &buckets, SWEPT_AT_ONCE)?.more {}
            Ok(Answer::Done)
        })
    }

    /// Applies a change of many objects; one that fails half-way leaves the replica as it was.
    fn change_many(
        &mut self,
        place: Place,
        change: impl FnOnce(&mut Replica) -> Applied,
    ) -> Applied {
        self.change(place, |replica| {
            let before = replica.clone();
            change(replica).inspect_err(|_| *replica = before)
        })
    }

    fn change(&mut self, place: Place, change: impl FnOnce(&mut Replica) -> Applied) -> Applied {
        let Some(replica) = self.replicas.get_mut(&place) else {
            return Ok(Answer::NotHeld);
        };
        self.touched.insert(place);
        change(replica)
    }

    fn open(
        &mut self,
        batch: &mut Overlay<'_>,
        places: Vec<Place>,
        (sound, new): (bool, bool),
        bug: Option<Bug>,
    ) -> Answer {
        let trusted = new || bug == Some(Bug::RestoredIsTrusted);
        for place in places {
            if bug == Some(Bug::ActorForgotten) {
                closing::forget_actors(batch, place);
            }
            let standing = if trusted {
                Standing::Trusted
            } else {
                Standing::suspect()
            };
            let opened = Replica::open(batch, place, self.me, standing);
            let Ok(mut replica) = opened else {
                self.noted.push((place, None));
                continue;
            };
            if !sound && !trusted {
                replica.stand(Standing::suspect());
            }
            replica.save(batch);
            self.replicas.insert(place, replica);
            self.touched.insert(place);
        }
        Answer::Done
    }

    /// Takes note of what another replica has seen, and drops what nobody needs any more.
    fn remember(
        &mut self,
        batch: &mut Overlay<'_>,
        place: Place,
        (peer, seen, trusted): (NodeId, DotSet, bool),
        others: &[NodeId],
    ) -> Answer {
        let Some(replica) = self.replicas.get_mut(&place) else {
            return Answer::NotHeld;
        };
        self.touched.insert(place);
        if !replica.remember(peer, seen, trusted) {
            return Answer::Behind;
        }
        let truncated = replica.truncate(batch, others);
        let swept = replica.sweep(batch, &Buckets::default(), SWEPT_AT_ONCE);
        let settled = replica.settle(batch);
        replica.save(batch);
        if truncated.is_err() || swept.is_err() || settled.is_err() {
            self.note(place);
        }
        Answer::Done
    }

    /// Ends a batch: what was touched is settled and saved. What is damaged waits.
    pub(super) fn seal(&mut self, batch: &mut Overlay<'_>) {
        for place in self.touched.clone() {
            if let Some(replica) = self.replicas.get_mut(&place) {
                let settled = replica.settle(batch);
                replica.save(batch);
                if settled.is_err() {
                    self.note(place);
                }
            }
        }
    }

    /// The partitions that are dropped in the batch that is not published yet.
    pub(super) fn renewed(&self) -> &BTreeSet<Place> {
        &self.renewed
    }

    /// Lets readers see what is synced. The partitions that were dropped with it.
    pub(super) fn publish(&mut self) -> BTreeSet<Place> {
        let mut touched = std::mem::take(&mut self.touched);
        if self.buckets != self.serving {
            self.buckets = self.serving.clone();
            touched.extend(self.replicas.keys());
        }
        for place in touched {
            if let Some(replica) = self.replicas.get(&place) {
                let shown = Shown {
                    layout: replica.layout(),
                    state: replica.state().clone(),
                    compared: self.compared.contains(&place),
                    actor: replica.actor(),
                    swept: replica.is_swept(&self.serving),
                    needs_sweep: replica.needs_sweep(&self.serving),
                };
                self.shown.insert(place, shown);
            }
        }
        std::mem::take(&mut self.renewed)
    }
}

fn remove_range(batch: &mut Overlay<'_>, from: &[u8], to: &[u8]) {
    let found = batch.keys(from, to);
    for key in found {
        batch.remove(key);
    }
}

/// Removes the objects of dead buckets and nothing else.
fn remove_dead(replica: &Replica, batch: &mut Overlay<'_>, buckets: &Buckets) {
    for bucket in (1..=buckets.epoch.0).map(BucketId) {
        if buckets.is_dead(bucket) {
            let (from, to) = replica.layout().objects_of(bucket);
            remove_range(batch, &from, &to);
        }
    }
}

/// Removes the objects and nothing else.
fn drop_objects(replica: &mut Replica, batch: &mut Overlay<'_>) -> Answer {
    replica.stand(Standing::suspect());
    let (from, to) = replica.layout().objects();
    remove_range(batch, &from, &to);
    Answer::Done
}

/// Cuts the dot log as far as it goes.
fn cut_log(replica: &mut Replica, batch: &mut Overlay<'_>, now: Moment) -> Applied {
    let (bytes, age) = (0, Duration::ZERO);
    let bounds = LogBounds { bytes, age };
    replica.bound_log(batch, bounds, Duration::from_micros(now.0))?;
    Ok(Answer::Done)
}
