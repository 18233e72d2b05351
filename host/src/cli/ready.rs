//! This is what the commands that run nodes do about ready files before there is anything to say.

use super::Failure;
use crate::config::missing_folder;
use std::io;
use std::path::Path;

/// Removes the file that an earlier run left: whoever waits for it waits for this run.
pub(super) fn remove_stale(path: &Path) -> Result<(), Failure> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Failure::File(path.to_owned(), error))
        }
        _ => Ok(()),
    }
}

/// Makes sure that the file can be written, and removes the one of an earlier run.
pub(super) fn prepare(path: &Path) -> Result<(), Failure> {
    match missing_folder(path) {
        Some(folder) => Err(Failure::File(folder, io::ErrorKind::NotFound.into())),
        None => remove_stale(path),
    }
}
