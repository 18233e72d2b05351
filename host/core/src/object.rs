//! This is what a key holds: its versions, each under the dot of its write, and a context of all
//! the dots it has met.
//!
//! After *Concise Server-Wide Causality Management for Eventually Consistent Data Stores*
//! (Gonçalves, Almeida, Baquero, Fonte, 2015), with the partition in the place of the server. An
//! object is stored *stripped* of what its replica's clock says anyway and *filled* before use.

use crate::clock::Clock;
use crate::closed::{Closed, Met, met};
use crate::codec::{Codec, DecodeError, Reader, Writer};
use crate::dot::Dot;
use crate::dot_set::DotSet;
use crate::limits::{
    CONTENT_TYPE_BYTES_MAX, META_BYTES_MAX, VALUE_BYTES_MAX, VERSIONS_DECODED_MAX,
};
use crate::time::Time;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A client's bytes and what it said of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// The bytes, as sent.
    pub bytes: Arc<[u8]>,
    /// The media type.
    pub content_type: String,
    /// The content encoding, when it was not `identity`.
    pub content_encoding: Option<String>,
    /// The client's own fields, in the order sent: names in lower case without the prefix.
    pub meta: Vec<(String, String)>,
}

/// What one write left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// When it was written.
    pub time: Time,
    /// The value; none is a tombstone.
    pub value: Option<Value>,
}

/// What a key holds at a replica, or at all those that were asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Object {
    /// Each version under the dot of its write.
    pub versions: BTreeMap<Dot, Version>,
    /// The dots that were met here: a dot in it without a version is obsolete.
    pub context: DotSet,
}

/// A hash of the dots of an object's versions: equal for equal sets of versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectDigest(pub u128);

impl Object {
    /// Whether some version has a value.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.versions
            .values()
            .any(|version| version.value.is_some())
    }

    /// The dots of the versions.
    #[must_use]
    pub fn dots(&self) -> DotSet {
        let mut dots = DotSet::default();
        self.versions.keys().for_each(|dot| dots.add(*dot));
        dots
    }

    /// What a client that reads this object has seen: the context, and the versions themselves
    /// where a closed actor's dots are left out of it.
    #[must_use]
    pub fn seen(&self) -> DotSet {
        let mut seen = self.context.clone();
        seen.join(&self.dots());
        seen
    }

    /// Drops the versions that `context` has seen, to the knowledge of `lists` of closed actors.
    pub fn discard(&mut self, context: &DotSet, lists: &[&Closed]) {
        self.versions
            .retain(|dot, _| met(context, dot, lists) != Met::Yes);
    }

    /// Adds a version under a dot no other write has.
    pub fn add(&mut self, dot: Dot, version: Version) {
        self.context.add(dot);
        self.versions.insert(dot, version);
    }

    /// Merges what another replica holds: a version stays if both have it, or if the one that
    /// lacks it has not met it. Both objects are filled. `lists` are the lists of closed actors
    /// that are known here; none is given when they do not tell which versions are obsolete.
    #[must_use]
    pub fn sync(mut self, other: Object, lists: &[&Closed]) -> Option<Object> {
        let mut versions = BTreeMap::new();
        for (dot, version) in std::mem::take(&mut self.versions) {
            let stays = other.versions.contains_key(&dot) || !other.has_met(&dot, lists)?;
            versions.extend(stays.then_some((dot, version)));
        }
        for (dot, version) in other.versions {
            if !versions.contains_key(&dot) && !self.has_met(&dot, lists)? {
                versions.insert(dot, version);
            }
        }
        self.versions = versions;
        self.context.join(&other.context);
        Some(self)
    }

    fn has_met(&self, dot: &Dot, lists: &[&Closed]) -> Option<bool> {
        match met(&self.context, dot, lists) {
            Met::Yes => Some(true),
            Met::No => Some(false),
            Met::Unclear => None,
        }
    }

    /// The object as stored: without what the replica's clock says anyway. That is the part of the
    /// context, and the tombstones, that lie under its base. (A tombstone beside a value goes, too:
    /// a replica that had it alone has forgotten it, and merges with it would drop it one by one.)
    #[must_use]
    pub fn strip(mut self, clock: &Clock) -> Object {
        self.context = clock.strip(&self.context);
        self.versions
            .retain(|dot, version| version.value.is_some() || !clock.is_under_base(dot));
        self
    }

    /// The object as used: with the bases of the clock it is stored under.
    #[must_use]
    pub fn fill(mut self, clock: &Clock) -> Object {
        self.context.join_bases(clock.seen());
        self
    }

    /// A dot that keeps the stripped object from being stored as small as it can be: one that the
    /// clock's base has yet to pass. None when there is nothing to wait for.
    #[must_use]
    pub fn blocker(&self, clock: &Clock) -> Option<Dot> {
        let above = |(dot, version): &(&Dot, &Version)| {
            version.value.is_none() && !clock.is_under_base(dot)
        };
        let tombstone = || self.versions.iter().rfind(above).map(|(dot, _)| *dot);
        self.context.last().or_else(tombstone)
    }

    /// Whether nothing needs to be stored: an absent key means that all its dots are under the
    /// base. For a stripped object.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        self.versions.is_empty() && self.context.is_empty()
    }

    /// A hash of the versions' dots.
    #[must_use]
    pub fn digest(&self) -> ObjectDigest {
        let mut hasher = blake3::Hasher::new();
        for dot in self.versions.keys() {
            hasher.update(&dot.to_bytes());
        }
        let mut first = [0; 16];
        hasher.finalize_xof().fill(&mut first);
        ObjectDigest(u128::from_be_bytes(first))
    }

    /// The latest time among the versions; the earliest moment when there is none.
    #[must_use]
    pub fn latest(&self) -> Time {
        self.versions
            .values()
            .map(|version| version.time)
            .max()
            .unwrap_or_default()
    }

    /// The latest time among the versions that are not under `dots`; the earliest moment when there
    /// is none.
    #[must_use]
    pub fn latest_beside(&self, dots: &[Dot]) -> Time {
        self.versions
            .iter()
            .filter(|(dot, _)| !dots.contains(dot))
            .map(|(_, version)| version.time)
            .max()
            .unwrap_or_default()
    }

    /// About how many bytes the object takes when sent.
    #[must_use]
    pub fn size(&self) -> usize {
        let versions = self.versions.values().map(Version::size).sum::<usize>();
        versions + 44 * self.context.actor_count() + 16 * self.context.ranges_above()
    }
}

