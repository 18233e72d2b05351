//! These are the rules of [`Store`], checked on every engine by the same tests.

use crate::store::engine::{Engine, EngineOptions};
use crate::store::memory::Memory;
use crate::store::{Durability, Space, Store, StoreError, Write, scan};
use proptest::prelude::{Strategy, any, proptest};
use proptest::test_runner::Config;
use proptest::{collection, option};
use soros_core::record::{Record, RecordError};
use std::collections::BTreeMap;
use std::path::Path;

pub(crate) fn small() -> EngineOptions {
    EngineOptions {
        cache_bytes: 1 << 20,
        memtable_bytes: 1 << 20,
        reserve_bytes: 0,
        ..EngineOptions::default()
    }
}

pub(crate) fn engine(path: &Path) -> Engine {
    Engine::open(path, small()).expect("the engine opens")
}

fn on_each(check: impl Fn(&dyn Store)) {
    let folder = tempfile::tempdir().expect("a folder");
    check(&engine(folder.path()));
    check(&Memory::new(1));
}

fn put(store: &dyn Store, space: Space, key: &str, value: &str) {
    let write = Write::put(space, key.into(), value.into());
    store
        .commit(vec![write], Durability::Synced)
        .expect("the store works");
}

fn get(store: &dyn Store, space: Space, key: &str) -> Option<Vec<u8>> {
    store
        .snapshot(space)
        .get(key.as_bytes())
        .expect("the store works")
}

#[test]
fn reads_back_what_was_committed() {
    on_each(|store| {
        put(store, Space::Node, "key", "one");
        assert_eq!(get(store, Space::Node, "key"), Some(b"one".to_vec()));
        put(store, Space::Node, "key", "two");
        assert_eq!(get(store, Space::Node, "key"), Some(b"two".to_vec()));
        let removal = vec![Write::remove(Space::Node, b"key".to_vec())];
        store
            .commit(removal, Durability::Synced)
            .expect("the store works");
        assert_eq!(get(store, Space::Node, "key"), None);
    });
}

#[test]
fn lists_the_keys_there_are_in_order() {
    on_each(|store| {
        for key in ["b", "a", "c", "d"] {
            put(store, Space::Authority, key, "1");
        }
        put(store, Space::Node, "e", "1");
        let removal = vec![Write::remove(Space::Authority, b"b".to_vec())];
        store
            .commit(removal, Durability::Synced)
            .expect("the store works");
        let keys = |to: &str, limit| {
            let keys = store.keys(Space::Authority, &[1], to.as_bytes(), limit);
            keys.expect("the store works")
        };
        assert_eq!(keys("d", 9), [b"a", b"c"]);
        assert_eq!(keys("z", 2), [b"a", b"c"]);
    });
}

#[test]
fn keeps_the_spaces_apart() {
    on_each(|store| {
        for space in Space::ALL {
            put(store, space, "key", space.name());
        }
        for space in Space::ALL {
            assert_eq!(get(store, space, "key"), Some(space.name().into()));
        }
    });
}

#[test]
fn commits_over_several_spaces_at_once_the_last_write_of_a_key_counting() {
    on_each(|store| {
        let writes = vec![
            Write::put(Space::Partitions, b"a".to_vec(), b"1".to_vec()),
            Write::put(Space::Authority, b"b".to_vec(), b"2".to_vec()),
            Write::put(Space::Partitions, b"c".to_vec(), b"3".to_vec()),
            Write::put(Space::Partitions, b"a".to_vec(), b"4".to_vec()),
            Write::remove(Space::Partitions, b"c".to_vec()),
        ];
        store
            .commit(writes, Durability::Synced)
            .expect("the store works");
        assert_eq!(get(store, Space::Partitions, "a"), Some(b"4".to_vec()));
        assert_eq!(get(store, Space::Authority, "b"), Some(b"2".to_vec()));
        assert_eq!(get(store, Space::Partitions, "c"), None);
    });
}

#[test]
fn shows_a_snapshot_as_it_was_whatever_comes_later() {
    on_each(|store| {
        put(store, Space::Node, "key", "before");
        let view = store.snapshot(Space::Node);
        for turn in 0..400 {
            put(store, Space::Node, "key", &format!("after {turn}"));
            put(store, Space::Node, "new", "after");
        }
        store.flush().expect("the store works");
        assert_eq!(view.get(b"key"), Ok(Some(b"before".to_vec())));
        let all = view.scan(b"a", b"z", 10);
        assert_eq!(all, Ok(vec![(b"key".to_vec(), b"before".to_vec())]));
    });
}

