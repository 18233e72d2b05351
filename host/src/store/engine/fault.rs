//! This is what can go wrong inside fjall, and what an operator is told of it.

use crate::store::StoreError;
use soros_core::record::RecordError;
use std::os::unix::fs::MetadataExt;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};

/// Refuses a folder with entries that fjall asserts about, aborting the process from a destructor.
pub(super) fn check_files(path: &Path) -> Result<(), StoreError> {
    let strange = |name: &std::path::Path| {
        StoreError::Damaged(format!(
            "{} is not the engine's; move it away",
            name.display()
        ))
    };
    for entry in entries(path)? {
        let is_journal = entry
            .extension()
            .is_some_and(|extension| extension == "jnl");
        if entry.file_name().is_none_or(|name| name.to_str().is_none())
            || is_journal && !entry.is_file()
        {
            return Err(strange(&entry));
        }
    }
    for entry in entries(&path.join("keyspaces"))? {
        let name = entry.file_name().and_then(|name| name.to_str());
        if !entry.is_file() && name.is_none_or(|name| name.parse::<u64>().is_err()) {
            return Err(strange(&entry));
        }
    }
    Ok(())
}

pub(super) fn entries(path: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let failed = |error: std::io::Error| {
        StoreError::Failed(format!("{} cannot be listed: {error}", path.display()))
    };
    match std::fs::read_dir(path) {
        Ok(entries) => entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()
            .map_err(failed),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(failed(error)),
    }
}

/// The bytes that the journals in the folder take. The engine makes them as long as they may get,
/// and fills them later.
pub(super) fn journal_bytes(path: &Path) -> u64 {
    const BLOCK_BYTES: u64 = 512;
    let journals = entries(path).unwrap_or_default().into_iter();
    let journals = journals.filter(|path| path.extension().is_some_and(|end| end == "jnl"));
    let blocks = journals.filter_map(|path| path.metadata().ok().map(|file| file.blocks()));
    blocks.sum::<u64>().saturating_mul(BLOCK_BYTES)
}

/// Calls into fjall; a panic there becomes an error here.
pub(super) fn guarded<T>(act: impl FnOnce() -> fjall::Result<T>) -> Result<T, StoreError> {
    let stopped = StoreError::Failed("it stopped at a state it did not expect".to_owned());
    caught(act).unwrap_or(Err(stopped))
}

/// Opens a database; fjall asserts on some of what it reads, so a panic is damage here.
pub(super) fn guarded_opening<T>(act: impl FnOnce() -> fjall::Result<T>) -> Result<T, StoreError> {
    let stopped = StoreError::Damaged("the files hold what the engine never writes".to_owned());
    caught(act).unwrap_or(Err(stopped))
}

fn caught<T>(act: impl FnOnce() -> fjall::Result<T>) -> Option<Result<T, StoreError>> {
    let result = std::panic::catch_unwind(AssertUnwindSafe(act)).ok()?;
    Some(result.map_err(|error| explained(&error)))
}

/// What an operator learns of an engine's error. A disk that fills up in the middle of a write is
/// a failure too: the rest of the write may still reach the disk.
fn explained(error: &fjall::Error) -> StoreError {
    match error {
        fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => {
            match error.kind() {
                std::io::ErrorKind::NotFound | std::io::ErrorKind::UnexpectedEof => {
                    StoreError::Damaged(format!("a file is missing or cut short ({error})"))
                }
                _ => StoreError::Failed(error.to_string()),
            }
        }
        // Told before anything of a batch is written.
        fjall::Error::Poisoned => StoreError::NotOpen("a write before this one failed".to_owned()),
        fjall::Error::Locked => StoreError::Failed("another process has it open".to_owned()),
        fjall::Error::JournalRecovery(error) => StoreError::Damaged(format!(
            "the last batch of the journal is not whole ({error:?})"
        )),
        fjall::Error::InvalidVersion(_) => {
            StoreError::Damaged("the files are of another version of the engine".to_owned())
        }
        other => StoreError::Damaged(format!("{other:?}")),
    }
}

pub(super) fn unreadable(error: &fjall::Error) -> RecordError {
    match explained(error) {
        StoreError::Damaged(_) => RecordError::Damaged("a table of the engine is damaged"),
        other => RecordError::Failed(other.to_string()),
    }
}
