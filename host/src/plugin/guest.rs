//! This is what a component runs in: a store that bounds what a call may compute, hold and say.

use crate::plugin::engine::Host;
use crate::plugin::error::{fault, is_of_machine};
use crate::plugin::limits::{CORE_INSTANCES, TABLE_ENTRIES, TABLES};
use crate::plugin::log::Journal;
use soros_core::policy::PolicyError;
use std::sync::Arc;
use wasmtime::{ResourceLimiter, Store, StoreContextMut, UpdateDeadline};

/// What the host keeps beside an instance.
pub(super) struct Guest {
    host: Arc<Host>,
    pub(super) journal: Arc<Journal>,
    /// The last line that it wrote about a fault: a panic's message and place.
    pub(super) last_error: String,
    log_bytes_left: usize,
    ticks_seen: u32,
    /// Whether it was refused memory or table entries.
    pub(super) was_refused: bool,
    /// Whether the machine did not give what it may have.
    pub(super) was_starved: bool,
}

/// It held its thread for too long.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the deadline has passed")]
pub(super) struct Overrun;

/// It asked for more memory or table entries than it may have.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("more memory than is allowed")]
struct Refused;

impl Guest {
    /// Whether the log takes `bytes` more of this call, and one line more of this policy.
    pub(super) fn take_log_share(&mut self, bytes: usize) -> bool {
        let Some(left) = self.log_bytes_left.checked_sub(bytes) else {
            if 0 < self.log_bytes_left {
                self.log_bytes_left = 0;
                tracing::warn!("a policy's call wrote more than its share of the log");
            }
            return false;
        };
        self.log_bytes_left = left;
        self.journal.take_line()
    }

    /// The engine's clock moved on while this call ran. The ticks that it did not run for count as
    /// one, so a call is not blamed for the other threads of a busy machine.
    fn on_tick(&mut self) -> wasmtime::Result<UpdateDeadline> {
        self.host.ticker.touch();
        self.ticks_seen += 1;
        if self.host.ticks_max() < self.ticks_seen {
            return Err(Overrun.into());
        }
        Ok(UpdateDeadline::Continue(1))
    }

    fn allow(&mut self, fits: bool) -> wasmtime::Result<bool> {
        self.was_refused |= !fits;
        if fits { Ok(true) } else { Err(Refused.into()) }
    }

    /// Growing failed although it was allowed. Where that is the machine's doing the call ends
    /// here: the policy would take it for its own limit, and trap.
    fn on_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        if is_of_machine(&error) {
            self.was_starved = true;
            return Err(error);
        }
        Ok(())
    }
}

impl ResourceLimiter for Guest {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        self.allow(desired <= self.host.limits.memory_bytes)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.on_grow_failed(error)
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.on_grow_failed(error)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        self.allow(desired <= TABLE_ENTRIES)
    }

    fn instances(&self) -> usize {
        CORE_INSTANCES as usize
    }

    fn tables(&self) -> usize {
        TABLES as usize
    }

    fn memories(&self) -> usize {
        1
    }
}

/// A store for one instance.
pub(super) fn store(host: &Arc<Host>, journal: &Arc<Journal>) -> Store<Guest> {
    let guest = Guest {
        host: Arc::clone(host),
        journal: Arc::clone(journal),
        last_error: String::new(),
        log_bytes_left: 0,
        ticks_seen: 0,
        was_refused: false,
        was_starved: false,
    };
    let mut store = Store::new(&host.engine, guest);
    store.limiter(|guest| guest);
    store.set_hostcall_fuel(host.limits.output_bytes);
    store.epoch_deadline_callback(|mut store: StoreContextMut<'_, Guest>| {
        store.data_mut().on_tick()
    });
    store
}

/// Runs something in a store with what one call may use.
pub(super) fn bounded<R>(
    store: &mut Store<Guest>,
    run: impl FnOnce(&mut Store<Guest>) -> wasmtime::Result<R>,
) -> Result<R, PolicyError> {
    let guest = store.data_mut();
    let limits = guest.host.limits;
    guest.host.ticker.touch();
    guest.ticks_seen = 0;
    guest.log_bytes_left = limits.log_bytes;
    guest.last_error.clear();
    store.set_epoch_deadline(1);
    store
        .set_fuel(limits.fuel)
        .and_then(|()| run(store))
        .map_err(|error| fault(&error, store.data(), &limits))
}
