//! This is what a replica's records must say: read from the disk alone and compared with the naive
//! model and with what the replica believes of itself.

use crate::cluster::{KEYS, Node, entry, place};
use crate::history::{History, WriteId};
use soros_core::closed::{Met, met};
use soros_core::codec::{Codec, Reader};
use soros_core::dot::Dot;
use soros_core::dot_set::DotSet;
use soros_core::object::Object;
use soros_core::place::{Entry, Layout};
use soros_core::sum::Sum;
use std::collections::BTreeSet;

/// The number of an entry's key.
pub(crate) fn key_of(wanted: &Entry) -> usize {
    let found = (0..KEYS).find(|key| entry(*key) == *wanted);
    found.expect("an entry that was written")
}

/// A stored object and the blocker beside it.
fn stored(bytes: &[u8]) -> (Option<Dot>, Object) {
    let mut reader = Reader::new(bytes);
    let blocker = reader.option().expect("a blocker");
    let object = Object::decode(&mut reader).expect("an object");
    reader.finish().expect("nothing more");
    (blocker, object)
}

/// The stored objects of a node.
fn objects(node: &Node) -> Vec<(Entry, Option<Dot>, Object)> {
    let (from, to) = node.replica.layout().objects();
    let found = node.disk.records.range(from..to).map(|(key, bytes)| {
        let (blocker, object) = stored(bytes);
        let entry = Layout::entry_of_object(key).expect("an object's key");
        (entry, blocker, object)
    });
    found.collect()
}

/// The records of a node whose key has `kind` behind the generation.
fn keys_of_kind(node: &Node, kind: u8) -> Vec<&[u8]> {
    let clock = node.replica.layout().clock();
    let head = &clock[..clock.len() - 1];
    let of_kind = |key: &&Vec<u8>| key.starts_with(head) && key.get(head.len()) == Some(&kind);
    let keys = node.disk.records.keys().filter(of_kind);
    keys.map(Vec::as_slice).collect()
}

/// The filled object of a key has exactly the model's versions, and has met exactly its writes.
pub(crate) fn assert_cell(node: &Node, key: usize, history: &History) {
    let object = node.view_object(key);
    let cell = &node.cells[key];
    let has: BTreeSet<WriteId> = object.versions.keys().map(|dot| history.id(dot)).collect();
    let clock = &node.replica.state().clock;
    // A tombstone leaves the disk, and its twins elsewhere, once nothing needs it; a value never.
    let gone = cell.versions.difference(&has).map(|id| history.fact(*id));
    assert!(
        !gone.clone().any(|fact| fact.is_live),
        "a value of key {key} vanished"
    );
    assert!(has.is_subset(&cell.versions), "versions of key {key}");
    for (id, fact) in history.of_key(key) {
        let met = met(&object.context, &fact.dot, &[clock.closed()]) == Met::Yes;
        assert_eq!(met, cell.met.contains(&id), "whether {id:?} was met");
        assert!(!clock.has(&fact.dot) || met, "a clock ahead of its object");
    }
}

/// The sum and the counts are those of the records.
pub(crate) fn assert_figures(node: &Node, history: &History) {
    let state = node.replica.state();
    let (mut sum, mut live_keys) = (Sum::default(), 0);
    let mut waiting = BTreeSet::new();
    for (entry, blocker, object) in objects(node) {
        live_keys += u64::from(object.is_live());
        for (dot, version) in &object.versions {
            assert_eq!(
                version.value.is_some(),
                history.fact(history.id(dot)).is_live
            );
            if version.value.is_some() {
                sum.toggle(entry.bucket, &entry.key, dot);
            }
        }
        if let Some(blocker) = blocker {
            waiting.insert(node.replica.layout().unstripped(&blocker, &entry));
        }
    }
    assert_eq!(state.sum, sum, "the sum of the live versions");
    assert_eq!(state.live_keys, live_keys, "the keys with a live version");
    assert_eq!(state.unstripped, waiting.len() as u64);
    let index: BTreeSet<Vec<u8>> = keys_of_kind(node, b'U')
        .into_iter()
        .map(<[u8]>::to_vec)
        .collect();
    assert_eq!(index, waiting, "the index of objects that wait");
    let saved = node.disk.records.get(&node.replica.layout().clock());
    if let Some(saved) = saved {
        assert_eq!(saved, &state.to_record(), "the clock record");
    }
}

/// Every log entry names the key of its dot.
pub(crate) fn assert_log(node: &Node, history: &History) {
    for key in keys_of_kind(node, b'L') {
        let dot = key.last_chunk::<36>().expect("a dot");
        let dot = Dot::from_bytes(dot).expect("a dot");
        let entry = Layout::entry(&node.disk.records[key]).expect("an entry");
        assert_eq!(key_of(&entry), history.fact(history.id(&dot)).key);
    }
}

/// Every object either waits for a dot that the base has yet to pass, or is as small as it can be:
/// what is stripped twice is stripped the same.
pub(crate) fn assert_settled(node: &Node) {
    let clock = &node.replica.state().clock;
    for (entry, blocker, object) in objects(node) {
        if let Some(blocker) = blocker {
            assert!(!clock.is_under_base(&blocker), "{entry:?} waits in vain");
        } else {
            assert_eq!(object.clone().strip(clock), object, "{entry:?}");
            assert_eq!(object.blocker(clock), None, "{entry:?} is in no index");
            assert!(!object.is_absent(), "{entry:?} need not be stored");
        }
    }
}

/// When all is known everywhere, a disk holds the clock record and live objects, without contexts.
pub(crate) fn assert_nothing_left_over(node: &Node) {
    for (entry, blocker, object) in objects(node) {
        assert!(object.is_live(), "{entry:?} is a tombstone");
        assert_eq!(object.context, DotSet::default());
        assert_eq!(blocker, None);
    }
    assert_eq!(keys_of_kind(node, b'U').len(), 0, "objects that wait");
    assert_eq!(keys_of_kind(node, b'L').len(), 0, "log entries");
    assert_eq!(node.replica.layout().place(), place());
}
