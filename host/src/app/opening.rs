//! This is how a node gets at its directory: opened, or set aside when it is damaged, and compared
//! with what the others know of the node before anything of it runs.

use super::StartError;
use super::neighbours::Neighbours;
use crate::authority::scout::{Scout, Scouted};
use crate::authority::{Entry, member};
use crate::config::{Config, Start};
use crate::store::Store;
use crate::store::directory::{self, Directory, DirectoryError, Opened};
use crate::store::engine::EngineOptions;
use soros_core::id::NodeName;
use soros_core::map::Map;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::watch;

/// Opens the node's folder. One that is damaged is set aside, and the node begins with an empty
/// one: the other replicas have what it held.
pub(super) fn open(
    path: &Path,
    name: Option<&NodeName>,
) -> Result<(Directory, Opened), DirectoryError> {
    let opened = match Directory::open(path, name, EngineOptions::default()) {
        Err(error) if error.is_damage() => {
            let aside = directory::set_aside(path)?;
            tracing::error!(
                %error,
                aside = %aside.display(),
                "the data directory is damaged: it was set aside, and the node begins anew"
            );
            Directory::open(path, name, EngineOptions::default())?
        }
        opened => opened?,
    };
    for doubt in &opened.1.doubts {
        tracing::warn!(%doubt, "records may be missing: they are compared with the other replicas");
    }
    Ok(opened)
}

/// Whether what is in the folder can be believed, by what it says itself and by what the others
/// know. Where the vote in the authority may be lost, the node becomes another member of it.
pub(super) async fn judge(
    config: &Config,
    directory: &Directory,
    opened: &Opened,
    neighbours: &Neighbours,
) -> Result<bool, StartError> {
    let store: Arc<dyn Store> = directory.store();
    let scout = Scout {
        name: &directory.name(),
        previous: opened.previous,
        store: &*store,
        wire: neighbours,
        entry: &entry(&config.start),
        addresses: addresses(config),
    };
    let scouted = scout.ask().await?;
    if let Scouted::Restored(seen) = scouted {
        tracing::warn!(
            %seen,
            "the cluster has seen a later life of this node: its directory is an earlier copy, and \
             records are missing; they are had from the other replicas"
        );
        directory.doubt()?;
    }
    if directory.is_vote_lost() {
        let member = member::forget(&store).await?;
        directory.resolve_vote()?;
        tracing::warn!(%member, "the vote may be lost: this node is another member of the authority");
    }
    Ok(scouted == Scouted::Sound && opened.doubts.is_empty())
}

/// Where the node will be reached, as far as that is settled before its listeners are bound.
fn addresses(config: &Config) -> Vec<String> {
    let advertised = config.peer_advertise.as_ref().map(ToString::to_string);
    let bound = (config.peer.port() != 0).then(|| config.advertised_peer(config.peer).to_string());
    advertised.or(bound).into_iter().collect()
}

/// How the node comes into a cluster.
pub(super) fn entry(start: &Start) -> Entry {
    match start {
        Start::Bootstrap(founders) => {
            Entry::Bootstrap(founders.iter().map(ToString::to_string).collect())
        }
        Start::Join(member) => Entry::Join(member.to_string()),
        Start::Known => Entry::Known,
    }
}

/// Writes into the directory which cluster it belongs to, once that is known.
pub(super) async fn remember(
    directory: Arc<Directory>,
    mut maps: watch::Receiver<Option<Arc<Map>>>,
) {
    let Ok(Some(cluster)) = maps
        .wait_for(Option::is_some)
        .await
        .map(|map| map.as_ref().map(|map| map.cluster()))
    else {
        return;
    };
    let written = tokio::task::spawn_blocking(move || directory.set_cluster(cluster)).await;
    if let Ok(Err(error)) = written {
        tracing::error!(%error, "the directory does not know its cluster");
    }
}
