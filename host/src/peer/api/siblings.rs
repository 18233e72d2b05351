//! This is how all versions of a key are shown at once: as the parts of a `multipart/mixed` message
//! or as JSON, both in the order of their times.

use super::headers::META_PREFIX;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName};
use serde::Serialize;
use soros_core::dot::Dot;
use soros_core::id::NodeId;
use soros_core::map::Map;
use soros_core::object::{Object, Value, Version};
use soros_core::time::Time;
use std::collections::BTreeMap;

/// When a version was written.
pub const SOROS_TIME: HeaderName = HeaderName::from_static("soros-time");
/// The node that took the write.
pub const SOROS_WRITER: HeaderName = HeaderName::from_static("soros-writer");
/// That a version is a tombstone.
pub const SOROS_DELETED: HeaderName = HeaderName::from_static("soros-deleted");

/// The versions of a key, the oldest first, of one time by their dots: the same at every node.
#[derive(Debug)]
pub struct Siblings<'a>(Vec<Sibling<'a>>);

#[derive(Debug)]
struct Sibling<'a> {
    version: &'a Version,
    writer: String,
}

/// All versions as parts.
#[derive(Debug)]
pub struct Parts {
    /// The line that parts them; it is in none of them.
    pub boundary: String,
    /// The message.
    pub bytes: Vec<u8>,
}

#[derive(Serialize)]
struct SiblingsJson<'a> {
    siblings: Vec<SiblingJson<'a>>,
}

#[derive(Serialize)]
struct SiblingJson<'a> {
    value: Option<String>,
    content_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_encoding: Option<&'a str>,
    time: String,
    writer: &'a str,
    deleted: bool,
    meta: BTreeMap<&'a str, &'a str>,
}

impl<'a> Siblings<'a> {
    /// The versions of `object`, their writers named as in `map`.
    #[must_use]
    pub fn of(object: &'a Object, map: &Map) -> Siblings<'a> {
        let mut versions: Vec<(&Dot, &Version)> = object.versions.iter().collect();
        versions.sort_by_key(|(dot, version)| (version.time, **dot));
        let sibling = |(dot, version): (&Dot, &'a Version)| {
            let writer = node_name(map, dot.actor.node);
            Sibling { version, writer }
        };
        Siblings(versions.into_iter().map(sibling).collect())
    }

    /// Whether there is more than one version.
    #[must_use]
    pub fn are_several(&self) -> bool {
        1 < self.0.len()
    }

    /// The names of the writers, in the order of the versions.
    #[must_use]
    pub fn writers(&self) -> Vec<&str> {
        self.0
            .iter()
            .map(|sibling| sibling.writer.as_str())
            .collect()
    }

    /// The versions as a `multipart/mixed` message. Equal versions make equal bytes.
    #[must_use]
    pub fn multipart(&self) -> Parts {
        let boundary = self.boundary();
        let room = |sibling: &Sibling<'_>| sibling.content().len() + PART_HEAD_BYTES;
        let mut bytes = Vec::with_capacity(self.0.iter().map(room).sum());
        for sibling in &self.0 {
            bytes.extend_from_slice(format!("--{boundary}\r\n").as_bytes());
            sibling.write_part(&mut bytes);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
        Parts { boundary, bytes }
    }

    /// The versions as JSON.
    ///
    /// # Panics
    /// Never: text, numbers and maps of text are JSON.
    #[must_use]
    pub fn json(&self) -> Vec<u8> {
        let siblings = self.0.iter().map(Sibling::json).collect();
        let json = serde_json::to_vec(&SiblingsJson { siblings });
        json.expect("text, numbers and maps of text are JSON")
    }

    /// A line from a hash of all contents, so that no content can be made to have it.
    fn boundary(&self) -> String {
        let contents: Vec<&[u8]> = self.0.iter().map(Sibling::content).collect();
        let mut hasher = blake3::Hasher::new();
        for content in &contents {
            hasher.update(content);
        }
        line_in_none(&contents, hasher)
    }
}

/// The first line from `hasher` that none of `contents` has.
fn line_in_none(contents: &[&[u8]], mut hasher: blake3::Hasher) -> String {
    loop {
        let line = format!("soros-{}", &hasher.finalize().to_hex()[..32]);
        if !contents.iter().any(|content| has(content, line.as_bytes())) {
            return line;
        }
        hasher.update(line.as_bytes());
    }
}

/// About how much the lines before a part's content take.
const PART_HEAD_BYTES: usize = 512;

impl Sibling<'_> {
    fn content(&self) -> &[u8] {
        self.version
            .value
            .as_ref()
            .map_or(&[], |value| &value.bytes)
    }

    fn write_part(&self, bytes: &mut Vec<u8>) {
        match &self.version.value {
            Some(value) => {
                fields_of(value).for_each(|(name, value)| write_field(bytes, &name, &value));
            }
            None => write_field(bytes, &SOROS_DELETED, &HeaderValue::from_static("true")),
        }
        write_text(bytes, &SOROS_TIME, &rfc3339(self.version.time));
        write_text(bytes, &SOROS_WRITER, &self.writer);
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(self.content());
    }

    fn json(&self) -> SiblingJson<'_> {
        let value = self.version.value.as_ref();
        let meta = value.map_or(&[][..], |value| &value.meta);
        SiblingJson {
            value: value.map(|value| STANDARD.encode(&value.bytes)),
            content_type: value.map(|value| value.content_type.as_str()),
            content_encoding: value.and_then(|value| value.content_encoding.as_deref()),
            time: rfc3339(self.version.time),
            writer: &self.writer,
            deleted: value.is_none(),
            meta: meta
                .iter()
                .map(|(name, text)| (name.as_str(), text.as_str()))
                .collect(),
        }
    }
}

