//! This is what clocks and contexts cost, against the naive set that holds each dot by itself.

mod versus;

use criterion::{Criterion, criterion_group, criterion_main};
use soros_core::clock::Clock;
use soros_core::codec::Codec;
use soros_core::dot::{Actor, Dot};
use soros_core::dot_set::DotSet;
use soros_core::id::{Generation, Incarnation, NodeId};
use std::collections::BTreeSet;
use std::hint::black_box;
use versus::Versus;

/// The replicas of a partition.
const REPLICAS: u64 = 3;
/// The lives that each replica has had; none is closed yet.
const LIVES: u64 = 5;
/// The writes of each replica's present life.
const WRITES: u64 = 1_000;
/// Of so many dots one is missing.
const GAP: u64 = 50;
/// Steps through a replica's writes from one to another so far away: no range grows at its end.
const STRIDE: u64 = 617;

fn actor(node: u64, life: u64) -> Actor {
    Actor {
        node: NodeId(node),
        incarnation: Incarnation(u128::from(life)),
        generation: Generation(1),
    }
}

/// All dots of the present lives, as a quiet network delivers them.
fn in_order() -> Vec<Dot> {
    let of = |counter| (1..=REPLICAS).map(move |node| actor(node, LIVES).dot(counter));
    (1..=WRITES).flat_map(of).collect()
}

/// The same dots, each far from the one before.
fn out_of_order() -> Vec<Dot> {
    let counter = |step| 1 + step * STRIDE % WRITES;
    let of = |step| (1..=REPLICAS).map(move |node| actor(node, LIVES).dot(counter(step)));
    (0..WRITES).flat_map(of).collect()
}

/// The dots but those that one replica lacks.
fn without_gaps_of(replica: u64) -> Vec<Dot> {
    let mut dots = in_order();
    dots.retain(|dot| dot.counter % GAP != replica);
    dots
}

/// A clock of `dots` above all that the earlier lives left.
fn clock(dots: &[Dot]) -> Clock {
    let mut clock = Clock::default();
    for life in 1..LIVES {
        for node in 1..=REPLICAS {
            (1..=WRITES).for_each(|counter| clock.add(actor(node, life).dot(counter)));
        }
    }
    for dot in dots {
        clock.add(*dot);
    }
    clock
}

/// The same as the naive set.
fn naive(dots: &[Dot]) -> BTreeSet<Dot> {
    dots.iter().copied().collect()
}

fn add(criterion: &mut Criterion) {
    for (name, dots) in [("in order", in_order()), ("out of order", out_of_order())] {
        let mut group = Versus::new(criterion, &format!("add 3000 dots {name}"));
        group.measure("the naive set", || naive(black_box(&dots)));
        group.measure("a clock", || {
            let mut clock = Clock::default();
            for dot in black_box(&dots) {
                clock.add(*dot);
            }
            clock
        });
        group.finish();
    }
}

fn compare(criterion: &mut Criterion) {
    let (mine, other) = (without_gaps_of(1), without_gaps_of(2));
    let (my_clock, other_clock) = (clock(&mine), clock(&other));
    let (my_set, other_set) = (naive(&mine), naive(&other));
    let mut group = Versus::new(criterion, "join two clocks with 60 gaps each");
    group.measure_on("the naive set", &my_set, |mut set| {
        set.extend(black_box(&other_set));
        set
    });
    group.measure_on("a clock", &my_clock, |mut clock| {
        clock.join(black_box(&other_clock));
        clock
    });
    group.finish();
    let mut group = Versus::new(criterion, "what another clock with gaps lacks");
    group.measure("the naive set", || my_set.difference(&other_set).count());
    group.measure("a clock", || {
        my_clock.missing_from(other_clock.seen()).count()
    });
    group.finish();
    let equal = my_clock.clone();
    let mut group = Versus::new(criterion, "what an equal clock lacks");
    group.measure("the naive set", || my_set.difference(&my_set).count());
    group.measure("a clock", || {
        my_clock.missing_from(black_box(equal.seen())).count()
    });
    group.finish();
}

/// A context as a key that was written a few times keeps it: mostly under the clock's base.
fn context() -> DotSet {
    let mut context = DotSet::default();
    for life in 1..=LIVES {
        for node in 1..=REPLICAS {
            context.add_range(actor(node, life), 1, WRITES / 2);
        }
    }
    context.add(actor(1, LIVES).dot(WRITES));
    context
}

fn strip_and_fill(criterion: &mut Criterion) {
    let clock = clock(&without_gaps_of(1));
    let context = context();
    let stripped = clock.strip(&context);
    let mut group = Versus::new(criterion, "a context under a clock of 15 actors");
    group.measure("copying it", || black_box(&context).clone());
    group.measure("strip", || clock.strip(black_box(&context)));
    group.measure_on("fill", &stripped, |mut context| {
        context.join_bases(black_box(clock.seen()));
        context
    });
    group.finish();
}

fn sets(criterion: &mut Criterion) {
    let dots = without_gaps_of(1);
    let (clock, naive) = (clock(&dots), naive(&dots));
    let set = clock.seen();
    let dot = actor(2, LIVES).dot(WRITES / 2);
    let mut group = Versus::new(criterion, "look for a dot");
    group.measure("the naive set", || naive.contains(black_box(&dot)));
    group.measure("a set with 60 gaps", || set.has(black_box(&dot)));
    group.finish();
    let (larger, bytes) = (context(), set.to_bytes());
    let mut group = Versus::new(criterion, "a set with 60 gaps");
    group.measure("copying its bytes", || black_box(&bytes).clone());
    group.measure("encode", || black_box(set).to_bytes());
    group.measure("decode", || DotSet::from_bytes(black_box(&bytes)));
    group.measure("does it include another", || {
        set.includes(black_box(&larger))
    });
    group.finish();
}

criterion_group!(benches, add, compare, strip_and_fill, sets);
criterion_main!(benches);
