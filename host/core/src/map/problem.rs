//! This is what is wrong with a configuration: every value out of its range, each with the place
//! where it stands.

use serde::{Deserialize, Serialize};
use std::fmt::Display;
use std::ops::RangeInclusive;

/// One value that is out of range.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigProblem {
    /// Where it stands, as a JSON pointer.
    pub path: String,
    /// What is wrong with it.
    pub message: String,
}

/// The problems found so far.
#[derive(Debug, Default)]
pub(crate) struct Problems(Vec<ConfigProblem>);

impl Problems {
    /// Adds a problem at `path`.
    pub(crate) fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.0.push(ConfigProblem {
            path: path.into(),
            message: message.into(),
        });
    }

    /// Adds a problem if `value` is not in `range`.
    pub(crate) fn range<T: PartialOrd + Display>(
        &mut self,
        path: &str,
        value: &T,
        range: &RangeInclusive<T>,
    ) {
        if !range.contains(value) {
            self.add(
                path,
                format!(
                    "a number from {} to {} is needed",
                    range.start(),
                    range.end()
                ),
            );
        }
    }

    /// Adds a problem if `text` is longer than `max` bytes or has a control character.
    pub(crate) fn text(&mut self, path: &str, text: &str, max: usize) {
        if max < text.len() || text.chars().any(char::is_control) {
            self.add(
                path,
                format!("at most {max} bytes and no control characters are allowed"),
            );
        }
    }

    /// All problems, or none.
    pub(crate) fn finish(self) -> Result<(), Vec<ConfigProblem>> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(self.0)
        }
    }
}

/// Reads a number of which the range is checked later. One that does not fit its type becomes 0,
/// which no range of a configuration contains, so that it is reported with all other problems.
pub(crate) fn number<'de, D, T>(source: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: TryFrom<i128> + Default,
{
    i128::deserialize(source).map(|number| T::try_from(number).unwrap_or_default())
}

/// As [`number`], for one that may be `null`.
pub(crate) fn optional_number<'de, D, T>(source: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: TryFrom<i128> + Default,
{
    let number = Option::<i128>::deserialize(source)?;
    Ok(number.map(|number| T::try_from(number).unwrap_or_default()))
}
