//! This is a node's data directory: one process at a time, of one node, in a format this program
//! knows; a new incarnation at every opening; and an honest word on whether all is there that was.
//!
//! ```text
//! lock      held by the process that uses the directory; its process id, for the operator
//! format    "soros data directory, format 1"
//! identity  see `identity.rs`
//! mark      see `mark.rs`
//! engine/   see `engine.rs`
//! plugins/  see `components.rs`
//! native/   see `native.rs`
//! damaged-1/ ..  what was set aside
//! salvaging/, salvaged/  see `directory/salvage.rs`
//! ```

use crate::store::StoreError;
use crate::store::engine::{Engine, EngineOptions};
use crate::store::identity::{self, Identity};
use crate::store::mark::Mark;
use crate::store::sequence::Sequences;
use crate::store::{Space, whole};
use soros_core::id::{ClusterId, Incarnation, NodeName};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

#[cfg(test)]
mod damage;
pub mod salvage;
#[cfg(test)]
mod tests;

/// The format that this program writes, and the newest it reads.
pub const FORMAT: u32 = 1;
/// How many times a damaged directory is set aside before an operator has to look.
pub const SET_ASIDE_MAX: u32 = 4;

const FORMAT_TEXT: &str = "soros data directory, format ";
const FORMAT_BYTES_MAX: u64 = 64;

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// Another process has it open.
    #[error("{} is in use by another process{}", .path.display(), holder(*.process))]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The process that says so of itself.
        process: Option<u32>,
    },
    /// A newer program wrote it.
    #[error(
        "{} has format {found}, this program knows up to {FORMAT}: run the newer one",
        .path.display()
    )]
    Newer {
        /// The directory.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// A file of it is not what was written.
    #[error("{} is damaged or missing", .0.display())]
    Damaged(PathBuf),
    /// It is new, and no name was given for its node.
    #[error("a new data directory needs the node's name")]
    Nameless,
    /// It belongs to another node.
    #[error("the data directory belongs to node `{recorded}`, not to `{given}`")]
    OtherName {
        /// The node it belongs to.
        recorded: NodeName,
        /// The node that was asked for.
        given: NodeName,
    },
    /// It belongs to another cluster.
    #[error("the data directory belongs to cluster {recorded}, not to {given}")]
    OtherCluster {
        /// The cluster it belongs to.
        recorded: ClusterId,
        /// The cluster that was asked for.
        given: ClusterId,
    },
    /// Damaged directories were set aside too often.
    #[error("{} was set aside {SET_ASIDE_MAX} times: look at damaged-* in it", .0.display())]
    SetAsideTooOften(PathBuf),
    /// A table of the engine is damaged, and there is no room to save what can be read.
    #[error(
        "a table of the engine in {} is damaged, and the disk has no room for a second copy of \
         what can be read: make room, or empty the directory to have all from the other replicas",
        .0.display()
    )]
    NoRoom(PathBuf),
    /// The engine does not open.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system gives no random numbers.
    #[error("no random numbers: {0}")]
    Random(#[from] getrandom::Error),
    /// The file system refused.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

fn holder(process: Option<u32>) -> String {
    process.map_or_else(String::new, |process| format!(" ({process})"))
}

impl DirectoryError {
    /// Whether the directory is damaged, so that [`set_aside`] and the other replicas can help.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            DirectoryError::Damaged(_) | DirectoryError::Store(StoreError::Damaged(_)) => true,
            DirectoryError::InUse { .. }
            | DirectoryError::Newer { .. }
            | DirectoryError::Nameless
            | DirectoryError::OtherName { .. }
            | DirectoryError::OtherCluster { .. }
            | DirectoryError::SetAsideTooOften(_)
            | DirectoryError::NoRoom(_)
            | DirectoryError::Store(
                StoreError::Full | StoreError::Failed(_) | StoreError::NotOpen(_),
            )
            | DirectoryError::Random(_)
            | DirectoryError::Io { .. } => false,
        }
    }
}

