//! This is the route that says where a key lives.

use super::refusal::Refusal;
use super::render;
use crate::authority::{Authority, ShownState};
use crate::client::encoded_key;
use crate::network::Response;
use serde::Serialize;
use soros_core::epoch::Epoch;
use soros_core::id::{BucketName, NodeName};
use soros_core::key::{Key, Partition};
use soros_core::map::Map;

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
        key: encoded_key(key.as_bytes()),
        partition,
        epoch: map.epoch(),
        replicas: replicas.collect(),
    };
    render::json(http::StatusCode::OK, &location)
}
