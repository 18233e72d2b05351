//! This is a set of dots: a version vector plus what is seen above it, per actor.
//!
//! It is what a replica's clock has seen, what a context covers and what a token names. A vector
//! alone would not do: it can only say "all up to n", and a write's answer must be able to name
//! its own dot without the unseen ones before it.

use crate::codec::{Codec, DecodeError, Reader, Writer};
use crate::dot::{Actor, Dot};
use crate::limits::DOTS_DECODED_MAX;
use std::collections::BTreeMap;

/// A set of dots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DotSet(BTreeMap<Actor, Counters>);

/// A set of counters: all from 1 to `base`, and the ranges above. Ranges are inclusive, sorted,
/// apart from each other and from the base, so that equal sets are equal values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    base: u64,
    above: Vec<(u64, u64)>,
}

impl Counters {
    /// Whether `counter` is in the set.
    #[must_use]
    pub fn has(&self, counter: u64) -> bool {
        counter <= self.base || {
            let after = self.above.partition_point(|&(start, _)| start <= counter);
            after
                .checked_sub(1)
                .is_some_and(|last| counter <= self.above[last].1)
        }
    }

    /// Whether every counter of `other` is in the set.
    #[must_use]
    pub fn includes(&self, other: &Counters) -> bool {
        other.minus(self).is_empty()
    }

    fn highest(&self) -> u64 {
        self.above.last().map_or(self.base, |&(_, end)| end)
    }

    fn is_empty(&self) -> bool {
        self.base == 0 && self.above.is_empty()
    }

    /// Adds all of `start..=end`.
    fn add(&mut self, start: u64, end: u64) {
        debug_assert!(
            1 <= start && start <= end,
            "a range of counters starts at 1 or later"
        );
        // The ranges that touch the new one, those right beside it included.
        let first = self
            .above
            .partition_point(|&(_, end)| end.saturating_add(1) < start);
        let last = self
            .above
            .partition_point(|&(start, _)| start <= end.saturating_add(1));
        let touched = &self.above[first..last];
        let start = touched
            .first()
            .map_or(start, |&(other, _)| other.min(start));
        let end = touched.last().map_or(end, |&(_, other)| other.max(end));
        if start <= self.base.saturating_add(1) {
            self.base = self.base.max(end);
            self.above.drain(..last);
        } else {
            self.above.splice(first..last, [(start, end)]);
        }
    }

    fn ranges(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        (0 < self.base)
            .then_some((1, self.base))
            .into_iter()
            .chain(self.above.iter().copied())
    }

    /// What of this set is not in `other`, in order.
    fn minus(&self, other: &Counters) -> Vec<(u64, u64)> {
        let mut rest = Vec::new();
        for (start, end) in self.ranges() {
            let mut from = start;
            for (other_start, other_end) in other.ranges() {
                if end < other_start || end < from {
                    break;
                }
                if other_end < from {
                    continue;
                }
                if from < other_start {
                    rest.push((from, other_start - 1));
                }
                from = other_end.saturating_add(1);
            }
            if from <= end {
                rest.push((from, end));
            }
        }
        rest
    }

    /// What is left when all up to `base` is known anyway; a vector entry above it stays whole.
    fn strip(&self, base: u64) -> Counters {
        if base < self.base {
            return self.clone();
        }
        let clip = |&(start, end): &(u64, u64)| (base < end).then(|| (start.max(base + 1), end));
        Counters {
            base: 0,
            above: self.above.iter().filter_map(clip).collect(),
        }
    }
}

impl DotSet {
    /// The set of one dot.
    #[must_use]
    pub fn of(dot: Dot) -> DotSet {
        let mut set = DotSet::default();
        set.add(dot);
        set
    }

    /// Whether the set has no dot.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `dot` is in the set.
    #[must_use]
    pub fn has(&self, dot: &Dot) -> bool {
        self.0
            .get(&dot.actor)
            .is_some_and(|seen| seen.has(dot.counter))
    }

    /// Which of an actor's dots are in the set.
    #[must_use]
    pub fn of_actor(&self, actor: &Actor) -> Counters {
        self.0.get(actor).cloned().unwrap_or_default()
    }

    /// The lists of closed actors that the set names: all dots of all actors on them are in it,
    /// too. Who knows a list says which those are.
    pub fn names(&self) -> impl Iterator<Item = &Actor> {
        self.0.keys().filter(|actor| actor.is_name())
    }

