//! This is what can go wrong inside fjall, and what an operator is told of it.

use crate::store::StoreError;
use rustix::io::Errno;
use soros_core::record::RecordError;
use std::panic::AssertUnwindSafe;

/// Calls into fjall; a panic there becomes an error here.
pub(super) fn guarded<T>(act: impl FnOnce() -> fjall::Result<T>) -> Result<T, StoreError> {
    let stopped = StoreError::Failed("it stopped at a state it did not expect".to_owned());
    let result = caught(act).ok_or(stopped)?;
    result.map_err(|error| explained(&error))
}

/// Reads what is in files; fjall asserts on some of it, so a panic is damage here.
pub(super) fn guarded_reading<T>(act: impl FnOnce() -> fjall::Result<T>) -> Result<T, StoreError> {
    let result = caught(act).ok_or_else(never_written)?;
    result.map_err(|error| explained(&error))
}

/// Reads records of a database that is open. A block that the disk fails to read is gone as one
/// that was overwritten is.
pub(super) fn guarded_records<T>(act: impl FnOnce() -> fjall::Result<T>) -> Result<T, StoreError> {
    let result = caught(act).ok_or_else(never_written)?;
    result.map_err(|error| explained_of_records(&error))
}

fn never_written() -> StoreError {
    StoreError::Damaged("the files hold what the engine never writes".to_owned())
}

fn caught<T>(act: impl FnOnce() -> fjall::Result<T>) -> Option<fjall::Result<T>> {
    std::panic::catch_unwind(AssertUnwindSafe(act)).ok()
}

fn explained_of_records(error: &fjall::Error) -> StoreError {
    match error {
        fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error))
            if error.raw_os_error() == Some(Errno::IO.raw_os_error()) =>
        {
            StoreError::Damaged(format!("the disk fails to read it ({error})"))
        }
        error => explained(error),
    }
}

/// What an operator learns of an engine's error. A disk that fills up in the middle of a write is
/// a failure too: the rest of the write may still reach the disk.
fn explained(error: &fjall::Error) -> StoreError {
    match error {
        fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => {
            match error.kind() {
                // Seeking before a file's begin, or making what is there, comes of what was read.
                std::io::ErrorKind::NotFound
                | std::io::ErrorKind::AlreadyExists
                | std::io::ErrorKind::InvalidInput
                | std::io::ErrorKind::InvalidData
                | std::io::ErrorKind::UnexpectedEof => {
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
    match explained_of_records(error) {
        StoreError::Damaged(_) => RecordError::Damaged("a table of the engine is damaged"),
        other => RecordError::Failed(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Error;

    #[test]
    fn a_block_that_the_disk_fails_to_read_is_damage_and_too_many_files_are_none() {
        let of = |errno: Errno| {
            let error = || fjall::Error::Io(Error::from_raw_os_error(errno.raw_os_error()));
            let read = guarded_records::<()>(|| Err(error()));
            assert_eq!(
                matches!(read, Err(StoreError::Damaged(_))),
                matches!(unreadable(&error()), RecordError::Damaged(_)),
            );
            assert!(matches!(
                guarded::<()>(|| Err(error())),
                Err(StoreError::Failed(_))
            ));
            matches!(read, Err(StoreError::Damaged(_)))
        };
        assert!(of(Errno::IO));
        assert!(!of(Errno::MFILE) && !of(Errno::LOOP));
    }
}
