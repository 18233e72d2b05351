//! This is reading, writing and deleting one key.

use super::Client;
use super::call::{Answer, Call};
use super::error::{BadAnswer, ClientError};
use super::value::{
    Consistency, Facts, Found, HeaderText, Read, ReadOptions, Sibling, Unseen, WriteOptions,
    Written,
};
use crate::network::problem::Code;
use base64::Engine as _;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderName, IF_MATCH, IF_NONE_MATCH};
use http::{HeaderValue, Method, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use serde::Deserialize;
use soros_core::id::BucketName;
use soros_core::key::Key;
use std::collections::BTreeMap;

/// What is encoded in the key of a path: all but unreserved characters and `/`.
const KEY: AsciiSet = NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');
/// The form of siblings that this client reads.
const SIBLINGS_JSON: &str = "application/vnd.soros.siblings+json";

/// A key as it stands in a path, and as it is shown.
#[must_use]
pub fn encoded_key(key: &[u8]) -> String {
    percent_encode(key, &KEY).to_string()
}

/// The path of a key below `prefix`, as `/v1/kv`.
pub(super) fn key_path(prefix: &str, bucket: &BucketName, key: &Key) -> String {
    format!("{prefix}/{bucket}/{}", encoded_key(key.as_bytes()))
}

impl Client {
    /// Reads the value of a key.
    ///
    /// # Errors
    /// [`ClientError`]; a key without a value is [`Found::Nothing`] and no error.
    pub async fn get(
        &self,
        bucket: &BucketName,
        key: &Key,
        options: &ReadOptions,
    ) -> Result<Read, ClientError> {
        let call = options.apply(Call::new(Method::GET, &key_path("/v1/kv", bucket, key)));
        let answer = match self.send_for(bucket, key, &call).await {
            Err(error) if error.code() == Some(Code::KeyNotFound) => return nothing(error),
            answer => answer?,
        };
        match answer.status {
            StatusCode::MULTIPLE_CHOICES => self.get_siblings(bucket, key, call).await,
            StatusCode::OK => Ok(found(Found::Value(answer.body.clone()), answer)),
            StatusCode::NOT_MODIFIED => Ok(found(Found::NotModified, answer)),
            status => Err(answer.bad(BadAnswer::Status(status))),
        }
    }

    /// Reads what a key holds, without the value.
    ///
    /// # Errors
    /// [`ClientError`]; a key or bucket that is not there is [`Found::Nothing`] and no error.
    pub async fn head(
        &self,
        bucket: &BucketName,
        key: &Key,
        options: &ReadOptions,
    ) -> Result<Read, ClientError> {
        let call = options.apply(Call::new(Method::HEAD, &key_path("/v1/kv", bucket, key)));
        match self.send_for(bucket, key, &call).await {
            // The answer to HEAD has no body, so it has no code.
            Err(error) if is_absent(&error) => nothing(error),
            Err(error) => Err(error),
            Ok(answer) => Ok(found(head_of(&answer), answer)),
        }
    }

    /// Stores `value` under a key.
    ///
    /// # Errors
    /// [`ClientError`]; after [`ClientError::NoAnswer`] the value may be stored, or become so.
    pub async fn put(
        &self,
        bucket: &BucketName,
        key: &Key,
        value: Bytes,
        options: &WriteOptions,
    ) -> Result<Written, ClientError> {
        let mut call = options.apply(Call::new(Method::PUT, &key_path("/v1/kv", bucket, key)));
        call.body = value;
        written(self.send_for(bucket, key, &call).await?)
    }

    /// Deletes a key.
    ///
    /// # Errors
    /// [`ClientError`]; after [`ClientError::NoAnswer`] the key may be deleted, or become so.
    pub async fn delete(
        &self,
        bucket: &BucketName,
        key: &Key,
        options: &WriteOptions,
    ) -> Result<Written, ClientError> {
        let call = options.apply(Call::new(Method::DELETE, &key_path("/v1/kv", bucket, key)));
        written(self.send_for(bucket, key, &call).await?)
    }

    /// Reads a key again that has siblings, in the form that this client reads.
    async fn get_siblings(
        &self,
        bucket: &BucketName,
        key: &Key,
        call: Call,
    ) -> Result<Read, ClientError> {
        let call = call.header(ACCEPT, HeaderValue::from_static(SIBLINGS_JSON));
        let answer = match self.send_for(bucket, key, &call).await {
            Err(error) if error.code() == Some(Code::KeyNotFound) => return nothing(error),
            answer => answer?,
        };
        let mut siblings = siblings_of(&answer)?;
        // They may have become one between the two reads.
        let is_one = siblings.len() == 1 && !siblings[0].deleted;
        let all = match siblings.pop() {
            Some(only) if is_one => Found::Value(only.value),
            Some(last) => {
                siblings.push(last);
                Found::Siblings(siblings)
            }
            None => Found::Nothing,
        };
        Ok(found(all, answer))
    }
}

const SOROS_CONTEXT: HeaderName = HeaderName::from_static("soros-context");

impl ReadOptions {
    fn apply(&self, call: Call) -> Call {
        let call = with_consistency(call, self.consistency);
        let call = with(call, SOROS_CONTEXT, self.context.as_ref());
        let call = with(call, IF_NONE_MATCH, self.if_none_match.as_ref());
        with(call, IF_MATCH, self.if_match.as_ref())
    }
}

impl WriteOptions {
    fn apply(&self, call: Call) -> Call {
        let call = with_consistency(call, self.consistency);
        let call = with(call, SOROS_CONTEXT, self.context.as_ref());
        let call = with(call, CONTENT_TYPE, self.content_type.as_ref());
        let call = with(call, IF_MATCH, self.if_match.as_ref());
        let call = with(call, IF_NONE_MATCH, self.if_none_match.as_ref());
        let call = match self.ttl_seconds {
            Some(seconds) => call.header("soros-ttl", seconds.into()),
            None => call,
        };
        match self.unseen {
            Unseen::Refuse => call,
            Unseen::Sibling => call.header("soros-write", HeaderValue::from_static("blind")),
        }
    }
}

fn with(call: Call, name: HeaderName, text: Option<&HeaderText>) -> Call {
    match text {
        Some(HeaderText(value)) => call.header(name, value.clone()),
        None => call,
    }
}

fn with_consistency(call: Call, consistency: Option<Consistency>) -> Call {
    match consistency {
        Some(consistency) => call.header(
            "soros-consistency",
            HeaderValue::from_static(consistency.as_str()),
        ),
        None => call,
    }
}

fn is_absent(error: &ClientError) -> bool {
    error
        .refusal()
        .is_some_and(|refusal| refusal.status == StatusCode::NOT_FOUND)
}

fn nothing(error: ClientError) -> Result<Read, ClientError> {
    match error {
        ClientError::Refused(refusal) => Ok(Read {
            found: Found::Nothing,
            facts: Facts::of(refusal.headers),
        }),
        other => Err(other),
    }
}

fn found(found: Found, answer: Answer) -> Read {
    Read {
        found,
        facts: Facts::of(answer.headers),
    }
}

fn head_of(answer: &Answer) -> Found {
    match answer.status {
        StatusCode::MULTIPLE_CHOICES => Found::Siblings(Vec::new()),
        StatusCode::NOT_MODIFIED => Found::NotModified,
        _ => Found::Value(Bytes::new()),
    }
}

fn written(answer: Answer) -> Result<Written, ClientError> {
    match answer.status {
        StatusCode::CREATED => Ok(Written {
            created: true,
            facts: Facts::of(answer.headers),
        }),
        StatusCode::NO_CONTENT | StatusCode::OK => Ok(Written {
            created: false,
            facts: Facts::of(answer.headers),
        }),
        status => Err(answer.bad(BadAnswer::Status(status))),
    }
}

#[derive(Deserialize)]
struct SiblingsForm {
    siblings: Vec<SiblingForm>,
}

#[derive(Deserialize)]
struct SiblingForm {
    value: Option<String>,
    content_type: Option<String>,
    content_encoding: Option<String>,
    #[serde(default)]
    time: String,
    #[serde(default)]
    writer: String,
    #[serde(default)]
    deleted: bool,
    #[serde(default)]
    meta: BTreeMap<String, String>,
}

fn siblings_of(answer: &Answer) -> Result<Vec<Sibling>, ClientError> {
    let form: SiblingsForm = answer.json()?;
    let siblings: Option<Vec<Sibling>> = form.siblings.into_iter().map(sibling).collect();
    siblings.ok_or_else(|| answer.bad(BadAnswer::NotBase64))
}

fn sibling(form: SiblingForm) -> Option<Sibling> {
    let value = form.value.unwrap_or_default();
    let value = base64::engine::general_purpose::STANDARD
        .decode(value)
        .ok()?;
    Some(Sibling {
        value: value.into(),
        content_type: form.content_type,
        content_encoding: form.content_encoding,
        time: form.time,
        writer: form.writer,
        deleted: form.deleted,
        meta: form.meta,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_every_key_so_that_it_comes_back_whole() {
        let bucket: BucketName = "default".parse().expect("a bucket");
        let path =
            |bytes: &[u8]| key_path("/v1/kv", &bucket, &Key::try_from(bytes).expect("a key"));
        assert_eq!(path(b"a/b//c"), "/v1/kv/default/a/b//c");
        assert_eq!(path(b"../."), "/v1/kv/default/../.");
        assert_eq!(path(b"a b+c%?#"), "/v1/kv/default/a%20b%2Bc%25%3F%23");
        assert_eq!(path("\0é".as_bytes()), "/v1/kv/default/%00%C3%A9");
        let every: Vec<u8> = (0..=255).collect();
        let call = Call::new(Method::GET, &path(&every));
        let decoded = percent_encoding::percent_decode_str(call.target.path());
        assert!(decoded.collect::<Vec<u8>>().ends_with(&every));
    }
}
