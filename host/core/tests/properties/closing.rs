//! This is the closing of actors among the three replicas and their models, one message at a time,
//! and what it leaves after many restarts.

use crate::cluster::{Beside, Cluster, REPLICAS, node_id};
use soros_core::close::{self, Answer, Ask, Close, Effect, Event, Word};
use soros_core::id::NodeId;
use std::collections::BTreeMap;

/// The attempts so far.
#[derive(Default)]
pub(crate) struct Attempts {
    /// The one under way, and what it has asked for.
    running: Option<(Close, Vec<Effect>)>,
    /// All steps that were decided: a message may come late.
    decided: Vec<Ask>,
}

fn replicas() -> Vec<NodeId> {
    (0..REPLICAS).map(node_id).collect()
}

fn index(node: NodeId) -> usize {
    let found = (0..REPLICAS).find(|index| node_id(*index) == node);
    found.expect("a replica")
}

impl Cluster {
    fn begin_closing(&mut self) {
        let words = self.nodes.iter().map(|node| {
            let word = node.replica.view(&node.disk).word(node.replica.actor());
            (word.actor.node, word)
        });
        let heard: BTreeMap<NodeId, Word> = words.collect();
        let leader = &self.nodes[0];
        let open = leader.replica.view(&leader.disk).open_actors();
        let own = leader.replica.state();
        let candidates = close::candidates(open.expect("memory"), own, &replicas(), &heard);
        self.closing.running = Some(Close::new(node_id(0), &replicas(), candidates));
    }

    /// Carries out one thing that the attempt under way asks for, or begins one. What is lost is
    /// carried out, or not, and nobody hears of it.
    pub(crate) fn close_step(&mut self, pick: usize, arrives: bool) {
        if self.closing.running.is_none() {
            self.begin_closing();
        }
        let Some((mut attempt, mut effects)) = self.closing.running.take() else {
            return;
        };
        if effects.is_empty() {
            return;
        }
        let effect = effects.remove(pick % effects.len());
        let Effect::Ask(node, ask) = effect else {
            return;
        };
        // What fails may have been done all the same.
        let answer = (arrives || pick.is_multiple_of(2)).then(|| self.ask(index(node), &ask));
        let event = match answer.flatten().filter(|_| arrives) {
            Some(answer) => Event::Answered(node, answer),
            None => Event::Failed(node),
        };
        effects.extend(attempt.step(event));
        self.closing.running = Some((attempt, effects));
    }

    fn ask(&mut self, at: usize, ask: &Ask) -> Option<Answer> {
        if let Ask::Close(..) = ask {
            self.closing.decided.push(ask.clone());
        }
        let node = &mut self.nodes[at];
        let answer = node.replica.answer(ask, true);
        node.replica.save(&mut node.disk);
        answer
    }

    /// A decided step comes to a replica, late or again.
    pub(crate) fn close_late(&mut self, which: usize, to: usize) {
        if let Some(last) = self.closing.decided.len().checked_sub(1) {
            let ask = self.closing.decided[which % (last + 1)].clone();
            self.ask(to, &ask);
        }
    }

    /// Attempts until there is nothing left to close.
    pub(crate) fn close_all(&mut self) {
        self.closing.running = None;
        for _ in 0..2 {
            self.begin_closing();
            while self.closing.running.is_some() {
                self.close_step(0, true);
            }
        }
    }
}

#[test]
fn a_thousand_restarts_with_a_write_each_leave_a_small_clock() {
    const RESTARTS: usize = 1_000;
    let mut cluster = Cluster::new();
    let (mut most, mut largest) = (0, 0);
    for number in 0..RESTARTS {
        let at = number % REPLICAS;
        cluster.restart(at);
        cluster.read(0, 0b111);
        let newest = cluster.tokens().checked_sub(1);
        cluster.write(at, 0, newest, true, Beside::Keep);
        for to in (0..REPLICAS).filter(|to| *to != at) {
            cluster.repair(at, to, usize::MAX, u8::MAX);
        }
        cluster.close_all();
        for at in 0..REPLICAS {
            cluster.settle(at);
            let state = cluster.nodes[at].replica.state();
            most = most.max(state.clock.seen().actor_count());
            largest = largest.max(state.to_record().len());
        }
    }
    cluster.quiet();
    cluster.assert_sound();
    cluster.assert_converged();
    let state = cluster.nodes[0].replica.state();
    assert!(RESTARTS - REPLICAS <= state.clock.closed().len());
    assert!(most <= 2 * REPLICAS + 1, "{most} actors in a clock");
    assert!(largest < 512, "a clock record of {largest} bytes");
    // The list is read back as it was.
    cluster.restart(0);
}
