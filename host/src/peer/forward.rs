//! This is a client's operation at whatever node the client speaks to: coordinated here when the
//! node holds the key, else by a replica.
//!
//! A write goes to a second replica only if the first certainly did not take it: minted twice, it
//! could outlive the delete of its twin.

use super::Peer;
use super::wire::{Urgency, WireError};
use soros_core::id::NodeId;
use soros_core::message::{Refusal, Reply, Request};
use soros_core::operation::{
    OperationError, ReadAnswer, ReadRequest, Target, WriteAnswer, WriteRequest,
};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

impl Peer {
    /// Does a client's write, here or at a replica.
    ///
    /// # Errors
    /// [`OperationError`], which says whether anything may have been stored.
    pub async fn write(
        self: &Arc<Self>,
        request: WriteRequest,
    ) -> Result<WriteAnswer, OperationError> {
        let deadline = self.deadline()?;
        let replicas = self.routes(&request.target)?;
        let mut refused = OperationError::QuorumUnavailable {
            reached: 0,
            needed: 1,
        };
        for node in replicas {
            let answer = if node == self.me {
                self.coordinate_write(request.clone(), deadline).await
            } else {
                self.forward_write(node, &request, deadline).await
            };
            match answer {
                Err(error) if is_elsewhere(&error) => refused = error,
                // The other's clock is wrong; the next one's need not be.
                Err(error @ OperationError::ClockSkew { .. }) if node != self.me => refused = error,
                answer => return answer,
            }
        }
        Err(refused)
    }

    /// Does a client's read, here or at a replica.
    ///
    /// # Errors
    /// [`OperationError`] when too few replicas answer in time.
    pub async fn read(&self, request: ReadRequest) -> Result<ReadAnswer, OperationError> {
        let deadline = self.deadline()?;
        let replicas = self.routes(&request.target)?;
        let mut refused = OperationError::QuorumUnavailable {
            reached: 0,
            needed: 1,
        };
        for node in replicas {
            let answer = if node == self.me {
                self.coordinate_read(request.clone(), deadline).await
            } else {
                self.forward_read(node, &request, deadline).await
            };
            match answer {
                Err(error) if is_elsewhere(&error) => refused = error,
                answer => return answer,
            }
        }
        Err(refused)
    }

    /// Whether this node holds the key.
    #[must_use]
    pub fn holds(&self, target: &Target) -> bool {
        self.replicas_of(target).is_ok()
    }

    /// The replica to send a client to that would rather ask it itself; none when this node holds
    /// the key, or when no replica that does is known to be up.
    #[must_use]
    pub fn elsewhere(&self, target: &Target) -> Option<NodeId> {
        if self.holds(target) {
            return None;
        }
        let routes = self.routes(target).unwrap_or_default();
        routes
            .into_iter()
            .find(|node| self.wire.is_reachable(*node))
    }

    fn deadline(&self) -> Result<Instant, OperationError> {
        let map = self.map().ok_or(OperationError::NotReady)?;
        Ok(Instant::now() + Duration::from_millis(map.settings().request_timeout_ms))
    }

    /// The replicas to try in order: this node first, then those that answer, then those that do
    /// not at the moment, then those known to be down, for what is known may be old.
    pub(super) fn routes(&self, target: &Target) -> Result<Vec<NodeId>, OperationError> {
        let mut replicas = self
            .replicas_at(target.place)
            .ok_or(OperationError::NotServed)?;
        // Each key's first replica is another, so that forwarded work is spread.
        let count = replicas.len();
        if 0 < count {
            let first = target
                .key()
                .as_bytes()
                .iter()
                .map(|byte| usize::from(*byte))
                .sum::<usize>();
            replicas.rotate_left(first % count);
        }
        replicas.sort_by_key(|node| match node {
            node if *node == self.me => 0,
            node if !self.wire.is_reachable(*node) => 3,
            node if self.wire.is_silent(*node) => 2,
            _ => 1,
        });
        Ok(replicas)
    }

    async fn forward_write(
        &self,
        node: NodeId,
        request: &WriteRequest,
        deadline: Instant,
    ) -> Result<WriteAnswer, OperationError> {
        self.counters.forwarded.fetch_add(1, Ordering::Relaxed);
        let request = Request::Write(request.clone());
        match self
            .wire
            .call(node, &request, deadline, Urgency::Foreground)
            .await
        {
            Ok(Reply::Written(answer)) => answer,
            Ok(Reply::Refused(refusal)) => Err(refused(refusal)),
            Err(WireError::NotSent) => Err(NOT_TAKEN),
            Ok(_) | Err(WireError::Unknown) => Err(OperationError::OutcomeUnknown {
                reached: 0,
                needed: 1,
            }),
        }
    }

    async fn forward_read(
        &self,
        node: NodeId,
        request: &ReadRequest,
        deadline: Instant,
    ) -> Result<ReadAnswer, OperationError> {
        self.counters.forwarded.fetch_add(1, Ordering::Relaxed);
        let request = Request::Read(request.clone());
        match self
            .wire
            .call(node, &request, deadline, Urgency::Foreground)
            .await
        {
            Ok(Reply::Read(answer)) => answer,
            Ok(Reply::Refused(refusal)) => Err(refused(refusal)),
            // A read may be asked again as often as there are replicas.
            Ok(_) | Err(_) => Err(NOT_TAKEN),
        }
    }
}

/// A replica certainly did not take the request: another may be asked.
const NOT_TAKEN: OperationError = OperationError::NotReady;

fn is_elsewhere(error: &OperationError) -> bool {
    matches!(error, OperationError::NotReady | OperationError::NotServed)
}

fn refused(refusal: Refusal) -> OperationError {
    match refusal {
        Refusal::NotServed => OperationError::NotServed,
        Refusal::Suspect
        | Refusal::NotReady
        | Refusal::Unreadable
        | Refusal::Behind
        | Refusal::Ended
        | Refusal::Unclear => OperationError::NotReady,
        Refusal::Overloaded => OperationError::Overloaded,
        Refusal::DiskFull => OperationError::DiskFull,
        Refusal::Storage => OperationError::Storage,
        Refusal::TooLate => OperationError::QuorumUnavailable {
            reached: 0,
            needed: 1,
        },
    }
}