    /// Up to which counter all of an actor's dots are in the set; 0 is none.
    #[must_use]
    pub fn base(&self, actor: &Actor) -> u64 {
        self.0.get(actor).map_or(0, |seen| seen.base)
    }

    /// The highest counter of an actor in the set; 0 is none.
    #[must_use]
    pub fn highest(&self, actor: &Actor) -> u64 {
        self.0.get(actor).map_or(0, Counters::highest)
    }

    /// The actors with a dot in the set, in order.
    pub fn actors(&self) -> impl Iterator<Item = &Actor> {
        self.0.keys()
    }

    /// The greatest dot of the set.
    #[must_use]
    pub fn last(&self) -> Option<Dot> {
        self.0
            .last_key_value()
            .map(|(actor, seen)| actor.dot(seen.highest()))
    }

    /// Adds a dot.
    pub fn add(&mut self, dot: Dot) {
        self.add_range(dot.actor, dot.counter, dot.counter);
    }

    /// Adds the dots `start..=end` of an actor; `start` is at least 1.
    pub fn add_range(&mut self, actor: Actor, start: u64, end: u64) {
        self.0.entry(actor).or_default().add(start, end);
    }

    /// Adds all dots of `other`.
    pub fn join(&mut self, other: &DotSet) {
        for (actor, seen) in &other.0 {
            let mine = self.0.entry(*actor).or_default();
            for (start, end) in seen.ranges() {
                mine.add(start, end);
            }
        }
    }

    /// Adds, for every actor of `clock`, all dots up to its base.
    pub fn join_bases(&mut self, clock: &DotSet) {
        for (actor, seen) in &clock.0 {
            if 0 < seen.base {
                self.0.entry(*actor).or_default().add(1, seen.base);
            }
        }
    }

    /// Whether, for every actor of `clock`, all dots up to its base are in the set.
    #[must_use]
    pub fn includes_bases(&self, clock: &DotSet) -> bool {
        let mut actors = clock.0.iter();
        actors.all(|(actor, seen)| seen.base <= self.base(actor))
    }

    /// What is left of a context when the bases of `clock` are known anyway.
    #[must_use]
    pub fn strip(&self, clock: &DotSet) -> DotSet {
        let rest = self
            .0
            .iter()
            .map(|(actor, seen)| (*actor, seen.strip(clock.base(actor))));
        DotSet(rest.filter(|(_, seen)| !seen.is_empty()).collect())
    }

    /// Forgets the dots of all actors but those that `keeps` wants.
    pub(crate) fn retain(&mut self, keeps: impl Fn(&Actor) -> bool) {
        self.0.retain(|actor, _| keeps(actor));
    }

    /// The dots of this set that are not in `other`, as ranges in order.
    pub fn minus<'a>(&'a self, other: &'a DotSet) -> impl Iterator<Item = (Actor, u64, u64)> + 'a {
        let nothing = Counters::default();
        self.0.iter().flat_map(move |(actor, seen)| {
            let ranges = seen.minus(other.0.get(actor).unwrap_or(&nothing));
            ranges.into_iter().map(|(start, end)| (*actor, start, end))
        })
    }

    /// Whether every dot of `other` is in this set.
    #[must_use]
    pub fn includes(&self, other: &DotSet) -> bool {
        other.minus(self).next().is_none()
    }

    /// How many ranges lie above the bases: what a gap costs.
    #[must_use]
    pub fn ranges_above(&self) -> usize {
        self.0.values().map(|seen| seen.above.len()).sum()
    }

    /// How many actors have a dot in the set.
    #[must_use]
    pub fn actor_count(&self) -> usize {
        self.0.len()
    }
}

