//! This is what waits to be written to a stream: messages, drained many at a time into one batch,
//! the small ones whole and first, the large ones a segment at a time in turns.

use super::frame::{BEGUN_BYTES_MAX, BEGUN_MAX, Frame, Kind, SEGMENT_BYTES_MAX};
use bytes::{Bytes, BytesMut};
use soros_core::epoch::Epoch;
use std::collections::VecDeque;
use tokio::time::Instant;

/// A batch is not made longer once it has this many bytes.
const BATCH_BYTES: usize = 64 << 10;

/// A message to be written, and what is held until it was.
#[derive(Debug)]
pub(super) struct Outgoing<T> {
    pub(super) kind: Kind,
    pub(super) id: u64,
    /// When its answer is due; `None` when no answer is wanted.
    pub(super) deadline: Option<Instant>,
    pub(super) payload: Bytes,
    /// Let go when the message was handed over or dropped.
    pub(super) held: T,
}

/// Who wants messages, and learns that one was handed to the connection.
pub(super) trait Gate<T> {
    /// Whether the message is still wanted; one that is not is left out.
    fn wants(&mut self, message: &Outgoing<T>) -> bool;

    /// The last byte of the message is in a batch.
    fn on_handed(&mut self, message: Outgoing<T>);
}

/// Messages that wait.
#[derive(Debug)]
pub(super) struct Outbox<T> {
    small: VecDeque<Outgoing<T>>,
    large: VecDeque<Outgoing<T>>,
    begun: VecDeque<Begun<T>>,
    bytes: usize,
    scratch: BytesMut,
}

#[derive(Debug)]
struct Begun<T> {
    message: Outgoing<T>,
    sent: usize,
}

impl<T> Default for Outbox<T> {
    fn default() -> Outbox<T> {
        Outbox {
            small: VecDeque::new(),
            large: VecDeque::new(),
            begun: VecDeque::new(),
            bytes: 0,
            scratch: BytesMut::new(),
        }
    }
}

impl<T> Outbox<T> {
    /// How many messages wait.
    pub(super) fn len(&self) -> usize {
        self.small.len() + self.large.len() + self.begun.len()
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes of payload wait.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a message at the end.
    pub(super) fn push(&mut self, message: Outgoing<T>) {
        self.bytes += message.payload.len();
        if message.payload.len() <= SEGMENT_BYTES_MAX {
            self.small.push_back(message);
        } else {
            self.large.push_back(message);
        }
    }

    /// Forgets all that waits.
    pub(super) fn clear(&mut self) {
        *self = Outbox {
            scratch: std::mem::take(&mut self.scratch),
            ..Outbox::default()
        };
    }

    /// Drops what `keep` does not want of the messages that are not begun.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&Outgoing<T>) -> bool) {
        let bytes = &mut self.bytes;
        let mut keep = |message: &Outgoing<T>| {
            let kept = keep(message);
            if !kept {
                *bytes -= message.payload.len();
            }
            kept
        };
        self.small.retain(&mut keep);
        self.large.retain(&mut keep);
    }

    /// The next bytes to write: empty when nothing that is wanted waits.
    pub(super) fn batch(&mut self, epoch: Epoch, now: Instant, gate: &mut impl Gate<T>) -> Bytes {
        while self.scratch.len() < BATCH_BYTES
            && let Some(message) = self.small.pop_front()
        {
            self.bytes -= message.payload.len();
            if gate.wants(&message) {
                let payload = message.payload.clone();
                message
                    .frame(message.kind, epoch, now, payload)
                    .write(&mut self.scratch);
                gate.on_handed(message);
            }
        }
        // One segment at least, or a stream of small messages would starve the large ones.
        while self.write_segment(epoch, now, gate) && self.scratch.len() < BATCH_BYTES {}
        self.scratch.split().freeze()
    }

