//! This is how a node keeps the right time: it asks others what their wall clocks say, over and
//! over, and its clock judges itself by that.

use super::Peer;
use super::wire::{Urgency, WireError};
use futures_util::future::join_all;
use soros_core::id::NodeId;
use soros_core::map::Map;
use soros_core::message::{Reply, Request};
use std::collections::BTreeSet;
use std::pin::pin;
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

/// How long after the others were asked they are asked again.
const PERIOD: Duration = Duration::from_secs(1);
/// How long a node that starts waits for the others before it serves.
const SERVES_AFTER: Duration = Duration::from_millis(100);
/// How long the others have to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// How long after a link took nothing another attempt is made, while it may yet stand.
const RETRY_PAUSE: Duration = Duration::from_millis(20);
/// How many others are asked: as many as a majority may be asked of, however large the cluster is.
const ASKED_MAX: usize = 16;

impl Peer {
    /// Asks the others for the time, over and over. Ends never; whoever runs it drops it.
    pub async fn keep_time(&self) {
        loop {
            self.ask_the_time().await;
            // Whichever comes first; both mean the same.
            let _ = timeout(PERIOD, self.wake_clock.notified()).await;
        }
    }

    /// Asks the others once. Who is slow is waited for, but does not keep this node from serving.
    /// Without a map nobody is known to be another.
    pub(super) async fn ask_the_time(&self) {
        let Some(map) = self.map() else {
            return;
        };
        let peers = self.whom_to_ask(&map);
        let mut asking = pin!(join_all(peers.iter().map(|peer| self.ask_its_time(*peer))));
        if timeout(SERVES_AFTER, &mut asking).await.is_err() {
            self.clock.asked(peers.clone());
            asking.await;
        }
        self.clock.asked(peers);
    }

    /// Those that follow this node in the order of all, so that each is asked by as many.
    fn whom_to_ask(&self, map: &Map) -> BTreeSet<NodeId> {
        let (before, after) = (map.nodes().range(..self.me), map.nodes().range(self.me..));
        let others = after.chain(before).map(|(node, _)| *node);
        let others = others.filter(|node| *node != self.me);
        others.take(ASKED_MAX).collect()
    }

    /// Asks a node until it answers, time is up, or it is known to be down.
    async fn ask_its_time(&self, peer: NodeId) {
        let deadline = Instant::now() + ANSWER_WITHIN;
        while self.wire.is_reachable(peer) && Instant::now() < deadline {
            let asked = self.clock.machine().steady;
            let request = Request::Clock;
            let reply = self
                .wire
                .call(peer, &request, deadline, Urgency::Foreground);
            match reply.await {
                Ok(Reply::Clock(theirs)) => return self.clock.told(peer, asked, theirs),
                Err(WireError::NotSent) => sleep(RETRY_PAUSE).await,
                Ok(_) | Err(WireError::Unknown) => return,
            }
        }
    }
}
