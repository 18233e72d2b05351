//! This is a write or a delete at its coordinator, a replica of the key: what it reads first, when
//! it mints, whom it sends the object to, and what the client is told.
//!
//! A delete writes a tombstone. With a resolver, versions that the write does not supersede are put
//! to it before the dot is minted, and what it makes of them is stored; it never runs where writes
//! are ordered, so the replica refuses its answer when the versions have moved meanwhile.

mod spread;

use crate::dot::Dot;
use crate::dot_set::DotSet;
use crate::id::NodeId;
use crate::object::{Object, Version};
use crate::operation::{Achieved, Basis, OperationError, Target, WriteAnswer, WriteRequest};
use crate::replica::{Found, Outcome, Siblings, State, Write as ReplicaWrite, Written};
use crate::time::Time;
use std::collections::{BTreeMap, BTreeSet};

/// How often a resolver is asked again because the versions moved; then the write is kept as a
/// sibling.
const RESOLUTIONS_MAX: u8 = 4;
/// How often a write is minted again because a replica held a later version.
const MINTED_AGAIN_MAX: u8 = 3;

/// Whom a coordinator works with.
#[derive(Clone, Debug)]
pub struct Coordination {
    /// The coordinator.
    pub me: NodeId,
    /// All replicas of the partition, the coordinator among them.
    pub replicas: Vec<NodeId>,
    /// Those of them that are not known to be down.
    pub reachable: BTreeSet<NodeId>,
    /// Whether the bucket has a resolver.
    pub resolver: bool,
    /// How many versions a key may have.
    pub versions_max: usize,
}

/// What a resolver made of siblings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// They stay, as they do when it fails.
    KeepAll,
    /// The new version stands for all.
    KeepNew,
    /// This version stands for all.
    Merged(Version),
}

/// What arrives at a write.
#[derive(Clone, Debug)]
pub enum Event {
    /// A replica's object, filled; and a time of this node's clock after all its versions.
    Looked(NodeId, Object, Time),
    /// The resolver's answer to [`Effect::Resolve`].
    Resolved(Resolved),
    /// What the coordinator's own replica made of [`Effect::Store`], durably.
    Stored(Outcome),
    /// It refused or failed to store it, or its clock gives no time for it.
    StoreFailed(OperationError),
    /// A replica has the object that was sent with this dot as its last one, durably.
    Acknowledged(NodeId, Dot, Found),
    /// A replica cannot be asked, or did not take the object.
    Failed(NodeId),
    /// A replica did not take the object that was sent with this dot as its last one: it has yet
    /// to hear which actors are closed at the coordinator.
    Unclear(NodeId, Dot),
    /// What [`Effect::Again`] waits for has had its time.
    Again,
    /// A time of this node's clock after the one asked for by [`Effect::Tick`].
    Ticked(Time),
    /// The request's time is up.
    Expired,
}

/// What a write asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The object of the key at a replica.
    Look(NodeId),
    /// What the bucket's resolver makes of the object's versions and the new one.
    Resolve(Object, Version),
    /// The write, at the coordinator's own replica.
    Store(Store),
    /// The object, at another replica.
    Send(NodeId, Object, Vec<Dot>),
    /// A time after this one.
    Tick(Time),
    /// [`Event::Again`] in a little while, each further time a longer one: what differs, or was
    /// refused, may be clear then.
    Again,
    /// What the client is told. The last effect but for repairs.
    Answer(Result<WriteAnswer, OperationError>),
}

/// A write as the coordinator's replica is to apply it; [`ReplicaWrite`] that can be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// The dots it supersedes.
    pub context: DotSet,
    /// What it leaves.
    pub version: Version,
    /// What becomes of the versions beside it.
    pub siblings: Resolution,
    /// How many versions the key may have afterwards.
    pub versions_max: usize,
}

