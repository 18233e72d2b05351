//! This is the mark: the newest synced commit of each space, kept outside the journal, so that a
//! start can tell that the journal gave back less than it had taken.
//!
//! ```text
//! 8  the newest commit of the partitions (big-endian)
//! 8  the newest commit of the node's own records
//! 8  the newest commit of the authority
//! ```
//!
//! It is written after each synced commit, which survives the end of the process, and synced once
//! a second, which bounds what a power cut takes from it. A mark that is too old finds less; one
//! that is too new costs a comparison with peers; so it has no checksum. One that no store lives to
//! see says nothing: the numbers go on above it. It is written with
//! `pwrite` and not mapped: a map would need `unsafe`, and the call costs less than a microsecond
//! beside a sync of a hundred.

use crate::store::sequence::Sequences;
use soros_core::codec::{Reader, Writer};
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// The most commits that a store has lived through.
const COMMITS_MAX: u64 = 1 << 62;
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// The mark of a running store; it is synced behind the commits until this is dropped.
#[derive(Debug)]
pub struct Mark {
    file: Arc<MarkFile>,
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct MarkFile {
    file: File,
    is_dirty: AtomicBool,
    has_failed: AtomicBool,
}

impl Mark {
    /// Opens the mark at `path`, or makes one there, and what it says: nothing if it is new or cut
    /// short.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn open(path: &Path) -> io::Result<(Mark, Option<Sequences>)> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(path)?;
        let mut bytes = Vec::new();
        file.by_ref().take(64).read_to_end(&mut bytes)?;
        let file = MarkFile {
            file,
            is_dirty: AtomicBool::new(false),
            has_failed: AtomicBool::new(false),
        };
        let file = Arc::new(file);
        let (end, ended) = channel();
        let synced = file.clone();
        let thread = std::thread::Builder::new()
            .name("mark".to_owned())
            .spawn(move || synced.sync_until(&ended))?;
        Ok((
            Mark {
                file,
                end: Some(end),
                thread: Some(thread),
            },
            parsed(&bytes),
        ))
    }

    /// Takes note of what is synced. A mark that cannot be written is a loss of safety in depth,
    /// not of data: the commit stands, and the log says so once.
    pub fn set(&self, sequences: &Sequences) {
        let mut writer = Writer::default();
        for number in sequences.0 {
            writer.u64(number);
        }
        let written = self.file.file.write_all_at(&writer.into_bytes(), 0);
        self.file.note(written);
        self.file.is_dirty.store(true, Ordering::Release);
    }

    /// Makes the mark durable now.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn sync(&self) -> io::Result<()> {
        self.file.is_dirty.store(false, Ordering::Release);
        self.file.file.sync_all()
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that syncs the mark died of a panic");
        }
    }
}

impl MarkFile {
    fn sync_until(&self, ended: &Receiver<()>) {
        while ended.recv_timeout(SYNC_EVERY) == Err(RecvTimeoutError::Timeout) {
            self.sync_if_dirty();
        }
        self.sync_if_dirty();
    }

    fn sync_if_dirty(&self) {
        if self.is_dirty.swap(false, Ordering::AcqRel) {
            self.note(self.file.sync_data());
        }
    }

    fn note(&self, result: io::Result<()>) {
        if let Err(error) = result
            && !self.has_failed.swap(true, Ordering::AcqRel)
        {
            tracing::error!(%error, "the mark cannot be written: a cut journal may go unnoticed");
        }
    }
}

fn parsed(bytes: &[u8]) -> Option<Sequences> {
    let mut reader = Reader::new(bytes);
    let mut sequences = Sequences::default();
    for number in &mut sequences.0 {
        *number = reader.u64().ok().filter(|number| *number <= COMMITS_MAX)?;
    }
    reader.finish().ok()?;
    Some(sequences)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_after_a_start_what_was_set_last() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("mark");
        let (mark, before) = Mark::open(&path).expect("a mark");
        assert_eq!(before, None);
        mark.set(&Sequences([1, 2, 3]));
        mark.set(&Sequences([4, 2, 3]));
        let (_, seen) = Mark::open(&path).expect("a mark");
        assert_eq!(
            seen,
            Some(Sequences([4, 2, 3])),
            "even while the first process lives"
        );
    }

    #[test]
    fn says_nothing_when_it_is_cut_short_or_tells_of_more_than_can_be() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("mark");
        for bytes in [&[0; 23][..], &[0xff; 24]] {
            std::fs::write(&path, bytes).expect("a file");
            assert_eq!(Mark::open(&path).expect("a mark").1, None);
        }
    }
}
