//! This is what a node does when another asks: it stores, looks, coordinates, or says what it has
//! seen.

use super::commit::Waiter;
use super::partitions::{Answer, Operation, Renewal};
use super::{Body, CallId, Frame, Lane, Origin, Output, Process, Turn, damage};
use crate::bug::Bug;
use crate::moment::Moment;
use soros_core::close::Word;
use soros_core::codec::Codec;
use soros_core::dot_set::DotSet;
use soros_core::id::NodeId;
use soros_core::message::{Refusal, Reply, Request};
use soros_core::object::Object;
use soros_core::operation::Target;
use soros_core::place::{Entry, Place};
use soros_core::read::Want;
use soros_core::replica::{Difference, Inventory, Promise, TransferKind};
use soros_core::sync::{self, StateDigest};

/// Who asks, and with which question.
type Asker = (NodeId, CallId);

pub(super) const UNREADABLE: Reply = Reply::Refused(Refusal::Unreadable);

impl Process {
    pub(super) fn reply(&mut self, turn: &mut Turn<'_>, (to, call): Asker, reply: &Reply) {
        let frame = Frame {
            from: self.me,
            call,
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
                let (clocks, skew) = (turn.clocks, turn.settings.skew_max);
                self.clock.observe(clocks, object.latest(), skew);
                let merge = Operation::Merge {
                    target,
                    object,
                    dots,
                };
                return self.submit(merge, Waiter::Peer(asker.0, asker.1));
            }
            Request::Look { target, want } => self.on_look(turn, &target, want),
            Request::Compare {
                place,
                digest,
                trusted,
            } => match self.on_compare(turn, place, digest) {
                Ok((reply, Some(seen))) => {
                    return self.remember(turn, asker, (place, seen, trusted), reply);
                }
                Ok((reply, None)) => Ok(reply),
                Err(refusal) => Err(refusal),
            },
            Request::Difference {
                place,
                dots,
                holder,
                trusted,
            } => match (self.on_difference(turn, place, &dots), holder) {
                (Ok(reply), None) => {
                    return self.remember(turn, asker, (place, dots, trusted), reply);
                }
                (reply, None) => reply,
                (reply, Some(holder)) => {
                    self.on_held(turn, place, (holder, dots));
                    reply
                }
            },
            Request::Chunk { place, kind, from } => {
                self.on_chunk(turn, (asker.0, place), kind, from.as_ref())
            }
            Request::Clock => Ok(Reply::Clock(turn.clocks.wall)),
            Request::Closing { place, ask } => {
                let closing = self.closing(turn, place, ask);
                return self.submit(closing, Waiter::Peer(asker.0, asker.1));
            }
            Request::Rely { place } => return self.promise(turn, asker, place),
            Request::Survey { .. } | Request::Authority(_) | Request::Membership(_) => {
                Err(Refusal::Unreadable)
            }
        };
        self.reply(turn, asker, &reply.unwrap_or_else(Reply::Refused));
    }

    /// Lets another replica drop its state and rely on this one's, once it is known what can be
    /// read here.
    fn promise(&mut self, turn: &mut Turn<'_>, (peer, call): Asker, place: Place) {
        let Some(inventory) = self.take_stock(turn, place) else {
            let refused = Reply::Refused(Refusal::NotServed);
            return self.reply(turn, (peer, call), &refused);
        };
        let step = Renewal::Promise { peer, inventory };
        let promise = Operation::Renewal { place, step };
        self.submit(promise, Waiter::Peer(peer, call));
    }

    fn take_stock(&mut self, turn: &mut Turn<'_>, place: Place) -> Option<Inventory> {
        let mut inventory = Inventory::new(self.partitions.shown(place)?.layout);
        while !inventory.is_over() {
            let view = self.partitions.view(place, turn.disk)?;
            let repair_bytes = turn.settings.repair_bytes;
            view.take_stock(&mut inventory, repair_bytes).ok()?;
        }
        if !inventory.unreadable().is_empty() {
            self.note_damage_shown(turn, place);
        }
        Some(inventory)
    }

    /// What is told of a promise. It names what is damaged: of all else its silence is believed.
    fn promised(turn: &Turn<'_>, promise: &Promise, trusted: bool) -> Reply {
        let mut promise = promise.clone();
        promise.holder = damage::holder(promise.holder, turn.settings.bug);
        if turn.has(Bug::UnreadablePromised) {
            promise.unreadable.clear();
        }
        Reply::Promised(promise, trusted)
    }

    pub(super) fn on_merged_for(&mut self, turn: &mut Turn<'_>, asker: Asker, answer: &Answer) {
        let reply = match answer {
            Answer::Found(found) => Reply::Stored(*found),
            Answer::Ended => Reply::Refused(Refusal::Ended),
            Answer::Unclear => Reply::Refused(Refusal::Unclear),
            Answer::Closing(answer) => Reply::Closing(answer.clone()),
            Answer::Promised(promise, trusted) => Process::promised(turn, promise, *trusted),
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

    /// What a partition here says of itself.
    fn word(&self, turn: &Turn<'_>, place: Place) -> Result<Word, Refusal> {
        let shown = self.partitions.shown(place).ok_or(Refusal::NotServed)?;
        let view = self.partitions.view(place, turn.disk);
        let mut word = view.ok_or(Refusal::NotServed)?.word(shown.actor);
        word.damaged = self.is_damaged(place);
        Ok(word)
    }

    /// The object of a key here; none when it cannot be read, or its bucket is dead: some of that
    /// may have been removed, and "nothing" would be taken for an answer by a node that does not
    /// know yet that it is dead.
    pub(super) fn look(&mut self, turn: &mut Turn<'_>, target: &Target) -> Option<Object> {
        if self.partitions.buckets().is_dead(target.bucket()) {
            return None;
        }
        let view = self.partitions.view(target.place, turn.disk)?;
        let object = view.object(&target.entry).ok();
        if object.is_none() {
            self.note_damage_shown(turn, target.place);
        }
        object
    }

    fn on_look(
        &mut self,
        turn: &mut Turn<'_>,
        target: &Target,
        want: Want,
    ) -> Result<Reply, Refusal> {
        if !self.is_believed(turn, target.place) {
            return Err(Refusal::Suspect);
        }
        let object = self.look(turn, target).ok_or(Refusal::Storage)?;
        Ok(match want {
            Want::Object => Reply::Object(object),
            Want::Digest => Reply::Digest(object.digest()),
        })
    }

    /// The reply, and what the asker has seen if that is the same.
    fn on_compare(
        &self,
        turn: &Turn<'_>,
        place: Place,
        digest: StateDigest,
    ) -> Result<(Reply, Option<DotSet>), Refusal> {
        let shown = self.partitions.shown(place).ok_or(Refusal::NotServed)?;
        let answer = sync::compare(&shown.state, digest);
        let word = self.word(turn, place)?;
        let seen = (answer == sync::Answer::Same).then(|| shown.state.clock.seen().clone());
        let reply = self.told(answer, word);
        Ok((reply, seen))
    }

    fn on_difference(
        &mut self,
        turn: &mut Turn<'_>,
        place: Place,
        other: &DotSet,
    ) -> Result<Reply, Refusal> {
        let view = self.partitions.view(place, turn.disk);
        let view = view.ok_or(Refusal::NotServed)?;
        let readable = view.difference(other, turn.settings.repair_bytes);
        if !matches!(&readable, Ok(readable) if readable.damage.is_none()) {
            self.note_damage_shown(turn, place);
        }
        let mut difference = readable.map_err(|_| Refusal::Storage)?.found;
        let shown = self.partitions.shown(place).ok_or(Refusal::NotServed)?;
        let word = self.word(turn, place)?;
        if difference == Difference::LogTooShort && turn.has(Bug::ShortLogSkipped) {
            difference = Difference::None;
        }
        let answer = sync::answer(difference, self.partitions.own(shown));
        Ok(self.told(answer, word))
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
        let chunk = if turn.has(Bug::StartClockFill) && kind == TransferKind::Clocked {
            let stored = view.chunk(TransferKind::Union, from, turn.settings.repair_bytes);
            stored.map(|chunk| self.rounds.fill_from_start((asker, place), from, chunk))
        } else {
            view.chunk(kind, from, turn.settings.repair_bytes)
        };
        if !matches!(&chunk, Ok(chunk) if chunk.damaged.is_empty()) {
            self.note_damage_shown(turn, place);
        }
        let chunk = chunk.map_err(|_| Refusal::Storage)?;
        let word = self.word(turn, place)?;
        Ok(self.told(sync::Answer::Chunk(chunk), word))
    }

    fn told(&self, answer: sync::Answer, word: Word) -> Reply {
        Reply::Sync {
            answer,
            word,
            epoch: self.partitions.buckets().epoch,
        }
    }

    /// Remembers what another replica has seen before it gets its reply.
    fn remember(
        &mut self,
        turn: &mut Turn<'_>,
        (peer, call): Asker,
        (place, seen, trusted): (Place, DotSet, bool),
        reply: Reply,
    ) {
        let others = turn.table.others_of(place, self.me);
        if !others.contains(&peer) {
            return self.reply(turn, (peer, call), &reply);
        }
        self.remembering.insert((peer, call), reply);
        let remember = Operation::Remember {
            place,
            peer,
            seen,
            trusted,
            others,
        };
        self.submit(remember, Waiter::Remembered(peer, call));
    }

    pub(super) fn on_remembered(&mut self, turn: &mut Turn<'_>, asker: Asker, answer: &Answer) {
        let Some(reply) = self.remembering.remove(&asker) else {
            return;
        };
        let reply = match answer {
            Answer::Done => reply,
            Answer::Behind => Reply::Refused(Refusal::Behind),
            _ => Reply::Refused(Refusal::Storage),
        };
        self.reply(turn, asker, &reply);
    }
}
