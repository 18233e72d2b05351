//! This is what a client asks of a key and what it is told: the same for the node that the client
//! speaks to, the node that coordinates, and the wire between them.

use crate::codec::{Codec, DecodeError, Reader, Writer};
use crate::dot_set::DotSet;
use crate::id::{BucketId, NodeId};
use crate::key::Key;
use crate::limits::{PLUGIN_NAME_BYTES_MAX, PLUGIN_VERSION_BYTES_MAX, POLICY_TEXT_BYTES_MAX};
use crate::map::plugin::{PluginName, PluginVersion};
use crate::object::{Object, Value};
use crate::place::{Entry, Place};
use crate::policy::Refusal;
use crate::skew::Skew;

/// How many replicas an operation waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consistency {
    /// The coordinator alone.
    One,
    /// A majority of the copies there are.
    #[default]
    Quorum,
    /// Every copy.
    All,
}

impl Consistency {
    /// How many of `replicas` are waited for.
    #[must_use]
    pub fn needed(self, replicas: usize) -> usize {
        match self {
            Consistency::One => 1,
            Consistency::Quorum => replicas / 2 + 1,
            Consistency::All => replicas,
        }
    }
}

/// Which key is meant: the bucket's incarnation, the key, and the partition it falls in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The partition, of the bucket's placement.
    pub place: Place,
    /// The bucket and the key.
    pub entry: Entry,
}

impl Target {
    /// The bucket's incarnation.
    #[must_use]
    pub fn bucket(&self) -> BucketId {
        self.entry.bucket
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.entry.key
    }
}

/// What a client that writes had seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Basis {
    /// Nothing was said: the resolver merges, and without one a live key asks for a token.
    Unsaid,
    /// Nothing, and a sibling is what the client wants.
    Blind,
    /// These dots: the token it sent.
    Seen(DotSet),
}

/// A write or a delete of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteRequest {
    /// The key.
    pub target: Target,
    /// What to store; none deletes.
    pub value: Option<Value>,
    /// What the client had seen.
    pub basis: Basis,
    /// How many replicas must have it.
    pub consistency: Consistency,
}

/// A read of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadRequest {
    /// The key.
    pub target: Target,
    /// How many replicas must agree on what there is.
    pub consistency: Consistency,
}

/// How far an operation came: how many of the replicas there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Achieved {
    /// Those that answered.
    pub reached: u8,
    /// Those that there are.
    pub replicas: u8,
}

/// A write that is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteAnswer {
    /// What the client has seen now: what it had seen and its own dot, no more.
    pub context: DotSet,
    /// Whether some replica held a live version before.
    pub existed: bool,
    /// The dots of the versions the coordinator holds now, its own write's among them; none when a
    /// validator changed the value.
    pub versions: DotSet,
    /// How many replicas have it.
    pub achieved: Achieved,
    /// Who coordinated.
    pub served_by: NodeId,
}

/// What a read found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadAnswer {
    /// The merged object of the replicas that answered, filled.
    pub object: Object,
    /// How many replicas answered.
    pub achieved: Achieved,
    /// Who coordinated.
    pub served_by: NodeId,
}

/// Why an operation was not done, or not known to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OperationError {
    /// The key has a live version, and the write did not say what it had seen. Nothing was stored.
    #[error("the key has a value: send the Soros-Context of a read, or Soros-Write: blind")]
    ContextRequired {
        /// What a read would have shown.
        context: DotSet,
    },
    /// The key has as many versions as it may. Nothing was stored.
    #[error(
        "the key has as many siblings as it may, or as large ones: read it and write with its \
         Soros-Context"
    )]
    TooManySiblings {
        /// What a read would have shown.
        context: DotSet,
    },
    /// Too few replicas can be reached or trusted. Nothing was stored anywhere.
    #[error("{reached} of the {needed} replicas needed can answer")]
    QuorumUnavailable {
        /// Those that can.
        reached: u8,
        /// Those that must.
        needed: u8,
    },
    /// Fewer replicas than needed said in time that they have it: it may be applied.
    #[error("{reached} of the {needed} replicas needed answered in time; the write may be applied")]
    OutcomeUnknown {
        /// Those that answered.
        reached: u8,
        /// Those that must.
        needed: u8,
    },
    /// The clock of the coordinator cannot be trusted. Nothing was stored.
    #[error(
        "the coordinator's clock is {skew}; nothing was stored. Set its machine's clock right and \
         it follows, or write at another node"
    )]
    ClockSkew {
        /// How far it is off.
        skew: Skew,
    },
    /// The disk has no room for writes. Nothing was stored.
    #[error("the disk is full: delete keys, give the node more disk, or ask another one")]
    DiskFull,
    /// More is under way than may be. Nothing was stored.
    #[error("too much is under way: wait as long as Retry-After says and try again")]
    Overloaded,
    /// The node that was asked does not hold the partition under its map, or the bucket is gone.
    /// Nothing was stored.
    #[error("the node does not serve this key under its map: try again, or ask another one")]
    NotServed,
    /// The node is starting or shutting down. Nothing was stored.
    #[error("the node is not ready: try again, or ask another one")]
    NotReady,
    /// The storage of the coordinator failed. It is not known what was stored.
    #[error("the storage failed")]
    Storage,
    /// A validator of the bucket refuses the write. Nothing was stored.
    #[error("{}", .0.refusal.message)]
    Rejected(Box<Rejection>),
    /// A validator that must agree could not be asked, or had no answer. Nothing was stored.
    #[error(
        "the validator `{plugin}` could not be asked ({reason}), and the bucket takes nothing that \
         it has not seen"
    )]
    PolicyUnavailable {
        /// The plugin.
        plugin: PluginName,
        /// Why.
        reason: String,
    },
}

