//! This is how the replicas of a partition close actors that have ended: one of them leads, and all
//! take part.
//!
//! It asks the node of each actor whether the actor has ended: a node mints under one actor at a
//! time, and the question was asked after the actor had minted, so who answers "not mine" is a
//! later life. Then all replicas durably refuse what comes first-hand of these actors, and say
//! which of their dots they have seen. When all are believed, have closed the same so far and have
//! seen the same, then no acknowledged write is missing anywhere, and none will be acknowledged
//! any more: the actors are closed, first where it was decided. A replica that does not hear of it
//! learns it by anti-entropy. When anything is otherwise, nothing is closed, and a later attempt
//! begins anew.

use crate::closed::Closing;
use crate::codec::{Codec, DecodeError, Reader, Writer};
use crate::dot::Actor;
use crate::dot_set::Counters;
use crate::id::NodeId;
use crate::limits::{CLOSED_AT_A_TIME_MAX, DOTS_DECODED_MAX};
use crate::replica::{Held, State};
use std::collections::{BTreeMap, BTreeSet};

/// What the leader asks of a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Which of these actors of its own have ended.
    Ended(Vec<Actor>),
    /// To refuse what comes first-hand of these actors, which have ended, and to say what it holds
    /// of them.
    Refuse(Vec<Actor>),
    /// To close these actors, of which all hold the same, after those on the list of this name.
    Close(Option<Actor>, Closing),
}

/// What a replica answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// These have ended.
    Ended(Vec<Actor>),
    /// The actors are refused from here on, durably, and this is held of them.
    Held(Held),
    /// Whether they are closed, durably.
    Closed(bool),
}

/// What a replica says of itself beside each answer of anti-entropy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// Whether its silence can be believed.
    pub trusted: bool,
    /// Whether it has a damaged record, so that it may count nothing more as seen until it begins
    /// anew.
    pub damaged: bool,
    /// Who mints its dots.
    pub actor: Actor,
    /// What it takes nothing first-hand of, and is yet to close.
    pub refused: Vec<Actor>,
    /// Some of those that its objects wait for.
    pub waited_for: Vec<Actor>,
}

/// What arrives at an attempt.
#[derive(Clone, Debug)]
pub enum Event {
    /// A replica's answer.
    Answered(NodeId, Answer),
    /// A replica did not answer, or did not do what it was asked.
    Failed(NodeId),
}

/// What an attempt asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// To ask a replica, the own one, too.
    Ask(NodeId, Ask),
    /// The end: how many actors were closed.
    End(usize),
}

/// An attempt to close actors of a partition.
#[derive(Debug)]
pub struct Close {
    me: NodeId,
    replicas: Vec<NodeId>,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    Asking {
        asked: Vec<Actor>,
        waiting: BTreeSet<NodeId>,
        ended: BTreeSet<Actor>,
    },
    Refusing {
        actors: Vec<Actor>,
        held: BTreeMap<NodeId, Held>,
    },
    /// The step is decided, and being taken here.
    Deciding {
        after: Option<Actor>,
        step: Closing,
    },
    Spreading {
        closed: usize,
        waiting: BTreeSet<NodeId>,
    },
    Ended,
}

/// Who leads the closing of a partition's actors: one, so that two do not close different ones.
#[must_use]
pub fn leader(replicas: &[NodeId]) -> Option<NodeId> {
    replicas.first().copied()
}

/// The actors that are worth asking for: those that are `open` where the closing is led, waited for
/// elsewhere, or refused somewhere since an attempt that failed, of a replica's node, and not the
/// one that it mints under by what was `heard` last. Those of a list that the `own` replica, which
/// leads, knows and has not closed go first: once they are closed it has the name by which contexts
/// know it. They go with the others while a replica has a damaged record: of what that was, all may
/// never have seen the same.
#[must_use]
pub fn candidates(
    open: BTreeSet<Actor>,
    own: &State,
    replicas: &[NodeId],
    heard: &BTreeMap<NodeId, Word>,
) -> Vec<Actor> {
    let is_over = |actor: &Actor| {
        let word = heard.get(&actor.node);
        replicas.contains(&actor.node) && word.is_some_and(|word| word.actor != *actor)
    };
    let closed = own.clock.closed();
    let mut next = own.known.next_after(closed);
    let is_damaged = heard.values().any(|word| word.damaged);
    if let Some(next) = next.find(|next| !is_damaged && next.iter().all(is_over)) {
        return next.into_iter().take(CLOSED_AT_A_TIME_MAX).collect();
    }
    let others = heard
        .values()
        .flat_map(|word| word.refused.iter().chain(&word.waited_for).copied());
    let mut over = open;
    over.extend(others.filter(|actor| !closed.has(actor)));
    over.retain(is_over);
    over.into_iter().take(CLOSED_AT_A_TIME_MAX).collect()
}

