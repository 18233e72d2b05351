//! This is one node's copy of a partition: the rules by which its clock, objects, dot log, index
//! and sum change together.
//!
//! Every change writes to a [`Batch`], which becomes durable as a whole: never is a clock ahead of
//! the objects it speaks for. After a call that failed the batch is dropped and the replica opened
//! again from what is stored.

mod closing;
mod inventory;
mod log;
mod parcel;
mod renewal;
mod repair;
mod state;
mod sweep;
mod transfer;
mod view;

pub use closing::{Held, Taken};
pub use inventory::Inventory;
pub use log::{LOG_ENTRIES_CUT_PER_COMMIT, LogBounds};
pub use renewal::{Attempt, Promise, Promises};
pub use repair::{Difference, Item, Readable};
pub use state::{Quorum, Standing, State};
pub use sweep::{SWEPT_BYTES_PER_COMMIT, SWEPT_PER_COMMIT, Swept};
pub use transfer::{Chunk, Reached, TransferKind};
pub use view::{LiveKey, View};

use crate::dot::{Actor, Dot};
use crate::dot_set::DotSet;
use crate::id::{Incarnation, NodeId};
use crate::known::KnownLists;
use crate::limits::SIBLINGS_BYTES_MAX;
use crate::map::bucket::Buckets;
use crate::object::{Object, Version};
use crate::place::{Entry, Layout, Place};
use crate::record::{Batch, RecordError, Records};
use crate::time::Time;
use log::Milestone;
use renewal::Attempts;
use state::Stored;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use sweep::Sweep;
use transfer::Transfer;

/// How many objects a commit makes smaller once their dots are under the base.
pub const SETTLED_PER_COMMIT: usize = 64;

/// One node's copy of a partition.
#[derive(Clone, Debug)]
pub struct Replica {
    layout: Layout,
    actor: Actor,
    state: State,
    /// What the other replicas said they have seen; the log keeps what one of them lacks.
    remembered: BTreeMap<NodeId, DotSet>,
    /// What of this one's readable objects the other replicas have merged, though they cannot say
    /// that they have seen it: damaged ones were left out. And which life of theirs has.
    held: BTreeMap<NodeId, (Actor, DotSet)>,
    /// The attempts to drop it so far that others were asked for, or that a promise to one of them
    /// ended.
    attempts: Attempts,
    /// Actors whose base may have passed some object's blocker.
    advanced: BTreeSet<Actor>,
    /// Up to where the log of each actor is known to be dropped.
    truncated: BTreeMap<Actor, u64>,
    milestones: VecDeque<Milestone>,
    /// The full transfers from each replica that are under way, or broke off.
    transfers: BTreeMap<NodeId, Transfer>,
    /// Others have seen dots of its actor that it lacks: it mints no more in this life.
    barred: bool,
    /// While it strays: those that stray, too, and hold the same.
    alike: BTreeSet<NodeId>,
    /// Closed actors that may have log entries: nobody needs them.
    logged: BTreeSet<Actor>,
    /// How many steps of the list of closed actors are stored.
    steps_stored: usize,
    /// The lists that are stored as known beside it; none when they are to be stored anew.
    known_stored: Option<KnownLists>,
    /// Whether objects may be stored with the name of a list that need not be kept any more.
    names_may_go: bool,
    sweep: Sweep,
    changed: bool,
}

/// A write as its coordinator applies it.
#[derive(Clone, Debug)]
pub struct Write {
    /// The dots it supersedes: what the client had seen.
    pub context: DotSet,
    /// What it leaves.
    pub version: Version,
    /// What becomes of the versions beside it.
    pub siblings: Siblings,
    /// How many versions the key may have afterwards.
    pub versions_max: usize,
}

/// What a write does about the versions beside it.
#[derive(Clone, Debug)]
pub enum Siblings {
    /// They stay, side by side.
    Keep,
    /// A resolver that saw exactly the versions `seen`, and the new one, chose the new one: it
    /// supersedes them.
    Supersede {
        /// The dots of the versions the resolver saw.
        seen: DotSet,
    },
    /// A resolver that saw exactly the versions `seen`, and the new one, made `version` of them: it
    /// supersedes all of them under a dot of its own, so that the client's token, which names the
    /// first dot, does not cover what the client has not seen.
    Merge {
        /// The dots of the versions the resolver saw.
        seen: DotSet,
        /// What it made of them.
        version: Version,
    },
}

/// What a replica made of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the batch.
    Written(Written),
    /// The versions are not those the resolver saw: nothing was written. The object is filled.
    Moved(Object),
    /// The key has as many versions as it may, or as large ones: nothing was written. The object is
    /// filled.
    TooManySiblings(Object),
}

