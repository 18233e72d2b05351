//! This is a read at its coordinator: whom it asks for an object or its digest, how it merges what
//! differs, what the client is told, and which replicas are repaired behind the answer.

use crate::id::NodeId;
use crate::object::{Object, ObjectDigest};
use crate::operation::{Achieved, OperationError, ReadAnswer, ReadRequest, Target};
use crate::replica::State;
use std::collections::{BTreeMap, BTreeSet};

/// How much of an object is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// The whole of it.
    Object,
    /// A hash of its versions' dots, to see whether it differs.
    Digest,
}

/// What arrives at a read.
#[derive(Clone, Debug)]
pub enum Event {
    /// A replica's object, filled.
    Object(NodeId, Object),
    /// A replica's digest.
    Digest(NodeId, ObjectDigest),
    /// A replica cannot answer: it is down, suspect, or does not hold the partition.
    Failed(NodeId),
    /// A replica takes longer than most: one more may be asked.
    HedgeDue,
    /// What [`Effect::Again`] waits for has had its time.
    Again,
    /// The request's time is up.
    Expired,
}

/// What a read asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The object or digest of the key at a replica.
    Ask(NodeId, Want),
    /// [`Event::Again`] in a little while: what differs may be clear then.
    Again,
    /// What the client is told.
    Answer(Result<ReadAnswer, OperationError>),
    /// The merged object, for a replica that lacks some of it.
    Repair(NodeId, Object),
}

/// A read under way at its coordinator.
#[derive(Debug)]
pub struct Read {
    request: ReadRequest,
    me: NodeId,
    replicas: usize,
    needed: usize,
    /// Replicas that have not been asked, the next one last.
    spare: Vec<NodeId>,
    asked: BTreeMap<NodeId, Asked>,
    /// Those whose object came and is asked for once more: it names actors closed that are not
    /// known here. What came counts until there is a newer one.
    asked_again: BTreeSet<NodeId>,
    /// Whether [`Event::Again`] is to come.
    waits: bool,
    answered: bool,
}

#[derive(Clone, Debug)]
enum Asked {
    Waiting(Want),
    Object(Object),
    Digest(ObjectDigest),
    Failed,
}

impl Read {
    /// A read that begins, and whom it asks first. `candidates` are the replicas that may answer,
    /// the best first, of all `replicas` there are.
    #[must_use]
    pub fn new(
        request: ReadRequest,
        me: NodeId,
        candidates: &[NodeId],
        replicas: usize,
    ) -> (Read, Vec<Effect>) {
        let needed = request.consistency.needed(replicas);
        let spare = candidates.iter().rev().copied().collect();
        let asked = BTreeMap::new();
        let mut read = Read {
            request,
            me,
            replicas,
            needed,
            spare,
            asked,
            asked_again: BTreeSet::new(),
            waits: false,
            answered: false,
        };
        let effects = if candidates.len() < needed {
            read.unavailable(candidates.len())
        } else {
            (0..needed).flat_map(|_| read.ask_next()).collect()
        };
        (read, effects)
    }