/// What becomes of the versions beside a write, and which ones the resolver saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// They stay.
    Keep,
    /// The new version supersedes them.
    Supersede(DotSet),
    /// This one supersedes them and the new version.
    Merge(DotSet, Version),
}

impl From<Store> for ReplicaWrite {
    fn from(store: Store) -> ReplicaWrite {
        let siblings = match store.siblings {
            Resolution::Keep => Siblings::Keep,
            Resolution::Supersede(seen) => Siblings::Supersede { seen },
            Resolution::Merge(seen, version) => Siblings::Merge { seen, version },
        };
        let Store {
            context,
            version,
            versions_max,
            ..
        } = store;
        ReplicaWrite {
            context,
            version,
            siblings,
            versions_max,
        }
    }
}

/// A write under way at its coordinator.
#[derive(Debug)]
pub struct Write {
    request: WriteRequest,
    with: Coordination,
    phase: Phase,
    resolutions: u8,
    minted_again: u8,
    failed: BTreeSet<NodeId>,
    /// What the client's token will name beside the minted dots.
    seen: DotSet,
    /// The dots of the client's own version.
    own: Vec<Dot>,
    /// Whether what was stored last is a resolver's merge and not the client's version.
    merges: bool,
    existed: bool,
}

#[derive(Debug)]
enum Phase {
    /// The objects of replicas are awaited.
    Looking {
        objects: BTreeMap<NodeId, Object>,
        latest: Time,
        spare: Vec<NodeId>,
        /// Whether [`Event::Again`] is to come.
        waits: bool,
    },
    /// The resolver's answer about these versions is awaited.
    Resolving {
        object: Object,
        context: DotSet,
        version: Version,
    },
    /// The coordinator's replica is storing it.
    Storing,
    /// Acknowledgements are awaited.
    Spreading {
        written: Written,
        acknowledged: BTreeSet<NodeId>,
        /// Those of them that were suspects.
        suspects: BTreeSet<NodeId>,
        beside: Time,
        /// Those to whom the object was not clear, and whether [`Event::Again`] is to come.
        unclear: BTreeSet<NodeId>,
        waits: bool,
    },
    /// A later time is awaited, to mint the version again.
    Ticking { written: Written },
    /// The client has its answer.
    Answered,
}

impl Phase {
    fn looking(spare: Vec<NodeId>) -> Phase {
        Phase::Looking {
            objects: BTreeMap::new(),
            latest: Time::default(),
            spare,
            waits: false,
        }
    }
}

impl Write {
    /// A write that begins, and what it asks for first.
    ///
    /// # Panics
    /// When the coordinator is not among the replicas: a bug of the caller.
    #[must_use]
    pub fn new(request: WriteRequest, with: Coordination) -> (Write, Vec<Effect>) {
        assert!(with.replicas.contains(&with.me), "a replica coordinates");
        let seen = match &request.basis {
            Basis::Seen(context) => context.clone(),
            Basis::Unsaid | Basis::Blind => DotSet::default(),
        };
        let phase = Phase::looking(Vec::new());
        let (resolutions, minted_again) = (0, 0);
        let (failed, own) = (BTreeSet::new(), Vec::new());
        let (merges, existed) = (false, false);
        let mut write = Write {
            request,
            with,
            phase,
            resolutions,
            minted_again,
            failed,
            seen,
            own,
            merges,
            existed,
        };
        let effects = write.begin();
        (write, effects)
    }

