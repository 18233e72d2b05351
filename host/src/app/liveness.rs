//! This is where a node's membership machine runs: what arrives and what is due goes in, and what
//! comes out is sent, or noted of the other nodes.

use super::neighbours::Neighbours;
use crate::peer::wire::{Urgency, Wire};
use soros_core::id::NodeId;
use soros_core::map::Map;
use soros_core::membership::{Effect, Event, Membership};
use soros_core::message::Request;
use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{mpsc, watch};

/// How many messages and hints may wait; what is lost comes again.
const WAITING_MAX: usize = 1024;

/// Where what concerns the membership is handed in.
#[derive(Clone)]
pub(super) struct Hints(mpsc::Sender<Event>);

/// What was handed in and waits.
pub(super) struct Waiting(mpsc::Receiver<Event>);

/// A place to hand in, and where it arrives.
pub(super) fn hints() -> (Hints, Waiting) {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    (Hints(sender), Waiting(receiver))
}

impl Hints {
    /// Hands in a message of another node's membership.
    pub(super) fn arrived(&self, bytes: Vec<u8>) {
        // The protocol lives with lost messages.
        let _ = self.0.try_send(Event::Arrived(bytes));
    }

    /// Hands in that the link to a node was lost.
    pub(super) fn link_lost(&self, node: NodeId) {
        let _ = self.0.try_send(Event::LinkLost(node));
    }
}

/// Runs the membership of `me` until it is dropped: over `neighbours`, with the nodes of the maps
/// as those to expect.
pub(super) async fn run(
    me: NodeId,
    neighbours: Weak<Neighbours>,
    mut maps: watch::Receiver<Option<Arc<Map>>>,
    Waiting(mut events): Waiting,
) {
    let started = Instant::now();
    let mut membership = Membership::new(me, start_number(), getrandom::u64().unwrap_or(me.0));
    let mut due = None;
    maps.mark_changed();
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            // An error means that the authority's role has ended: this one ends soon, too.
            Ok(()) = maps.changed() => {
                Some(Event::Expected(others(me, maps.borrow_and_update().as_ref())))
            }
            () = sleep_until(started, due) => Some(Event::Woken),
        };
        let (Some(event), Some(neighbours)) = (event, neighbours.upgrade()) else {
            return;
        };
        for effect in membership.step(event, started.elapsed()) {
            match effect {
                Effect::Send { to, bytes } => {
                    neighbours.send(to, &Request::Membership(bytes), Urgency::Foreground);
                }
                Effect::Wake(at) => due = Some(at),
                Effect::Now(node, standing) => neighbours.note_life(node, standing),
                Effect::Renewed => tracing::info!("this node was taken for dead, and is not"),
                Effect::Unreadable => tracing::warn!("a membership message could not be read"),
            }
        }
    }
}

/// A number that is greater at each start of the process: seconds since 2020, by the wall clock. A
/// clock that was set back is found out by the others' answers, and costs a few renewals.
fn start_number() -> u32 {
    const DAYS_TO_2020: u64 = 18_262;
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u32::try_from(now.as_secs().saturating_sub(DAYS_TO_2020 * 24 * 60 * 60)).unwrap_or(u32::MAX)
}

fn others(me: NodeId, map: Option<&Arc<Map>>) -> BTreeSet<NodeId> {
    let nodes = map.into_iter().flat_map(|map| map.nodes().keys().copied());
    nodes.filter(|node| *node != me).collect()
}

async fn sleep_until(started: Instant, due: Option<Duration>) {
    match due {
        Some(due) => tokio::time::sleep_until((started + due).into()).await,
        None => std::future::pending().await,
    }
}