    /// The key that is read.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.request.target
    }

    /// Whether the client has its answer.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        self.answered
    }

    /// Takes an event and gives what follows. `own` is the coordinator's replica.
    pub fn step(&mut self, event: Event, own: &State) -> Vec<Effect> {
        if self.answered {
            return Vec::new();
        }
        let effects = match event {
            Event::Object(node, object) => self.on_answered(node, Asked::Object(object), own),
            Event::Digest(node, digest) => self.on_answered(node, Asked::Digest(digest), own),
            Event::Failed(node) => self.on_failed(node, own),
            Event::HedgeDue => self.ask_next(),
            Event::Again => self.on_again(own),
            Event::Expired => self.on_expired(),
        };
        self.assert_invariants();
        effects
    }

    /// Asks one more replica: the first one for its object, the others for a digest.
    fn ask_next(&mut self) -> Vec<Effect> {
        let Some(node) = self.spare.pop() else {
            return Vec::new();
        };
        let has_object =
            |asked: &Asked| matches!(asked, Asked::Object(_) | Asked::Waiting(Want::Object));
        let want = if self.asked.values().any(has_object) {
            Want::Digest
        } else {
            Want::Object
        };
        self.asked.insert(node, Asked::Waiting(want));
        vec![Effect::Ask(node, want)]
    }

    fn on_answered(&mut self, node: NodeId, answer: Asked, own: &State) -> Vec<Effect> {
        match self.asked.get(&node) {
            Some(Asked::Waiting(_)) => self.asked.insert(node, answer),
            Some(Asked::Object(_)) if self.asked_again.remove(&node) => {
                self.asked.insert(node, answer)
            }
            // A repeated or late answer is normal: the network may deliver it twice.
            _ => return Vec::new(),
        };
        self.conclude(own)
    }

    fn on_failed(&mut self, node: NodeId, own: &State) -> Vec<Effect> {
        if self.asked_again.remove(&node) {
            return Vec::new();
        }
        self.asked.insert(node, Asked::Failed);
        self.spare.retain(|spare| *spare != node);
        let mut effects = self.ask_next();
        let left = self
            .asked
            .values()
            .filter(|asked| !matches!(asked, Asked::Failed))
            .count();
        if left < self.needed {
            return self.unavailable(left);
        }
        effects.extend(self.conclude(own));
        effects
    }

    fn on_expired(&mut self) -> Vec<Effect> {
        self.unavailable(self.heard().count())
    }

    fn heard(&self) -> impl Iterator<Item = (NodeId, &Asked)> {
        let heard = |asked: &Asked| matches!(asked, Asked::Object(_) | Asked::Digest(_));
        self.asked
            .iter()
            .filter(move |(_, asked)| heard(asked))
            .map(|(node, asked)| (*node, asked))
    }

    /// Answers once enough replicas have said what they hold, with all that differs merged.
    fn conclude(&mut self, own: &State) -> Vec<Effect> {
        if self.heard().count() < self.needed {
            return Vec::new();
        }
        let objects = self.heard().filter_map(|(_, asked)| match asked {
            Asked::Object(object) => Some(Some(object.clone())),
            _ => None,
        });
        let both = |one: Option<Object>, other: Option<Object>| one?.sync(other?, &own.lists());
        let merged = match objects.reduce(both) {
            Some(Some(merged)) => merged,
            // Those that differ have closed different actors, and these are not known here yet.
            Some(None) => return self.wait(),
            None => return self.fetch(|_| true),
        };
        let digest = merged.digest();
        // The contexts behind equal digests may differ: what is merged from others must be merged
        // with theirs, too.
        let fetched = self.fetch(|other| *other != digest);
        if fetched.is_empty() {
            self.answer(&merged)
        } else {
            fetched
        }
    }

    fn wait(&mut self) -> Vec<Effect> {
        let waited = std::mem::replace(&mut self.waits, true);
        (!waited).then_some(Effect::Again).into_iter().collect()
    }

    fn on_again(&mut self, own: &State) -> Vec<Effect> {
        if !std::mem::take(&mut self.waits) {
            return Vec::new();
        }
        let mut effects = self.conclude(own);
        if self.waits {
            effects.extend(self.ask_again(own));
        }
        effects
    }

    /// Asks once more for the objects whose makers had closed what is not known here: by now they
    /// may have closed the same.
    fn ask_again(&mut self, own: &State) -> Vec<Effect> {
        let mut effects = Vec::new();
        for (node, asked) in &self.asked {
            let Asked::Object(object) = asked else {
                continue;
            };
            let is_known = object.context.names().all(|name| own.knows(name));
            if !is_known && self.asked_again.insert(*node) {
                effects.push(Effect::Ask(*node, Want::Object));
            }
        }
        effects
    }

    /// Asks for the objects whose digests say that they differ.
    fn fetch(&mut self, differs: impl Fn(&ObjectDigest) -> bool) -> Vec<Effect> {
        let mut effects = Vec::new();
        for (node, asked) in &mut self.asked {
            if matches!(asked, Asked::Digest(digest) if differs(digest)) {
                *asked = Asked::Waiting(Want::Object);
                effects.push(Effect::Ask(*node, Want::Object));
            }
        }
        effects
    }

    fn answer(&mut self, merged: &Object) -> Vec<Effect> {
        self.answered = true;
        let (digest, reached) = (merged.digest(), count(self.heard().count()));
        let achieved = Achieved {
            reached,
            replicas: count(self.replicas),
        };
        let answer = ReadAnswer {
            object: merged.clone(),
            achieved,
            served_by: self.me,
        };
        let stale = self.heard().filter(|(_, asked)| match asked {
            Asked::Object(object) => object.digest() != digest,
            Asked::Digest(other) => *other != digest,
            Asked::Waiting(_) | Asked::Failed => false,
        });
        let repairs = stale.map(|(node, _)| Effect::Repair(node, merged.clone()));
        std::iter::once(Effect::Answer(Ok(answer)))
            .chain(repairs)
            .collect()
    }

    fn unavailable(&mut self, reached: usize) -> Vec<Effect> {
        self.answered = true;
        let (reached, needed) = (count(reached), count(self.needed));
        vec![Effect::Answer(Err(OperationError::QuorumUnavailable {
            reached,
            needed,
        }))]
    }

    fn assert_invariants(&self) {
        let waits = self
            .asked
            .values()
            .any(|asked| matches!(asked, Asked::Waiting(_)));
        assert!(
            self.answered || self.waits || waits,
            "a read that waits for nobody has its answer"
        );
    }
}

fn count(replicas: usize) -> u8 {
    u8::try_from(replicas).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests;
