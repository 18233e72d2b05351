//! This is the closing of actors at work: the leader of a partition's replicas tries it after each
//! pass of anti-entropy, and every replica answers.

use super::commit::Waiter;
use super::partitions::{Answer, Operation};
use super::{Asked, Output, Process, Silence, Task, TaskId, Turn};
use crate::bug::Bug;
use crate::disk::Overlay;
use crate::moment::SECOND;
use soros_core::clock::Clock;
use soros_core::close::{self, Ask, Close, Effect, Event};
use soros_core::closed::{Closed, Closing};
use soros_core::dot::Actor;
use soros_core::dot_set::{Counters, DotSet};
use soros_core::id::{Incarnation, NodeId};
use soros_core::message::{Reply, Request};
use soros_core::object::Object;
use soros_core::place::Place;
use soros_core::record::Batch;
use soros_core::replica::{Held, Replica, Standing};
use std::collections::VecDeque;

/// How long a replica may take to answer: it syncs first.
const PATIENCE: u64 = 3 * SECOND;

/// An attempt under way.
pub(super) struct ClosingTask {
    machine: Close,
    place: Place,
    /// What the first that answered holds, for the bugs that believe that all hold that.
    first: Option<Vec<Counters>>,
}

impl Process {
    /// Tries to close what has ended, if this node leads, all others can be reached, and there is
    /// something to close.
    pub(super) fn begin_closing(&mut self, turn: &mut Turn<'_>, place: Place) {
        let replicas = turn.table.replicas_of(place).to_vec();
        let others = turn.table.others_of(place, self.me);
        let ready = close::leader(&replicas) == Some(self.me)
            && !self.closing.contains(&place)
            && self.is_believed(turn, place)
            && others.iter().all(|node| self.is_reachable(turn, *node));
        if !ready {
            return;
        }
        let candidates = self.closing_candidates(turn, place, &replicas);
        if candidates.is_empty() {
            return;
        }
        let (machine, effects) = Close::new(self.me, &replicas, candidates);
        let first = None;
        let task = ClosingTask {
            machine,
            place,
            first,
        };
        let id = self.add(Task::Closing(Box::new(task)));
        self.closing.insert(place);
        self.carry_out_closing(turn, id, effects);
    }

    fn closing_candidates(
        &mut self,
        turn: &mut Turn<'_>,
        place: Place,
        replicas: &[NodeId],
    ) -> Vec<Actor> {
        let Some(shown) = self.partitions.shown(place).cloned() else {
            return Vec::new();
        };
        let view = self.partitions.view(place, turn.disk);
        let found = view.map(|view| (view.open_actors(), view.word(shown.actor)));
        let Some((Ok(open), mut own)) = found else {
            self.note_damage_shown(turn, place);
            return Vec::new();
        };
        if turn.has(Bug::ClosedWhileLiving) {
            return open.into_iter().collect();
        }
        let mut heard = self.rounds.heard(place);
        own.damaged = self.is_damaged(place);
        heard.insert(self.me, own);
        close::candidates(open, &shown.state, replicas, &heard)
    }

    fn carry_out_closing(&mut self, turn: &mut Turn<'_>, id: TaskId, effects: Vec<Effect>) {
        let mut effects = VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            let Some(Task::Closing(task)) = self.tasks.get(&id) else {
                return;
            };
            let place = task.place;
            match effect {
                // The bug that does not ask.
                Effect::Ask(node, Ask::Ended(actors)) if turn.has(Bug::ClosedWhileLiving) => {
                    let event = Event::Answered(node, close::Answer::Ended(actors));
                    effects.extend(self.step_closing(turn, id, event));
                }
                Effect::Ask(node, ask) if node == self.me => {
                    let closing = self.closing(turn, place, ask);
                    self.submit(closing, Waiter::Task(id));
                }
                Effect::Ask(node, ask) => {
                    let request = Request::Closing { place, ask };
                    self.ask_peer(turn, id, (node, PATIENCE), &request);
                }
                Effect::End(closed) => return self.end_closing(turn, id, closed),
            }
        }
    }

    fn end_closing(&mut self, turn: &mut Turn<'_>, id: TaskId, closed: usize) {
        if let Some(Task::Closing(task)) = self.end(id) {
            self.closing.remove(&task.place);
            if 0 < closed {
                turn.outputs.push(Output::Closed(task.place, closed));
            }
        }
    }

    fn step_closing(&mut self, turn: &Turn<'_>, id: TaskId, mut event: Event) -> Vec<Effect> {
        let Some(Task::Closing(task)) = self.tasks.get_mut(&id) else {
            return Vec::new();
        };
        if let Event::Answered(_, close::Answer::Held(held)) = &mut event {
            task.misjudge(held, turn.settings.bug);
        }
        task.machine.step(event)
    }

    fn on_closing_event(&mut self, turn: &mut Turn<'_>, id: TaskId, event: Event) {
        let effects = self.step_closing(turn, id, event);
        self.carry_out_closing(turn, id, effects);
    }

    pub(super) fn on_closing_reply(
        &mut self,
        turn: &mut Turn<'_>,
        asked: Asked,
        reply: Result<Reply, Silence>,
    ) {
        let node = asked.to;
        let event = match reply {
            Ok(Reply::Closing(answer)) => Event::Answered(node, answer),
            Ok(_) | Err(_) => Event::Failed(node),
        };
        self.on_closing_event(turn, asked.task, event);
    }

    pub(super) fn on_closing_committed(&mut self, turn: &mut Turn<'_>, id: TaskId, answer: Answer) {
        let event = match answer {
            Answer::Closing(answer) => Event::Answered(self.me, answer),
            _ => Event::Failed(self.me),
        };
        self.on_closing_event(turn, id, event);
    }

    /// A step as it is taken when `bugs` are planted: whatever was seen here, as if that was what
    /// all had.
    pub(super) fn carelessly(
        &self,
        turn: &Turn<'_>,
        place: Place,
        step: Closing,
        bugs: &[Bug],
    ) -> Closing {
        match self.partitions.shown(place) {
            Some(shown) if bugs.iter().any(|bug| turn.has(*bug)) => {
                let seen = shown.state.clock.seen();
                Closing::new(step.iter().map(|(actor, _)| (*actor, seen.of_actor(actor))))
            }
            Some(_) | None => step,
        }
    }

    /// What the leader asks, as this node does it.
    pub(super) fn closing(&self, turn: &Turn<'_>, place: Place, ask: Ask) -> Operation {
        let ask = match ask {
            Ask::Close(after, step) => {
                Ask::Close(after, self.carelessly(turn, place, step, &CARELESS))
            }
            ask => ask,
        };
        Operation::Closing { place, ask }
    }
}

