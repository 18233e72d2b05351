//! This is what a client says and learns about one key: how far a request must reach, what it has
//! seen, and what came back.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use serde::Serialize;
use soros_core::epoch::Epoch;
use std::collections::BTreeMap;
use std::str::FromStr;

/// How many of a key's replicas must answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// One.
    One,
    /// A majority.
    Quorum,
    /// All.
    All,
    /// As if there was one copy only; in strong buckets.
    Linearizable,
}

impl Consistency {
    /// The value of the header.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Consistency::One => "one",
            Consistency::Quorum => "quorum",
            Consistency::All => "all",
            Consistency::Linearizable => "linearizable",
        }
    }
}

/// The text is no consistency.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a consistency: write one, quorum, all or linearizable")]
pub struct ConsistencyError(String);

impl FromStr for Consistency {
    type Err = ConsistencyError;

    fn from_str(text: &str) -> Result<Consistency, ConsistencyError> {
        match text {
            "one" => Ok(Consistency::One),
            "quorum" => Ok(Consistency::Quorum),
            "all" => Ok(Consistency::All),
            "linearizable" => Ok(Consistency::Linearizable),
            other => Err(ConsistencyError(other.to_owned())),
        }
    }
}

/// Text that goes into a header as it is: a context, an `ETag`, a content type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderText(pub(super) HeaderValue);

/// The text has characters that no header may have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` has characters that no header may have")]
pub struct HeaderTextError(String);

impl HeaderText {
    /// The text, without what is not visible ASCII.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    pub(super) fn of(headers: &HeaderMap, name: &str) -> Option<HeaderText> {
        headers.get(name).cloned().map(HeaderText)
    }
}

impl FromStr for HeaderText {
    type Err = HeaderTextError;

    fn from_str(text: &str) -> Result<HeaderText, HeaderTextError> {
        let refused = || HeaderTextError(text.chars().take(80).collect());
        let value = HeaderValue::from_str(text).map_err(|_| refused())?;
        if text.is_ascii() {
            Ok(HeaderText(value))
        } else {
            Err(refused())
        }
    }
}

impl std::fmt::Display for HeaderText {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// How to read.
#[derive(Clone, Debug, Default)]
pub struct ReadOptions {
    /// How many replicas must answer; the bucket's default when absent.
    pub consistency: Option<Consistency>,
    /// What has been seen of the key; it is checked, and changes nothing of what is found.
    pub context: Option<HeaderText>,
    /// Answer only if the value has not this `ETag`.
    pub if_none_match: Option<HeaderText>,
    /// Answer only if the value has this `ETag`.
    pub if_match: Option<HeaderText>,
}

/// How to write or delete.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    /// How many replicas must store it; the bucket's default when absent.
    pub consistency: Option<Consistency>,
    /// What has been seen of the key, and may be superseded.
    pub context: Option<HeaderText>,
    /// What to do when nothing has been seen.
    pub unseen: Unseen,
    /// The type of the value.
    pub content_type: Option<HeaderText>,
    /// Write only over this `ETag`.
    pub if_match: Option<HeaderText>,
    /// `*`: write only where there is no value.
    pub if_none_match: Option<HeaderText>,
    /// How many seconds the value lives.
    pub ttl_seconds: Option<u64>,
}

/// What a write without a context does to a value that it has not seen, where no resolver merges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unseen {
    /// The write is refused, and the answer has the context to send.
    #[default]
    Refuse,
    /// The write becomes a sibling.
    Sibling,
}

/// What every answer about a key says beside the value.
#[derive(Clone, Debug)]
pub struct Facts {
    /// What has been seen now; send it with the next write.
    pub context: Option<HeaderText>,
    /// The `ETag`.
    pub etag: Option<HeaderText>,
    /// The epoch that it was served under.
    pub epoch: Option<Epoch>,
    /// All headers of the answer.
    pub headers: HeaderMap,
}

impl Facts {
    pub(super) fn of(headers: HeaderMap) -> Facts {
        Facts {
            context: HeaderText::of(&headers, "soros-context"),
            etag: HeaderText::of(&headers, "etag"),
            epoch: epoch_of(&headers),
            headers,
        }
    }
}

/// The epoch that an answer names.
pub(super) fn epoch_of(headers: &HeaderMap) -> Option<Epoch> {
    headers
        .get("soros-epoch")?
        .to_str()
        .ok()?
        .parse()
        .ok()
        .map(Epoch)
}

/// What a read found, and what the answer said of it.
#[derive(Clone, Debug)]
pub struct Read {
    /// What there is.
    pub found: Found,
    /// What the answer said beside it.
    pub facts: Facts,
}

/// What a key holds.
#[derive(Clone, Debug)]
pub enum Found {
    /// One value.
    Value(Bytes),
    /// Concurrent values that no resolver made one of.
    Siblings(Vec<Sibling>),
    /// The value whose `ETag` was given.
    NotModified,
    /// Nothing.
    Nothing,
}

/// One of several concurrent values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sibling {
    /// The bytes; as base64 when shown.
    #[serde(serialize_with = "as_base64")]
    pub value: Bytes,
    /// Their type, if there are any.
    pub content_type: Option<String>,
    /// How they are encoded, if they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_encoding: Option<String>,
    /// When it was written, in RFC 3339.
    pub time: String,
    /// Which node took the write.
    pub writer: String,
    /// Whether it is not a value but a delete.
    pub deleted: bool,
    /// What else was kept with it.
    pub meta: BTreeMap<String, String>,
}

fn as_base64<S: serde::Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    use base64::Engine as _;
    serializer.serialize_str(&base64::engine::general_purpose::STANDARD.encode(bytes))
}

/// What a write came to.
#[derive(Clone, Debug)]
pub struct Written {
    /// Whether no live value was known before.
    pub created: bool,
    /// What the answer said.
    pub facts: Facts,
}
