//! These are the engine's promises after a crash, a damaged file and a full disk, over real files.

use super::*;
use crate::store::conformance::{engine, small};
use std::fs;

fn put(store: &Engine, space: Space, key: String, value: Vec<u8>) {
    store
        .commit(
            vec![Write::put(space, key.into(), value)],
            Durability::Synced,
        )
        .expect("works");
}

/// A copy of the folder as a killed process leaves it: the files as they are, no closing.
fn killed(path: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("a folder");
    copy_folder(path, copy.path());
    copy
}

fn copy_folder(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            fs::create_dir_all(&target).expect("a folder");
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).expect("a copy");
        }
    }
}

#[test]
fn keeps_every_synced_commit_of_a_killed_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = engine(folder.path());
    for turn in 0..300 {
        put(
            &store,
            Space::ALL[turn % 3],
            format!("key {turn}"),
            vec![7; turn],
        );
    }
    let copy = killed(folder.path());
    let again = engine(copy.path());
    for turn in 0..300 {
        let found = again
            .snapshot(Space::ALL[turn % 3])
            .get(format!("key {turn}").as_bytes());
        assert_eq!(found, Ok(Some(vec![7; turn])));
    }
}

#[test]
fn opens_again_after_a_flush_and_a_clean_end() {
    let folder = tempfile::tempdir().expect("a folder");
    for turn in 0..3 {
        let store = engine(folder.path());
        put(
            &store,
            Space::Node,
            format!("key {turn}"),
            b"value".to_vec(),
        );
        store.flush().expect("works");
    }
    let all = engine(folder.path())
        .snapshot(Space::Node)
        .scan(b"a", b"z", 9)
        .expect("works");
    assert_eq!(all.len(), 3);
}

#[test]
fn a_second_engine_on_the_folder_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let _store = engine(folder.path());
    let second = Engine::open(folder.path(), small());
    assert!(matches!(second, Err(StoreError::Failed(why)) if why.contains("another process")));
}

#[test]
fn refuses_a_commit_that_would_take_the_reserve() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = EngineOptions {
        reserve_bytes: u64::MAX / 2,
        ..small()
    };
    let store = Engine::open(folder.path(), options).expect("opens");
    let write = Write::put(Space::Node, b"key".to_vec(), b"value".to_vec());
    let refused = store.commit(vec![write], Durability::Synced);
    assert!(matches!(refused, Err(StoreError::Full)));
    assert_eq!(store.snapshot(Space::Node).get(b"key"), Ok(None));
    store.flush().expect("a full disk is no failure");
}

#[test]
fn a_failed_engine_takes_nothing_until_it_is_opened_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = engine(folder.path());
    put(&store, Space::Node, "key".to_owned(), b"before".to_vec());
    let view = store.snapshot(Space::Node);
    store.shared.failed.store(true, Ordering::Release);
    let write = || vec![Write::put(Space::Node, b"key".to_vec(), b"after".to_vec())];
    assert!(matches!(
        store.commit(write(), Durability::Synced),
        Err(StoreError::Failed(_))
    ));
    assert_eq!(
        view.get(b"key"),
        Ok(Some(b"before".to_vec())),
        "reads go on"
    );
    store.reopen().expect("opens");
    assert!(matches!(view.get(b"key"), Err(RecordError::Failed(_))));
    store.commit(write(), Durability::Synced).expect("works");
    assert_eq!(
        store.snapshot(Space::Node).get(b"key"),
        Ok(Some(b"after".to_vec()))
    );
}

#[test]
fn refuses_a_folder_with_strange_entries_in_it() {
    for strange in ["keyspaces/lost+found", "x.jnl"] {
        let folder = tempfile::tempdir().expect("a folder");
        drop(engine(folder.path()));
        fs::create_dir(folder.path().join(strange)).expect("a folder");
        let refused = Engine::open(folder.path(), small());
        assert!(matches!(refused, Err(StoreError::Damaged(why)) if why.contains(strange)));
    }
}

#[test]
#[should_panic(expected = "belong to the store")]
fn a_key_of_the_store_itself_is_our_bug() {
    let folder = tempfile::tempdir().expect("a folder");
    put(
        &engine(folder.path()),
        Space::Node,
        "\0".to_owned(),
        Vec::new(),
    );
}
