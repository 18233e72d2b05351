//! This is what can be read of a replica: its objects, filled from the clock of the same moment.

use super::state::{State, Stored};
use crate::id::BucketId;
use crate::key::Key;
use crate::limits::ITEMS_PER_ANSWER_MAX;
use crate::object::Object;
use crate::place::{Entry, Layout};
use crate::record::{Listed, RecordError, Records};
use std::ops::ControlFlow;

/// What is stored of a range of keys.
pub(super) struct StoredRange {
    /// The objects in order.
    pub(super) objects: Vec<(Entry, Object)>,
    /// The entries whose record is damaged, in order.
    pub(super) damaged: Vec<Entry>,
    /// The entry that comes after them.
    pub(super) rest: Option<Entry>,
}

/// Reads of a replica at one moment.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub(super) layout: Layout,
    pub(super) state: &'a State,
    pub(super) records: &'a dyn Records,
}

impl<'a> View<'a> {
    /// Reads of the state and the records of one moment: an object filled from a later clock would
    /// claim to have met what it has not.
    #[must_use]
    pub fn new(layout: Layout, state: &'a State, records: &'a dyn Records) -> View<'a> {
        View {
            layout,
            state,
            records,
        }
    }

    /// The object of `entry`, filled.
    ///
    /// # Errors
    /// [`RecordError`] when it cannot be read.
    pub fn object(&self, entry: &Entry) -> Result<Object, RecordError> {
        let stored = self.stored(entry)?;
        Ok(stored.fill(&self.state.clock))
    }

    /// The object of `entry` as stored.
    pub(super) fn stored(&self, entry: &Entry) -> Result<Object, RecordError> {
        let record = self.records.get(&self.layout.object(entry))?;
        let stored = record.as_deref().map(Stored::decode).transpose()?;
        Ok(stored.map(|stored| stored.object).unwrap_or_default())
    }

    /// The stored objects from the key `from` (included) to `to` (excluded), in about `bytes_max`
    /// bytes, and the entry that the rest begins with. Those that are damaged are named.
    pub(super) fn stored_range(
        &self,
        from: &[u8],
        to: &[u8],
        bytes_max: usize,
    ) -> Result<StoredRange, RecordError> {
        let (mut found, mut rest, mut bytes) = (Vec::new(), None, 0);
        self.records.survey(from, to, &mut |key, value| {
            if bytes_max <= bytes || found.len() == ITEMS_PER_ANSWER_MAX {
                rest = Some(key.to_vec());
                return ControlFlow::Break(());
            }
            bytes += key.len() + value.as_ref().map_or(0, |value| value.len());
            found.push((key.to_vec(), value.map(<[u8]>::to_vec)));
            ControlFlow::Continue(())
        })?;
        let (mut objects, mut damaged) = (Vec::new(), Vec::new());
        for (key, value) in found {
            let entry = Layout::entry_of_object(&key)?;
            match value {
                Ok(value) => objects.push((entry, Stored::decode(&value)?.object)),
                Err(RecordError::Damaged(_)) => damaged.push(entry),
                Err(error) => return Err(error),
            }
        }
        let rest = rest.map(|key| Layout::entry_of_object(&key)).transpose()?;
        Ok(StoredRange {
            objects,
            damaged,
            rest,
        })
    }

    /// Looks at the next keys of a bucket, at most `limit` of them, for one with a live version.
    /// One object at a time is in memory.
    ///
    /// # Errors
    /// [`RecordError`] when an object cannot be read.
    pub fn live_key(
        &self,
        bucket: BucketId,
        from: Option<&Entry>,
        limit: usize,
    ) -> Result<LiveKey, RecordError> {
        let (found, next) = self.objects(bucket, from, limit)?;
        for listed in found {
            let record = self.records.get(&listed.key)?;
            let stored = record.as_deref().map(Stored::decode).transpose()?;
            if stored.is_some_and(|stored| stored.object.is_live()) {
                return Ok(LiveKey::Found);
            }
        }
        next.map_or(Ok(LiveKey::None), |next| {
            Layout::entry_of_object(&next.key).map(LiveKey::NotYet)
        })
    }
}

impl View<'_> {
    /// Shows `each` the live objects among the next keys of a bucket, of which at most `limit` are
    /// looked at. Where the rest begins is the answer. One object at a time is in memory.
    ///
    /// # Errors
    /// [`RecordError`] when an object cannot be read.
    pub fn for_each_live(
        &self,
        bucket: BucketId,
        from: Option<&Entry>,
        limit: usize,
        each: &mut dyn FnMut(&Key, &Object),
    ) -> Result<Option<Entry>, RecordError> {
        let (found, next) = self.objects(bucket, from, limit)?;
        for listed in found {
            let entry = Layout::entry_of_object(&listed.key)?;
            let object = self.stored(&entry)?;
            if object.is_live() {
                each(&entry.key, &object);
            }
        }
        next.map(|next| Layout::entry_of_object(&next.key))
            .transpose()
    }

    /// The next keys of a bucket, at most `limit` of them, and the one behind them.
    fn objects(
        &self,
        bucket: BucketId,
        from: Option<&Entry>,
        limit: usize,
    ) -> Result<(Vec<Listed>, Option<Listed>), RecordError> {
        let (first, behind) = self.layout.objects_of(bucket);
        let first = from.map_or(first, |entry| self.layout.object(entry));
        let mut found = self
            .records
            .list(&first, &behind, limit.saturating_add(1))?;
        let next = if limit < found.len() {
            found.pop()
        } else {
            None
        };
        Ok((found, next))
    }
}

/// What a look for a live key came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LiveKey {
    /// There is one.
    Found,
    /// None so far; the next one to look at is this.
    NotYet(Entry),
    /// There is none.
    None,
}