/// A write that is in the batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The dot of the client's version.
    pub dot: Dot,
    /// All dots that were minted.
    pub dots: Vec<Dot>,
    /// The object as it is now, filled.
    pub object: Object,
    /// What was there.
    pub found: Found,
}

/// What a replica held when a write came: what an acknowledgement says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Whether a version with a value was there before.
    pub live: bool,
    /// The latest time among the versions that stand beside the written ones; the earliest moment
    /// when there is none.
    pub beside: Time,
    /// Whether the replica was a suspect: it may have held more than it knows.
    pub suspect: bool,
}

impl Replica {
    /// The replica of `place` as stored, or a new one with `standing` when nothing is. It mints
    /// under an actor no other life has had. A suspect begins anew to merge the others: what it has
    /// merged before may have been lost since.
    ///
    /// # Errors
    /// [`RecordError`] when its clock record cannot be read.
    pub fn open(
        records: &dyn Records,
        place: Place,
        (node, incarnation): (NodeId, Incarnation),
        standing: Standing,
    ) -> Result<Replica, RecordError> {
        let layout = Layout::new(place, Replica::stored_generation(records, place)?);
        let stored = records.get(&layout.clock())?;
        let sweep = Sweep::new(layout.generation(), stored.is_some());
        let mut state = match stored {
            None => State::new(standing),
            Some(bytes) => State::of_record(&bytes, closing::load(records, layout)?)
                .map_err(|_| RecordError::Strange("a clock record"))?,
        };
        let known = closing::unless_damaged(closing::load_known(records, layout))?;
        state.known = known.clone().unwrap_or_default();
        if !state.standing.is_trusted() {
            state.standing = Standing::beginning(state.standing.has_lost_nothing());
        }
        let actor = Actor {
            node,
            incarnation,
            generation: layout.generation(),
        };
        let mut replica = Replica {
            layout,
            actor,
            remembered: BTreeMap::new(),
            held: BTreeMap::new(),
            attempts: Attempts::default(),
            advanced: state.clock.seen().actors().copied().collect(),
            truncated: BTreeMap::new(),
            logged: BTreeSet::new(),
            steps_stored: state.clock.closed().steps().len(),
            known_stored: known,
            names_may_go: true,
            state,
            milestones: VecDeque::new(),
            transfers: BTreeMap::new(),
            barred: false,
            alike: BTreeSet::new(),
            sweep,
            // Saved once in any case, so that the commit that opens it shows it to readers.
            changed: true,
        };
        replica.find_closed(records)?;
        Ok(replica)
    }

    /// What the replica has seen, and how it stands.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Where its records lie.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Who mints its dots in this life.
    #[must_use]
    pub fn actor(&self) -> Actor {
        self.actor
    }

    /// Reads of the replica over `records`, which must be of the same moment.
    #[must_use]
    pub fn view<'a>(&'a self, records: &'a dyn Records) -> View<'a> {
        View::new(self.layout, &self.state, records)
    }

    /// Applies a client's write: mints its dot and stores what is left.
    ///
    /// # Errors
    /// [`RecordError`] when the object cannot be read, or others have seen dots of this actor that
    /// are not here: the next one might be among them.
    pub fn write(
        &mut self,
        batch: &mut dyn Batch,
        entry: &Entry,
        write: Write,
    ) -> Result<Outcome, RecordError> {
        if self.barred {
            let message = "dots of this process are known elsewhere and not here: restart it";
            return Err(RecordError::Failed(message.to_owned()));
        }
        let stored = self.load(batch, entry)?;
        let mut object = stored.object.clone().fill(&self.state.clock);
        if let Siblings::Supersede { seen } | Siblings::Merge { seen, .. } = &write.siblings
            && object.dots() != *seen
        {
            return Ok(Outcome::Moved(object));
        }
        let (live, before) = (object.is_live(), object.clone());
        object.discard(&write.context, &self.lists());
        object.context.join(&before.seen());
        object.context.join(&write.context);
        let is_crowded = write.versions_max <= object.versions.len()
            || !object.versions.is_empty()
                && SIBLINGS_BYTES_MAX < object.size() + write.version.size();
        if is_crowded && matches!(write.siblings, Siblings::Keep) {
            return Ok(Outcome::TooManySiblings(before));
        }
        let dot = self.next_dot(1);
        let mut dots = vec![dot];
        match write.siblings {
            Siblings::Keep => object.add(dot, write.version),
            Siblings::Supersede { .. } => {
                object.versions.clear();
                object.add(dot, write.version);
            }
            Siblings::Merge { version, .. } => {
                object.versions.clear();
                object.context.add(dot);
                let merged = self.next_dot(2);
                object.add(merged, version);
                dots.push(merged);
            }
        }
        let found = Found {
            live,
            beside: object.latest_beside(&dots),
            suspect: !self.state.standing.is_trusted(),
        };
        self.store(batch, entry, &stored, object.clone(), &dots);
        Ok(Outcome::Written(Written {
            dot,
            dots,
            object,
            found,
        }))
    }

