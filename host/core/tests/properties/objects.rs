//! This is the merge of two objects beside the merge of two sets: whatever the order, the grouping
//! and the repetitions, the same versions are left.

use crate::cluster::value;
use crate::history::WriteId;
use crate::model::Cell;
use proptest::prelude::*;
use soros_core::clock::Clock;
use soros_core::closed::Closing;
use soros_core::dot::{Actor, Dot};
use soros_core::dot_set::DotSet;
use soros_core::id::{Generation, Incarnation, NodeId};
use soros_core::object::{Object, Version};
use soros_core::time::Time;
use std::collections::BTreeSet;

fn actor(node: u32) -> Actor {
    Actor {
        node: NodeId(u64::from(node)),
        incarnation: Incarnation(1),
        generation: Generation(1),
    }
}

/// Write `id` is the dot of actor `id / 8`, number `id % 8 + 1`.
fn dot(id: WriteId) -> Dot {
    actor(id.0 / 8).dot(u64::from(id.0 % 8) + 1)
}

fn set(ids: &BTreeSet<WriteId>) -> DotSet {
    let mut set = DotSet::default();
    for id in ids {
        set.add(dot(*id));
    }
    set
}

/// Some writes met, some of them left as versions.
fn cells() -> impl Strategy<Value = Cell> {
    let met = proptest::collection::btree_map(0..24_u32, any::<bool>(), 0..12);
    met.prop_map(|met| Cell {
        versions: met
            .iter()
            .filter(|(_, left)| **left)
            .map(|(id, _)| WriteId(*id))
            .collect(),
        met: met.keys().map(|id| WriteId(*id)).collect(),
    })
}

fn object(cell: &Cell) -> Object {
    let mut object = Object {
        context: set(&cell.met),
        ..Object::default()
    };
    for id in &cell.versions {
        let version = Version {
            time: Time(u64::from(id.0)),
            value: (id.0 % 3 != 0).then(|| value(u64::from(id.0))),
        };
        object.add(dot(*id), version);
    }
    object
}

fn sync(one: &Object, other: &Object) -> Object {
    let merged = one.clone().sync(other.clone(), &[]);
    merged.expect("objects that name no list")
}

/// Closes an actor of which these writes were seen.
fn close(clock: &mut Clock, node: u32, ids: &BTreeSet<WriteId>) {
    let seen = set(ids).of_actor(&actor(node));
    clock.close(Closing::new([(actor(node), seen)]));
}

proptest! {
    #[test]
    fn merges_like_sets(one in cells(), other in cells()) {
        prop_assert_eq!(sync(&object(&one), &object(&other)), object(&one.sync(&other)));
    }

    #[test]
    fn merges_to_the_same_in_any_order(one in cells(), two in cells(), three in cells()) {
        let (one, two, three) = (object(&one), object(&two), object(&three));
        prop_assert_eq!(sync(&one, &two), sync(&two, &one));
        prop_assert_eq!(sync(&one, &one), one.clone());
        prop_assert_eq!(sync(&sync(&one, &two), &three), sync(&one, &sync(&two, &three)));
    }

    #[test]
    fn drops_what_a_client_has_seen_and_nothing_else(cell in cells(), seen in cells()) {
        let mut after = object(&cell);
        after.discard(&set(&seen.met), &[]);
        let left = cell.versions.difference(&seen.met).copied().collect();
        prop_assert_eq!(after, object(&Cell { versions: left, met: cell.met }));
    }

    /// Each side has closed no actor, one or two; the merge is that of sets in which who has closed
    /// an actor has met all its writes, and who has not has met what its context says.
    #[test]
    fn takes_every_dot_of_an_actor_as_met_by_who_had_closed_it(
        (one, other) in (cells(), cells()),
        (steps_of_one, steps_of_other) in (0..3_usize, 0..3_usize),
    ) {
        let all: BTreeSet<WriteId> = (0..24).map(WriteId).collect();
        let clock = |steps: usize| {
            let mut clock = Clock::default();
            for node in [1, 2].into_iter().take(steps) {
                close(&mut clock, node, &all);
            }
            clock
        };
        let filled = |cell: &Cell, steps: usize| object(cell).fill(&clock(steps));
        let met = |cell: &Cell, steps: usize| {
            let closed = (8..24).map(WriteId).filter(|id| (id.0 / 8) as usize <= steps);
            let met = cell.met.iter().copied().chain(closed).collect();
            Cell { versions: cell.versions.clone(), met }
        };
        let both = (filled(&one, steps_of_one), filled(&other, steps_of_other));
        let most = clock(steps_of_one.max(steps_of_other));
        let merged = both.0.clone().sync(both.1.clone(), &[most.closed()]);
        let expected = met(&one, steps_of_one).sync(&met(&other, steps_of_other));
        prop_assert_eq!(merged.expect("the lists are known").dots(), set(&expected.versions));
        // Who knows fewer lists is told the same, or that it is not clear.
        if let Some(merged) = both.0.sync(both.1, &[clock(1).closed()]) {
            prop_assert_eq!(merged.dots(), set(&expected.versions));
        }
    }

    #[test]
    fn is_as_before_when_stripped_and_filled(cell in cells(), clock in cells()) {
        let mut seen = Clock::default();
        for id in &clock.met {
            seen.add(dot(*id));
        }
        let mut filled = object(&cell).fill(&seen);
        let stripped = filled.clone().strip(&seen);
        prop_assert_eq!(stripped.clone().strip(&seen), stripped.clone());
        filled.versions.retain(|dot, version| {
            version.value.is_some() || !seen.is_under_base(dot)
        });
        prop_assert_eq!(stripped.clone().fill(&seen), filled);
        if stripped.is_absent() {
            prop_assert_eq!(stripped.blocker(&seen), None);
        }
        if let Some(blocker) = stripped.blocker(&seen) {
            prop_assert!(!seen.is_under_base(&blocker));
        }
    }

    #[test]
    fn a_clock_covers_what_it_joined(one in cells(), other in cells(), closed in 0..3_u32) {
        let (mut mine, mut theirs) = (Clock::default(), Clock::default());
        for id in &one.met {
            mine.add(dot(*id));
        }
        for id in &other.met {
            theirs.add(dot(*id));
        }
        close(&mut theirs, closed, &other.met);
        let mut joined = mine.clone();
        joined.join(&theirs);
        prop_assert!(joined.covers(mine.seen()) && joined.covers(theirs.seen()));
        for id in (0..24).map(WriteId) {
            let has = mine.has(&dot(id)) || theirs.has(&dot(id));
            prop_assert_eq!(joined.has(&dot(id)), has);
        }
        let missing = joined.missing_from(mine.seen());
        for (actor, start, end) in missing.filter(|(actor, ..)| !actor.is_name()) {
            prop_assert!((start..=end).all(|counter| !mine.has(&actor.dot(counter))));
        }
    }
}
