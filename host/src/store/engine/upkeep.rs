//! This is what the engine does on a full disk, on a thread of its own: it writes out what is in
//! memory, and merges all tables at once if that fits, so that the bytes of what was deleted come
//! back. A merge takes the room of its input once more until it ends.

use crate::store::engine::Shared;
use crate::store::engine::fault::guarded;
use crate::store::{Space, StoreError};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often it looks at the disk.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// The shortest pause between two attempts to make room.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// How much longer than an attempt the pause after it is.
const PAUSE_FACTOR: u32 = 4;
/// One of so many parts is gained by a merge that is worth the next one.
const GAIN_PARTS: u64 = 8;
/// The most that is merged at once: whoever closes the engine waits for it.
const MERGED_BYTES_MAX: u64 = 1 << 30;

/// The thread, until this is dropped.
#[derive(Debug)]
pub(super) struct Upkeep {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Upkeep {
    pub(super) fn start(shared: Arc<Shared>) -> std::io::Result<Upkeep> {
        let (end, ended) = channel();
        let thread = std::thread::Builder::new()
            .name("upkeep".to_owned())
            .spawn(move || run(&shared, &ended))?;
        Ok(Upkeep {
            end: Some(end),
            thread: Some(thread),
        })
    }
}

impl Drop for Upkeep {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the engine's upkeep died of a panic");
        }
    }
}

fn run(shared: &Shared, ended: &Receiver<()>) {
    let (mut merged, mut is_due) = (None, false);
    let mut next = Instant::now();
    while ended.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
        is_due |= shared.disk().room.is_full();
        if !is_due || Instant::now() < next {
            continue;
        }
        let begun = Instant::now();
        match shared.make_room(&mut merged) {
            // More may have been deleted meanwhile.
            Ok(gained) => is_due = gained,
            Err(error) => tracing::warn!(%error, "no room could be made on the full disk"),
        }
        next = Instant::now() + PAUSE_MIN.max(begun.elapsed() * PAUSE_FACTOR);
    }
}

impl Shared {
    /// Makes room if something was written since the last time, after which the newest that was in
    /// tables was `merged`. Whether it gained much.
    pub(super) fn make_room(&self, merged: &mut Option<u64>) -> Result<bool, StoreError> {
        let space = Space::Partitions;
        let _merging = self.merging.lock().unwrap_or_else(PoisonError::into_inner);
        let (keyspace, newest) = {
            let state = self.state();
            let running = self.working(&state)?;
            let keyspace = running.keyspace(space).clone();
            let unwritten = running.unwritten_bytes();
            // What is in memory goes to the disk only if the merge that is to follow finds room,
            // too: small tables alone would take the last bytes and give none back.
            if !self.may_merge(keyspace.disk_space().saturating_add(unwritten), unwritten)? {
                return Ok(false);
            }
            self.noted(running.flush_space(space))?;
            (keyspace, Some(running.written_out(space)))
        };
        let bytes = keyspace.disk_space();
        if newest == *merged || !self.may_merge(bytes, 0)? {
            return Ok(false);
        }
        guarded(|| keyspace.major_compact())?;
        *merged = newest;
        Ok(keyspace.disk_space() <= bytes / GAIN_PARTS * (GAIN_PARTS - 1))
    }

    /// Whether there is room to write tables of `bytes` once more, beside `others`.
    fn may_merge(&self, bytes: u64, others: u64) -> Result<bool, StoreError> {
        let needed = bytes
            .saturating_add(others)
            .saturating_add(self.options.reserve_bytes);
        Ok(bytes <= MERGED_BYTES_MAX && needed <= super::free_bytes(&self.path)?)
    }
}
