//! This is what can happen to a node's data directory while nobody looks: it is copied, emptied,
//! exchanged for an earlier copy, and its files are flipped and cut.

use std::fs;
use std::path::{Path, PathBuf};

/// One way to harm a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// One bit of the byte in the middle of what is written is another.
    Flip,
    /// It ends in the middle of what is written.
    Cut,
    /// It is gone.
    Remove,
}

/// The files in a folder and the folders in it, by their paths from there, in order.
///
/// # Panics
/// When they cannot be listed.
#[must_use]
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    list(folder, Path::new(""), &mut found);
    found.sort();
    found
}

fn list(folder: &Path, within: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder.join(within)).expect("a folder") {
        let entry = entry.expect("an entry");
        let path = within.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            list(folder, &path, found);
        } else {
            found.push(path);
        }
    }
}

/// Copies a folder to where there is none. Holes of files are not kept.
///
/// # Panics
/// When it cannot be copied.
pub fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let target = to.join(&file);
        fs::create_dir_all(target.parent().expect("a folder")).expect("a folder");
        fs::copy(from.join(&file), target).expect("a copy");
    }
}

/// Puts a copy in the place of a folder.
///
/// # Panics
/// When it cannot be done.
pub fn replace(folder: &Path, copied: &Path) {
    empty(folder);
    copy(copied, folder);
}

/// Removes a folder with all that is in it.
///
/// # Panics
/// When it cannot be removed.
pub fn empty(folder: &Path) {
    fs::remove_dir_all(folder).expect("a folder");
}

/// Harms a file. One that has nothing written in it is left alone, and that is told.
///
/// # Panics
/// When it cannot be read or written.
#[must_use]
pub fn harm(file: &Path, harm: Harm) -> bool {
    let mut bytes = fs::read(file).expect("a file");
    // The engine makes room in its journals with zeros.
    let written = bytes.iter().rposition(|byte| *byte != 0);
    let Some(written) = written.map(|last| last + 1) else {
        return false;
    };
    match harm {
        Harm::Flip => bytes[written / 2] ^= 0x10,
        Harm::Cut => bytes.truncate(written / 2),
        Harm::Remove => {
            fs::remove_file(file).expect("a file");
            return true;
        }
    }
    fs::write(file, bytes).expect("a file");
    true
}
