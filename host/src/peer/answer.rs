//! This is what a node does when another asks: it stores, looks, coordinates, or says what it has
//! seen.

use super::Peer;
use super::partitions::{Answer, Moment, Operation, Shown};
use crate::store::commit::CommitError;
use soros_core::clock::Clock;
use soros_core::dot::Dot;
use soros_core::id::NodeId;
use soros_core::limits::REPAIR_BYTES;
use soros_core::map::bucket::BucketState;
use soros_core::message::{Refusal, Reply, Request};
use soros_core::object::Object;
use soros_core::operation::Target;
use soros_core::place::{Entry, Place};
use soros_core::read::Want;
use soros_core::record::RecordError;
use soros_core::replica::TransferKind;
use soros_core::sync::{self, Speaker, StateDigest};
use std::sync::Arc;
use std::time::Instant;

impl Peer {
    /// Answers a request of `from`. Messages of the authority and of the membership protocol are
    /// not the peer's to answer.
    pub async fn answer(
        self: &Arc<Self>,
        from: NodeId,
        request: Request,
        deadline: Instant,
    ) -> Reply {
        let reply = match request {
            Request::Store {
                target,
                object,
                dots,
            } => self.on_store(target, object, dots, deadline).await,
            Request::Look { target, want } => self.on_look(&target, want),
            Request::Write(request) => Ok(Reply::Written(
                self.coordinate_write(request, deadline).await,
            )),
            Request::Read(request) => {
                Ok(Reply::Read(self.coordinate_read(request, deadline).await))
            }
            Request::Compare { place, digest } => self.on_compare(from, place, digest),
            Request::Difference { place, clock, seen } => {
                self.on_difference((from, seen), place, clock)
            }
            Request::Chunk { place, kind, from } => self.on_chunk(place, kind, from.as_ref()),
            Request::Survey { bucket, epoch } => self.on_survey(bucket, epoch, deadline).await,
            Request::Authority(_) | Request::Membership(_) => Err(Refusal::Unreadable),
        };
        reply.unwrap_or_else(Reply::Refused)
    }

    async fn on_store(
        &self,
        target: Target,
        object: Object,
        dots: Vec<Dot>,
        deadline: Instant,
    ) -> Result<Reply, Refusal> {
        self.check_open(&target)?;
        if deadline <= Instant::now() {
            return Err(Refusal::TooLate);
        }
        self.observe(&object);
        let merge = Operation::Merge {
            target,
            object,
            dots,
        };
        match self.committer.commit(merge).await {
            Ok(Answer::Found(found)) => Ok(Reply::Stored(found)),
            Ok(_) => Err(Refusal::NotServed),
            Err(error) => Err(refusal(&error)),
        }
    }

    /// Whether the bucket takes writes under this node's map.
    fn check_open(&self, target: &Target) -> Result<(), Refusal> {
        let map = self.map().ok_or(Refusal::NotReady)?;
        match map.bucket_by_id(target.bucket()) {
            Some((_, bucket)) if bucket.state == BucketState::Open => Ok(()),
            Some(_) | None => Err(Refusal::NotServed),
        }
    }

    fn on_look(&self, target: &Target, want: Want) -> Result<Reply, Refusal> {
        let moment = self.moments.load();
        let shown = moment.shown(&target.place).ok_or(Refusal::NotServed)?;
        // Some of a dead bucket's objects may have been removed already: "nothing" would be taken
        // for an answer by a node that does not know yet that the bucket is dead.
        if moment.buckets().is_dead(target.bucket()) {
            return Err(Refusal::NotServed);
        }
        if !self.is_shown_believed(target.place, shown) {
            return Err(Refusal::Suspect);
        }
        let view = moment.view(&target.place).ok_or(Refusal::NotServed)?;
        let object = view
            .object(&target.entry)
            .map_err(|error| unreadable(&error))?;
        Ok(match want {
            Want::Object => Reply::Object(object),
            Want::Digest => Reply::Digest(object.digest()),
        })
    }

    fn on_compare(
        &self,
        from: NodeId,
        place: Place,
        digest: StateDigest,
    ) -> Result<Reply, Refusal> {
        let moment = self.moments.load();
        let shown = moment.shown(&place).ok_or(Refusal::NotServed)?;
        let answer = sync::compare(&shown.state, digest);
        if answer == sync::Answer::Same {
            self.remember(from, place, shown.state.clock.clone());
        }
        Ok(Reply::Sync(answer, speaker(&moment, shown)))
    }

    fn on_difference(
        &self,
        (from, seen): (NodeId, bool),
        place: Place,
        clock: Clock,
    ) -> Result<Reply, Refusal> {
        let moment = self.moments.load();
        let shown = moment.shown(&place).ok_or(Refusal::NotServed)?;
        let view = moment.view(&place).ok_or(Refusal::NotServed)?;
        let difference = view
            .difference(&clock, REPAIR_BYTES)
            .map_err(|error| unreadable(&error))?;
        if seen {
            self.remember(from, place, clock);
        }
        let answer = sync::answer(difference, moment.own(shown));
        Ok(Reply::Sync(answer, speaker(&moment, shown)))
    }

    fn on_chunk(
        &self,
        place: Place,
        kind: TransferKind,
        from: Option<&Entry>,
    ) -> Result<Reply, Refusal> {
        let moment = self.moments.load();
        let shown = moment.shown(&place).ok_or(Refusal::NotServed)?;
        let view = moment.view(&place).ok_or(Refusal::NotServed)?;
        let chunk = view
            .chunk(kind, from, REPAIR_BYTES)
            .map_err(|error| unreadable(&error))?;
        let answer = sync::Answer::Chunk(chunk);
        Ok(Reply::Sync(answer, speaker(&moment, shown)))
    }

    /// Remembers what another replica has seen, so that the dot log can be cut.
    fn remember(&self, peer: NodeId, place: Place, clock: Clock) {
        let others = self.others_of(place);
        if !others.contains(&peer) {
            return;
        }
        let remember = Operation::Remember {
            place,
            peer,
            clock,
            others,
        };
        if let Err(error) = self.committer.submit(remember) {
            tracing::debug!(%error, "a peer's clock was not remembered this time");
        }
    }

    /// Moves the clock on with the times of what another node wrote.
    fn observe(&self, object: &Object) {
        if let Some(map) = self.map() {
            let skew = std::time::Duration::from_millis(map.settings().max_clock_skew_ms);
            self.clock.observe(object.latest(), skew);
        }
    }
}

/// Who answers from a partition at a moment.
fn speaker(moment: &Moment, shown: &Shown) -> Speaker {
    Speaker {
        epoch: moment.buckets().epoch,
        trusted: shown.state.standing.is_trusted(),
    }
}

fn refusal(error: &CommitError) -> Refusal {
    match error {
        CommitError::Busy => Refusal::Overloaded,
        CommitError::Closed => Refusal::NotReady,
        CommitError::Full => Refusal::DiskFull,
        CommitError::Unreadable(_)
        | CommitError::Unknown(_)
        | CommitError::Unavailable(_)
        | CommitError::Lost => Refusal::Storage,
    }
}

pub(super) fn unreadable(error: &RecordError) -> Refusal {
    tracing::error!(%error, "a record could not be read");
    Refusal::Storage
}
