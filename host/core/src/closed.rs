//! This is the list of the actors that a replica has closed: they can mint no more, and all their
//! dots count as seen, those that died with a disk, too.
//!
//! The list grows by an actor or so with every restart that wrote, for ever. So no context names
//! its actors: it names the *list* of the replica that made it, by a hash of its actors. A context
//! without that name says nothing of them, however late it arrives: its maker may not have seen
//! them yet.

use crate::codec::{Codec, DecodeError, Reader, Writer};
use crate::dot::{Actor, Dot};
use crate::dot_set::{Counters, DotSet};
use crate::id::{Generation, Incarnation, NodeId};
use crate::limits::DOTS_DECODED_MAX;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Actors that are closed together, each with those of its dots that any replica has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Closing(BTreeMap<Actor, Counters>);

/// All actors that a replica has closed. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Closed(Arc<List>);

#[derive(Clone, Debug, Default)]
struct List {
    steps: Vec<Closing>,
    /// Each actor, and the step that closed it.
    actors: BTreeMap<Actor, usize>,
    /// The name of the list as it was before each step but the first.
    names: BTreeMap<Actor, usize>,
    hash: u128,
}

/// Whether a context covers a dot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Met {
    /// It does.
    Yes,
    /// It does not.
    No,
    /// It names a list of closed actors that is not known here, and the dot may be of one of them.
    Unclear,
}

impl Closing {
    /// The actors `seen`, each with its dots.
    #[must_use]
    pub fn new(seen: impl IntoIterator<Item = (Actor, Counters)>) -> Closing {
        Closing(seen.into_iter().collect())
    }

    /// The actors, each with its dots, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Actor, &Counters)> {
        self.0.iter()
    }

    /// Whether there is no actor.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `seen` has other dots of these actors than these.
    #[must_use]
    pub fn is_beyond(&self, seen: &DotSet) -> bool {
        let mut all = self.iter();
        all.any(|(actor, agreed)| !agreed.includes(&seen.of_actor(actor)))
    }

    /// Whether `seen` has exactly these dots of these actors.
    #[must_use]
    pub fn agrees_with(&self, seen: &DotSet) -> bool {
        self.iter()
            .all(|(actor, counters)| seen.of_actor(actor) == *counters)
    }
}

impl Closed {
    /// The name of the list; an empty one has none.
    #[must_use]
    pub fn name(&self) -> Option<Actor> {
        self.0.name()
    }

    /// The name that the list would have after a step.
    #[must_use]
    pub fn name_after(&self, step: &Closing) -> Actor {
        let more = step.0.keys().filter(|actor| !self.has(actor));
        name(more.fold(self.0.hash, |before, actor| before ^ hash(actor)))
    }

    /// How many actors are closed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.actors.len()
    }

    /// Whether no actor is closed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.actors.is_empty()
    }

    /// Whether `actor` is closed.
    #[must_use]
    pub fn has(&self, actor: &Actor) -> bool {
        self.0.actors.contains_key(actor)
    }

    /// Whether `context` has dots of closed actors that nobody had seen when they were closed.
    #[must_use]
    pub fn is_beyond(&self, context: &DotSet) -> bool {
        context.actors().any(|actor| {
            let agreed = self.0.agreed(actor);
            agreed.is_some_and(|agreed| !agreed.includes(&context.of_actor(actor)))
        })
    }

    /// The closed actors, in order.
    pub fn actors(&self) -> impl Iterator<Item = &Actor> {
        self.0.actors.keys()
    }

    /// What was closed, step by step.
    #[must_use]
    pub fn steps(&self) -> &[Closing] {
        &self.0.steps
    }

    /// Closes more actors.
    pub fn push(&mut self, step: Closing) {
        if !step.is_empty() {
            Arc::make_mut(&mut self.0).push(step);
        }
    }

    /// What is closed here and not in `other`.
    #[must_use]
    pub fn beyond(&self, other: &Closed) -> Closing {
        let more = self.0.steps.iter().flat_map(Closing::iter);
        let more = more.filter(|(actor, _)| !other.has(actor));
        Closing::new(more.map(|(actor, seen)| (*actor, seen.clone())))
    }

    /// The steps that make this list of `other`: those after it where this one began as that, and
    /// else one of what is closed here and not there.
    #[must_use]
    pub fn steps_after(&self, other: &Closed) -> Vec<Closing> {
        let began = other.name().map_or(Some(0), |name| self.0.steps_of(&name));
        let steps = match began {
            Some(began) => self.0.steps[began..].to_vec(),
            None => vec![self.beyond(other)],
        };
        steps.into_iter().filter(|step| !step.is_empty()).collect()
    }

    /// The steps after the list called `name`; all of them when this one never was that.
    #[must_use]
    pub fn since(&self, name: Option<Actor>) -> News {
        let after = name.filter(|name| self.knows(name));
        let began = after.and_then(|name| self.0.steps_of(&name)).unwrap_or(0);
        News {
            after,
            steps: self.0.steps[began..].to_vec(),
        }
    }

    /// The other list that `news` tells of, for one who has this one; none when they are not for
    /// this one.
    #[must_use]
    pub fn told(&self, news: News) -> Option<Closed> {
        let mut other = match news.after {
            None => Closed::default(),
            after if after == self.name() => self.clone(),
            Some(_) => return None,
        };
        for step in news.steps {
            other.push(step);
        }
        Some(other)
    }

    /// Whether a list called `name` is this one, or what this one was before some step.
    #[must_use]
    pub fn knows(&self, name: &Actor) -> bool {
        self.0.steps_of(name).is_some()
    }

    /// Whether all that `other` is or was called is known here.
    #[must_use]
    pub fn explains(&self, other: &Closed) -> bool {
        let before = other.0.names.keys().copied();
        before.chain(other.name()).all(|name| self.knows(&name))
    }

    /// The actors that are to be closed next after `other`, so that it is called what this one is
    /// or was called; none when it has closed others, or all of these.
    #[must_use]
    pub fn next_after(&self, other: &Closed) -> Option<BTreeSet<Actor>> {
        let mut all = BTreeSet::new();
        self.0.steps.iter().find_map(|step| {
            all.extend(step.0.keys().copied());
            let has_more = other.len() < all.len() && other.actors().all(|it| all.contains(it));
            has_more.then(|| all.iter().filter(|it| !other.has(it)).copied().collect())
        })
    }

    /// How many steps made the list called `name`; none when it is not this one and this one was
    /// never that.
    #[must_use]
    pub fn steps_of(&self, name: &Actor) -> Option<usize> {
        self.0.steps_of(name)
    }

    /// Whether `actor` was closed in the first `steps`.
    #[must_use]
    pub fn has_within(&self, steps: usize, actor: &Actor) -> bool {
        let step = self.0.actors.get(actor);
        step.is_some_and(|step| *step < steps)
    }

    /// What a list called `name` says of `actor`; none when it is not this one and this one was
    /// never that.
    fn says(&self, name: &Actor, actor: &Actor) -> Option<bool> {
        let steps = self.0.steps_of(name)?;
        Some(self.has_within(steps, actor))
    }
}

