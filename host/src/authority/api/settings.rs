//! This is the route of the cluster's settings.

use super::refusal::Refusal;
use super::{Asked, AuthorityApi, config, is_read, render};
use crate::authority::command::{Command, CommandError};
use crate::network::{RequestBody, Response};
use soros_core::map::change::ChangeError;
use soros_core::map::settings::Settings;

/// The settings.
pub(super) async fn on_settings(
    api: &AuthorityApi,
    asked: &Asked<'_>,
    body: RequestBody,
) -> Result<Response, Refusal> {
    if is_read(&asked.parts.method) {
        return render::configured(asked.map.settings(), asked.map.epoch());
    }
    let settings: Settings = config(body).await?;
    settings
        .check()
        .map_err(|problems| CommandError::from(ChangeError::BadConfig(problems)))?;
    let done = api
        .propose(asked, Command::PutSettings(settings.clone()))
        .await?;
    render::put(&settings, &done)
}