/// Why not all may be there that was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// The newest commits of a space are missing.
    #[error("{}: commits up to {marked} were synced, {found} is the newest", .space.name())]
    Behind {
        /// The space.
        space: Space,
        /// The newest commit that is there.
        found: u64,
        /// The newest commit that was synced.
        marked: u64,
    },
    /// Commits in the middle of a space are missing or out of order.
    #[error("{}: commits are missing in between", .0.name())]
    Gap(Space),
    /// There is no mark to compare with.
    #[error("the mark is missing")]
    NoMark,
    /// Writes were answered before they were synced, and it is not known whether the last ones
    /// were.
    #[error("writes were answered before they were synced, and the end was not clean")]
    Unsynced,
    /// An earlier start was in doubt, and nothing has resolved it since.
    #[error("an earlier start was in doubt")]
    Earlier,
}

/// How a directory was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// This opening's incarnation, new and durable.
    pub incarnation: Incarnation,
    /// Whether it held nothing: new, or its records were set aside.
    pub fresh: bool,
    /// What speaks against all being there; an empty directory is in no doubt.
    pub doubts: Vec<Doubt>,
}

impl Doubt {
    /// Whether records of `space` may be missing since the last opening.
    fn is_loss_of(self, space: Space) -> bool {
        match self {
            Doubt::Behind { space: lost, .. } | Doubt::Gap(lost) => lost == space,
            Doubt::NoMark => true,
            // What is no partition's is always synced, and so is never among it.
            Doubt::Unsynced => space == Space::Partitions,
            Doubt::Earlier => false,
        }
    }
}

/// A data directory in use.
pub struct Directory {
    // Before the lock goes.
    engine: Arc<Engine>,
    own: Arc<Own>,
}

/// A directory without its records. While it lives no other process uses the directory.
struct Own {
    path: PathBuf,
    identity: Mutex<Identity>,
    /// Until the directory is closed.
    lock: Mutex<Option<File>>,
}

/// What a directory says of itself beside its records, for whoever learns more about it. Once the
/// directory is closed, nothing is noted any more.
#[derive(Clone)]
pub struct Notes(Weak<Own>);

impl Notes {
    /// Whether not all may be there that was acknowledged.
    #[must_use]
    pub fn is_in_doubt(&self) -> bool {
        let own = self.0.upgrade();
        own.is_some_and(|own| own.identity().is_in_doubt)
    }

    /// The directory was found not to be its node's latest: every start is in doubt from here on,
    /// until that is resolved.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn doubt(&self) -> Result<(), DirectoryError> {
        self.change(|identity| identity.is_in_doubt = true)
    }

    /// Ends the doubt: what was missing has been had from others.
    ///
    /// # Errors
    /// When the disk fails; the doubt is then still there.
    pub fn resolve_doubt(&self) -> Result<(), DirectoryError> {
        self.change(|identity| identity.is_in_doubt = false)
    }

    /// Writes are answered before they are synced from here on, or are not any more and all are
    /// synced. Until then each end that is not clean leaves the directory in doubt.
    ///
    /// # Errors
    /// When the disk fails; nothing may be answered so then.
    pub fn set_unsynced(&self, is_unsynced: bool) -> Result<(), DirectoryError> {
        self.change(|identity| identity.is_unsynced = is_unsynced)
    }

    /// The authority's records were seen to after a loss.
    ///
    /// # Errors
    /// When the disk fails; they are then seen to again at the next start.
    pub fn resolve_vote(&self) -> Result<(), DirectoryError> {
        self.change(|identity| identity.is_vote_lost = false)
    }

    /// The cluster the directory belongs to, once that is known.
    #[must_use]
    pub fn cluster(&self) -> Option<ClusterId> {
        self.0.upgrade().and_then(|own| own.identity().cluster)
    }

    /// Records the cluster the directory belongs to.
    ///
    /// # Errors
    /// [`DirectoryError::OtherCluster`] if it belongs to another, or when the disk fails.
    pub fn set_cluster(&self, cluster: ClusterId) -> Result<(), DirectoryError> {
        match self.cluster() {
            Some(recorded) if recorded != cluster => Err(DirectoryError::OtherCluster {
                recorded,
                given: cluster,
            }),
            Some(_) | None => self.change(|identity| identity.cluster = Some(cluster)),
        }
    }

    fn change(&self, change: impl FnOnce(&mut Identity)) -> Result<(), DirectoryError> {
        let Some(own) = self.0.upgrade() else {
            return Ok(());
        };
        let mut identity = own.identity();
        if own.lock().is_none() {
            return Ok(());
        }
        let mut changed = identity.clone();
        change(&mut changed);
        if changed != *identity {
            write_identity(&own.path, &changed)?;
            *identity = changed;
        }
        Ok(())
    }
}