/// Base 8, ranges: count 4, then each start 8 and end 8.
impl Codec for Counters {
    fn encode(&self, writer: &mut Writer) {
        writer.u64(self.base);
        writer.len(self.above.len());
        for (start, end) in &self.above {
            writer.u64(*start);
            writer.u64(*end);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Counters, DecodeError> {
        let (base, above) = (reader.u64()?, Vec::new());
        let mut counters = Counters { base, above };
        for _ in 0..reader.len(DOTS_DECODED_MAX)? {
            let (start, end) = (reader.u64()?, reader.u64()?);
            if start == 0 || end < start {
                return Err(DecodeError::Invalid("a range of counters"));
            }
            counters.add(start, end);
        }
        Ok(counters)
    }
}

/// Actors: count 4, then each actor 28 and its counters.
impl Codec for DotSet {
    fn encode(&self, writer: &mut Writer) {
        writer.len(self.0.len());
        for (actor, seen) in &self.0 {
            actor.encode(writer);
            seen.encode(writer);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<DotSet, DecodeError> {
        let mut set = DotSet::default();
        for _ in 0..reader.len(DOTS_DECODED_MAX)? {
            let (actor, seen) = (Actor::decode(reader)?, Counters::decode(reader)?);
            for (start, end) in seen.ranges() {
                set.add_range(actor, start, end);
            }
        }
        Ok(set)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Generation, Incarnation, NodeId};
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn actor(node: u64) -> Actor {
        Actor {
            node: NodeId(node),
            incarnation: Incarnation(1),
            generation: Generation(1),
        }
    }

    fn dots() -> impl Strategy<Value = BTreeSet<(u64, u64)>> {
        proptest::collection::btree_set((1..4_u64, 1..12_u64), 0..24)
    }

    fn set(dots: &BTreeSet<(u64, u64)>) -> DotSet {
        let mut set = DotSet::default();
        for &(node, counter) in dots {
            set.add(actor(node).dot(counter));
        }
        set
    }

    /// The dots of a set, one by one: the naive model.
    fn model(set: &DotSet) -> BTreeSet<(u64, u64)> {
        let nothing = DotSet::default();
        let ranges = set.minus(&nothing).collect::<Vec<_>>();
        let dots = ranges.into_iter().flat_map(|(actor, start, end)| {
            (start..=end).map(move |counter| (actor.node.0, counter))
        });
        dots.collect()
    }

    proptest! {
        #[test]
        fn holds_exactly_the_dots_added(dots in dots()) {
            let set = set(&dots);
            prop_assert_eq!(model(&set), dots.clone());
            for node in 1..4 {
                for counter in 1..13 {
                    let has = set.has(&actor(node).dot(counter));
                    prop_assert_eq!(has, dots.contains(&(node, counter)));
                }
                let highest = dots.iter().filter(|dot| dot.0 == node).map(|dot| dot.1).max();
                prop_assert_eq!(set.highest(&actor(node)), highest.unwrap_or(0));
                let base = (1..12).take_while(|counter| dots.contains(&(node, *counter))).last();
                prop_assert_eq!(set.base(&actor(node)), base.unwrap_or(0));
            }
        }

        #[test]
        fn joins_and_subtracts_like_sets(left in dots(), right in dots()) {
            let (mine, other) = (set(&left), set(&right));
            let mut both = mine.clone();
            both.join(&other);
            prop_assert_eq!(&both, &set(&(&left | &right)));
            prop_assert!(both.includes(&mine) && both.includes(&other));
            prop_assert_eq!(mine.includes(&other), right.is_subset(&left));
            let mut rest = DotSet::default();
            mine.minus(&other).for_each(|(actor, start, end)| rest.add_range(actor, start, end));
            prop_assert_eq!(model(&rest), &left - &right);
        }

        #[test]
        fn is_filled_back_to_what_it_was_before_it_was_stripped(
            context in dots(),
            clock in dots(),
        ) {
            let (context, clock) = (set(&context), set(&clock));
            let mut before = context.clone();
            before.join_bases(&clock);
            let mut after = context.strip(&clock);
            prop_assert!(context.includes(&after));
            after.join_bases(&clock);
            prop_assert_eq!(&after, &before);
            prop_assert!(before.includes_bases(&clock));
            prop_assert_eq!(context.includes_bases(&clock), context == before);
        }

        #[test]
        fn is_read_back_as_written(dots in dots()) {
            let set = set(&dots);
            prop_assert_eq!(DotSet::from_bytes(&set.to_bytes()), Ok(set));
        }

        #[test]
        fn never_panics_on_other_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = DotSet::from_bytes(&bytes);
        }
    }

    #[test]
    fn refuses_ranges_that_are_none() {
        let mut writer = Writer::default();
        writer.len(1);
        actor(1).encode(&mut writer);
        writer.u64(0);
        writer.len(1);
        writer.u64(5);
        writer.u64(4);
        let bytes = writer.into_bytes();
        assert!(matches!(
            DotSet::from_bytes(&bytes),
            Err(DecodeError::Invalid(_))
        ));
    }

    #[test]
    fn reaches_the_last_counter_without_overflow() {
        let mut set = DotSet::default();
        set.add(actor(1).dot(u64::MAX));
        set.add_range(actor(1), 1, u64::MAX - 1);
        assert_eq!(set.base(&actor(1)), u64::MAX);
        assert!(set.strip(&set).is_empty());
    }
}
