//! This is the map as a node knows it: the newest it has seen, durable before anything is answered
//! under it.
//!
//! A node takes maps from anyone of its cluster, and only newer ones. Before it has any map it
//! takes one only if that names the node as it is now: as itself, in this life of its process.

use super::locked;
use super::record::{OpenError, commit, open, seal_as};
use crate::network::BoxFuture;
use crate::store::{Space, Store, StoreError, Write};
use arc_swap::ArcSwapOption;
use soros_core::epoch::Epoch;
use soros_core::id::{ClusterId, Incarnation};
use soros_core::map::Map;
use soros_core::map::format::UnknownFormat;
use soros_core::map::node::Identity;
use soros_core::record::RecordError;
use std::sync::{Arc, Mutex, OnceLock};
use tokio::sync::watch;

const MAP: &[u8] = b"map";

/// A node's map.
pub struct MapKeeper {
    identity: Identity,
    /// The cluster that the directory says it belongs to, whether it has a map of it or not.
    recorded: Option<ClusterId>,
    /// The latest life of this node that its directory is known to have had.
    home: Mutex<Option<Incarnation>>,
    store: Arc<dyn Store>,
    current: ArcSwapOption<Map>,
    changes: watch::Sender<Option<Arc<Map>>>,
    adopting: tokio::sync::Mutex<()>,
    adopts: OnceLock<Arc<dyn Adopts>>,
}

/// Serves under each new map, before anyone is told that this node does.
pub trait Adopts: Send + Sync + 'static {
    /// `map` is durable, and the newest here.
    fn adopted(&self, map: Arc<Map>) -> BoxFuture<'_, ()>;

    /// The other nodes know no later life of this one than its directory does.
    fn vouched(&self) -> BoxFuture<'_, ()>;

    /// They do: the directory is new or was put back, and what it lacks must not be taken for what
    /// there is not. Done when that is durable.
    fn doubted(&self) -> BoxFuture<'_, ()>;
}

/// Why a map was not adopted.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// It is of another cluster.
    #[error("the map is of cluster {0}, this node is in another")]
    OtherCluster(ClusterId),
    /// This node is in no cluster and the map does not name it as it is now.
    #[error("the map does not name this node as it is now")]
    NotNamed,
    /// The disk failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a node's map could not be read.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// The disk failed; the map may still be there.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A newer program wrote it.
    #[error("the map in the data directory cannot be read: {0}")]
    Newer(#[from] UnknownFormat),
    /// It is of another cluster than the directory: files of two were mixed.
    #[error(
        "the data directory belongs to cluster {recorded} and has a map of cluster {found}: put \
         its own files back, or start with an empty one"
    )]
    OtherCluster {
        /// The cluster that the directory belongs to.
        recorded: ClusterId,
        /// The map's.
        found: ClusterId,
    },
}

impl MapKeeper {
    /// The map that lies in `store`, for the node called `identity`, whose directory belongs to the
    /// cluster `recorded`, if it says so. A damaged map is none: the node then finds its cluster
    /// again, as one that lost its disk does.
    ///
    /// # Errors
    /// [`KeeperError`] when the disk fails, or the map is of another cluster.
    pub fn open(
        identity: Identity,
        recorded: Option<ClusterId>,
        store: Arc<dyn Store>,
    ) -> Result<MapKeeper, KeeperError> {
        let map = read(&*store)?.map(Arc::new);
        let found = map.as_ref().map(|map| map.cluster());
        if let (Some(recorded), Some(found)) = (recorded, found)
            && recorded != found
        {
            return Err(KeeperError::OtherCluster { recorded, found });
        }
        let known = map.as_ref().and_then(|map| map.node(identity.id()));
        Ok(MapKeeper {
            home: Mutex::new(known.map(|node| node.identity.incarnation)),
            recorded,
            identity,
            store,
            changes: watch::Sender::new(map.clone()),
            current: ArcSwapOption::new(map),
            adopting: tokio::sync::Mutex::default(),
            adopts: OnceLock::new(),
        })
    }

    /// The node's map, if it has one.
    #[must_use]
    pub fn map(&self) -> Option<Arc<Map>> {
        self.current.load_full()
    }

    /// The cluster that this node is in, or was in when its map was lost.
    #[must_use]
    pub fn cluster(&self) -> Option<ClusterId> {
        let current = self.current.load();
        current.as_ref().map(|map| map.cluster()).or(self.recorded)
    }

    /// The latest life of this node that its directory is known to have had: the one that its map
    /// named at the start, or one that it was told of since.
    #[must_use]
    pub fn home(&self) -> Option<Incarnation> {
        *locked(&self.home)
    }

    /// The life that `map` names of this node, if its directory is not known to have had that.
    pub(super) fn unknown_life(&self, map: &Map) -> Option<Incarnation> {
        let life = map.node(self.identity.id())?.identity.incarnation;
        (life != self.identity.incarnation && Some(life) != self.home()).then_some(life)
    }