    /// Writes a segment of the large message whose turn it is; whether there was one.
    fn write_segment(&mut self, epoch: Epoch, now: Instant, gate: &mut impl Gate<T>) -> bool {
        self.begin_large();
        let Some(mut begun) = self.begun.pop_front() else {
            return false;
        };
        let message = &begun.message;
        let left = message.payload.len() - begun.sent;
        if !gate.wants(message) {
            self.bytes -= left;
            if begun.sent > 0 {
                message
                    .frame(Kind::Abandoned, epoch, now, Bytes::new())
                    .write(&mut self.scratch);
            }
            return true;
        }
        let len = left.min(SEGMENT_BYTES_MAX);
        let segment = message.payload.slice(begun.sent..begun.sent + len);
        let kind = if len < left {
            Kind::Segment
        } else {
            message.kind
        };
        message
            .frame(kind, epoch, now, segment)
            .write(&mut self.scratch);
        self.bytes -= len;
        begun.sent += len;
        if len < left {
            self.begun.push_back(begun);
        } else {
            gate.on_handed(begun.message);
        }
        true
    }

    /// Begins as many large messages as the other side takes at a time.
    fn begin_large(&mut self) {
        while let Some(next) = self.large.front() {
            let held: usize = self
                .begun
                .iter()
                .map(|begun| begun.message.payload.len())
                .sum();
            let fits = held + next.payload.len() <= BEGUN_BYTES_MAX;
            if self.begun.len() == BEGUN_MAX || !fits {
                return;
            }
            self.begun.extend(
                self.large
                    .pop_front()
                    .map(|message| Begun { message, sent: 0 }),
            );
        }
    }
}

