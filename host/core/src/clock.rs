//! This is what a replica of a partition has seen: one set of dots for all its keys.
//!
//! An actor that can mint no more is closed: its entry leaves the set for a list that says "seen"
//! for each of its dots. It is never forgotten, for a forgotten actor's dots would look new.

use crate::codec::{Codec, DecodeError, Reader, Writer};
use crate::dot::{Actor, Dot};
use crate::dot_set::DotSet;
use crate::limits::DOTS_DECODED_MAX;
use std::collections::BTreeSet;

/// The dots that a replica of a partition has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    seen: DotSet,
    closed: BTreeSet<Actor>,
}

impl Clock {
    /// The dots of the actors that are not closed.
    #[must_use]
    pub fn seen(&self) -> &DotSet {
        &self.seen
    }

    /// Whether `actor` can mint no more and all its dots count as seen.
    #[must_use]
    pub fn is_closed(&self, actor: &Actor) -> bool {
        self.closed.contains(actor)
    }

    /// The closed actors, in order.
    pub fn closed(&self) -> impl Iterator<Item = &Actor> {
        self.closed.iter()
    }

    /// Whether `dot` has been seen.
    #[must_use]
    pub fn has(&self, dot: &Dot) -> bool {
        self.is_closed(&dot.actor) || self.seen.has(dot)
    }

    /// Whether `dot` and all before it of its actor have been seen.
    #[must_use]
    pub fn is_under_base(&self, dot: &Dot) -> bool {
        self.is_closed(&dot.actor) || dot.counter <= self.seen.base(&dot.actor)
    }

    /// The highest counter seen of an actor that is not closed; 0 is none.
    #[must_use]
    pub fn highest(&self, actor: &Actor) -> u64 {
        self.seen.highest(actor)
    }

    /// Marks a dot as seen.
    pub fn add(&mut self, dot: Dot) {
        if !self.is_closed(&dot.actor) {
            self.seen.add(dot);
        }
    }

    /// Marks as seen all that `other` has, its closed actors included.
    pub fn join(&mut self, other: &Clock) {
        self.seen.join(&other.seen);
        for actor in &other.closed {
            self.close(*actor);
        }
        for actor in &self.closed {
            self.seen.remove_actor(actor);
        }
    }

    /// Counts all dots of `actor` as seen from here on. Sound only when every replica holds the
    /// same dots of it and takes no more.
    pub fn close(&mut self, actor: Actor) {
        self.seen.remove_actor(&actor);
        self.closed.insert(actor);
    }

    /// Whether every dot that `other` has seen is seen here. Where `other` has closed an actor this
    /// one knows, both held the same dots of it.
    #[must_use]
    pub fn covers(&self, other: &Clock) -> bool {
        other.missing_from(self).next().is_none()
    }

    /// The dots seen here and not by `other`, as ranges in order.
    pub fn missing_from<'a>(
        &'a self,
        other: &'a Clock,
    ) -> impl Iterator<Item = (Actor, u64, u64)> + 'a {
        self.seen
            .minus(&other.seen)
            .filter(|(actor, ..)| !other.is_closed(actor))
    }

    /// What is left of a context when the bases are known anyway.
    #[must_use]
    pub fn strip(&self, context: &DotSet) -> DotSet {
        let mut rest = context.strip(&self.seen);
        for actor in context.actors().filter(|actor| self.is_closed(actor)) {
            rest.remove_actor(actor);
        }
        rest
    }
}

/// The seen dots, then the closed actors: count 4, each 28.
impl Codec for Clock {
    fn encode(&self, writer: &mut Writer) {
        self.seen.encode(writer);
        writer.len(self.closed.len());
        for actor in &self.closed {
            actor.encode(writer);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Clock, DecodeError> {
        let mut clock = Clock {
            seen: DotSet::decode(reader)?,
            closed: BTreeSet::new(),
        };
        for _ in 0..reader.len(DOTS_DECODED_MAX)? {
            clock.close(Actor::decode(reader)?);
        }
        Ok(clock)
    }
}
