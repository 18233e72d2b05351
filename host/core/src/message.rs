//! This is what nodes say to each other: requests and replies, each behind the version of this
//! page, so that a node of another version is refused and never misread.

use crate::close::{self, Ask, Word};
use crate::codec::{Codec, DecodeError, Reader, Writer};
use crate::dot::{Actor, Dot};
use crate::dot_set::DotSet;
use crate::epoch::Epoch;
use crate::id::BucketId;
use crate::known::KnownLists;
use crate::limits::{DOTS_DECODED_MAX, MESSAGE_BYTES_MAX};
use crate::object::{Object, ObjectDigest};
use crate::operation::{
    OperationError, ReadAnswer, ReadRequest, Target, WriteAnswer, WriteRequest,
};
use crate::place::{Entry, Place};
use crate::read::Want;
use crate::replica::{Chunk, Difference, Found, Promise, TransferKind};
use crate::sync::{Answer, StateDigest};

/// The version of this page.
pub const MESSAGE_VERSION: u8 = 7;

/// What a node asks of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// To store an object, filled, and to count the dots and those of its versions as seen.
    Store {
        /// The key.
        target: Target,
        /// The object, whole.
        object: Object,
        /// The dots that were minted for it.
        dots: Vec<Dot>,
    },
    /// What it holds of a key; refused by a replica whose silence cannot be believed.
    Look {
        /// The key.
        target: Target,
        /// How much of it.
        want: Want,
    },
    /// To coordinate a write.
    Write(WriteRequest),
    /// To coordinate a read.
    Read(ReadRequest),
    /// Whether its clock and sum have this hash.
    Compare {
        /// The partition.
        place: Place,
        /// The hash.
        digest: StateDigest,
        /// Whether the asker believes that it holds all that it acknowledged.
        trusted: bool,
    },
    /// What it has seen and is not among these dots.
    Difference {
        /// The partition.
        place: Place,
        /// The dots that need no answer.
        dots: DotSet,
        /// The life of the asker's replica that holds what they were compared with and has not seen
        /// all of them; none when all of them are seen.
        holder: Option<Actor>,
        /// Whether the asker believes that it holds all that it acknowledged.
        trusted: bool,
    },
    /// Its objects from an entry on.
    Chunk {
        /// The partition.
        place: Place,
        /// What an absent version means.
        kind: TransferKind,
        /// Where to start; none is the first.
        from: Option<Entry>,
    },
    /// Whether the asker may drop the partition and rely on what this one holds of it.
    Rely {
        /// The partition.
        place: Place,
    },
    /// Whether it holds a live key of a bucket, asked of nodes that serve under this epoch.
    Survey {
        /// The bucket's incarnation.
        bucket: BucketId,
        /// The epoch in which the bucket is closing.
        epoch: Epoch,
    },
    /// What its wall clock says.
    Clock,
    /// To take part in the closing of actors that have ended.
    Closing {
        /// The partition.
        place: Place,
        /// What is asked.
        ask: Ask,
    },
    /// A message of the authority, opaque here.
    Authority(Vec<u8>),
    /// A message of the membership protocol, opaque here. It has no reply.
    Membership(Vec<u8>),
}

/// What a node answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The object is stored, durably.
    Stored(Found),
    /// The object, filled.
    Object(Object),
    /// Its digest.
    Digest(ObjectDigest),
    /// How a coordinated write ended.
    Written(Result<WriteAnswer, OperationError>),
    /// How a coordinated read ended.
    Read(Result<ReadAnswer, OperationError>),
    /// An answer of anti-entropy.
    Sync {
        /// The answer.
        answer: Answer,
        /// What the replica says of itself.
        word: Word,
        /// The epoch of the map it serves under.
        epoch: Epoch,
    },
    /// What it holds of a partition that the asker may drop, and whether its silence can be
    /// believed.
    Promised(Promise, bool),
    /// An answer to the leader of a closing.
    Closing(close::Answer),
    /// Whether it holds a live key of the bucket.
    Surveyed(bool),
    /// What its wall clock says, in microseconds since 1970.
    Clock(u64),
    /// A message of the authority, opaque here.
    Authority(Vec<u8>),
    /// The request was not carried out, and nothing was stored.
    Refused(Refusal),
}

/// Why a node did not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It does not hold the partition, or knows no such bucket, under its map.
    #[error("the node does not serve the key under its map")]
    NotServed,
    /// Its silence about the key cannot be believed.
    #[error("the replica is catching up")]
    Suspect,
    /// The asker once had seen more of the partition than it has now: it lost something.
    #[error("the replica that asks has lost something")]
    Behind,
    /// Too much is under way.
    #[error("too much is under way")]
    Overloaded,
    /// Its disk is full.
    #[error("the disk is full")]
    DiskFull,
    /// Its storage failed.
    #[error("the storage failed")]
    Storage,
    /// It is starting or shutting down.
    #[error("the node is not ready")]
    NotReady,
    /// The time given to it is up.
    #[error("the deadline has passed")]
    TooLate,
    /// It could not read the request.
    #[error("the request could not be read")]
    Unreadable,
    /// The life of a replica that minted the dots has ended.
    #[error("the life of the replica that minted the write has ended")]
    Ended,
    /// The sender has closed actors that it has not: they must agree on those first.
    #[error("the replicas have yet to agree on which lives have ended")]
    Unclear,
}

