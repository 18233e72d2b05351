//! This is how a directory goes on whose engine has a damaged table: with a new engine of all that
//! can be read, while the old one is set aside.
//!
//! ```text
//! salvaging/  the new engine while it is written
//! salvaged/   the new engine, whole, until it takes the old one's place
//! ```
//!
//! It is done once the old engine is set aside. A start that finds `salvaged/` and no engine ends
//! it and says no more that a table is damaged; one that finds both begins again, from the old one.

use super::{
    Directory, DirectoryError, Notes, aside_folder, check_format, io, lock, move_into,
    read_identity, remove_folder, write_identity,
};
use crate::store::engine::EngineOptions;
use crate::store::engine::salvage::{self, Saved};
use crate::store::identity::Identity;
use crate::store::mark::Mark;
use crate::store::{Space, Store, StoreError, whole};
use soros_core::record::RecordError;
use std::path::{Path, PathBuf};

#[cfg(test)]
mod tests;

const UNFINISHED: &str = "salvaging";
const FINISHED: &str = "salvaged";

impl Notes {
    /// A table of the engine cannot be read: what can be is to be saved at the next start.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn note_torn(&self) -> Result<(), DirectoryError> {
        self.change(|identity| identity.is_torn = true)
    }

    /// Whether it is noted that a table of the engine cannot be read.
    #[must_use]
    pub fn is_torn(&self) -> bool {
        let own = self.0.upgrade();
        own.is_some_and(|own| own.identity().is_torn)
    }
}

impl Directory {
    /// Whether a table of the engine is known not to be readable: what can be read of it is to be
    /// saved by [`salvage()`]. Spaces that a node cannot do without are looked through.
    #[must_use]
    pub fn is_torn(&self) -> bool {
        let is_unreadable = |space| {
            let keys = self.engine.keys(space, &[1], &[u8::MAX; 64], usize::MAX);
            matches!(keys, Err(RecordError::Damaged(_)))
        };
        self.own.identity().is_torn
            || [Space::Node, Space::Authority]
                .into_iter()
                .any(is_unreadable)
    }

    /// Whether [`salvage()`] finds room and a folder for the old engine, as far as can be told
    /// before.
    ///
    /// # Errors
    /// [`DirectoryError::NoRoom`] or [`DirectoryError::SetAsideTooOften`], if not.
    pub fn check_salvage(&self) -> Result<(), DirectoryError> {
        aside_folder(self.path())?;
        if self.engine.has_room_for_copy() {
            Ok(())
        } else {
            Err(DirectoryError::NoRoom(self.path().to_owned()))
        }
    }
}

/// Saves what can be read of the directory at `path`, which nobody uses, and sets the rest aside:
/// what was saved, and where the old engine is. Whether anything was missing before, an opening has
/// told.
///
/// # Errors
/// [`DirectoryError`]; the directory is then as it was.
pub fn salvage(path: &Path, options: EngineOptions) -> Result<(Saved, PathBuf), DirectoryError> {
    save(path, options, |identity| identity)
}

/// Saves what can be read of a directory that does not open. Nothing tells whether all is there
/// that was, so that it is in doubt, and so is the vote.
///
/// # Errors
/// [`DirectoryError`]; the directory is then as it was.
pub fn salvage_unopened(
    path: &Path,
    options: EngineOptions,
) -> Result<(Saved, PathBuf), DirectoryError> {
    save(path, options, |identity| Identity {
        is_in_doubt: true,
        is_vote_lost: true,
        ..identity
    })
}

fn save(
    path: &Path,
    options: EngineOptions,
    doubted: impl FnOnce(Identity) -> Identity,
) -> Result<(Saved, PathBuf), DirectoryError> {
    let _lock = lock(path)?;
    check_format(path)?;
    let identity = read_identity(path)?;
    let identity = identity.ok_or_else(|| DirectoryError::Damaged(path.join("identity")))?;
    let mark_path = path.join("mark");
    let (_, marked) = Mark::open(&mark_path).map_err(|error| io(&mark_path, error))?;
    let aside = aside_folder(path)?;
    let (engine, unfinished, finished) = paths(path);
    remove_folder(&unfinished)?;
    remove_folder(&finished)?;
    let marked = marked.unwrap_or_default();
    let saved = match salvage::salvage(&engine, &unfinished, &marked, options) {
        Ok(saved) => saved,
        Err(error) => {
            remove_folder(&unfinished)?;
            return Err(match error {
                StoreError::Full => DirectoryError::NoRoom(path.to_owned()),
                error => error.into(),
            });
        }
    };
    rename(&unfinished, &finished)?;
    let mut after = doubted(identity);
    // Of a partition that is not in the list it is not known that there was one.
    after.is_in_doubt |= saved.is_list_cut;
    // Durable before anything is missing.
    write_identity(path, &after)?;
    std::fs::create_dir_all(&aside).map_err(|error| io(&aside, error))?;
    move_into(&aside, &engine)?;
    finish(path)?;
    Ok((saved, aside))
}

/// Ends a salvage whose old engine is set aside, and forgets one that was broken off before.
pub(super) fn finish(path: &Path) -> Result<(), DirectoryError> {
    let (engine, unfinished, finished) = paths(path);
    remove_folder(&unfinished)?;
    if !finished.exists() || engine.exists() {
        return remove_folder(&finished);
    }
    // Before the new engine can be taken for the damaged one. What is not readable is seen to by
    // who opens the directory.
    if let Ok(Some(identity)) = read_identity(path)
        && identity.is_torn
    {
        let is_torn = false;
        write_identity(
            path,
            &Identity {
                is_torn,
                ..identity
            },
        )?;
    }
    rename(&finished, &engine)
}

fn paths(path: &Path) -> (PathBuf, PathBuf, PathBuf) {
    let [engine, unfinished, finished] = ["engine", UNFINISHED, FINISHED].map(|at| path.join(at));
    (engine, unfinished, finished)
}

fn rename(from: &Path, to: &Path) -> Result<(), DirectoryError> {
    std::fs::rename(from, to)
        .and_then(|()| whole::sync_folder_of(to))
        .map_err(|error| io(to, error))
}
