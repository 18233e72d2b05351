//! This is what a node does when another asks: it stores, looks, coordinates, or says what it has
//! seen.

use super::Peer;
use super::operation::{Answer, Operation};
use super::partitions::Shown;
use crate::store::commit::CommitError;
use soros_core::close::{Ask, Word};
use soros_core::dot::Dot;
use soros_core::dot_set::DotSet;
use soros_core::epoch::Epoch;
use soros_core::id::{BucketId, NodeId};
use soros_core::limits::REPAIR_BYTES;
use soros_core::map::bucket::{Bucket, BucketState};
use soros_core::message::{Refusal, Reply, Request};
use soros_core::object::Object;
use soros_core::operation::Target;
use soros_core::place::{Entry, Place};
use soros_core::read::Want;
use soros_core::record::RecordError;
use soros_core::replica::TransferKind;
use soros_core::sync::{self, StateDigest};
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
            Request::Compare {
                place,
                digest,
                trusted,
            } => self.on_compare((from, trusted), place, digest).await,
            Request::Difference {
                place,
                dots,
                seen,
                trusted,
            } => {
                self.on_difference((from, trusted), place, (dots, seen))
                    .await
            }
            Request::Chunk { place, kind, from } => self.on_chunk(place, kind, from.as_ref()),
            Request::Survey { bucket, epoch } => self.on_survey(bucket, epoch),
            Request::Clock => Ok(Reply::Clock(self.clock.machine().wall)),
            Request::Closing { place, ask } => self.on_closing(place, ask).await,
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
        self.clock.observe(object.latest());
        let merge = Operation::Merge {
            target,
            object,
            dots,
        };
        match self.committer.commit(merge).await {
            Ok(Answer::Found(found)) => Ok(Reply::Stored(found)),
            Ok(Answer::Ended) => Err(Refusal::Ended),
            Ok(Answer::Unclear) => Err(Refusal::Unclear),
            Ok(Answer::Full) => Err(Refusal::DiskFull),
            Ok(_) => Err(Refusal::NotServed),
            Err(error) => Err(refusal(&error)),
        }
    }

    async fn on_closing(&self, place: Place, ask: Ask) -> Result<Reply, Refusal> {
        match self.closing(place, ask).await {
            Ok(Answer::Closing(answer)) => Ok(Reply::Closing(answer)),
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
        if !self.is_shown_believed(target.place, shown) {
            return Err(Refusal::Suspect);
        }
        let view = moment.view(&target.place).ok_or(Refusal::NotServed)?;
        let object = view
            .object(&target.entry)
            .map_err(|error| self.unreadable(target.place, &error))?;
        Ok(match want {
            Want::Object => Reply::Object(object),
            Want::Digest => Reply::Digest(object.digest()),
        })
    }

    async fn on_compare(
        &self,
        from: (NodeId, bool),
        place: Place,
        digest: StateDigest,
    ) -> Result<Reply, Refusal> {
        let moment = self.moments.load_full();
        let shown = moment.shown(&place).ok_or(Refusal::NotServed)?;
        let answer = sync::compare(&shown.state, digest);
        if answer == sync::Answer::Same {
            self.remember(from, place, shown.state.clock.seen().clone())
                .await?;
        }
        Ok(told(answer, shown))
    }

    async fn on_difference(
        &self,
        from: (NodeId, bool),
        place: Place,
        (dots, seen): (DotSet, bool),
    ) -> Result<Reply, Refusal> {
        let reply = self.difference(place, &dots)?;
        if seen {
            self.remember(from, place, dots).await?;
        }
        Ok(reply)
    }

    fn difference(&self, place: Place, dots: &DotSet) -> Result<Reply, Refusal> {
        let moment = self.moments.load();
        let shown = moment.shown(&place).ok_or(Refusal::NotServed)?;
        let view = moment.view(&place).ok_or(Refusal::NotServed)?;
        let difference = view
            .difference(dots, REPAIR_BYTES)
            .map_err(|error| self.unreadable(place, &error))?;
        let answer = sync::answer(difference, &shown.state);
        Ok(told(answer, shown))
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
            .map_err(|error| self.unreadable(place, &error))?;
        Ok(told(sync::Answer::Chunk(chunk), shown))
    }

    /// Whether this node holds a live key of a bucket that it takes no more writes of.
    fn on_survey(&self, bucket: BucketId, epoch: Epoch) -> Result<Reply, Refusal> {
        let map = self.map().ok_or(Refusal::NotReady)?;
        let closing = |(_, bucket): (_, &Bucket)| bucket.state == BucketState::Closing;
        if map.epoch() < epoch || !map.bucket_by_id(bucket).is_some_and(closing) {
            return Err(Refusal::NotServed);
        }
        let moment = self.moments.load();
        for (place, shown) in moment.places() {
            // A suspect may have lost the very keys that are asked for.
            if !self.is_shown_believed(*place, shown) {
                return Err(Refusal::Suspect);
            }
            let view = moment.view(place).ok_or(Refusal::NotServed)?;
            if view
                .has_live_key(bucket)
                .map_err(|error| self.unreadable(*place, &error))?
            {
                return Ok(Reply::Surveyed(true));
            }
        }
        Ok(Reply::Surveyed(false))
    }

    /// Remembers what another replica has seen, so that the dot log can be cut, and that a replica
    /// that lost something is found out. It says itself whether it believes to be whole.
    async fn remember(
        &self,
        (peer, trusted): (NodeId, bool),
        place: Place,
        seen: DotSet,
    ) -> Result<(), Refusal> {
        let others = self.others_of(place);
        if !others.contains(&peer) {
            return Ok(());
        }
        let remember = Operation::Remember {
            place,
            peer,
            seen,
            trusted,
            others,
        };
        match self.committer.commit(remember).await {
            Ok(Answer::Behind) => Err(Refusal::Behind),
            Ok(_) => Ok(()),
            Err(error) => Err(refusal(&error)),
        }
    }

    /// What another is told of a partition that cannot be read.
    fn unreadable(&self, place: Place, error: &RecordError) -> Refusal {
        tracing::error!(partition = %place.partition, %error, "a record could not be read");
        self.damage.note(place, error);
        Refusal::Storage
    }
}

/// An answer of anti-entropy, of a replica that stands as it does.
fn told(answer: sync::Answer, shown: &Shown) -> Reply {
    Reply::Sync {
        answer,
        word: Word::of(shown.actor, &shown.state),
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
