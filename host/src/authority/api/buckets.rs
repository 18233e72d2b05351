//! These are the routes of buckets.

use super::refusal::Refusal;
use super::{Asked, AuthorityApi, config, is_read, render};
use crate::authority::command::{Command, CommandError, Keys};
use crate::network::{RequestBody, Response};
use http::Method;
use serde::Serialize;
use soros_core::id::BucketName;
use soros_core::map::Map;
use soros_core::map::bucket::{BucketConfig, Consistency};
use soros_core::map::change::ChangeError;

#[derive(Serialize)]
struct Buckets<'a> {
    buckets: Vec<Named<'a>>,
}

#[derive(Serialize)]
struct Named<'a> {
    name: &'a BucketName,
    #[serde(flatten)]
    config: &'a BucketConfig,
}

/// All buckets.
pub(super) fn list(map: &Map) -> Result<Response, Refusal> {
    let named = |(name, bucket)| {
        let bucket: &soros_core::map::bucket::Bucket = bucket;
        Named {
            name,
            config: &bucket.config,
        }
    };
    let buckets = map.buckets().iter().map(named).collect();
    render::configured(&Buckets { buckets }, map.epoch())
}

/// One bucket.
pub(super) async fn on_bucket(
    api: &AuthorityApi,
    asked: &Asked<'_>,
    body: RequestBody,
    name: &BucketName,
) -> Result<Response, Refusal> {
    match asked.parts.method {
        ref method if is_read(method) => show(asked, name),
        Method::PUT => put(api, asked, name, config(body).await?).await,
        _ => delete(api, asked, name).await,
    }
}

fn show(asked: &Asked<'_>, name: &BucketName) -> Result<Response, Refusal> {
    let bucket = asked.map.bucket(name);
    let bucket = bucket.ok_or_else(|| Refusal::BucketNotFound(name.clone()))?;
    render::configured(&bucket.config, asked.map.epoch())
}

async fn put(
    api: &AuthorityApi,
    asked: &Asked<'_>,
    name: &BucketName,
    config: BucketConfig,
) -> Result<Response, Refusal> {
    config
        .check()
        .map_err(|problems| CommandError::from(ChangeError::BadConfig(problems)))?;
    refuse_unbuilt(&config)?;
    let command = Command::PutBucket {
        name: name.clone(),
        config: config.clone(),
    };
    let done = api.propose(asked, command).await?;
    render::put(&config, &done)
}

/// Refuses what a bucket may have one day.
fn refuse_unbuilt(config: &BucketConfig) -> Result<(), Refusal> {
    let unbuilt = [
        (
            config.consistency == Consistency::Strong,
            "`\"consistency\": \"strong\"`",
        ),
        (config.default_ttl.is_some(), "A bucket with `default_ttl`"),
        (config.quota_bytes.is_some(), "A bucket with `quota_bytes`"),
    ];
    match unbuilt.into_iter().find(|(asked, _)| *asked) {
        Some((_, what)) => Err(Refusal::NotBuilt(what)),
        None => Ok(()),
    }
}

async fn delete(
    api: &AuthorityApi,
    asked: &Asked<'_>,
    name: &BucketName,
) -> Result<Response, Refusal> {
    let keys = if asked.query.flag("purge")? {
        Keys::Purge
    } else {
        Keys::Keep
    };
    let command = Command::DeleteBucket {
        name: name.clone(),
        keys,
    };
    let done = api.propose(asked, command).await?;
    render::deleted(&done)
}
