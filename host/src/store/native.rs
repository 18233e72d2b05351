//! This is where a node keeps the native code of its components, so that a restart does not compile
//! them anew: a file for each, that only the node's own user may touch, under a seal of the node's
//! own key.
//!
//! ```text
//! native/key                    32 random bytes
//! native/DIGEST-SETTINGS.code   the seal, 32 bytes, and the code
//! ```
//!
//! The seal is a keyed hash over the file's name and the code. A file that anybody else owns or may
//! write, that has flipped bytes, another name, or comes from another node, is not there: it is
//! removed, and the component is compiled again.

use rustix::fs::OFlags;
use soros_core::map::plugin::PluginDigest;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

const FOLDER: &str = "native";
const KEY: &str = "key";
const ENDING: &str = "code";
const SEAL_BYTES: usize = blake3::OUT_LEN;
/// What belongs to the node's user alone.
const PRIVATE_FILE: u32 = 0o600;
const PRIVATE_FOLDER: u32 = 0o700;
/// The bits of a mode by which others may do something.
const OTHERS: u32 = 0o077;

/// How many files there are at most; what was not used for longest goes.
const FILES_MAX: usize = 64;
/// How many bytes they have together.
const BYTES_MAX: u64 = 512 << 20;

/// What native code is of: a component, and the compiler and its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NativeName {
    /// The component.
    pub component: PluginDigest,
    /// A hash of all that the code depends on besides.
    pub settings: [u8; 32],
}

impl NativeName {
    fn file(&self) -> String {
        let hash = blake3::Hash::from(self.settings).to_hex();
        format!("{}-{}.{ENDING}", self.component, &hash[..32])
    }
}

/// The native code on this node's disk.
#[derive(Clone, Debug)]
pub struct NativeCode {
    folder: PathBuf,
    /// Held while files come and go: two writers would share the one beside.
    writing: Arc<Mutex<()>>,
}

impl NativeCode {
    /// That in the data directory `directory`. Nothing is touched before there is code to keep.
    #[must_use]
    pub fn of(directory: &Path) -> NativeCode {
        NativeCode {
            folder: directory.join(FOLDER),
            writing: Arc::default(),
        }
    }