#[test]
fn shows_what_is_unsynced_and_syncs_it_with_what_comes_later() {
    on_each(|store| {
        put(store, Space::Node, "key", "synced");
        let write = Write::put(Space::Node, b"key".to_vec(), b"unsynced".to_vec());
        store
            .commit(vec![write], Durability::Unsynced)
            .expect("the store works");
        assert_eq!(get(store, Space::Node, "key"), Some(b"unsynced".to_vec()));
        store.sync().expect("the store works");
        put(store, Space::Authority, "other", "synced");
        assert_eq!(get(store, Space::Node, "key"), Some(b"unsynced".to_vec()));
    });
}

#[test]
fn the_twin_keeps_in_a_crash_what_was_synced_since_it_was_committed() {
    let syncs: [fn(&Memory); 2] = [
        |store| store.sync().expect("the store works"),
        |store| put(store, Space::Authority, "other", "synced"),
    ];
    for sync in syncs {
        let store = Memory::new(1);
        let write = Write::put(Space::Node, b"key".to_vec(), b"unsynced".to_vec());
        store
            .commit(vec![write], Durability::Unsynced)
            .expect("the store works");
        assert_eq!(store.unsynced(), 1);
        sync(&store);
        store.crash();
        assert_eq!(key_and_value(&store), Ok(Some(b"unsynced".to_vec())));
    }
}

#[test]
fn answers_scans_of_empty_and_backward_ranges() {
    on_each(|store| {
        put(store, Space::Node, "b", "1");
        for (from, to, limit) in [("b", "b", 9), ("c", "a", 9), ("", "", 9), ("a", "z", 0)] {
            let found = scan(store, Space::Node, from.as_bytes(), to.as_bytes(), limit);
            assert_eq!(found, Ok(Vec::new()), "{from}..{to}");
        }
        let all = scan(store, Space::Node, b"", &[0xff], usize::MAX).expect("the store works");
        assert_eq!(all, [(b"b".to_vec(), b"1".to_vec())]);
    });
}

#[test]
fn reopening_a_store_that_works_changes_nothing() {
    on_each(|store| {
        put(store, Space::Node, "key", "value");
        let view = store.snapshot(Space::Node);
        store.reopen().expect("the store works");
        assert_eq!(view.get(b"key"), Ok(Some(b"value".to_vec())));
        assert!(0 < store.bytes());
    });
}

#[derive(Clone, Debug)]
struct Scan {
    from: Vec<u8>,
    to: Vec<u8>,
    limit: usize,
}

type Change = (Vec<u8>, Option<Vec<u8>>);

fn key() -> impl Strategy<Value = Vec<u8>> {
    collection::vec(1_u8..5, 1..4)
}

fn commits() -> impl Strategy<Value = Vec<Vec<Change>>> {
    let change = (key(), option::weighted(0.7, any::<Vec<u8>>()));
    collection::vec(collection::vec(change, 1..6), 1..12)
}

fn scans() -> impl Strategy<Value = Vec<Scan>> {
    let scan = (key(), key(), 0_usize..9).prop_map(|(from, to, limit)| Scan { from, to, limit });
    collection::vec(scan, 1..6)
}

