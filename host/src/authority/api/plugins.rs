//! These are the routes of plugins: how versions come, take over and go, and which there are.

mod shadow;
mod shown;

pub(super) use shadow::on_shadow;
pub(super) use shown::{list, show};

use super::refusal::Refusal;
use super::{Asked, AuthorityApi, condition, config, is_read, render};
use crate::authority::Authority;
use crate::authority::command::{Command, Done};
use crate::authority::push::{PushError, Pushed};
use crate::network::{Body, RequestBody, Response};
use crate::plugin::limits::{COMPONENT_BYTES_MAX, PROBATION_TIME};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde::Deserialize;
use serde_json::json;
use soros_core::epoch::Epoch;
use soros_core::map::Map;
use soros_core::map::change::ChangeError;
use soros_core::map::plugin::{Plugin, PluginDigest, PluginName, PluginVersion, Release};

const WASM: &str = "application/wasm";
/// How many bytes the body of an activation may have.
const NOTHING_BYTES_MAX: usize = 1 << 10;

fn found<'a>(map: &'a Map, name: &PluginName) -> Result<&'a Plugin, Refusal> {
    let plugin = map.plugin(name);
    plugin.ok_or_else(|| Refusal::PluginNotFound(name.to_string()))
}

/// A version of a plugin.
pub(super) async fn on_release(
    api: &AuthorityApi,
    asked: &Asked<'_>,
    body: RequestBody,
    name: &PluginName,
    version: &PluginVersion,
) -> Result<Response, Refusal> {
    match asked.parts.method {
        ref method if is_read(method) => show_release(api, asked, name, version).await,
        Method::PUT => push(api, asked, body, name, version).await,
        _ => {
            let (name, version) = (name.clone(), version.clone());
            let command = Command::DropRelease { name, version };
            render::deleted(&api.propose(asked, command).await?)
        }
    }
}

async fn show_release(
    api: &AuthorityApi,
    asked: &Asked<'_>,
    name: &PluginName,
    version: &PluginVersion,
) -> Result<Response, Refusal> {
    let plugin = found(&asked.map, name)?;
    let missing = || Refusal::PluginNotFound(format!("{name}@{version}"));
    let release = plugin.releases.get_key_value(version).ok_or_else(missing)?;
    if wants_bytes(&asked.parts.headers) {
        return bytes(&api.authority, release.1.digest)
            .await
            .ok_or_else(missing);
    }
    shown::release(api, asked, name, release).await
}

fn wants_bytes(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.split([',', ';']).any(|kind| kind.trim() == WASM))
}

async fn bytes(authority: &Authority, digest: PluginDigest) -> Option<Response> {
    let component = authority.component(digest).await?;
    let mut response = Response::new(Body::full(component));
    let wasm = HeaderValue::from_static(WASM);
    response.headers_mut().insert(CONTENT_TYPE, wasm);
    Some(response)
}

async fn push(
    api: &AuthorityApi,
    asked: &Asked<'_>,
    body: RequestBody,
    name: &PluginName,
    version: &PluginVersion,
) -> Result<Response, Refusal> {
    let only_at = only_at(asked)?;
    let _room = api.authority.begin_push()?;
    let component = body.collect(COMPONENT_BYTES_MAX).await?;
    let pushed = api.authority.push(name, version, component, only_at).await;
    let Pushed { admitted, done } = pushed.map_err(|error| match error {
        PushError::Command(error) => Refusal::Command(error),
        error => Refusal::Push(error),
    })?;
    let Release { digest, abi, size } = &admitted.release;
    let shown = json!({
        "name": name, "version": version, "kind": admitted.kind, "digest": digest, "abi": abi,
        "size": size, "checks": admitted.checks,
    });
    render::put(&shown, &done)
}

fn only_at(asked: &Asked<'_>) -> Result<Option<Epoch>, Refusal> {
    let now = asked.map.epoch();
    let only_at = condition::only_at(&asked.parts.headers, now)?;
    Ok(only_at.map(|condition| condition.epoch(now)))
}

/// Which version is to come into force.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Activation {
    version: PluginVersion,
    #[serde(default)]
    dry_run: bool,
}

/// Another version comes into force.
pub(super) async fn activate(
    api: &AuthorityApi,
    asked: &Asked<'_>,
    body: RequestBody,
    name: PluginName,
) -> Result<Response, Refusal> {
    let Activation { version, dry_run } = config(body).await?;
    if dry_run {
        return show_dry_run(api, asked, &name, &version).await;
    }
    let version = Some(version);
    activated(
        api.propose(asked, Command::Activate { name, version })
            .await?,
    )
}

/// What an activation would change; nothing is.
async fn show_dry_run(
    api: &AuthorityApi,
    asked: &Asked<'_>,
    name: &PluginName,
    version: &PluginVersion,
) -> Result<Response, Refusal> {
    let now = asked.map.epoch();
    if let Some(expected) = only_at(asked)?.filter(|expected| *expected != now) {
        let moved = ChangeError::Moved { expected, now };
        return Err(Refusal::Command(moved.into()));
    }
    let _room = api.authority.begin_dry_run()?;
    let outcome = api.authority.dry_run(&asked.map, name, version).await?;
    render::json(StatusCode::OK, &outcome)
}

/// The version before comes into force again.
pub(super) async fn rollback(
    api: &AuthorityApi,
    asked: &Asked<'_>,
    body: RequestBody,
    name: PluginName,
) -> Result<Response, Refusal> {
    let body = body.collect(NOTHING_BYTES_MAX).await?;
    if !body.is_empty() {
        serde_json::from_slice::<Nothing>(&body).map_err(Refusal::Json)?;
    }
    let version = None;
    activated(
        api.propose(asked, Command::Activate { name, version })
            .await?,
    )
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

fn activated(done: Done) -> Result<Response, Refusal> {
    let Done {
        epoch,
        ready,
        version,
        not_ready,
        on_probation,
        ..
    } = done;
    let ready: Vec<_> = ready
        .into_iter()
        .filter(|node| !not_ready.contains(node))
        .collect();
    let probation = on_probation.then_some(PROBATION_TIME.as_secs());
    let mut shown = json!({
        "epoch": epoch, "version": version, "ready": ready, "probation_seconds": probation,
    });
    if !not_ready.is_empty() {
        shown["not_ready"] = json!(not_ready);
    }
    render::configured(&shown, epoch)
}
