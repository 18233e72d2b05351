//! This is the route of the cluster: its nodes as they are now, and who votes.

use super::refusal::Refusal;
use super::render;
use crate::authority::wire::Facts;
use crate::authority::{Authority, ShownState};
use crate::network::Response;
use http::StatusCode;
use serde::Serialize;
use soros_core::epoch::Epoch;
use soros_core::id::{ClusterId, Incarnation, NodeId, NodeName, PlacementName};
use soros_core::map::Map;
use soros_core::map::format::Format;
use soros_core::map::node::{Node, Role};
use soros_core::map::placement::Placement;
use soros_core::map::plugin::PluginName;
use soros_core::map::table::Table;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Serialize)]
struct Cluster<'a> {
    name: &'a str,
    id: ClusterId,
    epoch: Epoch,
    /// The newest format that all nodes know.
    format: Format,
    status: Status,
    under_replicated: Vec<&'a PlacementName>,
    /// The plugins that fail too often and are not asked.
    quarantined: Vec<&'a PluginName>,
    authority: Votes<'a>,
    nodes: Vec<Member<'a>>,
    moves: [(); 0],
}

/// Whether each placement has as many copies as it asks for.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
enum Status {
    Ok,
    UnderReplicated,
}

#[derive(Serialize)]
struct Votes<'a> {
    leader: Option<&'a NodeName>,
    members: Vec<&'a NodeName>,
    term: u64,
}

#[derive(Serialize)]
struct Member<'a> {
    name: &'a NodeName,
    id: String,
    url: &'a str,
    peer: &'a str,
    state: ShownState,
    zone: &'a str,
    capacity: u64,
    roles: &'a BTreeSet<Role>,
    version: &'a str,
    /// The newest format that its program knows.
    format: Format,
    incarnation: Incarnation,
    partitions: usize,
    partitions_behind: Option<u64>,
    bytes: Option<u64>,
    clock_offset_ms: Option<i64>,
    clock_skewed: Option<bool>,
    disk_full: Option<bool>,
}

/// The cluster.
pub(super) async fn show(authority: &Authority, map: &Map) -> Result<Response, Refusal> {
    let (leadership, facts) = tokio::join!(authority.leadership(), authority.facts(map));
    let name = |id: NodeId| map.node(id).map(|node| &node.identity.name);
    let under_replicated = under_replicated(map);
    let status = if under_replicated.is_empty() {
        Status::Ok
    } else {
        Status::UnderReplicated
    };
    let cluster = Cluster {
        name: map.name(),
        id: map.cluster(),
        epoch: map.epoch(),
        format: map.format(),
        status,
        under_replicated,
        quarantined: quarantined(map),
        authority: Votes {
            leader: leadership.leader.and_then(name),
            members: leadership.voters.iter().copied().filter_map(name).collect(),
            term: leadership.term,
        },
        nodes: members(authority, map, &facts),
        moves: [],
    };
    render::json(StatusCode::OK, &cluster)
}

fn under_replicated(map: &Map) -> Vec<&PlacementName> {
    let placements = map.placements().iter();
    placements
        .filter(|(_, placement)| placement.is_under_replicated())
        .map(|(name, _)| name)
        .collect()
}

fn quarantined(map: &Map) -> Vec<&PluginName> {
    let plugins = map.plugins().iter();
    plugins
        .filter(|(_, plugin)| plugin.quarantine.is_some())
        .map(|(name, _)| name)
        .collect()
}

fn members<'a>(
    authority: &Authority,
    map: &'a Map,
    facts: &BTreeMap<NodeId, Facts>,
) -> Vec<Member<'a>> {
    let partitions = partitions(map);
    let member = |(id, node): (&NodeId, &'a Node)| {
        let (identity, facts) = (&node.identity, facts.get(id));
        Member {
            name: &identity.name,
            id: id.to_string(),
            url: &identity.url,
            peer: &identity.peer,
            state: authority.state_of(*id, node),
            zone: &identity.zone,
            capacity: identity.capacity,
            roles: &identity.roles,
            version: &identity.version,
            format: identity.format,
            incarnation: identity.incarnation,
            partitions: partitions.get(id).copied().unwrap_or_default(),
            partitions_behind: facts.map(|facts| facts.partitions_behind),
            bytes: facts.map(|facts| facts.bytes),
            clock_offset_ms: facts.and_then(|facts| facts.clock_offset_ms),
            clock_skewed: facts.map(|facts| facts.clock_skewed),
            disk_full: facts.map(|facts| facts.disk_full),
        }
    };
    let mut members: Vec<_> = map.nodes().iter().map(member).collect();
    members.sort_by_key(|member| member.name);
    members
}

/// How many partitions each node holds.
fn partitions(map: &Map) -> BTreeMap<NodeId, usize> {
    let mut held = BTreeMap::new();
    let tables = map
        .placements()
        .values()
        .map(|placement: &Placement| &placement.table);
    for (_, replicas) in tables.flat_map(Table::rows) {
        for &node in replicas {
            *held.entry(node).or_default() += 1;
        }
    }
    held
}