/// The bugs with which a replica does not see whether it holds what all hold.
const CARELESS: [Bug; 3] = [
    Bug::ClosedBeforeRefused,
    Bug::ClosedUnequal,
    Bug::ClosedWithSuspect,
];

impl ClosingTask {
    /// What a replica holds, as the bugs that compare too little take it.
    fn misjudge(&mut self, held: &mut Held, bug: Option<Bug>) {
        let first = self.first.get_or_insert_with(|| held.seen.clone());
        match bug {
            Some(Bug::ClosedUnequal) => held.seen.clone_from(first),
            Some(Bug::ClosedWithSuspect) if !held.trusted => {
                held.trusted = true;
                held.seen.clone_from(first);
            }
            _ => (),
        }
    }
}

/// Answers the leader; with the bugs that do not refuse, or refuse whom they should not.
pub(super) fn answer(
    replica: &mut Replica,
    ask: &Ask,
    compared: bool,
    bug: Option<Bug>,
) -> Option<close::Answer> {
    match (ask, bug) {
        (Ask::Refuse(_), Some(Bug::ClosedBeforeRefused)) => replica.clone().answer(ask, compared),
        (Ask::Refuse(actors), Some(Bug::ClosedWhileLiving)) => {
            let clock = &replica.state().clock;
            Some(close::Answer::Held(Held {
                trusted: true,
                name: clock.closed().name(),
                seen: actors
                    .iter()
                    .map(|actor| clock.seen().of_actor(actor))
                    .collect(),
            }))
        }
        _ => replica.answer(ask, compared),
    }
}

/// An object as it is read: with the bugs that make too much, or nothing, of the list of closed
/// actors that its context names.
pub(super) fn misread(closed: &Closed, mut object: Object, bug: Option<Bug>) -> Object {
    match (bug, closed.name()) {
        (Some(Bug::SilenceIsClosed), Some(name)) => object.context.add(name.dot(1)),
        (Some(Bug::UnknownListIgnored), _) => {
            let is_known = |name: &Actor| closed.since(Some(*name)).after.is_some();
            let mut known = DotSet::default();
            for (actor, start, end) in object.context.minus(&DotSet::default()) {
                if !actor.is_name() || is_known(&actor) {
                    known.add_range(actor, start, end);
                }
            }
            object.context = known;
        }
        _ => (),
    }
    object
}

/// Forgets the actors that are closed: the clock record begins anew without them.
pub(super) fn forget_actors(batch: &mut Overlay<'_>, place: Place) {
    let life = (NodeId(0), Incarnation(0));
    let Ok(replica) = Replica::open(batch, place, life, Standing::suspect()) else {
        return;
    };
    let mut state = replica.state().clone();
    let steps = state.clock.closed().steps().len();
    let mut clock = Clock::default();
    for (actor, start, end) in state.clock.seen().minus(&DotSet::default()) {
        (start..=end).for_each(|counter| clock.add(actor.dot(counter)));
    }
    state.clock = clock;
    if 0 < steps {
        for number in (0..).take(steps) {
            batch.remove(replica.layout().closed(number));
        }
        batch.put(replica.layout().clock(), state.to_record());
    }
}
