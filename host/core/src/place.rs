//! This is where a replica's records lie: one partition of one placement, and the keys under which
//! its state is stored.
//!
//! ```text
//! 02 placement:8 partition:2                                   the generation in use
//! 01 placement:8 partition:2 generation:4 43                   the clock record
//! 01 placement:8 partition:2 generation:4 45 step:4            closed actors, step by step
//! 01 placement:8 partition:2 generation:4 4b                   known lists of closed actors
//! 01 placement:8 partition:2 generation:4 4c actor:28 count:8  dot log: bucket:8 key
//! 01 placement:8 partition:2 generation:4 4f bucket:8 key      object
//! 01 placement:8 partition:2 generation:4 55 actor:28 count:8 bucket:8 key   unstripped: nothing
//! ```
//!
//! All numbers are big-endian, so that byte order is the order of dots and of keys. The first byte
//! 00 belongs to the store.

use crate::codec::{Codec, DecodeError, Reader, Writer};
use crate::dot::{Actor, Dot};
use crate::id::{BucketId, Generation, PlacementId};
use crate::key::{Key, Partition};
use crate::record::RecordError;

/// One partition of one placement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The placement.
    pub placement: PlacementId,
    /// Its partition.
    pub partition: Partition,
}

/// 10 bytes: placement 8, partition 2.
impl Codec for Place {
    fn encode(&self, writer: &mut Writer) {
        writer.u64(self.placement.0);
        writer.u16(self.partition.get());
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Place, DecodeError> {
        let placement = PlacementId(reader.u64()?);
        Ok(Place {
            placement,
            partition: Partition::from_wire(reader.u16()?),
        })
    }
}

/// A key of a bucket: what an object is stored under within its partition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entry {
    /// The bucket.
    pub bucket: BucketId,
    /// The key in it.
    pub key: Key,
}

/// Bucket 8, then the key behind its length of 4.
impl Codec for Entry {
    fn encode(&self, writer: &mut Writer) {
        writer.u64(self.bucket.0);
        writer.bytes(self.key.as_bytes());
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Entry, DecodeError> {
        let bucket = BucketId(reader.u64()?);
        let key = Key::try_from(reader.bytes(crate::limits::KEY_BYTES_MAX)?);
        Ok(Entry {
            bucket,
            key: key.map_err(|_| DecodeError::Invalid("an empty key"))?,
        })
    }
}

const STATE: u8 = 0x01;
const LIFE: u8 = 0x02;
const CLOCK: u8 = b'C';
const CLOSED: u8 = b'E';
const KNOWN: u8 = b'K';
const LOG: u8 = b'L';
const OBJECT: u8 = b'O';
const UNSTRIPPED: u8 = b'U';

/// The keys of one generation of a partition's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    place: Place,
    generation: Generation,
}

impl Layout {
    /// The keys of `generation` of the state of `place`.
    #[must_use]
    pub fn new(place: Place, generation: Generation) -> Layout {
        Layout { place, generation }
    }

    /// The partition whose keys these are.
    #[must_use]
    pub fn place(&self) -> Place {
        self.place
    }

