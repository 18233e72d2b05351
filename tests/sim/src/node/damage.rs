//! This is what a node does about a damaged record: the partition is dropped once enough others
//! hold the rest of it, and one that cannot be opened once enough of them can fill it.

use super::converge::ANSWER_TIMEOUT;
use super::partitions::{Operation, Renewal};
use super::{Alarm, Process, SECOND, Silence, Task, TaskId, Turn};
use crate::bug::Bug;
use soros_core::dot::Actor;
use soros_core::dot_set::DotSet;
use soros_core::id::{Generation, Incarnation, NodeId};
use soros_core::message::{Reply, Request};
use soros_core::place::Place;
use soros_core::replica::{Attempt, Promise, Promises};

/// A question to all others of a partition: whether it may be dropped.
#[derive(Debug)]
pub(super) struct Inquiry {
    place: Place,
    /// None for one that cannot be opened.
    attempt: Option<Attempt>,
    /// How many have yet to answer.
    awaited: usize,
    promised: Vec<(NodeId, Promise)>,
    trusted: usize,
}

/// Which life is said to hold something: with the bug that takes all for one, none in particular.
pub(super) fn holder(life: Actor, bug: Option<Bug>) -> Actor {
    if bug == Some(Bug::EarlierLifeHolds) {
        Actor {
            incarnation: Incarnation(0),
            generation: Generation(0),
            ..life
        }
    } else {
        life
    }
}

impl Process {
    /// Takes note that a record was seen to be damaged in a generation of a partition; in none when
    /// it cannot be opened.
    pub(super) fn note_damage(
        &mut self,
        turn: &mut Turn<'_>,
        place: Place,
        seen: Option<Generation>,
    ) {
        if self.damaged.get(&place) == Some(&seen) {
            return;
        }
        self.damaged.insert(place, seen);
        if turn.has(Bug::ObjectsDroppedFirst) && seen.is_some() {
            turn.wake(SECOND / 4, Alarm::DropClock(place));
            self.submit_silently(Operation::DropObjects { place });
        } else {
            self.mend(turn, place);
        }
    }

    /// Takes note that a record of a partition that readers see is damaged.
    pub(super) fn note_damage_shown(&mut self, turn: &mut Turn<'_>, place: Place) {
        let shown = self.partitions.shown(place);
        if let Some(seen) = shown.map(|shown| shown.layout.generation()) {
            self.note_damage(turn, place, Some(seen));
        }
    }

    /// Whether a record of a partition that readers see is known to be damaged.
    #[must_use]
    pub fn is_damaged(&self, place: Place) -> bool {
        let shown = self.partitions.shown(place);
        let generation = shown.map(|shown| shown.layout.generation());
        generation.is_some() && self.damaged.get(&place) == Some(&generation)
    }

    /// Whether it asks the others whether it may drop a partition, or is about to drop it.
    #[must_use]
    pub fn is_renewing(&self, place: Place) -> bool {
        self.inquiries.contains_key(&place) || self.committer.renews(place)
    }

    /// Tries to drop a partition with a damaged record, unless that is under way.
    pub(super) fn mend(&mut self, turn: &mut Turn<'_>, place: Place) {
        if self.inquiries.contains_key(&place) {
            return;
        }
        match self.damaged.get(&place) {
            None => (),
            Some(None) if turn.has(Bug::DroppedBeforeOthersHold) => {
                self.submit_step(place, Renewal::BeginAnew);
            }
            Some(None) => self.inquire(turn, place, None),
            Some(Some(_)) if turn.has(Bug::ObjectsDroppedFirst) => (),
            Some(Some(_)) if turn.has(Bug::DroppedBeforeOthersHold) => {
                self.submit_step(place, Renewal::BeginAnew);
            }
            Some(Some(seen)) => {
                if let Some(attempt) = self.partitions.attempt_renewal(place, *seen) {
                    self.inquire(turn, place, Some(attempt));
                }
            }
        }
    }

    /// Another replica has merged all that `seen` has here, but for what is damaged.
    pub(super) fn on_held(
        &mut self,
        turn: &mut Turn<'_>,
        place: Place,
        (holder, seen): (Actor, DotSet),
    ) {
        if let Some(Some(of)) = self.damaged.get(&place).copied() {
            self.submit_step(place, Renewal::Held { holder, seen, of });
            self.mend(turn, place);
        }
    }

    fn inquire(&mut self, turn: &mut Turn<'_>, place: Place, attempt: Option<Attempt>) {
        let others = turn.table.others_of(place, self.me);
        let id = self.add(Task::Inquiry(Box::new(Inquiry {
            place,
            attempt,
            awaited: others.len(),
            promised: Vec::new(),
            trusted: 0,
        })));
        self.inquiries.insert(place, id);
        for peer in others {
            self.ask_peer(turn, id, (peer, ANSWER_TIMEOUT), &Request::Rely { place });
        }
    }

    pub(super) fn on_inquiry_reply(
        &mut self,
        turn: &mut Turn<'_>,
        (id, from): (TaskId, NodeId),
        reply: Result<Reply, Silence>,
    ) {
        let Some(Task::Inquiry(inquiry)) = self.tasks.get_mut(&id) else {
            return;
        };
        inquiry.awaited -= 1;
        if let Ok(Reply::Promised(promise, trusted)) = reply {
            inquiry.promised.push((from, promise));
            inquiry.trusted += usize::from(trusted);
        }
        if 0 < inquiry.awaited {
            return;
        }
        let Some(Task::Inquiry(inquiry)) = self.end(id) else {
            return;
        };
        let (place, quorum) = (inquiry.place, turn.table.quorum());
        self.inquiries.remove(&place);
        // What another cannot read either is taken along, which takes an own clock.
        let whole = inquiry.promised.iter();
        let whole = whole.filter(|(_, promise)| promise.unreadable.is_empty());
        let whole = whole.count();
        match inquiry.attempt {
            None if quorum.can_fill(inquiry.trusted, whole) => {
                self.submit_step(place, Renewal::BeginAnew);
            }
            None => (),
            Some(attempt) => {
                let promises = Promises {
                    attempt,
                    of: inquiry.promised,
                    quorum,
                    bytes_max: turn.settings.repair_bytes,
                };
                self.submit_step(place, Renewal::Drop { promises });
            }
        }
    }

    pub(super) fn submit_step(&mut self, place: Place, step: Renewal) {
        self.submit_silently(Operation::Renewal { place, step });
    }
}
