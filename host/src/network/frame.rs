//! This is the unit of a peer stream: a frame, many of which share one write. A message longer
//! than a segment travels as several frames, between which frames of other messages fit.
//!
//! Layout, big-endian: length of what follows (u32), version (u8), kind (u8), id of the message
//! (u64), the sender's epoch (u64), milliseconds left until the deadline (u32, 0 when no answer is
//! wanted), payload.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use soros_core::epoch::Epoch;
use soros_core::limits::MESSAGE_BYTES_MAX;
use std::collections::BTreeMap;

/// The layout above.
const VERSION: u8 = 1;
/// The bytes of the length itself.
const LENGTH_BYTES: usize = 4;
/// The bytes between the length and the payload.
const HEAD_BYTES: usize = 1 + 1 + 8 + 8 + 4;
/// The most payload of one frame.
pub(super) const SEGMENT_BYTES_MAX: usize = 32 << 10;
/// How many messages of several segments a stream may have begun, and what they may hold.
pub(super) const BEGUN_MAX: usize = 4;
pub(super) const BEGUN_BYTES_MAX: usize = 144 << 20;

const _: () = assert!(MESSAGE_BYTES_MAX <= BEGUN_BYTES_MAX);

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A whole message, or the last segment of one.
    Message,
    /// A segment with more to follow.
    Segment,
    /// The message that was begun is not sent to its end.
    Abandoned,
    /// The first frame in each direction of a stream: who speaks.
    Hello,
    /// Instead of an answer: the message was not taken, and had no effect.
    NotTaken,
    /// Instead of an answer: the handler failed.
    Failed,
    /// The sender is leaving: it answers what it has, and wants no more.
    Goodbye,
}

/// Each kind and its byte.
const KINDS: [(Kind, u8); 7] = [
    (Kind::Message, 0),
    (Kind::Segment, 1),
    (Kind::Abandoned, 2),
    (Kind::Hello, 3),
    (Kind::NotTaken, 4),
    (Kind::Failed, 5),
    (Kind::Goodbye, 6),
];

/// A frame, or a message put together from its frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    pub(super) id: u64,
    pub(super) epoch: Epoch,
    pub(super) millis_left: u32,
    pub(super) payload: Bytes,
}

/// Why a peer's bytes are no frames. The stream cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrameError {
    /// A frame is shorter than its head or longer than a segment.
    #[error("a frame of {0} bytes")]
    Length(usize),
    /// A frame has another layout.
    #[error("frame version {0}")]
    Version(u8),
    /// A frame is of no known kind.
    #[error("frame kind {0}")]
    Kind(u8),
    /// Messages of several segments hold more than they may.
    #[error("too much of too many messages is begun")]
    TooMuchBegun,
    /// The stream does not begin with who speaks.
    #[error("the stream does not begin with a hello")]
    NoHello,
}

impl Kind {
    fn byte(self) -> u8 {
        KINDS
            .iter()
            .find(|(kind, _)| *kind == self)
            .map_or(u8::MAX, |(_, byte)| *byte)
    }

    fn of(byte: u8) -> Result<Kind, FrameError> {
        let known = KINDS.iter().find(|(_, known)| *known == byte);
        known.map(|(kind, _)| *kind).ok_or(FrameError::Kind(byte))
    }
}

impl Frame {
    /// Appends the bytes of the frame.
    ///
    /// # Panics
    /// When the payload is longer than a segment.
    pub(super) fn write(&self, batch: &mut BytesMut) {
        assert!(
            self.payload.len() <= SEGMENT_BYTES_MAX,
            "a frame holds one segment"
        );
        let length = HEAD_BYTES + self.payload.len();
        batch.reserve(LENGTH_BYTES + length);
        batch.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
        batch.put_u8(VERSION);
        batch.put_u8(self.kind.byte());
        batch.put_u64(self.id);
        batch.put_u64(self.epoch.0);
        batch.put_u32(self.millis_left);
        batch.extend_from_slice(&self.payload);
    }

    /// Reads a frame from all of `bytes`, its length included.
    fn read(mut bytes: Bytes) -> Result<Frame, FrameError> {
        bytes.advance(LENGTH_BYTES);
        let version = bytes.get_u8();
        if version != VERSION {
            return Err(FrameError::Version(version));
        }
        let kind = Kind::of(bytes.get_u8())?;
        let (id, epoch, millis_left) = (bytes.get_u64(), Epoch(bytes.get_u64()), bytes.get_u32());
        Ok(Frame {
            kind,
            id,
            epoch,
            millis_left,
            payload: bytes,
        })
    }
}

