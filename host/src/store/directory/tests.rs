//! These are the directory's promises: one user, one owner, a known format, and no silent loss.

use super::*;
use crate::store::conformance::small;
use crate::store::{Durability, Store, Write};
use std::collections::BTreeSet;
use std::fs;

fn name(text: &str) -> NodeName {
    text.parse().expect("a name")
}

fn open(path: &Path) -> (Directory, Opened) {
    Directory::open(path, Some(&name("n1")), small()).expect("the directory opens")
}

#[track_caller]
fn refused(path: &Path) -> DirectoryError {
    match Directory::open(path, Some(&name("n1")), small()) {
        Ok(_) => panic!("the directory opens"),
        Err(error) => error,
    }
}

fn put(directory: &Directory, space: Space, key: &str) {
    let write = Write::put(space, key.into(), b"value".to_vec());
    directory
        .store()
        .commit(vec![write], Durability::Synced)
        .expect("the store works");
}

fn has(directory: &Directory, space: Space, key: &str) -> bool {
    directory
        .store()
        .snapshot(space)
        .get(key.as_bytes())
        .expect("the store works")
        .is_some()
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).expect("a copy");
        }
    }
}

#[test]
fn a_new_directory_is_fresh_and_in_no_doubt_and_a_known_one_is_not_fresh() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("deep").join("down");
    let (directory, opened) = open(&path);
    assert!(opened.fresh);
    assert_eq!(opened.doubts, []);
    put(&directory, Space::Partitions, "key");
    directory.close().expect("closes");
    let (directory, again) = open(&path);
    assert!(!again.fresh && again.doubts.is_empty());
    assert_ne!(again.incarnation, opened.incarnation);
    assert!(has(&directory, Space::Partitions, "key"));
}

#[test]
fn every_opening_has_an_incarnation_of_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut seen = BTreeSet::new();
    for _ in 0..5 {
        let (directory, opened) = open(folder.path());
        assert!(seen.insert(opened.incarnation));
        drop(directory);
    }
    let (_, opened) = open(folder.path());
    assert_eq!(opened.doubts, [], "an end without closing loses nothing");
}

#[test]
fn a_second_user_is_refused_and_told_of_the_first() {
    let folder = tempfile::tempdir().expect("a folder");
    let _first = open(folder.path());
    let error = refused(folder.path());
    let own = Some(std::process::id());
    assert!(
        matches!(&error, DirectoryError::InUse { process, .. } if *process == own),
        "{error}"
    );
    assert!(matches!(
        set_aside(folder.path()),
        Err(DirectoryError::InUse { .. })
    ));
}

#[test]
fn the_lock_goes_with_its_holder() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(open(folder.path()));
    drop(open(folder.path()));
}

/// A node may begin again in the same process while a task of its former life notes something.
#[test]
fn a_directory_that_was_closed_can_be_opened_whoever_still_holds_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let (directory, _) = open(folder.path());
    let (notes, held) = (directory.notes(), Arc::clone(&directory.own));
    directory.close().expect("works");
    let (again, _) = open(folder.path());
    notes.note_torn().expect("nothing is noted any more");
    drop(held);
    again.close().expect("works");
    assert!(!open(folder.path()).0.is_torn());
}

#[test]
fn a_directory_of_another_node_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    assert!(matches!(
        Directory::open(folder.path(), None, small()),
        Err(DirectoryError::Nameless)
    ));
    drop(open(folder.path()));
    let other = Directory::open(folder.path(), Some(&name("n2")), small());
    assert!(matches!(other, Err(DirectoryError::OtherName { .. })));
    let (directory, _) = Directory::open(folder.path(), None, small()).expect("no name is needed");
    assert_eq!(directory.name(), name("n1"));
}

#[test]
fn a_newer_format_is_refused_by_number_and_nothing_is_touched() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(open(folder.path()));
    fs::write(
        folder.path().join("format"),
        "soros data directory, format 2\n",
    )
    .expect("a file");
    let identity = fs::read(folder.path().join("identity")).expect("a file");
    let error = refused(folder.path());
    assert!(
        matches!(error, DirectoryError::Newer { found: 2, .. }),
        "{error}"
    );
    assert!(!error.is_damage());
    assert!(matches!(
        set_aside(folder.path()),
        Err(DirectoryError::Newer { .. })
    ));
    assert_eq!(
        fs::read(folder.path().join("identity")).expect("a file"),
        identity
    );
}