    /// The code of this name, at most `bytes_max` of it; none when it is not here or in doubt.
    #[must_use]
    pub fn read(&self, name: &NativeName, bytes_max: usize) -> Option<Vec<u8>> {
        let _one_at_a_time = self.lock();
        let path = self.folder.join(name.file());
        let found = self.sealed(name, &path, bytes_max);
        found.unwrap_or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                let path = path.display();
                tracing::warn!(%path, %error, "native code is in doubt, and is compiled anew");
                // Where it cannot be removed it is in doubt the next time, too.
                let _ = std::fs::remove_file(self.folder.join(name.file()));
            }
            None
        })
    }

    fn sealed(
        &self,
        name: &NativeName,
        path: &Path,
        bytes_max: usize,
    ) -> io::Result<Option<Vec<u8>>> {
        let file = open_private(path)?;
        let key = self.key()?;
        let mut bytes = Vec::new();
        let len_max = bytes_max.saturating_add(SEAL_BYTES) as u64;
        (&file).take(len_max).read_to_end(&mut bytes)?;
        let doubt = || io::Error::new(io::ErrorKind::InvalidData, "its seal does not fit");
        let (seal, code) = bytes.split_first_chunk().ok_or_else(doubt)?;
        // The comparison of hashes takes as long whatever they are.
        if blake3::Hash::from(*seal) != seal_of(&key, name, code) {
            return Err(doubt());
        }
        // It only says what was used last; without it something else goes first.
        let _ = file.set_modified(SystemTime::now());
        bytes.drain(..SEAL_BYTES);
        Ok(Some(bytes))
    }

    /// Keeps code, and lets go of what was not used for longest.
    ///
    /// # Errors
    /// What the file system says; nothing is kept then.
    pub fn write(&self, name: &NativeName, code: &[u8]) -> io::Result<()> {
        let _one_at_a_time = self.lock();
        self.make_private()?;
        let key = match self.key() {
            Ok(key) => key,
            Err(_) => self.new_key()?,
        };
        let seal = seal_of(&key, name, code);
        self.put(&name.file(), &[seal.as_bytes(), code])?;
        self.tidy()
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The folder is this user's alone, whatever it was before.
    fn make_private(&self) -> io::Result<()> {
        let mut builder = DirBuilder::new();
        builder.mode(PRIVATE_FOLDER).recursive(true);
        builder.create(&self.folder)?;
        let found = self.folder.symlink_metadata()?;
        if !found.is_dir() || found.uid() != rustix::process::geteuid().as_raw() {
            return Err(foreign());
        }
        if found.mode() & OTHERS != 0 {
            std::fs::set_permissions(&self.folder, Permissions::from_mode(PRIVATE_FOLDER))?;
        }
        Ok(())
    }

    fn key(&self) -> io::Result<[u8; 32]> {
        let mut key = [0; 32];
        open_private(&self.folder.join(KEY))?.read_exact(&mut key)?;
        Ok(key)
    }

    /// A key of its own; whatever was sealed before is in doubt from now on.
    fn new_key(&self) -> io::Result<[u8; 32]> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(io::Error::other)?;
        self.put(KEY, &[&key])?;
        Ok(key)
    }

    /// Writes a file beside, and puts it in its place. It need not survive the loss of power: what
    /// is torn has no seal.
    fn put(&self, name: &str, parts: &[&[u8]]) -> io::Result<()> {
        let beside = self.folder.join("new");
        match std::fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(PRIVATE_FILE);
        let mut file = options.open(&beside)?;
        let written = parts.iter().try_for_each(|part| file.write_all(part));
        let placed = written.and_then(|()| std::fs::rename(&beside, self.folder.join(name)));
        if placed.is_err() {
            // A full disk gets back what this took of it.
            let _ = std::fs::remove_file(&beside);
        }
        placed
    }

    /// Removes what is too much, that which was not used for longest first.
    fn tidy(&self) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let (path, found) = entry.and_then(|entry| Ok((entry.path(), entry.metadata()?)))?;
            if path.extension().is_some_and(|ending| ending == ENDING) {
                let used = found.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                files.push((used, path, found.len()));
            }
        }
        files.sort_unstable_by(|one, other| other.cmp(one));
        let mut bytes = 0;
        for (at, (_, path, len)) in files.into_iter().enumerate() {
            bytes += len;
            if FILES_MAX <= at || BYTES_MAX < bytes {
                std::fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

fn foreign() -> io::Error {
    let reason = "others own it, or may touch it";
    io::Error::new(io::ErrorKind::PermissionDenied, reason)
}

/// A file of this user that nobody else may touch, and no link to one.
fn open_private(path: &Path) -> io::Result<File> {
    let no_follow = OFlags::NOFOLLOW.bits().cast_signed();
    let mut options = OpenOptions::new();
    let file = options.read(true).custom_flags(no_follow).open(path)?;
    let found = file.metadata()?;
    let is_own = found.uid() == rustix::process::geteuid().as_raw();
    if found.is_file() && is_own && found.mode() & OTHERS == 0 {
        Ok(file)
    } else {
        Err(foreign())
    }
}

fn seal_of(key: &[u8; 32], name: &NativeName, code: &[u8]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(&name.component.0);
    hasher.update(&name.settings);
    hasher.update(code);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    const NAME: NativeName = NativeName {
        component: PluginDigest([1; 32]),
        settings: [2; 32],
    };

    fn made() -> (TempDir, NativeCode, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let native = NativeCode::of(folder.path());
        native.write(&NAME, b"code").expect("writable");
        let path = native.folder.join(NAME.file());
        (folder, native, path)
    }

    fn read(native: &NativeCode, name: &NativeName) -> Option<Vec<u8>> {
        native.read(name, 9)
    }

    fn set_mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).expect("own file");
    }

    #[test]
    fn keeps_code_for_its_own_user_alone() {
        let (_folder, native, path) = made();
        assert_eq!(read(&native, &NAME).as_deref(), Some(&b"code"[..]));
        let mode = |path: &Path| path.metadata().expect("a file").mode() & 0o777;
        let key = native.folder.join(KEY);
        assert_eq!(
            [mode(&path), mode(&key), mode(&native.folder)],
            [PRIVATE_FILE, PRIVATE_FILE, PRIVATE_FOLDER]
        );
        let settings = [3; 32];
        assert_eq!(read(&native, &NativeName { settings, ..NAME }), None);
        set_mode(&native.folder, 0o777);
        native.write(&NAME, b"more").expect("writable");
        assert_eq!(mode(&native.folder), PRIVATE_FOLDER);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_seen() {
        let (_folder, native, path) = made();
        let whole = std::fs::read(&path).expect("readable");
        let damage = |bytes: &[u8]| {
            std::fs::write(&path, bytes).expect("writable");
            set_mode(&path, PRIVATE_FILE);
            assert_eq!(read(&native, &NAME), None);
            assert!(!path.exists(), "what is in doubt goes");
        };
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            damage(&flipped);
        }
        for len in 0..whole.len() {
            damage(&whole[..len]);
        }
        damage(&[&whole[..], b"more"].concat());
        damage(&[&whole[..], &[0; 99]].concat());
    }

    #[test]
    fn what_others_own_or_may_touch_is_not_taken() {
        for mode in [0o620, 0o602, 0o666, 0o640] {
            let (_folder, native, path) = made();
            set_mode(&path, mode);
            assert_eq!(read(&native, &NAME), None, "{mode:o}");
            assert!(!path.exists());
            native.write(&NAME, b"code").expect("writable");
            set_mode(&native.folder.join(KEY), mode);
            assert_eq!(read(&native, &NAME), None, "a key of {mode:o}");
            native.write(&NAME, b"code").expect("writable");
            assert!(read(&native, &NAME).is_some(), "it has a new key");
        }
        let (folder, native, path) = made();
        let elsewhere = folder.path().join("elsewhere");
        std::fs::rename(&path, &elsewhere).expect("own file");
        std::os::unix::fs::symlink(&elsewhere, &path).expect("a link");
        assert_eq!(read(&native, &NAME), None, "a link");
    }

    #[test]
    fn a_file_of_another_node_or_under_another_name_is_not_taken() {
        let (_folder, native, path) = made();
        let (_other_folder, other, _) = made();
        let theirs = std::fs::read(other.folder.join(NAME.file())).expect("readable");
        let ours = std::fs::read(&path).expect("readable");
        let settings = [3; 32];
        let renamed = NativeName { settings, ..NAME };
        for (name, bytes) in [(NAME, &theirs), (renamed, &ours)] {
            let path = native.folder.join(name.file());
            std::fs::write(&path, bytes).expect("writable");
            set_mode(&path, PRIVATE_FILE);
            assert_eq!(read(&native, &name), None);
        }
    }

    #[test]
    fn what_was_not_used_for_longest_goes() {
        let (_folder, native, first) = made();
        let at = |seconds| SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        let touch = |path: &Path, seconds| {
            let file = File::open(path).expect("a file");
            file.set_modified(at(seconds)).expect("own file");
        };
        let name = |number: u8| NativeName {
            settings: [number; 32],
            ..NAME
        };
        touch(&first, 1);
        for number in 100..100 + 63 {
            native.write(&name(number), b"code").expect("writable");
            touch(&native.folder.join(name(number).file()), number.into());
        }
        assert!(read(&native, &NAME).is_some(), "64 files are kept");
        native.write(&name(99), b"code").expect("writable");
        assert!(read(&native, &NAME).is_some(), "it was just used");
        assert_eq!(read(&native, &name(100)), None);
        let files = std::fs::read_dir(&native.folder).expect("a folder");
        assert_eq!(files.count(), FILES_MAX + 1, "and the key");
    }
}
