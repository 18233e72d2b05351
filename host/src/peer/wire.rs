//! This is how a peer reaches the others: a question, a deadline, and the reply or why there is
//! none. The network's links implement it for a node, memory for a test.

use futures_util::future::BoxFuture;
use soros_core::id::NodeId;
use soros_core::message::{Reply, Request};
use std::time::Instant;

/// Whether others wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// A client waits.
    Foreground,
    /// Repair, which must not delay clients.
    Background,
}

/// Why there is no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The other certainly did not take the request: it may be sent to another.
    #[error("the request was not sent")]
    NotSent,
    /// The other may have taken it.
    #[error("no reply came")]
    Unknown,
}

/// The other nodes of the cluster.
pub trait Wire: Send + Sync + 'static {
    /// Asks `to`. Who drops the future takes the request back, if it has not been sent yet.
    fn call(
        &self,
        to: NodeId,
        request: &Request,
        deadline: Instant,
        urgency: Urgency,
    ) -> BoxFuture<'static, Result<Reply, WireError>>;

    /// Sends a request whose reply nobody needs; nothing tells whether it arrives.
    fn send(&self, to: NodeId, request: &Request, urgency: Urgency);

    /// Whether `node` is not known to be down.
    fn is_reachable(&self, node: NodeId) -> bool;

    /// Whether `node` does not answer the others' probes at the moment: it is asked last, though it
    /// has not been given up.
    fn is_silent(&self, node: NodeId) -> bool;
}