impl<T> Outgoing<T> {
    fn frame(&self, kind: Kind, epoch: Epoch, now: Instant, payload: Bytes) -> Frame {
        let millis_left = self.deadline.map_or(0, |deadline| {
            let left = deadline.saturating_duration_since(now).as_millis();
            // Zero would say that no answer is wanted.
            u32::try_from(left).unwrap_or(u32::MAX).max(1)
        });
        Frame {
            kind,
            id: self.id,
            epoch,
            millis_left,
            payload,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::{Assembler, Decoder};
    use super::*;
    use std::collections::BTreeSet;
    use std::time::Duration;

    /// Wants all but some, and notes what was handed.
    #[derive(Default)]
    struct Notes {
        unwanted: BTreeSet<u64>,
        handed: Vec<u64>,
    }

    impl Gate<()> for Notes {
        fn wants(&mut self, message: &Outgoing<()>) -> bool {
            !self.unwanted.contains(&message.id)
        }

        fn on_handed(&mut self, message: Outgoing<()>) {
            self.handed.push(message.id);
        }
    }

    fn message(id: u64, bytes: usize) -> Outgoing<()> {
        let payload = Bytes::from(vec![u8::try_from(id).unwrap(); bytes]);
        Outgoing {
            kind: Kind::Message,
            id,
            deadline: None,
            payload,
            held: (),
        }
    }

    fn messages(bytes: Bytes, assembler: &mut Assembler) -> Vec<(u64, usize)> {
        let mut decoder = Decoder::default();
        decoder.push(bytes);
        let mut messages = Vec::new();
        while let Some(frame) = decoder.next_frame().unwrap() {
            messages.extend(
                assembler
                    .take(frame)
                    .unwrap()
                    .map(|m| (m.id, m.payload.len())),
            );
        }
        messages
    }

    #[tokio::test]
    async fn drains_many_small_messages_into_one_batch() {
        let mut outbox = Outbox::default();
        (0..100).for_each(|id| outbox.push(message(id, 100)));
        assert_eq!((outbox.len(), outbox.bytes()), (100, 10_000));
        let mut notes = Notes::default();
        let batch = outbox.batch(Epoch(1), Instant::now(), &mut notes);
        let expected: Vec<_> = (0..100).map(|id| (id, 100)).collect();
        assert_eq!(messages(batch, &mut Assembler::default()), expected);
        assert_eq!(notes.handed, (0..100).collect::<Vec<_>>());
        assert!(outbox.is_empty() && outbox.bytes() == 0);
        assert!(
            outbox
                .batch(Epoch(1), Instant::now(), &mut notes)
                .is_empty()
        );
    }

    #[tokio::test]
    async fn lets_small_messages_pass_large_ones_and_large_ones_share() {
        let mut outbox = Outbox::default();
        let (mut notes, mut assembler) = (Notes::default(), Assembler::default());
        (0..3).for_each(|id| outbox.push(message(id, 1 << 20)));
        let mut arrived = Vec::new();
        for round in 10.. {
            outbox.push(message(round, 10));
            let batch = outbox.batch(Epoch(1), Instant::now(), &mut notes);
            assert!(batch.len() < 2 * BATCH_BYTES);
            let new = messages(batch, &mut assembler);
            assert_eq!(
                new.first(),
                Some(&(round, 10)),
                "the small one is first in its batch"
            );
            arrived.extend(new.into_iter().skip(1));
            if arrived.len() == 3 {
                break;
            }
        }
        assert_eq!(arrived, [(0, 1 << 20), (1, 1 << 20), (2, 1 << 20)]);
        assert_eq!(outbox.bytes(), 0);
    }

    #[tokio::test]
    async fn begins_no_more_than_the_other_side_takes() {
        let mut outbox = Outbox::default();
        (0..20).for_each(|id| outbox.push(message(id, 5 * SEGMENT_BYTES_MAX)));
        let (mut notes, mut assembler) = (Notes::default(), Assembler::default());
        while !outbox.is_empty() {
            let batch = outbox.batch(Epoch(1), Instant::now(), &mut notes);
            messages(batch, &mut assembler);
        }
        assert_eq!(notes.handed.len(), 20);
    }

    #[tokio::test]
    async fn leaves_out_what_is_not_wanted_any_more() {
        let mut outbox = Outbox::default();
        (0..3).for_each(|id| outbox.push(message(id, 10)));
        outbox.push(message(3, 10 * SEGMENT_BYTES_MAX));
        outbox.push(message(4, 10 * SEGMENT_BYTES_MAX));
        let mut notes = Notes {
            unwanted: BTreeSet::from([1]),
            handed: Vec::new(),
        };
        let mut assembler = Assembler::default();
        let first = outbox.batch(Epoch(1), Instant::now(), &mut notes);
        assert_eq!(messages(first, &mut assembler), [(0, 10), (2, 10)]);
        notes.unwanted.insert(3);
        let mut arrived = Vec::new();
        while !outbox.is_empty() {
            let batch = outbox.batch(Epoch(1), Instant::now(), &mut notes);
            arrived.extend(messages(batch, &mut assembler));
        }
        assert_eq!(arrived, [(4, 10 * SEGMENT_BYTES_MAX)]);
        assert_eq!(notes.handed, [0, 2, 4]);
        assert_eq!(outbox.bytes(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn says_how_long_is_left_until_the_deadline() {
        let mut decoder = Decoder::default();
        let mut outbox = Outbox::default();
        let deadline = Some(Instant::now() + Duration::from_millis(250));
        outbox.push(Outgoing {
            deadline,
            ..message(1, 0)
        });
        outbox.push(Outgoing {
            deadline: Some(Instant::now()),
            ..message(2, 0)
        });
        outbox.push(message(3, 0));
        tokio::time::advance(Duration::from_millis(50)).await;
        decoder.push(outbox.batch(Epoch(9), Instant::now(), &mut Notes::default()));
        for expected in [200, 1, 0] {
            let frame = decoder.next_frame().unwrap().unwrap();
            assert_eq!((frame.millis_left, frame.epoch), (expected, Epoch(9)));
        }
    }
}
