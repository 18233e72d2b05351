//! This is what one replica tells another that lacks some of its writes: the objects of the dots
//! that the other has not seen.

use super::view::View;
use crate::closed::News;
use crate::codec::{Codec, DecodeError, Reader, Writer};
use crate::dot::Dot;
use crate::dot_set::DotSet;
use crate::limits::{DOTS_DECODED_MAX, ITEMS_PER_ANSWER_MAX};
use crate::object::Object;
use crate::place::{Entry, Layout};
use crate::record::RecordError;
use std::collections::BTreeMap;

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

impl View<'_> {
    /// What this replica has seen and `other` has not, in at most about `bytes_max` bytes.
    ///
    /// # Errors
    /// [`RecordError`] when the log or an object cannot be read.
    pub fn difference(&self, other: &DotSet, bytes_max: usize) -> Result<Difference, RecordError> {
        let closed = self.state.clock.closed();
        let name = other.names().next().copied();
        if name != closed.name() {
            return Ok(Difference::Closed(closed.since(name)));
        }
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
            let found = self.records.scan(&from, &to, room)?;
            let wanted = usize::try_from(end - start)
                .unwrap_or(usize::MAX)
                .saturating_add(1);
            if found.len() < wanted.min(room) {
                return Ok(Difference::LogTooShort);
            }
            more |= found.len() < wanted;
            room -= found.len();
            for (key, value) in found {
                by_entry.entry(value).or_default().push(dot_of_log(&key)?);
            }
        }
        self.items(by_entry, more, bytes_max)
    }

    fn items(
        &self,
        by_entry: BTreeMap<Vec<u8>, Vec<Dot>>,
        mut more: bool,
        bytes_max: usize,
    ) -> Result<Difference, RecordError> {
        let (mut items, mut bytes) = (Vec::new(), 0);
        for (entry, dots) in by_entry {
            if bytes_max <= bytes {
                more = true;
                break;
            }
            let entry = Layout::entry(&entry)?;
            let object = self.object(&entry)?;
            bytes += object.size() + entry.key.as_bytes().len() + 36 * dots.len();
            items.push(Item {
                entry,
                object,
                dots,
            });
        }
        Ok(if items.is_empty() {
            Difference::None
        } else {
            Difference::Items { items, more }
        })
    }
}

fn dot_of_log(key: &[u8]) -> Result<Dot, RecordError> {
    let strange = RecordError::Strange("a dot log key");
    let (_, dot) = key.split_last_chunk::<36>().ok_or(strange.clone())?;
    Dot::from_bytes(dot).map_err(|_| strange)
}

/// Entry, object, dots: count 4, each 36.
impl Codec for Item {
    fn encode(&self, writer: &mut Writer) {
        self.entry.encode(writer);
        self.object.encode(writer);
        writer.list(&self.dots);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Item, DecodeError> {
        let (entry, object) = (Entry::decode(reader)?, Object::decode(reader)?);
        Ok(Item {
            entry,
            object,
            dots: reader.list(DOTS_DECODED_MAX)?,
        })
    }
}
