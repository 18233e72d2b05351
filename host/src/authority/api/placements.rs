//! These are the routes of placements.

use super::refusal::Refusal;
use super::{Asked, AuthorityApi, config, is_read, render};
use crate::authority::command::{Command, CommandError};
use crate::network::{RequestBody, Response};
use http::Method;
use serde::Serialize;
use soros_core::id::PlacementName;
use soros_core::map::Map;
use soros_core::map::change::ChangeError;
use soros_core::map::placement::{Placement, PlacementConfig};

#[derive(Serialize)]
struct Placements<'a> {
    placements: Vec<Named<'a>>,
}

#[derive(Serialize)]
struct Named<'a> {
    name: &'a PlacementName,
    #[serde(flatten)]
    config: &'a PlacementConfig,
}

/// All placements.
pub(super) fn list(map: &Map) -> Result<Response, Refusal> {
    let named = |(name, placement)| {
        let placement: &Placement = placement;
        Named {
            name,
            config: &placement.config,
        }
    };
    let placements = map.placements().iter().map(named).collect();
    render::configured(&Placements { placements }, map.epoch())
}

/// One placement.
pub(super) async fn on_placement(
    api: &AuthorityApi,
    asked: &Asked<'_>,
    body: RequestBody,
    name: &PlacementName,
) -> Result<Response, Refusal> {
    match asked.parts.method {
        ref method if is_read(method) => show(asked, name),
        Method::PUT => put(api, asked, name, config(body).await?).await,
        _ => {
            let command = Command::DeletePlacement { name: name.clone() };
            let done = api.propose(asked, command).await?;
            render::deleted(&done)
        }
    }
}

fn show(asked: &Asked<'_>, name: &PlacementName) -> Result<Response, Refusal> {
    let placement = asked.map.placement(name);
    let placement = placement.ok_or_else(|| Refusal::PlacementNotFound(name.clone()))?;
    render::configured(&placement.config, asked.map.epoch())
}

async fn put(
    api: &AuthorityApi,
    asked: &Asked<'_>,
    name: &PlacementName,
    config: PlacementConfig,
) -> Result<Response, Refusal> {
    config
        .check()
        .map_err(|problems| CommandError::from(ChangeError::BadConfig(problems)))?;
    let command = Command::PutPlacement {
        name: name.clone(),
        config: config.clone(),
    };
    let done = api.propose(asked, command).await?;
    render::put(&config, &done)
}
