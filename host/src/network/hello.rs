//! This is how two nodes meet: each stream between them begins with who speaks, and the node that
//! was dialled may refuse, with a reason for the other's log.

use super::problem::{Code, Problem};
use soros_core::codec::{Codec, DecodeError, Reader, Writer};
use soros_core::id::{ClusterId, Incarnation, NodeId};

/// What this build speaks between nodes.
pub const PROTOCOL: u16 = 1;

/// Who a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The node.
    pub node: NodeId,
    /// The life of its process.
    pub incarnation: Incarnation,
    /// Its cluster; `None` before it founds or joins one.
    pub cluster: Option<ClusterId>,
}

/// Which work a stream carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// Work a client waits for.
    Foreground,
    /// Repair and transfers: never in the way of the other.
    Background,
}

/// The first frame of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// What the sender speaks.
    pub protocol: u16,
    /// Who the sender is.
    pub from: Identity,
    /// Whom it wants to reach; `None` when it knows only an address.
    pub to: Option<NodeId>,
    /// Which work the stream carries.
    pub priority: Priority,
}

/// Why a node refuses another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It speaks another protocol.
    #[error("the nodes speak different peer protocols: run the same version on both")]
    WrongProtocol,
    /// It wanted to reach another node.
    #[error("another node listens at this address: check the peer addresses")]
    WrongNode,
    /// It belongs to another cluster.
    #[error("the node belongs to another cluster: check its directory and its peer addresses")]
    WrongCluster,
    /// Another living process has the same identity.
    #[error("another living process has this node's identity: stop one of the two")]
    Twin,
    /// It is no member of the cluster.
    #[error("the node is no member of this cluster: join it first")]
    NotAMember,
    /// The dialled node is starting or stopping.
    #[error("the node is not ready for peers")]
    NotReady,
}

/// Each refusal and its name on the wire.
const REFUSALS: [(Refusal, &str); 6] = [
    (Refusal::WrongProtocol, "wrong-protocol"),
    (Refusal::WrongNode, "wrong-node"),
    (Refusal::WrongCluster, "wrong-cluster"),
    (Refusal::Twin, "twin"),
    (Refusal::NotAMember, "not-a-member"),
    (Refusal::NotReady, "not-ready"),
];

impl Refusal {
    /// The refusal's name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        REFUSALS
            .iter()
            .find(|(refusal, _)| *refusal == self)
            .map_or("", |(_, name)| name)
    }

    /// The answer to the dialler.
    pub(super) fn to_problem(self) -> Problem {
        Problem::new(Code::Forbidden, self.to_string()).with("refusal", self.as_str())
    }

    /// The refusal in an answer.
    pub(super) fn of_problem(problem: &Problem) -> Option<Refusal> {
        let name = problem.field("refusal")?.as_str()?;
        REFUSALS
            .iter()
            .find(|(_, known)| *known == name)
            .map(|(refusal, _)| *refusal)
    }
}

impl Identity {
    /// Whether `hello` is for this node, at all: the same protocol, the right node, the same
    /// cluster unless one of the two has none yet.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, hello: &Hello) -> Result<(), Refusal> {
        if hello.protocol != PROTOCOL {
            return Err(Refusal::WrongProtocol);
        }
        if hello.to.is_some_and(|to| to != self.node) {
            return Err(Refusal::WrongNode);
        }
        match (hello.from.cluster, self.cluster) {
            (Some(theirs), Some(ours)) if theirs != ours => Err(Refusal::WrongCluster),
            (None | Some(_), None | Some(_)) => Ok(()),
        }
    }
}

impl Codec for Identity {
    fn encode(&self, writer: &mut Writer) {
        writer.u64(self.node.0);
        writer.u128(self.incarnation.0);
        writer.u128(self.cluster.map_or(0, |cluster| cluster.0));
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Identity, DecodeError> {
        let (node, incarnation) = (NodeId(reader.u64()?), Incarnation(reader.u128()?));
        let cluster = reader.u128()?;
        let cluster = (cluster != 0).then_some(ClusterId(cluster));
        Ok(Identity {
            node,
            incarnation,
            cluster,
        })
    }
}

/// Layout: protocol (u16), identity (node u64, incarnation u128, cluster u128 or 0), the node to
/// be reached behind whether there is one (u8, u64), priority (u8). What follows is of a later
/// protocol and is not read, so that it can be told apart.
impl Codec for Hello {
    fn encode(&self, writer: &mut Writer) {
        writer.u16(self.protocol);
        self.from.encode(writer);
        writer.u8(u8::from(self.to.is_some()));
        writer.u64(self.to.map_or(0, |to| to.0));
        writer.u8(match self.priority {
            Priority::Foreground => 0,
            Priority::Background => 1,
        });
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Hello, DecodeError> {
        let (protocol, from) = (reader.u16()?, Identity::decode(reader)?);
        let to = match (reader.u8()?, NodeId(reader.u64()?)) {
            (0, _) => None,
            (1, to) => Some(to),
            _ => return Err(DecodeError::Invalid("node")),
        };
        let priority = match reader.u8()? {
            0 => Priority::Foreground,
            1 => Priority::Background,
            _ => return Err(DecodeError::Invalid("priority")),
        };
        Ok(Hello {
            protocol,
            from,
            to,
            priority,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(node: u64, cluster: u128) -> Identity {
        let cluster = (cluster != 0).then_some(ClusterId(cluster));
        Identity {
            node: NodeId(node),
            incarnation: Incarnation(5),
            cluster,
        }
    }

    fn hello(cluster: u128, to: Option<NodeId>) -> Hello {
        let (from, priority) = (identity(1, cluster), Priority::Background);
        Hello {
            protocol: PROTOCOL,
            from,
            to,
            priority,
        }
    }

    #[test]
    fn reads_back_what_was_written() {
        for hello in [hello(0, None), hello(9, Some(NodeId(2)))] {
            assert_eq!(Hello::from_bytes(&hello.to_bytes()), Ok(hello));
        }
        assert_eq!(Hello::from_bytes(&[0; 3]), Err(DecodeError::Short));
    }

    #[test]
    fn refuses_the_wrong_node_cluster_and_protocol() {
        let node = identity(2, 9);
        assert_eq!(node.check(&hello(9, Some(NodeId(2)))), Ok(()));
        assert_eq!(node.check(&hello(0, None)), Ok(()));
        assert_eq!(identity(2, 0).check(&hello(9, None)), Ok(()));
        assert_eq!(
            node.check(&hello(9, Some(NodeId(3)))),
            Err(Refusal::WrongNode)
        );
        assert_eq!(node.check(&hello(8, None)), Err(Refusal::WrongCluster));
        let later = Hello {
            protocol: PROTOCOL + 1,
            ..hello(9, None)
        };
        assert_eq!(node.check(&later), Err(Refusal::WrongProtocol));
    }

    #[test]
    fn tells_the_dialler_why() {
        for (refusal, _) in REFUSALS {
            let problem = Problem::parse(&refusal.to_problem().to_json()).unwrap();
            assert_eq!(Refusal::of_problem(&problem), Some(refusal));
        }
    }
}
