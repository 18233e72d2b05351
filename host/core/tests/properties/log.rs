//! This is the dot log as it keeps to its bounds while a replica is away that needs it.

use crate::memory::Memory;
use crate::transfers::{Node, node, write};
use soros_core::dot::Dot;
use soros_core::dot_set::DotSet;
use soros_core::replica::{Difference, LogBounds};
use std::time::Duration;

const HOUR: Duration = Duration::from_hours(1);
const PLENTY: u64 = 1 << 40;

/// The bytes of the log as stored: what the state says of them must be true.
fn log_bytes(node: &Node) -> u64 {
    let clock = &node.replica.state().clock;
    let layout = node.replica.layout();
    let of_actor = |actor| {
        let range = layout.log(&Dot { actor, counter: 0 })..layout.log(&Dot {
            actor,
            counter: u64::MAX,
        });
        let Memory { records, .. } = &node.disk;
        records
            .range(range)
            .map(|(key, value)| (key.len() + value.len()) as u64)
            .sum::<u64>()
    };
    let bytes = clock.seen().actors().copied().map(of_actor).sum();
    assert_eq!(node.replica.state().log_bytes, bytes);
    bytes
}

fn bound(node: &mut Node, bytes: u64, hours: u32, now: u32) {
    let age = HOUR * hours;
    let bounds = LogBounds { bytes, age };
    let more = |node: &mut Node| {
        let bounded = node.replica.bound_log(&mut node.disk, bounds, HOUR * now);
        bounded.expect("memory does not fail")
    };
    while more(node) {}
    node.replica.save(&mut node.disk);
}

#[test]
fn is_cut_when_it_is_too_large_and_no_further() {
    let mut node = node(1);
    for key in 0..10 {
        write(&mut node, key, DotSet::default(), true);
    }
    let of_ten = log_bytes(&node);
    for key in 10..1_000 {
        write(&mut node, key, DotSet::default(), true);
        bound(&mut node, 2 * of_ten, 24, 0);
        let bytes = log_bytes(&node);
        assert!(of_ten <= bytes, "{bytes} after {key}");
        assert!(bytes <= 2 * of_ten, "{bytes} after {key}");
    }
}

#[test]
fn is_cut_when_it_is_too_old_and_the_rest_is_kept() {
    let mut node = node(1);
    write(&mut node, 1, DotSet::default(), true);
    let of_one = log_bytes(&node);
    bound(&mut node, PLENTY, 24, 1);
    write(&mut node, 2, DotSet::default(), true);
    bound(&mut node, PLENTY, 24, 20);
    assert_eq!(log_bytes(&node), 2 * of_one);
    bound(&mut node, PLENTY, 24, 25);
    assert_eq!(log_bytes(&node), of_one);
    bound(&mut node, PLENTY, 24, 44);
    assert_eq!(log_bytes(&node), 0);
}

#[test]
fn who_needs_what_was_cut_is_told_that_the_log_is_too_short() {
    let mut sender = node(1);
    let behind = node(2);
    for key in 0..600 {
        write(&mut sender, key, DotSet::default(), true);
    }
    bound(&mut sender, 1, 24, 0);
    let view = sender.replica.view(&sender.disk);
    let difference = view.difference(behind.replica.state().clock.seen(), 1 << 20);
    let difference = difference.map(|difference| difference.found);
    assert_eq!(difference, Ok(Difference::LogTooShort));
}