impl Own {
    fn identity(&self) -> MutexGuard<'_, Identity> {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Option<File>> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets others use the directory, once nothing of it is being noted any more.
    fn release(&self) {
        let _identity = self.identity();
        drop(self.lock().take());
    }
}

impl Directory {
    /// Opens the directory at `path` for the node `name`, or makes it. A known directory needs no
    /// name.
    ///
    /// # Errors
    /// [`DirectoryError`].
    pub fn open(
        path: &Path,
        name: Option<&NodeName>,
        options: EngineOptions,
    ) -> Result<(Directory, Opened), DirectoryError> {
        let lock = lock(path)?;
        check_format(path)?;
        salvage::finish(path)?;
        let before = read_identity(path)?;
        let mut identity = next_life(before.as_ref(), name)?;
        // Durable before the engine is opened, and so before anything is minted under it.
        write_identity(path, &identity)?;
        let fresh = !identity.is_founded;
        if fresh {
            // A first start that was interrupted may have left an engine that is half made.
            remove_folder(&path.join("engine"))?;
        }
        let mark_path = path.join("mark");
        let (mark, marked) = Mark::open(&mark_path).map_err(|error| io(&mark_path, error))?;
        let engine = Engine::open(&path.join("engine"), options)?;
        let doubts = if fresh {
            Vec::new()
        } else {
            doubts(&engine, marked, &identity)
        };
        let lost = doubts
            .iter()
            .any(|doubt| doubt.is_loss_of(Space::Authority));
        identity.is_in_doubt = !doubts.is_empty();
        identity.is_vote_lost = !fresh && (identity.is_vote_lost || lost);
        identity.is_torn &= !fresh;
        // From here on the doubt says so.
        identity.is_unsynced = false;
        identity.is_founded = true;
        // Durable before the mark moves, which is the last that tells of a loss.
        write_identity(path, &identity)?;
        let engine = engine.with_mark(mark, &marked.unwrap_or_default());
        // A power cut soon after must not look like a lost mark.
        engine
            .sync_mark()
            .and_then(|()| whole::sync_folder_of(&mark_path))
            .map_err(|error| io(&mark_path, error))?;
        accept(&engine, &doubts)?;
        let opened = Opened {
            incarnation: identity.incarnation,
            fresh,
            doubts,
        };
        let own = Own {
            path: path.to_owned(),
            identity: Mutex::new(identity),
            lock: Mutex::new(Some(lock)),
        };
        let (own, engine) = (Arc::new(own), Arc::new(engine));
        Ok((Directory { engine, own }, opened))
    }

    /// The records.
    #[must_use]
    pub fn store(&self) -> Arc<Engine> {
        self.engine.clone()
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.own.path
    }

    /// The node it belongs to.
    #[must_use]
    pub fn name(&self) -> NodeName {
        self.own.identity().name.clone()
    }

    /// Whether a vote in the authority may be lost, and the authority's records have not been seen
    /// to since.
    #[must_use]
    pub fn is_vote_lost(&self) -> bool {
        self.own.identity().is_vote_lost
    }