impl Version {
    /// About how many bytes the version takes when sent.
    #[must_use]
    pub fn size(&self) -> usize {
        let meta = |(name, value): &(String, String)| name.len() + value.len() + 8;
        let value = self.value.as_ref().map_or(0, |value| {
            let meta = value.meta.iter().map(meta).sum::<usize>();
            value.bytes.len() + value.content_type.len() + meta
        });
        64 + value
    }
}

const FORMAT: u8 = 1;
const TOMBSTONE: u8 = 0;
const VALUE: u8 = 1;

impl Object {
    /// Appends the bytes of the object with another context.
    pub(crate) fn encode_with(&self, context: &DotSet, writer: &mut Writer) {
        writer.u8(FORMAT);
        writer.len(self.versions.len());
        for (dot, version) in &self.versions {
            dot.encode(writer);
            version.encode(writer);
        }
        context.encode(writer);
    }
}

/// Format 1; versions: count 4, each dot 36, time 8, then 0 for a tombstone or 1 and the value;
/// then the context.
impl Codec for Object {
    fn encode(&self, writer: &mut Writer) {
        self.encode_with(&self.context, writer);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Object, DecodeError> {
        if reader.u8()? != FORMAT {
            return Err(DecodeError::Invalid("an object's format"));
        }
        let mut versions = BTreeMap::new();
        for _ in 0..reader.len(VERSIONS_DECODED_MAX)? {
            versions.insert(Dot::decode(reader)?, Version::decode(reader)?);
        }
        Ok(Object {
            versions,
            context: DotSet::decode(reader)?,
        })
    }
}

/// Time 8, then 0 for a tombstone or 1 and the value.
impl Codec for Version {
    fn encode(&self, writer: &mut Writer) {
        writer.u64(self.time.0);
        match &self.value {
            None => writer.u8(TOMBSTONE),
            Some(value) => {
                writer.u8(VALUE);
                value.encode(writer);
            }
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Version, DecodeError> {
        let time = Time(reader.u64()?);
        let value = match reader.u8()? {
            TOMBSTONE => None,
            VALUE => Some(Value::decode(reader)?),
            _ => return Err(DecodeError::Invalid("a version's kind")),
        };
        Ok(Version { time, value })
    }
}

/// Bytes, type and encoding each behind a length of 4 (an empty encoding is none); fields: count
/// 4, each name and value behind a length of 4.
impl Codec for Value {
    fn encode(&self, writer: &mut Writer) {
        writer.bytes(&self.bytes);
        writer.bytes(self.content_type.as_bytes());
        writer.bytes(
            self.content_encoding
                .as_deref()
                .unwrap_or_default()
                .as_bytes(),
        );
        writer.len(self.meta.len());
        for (name, value) in &self.meta {
            writer.bytes(name.as_bytes());
            writer.bytes(value.as_bytes());
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Value, DecodeError> {
        let bytes = reader.bytes(VALUE_BYTES_MAX)?.into();
        let content_type = reader.text(CONTENT_TYPE_BYTES_MAX)?;
        let encoding = reader.text(CONTENT_TYPE_BYTES_MAX)?;
        let content_encoding = (!encoding.is_empty()).then_some(encoding);
        let count = reader.len(META_BYTES_MAX)?;
        let field = |reader: &mut Reader<'_>| {
            Ok((reader.text(META_BYTES_MAX)?, reader.text(META_BYTES_MAX)?))
        };
        let meta = (0..count)
            .map(|_| field(reader))
            .collect::<Result<_, _>>()?;
        Ok(Value {
            bytes,
            content_type,
            content_encoding,
            meta,
        })
    }
}
