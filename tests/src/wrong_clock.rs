//! This is a wall clock that a test sets for one process, by the library of the `faketime` program.
//! The other clocks of the process stay as they are.

use crate::skip::skip;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A wall clock.
#[derive(Debug)]
pub struct WrongClock {
    library: String,
    file: PathBuf,
}

impl WrongClock {
    /// A right one, which `folder` is to remember; none where the program is not installed, which
    /// is said aloud.
    #[must_use]
    pub fn in_folder(folder: &Path) -> Option<WrongClock> {
        let Some(library) = library() else {
            skip("nodes with wrong clocks need the program `faketime`");
            return None;
        };
        let file = folder.join("wrong-clock");
        let clock = WrongClock { library, file };
        clock.set(0);
        Some(clock)
    }

    /// Sets it so many seconds ahead. A process notices within a second.
    ///
    /// # Panics
    /// When the folder cannot be written to.
    pub fn set(&self, ahead: i64) {
        std::fs::write(&self.file, format!("{ahead:+}\n")).expect("a folder of this test");
    }

    /// What a process is to find in its environment.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        let file = self.file.display().to_string();
        [
            ("LD_PRELOAD", self.library.as_str()),
            ("FAKETIME_TIMESTAMP_FILE", file.as_str()),
            ("FAKETIME_CACHE_DURATION", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }
}

/// Where the program's library is, as the program itself tells a process.
fn library() -> Option<String> {
    let told = Command::new("faketime")
        .args(["-m", "-f", "+0s", "env"])
        .output();
    let told = String::from_utf8(told.ok()?.stdout).ok()?;
    let library = told
        .lines()
        .find_map(|line| line.strip_prefix("LD_PRELOAD="));
    library.map(str::to_owned)
}
