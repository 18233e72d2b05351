//! This is what one replica tells another that lacks some of its writes: the objects of the dots
//! that the other has not seen.

use super::{parcel, view::View};
use crate::closed::News;
use crate::codec::{Codec, DecodeError, Reader, Writer};
use crate::dot::Dot;
use crate::dot_set::DotSet;
use crate::limits::ITEMS_PER_ANSWER_MAX;
use crate::object::Object;
use crate::place::{Entry, Layout};
use crate::record::RecordError;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

/// An object for a replica that lacks some of its writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The key.
    pub entry: Entry,
    /// The object, filled.
    pub object: Object,
    /// Which of the dots the other lacks it answers: exactly these count as seen with it.
    pub dots: Vec<Dot>,
}

/// What a replica has seen that another has not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// Nothing.
    None,
    /// These objects, and more when `more` is set.
    Items {
        /// At least one.
        items: Vec<Item>,
        /// Whether there is more than fits.
        more: bool,
    },
    /// The log no longer says which keys: all must be compared.
    LogTooShort,
    /// The two have closed different actors: these are closed here, or those that the other lacks.
    Closed(News),
}

/// What could be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readable<T> {
    /// What was found.
    pub found: T,
    /// Why something was left out: a record is damaged.
    pub damage: Option<RecordError>,
}

/// The dots that another lacks, under the bytes of the entry they were written to, and whether
/// there are more.
type Lacking = (BTreeMap<Vec<u8>, Vec<Dot>>, bool);

impl View<'_> {
    /// What this replica has seen and `other` has not, in at most about `bytes_max` bytes. An
    /// object whose record is damaged is left out, and its dots stay unanswered.
    ///
    /// # Errors
    /// [`RecordError`] when the log or an object cannot be read.
    pub fn difference(
        &self,
        other: &DotSet,
        bytes_max: usize,
    ) -> Result<Readable<Difference>, RecordError> {
        self.difference_but(other, bytes_max, BTreeSet::new())
    }

    /// The same, but for the entries that are `left_out`.
    pub(super) fn difference_but(
        &self,
        other: &DotSet,
        bytes_max: usize,
        mut left_out: BTreeSet<Vec<u8>>,
    ) -> Result<Readable<Difference>, RecordError> {
        let closed = self.state.clock.closed();
        let name = other.names().next().copied();
        if name != closed.name() {
            let (found, damage) = (Difference::Closed(closed.since(name)), None);
            return Ok(Readable { found, damage });
        }
        let mut damage = None;
        loop {
            let lacking = match self.lacking(other, &left_out) {
                Ok(Some(lacking)) => lacking,
                Ok(None) => return Ok(too_short(damage)),
                // What it says cannot be known any more, as if it were cut.
                Err(error @ RecordError::Damaged(_)) => return Ok(too_short(Some(error))),
                Err(error) => return Err(error),
            };
            let (items, more) = self.items(lacking, bytes_max, |entry, error| {
                left_out.insert(entry);
                damage = Some(error);
            })?;
            if items.is_empty() && more {
                // All that there was room for is damaged.
                continue;
            }
            let found = if items.is_empty() {
                Difference::None
            } else {
                Difference::Items { items, more }
            };
            return Ok(Readable { found, damage });
        }
    }

    /// The dots that `other` lacks, as many as an answer has room for, but for those of the entries
    /// that are `left_out`; none when the log no longer has them all.
    fn lacking(
        &self,
        other: &DotSet,
        left_out: &BTreeSet<Vec<u8>>,
    ) -> Result<Option<Lacking>, RecordError> {
        let mut by_entry: BTreeMap<Vec<u8>, Vec<Dot>> = BTreeMap::new();
        let mut more = false;
        let mut room = ITEMS_PER_ANSWER_MAX;
        for (actor, start, end) in self.state.clock.missing_from(other) {
            if room == 0 {
                more = true;
                break;
            }
            let from = self.layout.log(&actor.dot(start));
            let to = self.layout.log(&actor.dot(end.saturating_add(1)));
            let (mut found, mut seen, mut full) = (Vec::new(), 0, false);
            self.records.visit(&from, &to, &mut |key, entry| {
                full = room == 0;
                if full {
                    return ControlFlow::Break(());
                }
                seen += 1;
                if !left_out.contains(entry) {
                    room -= 1;
                    found.push((key.to_vec(), entry.to_vec()));
                }
                ControlFlow::Continue(())
            })?;
            if !full && seen < (end - start).saturating_add(1) {
                return Ok(None);
            }
            more |= full;
            for (key, entry) in found {
                by_entry.entry(entry).or_default().push(dot_of_log(&key)?);
            }
        }
        Ok(Some((by_entry, more)))
    }

    /// The objects of entries, as many as fit, and whether there are more. What is damaged is
    /// given to `leave_out`.
    fn items(
        &self,
        (by_entry, mut more): Lacking,
        bytes_max: usize,
        mut leave_out: impl FnMut(Vec<u8>, RecordError),
    ) -> Result<(Vec<Item>, bool), RecordError> {
        let (mut items, mut bytes) = (Vec::new(), 0);
        for (key, dots) in by_entry {
            if bytes_max <= bytes {
                more = true;
                break;
            }
            let entry = Layout::entry(&key)?;
            let object = match self.object(&entry) {
                Ok(object) => object,
                Err(error @ RecordError::Damaged(_)) => {
                    leave_out(key, error);
                    continue;
                }
                Err(error) => return Err(error),
            };
            bytes += object.size() + entry.key.as_bytes().len() + 36 * dots.len();
            items.push(Item {
                entry,
                object,
                dots,
            });
        }
        Ok((items, more))
    }
}