    /// Merges an object from another replica, filled there. `dots` are those of its writes that the
    /// object answers; they and the dots of its versions count as seen from here on. None when it
    /// is not clear which versions are obsolete: the other has closed actors that this one has not.
    ///
    /// # Errors
    /// [`RecordError`] when the object cannot be read.
    pub fn merge(
        &mut self,
        batch: &mut dyn Batch,
        entry: &Entry,
        object: Object,
        dots: &[Dot],
    ) -> Result<Option<Found>, RecordError> {
        let stored = self.load(batch, entry)?;
        let answered: Vec<Dot> = dots.iter().chain(object.versions.keys()).copied().collect();
        let mine = self.met(entry, stored.object.clone());
        // A repair may have brought the write before its own message came: that was not there.
        let before =
            |(dot, version): (&Dot, &Version)| version.value.is_some() && !dots.contains(dot);
        let live = mine.versions.iter().any(before);
        self.check_own(&answered);
        let Some(merged) = self.sync(mine, object, self.lists()) else {
            return Ok(None);
        };
        let found = Found {
            live,
            beside: merged.latest_beside(&answered),
            suspect: !self.state.standing.is_trusted(),
        };
        self.store(batch, entry, &stored, merged, &answered);
        Ok(Some(found))
    }

    /// Merges an object of anti-entropy. Of a dead bucket only the dots count, or they would be
    /// missing for ever; what is stored of it here is left to the sweep. None as for
    /// [`Replica::merge`].
    ///
    /// # Errors
    /// [`RecordError`] when the object cannot be read.
    pub fn merge_item(
        &mut self,
        batch: &mut dyn Batch,
        item: Item,
        buckets: &Buckets,
    ) -> Result<Option<Found>, RecordError> {
        let object = if buckets.is_dead(item.entry.bucket) {
            Object::default()
        } else {
            item.object
        };
        self.merge(batch, &item.entry, object, &item.dots)
    }

    /// Makes a bounded number of objects smaller whose dots have come under the base, and drops a
    /// bounded number of log entries of closed actors. True when there may be more.
    ///
    /// # Errors
    /// [`RecordError`] when an object or the index cannot be read.
    pub fn settle(&mut self, batch: &mut dyn Batch) -> Result<bool, RecordError> {
        self.find_kept_names(batch)?;
        let mut room = SETTLED_PER_COMMIT;
        while let Some(actor) = self.advanced.first().copied() {
            if actor.is_name() && self.keeps(&actor) {
                // It was learned, or doubted, since.
                self.advanced.remove(&actor);
                continue;
            }
            let last = if actor.is_name() {
                actor.dot(u64::MAX)
            } else {
                actor.dot(self.state.clock.base(&actor))
            };
            let (from, to) = self.layout.unstripped_to(&last);
            let found = if self.state.unstripped == 0 {
                vec![]
            } else {
                batch.scan(&from, &to, room)?
            };
            for (key, _) in &found {
                let entry = Layout::entry_of_unstripped(key)?;
                let stored = self.load(batch, &entry)?;
                let object = stored.object.clone().fill(&self.state.clock);
                self.store(batch, &entry, &stored, object, &[]);
            }
            room -= found.len();
            if room == 0 {
                return Ok(true);
            }
            self.advanced.remove(&actor);
        }
        self.drop_closed_log(batch)
    }

    /// Remembers what another replica says it has seen. False, and nothing is remembered, when it
    /// had seen more before and is `trusted` still: it has lost something and does not know it.
    pub fn remember(&mut self, node: NodeId, seen: DotSet, trusted: bool) -> bool {
        let before = self.remembered.get(&node);
        if before.is_some_and(|before| self.is_less(&seen, before)) {
            if trusted {
                return false;
            }
            self.held.remove(&node);
        }
        self.remembered.insert(node, seen);
        true
    }

    /// Remembers that a life of another replica has merged all that `seen` has, but for what is
    /// damaged here.
    pub fn remember_held(&mut self, holder: Actor, seen: DotSet) {
        self.held.insert(holder.node, (holder, seen));
    }

    /// Takes over what `before`, the same replica in the same life of its process, knew of itself
    /// and did not store: whether it may still mint, and which attempts to drop it are over.
    pub fn take_over(&mut self, before: &Replica) {
        self.attempts = before.attempts.ended();
        self.barred |= before.barred && before.actor == self.actor;
    }

    /// Changes how the replica stands.
    pub fn stand(&mut self, standing: Standing) {
        self.changed |= self.state.standing != standing;
        self.names_may_go = true;
        self.state.standing = standing;
    }

