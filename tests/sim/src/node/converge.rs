//! This is anti-entropy at work: each partition is compared with each other replica of it, over
//! and over, and what this one lacks is fetched and merged.

use super::commit::Waiter;
use super::partitions::{Answer, Operation};
use super::{Alarm, Output, Process, Silence, Task, TaskId, Turn};
use crate::bug::Bug;
use crate::moment::SECOND;
use soros_core::clock::Clock;
use soros_core::id::{Generation, NodeId};
use soros_core::message::{Refusal, Reply, Request};
use soros_core::place::{Entry, Place};
use soros_core::replica::{Chunk, TransferKind};
use soros_core::sync::{self, Effect, End, Event, Sync};
use std::collections::{BTreeMap, VecDeque};

/// How long another replica may take to answer.
const ANSWER_TIMEOUT: u64 = SECOND;

/// A round under way.
#[derive(Debug)]
pub(super) struct Round {
    machine: Sync,
    place: Place,
    /// The generation of the partition's state in which the round began.
    begun: Generation,
    /// Whether the own replica believed to be whole when the round began.
    trusted: bool,
    /// The sender's clock of the range that came last.
    last: Clock,
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
    /// The clock at the first range that was sent to a replica, for the bug that fills from it.
    starts: BTreeMap<(NodeId, Place), Clock>,
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
            self.starts.insert(to, chunk.clock.clone());
        }
        let start = self.starts.entry(to).or_insert_with(|| chunk.clock.clone());
        for (_, object) in &mut chunk.objects {
            *object = std::mem::take(object).fill(start);
        }
        chunk.kind = TransferKind::Clocked;
        chunk.clock = start.clone();
        chunk
    }
}

impl Process {
    /// Begins a pass over all partitions and all their other replicas.
    pub(super) fn on_pass(&mut self, turn: &mut Turn<'_>) {
        turn.wake(turn.settings.pass_period, Alarm::Pass);
        let places: Vec<Place> = turn.table.places_of(self.me).collect();
        for place in places {
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
                    trusted: shown.state.standing.is_trusted(),
                    last: Clock::default(),
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
            let (place, peer) = (round.place, round.machine.peer());
            let trusted = round.trusted;
            let difference = |clock, seen| Request::Difference {
                place,
                clock,
                seen,
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
                Effect::AskDifference(clock) => {
                    self.ask_peer(turn, id, peer, &difference(clock, true));
                }
                Effect::AskRest(_) if turn.has(Bug::JoinEndClock) => {
                    let last = round.last.clone();
                    self.join(turn, id, last);
                }
                Effect::AskRest(clock) if turn.has(Bug::JoinStartClockAlone) => {
                    self.join(turn, id, clock);
                }
                Effect::AskRest(clock) => {
                    self.ask_peer(turn, id, peer, &difference(clock, false));
                }
                Effect::AskChunk(kind, from) => {
                    if from.is_some() {
                        turn.outputs.push(Output::HalfWay(peer));
                    }
                    self.ask_peer(turn, id, peer, &Request::Chunk { place, kind, from });
                }
                Effect::Merge(items) => {
                    self.submit(Operation::MergeItems { place, items }, Waiter::Task(id));
                }
                Effect::MergeChunk(from, chunk) => self.merge_chunk(turn, id, from, chunk),
                Effect::Join(clock) => self.join(turn, id, clock),
            }
        }
    }

    fn merge_chunk(&mut self, turn: &mut Turn<'_>, id: TaskId, from: Option<Entry>, chunk: Chunk) {
        let Some(Task::Round(round)) = self.tasks.get_mut(&id) else {
            return;
        };
        let (place, peer) = (round.place, round.machine.peer());
        round.last = chunk.clock.clone();
        if turn.has(Bug::ClockBeforeObjects) {
            let clock = chunk.clock.clone();
            self.submit_silently(Operation::Skip { place, clock });
        }
        let merge = Operation::MergeChunk {
            place,
            peer,
            from,
            chunk,
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

    fn ask_peer(&mut self, turn: &mut Turn<'_>, id: TaskId, peer: NodeId, request: &Request) {
        let deadline = turn.now.after(ANSWER_TIMEOUT);
        let call = self.ask(turn, (Some(id), peer), request, deadline);
        turn.wake(ANSWER_TIMEOUT, Alarm::CallOver(call));
    }

    fn on_round_event(&mut self, turn: &mut Turn<'_>, id: TaskId, event: Event) {
        let Some(Task::Round(round)) = self.tasks.get_mut(&id) else {
            return;
        };
        let effects = match self.partitions.shown(round.place) {
            Some(shown) => round.machine.step(event, &shown.state),
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
            Ok(Reply::Sync(answer, trusted)) => {
                self.skip_short_log(turn, id, &answer);
                Event::Answered(answer, trusted)
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
            clock,
            ..
        } = answer
            && turn.has(Bug::ShortLogSkipped)
        {
            let clock = clock.clone();
            self.submit_silently(Operation::Skip { place, clock });
        }
    }

    pub(super) fn on_round_committed(&mut self, turn: &mut Turn<'_>, id: TaskId, answer: Answer) {
        let Some(Task::Round(round)) = self.tasks.get(&id) else {
            return;
        };
        let event = match answer {
            Answer::Reached(next) => Event::ChunkMerged(next),
            Answer::Done if round.joins => Event::Joined,
            Answer::Done => Event::Merged,
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
    }
}
