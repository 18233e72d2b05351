//! This is how answers about the map look: JSON, with the epoch they were given under.

use super::refusal::Refusal;
use crate::authority::command::Done;
use crate::network::{Body, Response};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderName};
use http::{HeaderValue, Method, StatusCode};
use serde::Serialize;
use soros_core::epoch::Epoch;
use soros_core::id::NodeName;

const SOROS_EPOCH: HeaderName = HeaderName::from_static("soros-epoch");

/// `value` as the answer.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Result<Response, Refusal> {
    let bytes = serde_json::to_vec(value).map_err(Refusal::Render)?;
    let mut response = Response::new(Body::full(bytes));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    Ok(response)
}

/// A configuration as it was read under `epoch`.
pub(super) fn configured(config: &impl Serialize, epoch: Epoch) -> Result<Response, Refusal> {
    Ok(tagged(json(StatusCode::OK, config)?, epoch))
}

/// A configuration that was put, as it is in force now.
pub(super) fn put(config: &impl Serialize, done: &Done) -> Result<Response, Refusal> {
    let status = if done.created {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let effective = Effective {
        config,
        not_ready: &done.not_ready,
    };
    Ok(tagged(json(status, &effective)?, done.epoch))
}

/// The answer to a deletion: nothing, unless there are nodes that do not know of it yet.
pub(super) fn deleted(done: &Done) -> Result<Response, Refusal> {
    if done.not_ready.is_empty() {
        return Ok(empty(StatusCode::NO_CONTENT, done.epoch));
    }
    let late = serde_json::json!({ "not_ready": done.not_ready });
    Ok(tagged(json(StatusCode::OK, &late)?, done.epoch))
}

/// What is in force, and where not yet.
#[derive(Serialize)]
struct Effective<'a, C> {
    #[serde(flatten)]
    config: &'a C,
    #[serde(skip_serializing_if = "<[NodeName]>::is_empty")]
    not_ready: &'a [NodeName],
}

/// An answer without a body.
pub(super) fn empty(status: StatusCode, epoch: Epoch) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    tagged(response, epoch)
}

fn tagged(mut response: Response, epoch: Epoch) -> Response {
    let headers = response.headers_mut();
    headers.insert(SOROS_EPOCH, epoch.0.into());
    // Digits between quotes are a header's value.
    if let Ok(tag) = HeaderValue::try_from(format!("\"{epoch}\"")) {
        headers.insert(ETAG, tag);
    }
    response
}

/// The answer with the epoch that it was given under, and without its body if only its head was
/// asked for.
pub(super) fn finish(mut response: Response, method: &Method, epoch: Epoch) -> Response {
    if epoch != Epoch::NONE {
        response
            .headers_mut()
            .entry(SOROS_EPOCH)
            .or_insert(epoch.0.into());
    }
    if *method != Method::HEAD {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let has_length = parts.status != StatusCode::NOT_MODIFIED;
    if let Some(bytes) = body.bytes().filter(|_| has_length) {
        parts.headers.insert(CONTENT_LENGTH, bytes.len().into());
    }
    Response::from_parts(parts, Body::empty())
}
