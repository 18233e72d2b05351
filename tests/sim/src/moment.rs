//! This is virtual time: microseconds since the simulation began, and what is due when.

use std::collections::BTreeMap;

/// A moment of the simulation, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

/// A millisecond, in microseconds.
pub const MILLI: u64 = 1_000;
/// A second, in microseconds.
pub const SECOND: u64 = 1_000_000;

impl Moment {
    /// The moment `micros` later.
    #[must_use]
    pub fn after(self, micros: u64) -> Moment {
        Moment(self.0 + micros)
    }
}

impl std::fmt::Display for Moment {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}.{:06}s", self.0 / SECOND, self.0 % SECOND)
    }
}

/// What is due, in order: of things due at one moment, the one that was scheduled first.
#[derive(Debug)]
pub struct Schedule<T> {
    due: BTreeMap<(Moment, u64), T>,
    scheduled: u64,
}

impl<T> Default for Schedule<T> {
    fn default() -> Schedule<T> {
        Schedule {
            due: BTreeMap::new(),
            scheduled: 0,
        }
    }
}

impl<T> Schedule<T> {
    /// Schedules `what` for `when`.
    pub fn add(&mut self, when: Moment, what: T) {
        self.scheduled += 1;
        self.due.insert((when, self.scheduled), what);
    }

    /// When something is due next.
    #[must_use]
    pub fn next(&self) -> Option<Moment> {
        self.due.first_key_value().map(|((when, _), _)| *when)
    }

    /// What is due next, and when.
    pub fn pop(&mut self) -> Option<(Moment, T)> {
        let ((when, _), what) = self.due.pop_first()?;
        Some((when, what))
    }
}
