//! This is what the membership protocol sends: who speaks to whom, what about, and news of
//! members, in big-endian fields.
//!
//! Layout: identity = node (u64), start (u32), renewal (u32); member = identity, incarnation
//! (u16), state (u8); header = source identity, its incarnation (u16), destination identity, kind
//! (u8), and what the kind has: a probe's number (u8), the third node of an indirect probe.

use crate::id::NodeId;
use bytes::{Buf, BufMut};
use foca::{Header, Member, Message, State};

/// A node, in one of its lives. A later life is of a later start of its process, or of the same
/// process after the others had given it up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Life {
    pub(super) node: NodeId,
    pub(super) start: u32,
    pub(super) renewal: u32,
}

/// How often a process may be given up wrongly before its lives pass those of later starts.
const PLAIN_RENEWALS: u32 = 4;

impl foca::Identity for Life {
    type Addr = NodeId;

    /// A life after this one; after some renewals in a row one after every other: starts are
    /// counted by wall clocks, and one that was set back counts from less than the others know of.
    fn renew(&self) -> Option<Life> {
        let doublings = self.renewal.checked_sub(PLAIN_RENEWALS);
        let ahead = doublings.map_or(0, |by| 1_u32.checked_shl(by).unwrap_or(u32::MAX));
        Some(Life {
            node: self.node,
            start: self.start.saturating_add(ahead),
            renewal: self.renewal.checked_add(1)?,
        })
    }

    fn addr(&self) -> NodeId {
        self.node
    }

    fn win_addr_conflict(&self, adversary: &Life) -> bool {
        self > adversary
    }
}

/// Bytes that are no message of the protocol, or do not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum WireError {
    #[error("the bytes end too early")]
    Short,
    #[error("no room is left")]
    Full,
    #[error("`{0}` has no meaning here")]
    Invalid(&'static str),
}

impl From<bytes::TryGetError> for WireError {
    fn from(_: bytes::TryGetError) -> WireError {
        WireError::Short
    }
}

const LIFE_BYTES: usize = 16;
const MEMBER_BYTES: usize = LIFE_BYTES + 2 + 1;
/// The longest header: of an indirect probe.
const HEADER_BYTES_MAX: usize = LIFE_BYTES + 2 + LIFE_BYTES + 1 + 1 + LIFE_BYTES;

/// Writes and reads the layout above.
pub(super) struct Wire;

impl foca::Codec<Life> for Wire {
    type Error = WireError;

    fn encode_header(
        &mut self,
        header: &Header<Life>,
        mut buffer: impl BufMut,
    ) -> Result<(), WireError> {
        check_room(&buffer, HEADER_BYTES_MAX)?;
        put_life(&mut buffer, header.src);
        buffer.put_u16(header.src_incarnation);
        put_life(&mut buffer, header.dst);
        put_message(&mut buffer, &header.message);
        Ok(())
    }

    fn decode_header(&mut self, mut buffer: impl Buf) -> Result<Header<Life>, WireError> {
        Ok(Header {
            src: get_life(&mut buffer)?,
            src_incarnation: buffer.try_get_u16()?,
            dst: get_life(&mut buffer)?,
            message: get_message(&mut buffer)?,
        })
    }

    fn encode_member(
        &mut self,
        member: &Member<Life>,
        mut buffer: impl BufMut,
    ) -> Result<(), WireError> {
        check_room(&buffer, MEMBER_BYTES)?;
        put_life(&mut buffer, *member.id());
        buffer.put_u16(member.incarnation());
        buffer.put_u8(match member.state() {
            State::Alive => 0,
            State::Suspect => 1,
            State::Down => 2,
        });
        Ok(())
    }

    fn decode_member(&mut self, mut buffer: impl Buf) -> Result<Member<Life>, WireError> {
        let (life, incarnation) = (get_life(&mut buffer)?, buffer.try_get_u16()?);
        let state = match buffer.try_get_u8()? {
            0 => State::Alive,
            1 => State::Suspect,
            2 => State::Down,
            _ => return Err(WireError::Invalid("state")),
        };
        Ok(Member::new(life, incarnation, state))
    }
}

fn check_room(buffer: &impl BufMut, bytes: usize) -> Result<(), WireError> {
    if buffer.remaining_mut() < bytes {
        Err(WireError::Full)
    } else {
        Ok(())
    }
}

fn put_life(buffer: &mut impl BufMut, life: Life) {
    buffer.put_u64(life.node.0);
    buffer.put_u32(life.start);
    buffer.put_u32(life.renewal);
}

fn get_life(buffer: &mut impl Buf) -> Result<Life, WireError> {
    Ok(Life {
        node: NodeId(buffer.try_get_u64()?),
        start: buffer.try_get_u32()?,
        renewal: buffer.try_get_u32()?,
    })
}