fn too_short(damage: Option<RecordError>) -> Readable<Difference> {
    let found = Difference::LogTooShort;
    Readable { found, damage }
}

fn dot_of_log(key: &[u8]) -> Result<Dot, RecordError> {
    let strange = RecordError::Strange("a dot log key");
    let (_, dot) = key.split_last_chunk::<36>().ok_or(strange.clone())?;
    Dot::from_bytes(dot).map_err(|_| strange)
}

impl Item {
    /// Appends the entry, the object as sent beside `seen`, and the dots it answers.
    fn write(&self, writer: &mut Writer, seen: &DotSet) {
        self.entry.encode(writer);
        parcel::write_object(writer, &self.object, seen);
        parcel::write_dots(writer, &self.dots, &self.object);
    }

    fn read(reader: &mut Reader<'_>, seen: &DotSet) -> Result<Item, DecodeError> {
        let entry = Entry::decode(reader)?;
        let object = parcel::read_object(reader, seen)?;
        let dots = parcel::read_dots(reader, &object)?;
        Ok(Item {
            entry,
            object,
            dots,
        })
    }
}

impl Difference {
    /// Appends what the sender, that has `seen` this, tells another. Tag 1; then, for items, more
    /// 1, count 4, each item.
    pub(crate) fn write(&self, writer: &mut Writer, seen: &DotSet) {
        match self {
            Difference::None => writer.u8(0),
            Difference::LogTooShort => writer.u8(1),
            Difference::Items { items, more } => {
                writer.u8(2);
                writer.u8(u8::from(*more));
                writer.len(items.len());
                for item in items {
                    item.write(writer, seen);
                }
            }
            Difference::Closed(news) => {
                writer.u8(3);
                news.encode(writer);
            }
        }
    }

    pub(crate) fn read(reader: &mut Reader<'_>, seen: &DotSet) -> Result<Difference, DecodeError> {
        Ok(match reader.u8()? {
            0 => Difference::None,
            1 => Difference::LogTooShort,
            2 => {
                let more = reader.u8()? != 0;
                let count = reader.len(ITEMS_PER_ANSWER_MAX)?;
                let items = (0..count).map(|_| Item::read(reader, seen));
                let items = items.collect::<Result<_, _>>()?;
                Difference::Items { items, more }
            }
            3 => Difference::Closed(News::decode(reader)?),
            _ => return Err(DecodeError::Invalid("a difference")),
        })
    }
}
