//! This is a change as it is proposed: for which map, by whom, and which format it needs.

use super::{Change, ChangeError};
use crate::epoch::Epoch;
use crate::map::Map;
use crate::map::format::{self, Format};
use serde::{Deserialize, Serialize};

/// A change, and the epoch it was made for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proposal {
    /// The format of the map that it was made for.
    #[serde(deserialize_with = "format::read")]
    pub format: Format,
    /// What to change.
    pub change: Change,
    /// Only if the map still has this epoch.
    pub only_at: Option<Epoch>,
    /// Who asked for it, where that is known.
    #[serde(default)]
    pub origin: Option<Origin>,
}

/// Where a change comes from: for the record of what was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The name of the node that was asked.
    pub through: String,
    /// Whether what was there before is to come back.
    pub is_rollback: bool,
}

impl Proposal {
    /// `change`, only if the map is still this one, and whatever it is when there is none.
    #[must_use]
    pub fn on(map: Option<&Map>, change: Change, origin: Option<Origin>) -> Proposal {
        Proposal {
            format: map.map(Map::format).unwrap_or_default(),
            change,
            only_at: map.map(Map::epoch),
            origin,
        }
    }
}

impl std::fmt::Display for Proposal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.change.kind())
    }
}

impl Change {
    /// The format that it needs: all nodes must know it, or they could not carry it out.
    #[must_use]
    pub fn format(&self) -> Format {
        match self {
            Change::Found(_)
            | Change::Register(_)
            | Change::PutBucket { .. }
            | Change::CloseBucket { .. }
            | Change::ReopenBucket { .. }
            | Change::DropBucket { .. }
            | Change::PurgeBucket { .. }
            | Change::PutPlacement { .. }
            | Change::DeletePlacement { .. }
            | Change::PutSettings(_)
            | Change::PutRelease { .. }
            | Change::Activate { .. }
            | Change::Withdraw { .. }
            | Change::Quarantine { .. }
            | Change::EndProbation { .. }
            | Change::PutShadow { .. }
            | Change::DropRelease { .. } => Format::FIRST,
        }
    }
}

/// The map after `proposal`, where `map` is the one before, if there is any.
///
/// # Errors
/// [`ChangeError`] when the change may not be made; the map stays as it is.
pub fn step(map: Option<&Map>, proposal: &Proposal) -> Result<Map, ChangeError> {
    let now = map.map_or(Epoch::NONE, Map::epoch);
    if let Some(expected) = proposal.only_at
        && expected != now
    {
        return Err(ChangeError::Moved { expected, now });
    }
    match (map, &proposal.change) {
        (None, Change::Found(founding)) => Map::found(founding),
        (None, _) => Err(ChangeError::NotFounded),
        (Some(map), change) => map.apply(change),
    }
}
