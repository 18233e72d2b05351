//! This is what is shown of plugins: what the map has of them, and how they stand at the nodes that
//! answer at once. Those that do not are named, so that nobody takes a part for the whole.

use super::found;
use crate::authority::api::refusal::Refusal;
use crate::authority::api::{Asked, AuthorityApi, render};
use crate::authority::{Counts, Standing};
use crate::network::Response;
use http::StatusCode;
use serde::Serialize;
use soros_core::epoch::Epoch;
use soros_core::id::{NodeId, NodeName};
use soros_core::map::Map;
use soros_core::map::plugin::{
    Plugin, PluginDigest, PluginKind, PluginName, PluginVersion, Quarantine, Release, Shadow,
    Withdrawn,
};
use std::collections::BTreeMap;

#[derive(Serialize)]
struct Plugins<'a> {
    plugins: Vec<Shown<'a>>,
    not_reached: Vec<&'a NodeName>,
}

#[derive(Serialize)]
struct Shown<'a> {
    name: &'a PluginName,
    kind: PluginKind,
    active: Option<&'a PluginVersion>,
    previous: Option<&'a PluginVersion>,
    /// The epoch from which the active one is in force.
    since: Epoch,
    on_probation: bool,
    quarantined: Option<&'a Quarantine>,
    withdrawn: Option<&'a Withdrawn>,
    shadow: Option<&'a Shadow>,
    versions: Vec<ShownRelease<'a>>,
    /// At all nodes that were reached.
    calls: u64,
    failures: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    nodes: Option<Vec<AtNode<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_reached: Option<Vec<&'a NodeName>>,
}

#[derive(Serialize)]
struct ShownRelease<'a> {
    version: &'a PluginVersion,
    digest: PluginDigest,
    abi: &'a str,
    size: u64,
}

/// A plugin at a node; only the name of one that does not answer at once.
#[derive(Serialize)]
struct AtNode<'a> {
    node: &'a NodeName,
    wanted: Option<&'a PluginVersion>,
    #[serde(flatten)]
    standing: Option<&'a Standing>,
}

/// A version of a plugin, with how its calls went at each node that was reached.
#[derive(Serialize)]
struct OneRelease<'a> {
    #[serde(flatten)]
    release: ShownRelease<'a>,
    nodes: Vec<ReleaseAtNode<'a>>,
    not_reached: Vec<&'a NodeName>,
}

#[derive(Serialize)]
struct ReleaseAtNode<'a> {
    node: &'a NodeName,
    prepared: bool,
    active: bool,
    #[serde(flatten)]
    counts: Counts,
}

pub(super) type Standings = BTreeMap<NodeId, BTreeMap<PluginName, Standing>>;

/// All plugins.
pub(in crate::authority::api) async fn list(
    api: &AuthorityApi,
    asked: &Asked<'_>,
) -> Result<Response, Refusal> {
    let map = &asked.map;
    let standings = api.authority.standings(map).await;
    let plugins = map.plugins().iter();
    let plugins = plugins.map(|(name, plugin)| shown(name, plugin, &standings));
    let shown = Plugins {
        plugins: plugins.collect(),
        not_reached: not_reached(map, &standings),
    };
    // What is counted changes without the map: what is shown has no tag.
    render::json(StatusCode::OK, &shown)
}

/// A plugin, and how it stands at the nodes.
pub(in crate::authority::api) async fn show(
    api: &AuthorityApi,
    asked: &Asked<'_>,
    name: &PluginName,
) -> Result<Response, Refusal> {
    let map = &asked.map;
    let plugin = found(map, name)?;
    let standings = api.authority.standings(map).await;
    let nodes = map.nodes().iter().map(|(id, node)| AtNode {
        node: &node.identity.name,
        wanted: plugin.active.as_ref(),
        standing: standings.get(id).and_then(|at_node| at_node.get(name)),
    });
    let shown = Shown {
        nodes: Some(nodes.collect()),
        not_reached: Some(not_reached(map, &standings)),
        ..shown(name, plugin, &standings)
    };
    render::json(StatusCode::OK, &shown)
}

/// A version of a plugin, and how its calls went.
pub(super) async fn release(
    api: &AuthorityApi,
    asked: &Asked<'_>,
    name: &PluginName,
    release: (&PluginVersion, &Release),
) -> Result<Response, Refusal> {
    let (map, version) = (&asked.map, release.0);
    let standings = api.authority.standings(map).await;
    let at_node = |(id, node): (&NodeId, &Standing)| {
        Some(ReleaseAtNode {
            node: &map.node(*id)?.identity.name,
            prepared: node.prepared.contains(version),
            active: node.active.as_ref() == Some(version),
            counts: node.versions.get(version).cloned().unwrap_or_default(),
        })
    };
    let nodes = standings
        .iter()
        .filter_map(|(id, at_node)| Some((id, at_node.get(name)?)));
    let shown = OneRelease {
        release: shown_release(release),
        nodes: nodes.filter_map(at_node).collect(),
        not_reached: not_reached(map, &standings),
    };
    render::json(StatusCode::OK, &shown)
}

pub(super) fn not_reached<'a>(map: &'a Map, standings: &Standings) -> Vec<&'a NodeName> {
    let nodes = map.nodes().iter();
    let silent = nodes.filter(|(id, _)| !standings.contains_key(id));
    silent.map(|(_, node)| &node.identity.name).collect()
}

fn shown<'a>(name: &'a PluginName, plugin: &'a Plugin, standings: &Standings) -> Shown<'a> {
    let at_nodes = || standings.values().filter_map(|at_node| at_node.get(name));
    Shown {
        name,
        kind: plugin.kind,
        active: plugin.active.as_ref(),
        previous: plugin.previous.as_ref(),
        since: plugin.since,
        on_probation: plugin.on_probation,
        quarantined: plugin.quarantine.as_ref(),
        withdrawn: plugin.withdrawn.as_ref(),
        shadow: plugin.shadow.as_ref(),
        versions: plugin.releases.iter().map(shown_release).collect(),
        calls: at_nodes().map(|standing| standing.calls).sum(),
        failures: at_nodes().map(|standing| standing.failures).sum(),
        nodes: None,
        not_reached: None,
    }
}

fn shown_release<'a>((version, release): (&'a PluginVersion, &'a Release)) -> ShownRelease<'a> {
    let Release { digest, abi, size } = release;
    ShownRelease {
        version,
        digest: *digest,
        abi,
        size: *size,
    }
}