/// A validator's refusal of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The plugin.
    pub plugin: PluginName,
    /// Its version.
    pub version: PluginVersion,
    /// What it said.
    pub refusal: Refusal,
}

impl Codec for Consistency {
    fn encode(&self, writer: &mut Writer) {
        writer.u8(match self {
            Consistency::One => 0,
            Consistency::Quorum => 1,
            Consistency::All => 2,
        });
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Consistency, DecodeError> {
        match reader.u8()? {
            0 => Ok(Consistency::One),
            1 => Ok(Consistency::Quorum),
            2 => Ok(Consistency::All),
            _ => Err(DecodeError::Invalid("a consistency")),
        }
    }
}

/// Place 10, entry.
impl Codec for Target {
    fn encode(&self, writer: &mut Writer) {
        self.place.encode(writer);
        self.entry.encode(writer);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Target, DecodeError> {
        Ok(Target {
            place: Place::decode(reader)?,
            entry: Entry::decode(reader)?,
        })
    }
}

/// 0 unsaid, 1 blind, 2 and the dots seen.
impl Codec for Basis {
    fn encode(&self, writer: &mut Writer) {
        match self {
            Basis::Unsaid => writer.u8(0),
            Basis::Blind => writer.u8(1),
            Basis::Seen(context) => {
                writer.u8(2);
                context.encode(writer);
            }
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Basis, DecodeError> {
        match reader.u8()? {
            0 => Ok(Basis::Unsaid),
            1 => Ok(Basis::Blind),
            2 => DotSet::decode(reader).map(Basis::Seen),
            _ => Err(DecodeError::Invalid("a write's basis")),
        }
    }
}

/// Target, value or none, basis, consistency 1.
impl Codec for WriteRequest {
    fn encode(&self, writer: &mut Writer) {
        self.target.encode(writer);
        writer.option(self.value.as_ref());
        self.basis.encode(writer);
        self.consistency.encode(writer);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<WriteRequest, DecodeError> {
        Ok(WriteRequest {
            target: Target::decode(reader)?,
            value: reader.option()?,
            basis: Basis::decode(reader)?,
            consistency: Consistency::decode(reader)?,
        })
    }
}

/// Target, consistency 1.
impl Codec for ReadRequest {
    fn encode(&self, writer: &mut Writer) {
        self.target.encode(writer);
        self.consistency.encode(writer);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<ReadRequest, DecodeError> {
        let target = Target::decode(reader)?;
        Ok(ReadRequest {
            target,
            consistency: Consistency::decode(reader)?,
        })
    }
}

/// 2 bytes: reached, replicas.
impl Codec for Achieved {
    fn encode(&self, writer: &mut Writer) {
        writer.u8(self.reached);
        writer.u8(self.replicas);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Achieved, DecodeError> {
        Ok(Achieved {
            reached: reader.u8()?,
            replicas: reader.u8()?,
        })
    }
}

/// Context, existed 1, versions, achieved 2, node 8.
impl Codec for WriteAnswer {
    fn encode(&self, writer: &mut Writer) {
        self.context.encode(writer);
        writer.u8(u8::from(self.existed));
        self.versions.encode(writer);
        self.achieved.encode(writer);
        writer.u64(self.served_by.0);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<WriteAnswer, DecodeError> {
        Ok(WriteAnswer {
            context: DotSet::decode(reader)?,
            existed: reader.u8()? != 0,
            versions: DotSet::decode(reader)?,
            achieved: Achieved::decode(reader)?,
            served_by: NodeId(reader.u64()?),
        })
    }
}

/// Object, achieved 2, node 8.
impl Codec for ReadAnswer {
    fn encode(&self, writer: &mut Writer) {
        self.object.encode(writer);
        self.achieved.encode(writer);
        writer.u64(self.served_by.0);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<ReadAnswer, DecodeError> {
        Ok(ReadAnswer {
            object: Object::decode(reader)?,
            achieved: Achieved::decode(reader)?,
            served_by: NodeId(reader.u64()?),
        })
    }
}

/// A tag 1, then the error's fields.
impl Codec for OperationError {
    fn encode(&self, writer: &mut Writer) {
        let mut figures = |tag, reached, needed| {
            writer.u8(tag);
            writer.u8(reached);
            writer.u8(needed);
        };
        match self {
            OperationError::QuorumUnavailable { reached, needed } => figures(2, *reached, *needed),
            OperationError::OutcomeUnknown { reached, needed } => figures(3, *reached, *needed),
            OperationError::ContextRequired { context } => {
                writer.u8(0);
                context.encode(writer);
            }
            OperationError::TooManySiblings { context } => {
                writer.u8(1);
                context.encode(writer);
            }
            OperationError::ClockSkew { skew } => {
                writer.u8(4);
                writer.i64(skew.0);
            }
            OperationError::DiskFull => writer.u8(5),
            OperationError::Overloaded => writer.u8(6),
            OperationError::NotServed => writer.u8(7),
            OperationError::NotReady => writer.u8(8),
            OperationError::Storage => writer.u8(9),
            OperationError::Rejected(rejection) => {
                writer.u8(10);
                rejection.encode(writer);
            }
            OperationError::PolicyUnavailable { plugin, reason } => {
                writer.u8(11);
                writer.bytes(plugin.as_str().as_bytes());
                writer.bytes(reason.as_bytes());
            }
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<OperationError, DecodeError> {
        Ok(match reader.u8()? {
            0 => OperationError::ContextRequired {
                context: DotSet::decode(reader)?,
            },
            1 => OperationError::TooManySiblings {
                context: DotSet::decode(reader)?,
            },
            2 => OperationError::QuorumUnavailable {
                reached: reader.u8()?,
                needed: reader.u8()?,
            },
            3 => OperationError::OutcomeUnknown {
                reached: reader.u8()?,
                needed: reader.u8()?,
            },
            4 => OperationError::ClockSkew {
                skew: Skew(reader.i64()?),
            },
            5 => OperationError::DiskFull,
            6 => OperationError::Overloaded,
            7 => OperationError::NotServed,
            8 => OperationError::NotReady,
            9 => OperationError::Storage,
            10 => OperationError::Rejected(Box::new(Rejection::decode(reader)?)),
            11 => OperationError::PolicyUnavailable {
                plugin: plugin(reader)?,
                reason: reader.text(POLICY_TEXT_BYTES_MAX)?,
            },
            _ => return Err(DecodeError::Invalid("an operation's error")),
        })
    }
}

fn plugin(reader: &mut Reader<'_>) -> Result<PluginName, DecodeError> {
    let name = reader.text(PLUGIN_NAME_BYTES_MAX)?;
    name.parse().map_err(|_| DecodeError::Invalid("a plugin"))
}

/// Plugin, version, code, message; whether there is a pointer 1, and it.
impl Codec for Rejection {
    fn encode(&self, writer: &mut Writer) {
        let Refusal {
            code,
            message,
            pointer,
        } = &self.refusal;
        for text in [self.plugin.as_str(), self.version.as_str(), code, message] {
            writer.bytes(text.as_bytes());
        }
        writer.u8(u8::from(pointer.is_some()));
        if let Some(pointer) = pointer {
            writer.bytes(pointer.as_bytes());
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Rejection, DecodeError> {
        let plugin = plugin(reader)?;
        let version = reader.text(PLUGIN_VERSION_BYTES_MAX)?;
        let version = version
            .parse()
            .map_err(|_| DecodeError::Invalid("a plugin's version"))?;
        let code = reader.text(POLICY_TEXT_BYTES_MAX)?;
        let message = reader.text(POLICY_TEXT_BYTES_MAX)?;
        let pointer = match reader.u8()? {
            0 => None,
            _ => Some(reader.text(POLICY_TEXT_BYTES_MAX)?),
        };
        Ok(Rejection {
            plugin,
            version,
            refusal: Refusal {
                code,
                message,
                pointer,
            },
        })
    }
}