/// How long the frame at the front of `bytes` is, its length included; `None` before the length
/// is there.
fn whole_length(bytes: &[u8]) -> Result<Option<usize>, FrameError> {
    let Some(length) = bytes.first_chunk() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes(*length) as usize;
    if (HEAD_BYTES..=HEAD_BYTES + SEGMENT_BYTES_MAX).contains(&length) {
        Ok(Some(LENGTH_BYTES + length))
    } else {
        Err(FrameError::Length(length))
    }
}

/// Takes frames out of chunks that were cut anywhere. Holds at most one chunk and one frame.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    chunk: Bytes,
    /// The front of a frame that spans chunks.
    carry: BytesMut,
}

impl Decoder {
    /// Adds what has arrived. The frames before must have been taken out.
    pub(super) fn push(&mut self, chunk: Bytes) {
        debug_assert!(
            self.chunk.is_empty(),
            "frames are taken out before more is pushed"
        );
        self.chunk = chunk;
    }

    /// The next whole frame.
    pub(super) fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        if self.carry.is_empty()
            && let Some(whole) = whole_length(&self.chunk)?
            && whole <= self.chunk.len()
        {
            return Frame::read(self.chunk.split_to(whole)).map(Some);
        }
        self.fill_carry(LENGTH_BYTES);
        let Some(whole) = whole_length(&self.carry)? else {
            return Ok(None);
        };
        self.carry.reserve(whole - self.carry.len());
        self.fill_carry(whole);
        if self.carry.len() < whole {
            return Ok(None);
        }
        Frame::read(self.carry.split().freeze()).map(Some)
    }

    /// Moves bytes of the chunk until `bytes` are carried or the chunk is empty.
    fn fill_carry(&mut self, bytes: usize) {
        let missing = bytes.saturating_sub(self.carry.len()).min(self.chunk.len());
        self.carry.extend_from_slice(&self.chunk.split_to(missing));
    }
}

/// Puts messages together from their segments, within bounds.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    begun: BTreeMap<u64, BytesMut>,
    bytes: usize,
}

impl Assembler {
    /// Takes a frame; gives a message when it was its last.
    pub(super) fn take(&mut self, frame: Frame) -> Result<Option<Frame>, FrameError> {
        match frame.kind {
            Kind::Segment => self.append(&frame).map(|()| None),
            Kind::Abandoned => {
                self.remove(frame.id);
                Ok(None)
            }
            Kind::Message if self.begun.contains_key(&frame.id) => {
                self.append(&frame)?;
                let payload = self.remove(frame.id).unwrap_or_default().freeze();
                Ok(Some(Frame { payload, ..frame }))
            }
            Kind::Message | Kind::Hello | Kind::NotTaken | Kind::Failed | Kind::Goodbye => {
                Ok(Some(frame))
            }
        }
    }

    fn append(&mut self, segment: &Frame) -> Result<(), FrameError> {
        let is_new = !self.begun.contains_key(&segment.id);
        let held = self.begun.get(&segment.id).map_or(0, BytesMut::len);
        let len = segment.payload.len();
        let fits = held + len <= MESSAGE_BYTES_MAX && self.bytes + len <= BEGUN_BYTES_MAX;
        if !fits || (is_new && self.begun.len() == BEGUN_MAX) {
            return Err(FrameError::TooMuchBegun);
        }
        self.bytes += len;
        self.begun
            .entry(segment.id)
            .or_default()
            .extend_from_slice(&segment.payload);
        Ok(())
    }