const REFUSALS: [Refusal; 11] = [
    Refusal::NotServed,
    Refusal::Suspect,
    Refusal::Overloaded,
    Refusal::DiskFull,
    Refusal::Storage,
    Refusal::NotReady,
    Refusal::TooLate,
    Refusal::Unreadable,
    Refusal::Behind,
    Refusal::Ended,
    Refusal::Unclear,
];

fn check_version(reader: &mut Reader<'_>) -> Result<(), DecodeError> {
    match reader.u8()? {
        MESSAGE_VERSION => Ok(()),
        _ => Err(DecodeError::Invalid("a message's version")),
    }
}

fn tagged(writer: &mut Writer, tag: u8, body: &impl Codec) {
    writer.u8(tag);
    body.encode(writer);
}

fn opaque(writer: &mut Writer, tag: u8, bytes: &[u8]) {
    writer.u8(tag);
    writer.bytes(bytes);
}

/// The version, a tag, then the fields in order.
impl Codec for Request {
    fn encode(&self, writer: &mut Writer) {
        writer.u8(MESSAGE_VERSION);
        match self {
            Request::Store {
                target,
                object,
                dots,
            } => {
                writer.u8(1);
                target.encode(writer);
                object.encode(writer);
                writer.list(dots);
            }
            Request::Look { target, want } => {
                writer.u8(2);
                target.encode(writer);
                writer.u8(u8::from(*want == Want::Object));
            }
            Request::Write(request) => {
                writer.u8(3);
                request.encode(writer);
            }
            Request::Read(request) => {
                writer.u8(4);
                request.encode(writer);
            }
            Request::Compare {
                place,
                digest,
                trusted,
            } => {
                writer.u8(5);
                place.encode(writer);
                writer.u128(digest.0);
                writer.u8(u8::from(*trusted));
            }
            Request::Difference {
                place,
                dots,
                holder,
                trusted,
            } => {
                writer.u8(6);
                place.encode(writer);
                dots.encode(writer);
                writer.option(holder.as_ref());
                writer.u8(u8::from(*trusted));
            }
            Request::Chunk { place, kind, from } => {
                writer.u8(7);
                place.encode(writer);
                kind.encode(writer);
                writer.option(from.as_ref());
            }
            Request::Authority(bytes) => opaque(writer, 8, bytes),
            Request::Membership(bytes) => opaque(writer, 9, bytes),
            Request::Survey { bucket, epoch } => {
                writer.u8(10);
                writer.u64(bucket.0);
                writer.u64(epoch.0);
            }
            Request::Clock => writer.u8(11),
            Request::Closing { place, ask } => {
                writer.u8(12);
                place.encode(writer);
                ask.encode(writer);
            }
            Request::Rely { place } => tagged(writer, 13, place),
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Request, DecodeError> {
        check_version(reader)?;
        Ok(match reader.u8()? {
            1 => Request::Store {
                target: Target::decode(reader)?,
                object: Object::decode(reader)?,
                dots: reader.list(DOTS_DECODED_MAX)?,
            },
            2 => Request::Look {
                target: Target::decode(reader)?,
                want: if reader.u8()? == 0 {
                    Want::Digest
                } else {
                    Want::Object
                },
            },
            3 => Request::Write(WriteRequest::decode(reader)?),
            4 => Request::Read(ReadRequest::decode(reader)?),
            5 => Request::Compare {
                place: Place::decode(reader)?,
                digest: StateDigest(reader.u128()?),
                trusted: reader.u8()? != 0,
            },
            6 => Request::Difference {
                place: Place::decode(reader)?,
                dots: DotSet::decode(reader)?,
                holder: reader.option()?,
                trusted: reader.u8()? != 0,
            },
            7 => Request::Chunk {
                place: Place::decode(reader)?,
                kind: TransferKind::decode(reader)?,
                from: reader.option()?,
            },
            8 => Request::Authority(reader.bytes(MESSAGE_BYTES_MAX)?.to_vec()),
            9 => Request::Membership(reader.bytes(MESSAGE_BYTES_MAX)?.to_vec()),
            10 => Request::Survey {
                bucket: BucketId(reader.u64()?),
                epoch: Epoch(reader.u64()?),
            },
            11 => Request::Clock,
            12 => Request::Closing {
                place: Place::decode(reader)?,
                ask: Ask::decode(reader)?,
            },
            13 => Request::Rely {
                place: Place::decode(reader)?,
            },
            _ => return Err(DecodeError::Invalid("a request's tag")),
        })
    }
}

/// The version, a tag, then the fields in order.
impl Codec for Reply {
    fn encode(&self, writer: &mut Writer) {
        writer.u8(MESSAGE_VERSION);
        match self {
            Reply::Stored(found) => {
                writer.u8(1);
                found.encode(writer);
            }
            Reply::Object(object) => {
                writer.u8(2);
                object.encode(writer);
            }
            Reply::Digest(digest) => {
                writer.u8(3);
                writer.u128(digest.0);
            }
            Reply::Written(result) => {
                writer.u8(4);
                writer.result(result);
            }
            Reply::Read(result) => {
                writer.u8(5);
                writer.result(result);
            }
            Reply::Sync {
                answer,
                word,
                epoch,
            } => {
                writer.u8(6);
                answer.encode(writer);
                word.encode(writer);
                writer.u64(epoch.0);
            }
            Reply::Authority(bytes) => opaque(writer, 7, bytes),
            Reply::Refused(refusal) => {
                writer.u8(8);
                refusal.encode(writer);
            }
            Reply::Surveyed(has_keys) => {
                writer.u8(9);
                writer.u8(u8::from(*has_keys));
            }
            Reply::Clock(micros) => {
                writer.u8(10);
                writer.u64(*micros);
            }
            Reply::Closing(answer) => {
                writer.u8(11);
                answer.encode(writer);
            }
            Reply::Promised(promise, trusted) => {
                writer.u8(12);
                promise.encode(writer);
                writer.u8(u8::from(*trusted));
            }
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Reply, DecodeError> {
        check_version(reader)?;
        Ok(match reader.u8()? {
            1 => Reply::Stored(Found::decode(reader)?),
            2 => Reply::Object(Object::decode(reader)?),
            3 => Reply::Digest(ObjectDigest(reader.u128()?)),
            4 => Reply::Written(reader.result()?),
            5 => Reply::Read(reader.result()?),
            6 => Reply::Sync {
                answer: Answer::decode(reader)?,
                word: Word::decode(reader)?,
                epoch: Epoch(reader.u64()?),
            },
            7 => Reply::Authority(reader.bytes(MESSAGE_BYTES_MAX)?.to_vec()),
            8 => Reply::Refused(Refusal::decode(reader)?),
            9 => Reply::Surveyed(reader.u8()? != 0),
            10 => Reply::Clock(reader.u64()?),
            11 => Reply::Closing(close::Answer::decode(reader)?),
            12 => Reply::Promised(Promise::decode(reader)?, reader.u8()? != 0),
            _ => return Err(DecodeError::Invalid("a reply's tag")),
        })
    }
}

/// 1 byte: the place in the list of refusals.
impl Codec for Refusal {
    fn encode(&self, writer: &mut Writer) {
        let tag = REFUSALS
            .iter()
            .take_while(|refusal| *refusal != self)
            .count();
        writer.u8(u8::try_from(tag).unwrap_or(u8::MAX));
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Refusal, DecodeError> {
        let tag = usize::from(reader.u8()?);
        REFUSALS
            .get(tag)
            .copied()
            .ok_or(DecodeError::Invalid("a refusal"))
    }
}

/// Live 1, time 8, suspect 1.
impl Codec for Found {
    fn encode(&self, writer: &mut Writer) {
        writer.u8(u8::from(self.live));
        writer.u64(self.beside.0);
        writer.u8(u8::from(self.suspect));
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Found, DecodeError> {
        Ok(Found {
            live: reader.u8()? != 0,
            beside: crate::time::Time(reader.u64()?),
            suspect: reader.u8()? != 0,
        })
    }
}

/// Tag 1, then the fields in order; what was seen comes before what was found, which is told beside
/// it.
impl Codec for Answer {
    fn encode(&self, writer: &mut Writer) {
        match self {
            Answer::Same => writer.u8(0),
            Answer::NotSame(known) => {
                writer.u8(1);
                known.encode(writer);
            }
            Answer::Difference {
                difference,
                seen,
                tally,
            } => {
                writer.u8(2);
                seen.encode(writer);
                difference.write(writer, seen);
                writer.option(tally.as_ref());
            }
            Answer::Chunk(chunk) => {
                writer.u8(3);
                chunk.encode(writer);
            }
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Answer, DecodeError> {
        Ok(match reader.u8()? {
            0 => Answer::Same,
            1 => Answer::NotSame(KnownLists::decode(reader)?),
            2 => {
                let seen = DotSet::decode(reader)?;
                Answer::Difference {
                    difference: Difference::read(reader, &seen)?,
                    seen,
                    tally: reader.option()?,
                }
            }
            3 => Answer::Chunk(Chunk::decode(reader)?),
            _ => return Err(DecodeError::Invalid("an answer of anti-entropy")),
        })
    }
}