fn put_message(buffer: &mut impl BufMut, message: &Message<Life>) {
    let (kind, number, third) = match message {
        Message::Ping(number) => (0, Some(number), None),
        Message::Ack(number) => (1, Some(number), None),
        Message::PingReq {
            target,
            probe_number,
        } => (2, Some(probe_number), Some(target)),
        Message::IndirectPing {
            origin,
            probe_number,
        } => (3, Some(probe_number), Some(origin)),
        Message::IndirectAck {
            target,
            probe_number,
        } => (4, Some(probe_number), Some(target)),
        Message::ForwardedAck {
            origin,
            probe_number,
        } => (5, Some(probe_number), Some(origin)),
        Message::Announce => (6, None, None),
        Message::Feed => (7, None, None),
        Message::Gossip => (8, None, None),
        Message::Broadcast => (9, None, None),
        Message::TurnUndead => (10, None, None),
    };
    buffer.put_u8(kind);
    if let Some(number) = number {
        buffer.put_u8(*number);
    }
    if let Some(third) = third {
        put_life(buffer, *third);
    }
}

fn get_message(buffer: &mut impl Buf) -> Result<Message<Life>, WireError> {
    let kind = buffer.try_get_u8()?;
    let probe_number = if kind <= 5 { buffer.try_get_u8()? } else { 0 };
    Ok(match kind {
        0 => Message::Ping(probe_number),
        1 => Message::Ack(probe_number),
        2 => Message::PingReq {
            target: get_life(buffer)?,
            probe_number,
        },
        3 => Message::IndirectPing {
            origin: get_life(buffer)?,
            probe_number,
        },
        4 => Message::IndirectAck {
            target: get_life(buffer)?,
            probe_number,
        },
        5 => Message::ForwardedAck {
            origin: get_life(buffer)?,
            probe_number,
        },
        6 => Message::Announce,
        7 => Message::Feed,
        8 => Message::Gossip,
        9 => Message::Broadcast,
        10 => Message::TurnUndead,
        _ => return Err(WireError::Invalid("kind")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use foca::{Codec, Identity};

    fn life(node: u64) -> Life {
        Life {
            node: NodeId(node),
            start: 3,
            renewal: 4,
        }
    }

    #[test]
    fn reads_back_every_kind_of_message() {
        let (target, origin, probe_number) = (life(8), life(9), 77);
        for message in [
            Message::Ping(1),
            Message::Ack(255),
            Message::PingReq {
                target,
                probe_number,
            },
            Message::IndirectPing {
                origin,
                probe_number,
            },
            Message::IndirectAck {
                target,
                probe_number,
            },
            Message::ForwardedAck {
                origin,
                probe_number,
            },
            Message::Announce,
            Message::Feed,
            Message::Gossip,
            Message::Broadcast,
            Message::TurnUndead,
        ] {
            let header = Header {
                src: life(1),
                src_incarnation: 7,
                dst: life(2),
                message,
            };
            let mut bytes = Vec::new();
            Wire.encode_header(&header, &mut bytes).unwrap();
            assert!(bytes.len() <= HEADER_BYTES_MAX);
            assert_eq!(Wire.decode_header(&bytes[..]), Ok(header));
            let cut = Wire.decode_header(&bytes[..bytes.len() - 1]);
            assert_eq!(cut, Err(WireError::Short));
        }
    }

    #[test]
    fn reads_back_every_state_of_a_member_and_leaves_a_full_buffer_alone() {
        for state in [State::Alive, State::Suspect, State::Down] {
            let member = Member::new(life(5), 6, state);
            let mut bytes = Vec::new();
            Wire.encode_member(&member, &mut bytes).unwrap();
            assert_eq!(Wire.decode_member(&bytes[..]), Ok(member.clone()));
            let mut small = Vec::new().limit(MEMBER_BYTES - 1);
            assert_eq!(
                Wire.encode_member(&member, &mut small),
                Err(WireError::Full)
            );
            assert_eq!(small.get_ref().len(), 0);
        }
        assert_eq!(
            Wire.decode_member(&[9; MEMBER_BYTES][..]),
            Err(WireError::Invalid("state"))
        );
    }

    #[test]
    fn puts_a_later_start_above_the_first_renewals_of_an_earlier_one() {
        let first = Life {
            renewal: 0,
            ..life(1)
        };
        let restarted = Life { start: 4, ..first };
        let mut renewed = first;
        for _ in 0..PLAIN_RENEWALS {
            let next = renewed.renew().unwrap();
            assert!(next.win_addr_conflict(&renewed) && restarted.win_addr_conflict(&next));
            renewed = next;
        }
        assert_eq!(
            Life {
                renewal: u32::MAX,
                ..first
            }
            .renew(),
            None
        );
    }

    #[test]
    fn passes_every_other_life_by_a_few_renewals() {
        let other = Life {
            start: u32::MAX,
            renewal: 20,
            ..life(1)
        };
        let mut life = Life {
            start: 0,
            renewal: 0,
            ..other
        };
        let mut renewals = 0;
        while !life.win_addr_conflict(&other) {
            life = life.renew().unwrap();
            renewals += 1;
        }
        assert!(renewals <= 40, "{renewals}");
    }
}
