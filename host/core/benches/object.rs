//! This is what an object costs on its way to the disk, to another replica and back, against a copy
//! of the same bytes or of the same object.

mod versus;

use criterion::{Criterion, criterion_group, criterion_main};
use soros_core::clock::Clock;
use soros_core::codec::Codec;
use soros_core::dot::Actor;
use soros_core::id::{Generation, Incarnation, NodeId};
use soros_core::object::{Object, Value, Version};
use soros_core::time::Time;
use std::hint::black_box;
use versus::Versus;

/// How many keys of the partition the replicas have written.
const WRITES: u64 = 1_000;

fn actor(node: u64) -> Actor {
    Actor {
        node: NodeId(node),
        incarnation: Incarnation(1),
        generation: Generation(1),
    }
}

fn version(time: u64, value_bytes: usize) -> Version {
    Version {
        time: Time(time),
        value: Some(Value {
            bytes: vec![7; value_bytes].into(),
            content_type: "application/octet-stream".to_owned(),
            content_encoding: None,
            meta: Vec::new(),
        }),
    }
}

/// The clock of a partition with three replicas.
fn clock() -> Clock {
    let mut clock = Clock::default();
    for node in 1..=3 {
        (1..=WRITES).for_each(|counter| clock.add(actor(node).dot(counter)));
    }
    clock
}

/// A key under the writes of `nodes`, as `clock` fills it.
fn object(clock: &Clock, nodes: &[u64], value_bytes: usize) -> Object {
    let mut object = Object::default();
    for node in nodes {
        object.add(actor(*node).dot(WRITES / 2), version(*node, value_bytes));
    }
    object.fill(clock)
}

/// The key after a client that had read it wrote it again: what a replica is sent.
fn rewritten(clock: &Clock, before: &Object, value_bytes: usize) -> Object {
    let mut object = before.clone().fill(clock);
    object.discard(&before.seen(), &[clock.closed()]);
    object.add(actor(1).dot(WRITES + 1), version(9, value_bytes));
    object
}

fn codec(criterion: &mut Criterion) {
    let clock = clock();
    for (name, value_bytes) in [("100 B", 100), ("1 KiB", 1 << 10)] {
        let filled = object(&clock, &[1], value_bytes);
        let stripped = filled.clone().strip(&clock);
        for (name, object) in [("as sent", filled), ("as stored", stripped)]
            .map(|(kind, object)| (format!("an object of {name} {kind}"), object))
        {
            let bytes = object.to_bytes();
            let mut group = Versus::new(criterion, &name);
            group.measure("copying its bytes", || black_box(&bytes).clone());
            group.measure("encode", || black_box(&object).to_bytes());
            group.measure("decode", || Object::from_bytes(black_box(&bytes)));
            group.finish();
        }
    }
}

fn merge(criterion: &mut Criterion) {
    let clock = clock();
    for (name, value_bytes) in [("100 B", 100), ("1 KiB", 1 << 10)] {
        let before = object(&clock, &[2], value_bytes);
        let after = rewritten(&clock, &before, value_bytes);
        let siblings = object(&clock, &[1, 2, 3], value_bytes);
        let mut group = Versus::new(criterion, &format!("merge objects of {name}"));
        group.measure("copying one", || black_box(&after).clone());
        for (name, mine, other) in [
            ("equal ones", &before, &before),
            ("one with its successor", &before, &after),
            ("one with three siblings", &before, &siblings),
        ] {
            let pair = (mine.clone(), other.clone());
            group.measure_on(name, &pair, |(mine, other)| {
                mine.sync(other, &[clock.closed()])
            });
        }
        group.measure_on("strip", &after, |object| object.strip(&clock));
        group.measure_on("fill", &after.clone().strip(&clock), |object| {
            object.fill(&clock)
        });
        group.measure("digest", || black_box(&after).digest());
        group.finish();
    }
}

criterion_group!(benches, codec, merge);
criterion_main!(benches);
