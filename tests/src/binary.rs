//! This is the `soros` binary under test: the one that `SOROS_BINARY` names, or one built once by
//! the cargo that builds the tests.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The path of the binary.
///
/// # Panics
/// When it cannot be built; the tests can do nothing without it.
#[must_use]
pub fn soros() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| std::env::var_os("SOROS_BINARY").map_or_else(build, PathBuf::from))
}

fn build() -> PathBuf {
    // A test's own path is TARGET/PROFILE/deps/NAME-HASH.
    let test = std::env::current_exe().expect("a test has a path");
    let profile = test
        .parent()
        .and_then(Path::parent)
        .expect("deps lies in a profile's folder");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args([
        "build",
        "--package",
        "soros-host",
        "--bin",
        "soros",
        "--quiet",
    ]);
    cargo.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    cargo.env(
        "CARGO_TARGET_DIR",
        profile.parent().expect("a profile lies in a target folder"),
    );
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    let status = cargo.status().expect("cargo starts");
    assert!(status.success(), "the binary under test does not build");
    profile.join("soros")
}