/// The headers that a value has wherever it is shown. What cannot stand in a header (a resolver's
/// plugin may have made it) is left out, so that it cannot end one and begin another.
pub fn fields_of(value: &Value) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
    let content_type = HeaderValue::from_str(&value.content_type);
    let content_type = content_type.map(|text| (CONTENT_TYPE, text)).ok();
    let encoding = value.content_encoding.as_deref();
    let encoding = encoding.and_then(|text| HeaderValue::from_str(text).ok());
    let encoding = encoding.map(|text| (CONTENT_ENCODING, text));
    let own = value.meta.iter().filter_map(|(name, text)| {
        let name = HeaderName::try_from(format!("{META_PREFIX}{name}")).ok()?;
        Some((name, HeaderValue::from_bytes(text.as_bytes()).ok()?))
    });
    content_type.into_iter().chain(encoding).chain(own)
}

/// What a node is called; its id when the map does not know it any more.
#[must_use]
pub fn node_name(map: &Map, node: NodeId) -> String {
    let known = map.node(node).map(|known| known.identity.name.to_string());
    known.unwrap_or_else(|| node.to_string())
}

/// A version's time, to the microsecond.
#[must_use]
pub fn rfc3339(time: Time) -> String {
    let micros = i64::try_from(time.micros()).unwrap_or(i64::MAX);
    let moment = jiff::Timestamp::from_microsecond(micros).unwrap_or_default();
    format!("{moment:.6}")
}

fn write_text(bytes: &mut Vec<u8>, name: &HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        write_field(bytes, name, &value);
    }
}

fn write_field(bytes: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    bytes.extend_from_slice(&title(name));
    bytes.extend_from_slice(b": ");
    bytes.extend_from_slice(value.as_bytes());
    bytes.extend_from_slice(b"\r\n");
}

/// A name as people write it, such as `Content-Type`.
fn title(name: &HeaderName) -> Vec<u8> {
    let words = name.as_str().split('-').map(|word| {
        let mut word = word.as_bytes().to_vec();
        word.iter_mut().take(1).for_each(u8::make_ascii_uppercase);
        word
    });
    words.collect::<Vec<_>>().join(&b'-')
}

/// Whether `needle`, which is not empty, is somewhere in `bytes`.
fn has(bytes: &[u8], needle: &[u8]) -> bool {
    let begins = |window: &[u8]| window[0] == needle[0] && window == needle;
    bytes.windows(needle.len()).any(begins)
}

#[cfg(test)]
mod tests;