/// Lists are equal that have the same actors, whatever the steps.
impl PartialEq for Closed {
    fn eq(&self, other: &Closed) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Closed {}

impl List {
    fn name(&self) -> Option<Actor> {
        (!self.actors.is_empty()).then(|| name(self.hash))
    }

    /// Those of the dots of a closed actor that any replica had seen.
    fn agreed(&self, actor: &Actor) -> Option<&Counters> {
        let step = self.steps.get(*self.actors.get(actor)?)?;
        step.0.get(actor)
    }

    fn push(&mut self, step: Closing) {
        let number = self.steps.len();
        self.names.extend(self.name().map(|name| (name, number)));
        for actor in step.0.keys() {
            self.actors.entry(*actor).or_insert_with(|| {
                self.hash ^= hash(actor);
                number
            });
        }
        self.steps.push(step);
    }

    /// How many steps made the list called `name`.
    fn steps_of(&self, name: &Actor) -> Option<usize> {
        if Some(*name) == self.name() {
            return Some(self.steps.len());
        }
        self.names.get(name).copied()
    }
}

fn name(hash: u128) -> Actor {
    Actor {
        node: NodeId(0),
        incarnation: Incarnation(hash),
        generation: Generation(0),
    }
}

fn hash(actor: &Actor) -> u128 {
    let mut hasher = blake3::Hasher::new_derive_key("soros 2026 closed actors");
    hasher.update(&actor.to_bytes());
    let mut first = [0; 16];
    hasher.finalize_xof().fill(&mut first);
    u128::from_be_bytes(first)
}

/// Whether `context` covers `dot`, to the knowledge of `lists`.
#[must_use]
pub fn met(context: &DotSet, dot: &Dot, lists: &[&Closed]) -> Met {
    if context.has(dot) {
        return Met::Yes;
    }
    let mut met = Met::No;
    for name in context.names() {
        match lists.iter().find_map(|list| list.says(name, &dot.actor)) {
            Some(true) => return Met::Yes,
            Some(false) => (),
            None => met = Met::Unclear,
        }
    }
    met
}

/// What one replica tells another of its list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// The list that the other has, if this one began as that; none tells of all.
    pub after: Option<Actor>,
    /// The steps since.
    pub steps: Vec<Closing>,
}

/// Actors: count 4, then each actor 28 and its counters.
impl Codec for Closing {
    fn encode(&self, writer: &mut Writer) {
        writer.len(self.0.len());
        for (actor, seen) in &self.0 {
            actor.encode(writer);
            seen.encode(writer);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Closing, DecodeError> {
        let mut closing = Closing::default();
        for _ in 0..reader.len(DOTS_DECODED_MAX)? {
            let (actor, seen) = (Actor::decode(reader)?, Counters::decode(reader)?);
            if actor.is_name() {
                return Err(DecodeError::Invalid("a closed actor"));
            }
            closing.0.insert(actor, seen);
        }
        Ok(closing)
    }
}

/// 0, or 1 and the name 28; steps: count 4, each its actors.
impl Codec for News {
    fn encode(&self, writer: &mut Writer) {
        writer.option(self.after.as_ref());
        writer.list(&self.steps);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<News, DecodeError> {
        Ok(News {
            after: reader.option()?,
            steps: reader.list(DOTS_DECODED_MAX)?,
        })
    }
}

/// All steps, as told to one who has closed nothing.
impl Codec for Closed {
    fn encode(&self, writer: &mut Writer) {
        self.since(None).encode(writer);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Closed, DecodeError> {
        let told = Closed::default().told(News::decode(reader)?);
        told.ok_or(DecodeError::Invalid("a list of closed actors"))
    }
}
