//! This is a disk whose power can be cut and which can hang: a file system in a file. What a
//! process wrote and did not sync is in the system's memory only; so a copy of the file, made when
//! all processes were killed, is what the disk has after the power went.

use crate::skip::skip;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

const BYTES: u64 = 2 << 30;
/// Nothing is written to the disk by itself: neither the file system's journal nor, for half a
/// minute, what is in memory.
const OPTIONS: &str = "loop,commit=3600";

/// A disk that goes with this.
#[derive(Debug)]
pub struct Disk {
    folder: TempDir,
}

impl Disk {
    /// A new disk. None where the system does not let the test make one, which is told.
    ///
    /// # Panics
    /// When there is no temporary folder.
    #[must_use]
    pub fn new() -> Option<Disk> {
        let disk = Disk {
            folder: tempfile::tempdir().expect("a temporary folder"),
        };
        fs::create_dir(disk.path()).expect("a folder");
        let made = disk.format().and_then(|()| disk.mount());
        match made.and_then(|()| freeze("--version", &disk.path())) {
            Ok(()) => Some(disk),
            Err(error) => {
                skip(&format!("a disk of our own cannot be made here: {error}"));
                None
            }
        }
    }

    /// Where the disk is mounted.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    fn format(&self) -> io::Result<()> {
        File::create(self.image())?.set_len(BYTES)?;
        run(Command::new("mkfs.ext4").arg("-q").arg(self.image()))
    }

    fn mount(&self) -> io::Result<()> {
        let mut mount = Command::new("mount");
        mount.args(["-o", OPTIONS]).arg(self.image());
        run(mount.arg(self.path()))
    }

    fn unmount(&self) -> io::Result<()> {
        run(Command::new("umount").arg(self.path()))
    }

    /// From now on, and until what this gives goes, all that is written to the disk waits. A
    /// process that waits for it cannot even be killed.
    ///
    /// # Panics
    /// When the system does not do it.
    #[must_use]
    pub fn hang(&self) -> Hanging {
        freeze("--freeze", &self.path()).expect("a disk that hangs");
        Hanging(self.path())
    }

    /// The power goes, and comes back. No process may use the disk.
    ///
    /// # Panics
    /// When the disk cannot be mounted again, or when what must be lost is not: the test would show
    /// nothing.
    pub fn cut_power(&self) {
        let (synced, lost) = (self.path().join("synced"), self.path().join("lost"));
        write(&synced, true).expect("a file");
        write(&lost, false).expect("a file");
        let left = self.folder.path().join("left");
        let mut copy = Command::new("cp");
        copy.arg("--sparse=always").arg(self.image());
        run(copy.arg(&left)).expect("a copy");
        self.unmount().expect("nobody uses the disk");
        fs::rename(&left, self.image()).expect("a file");
        self.mount().expect("the disk is sound");
        let len = |path: &Path| fs::metadata(path).map_or(0, |file| file.len());
        assert_eq!(
            len(&synced),
            CONTROL.len() as u64,
            "what was synced is lost"
        );
        assert!(len(&lost) < CONTROL.len() as u64, "the power was not cut");
    }
}

/// A disk hangs as long as this is there.
#[derive(Debug)]
pub struct Hanging(PathBuf);

impl Drop for Hanging {
    fn drop(&mut self) {
        // A panic of the test is told, not one of this.
        if let Err(error) = freeze("--unfreeze", &self.0) {
            eprintln!("the disk hangs for ever: {error}");
        }
    }
}

fn freeze(what: &str, disk: &Path) -> io::Result<()> {
    run(Command::new("fsfreeze").arg(what).arg(disk))
}

/// What is written to tell that the power was cut.
const CONTROL: &[u8] = b"written before the power went";

fn write(path: &Path, sync: bool) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(CONTROL)?;
    if sync {
        file.sync_all()?;
        File::open(path.parent().expect("a folder"))?.sync_all()?;
    }
    Ok(())
}

fn run(command: &mut Command) -> io::Result<()> {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let output = command.stderr(Stdio::piped()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{command:?}: {}", errors.trim())))
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A disk that was never mounted cannot be unmounted.
        let _ = self.unmount();
    }
}
