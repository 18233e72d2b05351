//! These are free ports for a cluster's listeners, below those that the system gives to clients, so
//! that a node finds its own free again after a restart.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::{Mutex, PoisonError};

static TAKEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A port between 10,000 and 32,767 that is free now and that no other test of this process has.
///
/// # Panics
/// When none is free.
#[must_use]
pub fn free_port() -> u16 {
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    // Two test processes begin at different ends of the range.
    let start = 10_000 + u16::try_from(std::process::id() % 20_000).expect("below 20,000");
    let mut ports = (start..32_768).chain(10_000..start);
    let port =
        ports.find(|port| !taken.contains(port) && TcpListener::bind(("127.0.0.1", *port)).is_ok());
    let port = port.expect("a free port between 10,000 and 32,767");
    taken.insert(port);
    port
}
