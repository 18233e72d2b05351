//! This is the last look at the disk, kept for a moment so that each write may ask.

use crate::store::room::{Disk, Room, Usage};
use crate::store::engine::Shared;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a look at the disk is good for.
const KEPT: Duration = Duration::from_millis(50);

/// The last look.
#[derive(Debug, Default)]
pub(super) struct Meter(Mutex<Look>);

#[derive(Clone, Copy, Debug, Default)]
struct Look {
    at: Option<Instant>,
    disk: Disk,
}

impl Shared {
    /// How the disk is.
    pub(super) fn disk(&self) -> Disk {
        let mut look = self.meter.0.lock().unwrap_or_else(PoisonError::into_inner);
        if look.at.is_some_and(|at| at.elapsed() < KEPT) {
            return look.disk;
        }
        let before = look.disk;
        match Usage::of_file_system(&self.path) {
            Ok(usage) => {
                let held = self.held_bytes();
                look.disk.usage = Usage { held, ..usage };
            }
            // It stays as it was; a commit fails of itself if the disk is gone.
            Err(error) => tracing::debug!(%error, "the file system does not say what is free"),
        }
        let marks = &self.options.marks;
        let room = marks.judge(before.room, &look.disk.usage, self.options.reserve_bytes);
        if before.room != room {
            look.disk.room = room;
            look.disk.turns += 1;
            tell_turn(&look.disk);
        }
        look.at = Some(Instant::now());
        look.disk
    }

    /// The bytes of what is stored. The journal is not among them: it is as long with few records
    /// as with many.
    fn held_bytes(&self) -> u64 {
        let state = self.state();
        let running = state.running.as_ref();
        running.map_or(0, |running| running.table_bytes().saturating_add(running.unwritten_bytes()))
    }
}

fn tell_turn(disk: &Disk) {
    let Usage { size, free, held } = disk.usage;
    match disk.room {
        Room::Ample => {
            tracing::info!(size, free, held, "there is room on the disk again: writes are taken");
        }
        Room::High => tracing::warn!(
            size,
            free,
            held,
            "the disk is full up to its high mark: new values are refused; reads and deletes go on"
        ),
        Room::Low => tracing::warn!(
            size,
            free,
            held,
            "the disk is nearly full: only reads and deletes go on; make room or add disk"
        ),
    }
}
