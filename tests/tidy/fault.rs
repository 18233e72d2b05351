//! This is what a rule finds: where, and what to do about it.

use std::fmt;

/// A breach of one rule.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    path: String,
    line: usize,
    what: String,
}

impl Fault {
    /// A fault at `line` of `path`, counted from 1.
    pub(crate) fn new(path: &str, line: usize, what: impl Into<String>) -> Fault {
        Fault {
            path: path.to_owned(),
            line,
            what: what.into(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}: {}", self.path, self.line, self.what)
    }
}
