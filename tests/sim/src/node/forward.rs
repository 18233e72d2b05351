//! This is a client's operation at whatever node the client speaks to: coordinated here when the
//! node holds the key, else by a replica.

use super::{Alarm, Origin, Output, Process, Silence, Task, TaskId, Told, Turn};
use crate::bug::Bug;
use crate::moment::Moment;
use crate::node::OperationId;
use soros_core::id::NodeId;
use soros_core::message::{Refusal, Reply, Request};
use soros_core::operation::{OperationError, ReadRequest, Target, WriteRequest};
use std::collections::VecDeque;

/// What a client asks for.
#[derive(Clone, Debug)]
pub enum Ask {
    /// A write or a delete.
    Write(WriteRequest),
    /// A read.
    Read(ReadRequest),
}

impl Ask {
    fn target(&self) -> &Target {
        match self {
            Ask::Write(request) => &request.target,
            Ask::Read(request) => &request.target,
        }
    }

    fn failed(&self, error: OperationError) -> Told {
        match self {
            Ask::Write(_) => Told::Written(Err(error)),
            Ask::Read(_) => Told::Read(Err(error)),
        }
    }
}

/// A client's operation on its way to a coordinator.
pub(super) struct ForwardTask {
    operation: OperationId,
    ask: Ask,
    deadline: Moment,
    routes: VecDeque<NodeId>,
    /// What the last replica that certainly did not take it said.
    refused: OperationError,
}

/// A replica certainly did not take the request: another may be asked.
const NOT_TAKEN: OperationError = OperationError::NotReady;

impl Process {
    /// A client asks for something.
    pub fn on_client(&mut self, turn: &mut Turn<'_>, operation: OperationId, ask: Ask) {
        let deadline = turn.now.after(turn.settings.timeout);
        let routes = self.routes(turn, ask.target());
        let refused = OperationError::QuorumUnavailable {
            reached: 0,
            needed: 1,
        };
        let id = self.add(Task::Forward(Box::new(ForwardTask {
            operation,
            ask,
            deadline,
            routes,
            refused,
        })));
        let patience = if turn.has(Bug::RetryForwarded) {
            turn.settings.timeout / 8
        } else {
            turn.settings.timeout
        };
        turn.wake(patience, Alarm::Expired(id));
        self.try_next(turn, id);
        self.pump(turn);
    }

    fn routes(&self, turn: &Turn<'_>, target: &Target) -> VecDeque<NodeId> {
        let mut routes = turn.table.replicas_of(target.place).to_vec();
        let bytes = target.key().as_bytes().iter();
        let first = bytes.map(|byte| usize::from(*byte)).sum::<usize>();
        let count = routes.len().max(1);
        routes.rotate_left(first % count);
        routes.sort_by_key(|node| match node {
            node if *node == self.me => 0,
            node if self.is_reachable(turn, *node) => 1,
            _ => 2,
        });
        routes.into()
    }

    fn try_next(&mut self, turn: &mut Turn<'_>, id: TaskId) {
        let Some(Task::Forward(task)) = self.tasks.get_mut(&id) else {
            return;
        };
        let (ask, deadline) = (task.ask.clone(), task.deadline);
        let Some(node) = task.routes.pop_front() else {
            let told = ask.failed(task.refused.clone());
            return self.end_forward(turn, id, told);
        };
        let request = match ask {
            Ask::Write(request) if node == self.me => {
                return self.begin_write(turn, request, deadline, Origin::Task(id));
            }
            Ask::Read(request) if node == self.me => {
                return self.begin_read(turn, request, deadline, Origin::Task(id));
            }
            Ask::Write(request) => Request::Write(request),
            Ask::Read(request) => Request::Read(request),
        };
        self.ask(turn, (Some(id), node), &request, deadline);
    }

