//! This is how the roles of a node reach each other though each is made of the other: by a place
//! that is filled once both are there.

use super::policies::NodePolicies;
use crate::authority::keeper::{Adopts, MapKeeper};
use crate::authority::wire::Facts;
use crate::authority::{BucketCheck, Emptiness, LocalFacts};
use crate::network::BoxFuture;
use crate::peer::survey::Survey;
use crate::peer::{Maps, Peer};
use crate::store::Store;
use soros_core::id::{BucketId, BucketName};
use soros_core::map::Map;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

/// The peer role, once it is there, as the authority's role needs it.
pub(super) struct LatePeer {
    peer: OnceLock<Weak<Peer>>,
    policies: Arc<NodePolicies>,
    store: Arc<dyn Store>,
    /// The epoch that the node's frames show: of the last map it serves under.
    epoch: Arc<AtomicU64>,
}

impl LatePeer {
    /// Nobody yet.
    pub(super) fn new(
        policies: Arc<NodePolicies>,
        store: Arc<dyn Store>,
        epoch: Arc<AtomicU64>,
    ) -> LatePeer {
        LatePeer {
            peer: OnceLock::new(),
            policies,
            store,
            epoch,
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

    /// Serves under `map`: its policies first, then its partitions.
    pub(super) async fn serve_under(&self, map: Arc<Map>) {
        let epoch = map.epoch().0;
        self.policies.adopt(map).await;
        let Some(peer) = self.peer() else {
            return;
        };
        match peer.adopt().await {
            Ok(()) => self.epoch.store(epoch, Ordering::Release),
            Err(error) => tracing::error!(%error, "the partitions of a map cannot be opened"),
        }
    }
}

impl Adopts for LatePeer {
    fn adopted(&self, map: Arc<Map>) -> BoxFuture<'_, ()> {
        Box::pin(self.serve_under(map))
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
        }
    }
}

impl Maps for MapKeeper {
    fn current(&self) -> Option<Arc<Map>> {
        self.map()
    }
}
