//! This is the route of the map, which waits for a newer one if asked to.

use super::refusal::Refusal;
use super::{Asked, AuthorityApi, render};
use crate::network::Response;
use http::StatusCode;
use serde::Serialize;
use soros_core::epoch::Epoch;
use soros_core::id::{BucketName, ClusterId, NodeId, PlacementName};
use soros_core::map::Map;
use soros_core::map::bucket::Bucket;
use soros_core::map::node::Node;
use soros_core::map::placement::Placement;
use soros_core::map::plugin::{Plugin, PluginName};
use soros_core::map::settings::Settings;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::timeout;

/// The longest that a request may wait, in seconds.
const WAIT_SECONDS_MAX: u64 = 600;
/// How long a request waits that does not say how long, in seconds.
const WAIT_SECONDS_DEFAULT: u64 = 30;

/// All of a map but its secret.
#[derive(Serialize)]
struct Shown<'a> {
    cluster: ClusterId,
    name: &'a str,
    epoch: Epoch,
    nodes: &'a BTreeMap<NodeId, Node>,
    buckets: &'a BTreeMap<BucketName, Bucket>,
    placements: &'a BTreeMap<PlacementName, Placement>,
    plugins: &'a BTreeMap<PluginName, Plugin>,
    settings: &'a Settings,
}

/// The map, or a newer one.
pub(super) async fn on_map(api: &AuthorityApi, asked: &Asked<'_>) -> Result<Response, Refusal> {
    let newer_than = asked.query.number("newer_than", u64::MAX)?.map(Epoch);
    let seconds = asked.query.number("timeout", WAIT_SECONDS_MAX)?;
    let now = asked.map.epoch();
    match (newer_than, seconds) {
        (None, Some(_)) => Err(Refusal::Parameter("timeout", "has no meaning here alone")),
        (None, None) => show(&asked.map),
        (Some(known), _) if known < now => show(&asked.map),
        (Some(known), seconds) => {
            wait(
                api,
                known,
                Duration::from_secs(seconds.unwrap_or(WAIT_SECONDS_DEFAULT)),
            )
            .await
        }
    }
}

async fn wait(api: &AuthorityApi, known: Epoch, limit: Duration) -> Result<Response, Refusal> {
    let Ok(_place) = api.waiting.try_acquire() else {
        return Err(Refusal::TooManyWait);
    };
    let keeper = api.authority.keeper();
    let newer = timeout(limit, keeper.newer_than(known));
    let mut shutdown = api.shutdown.clone();
    tokio::select! {
        newer = newer => match newer {
            Ok(map) => show(&map),
            Err(_) => Ok(render::empty(StatusCode::NOT_MODIFIED, keeper.epoch())),
        },
        () = shutdown.wait() => Err(Refusal::ShuttingDown),
    }
}

fn show(map: &Map) -> Result<Response, Refusal> {
    let shown = Shown {
        cluster: map.cluster(),
        name: map.name(),
        epoch: map.epoch(),
        nodes: map.nodes(),
        buckets: map.buckets(),
        placements: map.placements(),
        plugins: map.plugins(),
        settings: map.settings(),
    };
    render::configured(&shown, map.epoch())
}
