//! This is the name of one write: the actor that minted it, and that actor's count.

use crate::codec::{Codec, DecodeError, Reader, Writer};
use crate::id::{Generation, Incarnation, NodeId};

/// Who mints dots: one life of one partition's state in one life of one node's process. No two
/// lives share an actor, so no dot is ever minted twice, whatever a disk forgets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Actor {
    /// The node that mints.
    pub node: NodeId,
    /// The life of its process.
    pub incarnation: Incarnation,
    /// The life of the partition's state within the node.
    pub generation: Generation,
}

/// The name of one write. Counters start at 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dot {
    /// Who minted it.
    pub actor: Actor,
    /// Which of the actor's writes it is.
    pub counter: u64,
}

impl Actor {
    /// The dot of this actor's write number `counter`.
    #[must_use]
    pub fn dot(self, counter: u64) -> Dot {
        Dot {
            actor: self,
            counter,
        }
    }

    /// Whether it is no actor but the name of a list of closed ones: generations start at 1.
    #[must_use]
    pub fn is_name(&self) -> bool {
        self.generation == Generation(0)
    }
}

/// 28 bytes: node 8, incarnation 16, generation 4.
impl Codec for Actor {
    fn encode(&self, writer: &mut Writer) {
        writer.u64(self.node.0);
        writer.u128(self.incarnation.0);
        writer.u32(self.generation.0);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Actor, DecodeError> {
        Ok(Actor {
            node: NodeId(reader.u64()?),
            incarnation: Incarnation(reader.u128()?),
            generation: Generation(reader.u32()?),
        })
    }
}

/// 36 bytes: the actor 28, the counter 8; so dots in byte order are dots in order.
impl Codec for Dot {
    fn encode(&self, writer: &mut Writer) {
        self.actor.encode(writer);
        writer.u64(self.counter);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Dot, DecodeError> {
        let actor = Actor::decode(reader)?;
        match reader.u64()? {
            0 => Err(DecodeError::Invalid("a dot's counter of 0")),
            counter => Ok(Dot { actor, counter }),
        }
    }
}