fn expected(model: &BTreeMap<Vec<u8>, Vec<u8>>, scan: &Scan) -> Vec<Record> {
    let within = model
        .iter()
        .filter(|(key, _)| scan.from <= **key && **key < scan.to);
    within
        .take(scan.limit)
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

proptest! {
    #![proptest_config(Config::with_cases(12))]
    #[test]
    fn scans_like_an_ordered_map(commits in commits(), scans in scans()) {
        on_each(|store| {
            let mut model = BTreeMap::new();
            for (number, changes) in commits.iter().enumerate() {
                let mut writes = Vec::new();
                for (key, value) in changes {
                    match value {
                        Some(value) => drop(model.insert(key.clone(), value.clone())),
                        None => drop(model.remove(key)),
                    }
                    let (key, value) = (key.clone(), value.clone());
                    writes.push(Write { space: Space::Partitions, key, value });
                }
                store.commit(writes, Durability::Synced).expect("the store works");
                if number == 3 {
                    store.flush().expect("the store works");
                }
            }
            let view = store.snapshot(Space::Partitions);
            for scan in &scans {
                let found = view.scan(&scan.from, &scan.to, scan.limit);
                let expected = expected(&model, scan);
                let listed = view.list(&scan.from, &scan.to, scan.limit).expect("it works");
                let keys = |records: &[Record]| -> Vec<_> {
                    records.iter().map(|(key, _)| key.clone()).collect()
                };
                let listed: Vec<_> = listed.into_iter().map(|one| one.key).collect();
                assert_eq!(listed, keys(&expected));
                assert_eq!(found, Ok(expected));
            }
        });
    }
}

fn key_and_value(store: &dyn Store) -> Result<Option<Vec<u8>>, RecordError> {
    store.snapshot(Space::Node).get(b"key")
}

#[test]
fn the_twin_loses_in_a_crash_what_was_not_synced() {
    let store = Memory::new(1);
    put(&store, Space::Node, "key", "synced");
    let old = store.snapshot(Space::Node);
    let write = Write::put(Space::Node, b"key".to_vec(), b"unsynced".to_vec());
    store
        .commit(vec![write], Durability::Unsynced)
        .expect("the store works");
    store.crash();
    assert_eq!(key_and_value(&store), Ok(Some(b"synced".to_vec())));
    assert!(matches!(old.get(b"key"), Err(RecordError::Failed(_))));
}

#[test]
fn the_twin_tears_a_commit_into_all_or_nothing_by_its_seed() {
    let outcome = |seed| {
        let store = Memory::new(seed);
        let write = |key: &str| Write::put(Space::Node, key.into(), b"torn".to_vec());
        store.tear(vec![write("a"), write("b")]);
        let found = ["a", "b"].map(|key| get(&store, Space::Node, key).is_some());
        assert_eq!(found[0], found[1]);
        found[0]
    };
    let outcomes: Vec<bool> = (0..32).map(outcome).collect();
    assert!(outcomes.contains(&true) && outcomes.contains(&false));
    assert_eq!(outcomes, (0..32).map(outcome).collect::<Vec<_>>());
}

#[test]
fn the_twin_forgets_the_end_of_its_journal() {
    let store = Memory::new(1);
    for turn in 0..600 {
        put(&store, Space::Node, "key", &turn.to_string());
    }
    store.cut(2);
    assert_eq!(key_and_value(&store), Ok(Some(b"597".to_vec())));
    put(&store, Space::Node, "key", "again");
    store.cut(1);
    assert_eq!(key_and_value(&store), Ok(Some(b"597".to_vec())));
    store.cut(200);
    assert_eq!(key_and_value(&store), Ok(Some(b"397".to_vec())));
}

#[test]
fn the_twin_flips_bits_that_are_noticed() {
    let store = Memory::new(7);
    put(&store, Space::Node, "key", "value");
    assert!(!store.flip(Space::Node, b"other"));
    assert!(store.flip(Space::Node, b"key"));
    assert!(matches!(
        key_and_value(&store),
        Err(RecordError::Damaged(_))
    ));
    let found = scan(&store, Space::Node, b"a", b"z", 9);
    assert!(matches!(found, Err(RecordError::Damaged(_))));
}

#[test]
fn the_twin_answers_like_a_full_and_like_a_broken_disk() {
    let store = Memory::new(3);
    put(&store, Space::Node, "key", "kept");
    let write = || vec![Write::put(Space::Node, b"key".to_vec(), b"new".to_vec())];
    store.set_full(true);
    assert!(matches!(
        store.commit(write(), Durability::Synced),
        Err(StoreError::Full)
    ));
    store.set_full(false);
    assert_eq!(key_and_value(&store), Ok(Some(b"kept".to_vec())));
    store.fail_next(crate::store::memory::Fault::Broken);
    assert!(matches!(
        store.commit(write(), Durability::Synced),
        Err(StoreError::Failed(_))
    ));
    assert!(matches!(
        store.commit(write(), Durability::Synced),
        Err(StoreError::NotOpen(_))
    ));
    store.reopen().expect("the twin opens again");
    store
        .commit(write(), Durability::Synced)
        .expect("the store works");
    assert_eq!(key_and_value(&store), Ok(Some(b"new".to_vec())));
}
