//! This is what a policy call costs: resolving two versions by a component, reused and fresh,
//! against the policy that ships in plain Rust, in one run; a validator that accepts
//! everything; and a plan of the placement that ships.

#[path = "../core/benches/versus.rs"]
mod versus;

use criterion::{Criterion, criterion_group, criterion_main};
use soros_core::epoch::Epoch;
use soros_core::id::NodeId;
use soros_core::map::json::Json;
use soros_core::policy::builtin::Lww;
use soros_core::policy::topology::{Member, Node, Snapshot, State, Topology};
use soros_core::policy::{Change, Placement, Resolution, Sibling, Validation};
use soros_host::plugin::{Compiler, Policy, Resolver, Runtime, shipped};
use std::hint::black_box;
use std::sync::Arc;
use versus::Versus;

const ACCEPTING: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/misbehaving-validation.wasm"));
const MISBEHAVING: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/misbehaving-resolution.wasm"));

fn load(runtime: &Runtime, name: &str) -> Arc<Policy> {
    let plugin = shipped().iter().find(|plugin| plugin.name == name);
    let component = plugin.expect("it ships").bytes;
    let policy = runtime.load(component, &Json::empty());
    policy.expect("what ships is admitted")
}

fn sibling(time: u64, value: &[u8]) -> Sibling<'_> {
    let (writer, value, content_type) = (1, Some(value), "text/plain");
    Sibling {
        time,
        writer,
        value,
        content_type,
        meta: Vec::new(),
    }
}

fn resolve(criterion: &mut Criterion) {
    let runtime = Runtime::new(Compiler::Here).expect("room for engines");
    let lww = load(&runtime, "lww");
    let lww = lww.resolver().expect("a resolver");
    let [odd, merge] = ["keep one too many", "merge"].map(|manner| {
        let manner = Json::Text(manner.to_owned());
        runtime.load(MISBEHAVING, &manner).expect("any manner")
    });
    let (odd, merge) = (odd.resolver().expect("a resolver"), merge.resolver());
    let merge = merge.expect("a resolver");
    for (name, bytes) in [("100 B", 100), ("1 KiB", 1 << 10)] {
        let (one, two) = (vec![1; bytes], vec![2; bytes]);
        let siblings = [sibling(1, &one), sibling(2, &two)];
        let mut group = Versus::new(criterion, &format!("resolve two versions of {name}"));
        group.measure("plain Rust", || {
            Lww.resolve(black_box(b"key"), black_box(&siblings))
        });
        let mut ask = |name: &str, resolver: &Resolver, key: &[u8]| {
            group.measure(name, || {
                resolver.resolve(black_box(key), black_box(&siblings))
            });
        };
        ask("a component that is not shown the values", lww, b"key");
        // It behaves for this key alone; after an answer that makes no sense its instance is
        // dropped, so that the next call gets a fresh one.
        ask("a component that is shown them, reused", odd, b"behave");
        ask("a component that is shown them, fresh", odd, b"another");
        ask("a component that joins them, reused", merge, b"key");
        group.finish();
    }
}

/// A validator that accepts everything, as a write asks it.
fn validate(criterion: &mut Criterion) {
    let runtime = Runtime::new(Compiler::Here).expect("room for engines");
    let accept = Json::Text("any key".to_owned());
    let policy = runtime.load(ACCEPTING, &accept).expect("any manner");
    let validator = policy.validator().expect("a validator");
    for (name, bytes) in [("100 B", 100), ("1 KiB", 1 << 10)] {
        let value = vec![1; bytes];
        let change = Change {
            bucket: "default",
            key: b"a/key",
            content_type: "text/plain",
            value: Some(&value),
            current: None,
            principal: "",
        };
        criterion.bench_function(&format!("validate a write of {name}"), |bencher| {
            bencher.iter(|| validator.check(black_box(std::slice::from_ref(&change))));
        });
    }
}

fn plan(criterion: &mut Criterion) {
    let runtime = Runtime::new(Compiler::Here).expect("room for engines");
    let policy = load(&runtime, "balanced");
    let placer = policy.placer().expect("a placer");
    let now = snapshot(12);
    criterion.bench_function("plan 256 partitions on 12 nodes", |bencher| {
        bencher.iter(|| placer.plan(black_box(&now), None, 0));
    });
}

fn snapshot(nodes: u64) -> Snapshot {
    let member = |id| Member {
        node: Node {
            id: NodeId(id),
            zone: format!("zone {}", id % 3),
            rack: String::new(),
            capacity: 1 << 40,
            tags: Vec::new(),
        },
        state: State::Active,
    };
    let topology = Topology {
        epoch: Epoch(1),
        members: (0..nodes).map(member).collect(),
        partitions: 256.try_into().expect("a power of two"),
        replicas: 3,
        zones_min: None,
        bytes: Vec::new(),
    };
    topology.try_into().expect("open members")
}

fn load_and_compile(criterion: &mut Criterion) {
    let component = shipped().iter().find(|plugin| plugin.name == "lww");
    let component = component.expect("it ships").bytes;
    let runtime = Runtime::new(Compiler::Here).expect("room for engines");
    criterion.bench_function("load a component that is not loaded yet", |bencher| {
        bencher.iter(|| runtime.load(black_box(component), &Json::empty()));
    });
}

criterion_group!(benches, validate, resolve, plan, load_and_compile);
criterion_main!(benches);
