//! This is the format of what a cluster writes down of itself, as a number: which changes there
//! are, and which fields they and the map have.
//!
//! A program would drop fields that it does not know, and could not carry out changes that came
//! after it. So each node says which format its program knows; the map has the newest that all of
//! them know, never an older one again; nothing newer is proposed; and a program that is older than
//! a map refuses it.

use serde::{Deserialize, Deserializer, Serialize};

/// A format. The greater number is the newer one, and whoever knows it knows the older ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Format(pub u8);

impl Format {
    /// The oldest format.
    pub const FIRST: Format = Format(1);
    /// The newest format that this program knows. Whoever adds a change, or a field that must not
    /// be lost, adds one here, and says in [`Change::format`](super::change::Change::format) what
    /// needs it.
    pub const KNOWN: Format = Format(1);
}

impl Default for Format {
    fn default() -> Format {
        Format::FIRST
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(formatter)
    }
}

/// A format that this program does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "it has format {0}, and this program knows formats up to {known}: run one that is at least as \
     new as the program that wrote it",
    known = Format::KNOWN
)]
pub struct UnknownFormat(pub Format);

impl Format {
    /// This format, if the program knows it.
    ///
    /// # Errors
    /// [`UnknownFormat`] when a newer program has it.
    pub fn known(self) -> Result<Format, UnknownFormat> {
        if self <= Format::KNOWN {
            Ok(self)
        } else {
            Err(UnknownFormat(self))
        }
    }
}

/// Reads the format of something that is read with it.
pub(super) fn read<'de, D: Deserializer<'de>>(source: D) -> Result<Format, D::Error> {
    let format = Format::deserialize(source)?;
    format.known().map_err(serde::de::Error::custom)
}
