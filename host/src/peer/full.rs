//! This is which other nodes have said that they have no room for values. A write that too few
//! could store is refused before it is minted, and until a node says that it has room again it is
//! sent none: what it lacks it gets from anti-entropy.

use super::Peer;
use super::wire::Urgency;
use soros_core::id::NodeId;
use soros_core::message::{Refusal, Reply, Request};
use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// How often a full node is asked whether it has room again, and how long it may take to say so.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// The nodes that are full.
#[derive(Debug, Default)]
pub(super) struct FullNodes {
    nodes: Mutex<BTreeSet<NodeId>>,
    /// There is one to ask.
    noted: Notify,
}

impl FullNodes {
    /// Takes note of what `node` says to a value that was sent to it.
    pub(super) fn note(&self, node: NodeId, reply: &Reply) {
        if *reply == Reply::Refused(Refusal::DiskFull) && self.lock().insert(node) {
            tracing::info!(%node, "a node's disk is full: it is sent no values until it has room");
            self.noted.notify_one();
        }
    }

    /// Whether `node` is full, as far as is known.
    pub(super) fn has(&self, node: NodeId) -> bool {
        self.lock().contains(&node)
    }

    fn all(&self) -> Vec<NodeId> {
        self.lock().iter().copied().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<NodeId>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Peer {
    /// Asks nodes that are full until they have room. Ends never; whoever runs it drops it.
    pub async fn watch_full(&self) {
        loop {
            let full = self.full.all();
            if full.is_empty() {
                self.full.noted.notified().await;
                continue;
            }
            for node in full {
                if self.has_room(node).await {
                    self.full.lock().remove(&node);
                    // It lacks what it could not take.
                    tracing::info!(%node, "a node has room again");
                }
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    /// Whether `node` says that it has room, or cannot be asked: then it is down, and not full.
    async fn has_room(&self, node: NodeId) -> bool {
        let deadline = Instant::now() + ASK_EVERY;
        let asked = self
            .wire
            .call(node, &Request::Room, deadline, Urgency::Foreground);
        match asked.await {
            Ok(reply) => reply == Reply::Room(true),
            Err(_) => !self.wire.is_reachable(node),
        }
    }
}