    /// The generation whose keys these are.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The key of the record that says which generation of `place` is in use.
    #[must_use]
    pub fn life(place: Place) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.u8(LIFE);
        place.encode(&mut writer);
        writer.into_bytes()
    }

    /// The first key of all partitions' generations, and the first behind them.
    #[must_use]
    pub fn lives() -> (Vec<u8>, Vec<u8>) {
        (vec![LIFE], vec![LIFE + 1])
    }

    /// The partition of a key of [`Layout::life`].
    ///
    /// # Errors
    /// [`RecordError::Strange`] when it is not one.
    pub fn place_of_life(key: &[u8]) -> Result<Place, RecordError> {
        let strange = RecordError::Strange("a generation's key");
        let place = key.strip_prefix(&[LIFE]).ok_or(strange.clone())?;
        Place::from_bytes(place).map_err(|_| strange)
    }

    /// The first key of what any generation of `place` has stored, and the first behind it.
    #[must_use]
    pub fn state(place: Place) -> (Vec<u8>, Vec<u8>) {
        const BEHIND_GENERATION_AND_KIND: [u8; 5] = [u8::MAX; 5];
        let mut writer = Writer::default();
        writer.u8(STATE);
        place.encode(&mut writer);
        let from = writer.into_bytes();
        let to = [&from[..], &BEHIND_GENERATION_AND_KIND].concat();
        (from, to)
    }

    fn key(&self, kind: u8, rest: impl FnOnce(&mut Writer)) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.u8(STATE);
        self.place.encode(&mut writer);
        writer.u32(self.generation.0);
        writer.u8(kind);
        rest(&mut writer);
        writer.into_bytes()
    }

    /// Before the first key of the generation.
    #[must_use]
    pub fn first(&self) -> Vec<u8> {
        let mut first = self.clock();
        first.pop();
        first
    }

    /// The key of the clock record.
    #[must_use]
    pub fn clock(&self) -> Vec<u8> {
        self.key(CLOCK, |_| ())
    }

    /// The key of the actors that step number `step` has closed.
    #[must_use]
    pub fn closed(&self, step: u32) -> Vec<u8> {
        self.key(CLOSED, |writer| writer.u32(step))
    }

    /// The key of the lists of closed actors that are known beside its own.
    #[must_use]
    pub fn known(&self) -> Vec<u8> {
        self.key(KNOWN, |_| ())
    }

    /// The key of a dot's log entry; the value is [`Layout::entry_bytes`].
    #[must_use]
    pub fn log(&self, dot: &Dot) -> Vec<u8> {
        self.key(LOG, |writer| dot.encode(writer))
    }

    /// The key of an object.
    #[must_use]
    pub fn object(&self, entry: &Entry) -> Vec<u8> {
        self.key(OBJECT, |writer| writer.raw(&Layout::entry_bytes(entry)))
    }

    /// The first key of all objects, and the first behind them.
    #[must_use]
    pub fn objects(&self) -> (Vec<u8>, Vec<u8>) {
        (self.key(OBJECT, |_| ()), self.key(OBJECT + 1, |_| ()))
    }

    /// The first key of all objects of a bucket, and the first behind them.
    #[must_use]
    pub fn objects_of(&self, bucket: BucketId) -> (Vec<u8>, Vec<u8>) {
        let from = |bucket: u64| self.key(OBJECT, |writer| writer.u64(bucket));
        (from(bucket.0), from(bucket.0.saturating_add(1)))
    }

    /// The key of the index entry of an object that waits for `blocker` to pass under the base.
    #[must_use]
    pub fn unstripped(&self, blocker: &Dot, entry: &Entry) -> Vec<u8> {
        self.key(UNSTRIPPED, |writer| {
            blocker.encode(writer);
            writer.raw(&Layout::entry_bytes(entry));
        })
    }

    /// The first index key of an actor's blockers, and the first behind its blocker `last`.
    #[must_use]
    pub fn unstripped_to(&self, last: &Dot) -> (Vec<u8>, Vec<u8>) {
        let from = |counter: u64| {
            self.key(UNSTRIPPED, |writer| {
                last.actor.encode(writer);
                writer.u64(counter);
            })
        };
        (from(0), from(last.counter.saturating_add(1)))
    }

    /// The first key of the log behind all of an actor's, and the first behind the log.
    #[must_use]
    pub fn log_behind(&self, actor: Option<&Actor>) -> (Vec<u8>, Vec<u8>) {
        self.behind(LOG, actor)
    }

    /// The first index key behind those of an actor's blockers, and the first behind the index.
    #[must_use]
    pub fn unstripped_behind(&self, actor: Option<&Actor>) -> (Vec<u8>, Vec<u8>) {
        self.behind(UNSTRIPPED, actor)
    }

    fn behind(&self, kind: u8, actor: Option<&Actor>) -> (Vec<u8>, Vec<u8>) {
        let from = self.key(kind, |writer| {
            if let Some(actor) = actor {
                actor.encode(writer);
                // Above all counters, and the buckets behind them.
                writer.raw(&[u8::MAX; 9]);
            }
        });
        (from, self.key(kind + 1, |_| ()))
    }

    /// The actor of a key of the log or of the index.
    ///
    /// # Errors
    /// [`RecordError::Damaged`] when the key is none of these.
    pub fn actor_of(key: &[u8]) -> Result<Actor, RecordError> {
        const HEAD: usize = 1 + 10 + 4 + 1;
        let actor = key.get(HEAD..HEAD + 28).map(Actor::from_bytes);
        match actor {
            Some(Ok(actor)) => Ok(actor),
            Some(Err(_)) | None => Err(RecordError::Strange("a key of the log or the index")),
        }
    }

    /// A bucket and a key as the tail of a record's key: bucket 8, key.
    #[must_use]
    pub fn entry_bytes(entry: &Entry) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.u64(entry.bucket.0);
        writer.raw(entry.key.as_bytes());
        writer.into_bytes()
    }

    /// The entry of [`Layout::entry_bytes`].
    ///
    /// # Errors
    /// [`RecordError::Strange`] when the bytes are none.
    pub fn entry(bytes: &[u8]) -> Result<Entry, RecordError> {
        let strange = RecordError::Strange("an entry's bucket and key");
        let (bucket, key) = bytes.split_first_chunk().ok_or(strange.clone())?;
        let key = Key::try_from(key).map_err(|_| strange)?;
        Ok(Entry {
            bucket: BucketId(u64::from_be_bytes(*bucket)),
            key,
        })
    }

    /// The entry of an object's key.
    ///
    /// # Errors
    /// [`RecordError::Strange`] when it is not an object's key.
    pub fn entry_of_object(key: &[u8]) -> Result<Entry, RecordError> {
        const HEAD: usize = 1 + 10 + 4 + 1;
        let tail = key
            .get(HEAD..)
            .ok_or(RecordError::Strange("an object's key"))?;
        Layout::entry(tail)
    }

    /// The entry of an index key.
    ///
    /// # Errors
    /// [`RecordError::Strange`] when it is not an index key.
    pub fn entry_of_unstripped(key: &[u8]) -> Result<Entry, RecordError> {
        const HEAD: usize = 1 + 10 + 4 + 1 + 36;
        let tail = key
            .get(HEAD..)
            .ok_or(RecordError::Strange("an index key"))?;
        Layout::entry(tail)
    }
}
