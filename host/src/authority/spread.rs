//! This is how a change comes into force everywhere before it is answered: the leader sends the new
//! map to every node and waits until each has made it durable, for five seconds at most.

use super::Inner;
use super::wire::{Answer, Request, To, decode, encode};
use bytes::Bytes;
use futures_util::future::join_all;
use soros_core::epoch::Epoch;
use soros_core::id::{NodeId, NodeName};
use soros_core::map::Map;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

/// How long a change may take to be in force at all nodes.
const SPREAD_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one attempt to send a map may take.
const PUSH_TIMEOUT: Duration = Duration::from_millis(1_500);
/// How long a node that did not take a map is left alone.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Sends `map` to all its nodes, and names those that have not adopted it in time. They count as
/// down: whatever they hear next from another node shows them that they are behind.
pub(super) async fn spread(inner: &Inner, map: &Arc<Map>) -> Vec<NodeName> {
    let deadline = Instant::now() + SPREAD_TIMEOUT;
    let message = message(map);
    let message = &message;
    let nodes = map.nodes().iter().map(async |(&id, node)| {
        let reached = if id == inner.id() {
            timeout_at(deadline, inner.keeper.reached(map.epoch()))
                .await
                .is_ok()
        } else {
            timeout_at(deadline, reach(inner, id, map.epoch(), message)).await == Ok(true)
        };
        (!reached).then(|| node.identity.name.clone())
    });
    let not_ready: Vec<NodeName> = join_all(nodes).await.into_iter().flatten().collect();
    if !not_ready.is_empty() {
        let names: Vec<&str> = not_ready.iter().map(NodeName::as_str).collect();
        tracing::warn!(epoch = %map.epoch(), nodes = names.join(" "), "a map is not in force yet");
    }
    not_ready
}

/// The message that carries `map`.
pub(super) fn message(map: &Map) -> Bytes {
    encode(&Request::Push(Box::new(map.clone())))
}

/// Sends the map of `epoch` to `node` until it has adopted it, or is not believed alive.
async fn reach(inner: &Inner, node: NodeId, epoch: Epoch, message: &Bytes) -> bool {
    loop {
        if push(inner, node, message)
            .await
            .is_some_and(|reached| epoch <= reached)
        {
            return true;
        }
        if !inner.parts.liveness.is_alive(node) {
            return false;
        }
        sleep(RETRY_PAUSE).await;
    }
}

/// Sends a map to `node`, and answers the epoch that is then in force there.
pub(super) async fn push(inner: &Inner, node: NodeId, message: &Bytes) -> Option<Epoch> {
    let pushed = inner
        .wire()
        .call(&To::Node(node), message.clone(), PUSH_TIMEOUT)
        .await;
    match decode(&pushed.ok()?) {
        Ok(Answer::Push(epoch)) => Some(epoch),
        _ => None,
    }
}
