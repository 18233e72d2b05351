//! This is what a node does when another asks: it stores, looks, coordinates, or says what it has
//! seen.

use super::Peer;
use super::operation::{Answer, Operation};
use super::partitions::{Moment, Renewal, Shown};
use crate::store::commit::CommitError;
use soros_core::close::Ask;
use soros_core::dot::{Actor, Dot};
use soros_core::dot_set::DotSet;
use soros_core::id::NodeId;
use soros_core::limits::REPAIR_BYTES;
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
                holder,
                trusted,
            } => {
                self.on_difference((from, trusted), place, (dots, holder))
                    .await
            }
            Request::Chunk { place, kind, from } => self.on_chunk(place, kind, from.as_ref()),
            Request::Rely { place } => self.on_rely(from, place, deadline).await,
            Request::Survey { bucket, epoch } => self.on_survey(bucket, epoch, deadline).await,
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
        let place = target.place;
        let merge = Operation::Merge {
            target,
            object,
            dots,
        };
        let life_is_known = self.life_is_known();
        match self.committer.commit(merge).await {
            Ok(Answer::Found(mut found)) => {
                found.suspect |= !life_is_known;
                Ok(Reply::Stored(found))
            }
            Ok(Answer::Ended) => Err(Refusal::Ended),
            Ok(Answer::Unclear) => {
                // The next pass hears what is closed at the sender, and the sender tries again.
                self.pauses.end_all_of(place);
                self.wake.notify_one();
                Err(Refusal::Unclear)
            }
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

    /// Whether the bucket takes writes under the map that the partitions are served under.
    fn check_open(&self, target: &Target) -> Result<(), Refusal> {
        let moment = self.moments.load();
        if moment.buckets().open.contains(&target.bucket()) {
            Ok(())
        } else {
            Err(Refusal::NotServed)
        }
    }

    fn on_look(&self, target: &Target, want: Want) -> Result<Reply, Refusal> {
        let life_is_known = self.life_is_known();
        let moment = self.moments.load();
        let shown = moment.shown(&target.place).ok_or(Refusal::NotServed)?;
        // Some of a dead bucket's objects may have been removed already: "nothing" would be taken
        // for an answer by a node that does not know yet that the bucket is dead.
        if moment.buckets().is_dead(target.bucket()) {
            return Err(Refusal::NotServed);
        }
        if !self.is_shown_believed(target.place, shown, life_is_known) {
            return Err(Refusal::Suspect);
        }
        let view = moment.view(&target.place).ok_or(Refusal::NotServed)?;
        let object = view
            .object(&target.entry)
            .map_err(|error| self.unreadable(target.place, shown, &error))?;
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
        let life_is_known = self.life_is_known();
        let moment = self.moments.load_full();
        let shown = moment.shown(&place).ok_or(Refusal::NotServed)?;
        let answer = sync::compare(&shown.state, digest);
        if answer == sync::Answer::Same {
            self.remember(from, place, shown.state.clock.seen().clone())
                .await?;
        }
        Ok(self.told(place, answer, (&moment, shown), life_is_known))
    }

    async fn on_difference(
        &self,
        from: (NodeId, bool),
        place: Place,
        (dots, holder): (DotSet, Option<Actor>),
    ) -> Result<Reply, Refusal> {
        let reply = self.difference(place, &dots)?;
        match holder {
            None => self.remember(from, place, dots).await?,
            Some(holder) => self.remember_held(from.0, place, (holder, dots)).await?,
        }
        Ok(reply)
    }

    /// Remembers what another has merged that it cannot count as seen: something was damaged here.
    /// It speaks for itself only.
    async fn remember_held(
        &self,
        peer: NodeId,
        place: Place,
        (holder, seen): (Actor, DotSet),
    ) -> Result<(), Refusal> {
        if holder.node != peer {
            return Err(Refusal::Unreadable);
        }
        if !self.others_of(place).contains(&peer) {
            return Ok(());
        }
        let Some(of) = self.damage.at(&place).and_then(|note| note.seen) else {
            return Ok(());
        };
        let step = Renewal::Held { holder, seen, of };
        let held = Operation::Renewal { place, step };
        let held = self.committer.commit(held).await;
        held.map(drop).map_err(|error| refusal(&error))
    }

    fn difference(&self, place: Place, dots: &DotSet) -> Result<Reply, Refusal> {
        let life_is_known = self.life_is_known();
        let moment = self.moments.load();
        let shown = moment.shown(&place).ok_or(Refusal::NotServed)?;
        let view = moment.view(&place).ok_or(Refusal::NotServed)?;
        let difference = view
            .difference(dots, REPAIR_BYTES)
            .map_err(|error| self.unreadable(place, shown, &error))?;
        if let Some(error) = difference.damage {
            self.unreadable(place, shown, &error);
        }
        let answer = sync::answer(difference.found, moment.own(shown));
        Ok(self.told(place, answer, (&moment, shown), life_is_known))
    }

    fn on_chunk(
        &self,
        place: Place,
        kind: TransferKind,
        from: Option<&Entry>,
    ) -> Result<Reply, Refusal> {
        let life_is_known = self.life_is_known();
        let moment = self.moments.load();
        let shown = moment.shown(&place).ok_or(Refusal::NotServed)?;
        let view = moment.view(&place).ok_or(Refusal::NotServed)?;
        let chunk = view
            .chunk(kind, from, REPAIR_BYTES)
            .map_err(|error| self.unreadable(place, shown, &error))?;
        if !chunk.damaged.is_empty() {
            self.unreadable(place, shown, &RecordError::Damaged("an object"));
        }
        let answer = sync::Answer::Chunk(chunk);
        Ok(self.told(place, answer, (&moment, shown), life_is_known))
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
    pub(super) fn unreadable(&self, place: Place, shown: &Shown, error: &RecordError) -> Refusal {
        tracing::error!(partition = %place.partition, %error, "a record could not be read");
        let seen = Some(shown.layout.generation());
        self.damage.note(place, seen, error);
        Refusal::Storage
    }

    /// An answer of anti-entropy, of a replica as it stands at a moment.
    fn told(
        &self,
        place: Place,
        answer: sync::Answer,
        (moment, shown): (&Moment, &Shown),
        life_is_known: bool,
    ) -> Reply {
        let mut word = moment.view_of(shown).word(shown.actor);
        word.damaged = self.damage.is_in(&place, shown.layout.generation());
        word.trusted &= life_is_known;
        Reply::Sync {
            answer,
            word,
            epoch: moment.buckets().epoch,
        }
    }
}

pub(super) fn refusal(error: &CommitError) -> Refusal {
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
