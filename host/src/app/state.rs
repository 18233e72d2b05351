//! This is a running node as its HTTP routes see it: its roles, and whether it serves.

use super::doubt::DiskNotes;
use super::node::RunsPolicies;
use crate::authority::Authority;
use crate::network::{BoxFuture, Code, Links};
use crate::peer::Peer;
use crate::peer::api::coordinates::{Coordinates, Readiness, Resolved};
use crate::store::Store;
use crate::telemetry::Metrics;
use soros_core::id::NodeId;
use soros_core::map::Map;
use soros_core::map::plugin::PluginName;
use soros_core::object::Object;
use soros_core::operation::{
    OperationError, ReadAnswer, ReadRequest, Target, WriteAnswer, WriteRequest,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a running node is made of.
pub(super) struct Parts {
    /// Its peer role.
    pub(super) peer: Arc<Peer>,
    /// Its authority's role.
    pub(super) authority: Arc<Authority>,
    /// Its policies.
    pub(super) policies: Arc<dyn RunsPolicies>,
    /// Its figures.
    pub(super) metrics: Arc<Metrics>,
    /// Its links to other nodes.
    pub(super) links: Links,
    /// Its disk.
    pub(super) store: Arc<dyn Store>,
    /// What is noted of its disk beside the records.
    pub(super) notes: Arc<dyn DiskNotes>,
}

/// A running node.
pub(super) struct State {
    parts: Parts,
    stopping: AtomicBool,
}

impl State {
    /// The node of these parts.
    pub(super) fn new(parts: Parts) -> State {
        let stopping = AtomicBool::new(false);
        State { parts, stopping }
    }

    /// The authority's role.
    pub(super) fn authority(&self) -> &Arc<Authority> {
        &self.parts.authority
    }

    /// The node's figures.
    pub(super) fn metrics(&self) -> &Metrics {
        &self.parts.metrics
    }

    /// From here on the node says that it is shutting down.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// Why the node does not serve; none when it does.
    pub(super) fn code_unless_serving(&self) -> Option<Code> {
        match self.readiness() {
            Readiness::Serving(_) => None,
            Readiness::Starting => Some(Code::Starting),
            Readiness::ShuttingDown => Some(Code::ShuttingDown),
        }
    }

    /// Why policies cannot be asked here that should be, by the names of their plugins.
    pub(super) fn policy_problems(&self) -> BTreeMap<PluginName, String> {
        self.parts.policies.problems()
    }

    /// How many of the node's partitions lack something.
    pub(super) fn partitions_behind(&self) -> u64 {
        self.parts.peer.partitions_behind()
    }

    /// Brings those figures up to date that are states and not counts.
    pub(super) fn refresh_metrics(&self) {
        let Parts {
            peer,
            metrics,
            links,
            store,
            ..
        } = &self.parts;
        if let Some(map) = peer.map() {
            metrics.epoch.set(map.epoch().0);
            let alive = map.nodes().keys().filter(|node| peer.reaches(**node));
            metrics.nodes_alive.set(alive.count() as u64);
        }
        metrics.partitions_behind.set(peer.partitions_behind());
        metrics.partitions_unswept.set(peer.partitions_unswept());
        let judgement = peer.clock_judgement();
        let ahead = judgement.skew().unwrap_or_default().0;
        metrics.clock_offset.set(ahead);
        metrics.clock_skewed.set(judgement.is_off().into());
        let actors = peer.actor_counts();
        metrics.actors_open.set(actors.open);
        metrics.actors_closed.set(actors.closed);
        let counts = peer.counts();
        metrics.sum_alarms.catch_up(counts.sum_alarms);
        metrics.read_repairs.catch_up(counts.read_repairs);
        metrics.hedged_reads.catch_up(counts.hedged_reads);
        metrics.repair_bytes.catch_up(counts.repair_bytes);
        metrics.forwarded.catch_up(counts.forwarded);
        metrics.commit_queue.set(peer.commits_waiting());
        let waiting = links.loads().iter().map(|load| load.queued).sum::<usize>();
        metrics.link_queue.set(waiting as u64);
        metrics.store_bytes.set(store.bytes());
        let disk = store.disk();
        metrics.disk_size.set(disk.usage.size);
        metrics.disk_free.set(disk.usage.free);
        metrics.disk_full.set(disk.room.is_full().into());
        metrics.table_damaged.set(self.is_table_damaged().into());
    }

    /// Whether a table of the engine is damaged, and what can be read is yet to be saved.
    pub(super) fn is_table_damaged(&self) -> bool {
        self.parts.notes.is_torn()
    }

    /// Whether the node's clock is off, so that it refuses writes.
    pub(super) fn is_clock_skewed(&self) -> bool {
        self.parts.peer.clock_judgement().is_off()
    }
}

impl Coordinates for State {
    fn readiness(&self) -> Readiness {
        if self.stopping.load(Ordering::Acquire) {
            return Readiness::ShuttingDown;
        }
        match self.parts.peer.map() {
            Some(map) if self.parts.peer.serves() => Readiness::Serving(map),
            Some(_) | None => Readiness::Starting,
        }
    }

    fn elsewhere(&self, target: &Target) -> Option<NodeId> {
        self.parts.peer.elsewhere(target)
    }

    fn read(&self, request: ReadRequest) -> BoxFuture<'_, Result<ReadAnswer, OperationError>> {
        Box::pin(self.parts.peer.read(request))
    }

    fn write(&self, request: WriteRequest) -> BoxFuture<'_, Result<WriteAnswer, OperationError>> {
        Box::pin(self.parts.peer.write(request))
    }

    fn resolve(&self, _map: &Map, target: &Target, object: &Object) -> Option<Resolved> {
        self.parts.policies.resolve_read(target, object)
    }
}
