//! This is what repair costs on the way: the bytes of its answers beside those of the keys and
//! values in them.

use crate::transfers::{Node, entry, merge, node, write_value};
use soros_core::close::Word;
use soros_core::codec::{Codec, DecodeError};
use soros_core::dot::Actor;
use soros_core::dot_set::DotSet;
use soros_core::epoch::Epoch;
use soros_core::id::{Generation, Incarnation, NodeId};
use soros_core::limits::{REPAIR_BYTES, SHARED_ACTORS_MAX};
use soros_core::message::Reply;
use soros_core::object::{Object, Value};
use soros_core::replica::{Chunk, TransferKind, View, Written};
use soros_core::sync::{Answer, Own, answer};

const VALUE_BYTES: usize = 1024;
/// How many keys a replica lacks that missed a hundredth of a million in 256 partitions.
const MISSED: usize = 39;

fn write(node: &mut Node, key: usize) -> Written {
    let value = Value {
        bytes: vec![b'w'; VALUE_BYTES].into(),
        content_type: "application/octet-stream".into(),
        content_encoding: None,
        meta: Vec::new(),
    };
    write_value(node, key, DotSet::default(), Some(value))
}

/// A replica that three have written to, and what one of them had seen before it missed the rest.
fn ahead() -> (Node, DotSet) {
    let mut nodes = [node(1), node(2), node(3)];
    for writer in 0..nodes.len() {
        let written = write(&mut nodes[writer], writer);
        for other in (0..nodes.len()).filter(|other| *other != writer) {
            merge(&mut nodes[other], writer, written.clone());
        }
    }
    let [mut one, mut other, away] = nodes;
    for key in 0..MISSED {
        let key = 10 + key;
        let written = write(&mut one, key);
        merge(&mut other, key, written);
    }
    (one, away.replica.state().clock.seen().clone())
}

fn sync(node: &Node, answer: Answer) -> Reply {
    Reply::Sync {
        answer,
        word: Word {
            trusted: true,
            damaged: false,
            actor: node.replica.actor(),
            refused: Vec::new(),
            waited_for: Vec::new(),
        },
        epoch: Epoch(1),
    }
}

/// Fails when a reply has more than a tenth and a bit beside the keys and values in it.
#[track_caller]
fn check(reply: &Reply, objects: usize) {
    let bytes = reply.to_bytes();
    let clients = objects * (VALUE_BYTES + entry(0).key.as_bytes().len());
    let (whole, most) = (bytes.len(), clients * 112 / 100);
    assert!(whole <= most, "{whole} bytes carry {clients}");
    assert_eq!(Reply::from_bytes(&bytes).as_ref(), Ok(reply));
}

#[test]
fn what_was_missed_is_most_of_what_is_sent() {
    let (node, before) = ahead();
    let state = node.replica.state();
    let view = View::new(node.replica.layout(), state, &node.disk);
    let found = view.difference(&before, REPAIR_BYTES);
    let own = Own {
        state,
        epoch: Epoch(1),
        swept: true,
    };
    let found = found.expect("memory does not fail").found;
    check(&sync(&node, answer(found, own)), MISSED);
    let chunk = view.chunk(TransferKind::Clocked, None, REPAIR_BYTES);
    let chunk = chunk.expect("memory does not fail");
    check(&sync(&node, Answer::Chunk(chunk)), MISSED + 3);
}

/// Each object would come to hold all of the actors, however few bytes it was sent in.
#[test]
fn a_clock_of_very_many_actors_is_shared_by_no_object() {
    let object = |seen: &DotSet| {
        let mut object = Object::default();
        object.context.join_bases(seen);
        object
    };
    let chunk = |seen: DotSet| Chunk {
        kind: TransferKind::Clocked,
        objects: vec![(entry(1), object(&seen))],
        seen,
        damaged: Vec::new(),
        end: None,
    };
    let few = chunk(crowd(SHARED_ACTORS_MAX)).to_bytes();
    let many = chunk(crowd(SHARED_ACTORS_MAX + 1));
    assert!(2 * few.len() < many.to_bytes().len() + 200);
    assert_eq!(Chunk::from_bytes(&many.to_bytes()).as_ref(), Ok(&many));
    // The same object beside more actors than may be shared.
    let kind = &few[..1];
    let object = &few[1 + crowd(SHARED_ACTORS_MAX).to_bytes().len()..];
    let forged = [kind, &many.seen.to_bytes(), object].concat();
    let refused = DecodeError::Invalid("the form of a context");
    assert_eq!(Chunk::from_bytes(&forged), Err(refused));
}

fn crowd(actors: usize) -> DotSet {
    let mut seen = DotSet::default();
    for number in 1..=actors {
        let actor = Actor {
            node: NodeId(number as u64),
            incarnation: Incarnation(1),
            generation: Generation(1),
        };
        seen.add(actor.dot(1));
    }
    seen
}