    fn remove(&mut self, id: u64) -> Option<BytesMut> {
        let removed = self.begun.remove(&id);
        self.bytes -= removed.as_ref().map_or(0, BytesMut::len);
        removed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{Strategy, any, prop_assert_eq, proptest};

    fn frame(kind: Kind, id: u64, payload: impl Into<Bytes>) -> Frame {
        Frame {
            kind,
            id,
            epoch: Epoch(7),
            millis_left: 250,
            payload: payload.into(),
        }
    }

    fn frames() -> impl Strategy<Value = Vec<Frame>> {
        let payload = proptest::collection::vec(any::<u8>(), 0..300);
        let head = (0..KINDS.len(), any::<u64>(), any::<u64>(), any::<u32>());
        let one = (head, payload).prop_map(|((kind, id, epoch, millis_left), payload)| Frame {
            kind: KINDS[kind].0,
            id,
            epoch: Epoch(epoch),
            millis_left,
            payload: payload.into(),
        });
        proptest::collection::vec(one, 0..20)
    }

    fn decode(bytes: &[u8], cuts: &[usize]) -> Result<Vec<Frame>, FrameError> {
        let (mut decoder, mut frames, mut rest) = (Decoder::default(), Vec::new(), bytes);
        for cut in cuts.iter().copied().chain([usize::MAX]) {
            let (chunk, tail) = rest.split_at(cut.min(rest.len()));
            rest = tail;
            decoder.push(Bytes::copy_from_slice(chunk));
            while let Some(frame) = decoder.next_frame()? {
                frames.push(frame);
            }
        }
        Ok(frames)
    }

    proptest! {
        #[test]
        fn reads_back_what_was_written_wherever_it_was_cut(
            frames in frames(),
            cuts in proptest::collection::vec(0..100_usize, 0..100),
        ) {
            let mut bytes = BytesMut::new();
            for frame in &frames {
                frame.write(&mut bytes);
            }
            prop_assert_eq!(decode(&bytes, &cuts), Ok(frames));
        }

        #[test]
        fn never_panics_and_never_holds_more_than_a_frame(
            bytes in proptest::collection::vec(any::<u8>(), 0..2000),
            cuts in proptest::collection::vec(0..50_usize, 0..50),
        ) {
            let _ = decode(&bytes, &cuts);
        }

        #[test]
        fn survives_a_flipped_byte(
            frames in frames(),
            at in any::<proptest::sample::Index>(),
            flip in 1..=u8::MAX,
        ) {
            let mut bytes = BytesMut::new();
            for frame in &frames {
                frame.write(&mut bytes);
            }
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] ^= flip;
                let mut assembler = Assembler::default();
                for frame in decode(&bytes, &[]).unwrap_or_default() {
                    let _ = assembler.take(frame);
                }
            }
        }
    }

    #[test]
    fn refuses_lengths_that_no_frame_has_before_anything_is_kept() {
        for length in [
            0,
            HEAD_BYTES - 1,
            HEAD_BYTES + SEGMENT_BYTES_MAX + 1,
            u32::MAX as usize,
        ] {
            let mut decoder = Decoder::default();
            decoder.push(Bytes::copy_from_slice(
                &u32::try_from(length).unwrap().to_be_bytes(),
            ));
            assert_eq!(decoder.next_frame(), Err(FrameError::Length(length)));
            assert!(decoder.carry.capacity() < 100);
        }
    }

    #[test]
    fn refuses_other_layouts_and_unknown_kinds() {
        let mut bytes = BytesMut::new();
        frame(Kind::Message, 1, "x").write(&mut bytes);
        bytes[4] = 2;
        assert_eq!(decode(&bytes, &[]), Err(FrameError::Version(2)));
        bytes[4] = VERSION;
        bytes[5] = 99;
        assert_eq!(decode(&bytes, &[]), Err(FrameError::Kind(99)));
    }

    #[test]
    fn puts_interleaved_messages_together() {
        let mut assembler = Assembler::default();
        let mut take = |frame: Frame| assembler.take(frame).unwrap();
        assert_eq!(take(frame(Kind::Segment, 1, "a")), None);
        assert_eq!(take(frame(Kind::Segment, 2, "x")), None);
        assert_eq!(
            take(frame(Kind::Message, 3, "small")),
            Some(frame(Kind::Message, 3, "small"))
        );
        assert_eq!(take(frame(Kind::Segment, 1, "b")), None);
        assert_eq!(take(frame(Kind::Abandoned, 2, "")), None);
        assert_eq!(
            take(frame(Kind::Message, 1, "c")),
            Some(frame(Kind::Message, 1, "abc"))
        );
        assert_eq!((assembler.begun.len(), assembler.bytes), (0, 0));
    }

    #[test]
    fn bounds_what_is_begun_by_count_and_by_bytes() {
        let mut assembler = Assembler::default();
        for id in 0..BEGUN_MAX as u64 {
            assert_eq!(assembler.take(frame(Kind::Segment, id, "x")), Ok(None));
        }
        let one_more = frame(Kind::Segment, BEGUN_MAX as u64, "x");
        assert_eq!(assembler.take(one_more), Err(FrameError::TooMuchBegun));

        let mut assembler = Assembler::default();
        let segment = frame(Kind::Segment, 1, vec![0; SEGMENT_BYTES_MAX]);
        for _ in 0..MESSAGE_BYTES_MAX / SEGMENT_BYTES_MAX {
            assert_eq!(assembler.take(segment.clone()), Ok(None));
        }
        assert_eq!(assembler.take(segment), Err(FrameError::TooMuchBegun));
    }
}
