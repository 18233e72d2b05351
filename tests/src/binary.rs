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
    // A test's own path is TARGET/PROFILE/deps/NAME-HASH; its package's binaries are in PROFILE.
    let test = std::env::current_exe().expect("a test has a path");
    let profile = test
        .parent()
        .and_then(Path::parent)
        .expect("deps lies in a profile's folder");
    let binary = profile.join("soros-under-test");
    assert!(binary.exists(), "{} was not built", binary.display());
    binary
}