impl Close {
    /// An attempt that begins, and what it asks for first.
    #[must_use]
    pub fn new(me: NodeId, replicas: &[NodeId], candidates: Vec<Actor>) -> (Close, Vec<Effect>) {
        let mut by_node: BTreeMap<NodeId, Vec<Actor>> = BTreeMap::new();
        for actor in &candidates {
            by_node.entry(actor.node).or_default().push(*actor);
        }
        let waiting: BTreeSet<NodeId> = by_node.keys().copied().collect();
        let ask = |(node, actors)| Effect::Ask(node, Ask::Ended(actors));
        let mut effects: Vec<Effect> = by_node.into_iter().map(ask).collect();
        let phase = Phase::Asking {
            asked: candidates,
            waiting,
            ended: BTreeSet::new(),
        };
        let replicas = replicas.to_vec();
        let mut close = Close {
            me,
            replicas,
            phase,
        };
        if effects.is_empty() {
            effects = close.end(0);
        }
        (close, effects)
    }

    /// Takes an event and gives what follows.
    pub fn step(&mut self, event: Event) -> Vec<Effect> {
        let effects = match event {
            Event::Answered(node, Answer::Ended(actors)) => self.on_ended(node, actors),
            Event::Answered(node, Answer::Held(held)) => self.on_held(node, held),
            Event::Answered(node, Answer::Closed(closed)) => self.on_closed(node, closed),
            Event::Failed(node) => self.on_failed(node),
        };
        self.assert_invariants();
        effects
    }

    fn on_ended(&mut self, node: NodeId, actors: Vec<Actor>) -> Vec<Effect> {
        let Phase::Asking {
            asked,
            waiting,
            ended,
        } = &mut self.phase
        else {
            return Vec::new();
        };
        if !waiting.remove(&node) {
            return Vec::new();
        }
        let of_node = |actor: &Actor| actor.node == node && asked.contains(actor);
        ended.extend(actors.into_iter().filter(of_node));
        if !waiting.is_empty() {
            return Vec::new();
        }
        let actors: Vec<Actor> = std::mem::take(ended).into_iter().collect();
        if actors.is_empty() {
            return self.end(0);
        }
        let refuse = |node: &NodeId| Effect::Ask(*node, Ask::Refuse(actors.clone()));
        let effects = self.replicas.iter().map(refuse).collect();
        let held = BTreeMap::new();
        self.phase = Phase::Refusing { actors, held };
        effects
    }

    fn on_held(&mut self, node: NodeId, answer: Held) -> Vec<Effect> {
        let Phase::Refusing { actors, held } = &mut self.phase else {
            return Vec::new();
        };
        if self.replicas.contains(&node) {
            held.insert(node, answer);
        }
        if held.len() < self.replicas.len() {
            return Vec::new();
        }
        let Some((after, step)) = decide(actors, held) else {
            return self.end(0);
        };
        let effects = vec![Effect::Ask(self.me, Ask::Close(after, step.clone()))];
        self.phase = Phase::Deciding { after, step };
        effects
    }

    fn on_closed(&mut self, node: NodeId, closed: bool) -> Vec<Effect> {
        match &mut self.phase {
            Phase::Deciding { after, step } if node == self.me && closed => {
                let (after, step) = (*after, std::mem::take(step));
                let others = self.replicas.iter().filter(|other| **other != node);
                let waiting: BTreeSet<NodeId> = others.copied().collect();
                let close = |node: &NodeId| Effect::Ask(*node, Ask::Close(after, step.clone()));
                let effects: Vec<Effect> = waiting.iter().map(close).collect();
                let closed = step.iter().count();
                self.phase = Phase::Spreading { closed, waiting };
                if effects.is_empty() {
                    return self.end(closed);
                }
                effects
            }
            Phase::Deciding { .. } if node == self.me => self.end(0),
            Phase::Spreading { .. } => self.on_spread(node),
            _ => Vec::new(),
        }
    }

    fn on_spread(&mut self, node: NodeId) -> Vec<Effect> {
        let Phase::Spreading { closed, waiting } = &mut self.phase else {
            return Vec::new();
        };
        let closed = *closed;
        if waiting.remove(&node) && waiting.is_empty() {
            return self.end(closed);
        }
        Vec::new()
    }

