//! This is the clock of an engine: a thread that moves the engine's epoch on while policies are
//! called, and sleeps while none is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use wasmtime::Engine;

/// How many ticks it goes on after the last call that it knows of.
const LINGER: u32 = 100;

#[derive(Debug, Default)]
struct Shared {
    /// Whether there was a call since the ticker last looked.
    used: AtomicBool,
    stopped: AtomicBool,
}

/// Moves an engine's epoch on. Dropping it ends its thread.
#[derive(Debug)]
pub(super) struct Ticker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub(super) fn start(engine: &Engine, period: Duration) -> std::io::Result<Ticker> {
        let shared = Arc::new(Shared::default());
        let (its, engine) = (Arc::clone(&shared), engine.clone());
        let builder = thread::Builder::new().name("policy-ticker".into());
        let thread = builder.spawn(move || its.run(&engine, period))?;
        Ok(Ticker {
            shared,
            thread: Some(thread),
        })
    }

    /// Says that a call begins or goes on. Costs a load while the ticker runs.
    pub(super) fn touch(&self) {
        if self.shared.used.load(Ordering::Relaxed) {
            return;
        }
        self.shared.used.store(true, Ordering::SeqCst);
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Shared {
    fn run(&self, engine: &Engine, period: Duration) {
        while !self.stopped.load(Ordering::SeqCst) {
            if self.used.swap(false, Ordering::SeqCst) {
                self.tick(engine, period);
            } else {
                // A call that begins now finds `used` false and wakes this thread, at once if it
                // does so before the thread sleeps.
                thread::park();
            }
        }
    }

    fn tick(&self, engine: &Engine, period: Duration) {
        for _ in 0..LINGER {
            thread::park_timeout(period);
            engine.increment_epoch();
            if self.stopped.load(Ordering::SeqCst) {
                return;
            }
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A thread that only sleeps and counts has nothing to report.
            let _ = thread.join();
        }
    }
}
