//! This is how the roles of a node reach each other though each is made of the other: by a place
//! that is filled once both are there.

use super::doubt::Doubts;
use super::dry_run;
use super::neighbours::Neighbours;
use super::node::RunsPolicies;
use crate::authority::dry_run::{Loads, Tally, TriesVersions};
use crate::authority::keeper::{Adopts, MapKeeper};
use crate::authority::wire::Facts;
use crate::authority::{BucketCheck, Emptiness, LocalFacts, PlanError};
use crate::network::BoxFuture;
use crate::peer::survey::Survey;
use crate::peer::{Maps, Peer};
use crate::store::Store;
use crate::store::commit::CommitError;
use soros_core::id::{BucketId, BucketName, PlacementId};
use soros_core::map::Map;
use soros_core::map::json::Json;
use soros_core::map::plugin::Release;
use soros_core::map::settings::Durability;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::sleep;

/// The peer role, once it is there, as the authority's role needs it.
pub(super) struct LatePeer {
    peer: OnceLock<Weak<Peer>>,
    policies: Arc<dyn RunsPolicies>,
    store: Arc<dyn Store>,
    neighbours: Arc<Neighbours>,
    doubts: Arc<Doubts>,
    /// The epoch that the node's frames show: of the last map it serves under.
    epoch: Arc<AtomicU64>,
    /// Held while the node begins to serve under a map.
    turn: Mutex<()>,
}

/// How long between two looks at whether the peer role is there.
const STEP: Duration = Duration::from_millis(5);
/// How long what the disk refused is left alone.
const RETRY: Duration = Duration::from_millis(200);

impl LatePeer {
    /// Nobody yet.
    pub(super) fn new(
        policies: Arc<dyn RunsPolicies>,
        store: Arc<dyn Store>,
        neighbours: Arc<Neighbours>,
        doubts: Arc<Doubts>,
        epoch: Arc<AtomicU64>,
    ) -> LatePeer {
        LatePeer {
            peer: OnceLock::new(),
            policies,
            store,
            neighbours,
            doubts,
            epoch,
            turn: Mutex::default(),
        }
    }

    /// The peer role is there.
    pub(super) fn set(&self, peer: &Arc<Peer>) {
        // Said twice, the first stays.
        let _ = self.peer.set(Arc::downgrade(peer));
    }

    fn peer(&self) -> Option<Arc<Peer>> {
        self.peer.get().and_then(Weak::upgrade)
    }

    /// The peer role, as soon as it is there.
    async fn peer_soon(&self) -> Arc<Peer> {
        loop {
            if let Some(peer) = self.peer() {
                return peer;
            }
            sleep(STEP).await;
        }
    }

    /// Serves under `map`, or under a newer one: its policies first, then its partitions. Until the
    /// disk allows that the node shows its epoch of before.
    pub(super) async fn serve_under(&self, map: Arc<Map>) {
        // Of two maps that come at once the older must not have the last word.
        let _turn = self.turn.lock().await;
        self.neighbours.set_cluster(map.cluster());
        self.doubts.set_cluster(map.cluster()).await;
        let Some(peer) = self.peer() else {
            Arc::clone(&self.policies).adopt(map).await;
            return;
        };
        let newest = |map: Arc<Map>| match peer.map() {
            Some(newer) if map.epoch() < newer.epoch() => newer,
            Some(_) | None => map,
        };
        let map = newest(map);
        let (epoch, map_durability) = (map.epoch(), map.settings().durability);
        Arc::clone(&self.policies).adopt(map).await;
        while let Err(error) = peer.adopt().await {
            tracing::error!(%error, "the partitions of a map cannot be opened yet");
            if matches!(error, CommitError::Closed) {
                return;
            }
            sleep(RETRY).await;
        }
        self.epoch.store(epoch.0, Ordering::Release);
        self.set_durability(&peer, map_durability).await;
    }

    /// Answers writes when the settings say. That they are answered before they are synced is noted
    /// before the first is, and until the last one is.
    async fn set_durability(&self, peer: &Peer, durability: Durability) {
        match durability {
            Durability::Interval => {
                let may = self.doubts.note_unsynced(true).await;
                // Else they are synced first, which is no harm.
                let _ = peer.set_unsynced(may).await;
            }
            Durability::Always => match peer.set_unsynced(false).await {
                Ok(()) => drop(self.doubts.note_unsynced(false).await),
                Err(error) => tracing::warn!(%error, "what was answered is synced later"),
            },
        }
    }
}

impl Adopts for LatePeer {
    fn adopted(&self, map: Arc<Map>) -> BoxFuture<'_, ()> {
        Box::pin(self.serve_under(map))
    }

    fn vouched(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            let peer = self.peer_soon().await;
            self.doubts.settled().await;
            peer.vouch();
        })
    }

    fn doubted(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.doubts.begin(async {
            let peer = self.peer_soon().await;
            while let Err(error) = peer.doubt().await {
                tracing::error!(%error, "the partitions could not be made suspect yet");
                if matches!(error, CommitError::Closed) {
                    return;
                }
                sleep(RETRY).await;
            }
        }))
    }
}

impl BucketCheck for LatePeer {
    fn has_keys<'a>(
        &'a self,
        _name: &'a BucketName,
        id: BucketId,
        map: Arc<Map>,
    ) -> BoxFuture<'a, Emptiness> {
        Box::pin(async move {
            let Some(peer) = self.peer() else {
                return Emptiness::Unknown;
            };
            match peer.survey(id, &map).await {
                Survey::Empty => Emptiness::Empty,
                Survey::HasKeys => Emptiness::HasKeys,
                Survey::Unknown => Emptiness::Unknown,
            }
        })
    }
}

impl TriesVersions for LatePeer {
    fn loads(&self, placement: PlacementId) -> BoxFuture<'_, Option<Loads>> {
        Box::pin(async move { dry_run::loads(self.peer()?, placement).await })
    }

    fn judge<'a>(
        &'a self,
        release: &'a Release,
        config: &'a Json,
        bucket: &'a BucketName,
    ) -> BoxFuture<'a, Result<Tally, PlanError>> {
        Box::pin(async move {
            let starting = || PlanError::Failed("the node starts".to_owned());
            let peer = self.peer().ok_or_else(starting)?;
            self.policies.judge(peer, (release, config), bucket).await
        })
    }
}

impl LocalFacts for LatePeer {
    fn facts(&self) -> Facts {
        let peer = self.peer();
        let judgement = peer.as_ref().map(|peer| peer.clock_judgement());
        let judgement = judgement.unwrap_or_default();
        Facts {
            bytes: self.store.bytes(),
            partitions_behind: peer.map_or(0, |peer| peer.partitions_behind()),
            clock_offset_ms: judgement.skew().map(|skew| skew.0 / 1_000),
            clock_skewed: judgement.is_off(),
            disk_full: self.store.disk().room.is_full(),
        }
    }
}

impl Maps for MapKeeper {
    fn current(&self) -> Option<Arc<Map>> {
        self.map()
    }
}
