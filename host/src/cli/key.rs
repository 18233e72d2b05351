//! This is a key on the command line: its bytes as they are, so that any key can be named that a
//! shell can write.

use super::Failure;
use clap::Args;
use soros_core::id::BucketName;
use soros_core::key::Key;
use std::ffi::{OsStr, OsString};

/// A bucket and a key in it.
#[derive(Args, Debug)]
pub(super) struct KeyArgs {
    /// The bucket
    bucket: String,
    /// The key: 1 to 1024 bytes
    key: OsString,
}

impl KeyArgs {
    /// The bucket and the key, if they are such.
    pub(super) fn parse(&self) -> Result<(BucketName, Key), Failure> {
        let key = Key::try_from(bytes_of(&self.key).as_ref())?;
        Ok((self.bucket.parse()?, key))
    }
}

#[cfg(unix)]
fn bytes_of(text: &OsStr) -> std::borrow::Cow<'_, [u8]> {
    use std::os::unix::ffi::OsStrExt as _;
    text.as_bytes().into()
}

#[cfg(not(unix))]
fn bytes_of(text: &OsStr) -> std::borrow::Cow<'_, [u8]> {
    text.to_string_lossy().into_owned().into_bytes().into()
}
