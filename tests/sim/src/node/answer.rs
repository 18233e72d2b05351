//! This is what a node does when another asks: it stores, looks, coordinates, or says what it has
//! seen.

use super::commit::Waiter;
use super::partitions::{Answer, Operation, Shown};
use super::{Body, CallId, Frame, Lane, Origin, Output, Process, Turn};
use crate::bug::Bug;
use crate::moment::Moment;
use soros_core::clock::Clock;
use soros_core::codec::Codec;
use soros_core::epoch::Epoch;
use soros_core::id::{BucketId, NodeId};
use soros_core::message::{Refusal, Reply, Request};
use soros_core::object::Object;
use soros_core::operation::Target;
use soros_core::place::{Entry, Place};
use soros_core::read::Want;
use soros_core::replica::{Difference, LiveKey, TransferKind};
use soros_core::sync::{self, Speaker, StateDigest};

/// Who asks, and with which question.
type Asker = (NodeId, CallId);

pub(super) const UNREADABLE: Reply = Reply::Refused(Refusal::Unreadable);

impl Process {
    pub(super) fn reply(&mut self, turn: &mut Turn<'_>, (to, call): Asker, reply: &Reply) {
        let frame = Frame {
            from: self.me,
            call,
            epoch: self.catalog.epoch,
            deadline: turn.now,
            lane: Lane::Other,
            body: Body::Reply(reply.to_bytes()),
        };
        turn.outputs.push(Output::Send(to, frame));
    }

    pub(super) fn on_request(
        &mut self,
        turn: &mut Turn<'_>,
        asker: Asker,
        request: Request,
        deadline: Moment,
    ) {
        let origin = Origin::Peer(asker.0, asker.1);
        let reply = match request {
            Request::Write(request) => return self.begin_write(turn, request, deadline, origin),
            Request::Read(request) => return self.begin_read(turn, request, deadline, origin),
            Request::Store { .. } if deadline <= turn.now => Err(Refusal::TooLate),
            Request::Store {
                target,
                object,
                dots,
            } => {
                let (wall, skew) = (turn.wall, turn.settings.skew_max);
                self.clock.observe(wall, object.latest(), skew);
                let merge = Operation::Merge {
                    target,
                    object,
                    dots,
                };
                return self.submit(merge, Waiter::Peer(asker.0, asker.1));
            }
            Request::Look { target, want } => self.on_look(turn, &target, want),
            Request::Compare { place, digest } => self.on_compare(turn, asker.0, place, digest),
            Request::Difference { place, clock, seen } => {
                self.on_difference(turn, (asker.0, seen), place, &clock)
            }
            Request::Chunk { place, kind, from } => {
                self.on_chunk(turn, (asker.0, place), kind, from.as_ref())
            }
            Request::Survey { .. } | Request::Authority(_) | Request::Membership(_) => {
                Err(Refusal::Unreadable)
            }
        };
        self.reply(turn, asker, &reply.unwrap_or_else(Reply::Refused));
    }

    pub(super) fn on_merged_for(&mut self, turn: &mut Turn<'_>, asker: Asker, answer: &Answer) {
        let reply = match answer {
            Answer::Found(found) => Reply::Stored(*found),
            Answer::Failed => Reply::Refused(Refusal::Storage),
            _ => Reply::Refused(Refusal::NotServed),
        };
        self.reply(turn, asker, &reply);
    }

    /// Whether the node's silence about a partition can be believed: it is not suspect and has
    /// compared clocks with another since the process started.
    pub(super) fn is_believed(&self, turn: &Turn<'_>, place: Place) -> bool {
        self.partitions.shown(place).is_some_and(|shown| {
            turn.has(Bug::SuspectAnswers) || (shown.compared && shown.state.standing.is_trusted())
        })
    }

    /// The object of a key here; none when it cannot be read, or when its bucket is dead: some of
    /// its objects may have been removed already.
    pub(super) fn look(&mut self, turn: &mut Turn<'_>, target: &Target) -> Option<Object> {
        if self.is_dead(turn, target) {
            return None;
        }
        let view = self.partitions.view(target.place, turn.disk)?;
        let object = view.object(&target.entry).ok();
        if object.is_none() {
            self.renew(turn, target.place);
        }
        object
    }

    pub(super) fn is_dead(&self, turn: &Turn<'_>, target: &Target) -> bool {
        self.partitions.buckets().is_dead(target.bucket()) && !turn.has(Bug::DeadBucketRead)
    }

