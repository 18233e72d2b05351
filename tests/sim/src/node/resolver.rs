//! This is what the policies of the simulated buckets make of siblings.

use crate::table::Bucket;
use soros_core::dot::Dot;
use soros_core::object::{Object, Value, Version};
use soros_core::write::Resolved;
use std::collections::BTreeSet;

/// The value that holds the writes `ids`.
#[must_use]
pub fn value(ids: &BTreeSet<u32>) -> Value {
    Value {
        bytes: bytes(ids).into(),
        content_type: String::new(),
        content_encoding: None,
        meta: Vec::new(),
    }
}

/// The bytes of the value that holds the writes `ids`.
#[must_use]
pub fn bytes(ids: &BTreeSet<u32>) -> Vec<u8> {
    ids.iter().flat_map(|id| id.to_be_bytes()).collect()
}

/// The writes that a value holds.
#[must_use]
pub fn ids(value: &Value) -> BTreeSet<u32> {
    ids_of(&value.bytes).collect()
}

/// The writes that a value of these bytes holds.
pub fn ids_of(bytes: &[u8]) -> impl Iterator<Item = u32> {
    let id = |bytes: &[u8]| bytes.try_into().map_or(u32::MAX, u32::from_be_bytes);
    bytes.chunks(4).map(id)
}

/// What a bucket's resolver makes of the versions of `object` and a new one.
#[must_use]
pub fn resolve(bucket: Bucket, object: &Object, version: &Version) -> Resolved {
    match bucket {
        Bucket::Union => unite(object, version),
        Bucket::LastWriter if object.latest() < version.time => Resolved::KeepNew,
        Bucket::LastWriter | Bucket::Siblings | Bucket::Policy => Resolved::KeepAll,
    }
}

/// A delete leaves what its client has not seen; a value is united with it.
fn unite(object: &Object, version: &Version) -> Resolved {
    let Some(new) = &version.value else {
        return Resolved::KeepAll;
    };
    let mut all = ids(new);
    for value in object
        .versions
        .values()
        .filter_map(|version| version.value.as_ref())
    {
        all.extend(ids(value));
    }
    Resolved::Merged(Version {
        time: version.time,
        value: Some(value(&all)),
    })
}

/// The version that a client of a bucket sees where there are several: the latest, and of several
/// at one time the one of the greatest dot.
#[must_use]
pub fn latest(object: &Object) -> Option<(&Dot, &Version)> {
    let versions = object.versions.iter();
    versions.max_by_key(|(dot, version)| (version.time, **dot))
}
