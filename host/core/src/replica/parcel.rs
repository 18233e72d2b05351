//! This is how repair sends an object: beside what its sender had seen, which each filled context
//! would say once more, and with the names of the dots it answers only where its versions do not
//! have them.

use crate::codec::{Codec, DecodeError, Reader, Writer};
use crate::dot::Dot;
use crate::dot_set::DotSet;
use crate::limits::{DOTS_DECODED_MAX, SHARED_ACTORS_MAX};
use crate::object::Object;

const AS_IT_IS: u8 = 0;
const BESIDE_SEEN: u8 = 1;
const SAID: u8 = 0;
const OF_THE_VERSIONS: u8 = 1;

/// Appends an object, sent beside what its sender had `seen`: 0 and the object, or 1 and the object
/// with what its context has beyond the bases of `seen`, all of which were in it.
pub(super) fn write_object(writer: &mut Writer, object: &Object, seen: &DotSet) {
    let shared = seen.actor_count() <= SHARED_ACTORS_MAX;
    if shared && object.context.includes_bases(seen) {
        writer.u8(BESIDE_SEEN);
        object.encode_with(&object.context.strip(seen), writer);
    } else {
        writer.u8(AS_IT_IS);
        object.encode_with(&object.context, writer);
    }
}

/// Reads what [`write_object`] has written.
pub(super) fn read_object(reader: &mut Reader<'_>, seen: &DotSet) -> Result<Object, DecodeError> {
    let form = reader.u8()?;
    let mut object = Object::decode(reader)?;
    match form {
        AS_IT_IS => {}
        // Each object comes to have as many actors, however few bytes it was sent in.
        BESIDE_SEEN if seen.actor_count() <= SHARED_ACTORS_MAX => object.context.join_bases(seen),
        _ => return Err(DecodeError::Invalid("the form of a context")),
    }
    Ok(object)
}

/// Appends the dots that an object answers: 1 when they are those of its versions, else 0, count 4,
/// each 36.
pub(super) fn write_dots(writer: &mut Writer, dots: &[Dot], object: &Object) {
    if object.versions.keys().eq(dots) {
        writer.u8(OF_THE_VERSIONS);
    } else {
        writer.u8(SAID);
        writer.list(dots);
    }
}

/// Reads what [`write_dots`] has written.
pub(super) fn read_dots(reader: &mut Reader<'_>, object: &Object) -> Result<Vec<Dot>, DecodeError> {
    match reader.u8()? {
        SAID => reader.list(DOTS_DECODED_MAX),
        OF_THE_VERSIONS => Ok(object.versions.keys().copied().collect()),
        _ => Err(DecodeError::Invalid("the form of an object's dots")),
    }
}
