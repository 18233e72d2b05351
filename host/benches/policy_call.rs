//! This is what a policy call costs: resolving two small versions by the component that ships and
//! by the same policy in plain Rust, in one run; and a plan of the placement that ships.

use criterion::{Criterion, criterion_group, criterion_main};
use soros_core::epoch::Epoch;
use soros_core::id::NodeId;
use soros_core::map::json::Json;
use soros_core::policy::builtin::Lww;
use soros_core::policy::topology::{Member, Node, Snapshot, State, Topology};
use soros_core::policy::{Placement, Resolution, Sibling};
use soros_host::plugin::{Policy, Runtime, shipped};
use std::hint::black_box;
use std::sync::Arc;

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
    let runtime = Runtime::new().expect("room for engines");
    let policy = load(&runtime, "lww");
    let resolver = policy.resolver().expect("a resolver");
    let siblings = [sibling(1, b"one"), sibling(2, b"two")];
    let mut group = criterion.benchmark_group("resolve two small versions");
    group.bench_function("plain Rust", |bencher| {
        bencher.iter(|| Lww.resolve(black_box(b"key"), black_box(&siblings)));
    });
    group.bench_function("component", |bencher| {
        bencher.iter(|| resolver.resolve(black_box(b"key"), black_box(&siblings)));
    });
    group.finish();
}

fn plan(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("room for engines");
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
    let runtime = Runtime::new().expect("room for engines");
    criterion.bench_function("load a component that is not loaded yet", |bencher| {
        bencher.iter(|| runtime.load(black_box(component), &Json::empty()));
    });
}

criterion_group!(benches, resolve, plan, load_and_compile);
criterion_main!(benches);