    fn on_failed(&mut self, node: NodeId) -> Vec<Effect> {
        match &self.phase {
            Phase::Ended => Vec::new(),
            // It is decided: who did not hear of it learns it by anti-entropy.
            Phase::Spreading { .. } => self.on_spread(node),
            Phase::Asking { .. } | Phase::Refusing { .. } | Phase::Deciding { .. } => self.end(0),
        }
    }

    fn end(&mut self, closed: usize) -> Vec<Effect> {
        self.phase = Phase::Ended;
        vec![Effect::End(closed)]
    }

    fn assert_invariants(&self) {
        match &self.phase {
            Phase::Asking { waiting, .. } | Phase::Spreading { waiting, .. } => {
                assert!(!waiting.is_empty(), "who waits for nobody goes on");
            }
            Phase::Refusing { held, .. } => {
                assert!(held.len() < self.replicas.len(), "all answers decide");
            }
            Phase::Deciding { step, .. } => assert!(!step.is_empty(), "a step closes something"),
            Phase::Ended => (),
        }
    }
}

/// What can be closed, and after which list: all are believed and have closed the same, and of each
/// actor all have seen the same.
fn decide(actors: &[Actor], held: &BTreeMap<NodeId, Held>) -> Option<(Option<Actor>, Closing)> {
    let first = held.values().next()?;
    let is_like = |other: &Held| {
        other.trusted && other.name == first.name && other.seen.len() == actors.len()
    };
    if !held.values().all(is_like) {
        return None;
    }
    let agreed = |(index, seen): &(usize, &Counters)| {
        held.values()
            .all(|other| other.seen.get(*index) == Some(*seen))
    };
    let agreed = first.seen.iter().enumerate().filter(agreed);
    let step = Closing::new(agreed.map(|(index, seen)| (actors[index], seen.clone())));
    (!step.is_empty()).then_some((first.name, step))
}

/// Trusted 1, damaged 1, actor 28, refused: count 4, each 28; waited for: the same.
impl Codec for Word {
    fn encode(&self, writer: &mut Writer) {
        writer.u8(u8::from(self.trusted));
        writer.u8(u8::from(self.damaged));
        self.actor.encode(writer);
        writer.list(&self.refused);
        writer.list(&self.waited_for);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Word, DecodeError> {
        Ok(Word {
            trusted: reader.u8()? != 0,
            damaged: reader.u8()? != 0,
            actor: Actor::decode(reader)?,
            refused: reader.list(DOTS_DECODED_MAX)?,
            waited_for: reader.list(CLOSED_AT_A_TIME_MAX)?,
        })
    }
}

/// Tag 1; actors: count 4, each 28; or the name: 0, or 1 and 28, and the actors to close.
impl Codec for Ask {
    fn encode(&self, writer: &mut Writer) {
        match self {
            Ask::Ended(actors) => {
                writer.u8(0);
                writer.list(actors);
            }
            Ask::Refuse(actors) => {
                writer.u8(1);
                writer.list(actors);
            }
            Ask::Close(after, step) => {
                writer.u8(2);
                writer.option(after.as_ref());
                step.encode(writer);
            }
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Ask, DecodeError> {
        Ok(match reader.u8()? {
            0 => Ask::Ended(reader.list(CLOSED_AT_A_TIME_MAX)?),
            1 => Ask::Refuse(reader.list(CLOSED_AT_A_TIME_MAX)?),
            2 => Ask::Close(reader.option()?, Closing::decode(reader)?),
            _ => return Err(DecodeError::Invalid("a question about closed actors")),
        })
    }
}

/// Tag 1; then the actors, what is held, or 1 for closed.
impl Codec for Answer {
    fn encode(&self, writer: &mut Writer) {
        match self {
            Answer::Ended(actors) => {
                writer.u8(0);
                writer.list(actors);
            }
            Answer::Held(held) => {
                writer.u8(1);
                held.encode(writer);
            }
            Answer::Closed(closed) => {
                writer.u8(2);
                writer.u8(u8::from(*closed));
            }
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Answer, DecodeError> {
        Ok(match reader.u8()? {
            0 => Answer::Ended(reader.list(CLOSED_AT_A_TIME_MAX)?),
            1 => Answer::Held(Held::decode(reader)?),
            2 => Answer::Closed(reader.u8()? != 0),
            _ => return Err(DecodeError::Invalid("an answer about closed actors")),
        })
    }
}

#[cfg(test)]
mod tests;
