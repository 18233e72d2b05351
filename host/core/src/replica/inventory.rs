//! This is what a replica looks through before another may rely on it: all its objects, for those
//! that cannot be read. What they held it does not hold, whatever its clock has seen.

use super::View;
use crate::id::Generation;
use crate::limits::UNREADABLE_TOLD_MAX;
use crate::place::{Entry, Layout};
use crate::record::RecordError;
use std::ops::ControlFlow;

/// A look through all objects of a replica, as far as it has come.
#[derive(Clone, Debug)]
pub struct Inventory {
    generation: Generation,
    /// The key of the record that comes next; none when all were looked at.
    next: Option<Vec<u8>>,
    unreadable: Vec<Entry>,
}

impl Inventory {
    /// None of the objects under `layout` were looked at yet.
    #[must_use]
    pub fn new(layout: Layout) -> Inventory {
        let (first, _) = layout.objects();
        Inventory {
            generation: layout.generation(),
            next: Some(first),
            unreadable: Vec::new(),
        }
    }

    /// The generation whose objects are looked at.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Whether all objects were looked at.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.next.is_none()
    }

    /// The entries so far whose object cannot be read.
    #[must_use]
    pub fn unreadable(&self) -> &[Entry] {
        &self.unreadable
    }

    /// What was found, when all objects of `generation` were looked at, and no more of them cannot
    /// be read than can be told.
    pub(super) fn found(&self, generation: Generation) -> Option<Vec<Entry>> {
        let is_whole = self.is_over()
            && self.generation == generation
            && self.unreadable.len() <= UNREADABLE_TOLD_MAX;
        is_whole.then(|| self.unreadable.clone())
    }
}

impl View<'_> {
    /// Looks at the next objects, of about `bytes_max` bytes.
    ///
    /// # Errors
    /// [`RecordError`] when the engine fails, or cannot tell where the next record begins.
    pub fn take_stock(
        &self,
        inventory: &mut Inventory,
        bytes_max: usize,
    ) -> Result<(), RecordError> {
        let Some(from) = inventory.next.clone() else {
            return Ok(());
        };
        let (_, to) = self.layout.objects();
        let (mut next, mut bytes) = (None, 0);
        let (mut damaged, mut failed) = (Vec::new(), Ok(()));
        self.records.survey(&from, &to, &mut |key, value| {
            if bytes_max <= bytes {
                next = Some(key.to_vec());
                return ControlFlow::Break(());
            }
            bytes += key.len();
            match value {
                Ok(value) => bytes += value.len(),
                Err(RecordError::Damaged(_)) => damaged.push(key.to_vec()),
                Err(error) => failed = Err(error),
            }
            if failed.is_ok() && damaged.len() <= UNREADABLE_TOLD_MAX {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })?;
        failed?;
        for key in damaged {
            inventory.unreadable.push(Layout::entry_of_object(&key)?);
        }
        // More than can be told need not be known.
        inventory.next = next.filter(|_| inventory.unreadable.len() <= UNREADABLE_TOLD_MAX);
        Ok(())
    }
}
