//! This is a batch being made: pending writes over a consistent view of one space, read as if they
//! were stored, and taken back to a savepoint when an operation cannot finish.

use crate::store::{Space, Write};
use soros_core::record::{
    Batch, Listed, RecordError, Records, Surveyor, list_merged, survey_merged,
};
use std::collections::BTreeMap;
use std::ops::Bound;

/// Pending writes over a view of one space.
pub struct Overlay<'a> {
    base: &'a (dyn Records + Send + Sync),
    pending: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// What each write since the batch began replaced in `pending`, newest last.
    replaced: Vec<(Vec<u8>, Replaced)>,
}

/// What stood in the pending writes before a write.
enum Replaced {
    Nothing,
    Pending(Option<Vec<u8>>),
}

/// A state of an [`Overlay`] that it can go back to.
#[derive(Clone, Copy, Debug)]
pub struct Savepoint(usize);

impl<'a> Overlay<'a> {
    /// An empty batch over `base`.
    #[must_use]
    pub fn new(base: &'a (dyn Records + Send + Sync)) -> Overlay<'a> {
        Overlay {
            base,
            pending: BTreeMap::new(),
            replaced: Vec::new(),
        }
    }

    /// Whether nothing is pending.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// The state as it is now.
    #[must_use]
    pub fn savepoint(&self) -> Savepoint {
        Savepoint(self.replaced.len())
    }

    /// Takes back every write since `savepoint`.
    pub fn roll_back(&mut self, savepoint: Savepoint) {
        while savepoint.0 < self.replaced.len() {
            match self.replaced.pop() {
                Some((key, Replaced::Pending(value))) => drop(self.pending.insert(key, value)),
                Some((key, Replaced::Nothing)) => drop(self.pending.remove(&key)),
                None => return,
            }
        }
    }

    /// The pending writes, one a key, in key order.
    #[must_use]
    pub fn into_writes(self, space: Space) -> Vec<Write> {
        self.pending
            .into_iter()
            .map(|(key, value)| Write { space, key, value })
            .collect()
    }

    /// The writes from `from` (included) to `to` (excluded), in order.
    fn pending(
        &self,
        from: &[u8],
        to: &[u8],
    ) -> impl Iterator<Item = (&Vec<u8>, &Option<Vec<u8>>)> + Clone {
        let range = (Bound::Included(from), Bound::Excluded(to));
        self.pending.range::<[u8], _>(range)
    }

    fn write(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        let replaced = match self.pending.insert(key.clone(), value) {
            Some(before) => Replaced::Pending(before),
            None => Replaced::Nothing,
        };
        self.replaced.push((key, replaced));
    }
}

impl Records for Overlay<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, RecordError> {
        match self.pending.get(key) {
            Some(pending) => Ok(pending.clone()),
            None => self.base.get(key),
        }
    }

    fn survey(&self, from: &[u8], to: &[u8], each: &mut Surveyor<'_>) -> Result<(), RecordError> {
        if to <= from {
            return Ok(());
        }
        survey_merged(self.base, (from, to), self.pending(from, to), each)
    }

    fn list(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Listed>, RecordError> {
        if to <= from {
            return Ok(Vec::new());
        }
        list_merged(self.base, (from, to), self.pending(from, to), limit)
    }
}

impl Batch for Overlay<'_> {
    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.write(key, Some(value));
    }

    fn remove(&mut self, key: Vec<u8>) {
        self.write(key, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::Memory;
    use crate::store::{Durability, Store};
    use proptest::prelude::{Strategy, any, prop_assert_eq, prop_oneof, proptest};
    use proptest::{collection, option};
    use soros_core::record::Record;

    type Model = BTreeMap<Vec<u8>, Vec<u8>>;

    #[derive(Clone, Debug)]
    enum Step {
        Write(Vec<u8>, Option<Vec<u8>>),
        Save,
        RollBack,
        Get(Vec<u8>),
        Scan(Vec<u8>, Vec<u8>, usize),
    }

    fn key() -> impl Strategy<Value = Vec<u8>> {
        collection::vec(1_u8..4, 1..4)
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (key(), option::of(any::<Vec<u8>>())).prop_map(|(k, v)| Step::Write(k, v)),
            1 => proptest::prelude::Just(Step::Save),
            1 => proptest::prelude::Just(Step::RollBack),
            2 => key().prop_map(Step::Get),
            4 => (key(), key(), 0_usize..8).prop_map(|(f, t, n)| Step::Scan(f, t, n)),
        ]
    }

    fn apply(model: &mut Model, key: &[u8], value: Option<Vec<u8>>) {
        match value {
            Some(value) => drop(model.insert(key.to_vec(), value)),
            None => drop(model.remove(key)),
        }
    }

    fn scanned(model: &Model, from: &[u8], to: &[u8], limit: usize) -> Vec<Record> {
        let within = model
            .iter()
            .filter(|(key, _)| from <= &key[..] && &key[..] < to);
        within
            .take(limit)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }

    fn stored(records: &Model) -> Memory {
        let memory = Memory::new(0);
        let writes = records
            .iter()
            .map(|(key, value)| Write::put(Space::Partitions, key.clone(), value.clone()))
            .collect();
        memory
            .commit(writes, Durability::Synced)
            .expect("the twin works");
        memory
    }

    proptest! {
        #[test]
        fn reads_like_an_ordered_map_and_rolls_back(
            base in collection::btree_map(key(), any::<Vec<u8>>(), 0..20),
            steps in collection::vec(step(), 0..60),
        ) {
            let memory = stored(&base);
            let view = memory.snapshot(Space::Partitions);
            let mut overlay = Overlay::new(&*view);
            let mut model = base.clone();
            let mut saved = (overlay.savepoint(), model.clone());
            for step in steps {
                match step {
                    Step::Write(key, value) => {
                        apply(&mut model, &key, value.clone());
                        match value {
                            Some(value) => overlay.put(key, value),
                            None => overlay.remove(key),
                        }
                    }
                    Step::Save => saved = (overlay.savepoint(), model.clone()),
                    Step::RollBack => {
                        overlay.roll_back(saved.0);
                        model = saved.1.clone();
                    }
                    Step::Get(key) => {
                        let expected = model.get(&key).cloned();
                        prop_assert_eq!(overlay.get(&key), Ok(expected));
                    }
                    Step::Scan(from, to, limit) => {
                        let expected = scanned(&model, &from, &to, limit);
                        let keys: Vec<_> = expected.iter().map(|(key, _)| key.clone()).collect();
                        prop_assert_eq!(overlay.scan(&from, &to, limit), Ok(expected));
                        let listed = overlay.list(&from, &to, limit).expect("the twin works");
                        let listed: Vec<_> = listed.into_iter().map(|one| one.key).collect();
                        prop_assert_eq!(listed, keys);
                    }
                }
            }
            memory.commit(overlay.into_writes(Space::Partitions), Durability::Synced)
                .expect("the twin works");
            let end = memory.snapshot(Space::Partitions).scan(&[1], &[255], usize::MAX);
            prop_assert_eq!(end, Ok(scanned(&model, &[1], &[255], usize::MAX)));
        }
    }
}
