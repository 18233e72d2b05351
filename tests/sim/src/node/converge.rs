//! This is anti-entropy at work: each partition is compared with each other replica of it, over
//! and over, and what this one lacks is fetched and merged.

use super::commit::Waiter;
use super::partitions::{Answer, Operation};
use super::{Alarm, Output, Process, Silence, Task, TaskId, Turn, damage};
use crate::bug::Bug;
use crate::moment::SECOND;
use soros_core::clock::Clock;
use soros_core::close::{Ask, Word};
use soros_core::closed::Closed;
use soros_core::dot::Actor;
use soros_core::dot_set::DotSet;
use soros_core::id::{Generation, NodeId};
use soros_core::message::{Refusal, Reply, Request};
use soros_core::place::{Entry, Place};
use soros_core::replica::{Chunk, TransferKind};
use soros_core::sync::{self, Effect, End, Event, Speaker, Sync};
use std::collections::{BTreeMap, VecDeque};

/// How long another replica may take to answer.
pub(super) const ANSWER_TIMEOUT: u64 = SECOND;

/// A round under way.
#[derive(Debug)]
pub(super) struct Round {
    machine: Sync,
    place: Place,
    /// The generation of the partition's state in which the round began.
    begun: Generation,
    /// The life of the own replica in which it began.
    holder: Actor,
    /// Whether the own replica believed to be whole when the round began.
    trusted: bool,
    /// What the sender had seen at the range that came last.
    last: DotSet,
    /// What the sender has closed.
    closed: Closed,
    joins: bool,
}

/// The rounds that are to come: for each partition, with whom.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    left: BTreeMap<Place, VecDeque<NodeId>>,
    /// Partitions with a round under way.
    running: BTreeMap<Place, TaskId>,
    /// Full transfers that broke and can go on.
    broken: BTreeMap<(Place, NodeId), Box<Round>>,
    /// What the other replicas say of themselves, as far as was heard.
    heard: BTreeMap<Place, BTreeMap<NodeId, Word>>,
    /// What was seen at the first range that was sent to a replica, for the bug that fills from it.
    starts: BTreeMap<(NodeId, Place), DotSet>,
}

impl Rounds {
    /// A range as the bug that fills from the clock of the first one sends it.
    pub(super) fn fill_from_start(
        &mut self,
        to: (NodeId, Place),
        from: Option<&Entry>,
        mut chunk: Chunk,
    ) -> Chunk {
        if from.is_none() {
            self.starts.insert(to, chunk.seen.clone());
        }
        let start = self.starts.entry(to).or_insert_with(|| chunk.seen.clone());
        for (_, object) in &mut chunk.objects {
            object.context.join_bases(start);
        }
        chunk.kind = TransferKind::Clocked;
        chunk.seen = start.clone();
        chunk
    }

    /// What the other replicas of a partition say of themselves, as far as was heard.
    pub(super) fn heard(&self, place: Place) -> BTreeMap<NodeId, Word> {
        self.heard.get(&place).cloned().unwrap_or_default()
    }
}

impl Process {
    /// Begins a pass over all partitions and all their other replicas.
    pub(super) fn on_pass(&mut self, turn: &mut Turn<'_>) {
        turn.wake(turn.settings.pass_period, Alarm::Pass);
        let places: Vec<Place> = turn.table.places_of(self.me).collect();
        for place in places {
            self.mend(turn, place);
            let shown = self.partitions.shown(place);
            if shown.is_some_and(|shown| shown.needs_sweep) {
                self.submit_silently(Operation::Sweep { place });
            }
            let left = self.rounds.left.entry(place).or_default();
            if left.is_empty() {
                let mut others = turn.table.others_of(place, self.me);
                let first = turn.random.index(others.len().max(1));
                others.rotate_left(first);
                left.extend(others);
            }
            self.begin_round(turn, place);
        }
    }

    /// Begins a round with one replica of a partition, and with no other after it.
    pub fn compare_with(&mut self, turn: &mut Turn<'_>, place: Place, peer: NodeId) {
        self.rounds.left.insert(place, VecDeque::from([peer]));
        self.begin_round(turn, place);
        self.pump(turn);
    }

    /// Whether a round of anti-entropy is under way.
    #[must_use]
    pub fn is_comparing(&self) -> bool {
        !self.rounds.running.is_empty()
    }

    /// Cuts the dot logs of partitions, whoever may need them.
    pub fn cut_logs(&mut self, turn: &mut Turn<'_>, places: &[Place]) {
        for place in places {
            self.submit_silently(Operation::CutLog { place: *place });
        }
        self.pump(turn);
    }

