//! This is the route that says where a key lives.

use super::refusal::Refusal;
use super::render;
use crate::authority::{Authority, ShownState};
use crate::network::Response;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use serde::Serialize;
use soros_core::epoch::Epoch;
use soros_core::id::{BucketName, NodeName};
use soros_core::key::{Key, Partition};
use soros_core::map::Map;

/// What of a key is shown encoded: all but unreserved characters and `/`.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

#[derive(Serialize)]
struct Location<'a> {
    bucket: &'a BucketName,
    key: String,
    partition: Partition,
    epoch: Epoch,
    replicas: Vec<Replica<'a>>,
}

#[derive(Serialize)]
struct Replica<'a> {
    node: &'a NodeName,
    url: &'a str,
    zone: &'a str,
    state: ShownState,
}

/// The nodes that hold `key`.
pub(super) fn locate(
    authority: &Authority,
    map: &Map,
    bucket: &BucketName,
    key: &Key,
) -> Result<Response, Refusal> {
    let found = map.bucket(bucket).and_then(|found| map.placement_of(found));
    let placement = found.ok_or_else(|| Refusal::BucketNotFound(bucket.clone()))?;
    let partition = Partition::of(key, placement.partitions());
    let nodes = placement.replicas_of(partition).iter();
    let replicas = nodes.filter_map(|&id| {
        let node = map.node(id)?;
        let (identity, state) = (&node.identity, authority.state_of(id, node));
        Some(Replica {
            node: &identity.name,
            url: &identity.url,
            zone: &identity.zone,
            state,
        })
    });
    let location = Location {
        bucket,
        key: percent_encode(key.as_bytes(), ENCODED).to_string(),
        partition,
        epoch: map.epoch(),
        replicas: replicas.collect(),
    };
    render::json(http::StatusCode::OK, &location)
}
