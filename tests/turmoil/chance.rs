//! This is the clock and the randomness of a process that runs one seed: what the standard library
//! and every dependency take from the system comes from the seed and from the simulation's time.
//! So nothing that runs can leave the seed without it being known of, and no line of the node is
//! there for it.
//!
//! Only the thread that runs the seed is so; all others have the system's.

#![allow(unsafe_code)]

use std::cell::Cell;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// When a simulation begins: some day, as the wall clock says.
const WALL_SECONDS: u64 = 1_800_000_000;
/// When it begins, as the steady clock says: not at zero, so that what lies before has a place.
const STEADY_SECONDS: u64 = 1_000_000;

thread_local! {
    static RANDOM: Cell<Option<u64>> = const { Cell::new(None) };
    static ELAPSED: Cell<Option<Duration>> = const { Cell::new(None) };
    /// When the simulation began.
    static BEGAN: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// From here on this thread's randomness follows from `seed`, and its clocks go with those of the
/// simulation.
pub(crate) fn begin(seed: u64) {
    RANDOM.set(Some(seed.wrapping_mul(0xd6e8_feb8_6659_fd93) ^ 0x5eed));
    begin_without_seed();
}

/// As [`begin`], but the system's randomness stays: what follows from it must be found out.
pub(crate) fn begin_without_seed() {
    ELAPSED.set(Some(Duration::ZERO));
    BEGAN.set(Some(Instant::now()));
}

/// How much time has passed on the host that runs, or in the simulation where none does.
fn elapsed() -> Option<Duration> {
    let outside = ELAPSED.get()?;
    // The runtime of a host is asked for its time only once it stands.
    let inside = BEGAN.get().filter(|_| Handle::try_current().is_ok());
    Some(inside.map_or(outside, |began| {
        let now = tokio::time::Instant::now().into_std();
        now.saturating_duration_since(began)
    }))
}

/// How long after the beginning of the simulation `instant` is.
pub(crate) fn steady(instant: Instant) -> Duration {
    BEGAN.get().map_or(Duration::ZERO, |began| {
        instant.saturating_duration_since(began)
    })
}

/// In the simulation so much time has passed.
pub(crate) fn set_elapsed(elapsed: Duration) {
    ELAPSED.set(Some(elapsed));
}

/// The next number (splitmix64) of a sequence, and the sequence after it.
pub(crate) fn next(state: u64) -> (u64, u64) {
    let state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31), state)
}

/// What a program calls for random bytes.
///
/// # Safety
/// As the system's: `buffer` has room for `bytes`.
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(
    buffer: *mut u8,
    bytes: libc::size_t,
    flags: libc::c_uint,
) -> libc::ssize_t {
    let Some(mut state) = RANDOM.get() else {
        // SAFETY: the caller's promise is the system call's.
        let filled = unsafe { libc::syscall(libc::SYS_getrandom, buffer, bytes, flags) };
        return libc::ssize_t::try_from(filled).unwrap_or(-1);
    };
    for at in 0..bytes {
        let random;
        (random, state) = next(state);
        // SAFETY: the caller promises room for `bytes`.
        unsafe { buffer.add(at).write(random.to_le_bytes()[0]) };
    }
    RANDOM.set(Some(state));
    libc::ssize_t::try_from(bytes).unwrap_or(-1)
}

/// What a program calls for the time.
///
/// # Safety
/// As the system's: `time` has room for a time.
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(
    clock: libc::clockid_t,
    time: *mut libc::timespec,
) -> libc::c_int {
    let begin = match clock {
        libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE => Some(WALL_SECONDS),
        libc::CLOCK_MONOTONIC | libc::CLOCK_MONOTONIC_COARSE | libc::CLOCK_BOOTTIME => {
            Some(STEADY_SECONDS)
        }
        _ => None,
    };
    let (Some(begin), Some(elapsed)) = (begin, elapsed()) else {
        // SAFETY: the caller's promise is the system call's.
        let told = unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) };
        return libc::c_int::try_from(told).unwrap_or(-1);
    };
    let now = Duration::from_secs(begin) + elapsed;
    let said = libc::timespec {
        tv_sec: libc::time_t::try_from(now.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: now.subsec_nanos().into(),
    };
    // SAFETY: the caller promises room for a time.
    unsafe { time.write(said) };
    0
}
