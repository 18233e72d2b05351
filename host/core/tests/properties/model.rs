//! This is what a replica holds of a key, told with sets of writes and nothing else: no dots, no
//! bases, no stripping.

use crate::history::{History, WriteId};
use std::collections::BTreeSet;

/// A key at a replica: the versions, and all writes of the key that were ever met there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) versions: BTreeSet<WriteId>,
    pub(crate) met: BTreeSet<WriteId>,
}

impl Cell {
    /// What is left of two states of a key: a version stays if both have it, or if the one that
    /// lacks it never met it.
    pub(crate) fn sync(&self, other: &Cell) -> Cell {
        let both = self.versions.intersection(&other.versions);
        let mine = self.versions.difference(&other.met);
        let theirs = other.versions.difference(&self.met);
        Cell {
            versions: both.chain(mine).chain(theirs).copied().collect(),
            met: self.met.union(&other.met).copied().collect(),
        }
    }

    /// Applies a write whose client had seen `seen`.
    pub(crate) fn write(&mut self, id: WriteId, seen: &BTreeSet<WriteId>) {
        self.versions.retain(|version| !seen.contains(version));
        self.versions.insert(id);
        self.met.extend(seen);
        self.met.insert(id);
    }

    /// Whether some version has a value.
    pub(crate) fn is_live(&self, history: &History) -> bool {
        let is_live = |id: &WriteId| history.fact(*id).is_live;
        self.versions.iter().any(is_live)
    }
}
