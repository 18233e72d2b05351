//! This is how a node opens its folder, and what it does about one that is damaged.

use crate::store::directory::salvage::{salvage, salvage_unopened};
use crate::store::directory::{self, Directory, DirectoryError, Opened};
use crate::store::engine::EngineOptions;
use crate::store::engine::salvage::Saved;
use soros_core::id::NodeName;
use std::path::{Path, PathBuf};

/// Opens the node's folder. Of one that is damaged what can be read is saved; if nothing can, all
/// of it is set aside, and the node begins with an empty one: the other replicas have what it held.
/// One of which only a table is damaged is used as it is where nothing can be saved now.
pub(super) fn open_directory(
    path: &Path,
    name: Option<&NodeName>,
    options: EngineOptions,
) -> Result<(Directory, Opened), DirectoryError> {
    let opened = match Directory::open(path, name, options) {
        Err(error) if error.is_damage() => {
            begin_again(path, options, &error)?;
            Directory::open(path, name, options)?
        }
        opened => opened?,
    };
    let opened = if opened.0.is_torn() {
        if let Err(error) = opened.0.close() {
            tracing::warn!(%error, "the damaged engine did not close cleanly");
        }
        match salvage(path, options) {
            Ok(saved) => {
                report_saved(&saved);
                Directory::open(path, name, options)?
            }
            Err(error) => {
                let opened = Directory::open(path, name, options)?;
                go_on_torn(&opened.0, &error);
                opened
            }
        }
    } else {
        opened
    };
    for doubt in &opened.1.doubts {
        tracing::warn!(%doubt, "records may be missing: they are compared with the other replicas");
    }
    Ok(opened)
}

/// The directory opens all the same: most of what it holds can be read, and the node tries again
/// once that may be saved.
fn go_on_torn(directory: &Directory, error: &DirectoryError) {
    tracing::error!(
        %error,
        "what can be read could not be saved: the node goes on with its damaged table as it can"
    );
    if let Err(error) = directory.notes().note_torn() {
        tracing::error!(%error, "it could not be noted that a table of the engine is damaged");
    }
}

/// Saves what can be read of a directory that does not open, or sets all of it aside.
fn begin_again(
    path: &Path,
    options: EngineOptions,
    error: &DirectoryError,
) -> Result<(), DirectoryError> {
    match salvage_unopened(path, options) {
        Ok(saved) => {
            tracing::error!(%error, "the data directory is damaged");
            report_saved(&saved);
            return Ok(());
        }
        Err(error) if error.is_damage() => tracing::error!(%error, "nothing can be saved"),
        // What can be read is worth more than a start.
        Err(error) => return Err(error),
    }
    let aside = directory::set_aside(path)?;
    tracing::error!(
        %error,
        aside = %aside.display(),
        "the data directory is damaged: it was set aside, and the node begins anew"
    );
    Ok(())
}

fn report_saved((saved, aside): &(Saved, PathBuf)) {
    tracing::error!(
        partitions = saved.partitions,
        lost = saved.lost,
        node_lost = saved.is_node_lost,
        authority_lost = saved.is_authority_lost,
        aside = %aside.display(),
        "a table of the engine is damaged: what can be read was saved, and the old engine was set \
         aside; the other replicas have what was lost"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn open(path: &Path, options: EngineOptions) -> Directory {
        let name = "n1".parse().expect("a name");
        let opened = open_directory(path, Some(&name), options);
        opened.expect("the directory opens").0
    }

    /// A directory of which it is known that a table is damaged, and nothing was saved yet.
    fn torn() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        let directory = open(folder.path(), EngineOptions::default());
        directory.notes().note_torn().expect("works");
        directory.close().expect("works");
        folder
    }

    #[track_caller]
    fn is_used_as_it_is(path: &Path, options: EngineOptions) {
        let directory = open(path, options);
        assert!(directory.notes().is_torn(), "nothing was saved");
        assert!(directory.check_salvage().is_err());
        directory.close().expect("works");
    }

    #[track_caller]
    fn is_saved(path: &Path) {
        let directory = open(path, EngineOptions::default());
        assert!(!directory.notes().is_torn());
    }

    #[test]
    fn a_damaged_engine_is_used_as_it_is_until_there_is_room_for_a_copy() {
        let folder = torn();
        let full = EngineOptions {
            reserve_bytes: u64::MAX,
            ..EngineOptions::default()
        };
        is_used_as_it_is(folder.path(), full);
        is_saved(folder.path());
    }

    #[test]
    fn a_damaged_engine_is_used_as_it_is_until_one_that_was_set_aside_is_removed() {
        let folder = torn();
        let aside = |turn| folder.path().join(format!("damaged-{turn}"));
        for turn in 1..=4 {
            fs::create_dir_all(aside(turn).join("engine")).expect("a folder");
        }
        is_used_as_it_is(folder.path(), EngineOptions::default());
        fs::remove_dir_all(aside(2)).expect("a folder");
        is_saved(folder.path());
    }
}
