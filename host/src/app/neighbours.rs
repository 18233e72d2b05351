//! This is the other nodes as this one reaches them: the links, what they showed of who is up, and
//! the roles' messages on them.

use super::liveness::Hints;
use crate::authority::wire::{To, Wire as AuthorityWire, WireError as AuthorityWireError};
use crate::authority::{Authority, Liveness};
use crate::network::{Cause, LinkError, LinkEvents, LinkState, Links, Priority, Refusal};
use crate::peer::Peer;
use crate::peer::wire::{Urgency, Wire, WireError};
use crate::telemetry::Metrics;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use soros_core::codec::Codec;
use soros_core::epoch::Epoch;
use soros_core::id::{ClusterId, NodeId};
use soros_core::membership::Standing;
use soros_core::message::{Reply, Request};
use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

/// The other nodes. Made before the roles that speak to them, and told of these later.
#[derive(Default)]
pub struct Neighbours {
    links: OnceLock<Links>,
    /// Those that no link reaches, and what the nodes hold of each other's lives.
    down: RwLock<Down>,
    hints: OnceLock<Hints>,
    peer: OnceLock<Weak<Peer>>,
    authority: OnceLock<Weak<Authority>>,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Down {
    unlinked: BTreeSet<NodeId>,
    dead: BTreeSet<NodeId>,
    /// Those that do not answer, and have not been given up yet.
    silent: BTreeSet<NodeId>,
}

impl Down {
    fn has(&self, node: NodeId) -> bool {
        self.unlinked.contains(&node) || self.dead.contains(&node)
    }
}

impl Neighbours {
    /// Nobody yet; what is sent and received shows in `metrics`.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> Neighbours {
        Neighbours {
            metrics,
            ..Neighbours::default()
        }
    }

    /// The links, made with this as their events.
    pub(super) fn set_links(&self, links: Links) {
        // Said twice, the first stay.
        let _ = self.links.set(links);
    }

    /// The cluster that this node is in: nodes of another are refused from here on.
    pub(super) fn set_cluster(&self, cluster: ClusterId) {
        if let Some(links) = self.links.get() {
            links.set_cluster(cluster);
        }
    }

    /// The roles that hear what links show.
    pub(super) fn set_roles(&self, peer: &Arc<Peer>, authority: &Arc<Authority>) {
        let _ = self.peer.set(Arc::downgrade(peer));
        let _ = self.authority.set(Arc::downgrade(authority));
    }

    /// Where lost links are handed in.
    pub(super) fn set_hints(&self, hints: Hints) {
        let _ = self.hints.set(hints);
    }

    /// Whether `node` is not known to be down.
    pub(super) fn is_up(&self, node: NodeId) -> bool {
        !self
            .down
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .has(node)
    }

    /// Takes note of how `node` stands with the nodes.
    pub(super) fn note_life(&self, node: NodeId, standing: Standing) {
        self.note(node, |down| {
            down.silent.remove(&node);
            match standing {
                Standing::Alive => down.dead.remove(&node),
                Standing::Suspect => {
                    down.silent.insert(node);
                    down.dead.remove(&node)
                }
                Standing::Down => down.dead.insert(node),
            }
        });
    }

    fn note_link(&self, node: NodeId, up: bool) {
        self.note(node, |down| {
            if up {
                down.unlinked.remove(&node)
            } else {
                down.unlinked.insert(node)
            }
        });
    }

    fn note(&self, node: NodeId, change: impl FnOnce(&mut Down) -> bool) {
        let (was, is) = {
            let mut down = self.down.write().unwrap_or_else(PoisonError::into_inner);
            let was = down.has(node);
            change(&mut down);
            (was, down.has(node))
        };
        match (was, is) {
            (false, true) => tracing::warn!(%node, "a node cannot be reached"),
            (true, false) => {
                tracing::info!(%node, "a node can be reached again");
                if let Some(peer) = self.peer.get().and_then(Weak::upgrade) {
                    peer.converge_soon();
                }
            }
            _ => (),
        }
    }
}

impl LinkEvents for Neighbours {
    fn on_epoch(&self, from: NodeId, epoch: Epoch) {
        if let Some(authority) = self.authority.get().and_then(Weak::upgrade) {
            authority.on_epoch(from, epoch);
        }
    }

