//! This is where a node keeps the components of plugins: a file for each, under the digest of its
//! bytes, whole or not at all.
//!
//! What is read is checked against its name, so a damaged file is one that is not there: another
//! node has it.

use super::whole;
use soros_core::map::plugin::PluginDigest;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

const FOLDER: &str = "plugins";
const ENDING: &str = "wasm";

/// The components on this node's disk.
#[derive(Clone, Debug)]
pub struct Components {
    folder: PathBuf,
    /// Held while a file is written: two writers would share the one beside it.
    writing: Arc<Mutex<()>>,
}

impl Components {
    /// Those in the data directory `directory`.
    #[must_use]
    pub fn of(directory: &Path) -> Components {
        Components {
            folder: directory.join(FOLDER),
            writing: Arc::default(),
        }
    }

    fn path(&self, digest: &PluginDigest) -> PathBuf {
        self.folder.join(format!("{digest}.{ENDING}"))
    }

    /// Whether there is a file of this name; it is checked when it is read.
    #[must_use]
    pub fn has(&self, digest: &PluginDigest) -> bool {
        self.path(digest).exists()
    }

    /// The component of this digest, at most `bytes_max` long; none when it is not here or damaged.
    ///
    /// # Errors
    /// What the file system says.
    pub fn read(&self, digest: &PluginDigest, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
        let path = self.path(digest);
        let Some(bytes) = whole::read(&path, bytes_max)? else {
            return Ok(None);
        };
        if digest_of(&bytes) == *digest {
            return Ok(Some(bytes));
        }
        tracing::error!(path = %path.display(), "a component is damaged, and is fetched again");
        std::fs::remove_file(&path)?;
        Ok(None)
    }

    /// At most `len` bytes of a component from a byte on, as they lie there; who has them all
    /// checks them. None when it is not here.
    ///
    /// # Errors
    /// What the file system says.
    pub fn piece(&self, digest: &PluginDigest, from: u64, len: u64) -> io::Result<Option<Vec<u8>>> {
        let mut file = match File::open(self.path(digest)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.take(len).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// Keeps a component; it is on disk when this is done.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(&self, bytes: &[u8]) -> io::Result<PluginDigest> {
        let _one_at_a_time = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let digest = digest_of(bytes);
        if self.read(&digest, bytes.len() as u64)?.is_none() {
            if !self.folder.exists() {
                std::fs::create_dir_all(&self.folder)?;
                whole::sync_folder_of(&self.folder)?;
            }
            whole::write(&self.path(&digest), bytes)?;
        }
        Ok(digest)
    }

    /// Those that are here, the oldest first.
    ///
    /// # Errors
    /// What the file system says.
    pub fn list(&self) -> io::Result<Vec<PluginDigest>> {
        let entries = match std::fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let digest = name.to_str().and_then(|name| name.strip_suffix(".wasm"));
            if let Some(Ok(digest)) = digest.map(|text| PluginDigest::try_from(text.to_owned())) {
                let written = entry
                    .metadata()?
                    .modified()
                    .unwrap_or(SystemTime::UNIX_EPOCH);
                found.push((written, digest));
            }
        }
        found.sort();
        Ok(found.into_iter().map(|(_, digest)| digest).collect())
    }

    /// Forgets a component.
    ///
    /// # Errors
    /// What the file system says.
    pub fn remove(&self, digest: &PluginDigest) -> io::Result<()> {
        match std::fs::remove_file(self.path(digest)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }
}

/// The digest of a component's bytes.
#[must_use]
pub fn digest_of(bytes: &[u8]) -> PluginDigest {
    PluginDigest(*blake3::hash(bytes).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_components_under_their_digests() {
        let folder = tempfile::tempdir().expect("a folder");
        let components = Components::of(folder.path());
        assert_eq!(components.list().expect("readable"), []);
        let one = components.write(b"one").expect("writable");
        let two = components.write(b"two").expect("writable");
        assert_eq!(components.write(b"one").expect("writable"), one);
        assert_eq!(components.list().expect("readable").len(), 2);
        let read = |digest| components.read(digest, 9).expect("readable");
        assert_eq!(read(&one).as_deref(), Some(&b"one"[..]));
        let piece = components.piece(&one, 1, 9).expect("readable");
        assert_eq!(piece.as_deref(), Some(&b"ne"[..]));
        components.remove(&two).expect("writable");
        components.remove(&two).expect("it is gone already");
        assert!(!components.has(&two));
        assert_eq!(read(&two), None);
    }

    #[test]
    fn takes_a_damaged_file_for_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let components = Components::of(folder.path());
        let digest = components.write(b"one").expect("writable");
        std::fs::write(components.path(&digest), b"owe").expect("writable");
        assert_eq!(components.read(&digest, 9).expect("readable"), None);
        assert!(!components.has(&digest));
        std::fs::write(components.path(&digest), b"own").expect("writable");
        components.write(b"one").expect("writable");
        let read = components.read(&digest, 9).expect("readable");
        assert_eq!(read.as_deref(), Some(&b"one"[..]));
    }
}
