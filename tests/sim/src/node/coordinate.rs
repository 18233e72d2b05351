//! This is where a replica coordinates a client's operation: the core's machines decide, and their
//! effects are carried out here.

use super::commit::Waiter;
use super::partitions::{Answer, Operation, Shown};
use super::{Alarm, Asked, Origin, Process, Silence, Task, TaskId, Told, Turn};
use super::{closing, policies, resolver};
use crate::bug::Bug;
use crate::ledger::Fate;
use crate::moment::{MILLI, Moment, SECOND};
use crate::table::Bucket;
use soros_core::dot::Dot;
use soros_core::dot_set::DotSet;
use soros_core::id::NodeId;
use soros_core::message::{Refusal, Reply, Request};
use soros_core::object::{Object, Version};
use soros_core::operation::{
    Consistency, OperationError, ReadRequest, Target, WriteAnswer, WriteRequest,
};
use soros_core::read::{self, Read, Want};
use soros_core::replica::{Outcome, Standing, State};
use soros_core::time::Time;
use soros_core::write::{self, Coordination, Resolution, Resolved, Store, Write};
use std::collections::{BTreeSet, VecDeque};

/// A write under way.
pub(super) struct WriteTask {
    machine: Write,
    target: Target,
    origin: Origin,
    deadline: Moment,
    /// What the object had seen when it was stored, for the bug that tells it.
    wide: DotSet,
    /// What was minted, for the bug that holds it for stored.
    minted: Vec<Dot>,
    /// The call of the policy whose answer is to be stored, and the one whose answer is being
    /// stored.
    answered: Option<usize>,
    storing: Option<usize>,
}

/// A read under way.
pub(super) struct ReadTask {
    machine: Read,
    target: Target,
    origin: Origin,
    deadline: Moment,
}

/// How long a replica may take before another one is asked, too.
const HEDGE: u64 = 30 * MILLI;
/// How long what was not clear has to become so before it is tried again.
const AGAIN: u64 = 20 * MILLI;
/// How long a repair behind a read may take.
const REPAIR: u64 = 10 * SECOND;

impl Process {
    pub(super) fn begin_write(
        &mut self,
        turn: &mut Turn<'_>,
        request: WriteRequest,
        deadline: Moment,
        origin: Origin,
    ) {
        let with = match self.coordination(turn, &request) {
            Ok(with) => with,
            Err(error) => return self.tell(turn, origin, Told::Written(Err(error))),
        };
        let target = request.target.clone();
        let (machine, effects) = Write::new(request, with);
        let task = WriteTask {
            machine,
            target,
            origin,
            deadline,
            wide: DotSet::default(),
            minted: Vec::new(),
            answered: None,
            storing: None,
        };
        let id = self.add(Task::Write(Box::new(task)));
        turn.wake(deadline.0.saturating_sub(turn.now.0), Alarm::Expired(id));
        self.carry_out_write(turn, id, effects);
    }

    fn coordination(
        &self,
        turn: &Turn<'_>,
        request: &WriteRequest,
    ) -> Result<Coordination, OperationError> {
        let place = request.target.place;
        let replicas = turn.table.replicas_of(place).to_vec();
        if !replicas.contains(&self.me) || self.partitions.shown(place).is_none() {
            return Err(OperationError::NotServed);
        }
        if !self.clock.is_settled() {
            return Err(OperationError::NotReady);
        }
        let bucket = turn.table.bucket_by_id(request.target.bucket());
        let resolver = bucket != Bucket::Siblings;
        if write::reads_quorum(request, resolver) && !self.is_believed(turn, place) {
            return Err(OperationError::NotReady);
        }
        let reachable = |node: &NodeId| *node == self.me || self.is_reachable(turn, *node);
        let reachable: BTreeSet<NodeId> = replicas.iter().copied().filter(reachable).collect();
        Ok(Coordination {
            me: self.me,
            replicas,
            reachable,
            resolver,
            versions_max: turn.settings.versions_max,
        })
    }

