//! This is a running node as its HTTP routes see it: its roles, and whether it serves.

use super::policies::NodePolicies;
use crate::authority::Authority;
use crate::network::{BoxFuture, Code};
use crate::peer::Peer;
use crate::peer::api::coordinates::{Coordinates, Readiness, Resolved};
use crate::telemetry::Metrics;
use soros_core::id::NodeId;
use soros_core::map::Map;
use soros_core::object::Object;
use soros_core::operation::{
    OperationError, ReadAnswer, ReadRequest, Target, WriteAnswer, WriteRequest,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A running node.
pub(super) struct State {
    peer: Arc<Peer>,
    authority: Arc<Authority>,
    policies: Arc<NodePolicies>,
    metrics: Arc<Metrics>,
    stopping: AtomicBool,
}

impl State {
    /// The node of these parts.
    pub(super) fn new(
        peer: Arc<Peer>,
        authority: Arc<Authority>,
        policies: Arc<NodePolicies>,
        metrics: Arc<Metrics>,
    ) -> State {
        let stopping = AtomicBool::new(false);
        State {
            peer,
            authority,
            policies,
            metrics,
            stopping,
        }
    }

    /// The authority's role.
    pub(super) fn authority(&self) -> &Arc<Authority> {
        &self.authority
    }

    /// The node's figures.
    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
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

    /// How many of the node's partitions lack something.
    pub(super) fn partitions_behind(&self) -> u64 {
        self.peer.partitions_behind()
    }

    /// Brings those figures up to date that are states and not counts.
    pub(super) fn refresh_metrics(&self) {
        let epoch = self.peer.map().map_or(0, |map| map.epoch().0);
        self.metrics.epoch.set(epoch);
        self.metrics
            .partitions_behind
            .set(self.peer.partitions_behind());
        self.metrics
            .partitions_unswept
            .set(self.peer.partitions_unswept());
    }
}

impl Coordinates for State {
    fn readiness(&self) -> Readiness {
        if self.stopping.load(Ordering::Acquire) {
            return Readiness::ShuttingDown;
        }
        match self.peer.map() {
            Some(map) if self.peer.serves() => Readiness::Serving(map),
            Some(_) | None => Readiness::Starting,
        }
    }

    fn elsewhere(&self, target: &Target) -> Option<NodeId> {
        self.peer.elsewhere(target)
    }

    fn read(&self, request: ReadRequest) -> BoxFuture<'_, Result<ReadAnswer, OperationError>> {
        Box::pin(self.peer.read(request))
    }

    fn write(&self, request: WriteRequest) -> BoxFuture<'_, Result<WriteAnswer, OperationError>> {
        Box::pin(self.peer.write(request))
    }

    fn resolve(&self, _map: &Map, target: &Target, object: &Object) -> Option<Resolved> {
        self.policies.resolve_read(target, object)
    }
}
