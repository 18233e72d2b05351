//! These are scripts of an attempt to close actors: what arrives, and what follows.

use super::*;
use crate::closed::Closed;
use crate::dot_set::DotSet;
use crate::id::{Generation, Incarnation};
use crate::replica::Standing;

const ME: NodeId = NodeId(1);
const SECOND: NodeId = NodeId(2);
const THIRD: NodeId = NodeId(3);
const ALL: [NodeId; 3] = [ME, SECOND, THIRD];

fn actor(node: NodeId, life: u128) -> Actor {
    Actor {
        node,
        incarnation: Incarnation(life),
        generation: Generation(1),
    }
}

fn counters(counters: &[u64]) -> Counters {
    let mut seen = DotSet::default();
    let actor = actor(ME, 1);
    for counter in counters {
        seen.add(actor.dot(*counter));
    }
    seen.of_actor(&actor)
}

fn held(seen: &[&[u64]]) -> Held {
    Held {
        trusted: true,
        name: None,
        seen: seen.iter().map(|dots| counters(dots)).collect(),
    }
}

fn asks(node: NodeId, actors: &[Actor]) -> Effect {
    Effect::Ask(node, Ask::Ended(actors.to_vec()))
}

fn refuses(node: NodeId, actors: &[Actor]) -> Effect {
    Effect::Ask(node, Ask::Refuse(actors.to_vec()))
}

fn closes(node: NodeId, step: Closing) -> Effect {
    Effect::Ask(node, Ask::Close(None, step))
}

fn said(node: NodeId, actors: Vec<Actor>) -> Event {
    Event::Answered(node, Answer::Ended(actors))
}

fn holds(node: NodeId, held: Held) -> Event {
    Event::Answered(node, Answer::Held(held))
}

/// An attempt in which all refuse these actors of the second and third node.
fn refusing(actors: &[Actor]) -> Close {
    let (mut close, _) = Close::new(ME, &ALL, actors.to_vec());
    let nodes: BTreeSet<NodeId> = actors.iter().map(|actor| actor.node).collect();
    let mut effects = Vec::new();
    for node in nodes {
        effects = close.step(said(node, actors.to_vec()));
    }
    let refuse = ALL.map(|node| refuses(node, actors));
    assert_eq!(effects, refuse);
    close
}

#[track_caller]
fn decides(answers: [Held; 3], expected: &[Effect]) {
    let actors = [actor(SECOND, 1), actor(THIRD, 1)];
    let mut close = refusing(&actors);
    let mut effects = Vec::new();
    for (node, held) in ALL.into_iter().zip(answers) {
        assert_eq!(effects, []);
        effects = close.step(holds(node, held));
    }
    assert_eq!(effects, expected);
}

#[test]
fn asks_each_node_of_its_own_actors_before_anyone_refuses_them() {
    let actors = vec![actor(SECOND, 1), actor(SECOND, 2), actor(THIRD, 1)];
    let (mut close, effects) = Close::new(ME, &ALL, actors.clone());
    let second = asks(SECOND, &actors[..2]);
    let third = asks(THIRD, &actors[2..]);
    assert_eq!(effects, [second, third]);
    // What a node says of another's actors does not count.
    let both = vec![actors[0], actors[2]];
    assert_eq!(close.step(said(SECOND, both)), []);
    let refuse = ALL.map(|node| refuses(node, &actors[..1]));
    assert_eq!(close.step(said(THIRD, Vec::new())), refuse);
}

#[test]
fn ends_when_no_actor_has_ended_or_a_node_does_not_say() {
    let (mut close, _) = Close::new(ME, &ALL, vec![actor(SECOND, 1)]);
    assert_eq!(close.step(said(SECOND, Vec::new())), [Effect::End(0)]);
    let (mut close, _) = Close::new(ME, &ALL, vec![actor(SECOND, 1)]);
    assert_eq!(close.step(Event::Failed(SECOND)), [Effect::End(0)]);
    assert_eq!(close.step(said(SECOND, vec![actor(SECOND, 1)])), []);
    assert_eq!(Close::new(ME, &ALL, Vec::new()).1, [Effect::End(0)]);
}

#[test]
fn closes_what_all_hold_alike_and_nothing_else() {
    let step = Closing::new([(actor(THIRD, 1), counters(&[1, 3]))]);
    let close = closes(ME, step);
    decides(
        [
            held(&[&[1], &[1, 3]]),
            held(&[&[1, 2], &[1, 3]]),
            held(&[&[1, 2], &[1, 3]]),
        ],
        &[close],
    );
    let unequal = [
        held(&[&[1], &[1]]),
        held(&[&[2], &[2]]),
        held(&[&[1], &[1]]),
    ];
    decides(unequal, &[Effect::End(0)]);
}

