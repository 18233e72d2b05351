//! This is the instances of a policy: the small set that waits to be asked again.
//!
//! An instance is used by one thread at a time and in place, because a policy that chooses between
//! two small values takes half a microsecond, less than a hand-over between threads. After any
//! error it is dropped with its store.

use crate::plugin::abi::Exports;
use crate::plugin::compile::Compiled;
use crate::plugin::engine::Host;
use crate::plugin::error::Fault;
use crate::plugin::guest::{Guest, bounded, store};
use crate::plugin::limits::{CALLS_AN_INSTANCE, Limits};
use crate::plugin::log::Journal;
use soros_core::policy::PolicyError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use wasmtime::Store;

static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Which of the threads that have asked a policy this is.
    static THREAD: usize = THREADS.fetch_add(1, Ordering::Relaxed);
}

/// What instances are made of.
pub(super) struct Source {
    pub(super) host: Arc<Host>,
    pub(super) compiled: Arc<Compiled>,
    /// The config, in canonical JSON.
    pub(super) config: String,
    pub(super) journal: Arc<Journal>,
}

/// An instance that can be asked.
pub(super) struct Instance<E> {
    pub(super) store: Store<Guest>,
    pub(super) exports: E,
    calls: u32,
}

impl<E: Exports> Instance<E> {
    /// Makes an instance and gives it its config.
    pub(super) fn new(source: &Source) -> Result<(Instance<E>, E::Wants), Fault> {
        let Compiled { pre, interface, .. } = source.compiled.as_ref();
        let mut store = store(&source.host, &source.journal);
        let exports = bounded(&mut store, |store| {
            let instance = pre.instantiate(&mut *store)?;
            E::bind(&instance, &mut *store, interface)
        });
        let exports = exports.map_err(Fault::Policy)?;
        let answer = bounded(&mut store, |store| exports.configure(store, &source.config));
        let wants = answer.map_err(Fault::Policy)?.map_err(Fault::Config)?;
        let calls = 0;
        Ok((
            Instance {
                store,
                exports,
                calls,
            },
            wants,
        ))
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
    /// a failure like any other. What it computes is added to `fuel`.
    pub(super) fn ask<A, R>(
        &self,
        fuel: &mut u64,
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
        let answer = bounded(store, |store| question(store, exports));
        let answer = answer.and_then(judge);
        let left = store.get_fuel().unwrap_or(0);
        let used = self.limits().fuel.saturating_sub(left);
        seat.usage.count(used, answer.is_err());
        *fuel = fuel.saturating_add(used);
        instance.calls += 1;
        if answer.is_ok() && instance.calls < CALLS_AN_INSTANCE {
            seat.ready = Some(instance);
        }
        answer
    }

    /// This thread's seat, or a free one where another thread has the same.
    fn seat(&self) -> MutexGuard<'_, Seat<E>> {
        let first = THREAD.with(|number| number % self.seats.len());
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