    fn on_link(&self, node: NodeId, state: LinkState) {
        match state {
            LinkState::Up(_) => {
                self.metrics.link_connects.increment();
                self.note_link(node, true);
            }
            LinkState::Down | LinkState::Lost | LinkState::Left => {
                self.note_link(node, false);
                if let Some(hints) = self.hints.get() {
                    hints.link_lost(node);
                }
            }
            // The link has said why.
            LinkState::Refused(_) => self.note_link(node, false),
        }
    }
}

impl Liveness for Neighbours {
    fn is_alive(&self, node: NodeId) -> bool {
        self.is_up(node)
    }
}

impl Wire for Neighbours {
    fn call(
        &self,
        to: NodeId,
        request: &Request,
        deadline: Instant,
        urgency: Urgency,
    ) -> BoxFuture<'static, Result<Reply, WireError>> {
        let links = self.links.get().cloned();
        let payload = Bytes::from(request.to_bytes());
        let metrics = Arc::clone(&self.metrics);
        Box::pin(async move {
            let links = links.ok_or(WireError::NotSent)?;
            let bytes = payload.len();
            let answer = links
                .call(to, payload, deadline.into(), priority(urgency))
                .await;
            note(&metrics, bytes, &answer);
            match answer {
                Ok(bytes) => Reply::from_bytes(&bytes).map_err(|error| {
                    tracing::error!(%to, %error, "a reply could not be read");
                    WireError::Unknown
                }),
                Err(error) if error.is_not_taken() => Err(WireError::NotSent),
                Err(_) => Err(WireError::Unknown),
            }
        })
    }

    fn send(&self, to: NodeId, request: &Request, urgency: Urgency) {
        let Some(links) = self.links.get() else {
            return;
        };
        let payload = Bytes::from(request.to_bytes());
        let bytes = payload.len();
        let sent = links.send(to, payload, priority(urgency));
        note(&self.metrics, bytes, &sent.map(|()| Bytes::new()));
        if let Err(error) = sent {
            tracing::debug!(%to, %error, "a message was left to anti-entropy");
        }
    }

    fn is_reachable(&self, node: NodeId) -> bool {
        self.is_up(node)
    }

    fn is_silent(&self, node: NodeId) -> bool {
        let down = self.down.read().unwrap_or_else(PoisonError::into_inner);
        down.silent.contains(&node)
    }
}

impl AuthorityWire for Neighbours {
    fn call(
        &self,
        to: &To,
        request: Bytes,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Bytes, AuthorityWireError>> {
        let (links, to) = (self.links.get().cloned(), to.clone());
        let payload = Bytes::from(Request::Authority(request.to_vec()).to_bytes());
        let deadline = (Instant::now() + timeout).into();
        let metrics = Arc::clone(&self.metrics);
        Box::pin(async move {
            let bytes = payload.len();
            let links = links.ok_or(AuthorityWireError::NotSent)?;
            let answer = match to {
                To::Node(node) => {
                    links
                        .call(node, payload, deadline, Priority::Foreground)
                        .await
                }
                To::Address(address) => links
                    .call_address(&address, payload, deadline)
                    .await
                    .map(|(_, answer)| answer),
            };
            note(&metrics, bytes, &answer);
            let answer = answer.map_err(|error| match error {
                LinkError::NotSent(Cause::Refused(Refusal::Twin)) => AuthorityWireError::Twin,
                error if error.is_not_taken() => AuthorityWireError::NotSent,
                _ => AuthorityWireError::Unknown,
            })?;
            match Reply::from_bytes(&answer) {
                Ok(Reply::Authority(bytes)) => Ok(bytes.into()),
                Ok(Reply::Refused(_)) => Err(AuthorityWireError::NotSent),
                Ok(_) | Err(_) => Err(AuthorityWireError::Unknown),
            }
        })
    }

    fn set_address(&self, node: NodeId, address: &str) {
        if let Some(links) = self.links.get() {
            links.set_address(node, address);
        }
    }
}

/// Counts a message of `bytes` that was handed to a link, and its answer.
fn note(metrics: &Metrics, bytes: usize, answer: &Result<Bytes, LinkError>) {
    match answer {
        Ok(answer) => {
            metrics.link_sent.note(bytes);
            if !answer.is_empty() {
                metrics.link_received.note(answer.len());
            }
        }
        Err(LinkError::Busy) => metrics.link_busy.increment(),
        Err(LinkError::TooLong(_) | LinkError::NotSent(_)) => (),
        Err(LinkError::Unknown(_)) => metrics.link_sent.note(bytes),
    }
}

fn priority(urgency: Urgency) -> Priority {
    match urgency {
        Urgency::Foreground => Priority::Foreground,
        Urgency::Background => Priority::Background,
    }
}
