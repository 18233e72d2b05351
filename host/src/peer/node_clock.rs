//! This is a node's clock: hybrid, anchored to the monotonic clock, so that a step of the wall
//! clock under a running process moves nothing.

use soros_core::time::{HybridClock, Time};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// A node's hybrid logical clock.
#[derive(Debug)]
pub struct NodeClock {
    /// The wall clock when the process started, and the monotonic clock of the same moment.
    anchor: (Duration, Instant),
    clock: Mutex<HybridClock>,
}

impl NodeClock {
    /// A clock that starts at the wall clock's time.
    #[must_use]
    pub fn start() -> NodeClock {
        let wall = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        NodeClock {
            anchor: (wall, Instant::now()),
            clock: Mutex::default(),
        }
    }

    /// A moment after every one given before and after `seen`.
    pub fn tick(&self, seen: Time) -> Time {
        self.with(|clock, wall| clock.tick(wall, seen))
    }

    /// Moves on to a `time` heard from another node, by at most `skew_max` ahead of this one's.
    pub fn observe(&self, time: Time, skew_max: Duration) {
        let most = u64::try_from(skew_max.as_micros()).unwrap_or(u64::MAX);
        self.with(|clock, wall| clock.observe(wall, time, most));
    }

    fn with<T>(&self, change: impl FnOnce(&mut HybridClock, Time) -> T) -> T {
        let now = self.anchor.0 + self.anchor.1.elapsed();
        let wall = Time::at_micros(u64::try_from(now.as_micros()).unwrap_or(u64::MAX));
        // A thread that panicked here left the clock as it was: moments only ever grow.
        change(
            &mut self.clock.lock().unwrap_or_else(PoisonError::into_inner),
            wall,
        )
    }
}
