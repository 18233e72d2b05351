//! This is how the authority's records lie on disk: a version, a checksum and JSON.
//!
//! ```text
//! version:1 checksum:8 json
//! ```
//!
//! The version is the [`Format`] that the JSON needs. The checksum is the head of the blake3 hash
//! of the version and the JSON: what is damaged is not taken for a newer program's. A record with
//! another checksum or of a newer format is refused whole: a vote or a map read wrongly is worse
//! than one not read.

use crate::store::{Durability, Store, StoreError, Write, aside};
use serde::Serialize;
use serde::de::DeserializeOwned;
use soros_core::map::format::{Format, UnknownFormat};
use soros_core::record::RecordError;
use std::sync::Arc;

const CHECKSUM_BYTES: usize = 8;

/// Why a record could not be read.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It has fewer bytes than a version and a checksum.
    #[error("the record is too short")]
    Short,
    /// A newer program wrote it.
    #[error(transparent)]
    Newer(#[from] UnknownFormat),
    /// No program writes this version.
    #[error("the record has version {0}")]
    Version(u8),
    /// Its bytes are not those that were written.
    #[error("the record's checksum is wrong")]
    Checksum,
    /// Its JSON is not what it should be.
    #[error("the record is not what it should be")]
    Json(#[from] serde_json::Error),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] RecordError),
}

impl From<OpenError> for std::io::Error {
    fn from(error: OpenError) -> std::io::Error {
        std::io::Error::other(error)
    }
}

/// The record of `value`, which all programs know.
///
/// # Panics
/// When a type's own serialisation refuses a value, which none of the authority's does.
#[must_use]
pub fn seal(value: &impl Serialize) -> Vec<u8> {
    seal_as(Format::FIRST, value)
}

/// The record of `value`, for programs that know this format.
///
/// # Panics
/// As [`seal`] does.
#[must_use]
pub fn seal_as(format: Format, value: &impl Serialize) -> Vec<u8> {
    let json = serde_json::to_vec(value).expect("the authority's types are JSON");
    let mut record = Vec::with_capacity(1 + CHECKSUM_BYTES + json.len());
    record.push(format.0);
    record.extend_from_slice(&checksum(format, &json));
    record.extend_from_slice(&json);
    record
}

/// The value of `record`.
///
/// # Errors
/// [`OpenError`] when it is not one that [`seal`] wrote, or of a format that is not known.
pub fn open<T: DeserializeOwned>(record: &[u8]) -> Result<T, OpenError> {
    Ok(serde_json::from_slice(check(record)?)?)
}

/// The JSON in `record`, whatever it is of.
///
/// # Errors
/// [`OpenError`] when it is not as [`seal`] wrote it.
pub fn check(record: &[u8]) -> Result<&[u8], OpenError> {
    let (&version, rest) = record.split_first().ok_or(OpenError::Short)?;
    let (sum, json) = rest.split_first_chunk().ok_or(OpenError::Short)?;
    let format = Format(version);
    if *sum != checksum(format, json) {
        return Err(OpenError::Checksum);
    }
    if format < Format::FIRST {
        return Err(OpenError::Version(version));
    }
    format.known()?;
    Ok(json)
}

fn checksum(format: Format, json: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[format.0]).update(json);
    let mut sum = [0; CHECKSUM_BYTES];
    sum.copy_from_slice(&hasher.finalize().as_bytes()[..CHECKSUM_BYTES]);
    sum
}

/// Makes `writes` durable without holding up the thread that asks.
///
/// # Errors
/// [`StoreError`]; after [`StoreError::Failed`] nothing is known of the writes.
pub async fn commit(store: Arc<dyn Store>, writes: Vec<Write>) -> Result<(), StoreError> {
    let disk = Arc::clone(&store);
    let commit = move || disk.commit(writes, Durability::Synced);
    match aside(&*store, commit).await {
        Ok(result) => result,
        Err(error) => Err(StoreError::Failed(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_was_sealed_and_nothing_else() {
        let record = seal(&vec!["a", "b"]);
        assert_eq!(open::<Vec<String>>(&record).expect("a record"), ["a", "b"]);
        for at in 0..record.len() {
            let mut flipped = record.clone();
            flipped[at] ^= 4;
            assert!(
                matches!(open::<Vec<String>>(&flipped), Err(OpenError::Checksum)),
                "a flipped bit in byte {at}"
            );
            assert!(
                open::<Vec<String>>(&record[..at]).is_err(),
                "cut at byte {at}"
            );
        }
        assert!(matches!(open::<u64>(&record), Err(OpenError::Json(_))));
        let none = open::<u64>(&seal_as(Format(0), &7));
        assert!(matches!(none, Err(OpenError::Version(0))));
        let newer = Format(Format::KNOWN.0 + 1);
        let error = open::<u64>(&seal_as(newer, &7)).expect_err("a newer program wrote it");
        assert!(matches!(error, OpenError::Newer(UnknownFormat(found)) if found == newer));
        let known = open::<u64>(&seal_as(Format::KNOWN, &7));
        assert_eq!(known.expect("this one wrote it"), 7);
    }
}
