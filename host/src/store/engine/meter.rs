//! This is the last look at the disk, taken anew when it is asked for and is not fresh any more.

use crate::store::engine::Shared;
use crate::store::engine::running::Running;
use crate::store::room::{Disk, Room, Usage};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a look is fresh: what is written meanwhile is little against the reserve.
const FRESH: Duration = Duration::from_millis(50);

/// The last look, and when it was taken.
#[derive(Debug, Default)]
pub(super) struct Meter(Mutex<(Option<Instant>, Disk)>);

impl Shared {
    /// How the disk is.
    pub(super) fn disk(&self) -> Disk {
        let mut last = self.meter.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.0.is_none_or(|taken| FRESH <= taken.elapsed()) {
            let disk = self.look(last.1);
            *last = (Some(Instant::now()), disk);
        }
        last.1
    }

    fn look(&self, before: Disk) -> Disk {
        let usage = match Usage::of_file_system(&self.path) {
            Ok(usage) => Usage {
                held: self.held_bytes().unwrap_or(before.usage.held),
                ..usage
            },
            // It stays as it was; a commit fails of itself if the disk is gone.
            Err(error) => {
                tracing::debug!(%error, "the file system does not say what is free");
                return before;
            }
        };
        let (marks, reserve) = (&self.options.marks, self.options.reserve_bytes);
        let room = marks.judge(before.room, &usage, reserve);
        if before.room != room {
            tell_turn(room, &usage);
        }
        Disk { room, usage }
    }

    /// The bytes of what is stored, if the database is open. The journal is not among them: it is
    /// as long with few records as with many.
    fn held_bytes(&self) -> Option<u64> {
        let state = self.state();
        let held = |running: &Running| running.table_bytes() + running.unwritten_bytes();
        state.running.as_ref().map(held)
    }
}

fn tell_turn(room: Room, usage: &Usage) {
    let Usage { size, free, held } = usage;
    let message = match room {
        Room::Ample => {
            tracing::info!(
                size,
                free,
                held,
                "the disk has room again: values are taken"
            );
            return;
        }
        Room::High => "the disk is full up to its high mark: new values are refused",
        Room::Low => "the disk is nearly full: new values and repair are refused",
    };
    tracing::warn!(size, free, held, "{message}; reads and deletes go on");
}