    /// What it says of itself beside its records.
    #[must_use]
    pub fn notes(&self) -> Notes {
        Notes(Arc::downgrade(&self.own))
    }

    /// Writes out what is buffered and closes the records. Nothing can be read or written
    /// afterwards, by whoever still holds the store.
    ///
    /// # Errors
    /// When the disk fails; the next start recovers.
    pub fn close(self) -> Result<(), DirectoryError> {
        let closed = match self.engine.close() {
            Ok(()) => self.notes().set_unsynced(false),
            Err(error) => Err(error.into()),
        };
        self.own.release();
        closed
    }
}

/// Moves the damaged records of the directory at `path` into a folder of it, `damaged-1` to
/// `damaged-4`, so that its node can open it empty and have them from the other replicas. The
/// node's name and cluster are kept if they can be read.
///
/// # Errors
/// [`DirectoryError`].
pub fn set_aside(path: &Path) -> Result<PathBuf, DirectoryError> {
    let _lock = lock(path)?;
    let format = check_format(path);
    if let Err(error @ DirectoryError::Newer { .. }) = format {
        return Err(error);
    }
    let folder = aside_folder(path)?;
    let identity = read_identity(path).ok().flatten();
    std::fs::create_dir_all(&folder).map_err(|error| io(&folder, error))?;
    for name in ["engine", "mark", "identity", "format"] {
        move_into(&folder, &path.join(name))?;
    }
    if let Some(identity) = identity {
        check_format(path)?;
        write_identity(
            path,
            &Identity {
                is_founded: false,
                ..identity
            },
        )?;
    }
    Ok(folder)
}

/// The next folder for what is set aside.
fn aside_folder(path: &Path) -> Result<PathBuf, DirectoryError> {
    (1..=SET_ASIDE_MAX)
        .map(|turn| path.join(format!("damaged-{turn}")))
        .find(|folder| is_free(folder))
        .ok_or_else(|| DirectoryError::SetAsideTooOften(path.to_owned()))
}

/// Whether nothing is in the folder, as where nothing had been moved into it before the power went.
fn is_free(folder: &Path) -> bool {
    match std::fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

fn lock(path: &Path) -> Result<File, DirectoryError> {
    std::fs::create_dir_all(path).map_err(|error| io(path, error))?;
    whole::sync_folder_of(path).map_err(|error| io(path, error))?;
    let lock_path = path.join("lock");
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let mut file = options
        .open(&lock_path)
        .map_err(|error| io(&lock_path, error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let text = whole::read(&lock_path, 16)
                .ok()
                .flatten()
                .unwrap_or_default();
            let process = std::str::from_utf8(&text)
                .ok()
                .and_then(|text| text.trim().parse().ok());
            return Err(DirectoryError::InUse {
                path: path.to_owned(),
                process,
            });
        }
        Err(TryLockError::Error(error)) => return Err(io(&lock_path, error)),
    }
    let written = file
        .set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()));
    written.map_err(|error| io(&lock_path, error))?;
    Ok(file)
}

/// Refuses a format that is not known; a directory that is new gets one.
fn check_format(path: &Path) -> Result<(), DirectoryError> {
    let file = path.join("format");
    let damaged = || DirectoryError::Damaged(file.clone());
    match whole::read(&file, FORMAT_BYTES_MAX).map_err(|error| io(&file, error))? {
        Some(bytes) => {
            let text = std::str::from_utf8(&bytes).ok();
            let number = text.and_then(|text| text.trim_end().strip_prefix(FORMAT_TEXT));
            match number
                .and_then(|number| number.parse::<u32>().ok())
                .ok_or_else(damaged)?
            {
                0 => Err(damaged()),
                1..=FORMAT => Ok(()),
                found => Err(DirectoryError::Newer {
                    path: path.to_owned(),
                    found,
                }),
            }
        }
        None if path.join("identity").exists() || path.join("engine").exists() => Err(damaged()),
        None => {
            let text = format!("{FORMAT_TEXT}{FORMAT}\n");
            whole::write(&file, text.as_bytes()).map_err(|error| io(&file, error))
        }
    }
}