#[test]
fn closes_nothing_while_one_is_not_believed_or_has_closed_others() {
    let alike = || held(&[&[1], &[1]]);
    let suspect = Held {
        trusted: false,
        ..alike()
    };
    decides([alike(), suspect, alike()], &[Effect::End(0)]);
    let ahead = Held {
        name: Some(actor(NodeId(0), 7)),
        ..alike()
    };
    decides([alike(), alike(), ahead], &[Effect::End(0)]);
    decides([alike(), alike(), held(&[&[1]])], &[Effect::End(0)]);
}

#[test]
fn closes_at_home_first_and_leaves_who_does_not_hear_of_it_to_anti_entropy() {
    let ended = actor(SECOND, 1);
    let mut close = refusing(&[ended]);
    for node in ALL {
        close.step(holds(node, held(&[&[1]])));
    }
    let step = Closing::new([(ended, counters(&[1]))]);
    let spread = [SECOND, THIRD].map(|node| closes(node, step.clone()));
    assert_eq!(
        close.step(Event::Answered(ME, Answer::Closed(true))),
        spread
    );
    assert_eq!(close.step(Event::Failed(THIRD)), []);
    assert_eq!(
        close.step(Event::Answered(SECOND, Answer::Closed(true))),
        [Effect::End(1)]
    );
}

#[test]
fn closes_nothing_anywhere_when_it_cannot_be_closed_at_home() {
    let mut close = refusing(&[actor(SECOND, 1)]);
    for node in ALL {
        close.step(holds(node, held(&[&[1]])));
    }
    assert_eq!(
        close.step(Event::Answered(ME, Answer::Closed(false))),
        [Effect::End(0)]
    );
}

#[test]
fn a_replica_without_others_closes_by_itself() {
    let (mut close, effects) = Close::new(ME, &[ME], vec![actor(ME, 1)]);
    assert_eq!(effects, [asks(ME, &[actor(ME, 1)])]);
    close.step(said(ME, vec![actor(ME, 1)]));
    close.step(holds(ME, held(&[&[1, 2]])));
    assert_eq!(
        close.step(Event::Answered(ME, Answer::Closed(true))),
        [Effect::End(1)]
    );
}

#[test]
fn only_what_a_replicas_node_no_longer_mints_under_is_worth_asking_for() {
    let open: BTreeSet<Actor> = [
        actor(ME, 1),
        actor(ME, 2),
        actor(SECOND, 1),
        actor(THIRD, 1),
        actor(NodeId(9), 1),
    ]
    .into();
    let word = |actor: Actor, refused: &[Actor]| {
        let (trusted, refused) = (true, refused.to_vec());
        let word = Word {
            trusted,
            damaged: false,
            actor,
            refused,
            waited_for: Vec::new(),
        };
        (actor.node, word)
    };
    let (refused, closed) = (actor(ME, 7), actor(ME, 8));
    let mut own = State::new(Standing::Trusted);
    own.clock.add(closed.dot(1));
    own.clock.close(Closing::new([(closed, counters(&[1]))]));
    let heard = [
        word(actor(ME, 2), &[]),
        word(actor(SECOND, 1), &[refused, closed]),
        word(actor(NodeId(9), 2), &[]),
    ];
    let worth = candidates(open, &own, &ALL, &heard.into());
    assert_eq!(worth, [actor(ME, 1), refused]);
    assert_eq!(leader(&ALL), Some(ME));
}

#[test]
fn the_actors_of_a_known_list_go_first_for_it_to_have_its_name_again() {
    let (first, second, other) = (actor(ME, 1), actor(ME, 2), actor(ME, 3));
    let list_of = |actors: &[Actor]| {
        let mut list = Closed::default();
        for actor in actors {
            list.push(Closing::new([(*actor, counters(&[1]))]));
        }
        list
    };
    let (now, elsewhere) = (actor(ME, 9), actor(NodeId(9), 1));
    let word = Word {
        trusted: true,
        damaged: false,
        actor: now,
        refused: Vec::new(),
        waited_for: Vec::new(),
    };
    let worth_if = |known: &[Actor], closed: &[Actor], damaged: bool| {
        let mut own = State::new(Standing::Trusted);
        for step in list_of(closed).steps() {
            own.clock.close(step.clone());
        }
        own.known.learn(&list_of(known), own.clock.closed());
        let word = Word {
            damaged,
            ..word.clone()
        };
        candidates([other].into(), &own, &ALL, &[(ME, word)].into())
    };
    let worth = |known: &[Actor], closed: &[Actor]| worth_if(known, closed, false);
    assert_eq!(worth(&[first, second], &[]), [first]);
    assert_eq!(worth(&[first, second], &[first]), [second]);
    assert_eq!(worth(&[first, second], &[first, second]), [other]);
    let all = worth_if(&[first, second], &[], true);
    assert_eq!(all, [other], "it may be that one that all never agree on");
    assert_eq!(
        worth(&[first], &[second]),
        [other],
        "it can have that name no more"
    );
    assert_eq!(
        worth(&[elsewhere], &[]),
        [other],
        "nobody can be asked for that one"
    );
}
