//! This is the last look at the disk. The engine's upkeep takes one every now and then, and a
//! commit does when much was written since; between two, what commits write is counted.

use crate::store::engine::Shared;
use crate::store::room::{Disk, Room, Usage};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The last look.
#[derive(Debug, Default)]
pub(super) struct Meter {
    disk: Mutex<Disk>,
    /// The bytes that are free, less what was written since.
    free: AtomicU64,
    /// The bytes that were written since.
    spent: AtomicU64,
}

impl Meter {
    /// How the disk was found.
    pub(super) fn disk(&self) -> Disk {
        *self.lock()
    }

    /// The bytes that are free, about.
    pub(super) fn free(&self) -> u64 {
        self.free.load(Ordering::Relaxed)
    }

    /// Takes note of what a commit writes.
    pub(super) fn spend(&self, bytes: u64) {
        let less = |free: u64| Some(free.saturating_sub(bytes));
        // It always has a value to set.
        let _ = self
            .free
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        self.spent.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The bytes that commits wrote since the last look.
    pub(super) fn spent(&self) -> u64 {
        self.spent.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// Looks at the disk.
    pub(super) fn look(&self) -> Disk {
        let usage = match Usage::of_file_system(&self.path) {
            Ok(usage) => Usage {
                held: self.held_bytes(),
                ..usage
            },
            // It stays as it was; a commit fails of itself if the disk is gone.
            Err(error) => {
                tracing::debug!(%error, "the file system does not say what is free");
                return self.meter.disk();
            }
        };
        let mut disk = self.meter.lock();
        let (marks, reserve) = (&self.options.marks, self.options.reserve_bytes);
        let room = marks.judge(disk.room, &usage, reserve);
        if disk.room != room {
            tell_turn(room, &usage);
        }
        *disk = Disk { room, usage };
        self.meter.free.store(usage.free, Ordering::Relaxed);
        self.meter.spent.store(0, Ordering::Relaxed);
        *disk
    }

    /// The bytes of what is stored. The journal is not among them: it is as long with few records
    /// as with many.
    fn held_bytes(&self) -> u64 {
        let state = self.state();
        let running = state.running.as_ref();
        running.map_or(0, |running| {
            running
                .table_bytes()
                .saturating_add(running.unwritten_bytes())
        })
    }
}

fn tell_turn(room: Room, usage: &Usage) {
    let Usage { size, free, held } = usage;
    match room {
        Room::Ample => {
            tracing::info!(
                size,
                free,
                held,
                "there is room on the disk again: writes are taken"
            );
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
