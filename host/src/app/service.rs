//! This is what a node does with the messages of others: each goes to the role it is for.

use super::liveness::Hints;
use crate::authority::Authority;
use crate::network::{BoxFuture, Hello, Identity, Links, PeerService, Received, Refusal};
use crate::peer::Peer;
use crate::telemetry::Metrics;
use bytes::Bytes;
use soros_core::codec::Codec;
use soros_core::epoch::Epoch;
use soros_core::id::NodeId;
use soros_core::message::{self, Reply, Request};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a message without an answer may take to be carried out.
const UNANSWERED_TIME_MAX: Duration = Duration::from_secs(10);

/// The roles that other nodes speak to.
pub(super) struct Service {
    /// Who this node is, as its links know it.
    pub(super) links: Links,
    /// Its peer role.
    pub(super) peer: Arc<Peer>,
    /// Its authority's role.
    pub(super) authority: Arc<Authority>,
    /// Where its membership hears of others.
    pub(super) hints: Hints,
    /// Where messages are counted.
    pub(super) metrics: Arc<Metrics>,
    /// The most connections they may have.
    pub(super) connections_max: u32,
}

impl PeerService for Service {
    fn connections_max(&self) -> u32 {
        self.connections_max
    }

    fn on_hello(&self, hello: &Hello) -> Result<Identity, Refusal> {
        let identity = self.links.identity();
        identity.check(hello)?;
        if hello.from.node == identity.node && hello.from.incarnation != identity.incarnation {
            return Err(Refusal::Twin);
        }
        Ok(identity)
    }

    fn on_frame(&self, message: Received) -> BoxFuture<'static, Bytes> {
        let (peer, authority) = (Arc::clone(&self.peer), Arc::clone(&self.authority));
        let (hints, metrics) = (self.hints.clone(), Arc::clone(&self.metrics));
        metrics.link_received.note(message.payload.len());
        Box::pin(async move {
            let answer = answer(&peer, &authority, &hints, message).await.to_bytes();
            metrics.link_sent.note(answer.len());
            answer.into()
        })
    }

    fn on_epoch(&self, from: NodeId, epoch: Epoch) {
        self.authority.on_epoch(from, epoch);
    }
}

async fn answer(
    peer: &Arc<Peer>,
    authority: &Authority,
    hints: &Hints,
    message: Received,
) -> Reply {
    let deadline = message.deadline.map_or_else(
        || Instant::now() + UNANSWERED_TIME_MAX,
        tokio::time::Instant::into_std,
    );
    match Request::from_bytes(&message.payload) {
        Ok(Request::Authority(request)) => {
            Reply::Authority(authority.on_request(&request).await.to_vec())
        }
        Ok(Request::Membership(bytes)) => {
            hints.arrived(bytes);
            Reply::Refused(message::Refusal::NotReady)
        }
        Ok(request) => peer.answer(message.from, request, deadline).await,
        Err(error) => {
            tracing::error!(from = %message.from, %error, "a message could not be read");
            Reply::Refused(message::Refusal::Unreadable)
        }
    }
}
