//! This is the `soros` binary under test: the one that `SOROS_BINARY` names, or the one that was
//! built with the tests.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The path of the binary.
///
/// # Panics
/// When it is not there; the tests can do nothing without it.
#[must_use]
pub fn soros() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| std::env::var_os("SOROS_BINARY").map_or_else(built, PathBuf::from))
}

fn built() -> PathBuf {
    // Programs lie in TARGET/PROFILE, tests in its folder `deps`.
    let own = std::env::current_exe().expect("a program has a path");
    let beside = own.ancestors().skip(1).take(2);
    let binary = beside.map(|folder| folder.join("soros-under-test"));
    let binary = binary.into_iter().find(|path| path.exists());
    binary.expect("soros-under-test was built: `cargo build --workspace` does that")
}
