//! This is the route of a plugin's shadow: which version runs beside the one in force, on how many
//! calls, and what its answers come to.

use super::shown::not_reached;
use super::{found, show_dry_run};
use crate::authority::ShadowStanding;
use crate::authority::api::refusal::Refusal;
use crate::authority::api::{Asked, AuthorityApi, config, is_read, render};
use crate::authority::command::Command;
use crate::network::{Body, RequestBody, Response};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderValue, Method, StatusCode};
use serde::{Deserialize, Serialize};
use soros_core::id::NodeName;
use soros_core::map::plugin::{PluginKind, PluginName, PluginVersion, Sample, Shadow};
use std::collections::BTreeMap;

const CAPTURES: &str = "application/x-ndjson";

/// What is to run in shadow.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    version: PluginVersion,
    #[serde(default = "all")]
    sample: Sample,
}

fn all() -> Sample {
    Sample::ALL
}

#[derive(Serialize)]
struct Shown<'a> {
    version: &'a PluginVersion,
    sample: Sample,
    compared: u64,
    differed: u64,
    failures: BTreeMap<&'a str, u64>,
    dropped: u64,
    nodes: Vec<AtNode<'a>>,
    not_reached: Vec<&'a NodeName>,
}

#[derive(Serialize)]
struct AtNode<'a> {
    node: &'a NodeName,
    #[serde(flatten)]
    standing: &'a ShadowStanding,
}

/// Shows, starts or stops the shadow of a plugin.
pub(in crate::authority::api) async fn on_shadow(
    api: &AuthorityApi,
    asked: &Asked<'_>,
    body: RequestBody,
    name: PluginName,
) -> Result<Response, Refusal> {
    match asked.parts.method {
        ref method if is_read(method) => show(api, asked, &name).await,
        Method::PUT => {
            let Wanted { version, sample } = config(body).await?;
            let shadow = Shadow { version, sample };
            let command = Command::PutShadow {
                name,
                shadow: Some(shadow.clone()),
            };
            render::put(&shadow, &api.propose(asked, command).await?)
        }
        _ => {
            let shadow = None;
            let command = Command::PutShadow { name, shadow };
            render::deleted(&api.propose(asked, command).await?)
        }
    }
}

async fn show(
    api: &AuthorityApi,
    asked: &Asked<'_>,
    name: &PluginName,
) -> Result<Response, Refusal> {
    let (map, plugin) = (&asked.map, found(&asked.map, name)?);
    let missing =
        || Refusal::PluginNotFound(format!("{name}` with a shadow, or of the name `{name}"));
    let shadow = plugin.shadow.as_ref().ok_or_else(missing)?;
    if plugin.kind == PluginKind::Placement {
        // Placements are hardly ever asked: what the tables would be is found out now.
        return show_dry_run(api, asked, name, &shadow.version).await;
    }
    let accept = asked.parts.headers.get(ACCEPT);
    if accept.is_some_and(|accept| accept.as_bytes() == CAPTURES.as_bytes()) {
        let lines = api.authority.captures(map, name).await;
        let text: String = lines.into_iter().map(|line| line + "\n").collect();
        let mut response = Response::new(Body::full(text));
        let kind = HeaderValue::from_static(CAPTURES);
        response.headers_mut().insert(CONTENT_TYPE, kind);
        return Ok(response);
    }
    let standings = api.authority.standings(map).await;
    let mut nodes = Vec::new();
    for (id, node) in map.nodes() {
        let plugins = standings.get(id);
        let standing = plugins.and_then(|plugins| plugins.get(name)?.shadow.as_ref());
        let node = &node.identity.name;
        nodes.extend(standing.map(|standing| AtNode { node, standing }));
    }
    let sum = |of: fn(&ShadowStanding) -> u64| nodes.iter().map(|node| of(node.standing)).sum();
    let mut failures = BTreeMap::new();
    for (cause, count) in nodes.iter().flat_map(|node| &node.standing.failures) {
        *failures.entry(cause.as_str()).or_default() += count;
    }
    let shown = Shown {
        version: &shadow.version,
        sample: shadow.sample,
        compared: sum(|standing| standing.compared),
        differed: sum(|standing| standing.differed),
        failures,
        dropped: sum(|standing| standing.dropped),
        not_reached: not_reached(map, &standings),
        nodes,
    };
    render::json(StatusCode::OK, &shown)
}
