//! This is how a node keeps the right time: it asks the others what their wall clocks say, over and
//! over, and its clock judges itself by that.

use super::{Alarm, Asked, Process, Silence, Task, TaskId, Turn};
use crate::bug::Bug;
use crate::moment::{MILLI, SECOND};
use soros_core::id::NodeId;
use soros_core::message::{Reply, Request};
use soros_core::node_clock::Event;
use std::collections::BTreeSet;

/// How long after all were asked they are asked again.
const PERIOD: u64 = SECOND;
/// How long a process that starts waits for the others before it serves.
const SERVES_AFTER: u64 = 100 * MILLI;
/// How long the others have to answer.
const ANSWER_WITHIN: u64 = SECOND;

/// The others are being asked.
pub(super) struct Asking {
    /// What the steady clock said when they were.
    asked: u64,
    peers: BTreeSet<NodeId>,
    /// Who has not answered.
    left: BTreeSet<NodeId>,
}

impl Process {
    /// Whether the others were asked what time it is, so that the process serves.
    #[must_use]
    pub fn tells_the_time(&self) -> bool {
        self.clock.is_settled()
    }

    pub(super) fn ask_the_time(&mut self, turn: &mut Turn<'_>) {
        let others = turn.table.nodes().iter().copied();
        let peers: BTreeSet<NodeId> = others.filter(|node| *node != self.me).collect();
        let task = Asking {
            asked: turn.clocks.steady,
            peers: peers.clone(),
            left: peers.clone(),
        };
        let id = self.add(Task::Time(Box::new(task)));
        let deadline = turn.now.after(ANSWER_WITHIN);
        turn.wake(ANSWER_WITHIN, Alarm::Expired(id));
        turn.wake(SERVES_AFTER, Alarm::ServesAnyway(id));
        for peer in peers {
            self.ask(turn, (Some(id), peer), &Request::Clock, deadline);
        }
    }

    pub(super) fn on_time_reply(
        &mut self,
        turn: &mut Turn<'_>,
        asked: &Asked,
        reply: &Result<Reply, Silence>,
    ) {
        let Some(Task::Time(task)) = self.tasks.get_mut(&asked.task) else {
            return;
        };
        task.left.remove(&asked.to);
        let (sent, all) = (task.asked, task.left.is_empty());
        if let Ok(Reply::Clock(theirs)) = reply
            && !turn.has(Bug::SkewUnchecked)
        {
            let told = Event::Told {
                peer: asked.to,
                asked: sent,
                theirs: *theirs,
            };
            self.clock.step(told, turn.clocks, turn.settings.skew_max);
        }
        if all {
            self.end_asking(turn, asked.task);
        }
    }

    /// Who is slow is waited for, but does not keep this process from serving.
    pub(super) fn on_serves_anyway(&mut self, turn: &Turn<'_>, id: TaskId) {
        if let Some(Task::Time(task)) = self.tasks.get(&id) {
            let asked = Event::Asked(task.peers.clone());
            self.clock.step(asked, turn.clocks, turn.settings.skew_max);
        }
    }

    pub(super) fn end_asking(&mut self, turn: &mut Turn<'_>, id: TaskId) {
        if let Some(Task::Time(task)) = self.end(id) {
            let asked = Event::Asked(task.peers);
            self.clock.step(asked, turn.clocks, turn.settings.skew_max);
            turn.wake(PERIOD, Alarm::AskTheTime);
        }
    }
}