    fn carry_out_write(&mut self, turn: &mut Turn<'_>, id: TaskId, effects: Vec<write::Effect>) {
        let mut effects = VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            let event = match effect {
                write::Effect::Answer(answer) => return self.end_write(turn, id, answer),
                effect => self.carry_out_write_effect(turn, id, effect),
            };
            if let Some(event) = event {
                effects.extend(self.step_write(turn, id, event));
            }
        }
    }

    /// Carries out an effect; what follows at once.
    fn carry_out_write_effect(
        &mut self,
        turn: &mut Turn<'_>,
        id: TaskId,
        effect: write::Effect,
    ) -> Option<write::Event> {
        let Some(Task::Write(task)) = self.tasks.get(&id) else {
            return None;
        };
        let (target, deadline) = (task.target.clone(), task.deadline);
        match effect {
            write::Effect::Look(node) if node == self.me => {
                let object = self.look(turn, &target);
                Some(self.looked(turn, node, object))
            }
            write::Effect::Look(node) => {
                let want = Want::Object;
                let request = Request::Look { target, want };
                self.ask(turn, (Some(id), node), &request, deadline);
                None
            }
            write::Effect::Resolve(object, version) => {
                let resolved = self.resolve(turn, id, &target, (&object, &version));
                Some(write::Event::Resolved(resolved))
            }
            write::Effect::Store(store) => {
                self.note_storing(turn, id);
                let store = spoil(store, turn.settings.bug);
                let operation = Operation::Write {
                    target,
                    store,
                    deadline,
                };
                self.submit(operation, Waiter::Task(id));
                None
            }
            write::Effect::Send(node, object, dots) => {
                let request = Request::Store {
                    target,
                    object,
                    dots,
                };
                self.ask(turn, (Some(id), node), &request, deadline);
                None
            }
            write::Effect::Tick(after) => Some(match self.tick(turn, after) {
                Ok(time) => write::Event::Ticked(time),
                Err(error) => write::Event::StoreFailed(error),
            }),
            write::Effect::Again => {
                turn.wake(AGAIN, Alarm::Again(id));
                None
            }
            write::Effect::Answer(_) => unreachable!("an answer ends the task"),
        }
    }

    /// What the bucket's resolver makes of siblings and a new version.
    fn resolve(
        &mut self,
        turn: &mut Turn<'_>,
        id: TaskId,
        target: &Target,
        (object, version): (&Object, &Version),
    ) -> Resolved {
        let bucket = turn.table.bucket_by_id(target.bucket());
        if bucket != Bucket::Policy {
            return resolver::resolve(bucket, object, version);
        }
        let (resolved, call) = self.resolve_write(turn, target, (object, version));
        if let Some(Task::Write(task)) = self.tasks.get_mut(&id) {
            task.answered = call;
        }
        resolved
    }

    /// What the policy answered is going to be stored.
    fn note_storing(&mut self, turn: &mut Turn<'_>, id: TaskId) {
        if let Some(Task::Write(task)) = self.tasks.get_mut(&id) {
            task.storing = task.answered.take();
            if let Some(call) = task.storing {
                turn.ledger.settle(call, Fate::Stored);
            }
        }
    }

    /// What the policy answered is stored, or was not.
    fn note_stored(&mut self, turn: &mut Turn<'_>, id: TaskId, answer: &Answer) {
        if let Some(Task::Write(task)) = self.tasks.get_mut(&id)
            && let Some(call) = task.storing.take()
            && !matches!(answer, Answer::Written(Outcome::Written(_)))
        {
            turn.ledger.settle(call, Fate::Refused);
        }
    }

    fn looked(&mut self, turn: &Turn<'_>, node: NodeId, object: Option<Object>) -> write::Event {
        match object {
            Some(object) => match self.tick(turn, object.latest()) {
                Ok(time) => write::Event::Looked(node, object, time),
                Err(error) => write::Event::StoreFailed(error),
            },
            None => write::Event::Failed(node),
        }
    }

    fn tick(&mut self, turn: &Turn<'_>, seen: Time) -> Result<Time, OperationError> {
        let skew_max = turn.settings.skew_max;
        let time = self.clock.tick(turn.clocks, seen, skew_max);
        time.map_err(|skew| OperationError::ClockSkew { skew })
    }

    fn step_write(
        &mut self,
        turn: &Turn<'_>,
        id: TaskId,
        event: write::Event,
    ) -> Vec<write::Effect> {
        let Some(Task::Write(task)) = self.tasks.get_mut(&id) else {
            return Vec::new();
        };
        if let write::Event::Stored(Outcome::Written(written)) = &event {
            task.wide = written.object.seen();
            task.minted.extend(&written.dots);
        }
        let shown = self.partitions.shown(task.target.place);
        let mut own = state_of(shown);
        if turn.has(Bug::DroppedCoordinatorCounts) {
            task.minted.iter().for_each(|dot| own.clock.add(*dot));
        }
        task.machine.step(event, &own)
    }

    fn on_write_event(&mut self, turn: &mut Turn<'_>, id: TaskId, event: write::Event) {
        let effects = self.step_write(turn, id, event);
        self.carry_out_write(turn, id, effects);
    }

    pub(super) fn on_write_reply(
        &mut self,
        turn: &mut Turn<'_>,
        asked: Asked,
        reply: Result<Reply, Silence>,
    ) {
        let node = asked.to;
        let event = match (reply, asked.minted) {
            (Ok(Reply::Object(object)), _) => {
                let object = self.misread(turn, asked.task, object);
                self.looked(turn, node, Some(object))
            }
            (Ok(Reply::Stored(found)), Some(minted)) => {
                write::Event::Acknowledged(node, minted, found)
            }
            (Ok(Reply::Refused(Refusal::Unclear)), Some(minted)) => {
                write::Event::Unclear(node, minted)
            }
            (Ok(_) | Err(_), _) => write::Event::Failed(node),
        };
        self.on_write_event(turn, asked.task, event);
    }

    pub(super) fn on_write_expired(&mut self, turn: &mut Turn<'_>, id: TaskId) {
        self.on_write_event(turn, id, write::Event::Expired);
    }

    pub(super) fn on_committed(&mut self, turn: &mut Turn<'_>, id: TaskId, answer: Answer) {
        match self.tasks.get(&id) {
            Some(Task::Write(_)) => {
                self.note_stored(turn, id, &answer);
                let event = match answer {
                    Answer::Written(outcome) => write::Event::Stored(outcome),
                    Answer::TooLate => write::Event::Expired,
                    Answer::Failed => write::Event::StoreFailed(OperationError::Storage),
                    Answer::ClockOff(skew) => {
                        write::Event::StoreFailed(OperationError::ClockSkew { skew })
                    }
                    _ => write::Event::StoreFailed(OperationError::NotServed),
                };
                self.on_write_event(turn, id, event);
            }
            Some(Task::Round(_)) => self.on_round_committed(turn, id, answer),
            Some(Task::Closing(_)) => self.on_closing_committed(turn, id, answer),
            _ => (),
        }
    }

    fn end_write(
        &mut self,
        turn: &mut Turn<'_>,
        id: TaskId,
        mut answer: Result<WriteAnswer, OperationError>,
    ) {
        let Some(Task::Write(task)) = self.end(id) else {
            return;
        };
        if let (Ok(answer), true) = (&mut answer, turn.has(Bug::WideToken)) {
            answer.context.join(&task.wide);
        }
        self.tell(turn, task.origin, Told::Written(answer));
    }

    pub(super) fn begin_read(
        &mut self,
        turn: &mut Turn<'_>,
        request: ReadRequest,
        deadline: Moment,
        origin: Origin,
    ) {
        let target = request.target.clone();
        let replicas = turn.table.replicas_of(target.place).len();
        if self.partitions.shown(target.place).is_none() {
            let error = Err(OperationError::NotServed);
            return self.tell(turn, origin, Told::Read(error));
        }
        let candidates = self.candidates(turn, &request);
        let (machine, effects) = Read::new(request, self.me, &candidates, replicas);
        let task = ReadTask {
            machine,
            target,
            origin,
            deadline,
        };
        let id = self.add(Task::Read(Box::new(task)));
        turn.wake(deadline.0.saturating_sub(turn.now.0), Alarm::Expired(id));
        turn.wake(HEDGE, Alarm::HedgeDue(id));
        self.carry_out_read(turn, id, effects);
    }

    /// The replicas that may answer a read, the best first.
    fn candidates(&self, turn: &Turn<'_>, request: &ReadRequest) -> Vec<NodeId> {
        let place = request.target.place;
        let believed = self.is_believed(turn, place);
        let others = turn.table.others_of(place, self.me).into_iter();
        let others = others.filter(|node| self.is_reachable(turn, *node));
        let me = std::iter::once(self.me);
        match request.consistency {
            Consistency::One if believed => me.collect(),
            Consistency::One => others.chain(me).collect(),
            Consistency::Quorum | Consistency::All if believed => me.chain(others).collect(),
            Consistency::Quorum | Consistency::All => others.collect(),
        }
    }

    fn carry_out_read(&mut self, turn: &mut Turn<'_>, id: TaskId, effects: Vec<read::Effect>) {
        let mut effects = VecDeque::from(effects);
        let mut told = None;
        while let Some(effect) = effects.pop_front() {
            let Some(Task::Read(task)) = self.tasks.get(&id) else {
                return;
            };
            let (target, deadline) = (task.target.clone(), task.deadline);
            match effect {
                read::Effect::Answer(answer) => told = Some(answer),
                read::Effect::Again => turn.wake(AGAIN, Alarm::Again(id)),
                read::Effect::Repair(node, object) => {
                    let object = self.spoil_repair(turn, &target, object);
                    self.repair(turn, target, node, object);
                }
                read::Effect::Ask(node, _) if node == self.me => {
                    let event = match self.look(turn, &target) {
                        Some(object) => read::Event::Object(node, object),
                        None => read::Event::Failed(node),
                    };
                    effects.extend(self.step_read(id, event));
                }
                read::Effect::Ask(node, want) => {
                    let request = Request::Look { target, want };
                    self.ask(turn, (Some(id), node), &request, deadline);
                }
            }
        }
        if let Some(answer) = told
            && let Some(Task::Read(task)) = self.end(id)
        {
            if let Ok(answer) = &answer
                && turn.table.bucket_by_id(task.target.bucket()) == Bucket::Policy
            {
                self.resolve_read(turn, &task.target, &answer.object);
            }
            self.tell(turn, task.origin, Told::Read(answer));
        }
    }

    fn step_read(&mut self, id: TaskId, event: read::Event) -> Vec<read::Effect> {
        let Some(Task::Read(task)) = self.tasks.get_mut(&id) else {
            return Vec::new();
        };
        let shown = self.partitions.shown(task.target.place);
        task.machine.step(event, &state_of(shown))
    }

    fn on_read_event(&mut self, turn: &mut Turn<'_>, id: TaskId, event: read::Event) {
        let effects = self.step_read(id, event);
        self.carry_out_read(turn, id, effects);
    }

    pub(super) fn on_read_reply(
        &mut self,
        turn: &mut Turn<'_>,
        asked: Asked,
        reply: Result<Reply, Silence>,
    ) {
        let node = asked.to;
        let event = match reply {
            Ok(Reply::Object(object)) => {
                read::Event::Object(node, self.misread(turn, asked.task, object))
            }
            Ok(Reply::Digest(digest)) => read::Event::Digest(node, digest),
            Ok(_) | Err(_) => read::Event::Failed(node),
        };
        self.on_read_event(turn, asked.task, event);
    }

    /// Another replica's object, as the bugs read it.
    fn misread(&self, turn: &Turn<'_>, id: TaskId, object: Object) -> Object {
        let target = match self.tasks.get(&id) {
            Some(Task::Write(task)) => &task.target,
            Some(Task::Read(task)) => &task.target,
            _ => return object,
        };
        match self.partitions.shown(target.place) {
            Some(shown) => {
                let closed = shown.state.clock.closed();
                closing::misread(closed, object, turn.settings.bug)
            }
            None => object,
        }
    }

    pub(super) fn on_read_expired(&mut self, turn: &mut Turn<'_>, id: TaskId) {
        self.on_read_event(turn, id, read::Event::Expired);
    }

    pub(super) fn on_hedge_due(&mut self, turn: &mut Turn<'_>, id: TaskId) {
        if let Some(Task::Read(_)) = self.tasks.get(&id) {
            self.on_read_event(turn, id, read::Event::HedgeDue);
        }
    }

    pub(super) fn on_again(&mut self, turn: &mut Turn<'_>, id: TaskId) {
        match self.tasks.get(&id) {
            Some(Task::Read(_)) => self.on_read_event(turn, id, read::Event::Again),
            Some(Task::Write(_)) => self.on_write_event(turn, id, write::Event::Again),
            _ => (),
        }
    }

    /// What a replica is sent behind a read: with the bug that stores what readers are shown, that.
    fn spoil_repair(&mut self, turn: &mut Turn<'_>, target: &Target, object: Object) -> Object {
        let mut object = object;
        if turn.has(Bug::ReadAnswerStored)
            && turn.table.bucket_by_id(target.bucket()) == Bucket::Policy
            && let Some(answer) = self.resolve_read(turn, target, &object)
        {
            policies::collapse(&mut object, answer);
        }
        object
    }

    /// Sends what a read found to a replica that lacks some of it, and waits for nothing.
    fn repair(&mut self, turn: &mut Turn<'_>, target: Target, node: NodeId, object: Object) {
        let dots = Vec::new();
        if node == self.me {
            self.submit_silently(Operation::Merge {
                target,
                object,
                dots,
            });
        } else {
            let request = Request::Store {
                target,
                object,
                dots,
            };
            let deadline = turn.now.after(REPAIR);
            self.ask(turn, (None, node), &request, deadline);
        }
    }

    /// Ends an operation: who asked for it is told.
    pub(super) fn tell(&mut self, turn: &mut Turn<'_>, origin: Origin, told: Told) {
        match origin {
            Origin::Task(id) => self.on_forward_told(turn, id, told),
            Origin::Peer(node, call) => {
                let reply = match told {
                    Told::Written(answer) => Reply::Written(answer),
                    Told::Read(answer) => Reply::Read(answer),
                };
                self.reply(turn, (node, call), &reply);
            }
        }
    }
}

/// A write as it is stored: with the bugs that merge under one dot, or cover nothing, otherwise.
fn spoil(mut store: Store, bug: Option<Bug>) -> Store {
    if bug == Some(Bug::MergeUnderClientsDot)
        && let Resolution::Merge(seen, merged) = store.siblings
    {
        store.version = merged;
        store.siblings = Resolution::Supersede(seen);
    }
    if bug == Some(Bug::ChosenBeside) && matches!(store.siblings, Resolution::Supersede(_)) {
        store.siblings = Resolution::Keep;
    }
    store
}

/// The coordinator's replica, as the machines see it; one that is not there knows nothing.
fn state_of(shown: Option<&Shown>) -> State {
    shown.map_or_else(
        || State::new(Standing::suspect()),
        |shown| shown.state.clone(),
    )
}