    /// Whether this node holds a live key of a bucket that it takes no more writes of; none where
    /// it cannot say.
    pub fn survey(&self, turn: &Turn<'_>, bucket: BucketId, epoch: Epoch) -> Option<bool> {
        let buckets = self.partitions.buckets();
        if buckets.epoch < epoch || !buckets.closing.contains(&bucket) {
            return None;
        }
        let mut all_believed = true;
        for place in turn.table.places_of(self.me) {
            let view = self.partitions.view(place, turn.disk)?;
            let mut from = None;
            loop {
                match view.live_key(bucket, from.as_ref(), 1).ok()? {
                    LiveKey::Found => return Some(true),
                    LiveKey::NotYet(next) => from = Some(next),
                    LiveKey::None => break,
                }
            }
            all_believed &= self.is_believed(turn, place) || turn.has(Bug::SuspectSurveyed);
        }
        all_believed.then_some(false)
    }

    fn on_look(
        &mut self,
        turn: &mut Turn<'_>,
        target: &Target,
        want: Want,
    ) -> Result<Reply, Refusal> {
        if self.is_dead(turn, target) {
            return Err(Refusal::NotServed);
        }
        if !self.is_believed(turn, target.place) {
            return Err(Refusal::Suspect);
        }
        let object = self.look(turn, target).ok_or(Refusal::Storage)?;
        Ok(match want {
            Want::Object => Reply::Object(object),
            Want::Digest => Reply::Digest(object.digest()),
        })
    }

    fn on_compare(
        &mut self,
        turn: &mut Turn<'_>,
        from: NodeId,
        place: Place,
        digest: StateDigest,
    ) -> Result<Reply, Refusal> {
        let shown = self.partitions.shown(place).ok_or(Refusal::NotServed)?;
        let answer = sync::compare(&shown.state, digest);
        let speaker = self.speaker(shown);
        if answer == sync::Answer::Same {
            let clock = shown.state.clock.clone();
            self.remember(turn, from, place, clock);
        }
        Ok(Reply::Sync(answer, speaker))
    }

    fn speaker(&self, shown: &Shown) -> Speaker {
        Speaker {
            epoch: self.partitions.buckets().epoch,
            trusted: shown.state.standing.is_trusted(),
        }
    }

    fn on_difference(
        &mut self,
        turn: &mut Turn<'_>,
        (from, seen): (NodeId, bool),
        place: Place,
        other: &Clock,
    ) -> Result<Reply, Refusal> {
        let shown = self.partitions.shown(place).ok_or(Refusal::NotServed)?;
        let mut own = self.partitions.own(shown);
        own.swept |= turn.has(Bug::UnsweptSumCompared);
        let speaker = self.speaker(shown);
        let view = self.partitions.view(place, turn.disk);
        let view = view.ok_or(Refusal::NotServed)?;
        let Ok(mut difference) = view.difference(other, turn.settings.repair_bytes) else {
            self.renew(turn, place);
            return Err(Refusal::Storage);
        };
        if difference == Difference::LogTooShort && turn.has(Bug::ShortLogSkipped) {
            difference = Difference::None;
        }
        let answer = sync::answer(difference, own);
        if seen {
            self.remember(turn, from, place, other.clone());
        }
        Ok(Reply::Sync(answer, speaker))
    }

    fn on_chunk(
        &mut self,
        turn: &mut Turn<'_>,
        (asker, place): (NodeId, Place),
        kind: TransferKind,
        from: Option<&Entry>,
    ) -> Result<Reply, Refusal> {
        let view = self.partitions.view(place, turn.disk);
        let view = view.ok_or(Refusal::NotServed)?;
        let shown = self.partitions.shown(place).ok_or(Refusal::NotServed)?;
        let speaker = self.speaker(shown);
        let chunk = if turn.has(Bug::StartClockFill) && kind == TransferKind::Clocked {
            let stored = view.chunk(TransferKind::Union, from, turn.settings.repair_bytes);
            stored.map(|chunk| self.rounds.fill_from_start((asker, place), from, chunk))
        } else {
            view.chunk(kind, from, turn.settings.repair_bytes)
        };
        let Ok(chunk) = chunk else {
            self.renew(turn, place);
            return Err(Refusal::Storage);
        };
        Ok(Reply::Sync(sync::Answer::Chunk(chunk), speaker))
    }

    fn remember(&mut self, turn: &Turn<'_>, peer: NodeId, place: Place, clock: Clock) {
        let others = turn.table.others_of(place, self.me);
        if others.contains(&peer) {
            self.submit_silently(Operation::Remember {
                place,
                peer,
                clock,
                others,
            });
        }
    }
}