    fn begin_round(&mut self, turn: &mut Turn<'_>, place: Place) {
        if self.rounds.running.contains_key(&place) {
            return;
        }
        let Some(shown) = self.partitions.shown(place) else {
            return;
        };
        let Some(peer) = self
            .rounds
            .left
            .get_mut(&place)
            .and_then(VecDeque::pop_front)
        else {
            return;
        };
        let begun = shown.layout.generation();
        let (round, effects) = match self.rounds.broken.remove(&(place, peer)) {
            Some(mut round) if round.begun == begun => {
                round.trusted = shown.state.standing.is_trusted();
                let effects = round.machine.resume();
                (round, effects)
            }
            _ => {
                let (machine, effects) = Sync::new(peer, &shown.state);
                let round = Round {
                    machine,
                    place,
                    begun,
                    holder: shown.actor,
                    trusted: shown.state.standing.is_trusted(),
                    last: DotSet::default(),
                    closed: Closed::default(),
                    joins: false,
                };
                (Box::new(round), effects)
            }
        };
        let id = self.add(Task::Round(round));
        self.rounds.running.insert(place, id);
        self.carry_out_round(turn, id, effects);
    }

    fn carry_out_round(&mut self, turn: &mut Turn<'_>, id: TaskId, effects: Vec<Effect>) {
        for effect in effects {
            let Some(Task::Round(round)) = self.tasks.get(&id) else {
                return;
            };
            let (place, peer) = (round.place, (round.machine.peer(), ANSWER_TIMEOUT));
            let trusted = round.trusted;
            let difference = |dots, holder| Request::Difference {
                place,
                dots,
                holder,
                trusted,
            };
            match effect {
                Effect::Alarm => turn.outputs.push(Output::SumAlarm(place)),
                Effect::End(end) => self.end_round(turn, id, end),
                Effect::Compare(digest) => {
                    let compare = Request::Compare {
                        place,
                        digest,
                        trusted,
                    };
                    self.ask_peer(turn, id, peer, &compare);
                }
                Effect::AskDifference(dots) => {
                    self.ask_peer(turn, id, peer, &difference(dots, None));
                }
                Effect::AskRest(_) if turn.has(Bug::JoinEndClock) => {
                    let last = round.last.clone();
                    self.join_seen(turn, id, last);
                }
                Effect::AskRest(dots) if turn.has(Bug::JoinStartClockAlone) => {
                    self.join_seen(turn, id, dots);
                }
                Effect::AskRest(dots) => {
                    let holder = Some(damage::holder(round.holder, turn.settings.bug));
                    self.ask_peer(turn, id, peer, &difference(dots, holder));
                }
                Effect::AskChunk(kind, from) => {
                    if from.is_some() {
                        turn.outputs.push(Output::HalfWay(peer.0));
                    }
                    self.ask_peer(turn, id, peer, &Request::Chunk { place, kind, from });
                }
                Effect::Learn(lists) => {
                    self.submit(Operation::Learn { place, lists }, Waiter::Task(id));
                }
                Effect::Agree(settled) => self.agree(turn, id, (place, peer.0), settled),
                Effect::Merge(items) => {
                    self.submit(Operation::MergeItems { place, items }, Waiter::Task(id));
                }
                Effect::Close(after, steps) => {
                    let taken = |step| self.carelessly(turn, place, step, &[Bug::ClosedOnHearsay]);
                    let close = Operation::Close {
                        place,
                        after,
                        steps: steps.into_iter().map(taken).collect(),
                    };
                    self.submit(close, Waiter::Task(id));
                }
                Effect::MergeChunk(from, chunk, closed) => {
                    self.merge_chunk(turn, id, from, (chunk, closed));
                }
                Effect::Join(clock) => self.join(turn, id, clock),
            }
        }
    }

    fn agree(
        &mut self,
        turn: &Turn<'_>,
        id: TaskId,
        (place, peer): (Place, NodeId),
        settled: bool,
    ) {
        let agree = Operation::Agree {
            place,
            peer,
            settled,
            replicas: turn.table.quorum().replicas,
        };
        self.submit(agree, Waiter::Task(id));
    }

    fn merge_chunk(
        &mut self,
        turn: &mut Turn<'_>,
        id: TaskId,
        from: Option<Entry>,
        (chunk, closed): (Chunk, Closed),
    ) {
        let Some(Task::Round(round)) = self.tasks.get_mut(&id) else {
            return;
        };
        let (place, peer) = (round.place, round.machine.peer());
        round.last = chunk.seen.clone();
        round.closed = closed.clone();
        if turn.has(Bug::ClockBeforeObjects) {
            let seen = chunk.seen.clone();
            self.submit_silently(Operation::Skip { place, seen });
        }
        let merge = Operation::MergeChunk {
            place,
            peer,
            from,
            chunk,
            closed,
        };
        self.submit(merge, Waiter::Task(id));
    }

    fn join(&mut self, turn: &mut Turn<'_>, id: TaskId, clock: Clock) {
        if let Some(Task::Round(round)) = self.tasks.get_mut(&id) {
            round.joins = true;
            let (place, peer) = (round.place, round.machine.peer());
            turn.outputs.push(Output::Transferred(place));
            let join = Operation::Join { place, peer, clock };
            self.submit(join, Waiter::Task(id));
        }
    }