    /// The key that is written.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.request.target
    }

    /// Whether the client has its answer.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        matches!(self.phase, Phase::Answered)
    }

    /// Takes an event and gives what follows. `own` is the coordinator's replica.
    pub fn step(&mut self, event: Event, own: &State) -> Vec<Effect> {
        let effects = match event {
            Event::Looked(node, object, latest) => self.on_looked(node, object, latest, own),
            Event::Unclear(node, minted) => self.on_unclear(node, minted),
            Event::Again => self.on_again(own),
            Event::Resolved(resolved) => self.on_resolved(resolved),
            Event::Stored(outcome) => self.on_stored(outcome, own),
            Event::StoreFailed(error) => self.on_store_failed(error),
            Event::Acknowledged(node, minted, found) => {
                self.on_acknowledged(node, (minted, found), own)
            }
            Event::Failed(node) => self.on_failed(node, own),
            Event::Ticked(time) => self.on_ticked(time),
            Event::Expired => self.on_expired(),
        };
        self.assert_invariants();
        effects
    }

    fn begin(&mut self) -> Vec<Effect> {
        let (reached, needed) = (self.with.reachable.len(), self.needed());
        if reached < needed {
            return self.answer(Err(unavailable(reached, needed)));
        }
        let others = self
            .others()
            .filter(|node| self.with.reachable.contains(node));
        let mut looks: Vec<NodeId> = std::iter::once(self.with.me).chain(others).collect();
        let spare = looks.split_off(self.looks());
        self.phase = Phase::looking(spare);
        looks.into_iter().map(Effect::Look).collect()
    }

    /// How many replicas are read before the dot is minted.
    fn looks(&self) -> usize {
        if reads_quorum(&self.request, self.with.resolver) {
            self.needed()
        } else {
            1
        }
    }

    fn needed(&self) -> usize {
        self.request.consistency.needed(self.with.replicas.len())
    }

    fn others(&self) -> impl Iterator<Item = NodeId> {
        self.with
            .replicas
            .iter()
            .copied()
            .filter(|node| *node != self.with.me)
    }

    fn on_looked(
        &mut self,
        node: NodeId,
        object: Object,
        latest: Time,
        own: &State,
    ) -> Vec<Effect> {
        match &mut self.phase {
            Phase::Looking {
                objects,
                latest: highest,
                ..
            } => {
                *highest = (*highest).max(latest);
                objects.insert(node, object);
                self.merge_looks(own)
            }
            Phase::Spreading { .. } if node == self.with.me => self.send_again(&object),
            _ => Vec::new(),
        }
    }

    fn merge_looks(&mut self, own: &State) -> Vec<Effect> {
        let looks = self.looks();
        let Phase::Looking {
            objects,
            latest,
            waits,
            ..
        } = &mut self.phase
        else {
            return Vec::new();
        };
        if objects.len() < looks || !objects.contains_key(&self.with.me) {
            return Vec::new();
        }
        let latest = *latest;
        let merged = objects
            .values()
            .cloned()
            .try_fold(Object::default(), |one, other| {
                one.sync(other, &own.lists())
            });
        match merged {
            Some(merged) => self.decide(merged, latest, own),
            // They differ, and have closed actors that are not known to be here yet.
            None => again(waits),
        }
    }

    fn on_again(&mut self, own: &State) -> Vec<Effect> {
        match &mut self.phase {
            Phase::Looking { waits, .. } if *waits => {
                *waits = false;
                let mut effects = self.merge_looks(own);
                effects.extend(self.look_again(own));
                effects
            }
            Phase::Spreading { unclear, waits, .. } if *waits => {
                *waits = false;
                let look = (!unclear.is_empty()).then_some(Effect::Look(self.with.me));
                look.into_iter().collect()
            }
            _ => Vec::new(),
        }
    }

    /// Looks once more where actors were closed that are not known here: by now the same may be
    /// closed there.
    fn look_again(&self, own: &State) -> Vec<Effect> {
        let Phase::Looking { objects, .. } = &self.phase else {
            return Vec::new();
        };
        let is_known = |object: &Object| object.context.names().all(|name| own.knows(name));
        let unknown = objects.iter().filter(|(_, object)| !is_known(object));
        unknown.map(|(node, _)| Effect::Look(*node)).collect()
    }

    /// What to store, once it is known what is there.
    fn decide(&mut self, object: Object, time: Time, own: &State) -> Vec<Effect> {
        let version = Version {
            time,
            value: self.request.value.clone(),
        };
        let unsaid = !self.with.resolver && self.request.basis == Basis::Unsaid;
        if unsaid && object.is_live() {
            let context = object.seen();
            return self.answer(Err(OperationError::ContextRequired { context }));
        }
        if unsaid && version.value.is_none() {
            return self.nothing_to_delete(&object);
        }
        // What was read on the client's behalf is superseded; its token does not name it.
        let context = if unsaid {
            object.seen()
        } else {
            self.seen.clone()
        };
        let mut rest = object.clone();
        rest.discard(&context, &own.lists());
        let resolves = self.with.resolver && self.resolutions < RESOLUTIONS_MAX;
        let deletes = self.with.resolver && version.value.is_none();
        if deletes && rest.versions.is_empty() {
            return self.store(covering(context, &object), version, Resolution::Keep);
        }
        if resolves && !rest.versions.is_empty() {
            self.resolutions += 1;
            self.phase = Phase::Resolving {
                object,
                context,
                version: version.clone(),
            };
            return vec![Effect::Resolve(rest, version)];
        }
        if deletes && self.would_delete_nothing(&object) {
            let context = object.seen();
            return self.answer(Err(OperationError::ContextRequired { context }));
        }
        self.store(context, version, Resolution::Keep)
    }

    /// Whether a delete that keeps what its client has not seen would be done and leave everything:
    /// its tombstone covers nothing, and goes as soon as its dot is under the base.
    fn would_delete_nothing(&self, object: &Object) -> bool {
        object.is_live() && self.request.basis == Basis::Unsaid && self.own.is_empty()
    }

    fn nothing_to_delete(&mut self, object: &Object) -> Vec<Effect> {
        let answer = WriteAnswer {
            context: object.seen(),
            existed: false,
            versions: object.dots(),
            achieved: self.achieved(self.looks()),
            served_by: self.with.me,
        };
        self.answer(Ok(answer))
    }

    fn on_resolved(&mut self, resolved: Resolved) -> Vec<Effect> {
        let Phase::Resolving {
            object,
            context,
            version,
        } = &mut self.phase
        else {
            return Vec::new();
        };
        let (context, version) = (std::mem::take(context), version.clone());
        if resolved == Resolved::KeepNew && version.value.is_none() {
            let context = covering(context, object);
            return self.store(context, version, Resolution::Keep);
        }
        let object = std::mem::take(object);
        let deletes = resolved == Resolved::KeepAll && version.value.is_none();
        if deletes && self.would_delete_nothing(&object) {
            let context = object.seen();
            return self.answer(Err(OperationError::ContextRequired { context }));
        }
        let seen = object.dots();
        let resolution = match resolved {
            Resolved::KeepAll => Resolution::Keep,
            Resolved::KeepNew => Resolution::Supersede(seen),
            Resolved::Merged(merged) => Resolution::Merge(seen, merged),
        };
        self.store(context, version, resolution)
    }

    fn store(&mut self, context: DotSet, version: Version, siblings: Resolution) -> Vec<Effect> {
        self.merges = matches!(siblings, Resolution::Merge(..));
        self.phase = Phase::Storing;
        let versions_max = self.with.versions_max;
        vec![Effect::Store(Store {
            context,
            version,
            siblings,
            versions_max,
        })]
    }

    fn on_stored(&mut self, outcome: Outcome, own: &State) -> Vec<Effect> {
        if !matches!(self.phase, Phase::Storing) {
            return Vec::new();
        }
        match outcome {
            Outcome::Written(written) => self.on_written(written, own),
            // The first mint stands, and was sent: nobody may be told that nothing was stored.
            Outcome::Moved(_) | Outcome::TooManySiblings(_) if !self.own.is_empty() => {
                self.unknown()
            }
            Outcome::Moved(_) => self.begin(),
            Outcome::TooManySiblings(object) => {
                let context = object.seen();
                self.answer(Err(OperationError::TooManySiblings { context }))
            }
        }
    }

    fn on_store_failed(&mut self, error: OperationError) -> Vec<Effect> {
        match self.phase {
            Phase::Spreading { .. } | Phase::Answered => Vec::new(),
            _ if self.own.is_empty() => self.answer(Err(error)),
            _ => self.unknown(),
        }
    }

    fn on_failed(&mut self, node: NodeId, own: &State) -> Vec<Effect> {
        self.failed.insert(node);
        match &mut self.phase {
            // What it held stands.
            Phase::Looking { objects, .. } if objects.contains_key(&node) => Vec::new(),
            Phase::Looking { spare, .. } => match spare.pop() {
                Some(next) if node != self.with.me => vec![Effect::Look(next)],
                _ => {
                    let reached = self.with.reachable.difference(&self.failed).count();
                    self.answer(Err(unavailable(reached, self.needed())))
                }
            },
            Phase::Spreading { unclear, .. } => {
                if node == self.with.me {
                    // What is there now cannot be read, so nothing is sent again.
                    self.failed.append(unclear);
                }
                self.conclude(own)
            }
            _ => Vec::new(),
        }
    }

    fn on_expired(&mut self) -> Vec<Effect> {
        match &self.phase {
            Phase::Answered => Vec::new(),
            Phase::Looking { objects, .. } if self.own.is_empty() => {
                let reached = objects.len();
                self.answer(Err(unavailable(reached, self.needed())))
            }
            Phase::Resolving { .. } if self.own.is_empty() => {
                self.answer(Err(unavailable(1, self.needed())))
            }
            _ => self.unknown(),
        }
    }

    fn unknown(&mut self) -> Vec<Effect> {
        let (reached, needed) = (count(self.counted()), count(self.needed()));
        self.answer(Err(OperationError::OutcomeUnknown { reached, needed }))
    }

    fn answer(&mut self, answer: Result<WriteAnswer, OperationError>) -> Vec<Effect> {
        self.phase = Phase::Answered;
        vec![Effect::Answer(answer)]
    }

    fn achieved(&self, reached: usize) -> Achieved {
        Achieved {
            reached: count(reached),
            replicas: count(self.with.replicas.len()),
        }
    }

    fn assert_invariants(&self) {
        if let Phase::Spreading { written, .. } = &self.phase {
            assert!(
                self.counted() < self.needed(),
                "enough acknowledgements are an answer"
            );
            assert!(!written.dots.is_empty(), "what is spread was minted");
        }
        assert!(
            self.minted_again <= MINTED_AGAIN_MAX,
            "a write is minted again a few times only"
        );
    }
}