    /// Others know of the life `latest` of this node, and its directory did not: it is new, or was
    /// put back. Whoever serves from it knows before anybody is told that the directory does.
    pub(super) async fn doubt(&self, latest: Incarnation) {
        tracing::warn!(
            "the cluster knows a later life of this node than its directory does: it is new, or \
             was put back, and its replicas are compared with the others before they are believed"
        );
        if let Some(adopts) = self.adopts.get() {
            adopts.doubted().await;
        }
        *locked(&self.home) = Some(latest);
    }

    /// The epoch of the node's map; 0 without one.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.current
            .load()
            .as_ref()
            .map(|map| map.epoch())
            .unwrap_or_default()
    }

    /// Sees the map now and every later one, after it was adopted.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Option<Arc<Map>>> {
        self.changes.subscribe()
    }

    /// Who serves under each new map from here on; said once.
    pub fn set_adopts(&self, adopts: Arc<dyn Adopts>) {
        // Said twice, the first one stays.
        let _ = self.adopts.set(adopts);
    }

    /// Whether the map names this node as it is now: with this life of its process.
    #[must_use]
    pub fn is_registered(&self) -> bool {
        self.current
            .load()
            .as_ref()
            .is_some_and(|map| self.names_me(map))
    }

    fn names_me(&self, map: &Map) -> bool {
        map.node(self.identity.id())
            .is_some_and(|node| node.identity == self.identity)
    }

    /// Takes a map that another node sent, if it is newer, and makes it durable before anybody
    /// sees it. The answer is the epoch that is then in force here.
    ///
    /// # Errors
    /// [`AdoptError`] when it is not for this node or the disk fails; the map stays as it was.
    pub async fn accept(&self, map: Map) -> Result<Epoch, AdoptError> {
        if self.current.load().is_none() && !self.names_me(&map) {
            return Err(AdoptError::NotNamed);
        }
        self.adopt(Arc::new(map)).await
    }

    /// Takes a map from this node's own member of the authority, as [`MapKeeper::accept`] does.
    ///
    /// # Errors
    /// [`AdoptError`] when it is of another cluster or the disk fails.
    pub async fn adopt(&self, map: Arc<Map>) -> Result<Epoch, AdoptError> {
        let _one_at_a_time = self.adopting.lock().await;
        if self.cluster().is_some_and(|own| own != map.cluster()) {
            return Err(AdoptError::OtherCluster(map.cluster()));
        }
        if map.epoch() <= self.epoch() {
            return Ok(self.epoch());
        }
        // Before it is stored: the next start would take that life for one of the directory's.
        if let Some(latest) = self.unknown_life(&map) {
            self.doubt(latest).await;
        }
        let write = Write::put(Space::Node, MAP.to_vec(), seal_as(map.format(), &*map));
        commit(Arc::clone(&self.store), vec![write]).await?;
        let epoch = map.epoch();
        self.current.store(Some(Arc::clone(&map)));
        if let Some(adopts) = self.adopts.get() {
            adopts.adopted(Arc::clone(&map)).await;
        }
        self.changes.send_replace(Some(map));
        tracing::info!(%epoch, "a map was adopted");
        Ok(epoch)
    }

    /// Waits until the node has a map newer than that of `epoch`.
    pub async fn newer_than(&self, epoch: Epoch) -> Arc<Map> {
        self.reached(Epoch(epoch.0.saturating_add(1))).await
    }

    /// Waits until the node has a map of at least `epoch`.
    pub async fn reached(&self, epoch: Epoch) -> Arc<Map> {
        let mut maps = self.subscribe();
        let reached = |map: &Option<Arc<Map>>| map.as_ref().is_some_and(|map| epoch <= map.epoch());
        match maps.wait_for(reached).await.map(|map| map.clone()) {
            Ok(Some(map)) => map,
            // The sender lives as long as the keeper, and the map is there when it is reached.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }
}

/// The map that lies in `store`.
///
/// # Errors
/// [`KeeperError`] when the disk fails; a damaged map is none.
pub(super) fn read(store: &dyn Store) -> Result<Option<Map>, KeeperError> {
    let damaged = |error: &dyn std::fmt::Display| {
        tracing::error!(%error, "this node's map is damaged; it looks for its cluster");
        Ok(None)
    };
    match store.snapshot(Space::Node).get(MAP) {
        Ok(None) => Ok(None),
        Ok(Some(record)) => match open(&record) {
            Ok(map) => Ok(Some(map)),
            Err(OpenError::Disk(error)) => Err(error.into()),
            // It is sound. Whoever goes on without it comes in with an older one, or drops from it
            // what is new.
            Err(OpenError::Newer(format)) => Err(format.into()),
            Err(error) => damaged(&error),
        },
        Err(RecordError::Damaged(what)) => damaged(&what),
        Err(error) => Err(error.into()),
    }
}
