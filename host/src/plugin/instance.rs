//! This is one call of a component: an instance with its store, what it may use, and the small set
//! of instances that wait to be asked again.
//!
//! An instance is used by one thread at a time and in place, because a policy that chooses between
//! two small values takes half a microsecond, less than a hand-over between threads. After any
//! error it is dropped with its store.

use crate::plugin::abi::Exports;
use crate::plugin::engine::Host;
use crate::plugin::error::{Fault, fault};
use crate::plugin::limits::{CALLS_AN_INSTANCE, CORE_INSTANCES, Limits, TABLE_ENTRIES, TABLES};
use crate::plugin::log::Journal;
use soros_core::policy::PolicyError;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use wasmtime::component::InstancePre;
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

/// An instance that can be asked.
struct Instance<E> {
    store: Store<Guest>,
    exports: E,
    calls: u32,
}

impl<E: Exports> Instance<E> {
    /// Makes an instance and gives it its config.
    fn new(source: &Source) -> Result<(Instance<E>, E::Wants), Fault> {
        let mut store = source.store();
        let exports = source
            .bounded(&mut store, |store| {
                let instance = source.pre.instantiate(&mut *store)?;
                E::bind(&instance, &mut *store, &source.interface)
            })
            .map_err(Fault::Policy)?;
        let answer = source
            .bounded(&mut store, |store| exports.configure(store, &source.config))
            .map_err(Fault::Policy)?;
        let wants = answer.map_err(Fault::Config)?;
        Ok((
            Instance {
                store,
                exports,
                calls: 0,
            },
            wants,
        ))
    }
}

/// What instances are made of.
pub(super) struct Source {
    pub(super) host: Arc<Host>,
    pub(super) pre: InstancePre<Guest>,
    /// The interface that the component exports, with its version.
    pub(super) interface: String,
    /// The config, in canonical JSON.
    pub(super) config: String,
    pub(super) journal: Arc<Journal>,
}

impl Source {
    /// A store for one instance.
    pub(super) fn store(&self) -> Store<Guest> {
        let guest = Guest {
            host: Arc::clone(&self.host),
            journal: Arc::clone(&self.journal),
            last_error: String::new(),
            log_bytes_left: 0,
            ticks_seen: 0,
            was_refused: false,
        };
        let mut store = Store::new(&self.host.engine, guest);
        store.limiter(|guest| guest);
        store.set_hostcall_fuel(self.host.limits.output_bytes);
        store.epoch_deadline_callback(|mut store: StoreContextMut<'_, Guest>| {
            store.data_mut().on_tick()
        });
        store
    }

    /// Runs something in the store with what one call may use.
    pub(super) fn bounded<R>(
        &self,
        store: &mut Store<Guest>,
        run: impl FnOnce(&mut Store<Guest>) -> wasmtime::Result<R>,
    ) -> Result<R, PolicyError> {
        let limits = &self.host.limits;
        self.host.ticker.touch();
        store.set_epoch_deadline(1);
        let guest = store.data_mut();
        guest.ticks_seen = 0;
        guest.log_bytes_left = limits.log_bytes;
        store
            .set_fuel(limits.fuel)
            .and_then(|()| run(store))
            .map_err(|error| fault(&error, store.data(), limits))
    }
}

/// How a policy has been used on this node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// How often it was asked.
    pub calls: u64,
    /// How often it failed.
    pub failures: u64,
    /// How much all calls computed together.
    pub fuel_total: u64,
    /// The most that one call computed.
    pub fuel_max: u64,
}

impl Usage {
    fn count(&mut self, fuel: u64, failed: bool) {
        self.calls += 1;
        self.failures += u64::from(failed);
        self.fuel_total = self.fuel_total.saturating_add(fuel);
        self.fuel_max = self.fuel_max.max(fuel);
    }

    fn join(self, other: Usage) -> Usage {
        Usage {
            calls: self.calls + other.calls,
            failures: self.failures + other.failures,
            fuel_total: self.fuel_total.saturating_add(other.fuel_total),
            fuel_max: self.fuel_max.max(other.fuel_max),
        }
    }
}

/// One thread's share of a pool.
struct Seat<E> {
    ready: Option<Instance<E>>,
    usage: Usage,
}

/// The instances of one policy: at most one for each seat, and a seat for each thread that asks.
pub(super) struct Pool<E> {
    source: Source,
    seats: Box<[Mutex<Seat<E>>]>,
}

impl<E: Exports> Pool<E> {
    /// A pool with one instance, which shows that the component takes its config.
    pub(super) fn new(source: Source) -> Result<(Pool<E>, E::Wants), Fault> {
        let (first, wants) = Instance::new(&source)?;
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let empty = |_| {
            Mutex::new(Seat {
                ready: None,
                usage: Usage::default(),
            })
        };
        let pool = Pool {
            source,
            seats: (0..threads * 2).map(empty).collect(),
        };
        pool.seat().ready = Some(first);
        Ok((pool, wants))
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.source.host.limits
    }

    /// How the policy has been used.
    pub(super) fn usage(&self) -> Usage {
        let usage = |seat: &Mutex<Seat<E>>| lock(seat).usage;
        self.seats
            .iter()
            .map(usage)
            .fold(Usage::default(), Usage::join)
    }

    /// Asks an instance on this thread, and has its answer judged: an answer that makes no sense is
    /// a failure like any other.
    pub(super) fn ask<A, R>(
        &self,
        question: impl FnOnce(&mut Store<Guest>, &E) -> wasmtime::Result<A>,
        judge: impl FnOnce(A) -> Result<R, PolicyError>,
    ) -> Result<R, PolicyError> {
        let mut seat = self.seat();
        let mut instance = match seat.ready.take() {
            Some(instance) => instance,
            None => {
                Instance::new(&self.source)
                    .map_err(Fault::into_policy_error)?
                    .0
            }
        };
        let Instance { store, exports, .. } = &mut instance;
        let answer = self.source.bounded(store, |store| question(store, exports));
        let answer = answer.and_then(judge);
        let left = store.get_fuel().unwrap_or(0);
        let used = self.limits().fuel.saturating_sub(left);
        seat.usage.count(used, answer.is_err());
        instance.calls += 1;
        if answer.is_ok() && instance.calls < CALLS_AN_INSTANCE {
            seat.ready = Some(instance);
        }
        answer
    }

    /// This thread's seat, or a free one where another thread has the same.
    fn seat(&self) -> MutexGuard<'_, Seat<E>> {
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        let hash = hasher.hash_one(std::thread::current().id());
        let first = usize::try_from(hash % self.seats.len() as u64).unwrap_or(0);
        let (before, after) = self.seats.split_at(first);
        for seat in after.iter().chain(before) {
            match seat.try_lock() {
                Ok(seat) => return seat,
                Err(TryLockError::Poisoned(seat)) => return seat.into_inner(),
                Err(TryLockError::WouldBlock) => {}
            }
        }
        lock(&self.seats[first])
    }
}

/// A seat is whole whenever it is unlocked: an instance is taken out of it while it runs.
fn lock<E>(seat: &Mutex<Seat<E>>) -> MutexGuard<'_, Seat<E>> {
    seat.lock().unwrap_or_else(PoisonError::into_inner)
}