    /// The bugs that join what they should not.
    fn join_seen(&mut self, turn: &mut Turn<'_>, id: TaskId, seen: DotSet) {
        let Some(Task::Round(round)) = self.tasks.get(&id) else {
            return;
        };
        match Clock::of(seen, round.closed.clone()) {
            Some(clock) => self.join(turn, id, clock),
            None => self.on_round_event(turn, id, Event::Failed),
        }
    }

    /// Asks another replica, and waits for its answer as long as that.
    pub(super) fn ask_peer(
        &mut self,
        turn: &mut Turn<'_>,
        id: TaskId,
        (peer, patience): (NodeId, u64),
        request: &Request,
    ) {
        let deadline = turn.now.after(patience);
        let call = self.ask(turn, (Some(id), peer), request, deadline);
        turn.wake(patience, Alarm::CallOver(call));
    }

    fn on_round_event(&mut self, turn: &mut Turn<'_>, id: TaskId, event: Event) {
        let Some(Task::Round(round)) = self.tasks.get_mut(&id) else {
            return;
        };
        let effects = match self.partitions.shown(round.place) {
            Some(shown) => {
                let own = self.partitions.own(shown);
                round.machine.step(event, own)
            }
            None => vec![Effect::End(End::Broken)],
        };
        self.carry_out_round(turn, id, effects);
    }

    pub(super) fn on_round_reply(
        &mut self,
        turn: &mut Turn<'_>,
        id: TaskId,
        reply: Result<Reply, Silence>,
    ) {
        let event = match reply {
            Ok(Reply::Sync {
                answer,
                word,
                epoch,
            }) => {
                let speaker = Speaker {
                    epoch,
                    trusted: word.trusted,
                    damaged: word.damaged && !turn.has(Bug::DamagedBelieved),
                };
                if let Some(Task::Round(round)) = self.tasks.get(&id) {
                    let place = round.place;
                    let shown = self.partitions.shown(place);
                    let ended = shown.map(|shown| shown.state.yet_to_refuse(&word.refused));
                    if let Some(ended) = ended.filter(|ended| !ended.is_empty())
                        && !turn.has(Bug::RefusedUnheard)
                    {
                        let ask = Ask::Refuse(ended);
                        self.submit_silently(Operation::Closing { place, ask });
                    }
                    let heard = self.rounds.heard.entry(place).or_default();
                    heard.insert(word.actor.node, word);
                }
                self.skip_short_log(turn, id, &answer);
                Event::Answered(answer, speaker)
            }
            Ok(Reply::Refused(Refusal::Behind)) => {
                if let Some(Task::Round(round)) = self.tasks.get(&id) {
                    self.submit_silently(Operation::Doubt { place: round.place });
                }
                Event::Failed
            }
            Ok(_) | Err(_) => Event::Failed,
        };
        self.on_round_event(turn, id, event);
    }

    /// The bug that counts the dots of a cut log as seen.
    fn skip_short_log(&mut self, turn: &Turn<'_>, id: TaskId, answer: &sync::Answer) {
        let Some(Task::Round(round)) = self.tasks.get(&id) else {
            return;
        };
        let place = round.place;
        if let sync::Answer::Difference {
            difference: soros_core::replica::Difference::None,
            seen,
            ..
        } = answer
            && turn.has(Bug::ShortLogSkipped)
        {
            let seen = seen.clone();
            self.submit_silently(Operation::Skip { place, seen });
        }
    }

    pub(super) fn on_round_committed(&mut self, turn: &mut Turn<'_>, id: TaskId, answer: Answer) {
        let Some(Task::Round(round)) = self.tasks.get(&id) else {
            return;
        };
        let event = match answer {
            Answer::Reached(next) => Event::ChunkMerged(next),
            Answer::Closed(closed) => Event::Closed(closed),
            Answer::Done if round.joins => Event::Joined,
            Answer::Done => Event::Merged,
            Answer::Partly => Event::MergedPartly,
            _ => Event::Failed,
        };
        self.on_round_event(turn, id, event);
    }

    fn end_round(&mut self, turn: &mut Turn<'_>, id: TaskId, end: End) {
        let Some(Task::Round(round)) = self.end(id) else {
            return;
        };
        let (place, begun, peer) = (round.place, round.begun, round.machine.peer());
        self.rounds.running.remove(&place);
        let shown = self.partitions.shown(place);
        let settled = |trusted: bool| {
            shown.is_some_and(|shown| {
                shown.state.standing.is_trusted() && (shown.compared || !trusted)
            })
        };
        if let End::Merged { trusted } = end
            && !settled(trusted)
        {
            let quorum = turn.table.quorum();
            self.submit_silently(Operation::Merged {
                place,
                begun,
                peer,
                trusted,
                quorum,
            });
        }
        // A join that failed is not tried again: a bug joins where the machine would ask on.
        if end == End::Broken && round.machine.is_resumable() && !round.joins {
            self.rounds.broken.insert((place, peer), round);
        }
        self.begin_round(turn, place);
        if !self.rounds.running.contains_key(&place) {
            self.begin_closing(turn, place);
        }
    }
}
