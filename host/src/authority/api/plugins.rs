//! This is the route that lists the plugins of the map.

use super::refusal::Refusal;
use super::render;
use crate::network::Response;
use serde::Serialize;
use soros_core::map::Map;
use soros_core::map::plugin::{
    Plugin, PluginDigest, PluginKind, PluginName, PluginVersion, Release,
};

#[derive(Serialize)]
struct Plugins<'a> {
    plugins: Vec<Shown<'a>>,
}

#[derive(Serialize)]
struct Shown<'a> {
    name: &'a PluginName,
    kind: PluginKind,
    active: &'a PluginVersion,
    versions: Vec<ShownRelease<'a>>,
}

#[derive(Serialize)]
struct ShownRelease<'a> {
    version: &'a PluginVersion,
    digest: PluginDigest,
    abi: &'a str,
    size: u64,
}

/// All plugins.
pub(super) fn list(map: &Map) -> Result<Response, Refusal> {
    let plugins = map
        .plugins()
        .iter()
        .map(|(name, plugin)| shown(name, plugin))
        .collect();
    render::configured(&Plugins { plugins }, map.epoch())
}

fn shown<'a>(name: &'a PluginName, plugin: &'a Plugin) -> Shown<'a> {
    let release = |(version, release): (&'a PluginVersion, &'a Release)| {
        let Release { digest, abi, size } = release;
        ShownRelease {
            version,
            digest: *digest,
            abi,
            size: *size,
        }
    };
    Shown {
        name,
        kind: plugin.kind,
        active: &plugin.active,
        versions: plugin.releases.iter().map(release).collect(),
    }
}
