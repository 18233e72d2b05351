//! This is how a node keeps up with the map: it fetches from whoever shows a greater epoch, sends
//! its own to whoever shows a smaller one, and acts on each map it adopts.

use super::spread::{message, push};
use super::wire::{Answer, Request, To, ask};
use super::{Failure, Inner};
use soros_core::epoch::Epoch;
use soros_core::id::NodeId;
use soros_core::map::Map;
use soros_core::map::format::{Format, UnknownFormat};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// How long a node may take to send its map.
const FETCH_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a node that was sent a map has to show its epoch before it is sent the map again.
const PUSH_PAUSE: Duration = Duration::from_millis(500);

/// Follows the epochs that other nodes show, for ever.
pub(super) async fn catch_up(inner: Arc<Inner>, mut hints: mpsc::Receiver<(NodeId, Epoch)>) {
    let mut pushed: BTreeMap<NodeId, (Epoch, Instant)> = BTreeMap::new();
    while let Some((node, epoch)) = hints.recv().await {
        let Some(map) = inner.keeper.map() else {
            continue;
        };
        let mine = map.epoch();
        if mine < epoch {
            fetch(&inner, &To::Node(node), mine).await;
        } else if epoch < mine {
            let now = Instant::now();
            let waits = |&(sent, at): &(Epoch, Instant)| sent == mine && now < at + PUSH_PAUSE;
            if !pushed.get(&node).is_some_and(waits) && map.node(node).is_some() {
                pushed.insert(node, (mine, now));
                push(&inner, node, &message(&map)).await;
            }
        }
    }
}

/// Fetches a map newer than `newer_than` and adopts it.
pub(super) async fn fetch(inner: &Inner, from: &To, newer_than: Epoch) {
    if let Some(map) = fetch_map(inner, from, newer_than).await
        && let Err(error) = inner.keeper.accept(map).await
    {
        tracing::warn!(?from, %error, "a map was not adopted");
    }
}

/// The map of the node `from`, if it is newer than `newer_than`.
pub(super) async fn fetch_map(inner: &Inner, from: &To, newer_than: Epoch) -> Option<Map> {
    match ask(
        inner.wire(),
        from,
        &Request::Fetch {
            newer_than,
            knows: Format::KNOWN,
        },
        FETCH_TIMEOUT,
    )
    .await
    {
        Ok(Answer::Fetch(map)) => map.map(|map| *map),
        Ok(Answer::NewerFormat(format)) => {
            inner.fail(Failure::NewerFormat(UnknownFormat(format)));
            None
        }
        _ => None,
    }
}

/// Acts on each map this node adopts, for ever: it learns where the others are, and whether it is
/// still itself.
pub(super) async fn watch_maps(inner: Arc<Inner>) {
    let mut maps = inner.keeper.subscribe();
    let mut was_named = false;
    loop {
        let map = maps.borrow_and_update().clone();
        if let Some(map) = map {
            set_addresses(&inner, &map);
            inner.parts.metrics.epoch.set(map.epoch().0);
            let named = inner.keeper.is_registered();
            let known = map.node(inner.id()).map(|node| node.identity.incarnation);
            if was_named && known.is_some_and(|life| life != inner.parts.identity.incarnation) {
                inner.fail(Failure::Superseded(inner.parts.identity.name.clone()));
            }
            was_named |= named;
        }
        if maps.changed().await.is_err() {
            return;
        }
    }
}

/// Tells the wire where the nodes of `map` are.
pub(super) fn set_addresses(inner: &Inner, map: &Map) {
    for (&id, node) in map.nodes() {
        if id != inner.id() {
            inner.wire().set_address(id, &node.identity.peer);
        }
    }
}
