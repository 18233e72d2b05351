//! These are files that are there whole or not at all: written beside, synced, renamed, and the
//! folder synced, because a rename that only memory knows of is lost with the power.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

/// Replaces what is at `path` with `bytes`; after a crash there is the old or the new.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    sync_folder_of(path)
}

/// What is at `path`, nothing if there is no file; at most one byte more than `len_max`.
pub(crate) fn read(path: &Path, len_max: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(len_max.saturating_add(1))
        .read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// Makes durable which files stand beside `path`.
pub(crate) fn sync_folder_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_and_reads_back_and_leaves_nothing_beside() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        assert_eq!(read(&path, 9).expect("readable"), None);
        for bytes in [&b"one"[..], b"two"] {
            write(&path, bytes).expect("writable");
            assert_eq!(read(&path, 9).expect("readable").as_deref(), Some(bytes));
        }
        assert_eq!(
            std::fs::read_dir(folder.path()).expect("a folder").count(),
            1
        );
    }

    #[test]
    fn a_torn_replacement_leaves_the_old_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        write(&path, b"old").expect("writable");
        std::fs::write(path.with_extension("new"), b"to").expect("writable");
        assert_eq!(
            read(&path, 9).expect("readable").as_deref(),
            Some(&b"old"[..])
        );
        write(&path, b"new").expect("writable");
        assert_eq!(
            read(&path, 9).expect("readable").as_deref(),
            Some(&b"new"[..])
        );
    }

    #[test]
    fn reads_no_more_than_it_may() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        write(&path, &[7; 100]).expect("writable");
        assert_eq!(
            read(&path, 9).expect("readable").map(|bytes| bytes.len()),
            Some(10)
        );
    }
}