    /// Takes note that the replica may have lost something that it acknowledged. What it has merged
    /// as a suspect stays merged: what is lost was lost before its process started, and what was
    /// merged before that does not count.
    pub fn doubt(&mut self) {
        self.stand(self.state.standing.after_loss());
    }

    /// The same for what a suspect lacks that lost nothing, and is to have from the others.
    pub(super) fn doubt_if_trusted(&mut self) {
        if self.state.standing.is_trusted() {
            self.doubt();
        }
    }

    /// Ends the replica's part of a commit: writes the clock record if anything changed.
    pub fn save(&mut self, batch: &mut dyn Batch) {
        if std::mem::take(&mut self.changed) {
            let generation = state::encode_generation(self.layout.generation());
            batch.put(Layout::life(self.layout.place()), generation);
            batch.put(self.layout.clock(), self.state.to_record());
            self.store_steps(batch);
            self.store_known(batch);
        }
    }

    /// A stored object with all that was met of its key.
    fn met(&self, entry: &Entry, stored: Object) -> Object {
        let mut object = stored.fill(&self.state.clock);
        for seen in self.compared(entry) {
            object.context.join(seen);
        }
        object
    }

    /// The `ahead`-th dot that this actor has yet to mint. It counts as seen once it is stored.
    fn next_dot(&self, ahead: u64) -> Dot {
        self.actor
            .dot(self.state.clock.highest(&self.actor) + ahead)
    }

    /// Looks for dots of this node among `dots` that are not here: whoever minted them acknowledged
    /// them, so that they were here once.
    fn check_own(&mut self, dots: &[Dot]) {
        let is_own = |dot: &&Dot| dot.actor.node == self.actor.node;
        let lost = |dot: &&Dot| !self.state.clock.has(dot);
        let lost: Vec<&Dot> = dots.iter().filter(is_own).filter(lost).collect();
        if !lost.is_empty() {
            self.barred |= lost.iter().any(|dot| dot.actor == self.actor);
            let begun = self.layout.generation();
            if lost.iter().any(|dot| begun <= dot.actor.generation) {
                self.doubt();
            } else {
                self.doubt_if_trusted();
            }
        }
    }

    fn see(&mut self, dot: Dot) {
        self.state.clock.add(dot);
        self.advanced.insert(dot.actor);
    }

    fn load(&self, records: &dyn Records, entry: &Entry) -> Result<Stored, RecordError> {
        let record = records.get(&self.layout.object(entry))?;
        record
            .as_deref()
            .map_or_else(|| Ok(Stored::default()), Stored::decode)
    }

    /// Puts a filled object in the place of what was stored, with the clock, the log, the sum and
    /// the index that belong to it. `answered` are the dots that count as seen with it.
    fn store(
        &mut self,
        batch: &mut dyn Batch,
        entry: &Entry,
        before: &Stored,
        object: Object,
        answered: &[Dot],
    ) {
        for dot in answered {
            if !self.state.clock.has(dot) {
                self.log(batch, dot, entry);
                self.see(*dot);
            }
        }
        self.stray_if(self.state.clock.closed().is_beyond(&object.context));
        let names = self.names_to_keep(&object.context);
        let mut stripped = object.strip(&self.state.clock);
        for name in names {
            stripped.context.add(name.dot(1));
        }
        let after = Stored::new(stripped, &self.state.clock);
        self.account(entry, before, &after);
        if let Some(blocker) = before.blocker.filter(|_| before.blocker != after.blocker) {
            batch.remove(self.layout.unstripped(&blocker, entry));
            self.state.unstripped = self.state.unstripped.saturating_sub(1);
        }
        if let Some(blocker) = after.blocker.filter(|_| before.blocker != after.blocker) {
            batch.put(self.layout.unstripped(&blocker, entry), Vec::new());
            self.state.unstripped += 1;
        }
        let key = self.layout.object(entry);
        if after.object.is_absent() {
            batch.remove(key);
        } else {
            self.sweep.holds(entry.bucket);
            batch.put(key, after.encode());
        }
        self.changed = true;
    }

    /// Moves the sum and the figures from what was stored to what is.
    fn account(&mut self, entry: &Entry, before: &Stored, after: &Stored) {
        let live = |stored: &Stored| -> BTreeSet<Dot> {
            let versions = stored.object.versions.iter();
            versions
                .filter(|(_, version)| version.value.is_some())
                .map(|(dot, _)| *dot)
                .collect()
        };
        let (was, is) = (live(before), live(after));
        for dot in was.symmetric_difference(&is) {
            self.state.sum.toggle(entry.bucket, &entry.key, dot);
        }
        match (was.is_empty(), is.is_empty()) {
            (true, false) => self.state.live_keys += 1,
            (false, true) => self.state.live_keys = self.state.live_keys.saturating_sub(1),
            _ => (),
        }
    }
}
