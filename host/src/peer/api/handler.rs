//! This is the handler of key-value requests: it parses, asks the node, and renders.

use super::coordinates::{Coordinates, Readiness};
use super::headers::{self, Operation, ReadHeaders, WriteHeaders};
use super::path::{self, Route};
use super::refusal::Refusal;
use super::render::{self, About, SOROS_EPOCH};
use crate::network::{Body, BoxFuture, HttpService, Request, RequestBody, Response};
use http::header::{CONTENT_LENGTH, LOCATION};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};
use percent_encoding::{CONTROLS, utf8_percent_encode};
use soros_core::dot_set::DotSet;
use soros_core::id::BucketName;
use soros_core::key::{Key, Partition};
use soros_core::limits::VALUE_BYTES_MAX;
use soros_core::map::Map;
use soros_core::map::bucket::{Bucket, BucketState, Consistency};
use soros_core::object::Value;
use soros_core::operation::{Basis, OperationError, ReadRequest, Target, WriteRequest};
use soros_core::place::{Entry, Place};
use std::sync::Arc;

/// The key-value API of a node.
pub struct KeyValueApi<C> {
    node: Arc<C>,
}

static KEY_METHODS: [Method; 4] = [Method::GET, Method::HEAD, Method::PUT, Method::DELETE];
static READ_METHODS: [Method; 2] = [Method::GET, Method::HEAD];
static POST_METHODS: [Method; 1] = [Method::POST];

impl<C: Coordinates> KeyValueApi<C> {
    /// The key-value API of `node`.
    #[must_use]
    pub fn new(node: Arc<C>) -> KeyValueApi<C> {
        KeyValueApi { node }
    }

    /// Whether a path is of this API.
    #[must_use]
    pub fn serves(path: &str) -> bool {
        Route::of(path).is_some()
    }
}

impl<C: Coordinates> HttpService for KeyValueApi<C> {
    fn call(&self, request: Request) -> BoxFuture<'static, Response> {
        let node = self.node.clone();
        Box::pin(async move { answer(&*node, request).await })
    }
}

/// A key that a request is about, found on the map.
struct Found<'a> {
    map: &'a Map,
    bucket: &'a Bucket,
    target: Target,
}

async fn answer<C: Coordinates>(node: &C, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let (epoch, answer) = match node.readiness() {
        Readiness::Starting => (None, Err(Refusal::Starting)),
        Readiness::ShuttingDown => (None, Err(Refusal::ShuttingDown)),
        Readiness::Serving(map) => (
            Some(map.epoch()),
            on_request(node, &map, &parts, body).await,
        ),
    };
    let mut response = answer.unwrap_or_else(|refusal| {
        tracing::debug!(%refusal, method = %parts.method, "a key-value request was refused");
        refusal.problem().into_response()
    });
    if let Some(epoch) = epoch {
        response.headers_mut().insert(SOROS_EPOCH, epoch.0.into());
    }
    if parts.method == Method::HEAD {
        without_body(response)
    } else {
        response
    }
}

async fn on_request<C: Coordinates>(
    node: &C,
    map: &Map,
    parts: &Parts,
    body: RequestBody,
) -> Result<Response, Refusal> {
    let method = &parts.method;
    let route = Route::of(parts.uri.path()).ok_or(Refusal::NoSuchRoute)?;
    if !matches!(route, Route::Key { .. }) {
        headers::check_known(&parts.headers)?;
    }
    match route {
        Route::Batch => Err(unbuilt(method, &POST_METHODS, "`POST /v1/batch`")),
        Route::Watch { bucket } => {
            path::bucket(bucket)?;
            Err(unbuilt(method, &READ_METHODS, "`GET /v1/watch/{bucket}`"))
        }
        Route::Bucket { bucket } => {
            path::bucket(bucket)?;
            Err(unbuilt(method, &READ_METHODS, "`GET /v1/kv/{bucket}`"))
        }
        Route::Key { bucket, key } => {
            let operation = operation(method)?;
            let (bucket, key) = (path::bucket(bucket)?, path::key(key)?);
            path::no_parameters(parts.uri.query())?;
            match operation {
                Operation::Read => {
                    let headers = ReadHeaders::of(&parts.headers)?;
                    let found = Found::of(map, &bucket, key)?;
                    found.on_read(node, parts.uri.path(), &headers).await
                }
                Operation::Put | Operation::Delete => {
                    let headers = WriteHeaders::of(&parts.headers, operation)?;
                    let found = Found::of(map, &bucket, key)?;
                    found.check_writable(&bucket)?;
                    let write = Write {
                        operation,
                        headers,
                        body,
                    };
                    found.on_write(node, parts.uri.path(), write).await
                }
            }
        }
    }
}

fn unbuilt(method: &Method, methods: &'static [Method], what: &'static str) -> Refusal {
    if methods.contains(method) {
        Refusal::NotBuilt(what)
    } else {
        Refusal::Method(methods)
    }
}

fn operation(method: &Method) -> Result<Operation, Refusal> {
    match *method {
        Method::GET | Method::HEAD => Ok(Operation::Read),
        Method::PUT => Ok(Operation::Put),
        Method::DELETE => Ok(Operation::Delete),
        _ => Err(Refusal::Method(&KEY_METHODS)),
    }
}

/// A write or delete as it came.
struct Write {
    operation: Operation,
    headers: WriteHeaders,
    body: RequestBody,
}

