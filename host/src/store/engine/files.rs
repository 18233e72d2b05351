//! These are the engine's files, looked at before it opens them: what it would answer by aborting
//! the process, by deleting data or by reading less than was written is refused here as damage.
//!
//! fjall trusts some of what it reads. It does not compare its manifests with the checksums it
//! keeps of them, so that a flipped bit there drops tables without a word; it asserts on entries
//! that are not its own, and a panic while it opens a keyspace aborts the process from a
//! destructor; it takes a keyspace without the file `current` for half made and deletes it; and
//! reserves memory for as many sections as a table's end says there are.
//!
//! ```text
//! current   the manifest's number (8, little-endian, as all numbers here), its checksum (16), 0
//! v4        a manifest, called by its number
//! tables/7  a table; the last 38 bytes say where its list of sections begins (8) and how long it
//!           is (8); the list begins with a magic (4) and how many there are (4)
//! ```

use crate::store::{StoreError, whole};
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The longest manifest that is looked at: a million tables.
const MANIFEST_BYTES_MAX: u64 = 64 << 20;
const CURRENT_BYTES: usize = 8 + 16 + 1;
/// What file systems count the room of files in.
const BLOCK_BYTES: u64 = 512;
/// How long the list of a table's sections may be.
const SECTIONS_BYTES: std::ops::RangeInclusive<u64> = 8..=64 << 10;
const TABLE_END: &[u8; 4] = b"SFA!";
const TABLE_END_BYTES: usize = 4 + 1 + 1 + 16 + 8 + 8;

/// Refuses a folder that the engine cannot safely open.
pub(super) fn check(path: &Path) -> Result<(), StoreError> {
    check_names(path)?;
    if !path.join("version").exists() && !entries(path)?.is_empty() {
        return Err(damaged(&path.join("version"), "is missing"));
    }
    for keyspace in entries(&path.join("keyspaces"))? {
        if keyspace.is_dir() {
            check_manifest(&keyspace)?;
            check_tables(&keyspace)?;
        }
    }
    Ok(())
}

/// Entries that the engine asserts about.
fn check_names(path: &Path) -> Result<(), StoreError> {
    let strange = |name: &Path| damaged(name, "is not the engine's; move it away");
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

/// The manifest in use is the one that was written.
fn check_manifest(keyspace: &Path) -> Result<(), StoreError> {
    let current = keyspace.join("current");
    let Some(bytes) = read(&current, CURRENT_BYTES as u64)? else {
        // A first start that was interrupted leaves a keyspace without anything in it.
        return if entries(&keyspace.join("tables"))?.is_empty() {
            Ok(())
        } else {
            Err(damaged(&current, "is missing"))
        };
    };
    let bytes: [u8; CURRENT_BYTES] = bytes
        .try_into()
        .map_err(|_| damaged(&current, "has another length than it was given"))?;
    let (number, checksum) = bytes.split_at(8);
    let number = number
        .iter()
        .rev()
        .fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    let manifest = keyspace.join(format!("v{number}"));
    let content = read(&manifest, MANIFEST_BYTES_MAX)?;
    let content = content.ok_or_else(|| damaged(&manifest, "is missing"))?;
    let expected = xxhash_rust::xxh3::xxh3_128(&content).to_le_bytes();
    if checksum[..16] == expected && checksum[16] == 0 {
        Ok(())
    } else {
        Err(damaged(&manifest, "is not what was written"))
    }
}

/// The tables' lists of sections lie within their files.
fn check_tables(keyspace: &Path) -> Result<(), StoreError> {
    for table in entries(&keyspace.join("tables"))? {
        if !table.is_file() {
            return Err(damaged(&table, "is not the engine's; move it away"));
        }
        match sections_fit(&table) {
            Ok(true) => {}
            Ok(false) => return Err(damaged(&table, "ends in what was not written")),
            Err(error) => return Err(failed(&table, &error)),
        }
    }
    Ok(())
}

/// Whether the engine can read the list of the table's sections. A table without an end is none:
/// one that a crash left half written, or the engine finds out.
fn sections_fit(table: &Path) -> io::Result<bool> {
    let file = File::open(table)?;
    let len = file.metadata()?.len();
    let Some(end_at) = len.checked_sub(TABLE_END_BYTES as u64) else {
        return Ok(true);
    };
    let mut end = [0; TABLE_END_BYTES];
    file.read_exact_at(&mut end, end_at)?;
    if !end.starts_with(TABLE_END) {
        return Ok(true);
    }
    let number = |at: usize| {
        let bytes = end[at..at + 8].iter().rev();
        bytes.fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    };
    let (at, bytes) = (number(22), number(30));
    if !SECTIONS_BYTES.contains(&bytes) || at.checked_add(bytes) != Some(end_at) {
        return Ok(false);
    }
    let mut count = [0; 4];
    file.read_exact_at(&mut count, at + 4)?;
    Ok(u64::from(u32::from_le_bytes(count)) <= bytes)
}

/// The paths in the folder `path`; none if it is not there.
pub(super) fn entries(path: &Path) -> Result<Vec<PathBuf>, StoreError> {
    match std::fs::read_dir(path) {
        Ok(entries) => entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()
            .map_err(|error| failed(path, &error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(failed(path, &error)),
    }
}

/// How many bytes the files in the folder `path` take on the disk.
pub(super) fn bytes(path: &Path) -> Result<u64, StoreError> {
    let mut sum: u64 = 0;
    for entry in entries(path)? {
        let metadata = entry.symlink_metadata();
        let metadata = metadata.map_err(|error| failed(&entry, &error))?;
        sum = sum.saturating_add(if metadata.is_dir() {
            bytes(&entry)?
        } else {
            metadata.blocks().saturating_mul(BLOCK_BYTES)
        });
    }
    Ok(sum)
}

fn read(path: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>, StoreError> {
    whole::read(path, bytes_max).map_err(|error| failed(path, &error))
}

fn damaged(path: &Path, what: &str) -> StoreError {
    StoreError::Damaged(format!("{} {what}", path.display()))
}

fn failed(path: &Path, error: &io::Error) -> StoreError {
    StoreError::Failed(format!("{} cannot be read: {error}", path.display()))
}