    pub(super) fn on_forward_reply(
        &mut self,
        turn: &mut Turn<'_>,
        id: TaskId,
        reply: Result<Reply, Silence>,
    ) {
        let Some(Task::Forward(task)) = self.tasks.get(&id) else {
            return;
        };
        let unknown = match task.ask {
            // A read may be asked again as often as there are replicas.
            Ask::Read(_) => NOT_TAKEN,
            Ask::Write(_) => UNKNOWN,
        };
        let told = match reply {
            Ok(Reply::Written(answer)) => Told::Written(answer),
            Ok(Reply::Read(answer)) => Told::Read(answer),
            Ok(Reply::Refused(refusal)) => task.ask.failed(refused(refusal)),
            Err(Silence::NotSent) => task.ask.failed(NOT_TAKEN),
            Ok(_) | Err(Silence::Unknown) => task.ask.failed(unknown),
        };
        match told {
            // The other's clock is wrong; the next one's need not be.
            Told::Written(Err(error @ OperationError::ClockSkew { .. })) => {
                self.pass_on(turn, id, error);
            }
            told => self.on_forward_told(turn, id, told),
        }
    }

    /// A coordinator has answered; if it certainly did not take the operation, the next one is
    /// asked.
    pub(super) fn on_forward_told(&mut self, turn: &mut Turn<'_>, id: TaskId, told: Told) {
        match &told {
            Told::Written(Err(error)) | Told::Read(Err(error)) if is_elsewhere(error) => {
                let error = error.clone();
                self.pass_on(turn, id, error);
            }
            _ => self.end_forward(turn, id, told),
        }
    }

    fn pass_on(&mut self, turn: &mut Turn<'_>, id: TaskId, error: OperationError) {
        if let Some(Task::Forward(task)) = self.tasks.get_mut(&id) {
            task.refused = error;
        }
        self.try_next(turn, id);
    }

    pub(super) fn on_forward_expired(&mut self, turn: &mut Turn<'_>, id: TaskId) {
        let Some(Task::Forward(task)) = self.tasks.get(&id) else {
            return;
        };
        let left = task.deadline.0.saturating_sub(turn.now.0);
        if turn.has(Bug::RetryForwarded) && 0 < left {
            turn.wake(left, Alarm::Expired(id));
            if !task.routes.is_empty() {
                self.try_next(turn, id);
            }
            return;
        }
        let told = match task.ask {
            Ask::Write(_) => task.ask.failed(UNKNOWN),
            Ask::Read(_) => task.ask.failed(task.refused.clone()),
        };
        self.end_forward(turn, id, told);
    }

    fn end_forward(&mut self, turn: &mut Turn<'_>, id: TaskId, mut told: Told) {
        let Some(Task::Forward(task)) = self.end(id) else {
            return;
        };
        if let Told::Written(Err(error)) = &mut told
            && turn.has(Bug::UnknownToldAsFailed)
            && let OperationError::OutcomeUnknown { reached, needed } = *error
        {
            *error = OperationError::QuorumUnavailable { reached, needed };
        }
        turn.outputs.push(Output::Tell(task.operation, told));
    }
}

const UNKNOWN: OperationError = OperationError::OutcomeUnknown {
    reached: 0,
    needed: 1,
};

fn is_elsewhere(error: &OperationError) -> bool {
    matches!(error, OperationError::NotReady | OperationError::NotServed)
}

fn refused(refusal: Refusal) -> OperationError {
    match refusal {
        Refusal::NotServed => OperationError::NotServed,
        Refusal::Suspect
        | Refusal::NotReady
        | Refusal::Unreadable
        | Refusal::Behind
        | Refusal::Ended
        | Refusal::Unclear => OperationError::NotReady,
        Refusal::Overloaded => OperationError::Overloaded,
        Refusal::DiskFull => OperationError::DiskFull,
        Refusal::Storage => OperationError::Storage,
        Refusal::TooLate => OperationError::QuorumUnavailable {
            reached: 0,
            needed: 1,
        },
    }
}
