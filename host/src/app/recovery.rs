//! This is how a node opens its folder, and what it does about one that is damaged.

use crate::store::directory::salvage::{salvage, salvage_unopened};
use crate::store::directory::{self, Directory, DirectoryError, Opened};
use crate::store::engine::EngineOptions;
use crate::store::engine::salvage::Saved;
use soros_core::id::NodeName;
use std::path::{Path, PathBuf};

/// Opens the node's folder. Of one that is damaged what can be read is saved; if nothing can, all
/// of it is set aside, and the node begins with an empty one: the other replicas have what it held.
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
        report_saved(&salvage(path, options)?);
        Directory::open(path, name, options)?
    } else {
        opened
    };
    for doubt in &opened.1.doubts {
        tracing::warn!(%doubt, "records may be missing: they are compared with the other replicas");
    }
    Ok(opened)
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
        // What can be read is worth more than a start.
        Err(error @ DirectoryError::NoRoom(_)) => return Err(error),
        Err(error) => tracing::error!(%error, "nothing can be saved"),
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
