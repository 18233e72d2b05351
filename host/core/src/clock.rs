//! This is what a replica of a partition has seen: one set of dots for all its keys.
//!
//! An actor that can mint no more is closed: its entry leaves the set for a list that says "seen"
//! for each of its dots, and the set names that list instead. It is never forgotten, for a
//! forgotten actor's dots would look new.

use crate::closed::{Closed, Closing};
use crate::codec::{Codec, DecodeError, Reader, Writer};
use crate::dot::{Actor, Dot};
use crate::dot_set::DotSet;

/// The dots that a replica of a partition has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// Of the actors that are not closed, and the name of the list of those that are.
    seen: DotSet,
    closed: Closed,
}

impl Clock {
    /// The clock that has seen `seen` and closed `closed`; none when `seen` names another list.
    #[must_use]
    pub fn of(seen: DotSet, closed: Closed) -> Option<Clock> {
        let fits = seen.names().copied().eq(closed.name());
        fits.then_some(Clock { seen, closed })
    }

    /// The dots of the actors that are not closed, and the name of the list of those that are.
    #[must_use]
    pub fn seen(&self) -> &DotSet {
        &self.seen
    }

    /// The closed actors.
    #[must_use]
    pub fn closed(&self) -> &Closed {
        &self.closed
    }

    /// Whether `dot` has been seen.
    #[must_use]
    pub fn has(&self, dot: &Dot) -> bool {
        self.closed.has(&dot.actor) || self.seen.has(dot)
    }

    /// Whether `dot` and all before it of its actor have been seen.
    #[must_use]
    pub fn is_under_base(&self, dot: &Dot) -> bool {
        dot.counter <= self.base(&dot.actor)
    }

    /// Up to which counter all dots of `actor` have been seen; 0 is none.
    #[must_use]
    pub fn base(&self, actor: &Actor) -> u64 {
        if self.closed.has(actor) {
            u64::MAX
        } else {
            self.seen.base(actor)
        }
    }

    /// The highest counter seen of an actor that is not closed; 0 is none.
    #[must_use]
    pub fn highest(&self, actor: &Actor) -> u64 {
        self.seen.highest(actor)
    }

    /// Marks a dot as seen.
    pub fn add(&mut self, dot: Dot) {
        if !self.closed.has(&dot.actor) && !dot.actor.is_name() {
            self.seen.add(dot);
        }
    }

    /// Marks as seen all that `other` has, its closed actors included.
    pub fn join(&mut self, other: &Clock) {
        self.seen.join(&other.seen);
        for step in other.closed.steps_after(&self.closed) {
            self.closed.push(step);
        }
        self.leave_to_list();
    }

    /// Counts all dots of the actors as seen from here on. Sound only when every replica holds the
    /// same dots of them, or will be told to, and takes no more.
    pub fn close(&mut self, step: Closing) {
        self.closed.push(step);
        self.leave_to_list();
    }

    /// Takes the closed actors out of the set, which names their list instead.
    fn leave_to_list(&mut self) {
        let closed = &self.closed;
        self.seen
            .retain(|actor| !actor.is_name() && !closed.has(actor));
        if let Some(name) = self.closed.name() {
            self.seen.add(name.dot(1));
        }
    }

    /// Whether all dots of `seen` are seen here, lists of closed actors left aside.
    #[must_use]
    pub fn covers(&self, seen: &DotSet) -> bool {
        let is_open = |actor: &Actor| !self.closed.has(actor) && !actor.is_name();
        !seen.minus(&self.seen).any(|(actor, ..)| is_open(&actor))
    }

    /// The dots seen here and not in `other`, as ranges in order. The other has closed the same
    /// actors.
    pub fn missing_from<'a>(
        &'a self,
        other: &'a DotSet,
    ) -> impl Iterator<Item = (Actor, u64, u64)> + 'a {
        self.seen.minus(other)
    }

    /// What is left of a context when the bases are known anyway, and the lists that it names are.
    #[must_use]
    pub fn strip(&self, context: &DotSet) -> DotSet {
        let mut rest = context.strip(&self.seen);
        rest.retain(|actor| !actor.is_name() && !self.closed.has(actor));
        rest
    }
}

/// What was seen, and the list that it names.
impl Codec for Clock {
    fn encode(&self, writer: &mut Writer) {
        self.seen.encode(writer);
        self.closed.encode(writer);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Clock, DecodeError> {
        let clock = Clock::of(DotSet::decode(reader)?, Closed::decode(reader)?);
        clock.ok_or(DecodeError::Invalid("a clock"))
    }
}
