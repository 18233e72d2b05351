//! This is the sandbox put to the test: what ships does what its oracle does, and what misbehaves
//! is bounded, named, and over with the call.

mod abi;
mod admission;
mod cycles;
mod hostile;
mod laws;
mod merging;
mod misbehaving;
mod native;
mod shipped;

use super::{AdmissionError, Compiler, Policy, Runtime};
use soros_core::epoch::Epoch;
use soros_core::id::NodeId;
use soros_core::map::json::Json;
use soros_core::policy::topology::{Member, Node, Snapshot, State, Topology};
use soros_core::policy::{PolicyError, Resolution, Resolved, Sibling};
use std::sync::{Arc, LazyLock};

/// One for all tests, as a process has one.
static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Runtime::new(Compiler::Here).expect("room for engines"));

const RESOLUTION: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/misbehaving-resolution.wasm"));
const PLACEMENT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/misbehaving-placement.wasm"));
const VALIDATION: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/misbehaving-validation.wasm"));

/// A store that nothing runs in.
pub(super) fn guest() -> wasmtime::Store<super::guest::Guest> {
    let journal = Arc::new(super::log::Journal::new("own@1.0.0".to_owned()));
    super::guest::store(&RUNTIME.requests, &journal)
}

fn load(component: &[u8], manner: &str) -> Result<Arc<Policy>, AdmissionError> {
    RUNTIME.load(component, &Json::Text(manner.to_owned()))
}

fn sibling(time: u64, value: &[u8]) -> Sibling<'_> {
    Sibling {
        time,
        writer: 1,
        value: Some(value),
        content_type: "text/plain",
        meta: Vec::new(),
    }
}

/// What `policy` makes of two siblings under `key`.
fn resolve(policy: &Policy, key: &[u8]) -> Result<Resolved, PolicyError> {
    let resolver = policy.resolver().expect("a resolver");
    resolver.resolve(key, &[sibling(2, b"two"), sibling(1, b"one")])
}

fn snapshot(
    capacities: &[u64],
    zones: &[&str],
    partitions: u32,
    zones_min: Option<u8>,
) -> Snapshot {
    let member = |(id, (capacity, zone)): (u64, (&u64, &&str))| {
        let (zone, rack, tags) = ((*zone).to_owned(), String::new(), Vec::new());
        let node = Node {
            id: NodeId(id),
            zone,
            rack,
            capacity: *capacity,
            tags,
        };
        Member {
            node,
            state: State::Active,
        }
    };
    let topology = Topology {
        epoch: Epoch(7),
        members: (1..)
            .zip(capacities.iter().zip(zones))
            .map(member)
            .collect(),
        partitions: partitions.try_into().expect("a power of two"),
        replicas: 3,
        zones_min,
        bytes: Vec::new(),
    };
    topology.try_into().expect("open members")
}