#[test]
fn a_damaged_or_missing_identity_or_format_is_refused_by_name() {
    for file in ["identity", "format"] {
        let folder = tempfile::tempdir().expect("a folder");
        drop(open(folder.path()));
        let path = folder.path().join(file);
        fs::write(&path, b"rubbish").expect("a file");
        for _ in 0..2 {
            let error = refused(folder.path());
            assert!(error.is_damage());
            assert!(error.to_string().contains(file), "{error}");
            let _ = fs::remove_file(&path);
        }
    }
}

#[test]
fn remembers_its_cluster_and_takes_no_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let (directory, _) = open(folder.path());
    let notes = directory.notes();
    assert_eq!(notes.cluster(), None);
    notes.set_cluster(ClusterId(1)).expect("works");
    notes.set_cluster(ClusterId(1)).expect("works");
    let other = notes.set_cluster(ClusterId(2));
    assert!(matches!(other, Err(DirectoryError::OtherCluster { .. })));
    drop(directory);
    let (directory, _) = open(folder.path());
    assert_eq!(directory.notes().cluster(), Some(ClusterId(1)));
}

/// A directory whose engine lacks the newest commit, to one space, that the mark tells of.
fn rolled_back(space: Space) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let (engine, copy) = (folder.path().join("engine"), folder.path().join("copy"));
    let (directory, _) = open(folder.path());
    for space in Space::ALL {
        put(&directory, space, "kept");
    }
    copy_folder(&engine, &copy);
    put(&directory, space, "lost");
    drop(directory);
    fs::remove_dir_all(&engine).expect("a folder");
    fs::rename(&copy, &engine).expect("a folder");
    folder
}

#[test]
fn a_rolled_back_engine_is_told_and_the_doubt_stays_until_it_is_resolved() {
    for space in Space::ALL {
        let folder = rolled_back(space);
        let (directory, opened) = open(folder.path());
        assert!(!opened.fresh && directory.notes().is_in_doubt());
        assert!(matches!(opened.doubts[..], [Doubt::Behind { space: of, .. }] if of == space));
        assert!(has(&directory, space, "kept") && !has(&directory, space, "lost"));
        put(&directory, Space::Node, "later");
        drop(directory);
        let (directory, opened) = open(folder.path());
        assert_eq!(opened.doubts, [Doubt::Earlier]);
        directory.notes().resolve_doubt().expect("works");
        drop(directory);
        assert_eq!(open(folder.path()).1.doubts, []);
    }
}

#[test]
fn a_lost_vote_is_told_at_each_start_until_it_is_seen_to() {
    for space in Space::ALL {
        let folder = rolled_back(space);
        for _ in 0..2 {
            // As when the first start after the loss ends early.
            let (directory, _) = open(folder.path());
            assert_eq!(directory.is_vote_lost(), space == Space::Authority);
        }
        let (directory, _) = open(folder.path());
        directory.notes().resolve_vote().expect("works");
        drop(directory);
        let (directory, opened) = open(folder.path());
        assert!(!directory.is_vote_lost());
        assert_eq!(
            opened.doubts,
            [Doubt::Earlier],
            "replicas are in doubt still"
        );
    }
}

#[test]
fn a_directory_that_others_know_better_is_in_doubt_from_the_next_start_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let (directory, _) = open(folder.path());
    let notes = directory.notes();
    notes.doubt().expect("works");
    assert!(notes.is_in_doubt());
    drop(directory);
    notes.resolve_doubt().expect("is nobody's any more");
    let (directory, opened) = open(folder.path());
    assert_eq!(opened.doubts, [Doubt::Earlier]);
    assert!(!directory.is_vote_lost());
}

#[test]
fn a_missing_mark_is_a_doubt() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(open(folder.path()));
    fs::remove_file(folder.path().join("mark")).expect("a mark");
    assert_eq!(open(folder.path()).1.doubts, [Doubt::NoMark]);
}

#[test]
fn a_first_start_that_was_interrupted_begins_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    drop(open(path));
    // As the first start writes it, before its engine is there.
    let identity = read_identity(path).expect("readable").expect("an identity");
    write_identity(
        path,
        &Identity {
            is_founded: false,
            ..identity
        },
    )
    .expect("writable");
    fs::remove_dir_all(path.join("engine")).expect("a folder");
    fs::create_dir(path.join("engine")).expect("a folder");
    fs::write(path.join("engine").join("0.jnl"), b"").expect("a file");
    let (_, opened) = open(path);
    assert!(opened.fresh);
}

