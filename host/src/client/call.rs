//! This is one request before it is sent, the answer to it, and the rule by which a failed one goes
//! to the next node: a read always, a write only when it was certainly not applied.

use super::Limits;
use super::error::{BadAnswer, ClientError, Refusal};
use super::origin::Origin;
use super::url::NodeUrl;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, IntoHeaderName};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde::de::DeserializeOwned;
use std::sync::Arc;
use tokio::time::Instant;

/// Whether a request may be sent twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// It changes nothing.
    Read,
    /// It changes something, so it must not be sent again while its outcome is unknown.
    Write,
}

/// A request, not yet bound to a node.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) target: PathAndQuery,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Call {
    /// A request of `method` for `path`, which is percent-encoded already.
    pub(super) fn new(method: Method, path: &str) -> Call {
        // What is not percent-encoded right would be our bug; such a path is answered with 404.
        let target = path
            .parse()
            .unwrap_or_else(|_| PathAndQuery::from_static("/"));
        Call {
            method,
            target,
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }
    }

    pub(super) fn header(mut self, name: impl IntoHeaderName, value: HeaderValue) -> Call {
        self.headers.insert(name, value);
        self
    }

    pub(super) fn json(mut self, body: Bytes) -> Call {
        self.body = body;
        self.header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
    }

    pub(super) fn intent(&self) -> Intent {
        if self.method.is_safe() {
            Intent::Read
        } else {
            Intent::Write
        }
    }

    /// Sends the request to the first of `origins`, and to the others while that is safe and helps.
    pub(super) async fn send(
        &self,
        origins: impl Iterator<Item = Arc<Origin>>,
        limits: &Limits,
    ) -> Result<Answer, Option<ClientError>> {
        let deadline = Instant::now() + limits.whole;
        let mut failure: Option<ClientError> = None;
        for origin in origins {
            let until = deadline.min(Instant::now() + limits.attempt);
            let error = match origin.exchange(self, limits, until).await {
                Ok(answer) if answer.status.as_u16() < 400 => return Ok(answer),
                Ok(answer) => ClientError::from(Box::new(Refusal::of(answer))),
                Err(error) => error,
            };
            let goes_on = error.is_worth_another_node(self.intent());
            failure = Some(match failure {
                Some(before) if goes_on => before.or_more_telling(error),
                _ => error,
            });
            if !goes_on || deadline <= Instant::now() {
                break;
            }
        }
        Err(failure)
    }
}

/// What a node answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The node.
    pub url: NodeUrl,
    /// The status, below 400.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl Answer {
    /// The value of a header, if it is there and visible ASCII.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body, read as JSON.
    ///
    /// # Errors
    /// [`ClientError::BadAnswer`] when it is not such JSON.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        serde_json::from_slice(&self.body).map_err(|error| self.bad(BadAnswer::NotJson(error)))
    }

    pub(super) fn bad(&self, what: BadAnswer) -> ClientError {
        ClientError::BadAnswer {
            url: self.url.clone(),
            what,
        }
    }
}
