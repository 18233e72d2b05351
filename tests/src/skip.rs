//! This is how a test says that it cannot be run here.

use std::io::Write;

/// Says that a test is skipped, and why, past what captures the output of tests: it is to be seen.
pub fn skip(why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED 1 test: {why}");
}