/// Whether a write reads a quorum before its dot is minted. Without a resolver, one that does not
/// say what it had seen must know whether there is a live version. With a resolver, a delete must:
/// a replica that has not what it deletes forgets the tombstone as soon as its base has passed it,
/// and would take what comes late for what nobody has deleted.
#[must_use]
pub fn reads_quorum(request: &WriteRequest, resolver: bool) -> bool {
    if resolver {
        request.value.is_none()
    } else {
        request.basis == Basis::Unsaid
    }
}

/// What the tombstone of a delete covers that a resolver lets win: all that a quorum has met of the
/// key, by name. What it deletes need not lie at the coordinator, and may lie at one that has yet
/// to hear that it is obsolete.
fn covering(mut context: DotSet, object: &Object) -> DotSet {
    context.join(&object.seen());
    context
}

/// Asks for [`Event::Again`], unless it is to come anyway.
fn again(waits: &mut bool) -> Vec<Effect> {
    let waited = std::mem::replace(waits, true);
    (!waited).then_some(Effect::Again).into_iter().collect()
}

fn unavailable(reached: usize, needed: usize) -> OperationError {
    OperationError::QuorumUnavailable {
        reached: count(reached),
        needed: count(needed),
    }
}

fn count(replicas: usize) -> u8 {
    u8::try_from(replicas).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests;
