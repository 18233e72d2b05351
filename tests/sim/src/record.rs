//! This is what a simulated disk knows of the records on it: which kind each one is, and what a
//! stored object says.

use crate::bug::Bug;
use soros_core::codec::{Codec, Reader, Writer};
use soros_core::dot::Dot;
use soros_core::dot_set::DotSet;
use soros_core::object::Object;

/// Where a key of a replica's state says which kind of record it names.
const KIND_AT: usize = 15;
const STATE: u8 = 0x01;

/// A kind of record of a replica's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The clock record.
    Clock,
    /// A step of the list of closed actors.
    Closed,
    /// The lists of closed actors that are known beside that.
    Known,
    /// An entry of the dot log.
    Log,
    /// An object.
    Object,
    /// An entry of the index of unstripped objects.
    Unstripped,
}

/// The kind of the record under `key`; none for the record of the generation in use.
#[must_use]
pub fn kind(key: &[u8]) -> Option<Kind> {
    if key.first() != Some(&STATE) {
        return None;
    }
    match key.get(KIND_AT)? {
        b'C' => Some(Kind::Clock),
        b'E' => Some(Kind::Closed),
        b'K' => Some(Kind::Known),
        b'L' => Some(Kind::Log),
        b'O' => Some(Kind::Object),
        b'U' => Some(Kind::Unstripped),
        _ => None,
    }
}

/// Whether `key` is that of a clock record.
#[must_use]
pub fn is_clock(key: &[u8]) -> bool {
    kind(key) == Some(Kind::Clock)
}

/// The dot that a log entry or an index entry is about.
#[must_use]
pub fn dot_of(key: &[u8]) -> Option<Dot> {
    let bytes = key.get(KIND_AT + 1..KIND_AT + 1 + 36)?;
    Dot::from_bytes(bytes).ok()
}

/// A stored object and the dot it waits for.
#[must_use]
pub fn stored(bytes: &[u8]) -> Option<(Option<Dot>, Object)> {
    let mut reader = Reader::new(bytes);
    let blocker = reader.option().ok()?;
    let object = Object::decode(&mut reader).ok()?;
    reader.finish().ok()?;
    Some((blocker, object))
}

fn store(blocker: Option<&Dot>, object: &Object) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.option(blocker);
    object.encode(&mut writer);
    writer.into_bytes()
}

/// The record as it is written: another one, or none, where a bug is planted that is about how
/// objects are stored.
#[must_use]
pub fn spoil(key: &[u8], value: Vec<u8>, bug: Option<Bug>) -> Option<Vec<u8>> {
    if !matches!(bug, Some(Bug::VectorContexts | Bug::TombstoneDroppedEarly))
        || kind(key) != Some(Kind::Object)
    {
        return Some(value);
    }
    let (blocker, mut object) = stored(&value)?;
    if bug == Some(Bug::VectorContexts) {
        object.context = vector_of(&object.context);
        return Some(store(blocker.as_ref(), &object));
    }
    object.is_live().then_some(value)
}

/// The dots of a set up to each actor's base.
fn vector_of(dots: &DotSet) -> DotSet {
    let mut vector = DotSet::default();
    vector.join_bases(dots);
    vector
}