fn read_identity(path: &Path) -> Result<Option<Identity>, DirectoryError> {
    let file = path.join("identity");
    match whole::read(&file, identity::BYTES_MAX).map_err(|error| io(&file, error))? {
        Some(bytes) => match Identity::from_file(&bytes) {
            Some(identity) => Ok(Some(identity)),
            None => Err(DirectoryError::Damaged(file)),
        },
        None if path.join("engine").exists() => Err(DirectoryError::Damaged(file)),
        None => Ok(None),
    }
}

fn write_identity(path: &Path, identity: &Identity) -> Result<(), DirectoryError> {
    let file = path.join("identity");
    whole::write(&file, &identity.to_file()).map_err(|error| io(&file, error))
}

/// The identity under a new incarnation.
fn next_life(
    before: Option<&Identity>,
    name: Option<&NodeName>,
) -> Result<Identity, DirectoryError> {
    let incarnation = Incarnation(random_u128()?);
    match (before, name) {
        (Some(before), Some(given)) if before.name != *given => {
            let (recorded, given) = (before.name.clone(), given.clone());
            Err(DirectoryError::OtherName { recorded, given })
        }
        (Some(before), _) => Ok(Identity {
            incarnation,
            ..before.clone()
        }),
        (None, None) => Err(DirectoryError::Nameless),
        (None, Some(name)) => Ok(Identity {
            name: name.clone(),
            cluster: None,
            incarnation,
            is_in_doubt: false,
            is_founded: false,
            is_vote_lost: false,
            is_torn: false,
            is_unsynced: false,
        }),
    }
}

fn doubts(engine: &Engine, marked: Option<Sequences>, before: &Identity) -> Vec<Doubt> {
    let recovery = engine.recovery();
    let mut doubts = Vec::new();
    match marked {
        None => doubts.push(Doubt::NoMark),
        Some(marked) => doubts.extend(Space::ALL.into_iter().filter_map(|space| {
            let (found, marked) = (recovery.newest.of(space), marked.of(space));
            (found < marked).then_some(Doubt::Behind {
                space,
                found,
                marked,
            })
        })),
    }
    doubts.extend(recovery.broken.iter().copied().map(Doubt::Gap));
    doubts.extend(before.is_unsynced.then_some(Doubt::Unsynced));
    doubts.extend(before.is_in_doubt.then_some(Doubt::Earlier));
    doubts
}

/// Begins the numbers anew after a loss, so that it is told once; the doubt itself is in the
/// identity. On a full disk that waits for another start.
fn accept(engine: &Engine, doubts: &[Doubt]) -> Result<(), StoreError> {
    for doubt in doubts {
        tracing::warn!(%doubt, "the data directory is in doubt");
    }
    let is_of_numbers = |doubt: &Doubt| !matches!(doubt, Doubt::Earlier | Doubt::Unsynced);
    if !doubts.iter().any(is_of_numbers) {
        return Ok(());
    }
    match engine.accept_loss() {
        Ok(()) | Err(StoreError::Full) => Ok(()),
        Err(error) => Err(error),
    }
}

fn move_into(folder: &Path, path: &Path) -> Result<(), DirectoryError> {
    let Some(name) = path.file_name() else {
        return Ok(());
    };
    match std::fs::rename(path, folder.join(name)) {
        Ok(()) => whole::sync_folder_of(path).map_err(|error| io(path, error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(io(path, error)),
    }
}

fn remove_folder(path: &Path) -> Result<(), DirectoryError> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io(path, error)),
        _ => Ok(()),
    }
}

fn random_u128() -> Result<u128, getrandom::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(u128::from_be_bytes(bytes))
}

fn io(path: &Path, source: io::Error) -> DirectoryError {
    DirectoryError::Io {
        path: path.to_owned(),
        source,
    }
}
