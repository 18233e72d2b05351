//! This is the look through all tables of an engine that had to be opened again twice within a
//! short while: whether it stopped at something that cannot be read. Reads and writes go on
//! meanwhile. An engine that is opened again before all is looked through would never hear of what
//! lies far behind, so that each look goes on where the one before it ended, and all round.

use crate::store::engine::Shared;
use crate::store::engine::fault::guarded_records;
use crate::store::engine::running::Running;
use crate::store::{Space, StoreError};
use fjall::Readable;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;

/// How many bytes of records are read at a time: who closes the engine waits for no more.
const READ_AT_ONCE: usize = 1 << 20;

/// How far the tables are looked through: the space's place in the list of all, and the next key.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Reached {
    pub(super) space: usize,
    pub(super) from: Vec<u8>,
}

/// The threads that look, until this is dropped.
#[derive(Debug, Default)]
pub(super) struct Inspections {
    end: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Inspections {
    /// Begins to look through what is open now. It ends by itself when that is closed.
    pub(super) fn begin(&mut self, shared: &Arc<Shared>) {
        self.threads.retain(|thread| !thread.is_finished());
        let (shared, end) = (Arc::clone(shared), Arc::clone(&self.end));
        let opening = shared.state().opening;
        let thread = std::thread::Builder::new()
            .name("inspection".to_owned())
            .spawn(move || shared.inspect(opening, &end));
        match thread {
            Ok(thread) => self.threads.push(thread),
            Err(error) => tracing::warn!(%error, "the engine's tables are not looked through"),
        }
    }

    /// Waits until all have looked.
    #[cfg(test)]
    pub(super) fn finish(&mut self) {
        for thread in self.threads.drain(..) {
            thread.join().expect("an inspection ends");
        }
    }
}

impl Drop for Inspections {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Release);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("an inspection of the engine died of a panic");
            }
        }
    }
}

impl Shared {
    /// Looks through all, once round from where the last look ended, while `opening` is open.
    pub(super) fn inspect(&self, opening: u64, end: &AtomicBool) {
        let inspecting = self.inspecting.lock();
        let mut reached = inspecting.unwrap_or_else(PoisonError::into_inner);
        let begun = reached.clone();
        let mut is_round = false;
        while !end.load(Ordering::Acquire) && (!is_round || *reached < begun) {
            match self.look_on(opening, &reached) {
                Ok(Some(next)) => {
                    is_round |= next < *reached;
                    *reached = next;
                }
                Ok(None) => return,
                Err(error) => return self.inspected(&error),
            }
        }
    }

    /// Reads on from what was `reached`; nothing when another engine is open.
    fn look_on(&self, opening: u64, reached: &Reached) -> Result<Option<Reached>, StoreError> {
        let state = self.state();
        let running = state.running.as_ref();
        let Some(running) = running.filter(|_| state.opening == opening) else {
            return Ok(None);
        };
        let (space, from) = (reached.space, reached.from.clone());
        let next = read_on(running, Space::ALL[space], from)?;
        Ok(Some(match next {
            Some(from) => Reached { space, from },
            None => Reached {
                space: (space + 1) % Space::ALL.len(),
                from: Vec::new(),
            },
        }))
    }

    /// Only damage stays: a disk or a process that is short of something may not be so tomorrow.
    pub(super) fn inspected(&self, error: &StoreError) {
        match error {
            StoreError::Damaged(_) => self.torn.store(true, Ordering::Release),
            StoreError::Full | StoreError::NotOpen(_) | StoreError::Failed(_) => {
                tracing::warn!(%error, "the engine's tables could not be looked through");
            }
        }
    }
}

/// Reads records of `space` from the key `from` on, whatever is in them, and says from where to go
/// on; nothing at the end.
fn read_on(running: &Running, space: Space, from: Vec<u8>) -> Result<Option<Vec<u8>>, StoreError> {
    let snapshot = running.shown()?;
    guarded_records(|| {
        let mut bytes = 0;
        for guard in snapshot.range(running.keyspace(space), from..) {
            let (key, value) = guard.into_inner()?;
            bytes += key.len() + value.len();
            if READ_AT_ONCE <= bytes {
                return Ok(Some([&key[..], &[0]].concat()));
            }
        }
        Ok(None)
    })
}