impl<'a> Found<'a> {
    fn of(map: &'a Map, name: &BucketName, key: Key) -> Result<Found<'a>, Refusal> {
        let missing = || Refusal::BucketNotFound(name.clone());
        let bucket = map.bucket(name).ok_or_else(missing)?;
        let placement = map.placement_of(bucket).ok_or_else(missing)?;
        if bucket.config.consistency == Consistency::Strong {
            return Err(Refusal::NotBuilt(
                "a bucket with \"consistency\": \"strong\"",
            ));
        }
        let partition = Partition::of(&key, placement.partitions());
        let place = Place {
            placement: placement.id,
            partition,
        };
        let target = Target {
            place,
            entry: Entry {
                bucket: bucket.id,
                key,
            },
        };
        Ok(Found {
            map,
            bucket,
            target,
        })
    }

    /// A bucket takes no write while it is being deleted, and none whose promise could not be kept:
    /// a newer program may have configured what this one does not have.
    fn check_writable(&self, name: &BucketName) -> Result<(), Refusal> {
        let config = &self.bucket.config;
        if self.bucket.state == BucketState::Closing {
            Err(Refusal::BucketClosing(name.clone()))
        } else if config.default_ttl.is_some() {
            Err(Refusal::NotBuilt("a bucket with a `default_ttl`"))
        } else if config.quota_bytes.is_some() {
            Err(Refusal::NotBuilt("a bucket with a quota"))
        } else {
            Ok(())
        }
    }

    async fn on_read<C: Coordinates>(
        &self,
        node: &C,
        path: &str,
        headers: &ReadHeaders,
    ) -> Result<Response, Refusal> {
        // A read shows all there is, whatever the client had seen: its token is only checked.
        self.context(headers.options.token.as_deref())?;
        if let Some(elsewhere) = self.elsewhere(node, path, headers.options.redirect) {
            return Ok(elsewhere);
        }
        let (target, consistency) = (self.target.clone(), headers.options.consistency);
        let answer = node
            .read(ReadRequest {
                target,
                consistency,
            })
            .await;
        let answer = answer.map_err(|error| self.refused(Operation::Read, error))?;
        let resolve = || node.resolve(self.map, &self.target, &answer.object);
        Ok(render::read(self.about(), headers, &answer, resolve))
    }

    async fn on_write<C: Coordinates>(
        &self,
        node: &C,
        path: &str,
        write: Write,
    ) -> Result<Response, Refusal> {
        let Write {
            operation,
            headers,
            body,
        } = write;
        let basis = self.basis(&headers)?;
        if let Some(elsewhere) = self.elsewhere(node, path, headers.options.redirect) {
            return Ok(elsewhere);
        }
        let value = match operation {
            Operation::Put => Some(self.value(&headers, body).await?),
            Operation::Delete | Operation::Read => None,
        };
        let (target, consistency) = (self.target.clone(), headers.options.consistency);
        let request = WriteRequest {
            target,
            value,
            basis,
            consistency,
        };
        let answer = node.write(request).await;
        let answer = answer.map_err(|error| self.refused(operation, error))?;
        Ok(render::written(self.about(), operation, &answer))
    }

    async fn value(&self, headers: &WriteHeaders, body: RequestBody) -> Result<Value, Refusal> {
        let limit = usize::try_from(self.bucket.config.max_value_bytes).unwrap_or(VALUE_BYTES_MAX);
        let bytes = body.collect(limit.min(VALUE_BYTES_MAX)).await?;
        Ok(Value {
            bytes: bytes.as_ref().into(),
            content_type: headers.description.media_type().to_owned(),
            content_encoding: headers.description.content_encoding.clone(),
            meta: headers.description.meta.clone(),
        })
    }

    /// What the client says it has seen. With a resolver a blind write is like any other.
    fn basis(&self, headers: &WriteHeaders) -> Result<Basis, Refusal> {
        Ok(match self.context(headers.options.token.as_deref())? {
            Some(seen) => Basis::Seen(seen),
            None if headers.blind && self.bucket.config.resolver.is_none() => Basis::Blind,
            None => Basis::Unsaid,
        })
    }

    fn context(&self, token: Option<&[u8]>) -> Result<Option<DotSet>, Refusal> {
        let open = |token| self.map.token_key().open(&self.target.entry, token);
        Ok(token.map(open).transpose()?)
    }

    /// The answer that sends the client to a replica, when it wants that and there is need for it.
    fn elsewhere<C: Coordinates>(&self, node: &C, path: &str, redirect: bool) -> Option<Response> {
        if !redirect {
            return None;
        }
        let replica = self.map.node(node.elsewhere(&self.target)?)?;
        let url = replica.identity.url.trim_end_matches('/');
        let location = format!("{url}{}", utf8_percent_encode(path, CONTROLS));
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
        response
            .headers_mut()
            .insert(LOCATION, HeaderValue::try_from(location).ok()?);
        Some(response)
    }

    fn refused(&self, asked: Operation, error: OperationError) -> Refusal {
        let context = match &error {
            OperationError::ContextRequired { context }
            | OperationError::TooManySiblings { context } => Some(self.about().token(context)),
            _ => None,
        };
        let placement = self.map.placement_of(self.bucket);
        Refusal::Operation {
            asked,
            error,
            replicas: placement.map_or(0, |placement| {
                placement.replicas_of(self.target.place.partition).len()
            }),
            context,
        }
    }

    fn about(&self) -> About<'_> {
        About {
            map: self.map,
            entry: &self.target.entry,
        }
    }
}

/// The headers of an answer alone, with the length that its body would have.
fn without_body(mut response: Response) -> Response {
    let len = response.body().bytes().map_or(0, bytes::Bytes::len);
    let has_length = response.status() != StatusCode::NOT_MODIFIED;
    if has_length {
        response.headers_mut().insert(CONTENT_LENGTH, len.into());
    }
    *response.body_mut() = Body::empty();
    response
}

#[cfg(test)]
mod tests;
