//! This is the number of a cluster map: of two maps of one cluster, the one with the greater epoch
//! is newer.

use serde::{Deserialize, Serialize};

/// The number of a cluster map, from 1; 0 is "no map yet".
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl Epoch {
    /// Before a node knows any map.
    pub const NONE: Epoch = Epoch(0);

    /// The epoch of the map after this one.
    #[must_use]
    pub fn next(self) -> Epoch {
        Epoch(self.0 + 1)
    }
}

impl std::fmt::Display for Epoch {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(formatter)
    }
}