#[test]
fn a_damaged_engine_is_refused_and_set_aside() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let (directory, first) = open(path);
    directory.notes().set_cluster(ClusterId(5)).expect("works");
    put(&directory, Space::Partitions, "key");
    drop(directory);
    fs::write(path.join("engine").join("version"), b"rubbish").expect("a file");
    let error = refused(path);
    assert!(error.is_damage(), "{error}");
    assert_eq!(set_aside(path).expect("works"), path.join("damaged-1"));
    assert!(
        path.join("damaged-1")
            .join("engine")
            .join("version")
            .exists()
    );
    let (directory, opened) = Directory::open(path, None, small()).expect("opens");
    assert!(opened.fresh);
    assert_ne!(opened.incarnation, first.incarnation);
    assert_eq!(directory.notes().cluster(), Some(ClusterId(5)));
    assert!(!has(&directory, Space::Partitions, "key"));
}

#[test]
fn setting_aside_ends_before_it_fills_the_disk() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(open(folder.path()));
    for turn in 1..=SET_ASIDE_MAX {
        fs::write(folder.path().join("identity"), b"rubbish").expect("a file");
        assert!(refused(folder.path()).is_damage());
        let aside = set_aside(folder.path()).expect("works");
        assert!(aside.ends_with(format!("damaged-{turn}")));
        let (_, opened) = open(folder.path());
        assert!(opened.fresh);
    }
    let last = set_aside(folder.path());
    assert!(matches!(last, Err(DirectoryError::SetAsideTooOften(_))));
}

#[test]
fn a_closed_directory_is_closed_for_whoever_still_holds_the_store() {
    let folder = tempfile::tempdir().expect("a folder");
    let (directory, _) = open(folder.path());
    put(&directory, Space::Node, "key");
    let store = directory.store();
    let view = store.snapshot(Space::Node);
    directory.close().expect("closes");
    assert!(view.get(b"key").is_err());
    assert!(store.snapshot(Space::Node).get(b"key").is_err());
    let write = Write::put(Space::Node, b"key".to_vec(), Vec::new());
    assert!(store.commit(vec![write], Durability::Synced).is_err());
    assert!(store.reopen().is_err());
    let (_, opened) = open(folder.path());
    assert_eq!(opened.doubts, []);
}

#[test]
fn an_end_that_was_not_clean_is_a_doubt_while_writes_are_answered_before_they_are_synced() {
    let folder = tempfile::tempdir().expect("a folder");
    let (directory, _) = open(folder.path());
    directory.notes().set_unsynced(true).expect("works");
    drop(directory);
    let (directory, opened) = open(folder.path());
    assert_eq!(opened.doubts, [Doubt::Unsynced]);
    assert!(directory.notes().is_in_doubt() && !directory.is_vote_lost());
    drop(directory);
    let (directory, opened) = open(folder.path());
    assert_eq!(opened.doubts, [Doubt::Earlier]);
    directory.notes().resolve_doubt().expect("works");
    directory.notes().set_unsynced(true).expect("works");
    directory.close().expect("works");
    let (directory, opened) = open(folder.path());
    assert_eq!(opened.doubts, [], "all was synced");
    directory.notes().set_unsynced(true).expect("works");
    directory.notes().set_unsynced(false).expect("works");
    drop(directory);
    assert_eq!(open(folder.path()).1.doubts, []);
}

#[test]
fn the_mark_tells_of_no_commit_that_is_not_synced() {
    let folder = tempfile::tempdir().expect("a folder");
    let (directory, _) = open(folder.path());
    put(&directory, Space::Partitions, "synced");
    let marked = || fs::read(folder.path().join("mark")).expect("a file");
    let before = marked();
    let write = Write::put(Space::Partitions, b"unsynced".to_vec(), b"value".to_vec());
    let store = directory.store();
    store
        .commit(vec![write], Durability::Unsynced)
        .expect("the store works");
    assert!(has(&directory, Space::Partitions, "unsynced"));
    assert_eq!(marked(), before);
    store.sync().expect("the store works");
    assert!(before < marked());
}
