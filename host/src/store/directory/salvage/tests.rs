//! These are a salvage's promises: what it keeps is whole, what it lost is known for damaged, no
//! loss is told of what is there, and it can be broken off anywhere.

use super::super::Doubt;
use super::*;
use crate::store::conformance::small;
use crate::store::{Durability, Write};
use soros_core::id::{Generation, PlacementId};
use soros_core::key::Partition;
use soros_core::place::{Layout, Place};
use std::collections::BTreeSet;
use std::fs;

const PARTITIONS: u16 = 16;
/// How many records each partition has.
const RECORDS: u32 = 60;
/// How many each of the other spaces has: the numbers of commits are far from the middle.
const OTHERS: u32 = 600;

fn place(partition: u16) -> Place {
    Place {
        placement: PlacementId(1),
        partition: Partition::from_wire(partition),
    }
}

fn key(partition: u16, at: u32) -> Vec<u8> {
    Layout::new(place(partition), Generation(1)).closed(at)
}

fn value(at: u32) -> Vec<u8> {
    // Nothing that a table would make small.
    blake3::hash(&at.to_be_bytes()).as_bytes().repeat(2)
}

fn open(path: &Path) -> (Directory, super::super::Opened) {
    let name = "n1".parse().expect("a name");
    Directory::open(path, Some(&name), small()).expect("the directory opens")
}

fn directory() -> tempfile::TempDir {
    directory_of(OTHERS)
}

/// Records of partitions and of the other spaces, all in tables.
fn directory_of(others: u32) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let (directory, _) = open(folder.path());
    let store = directory.store();
    for partition in 0..PARTITIONS {
        let life = Layout::life(place(partition));
        let mut writes = vec![Write::put(Space::Partitions, life, vec![0, 0, 0, 1])];
        for at in 0..RECORDS {
            writes.push(Write::put(Space::Partitions, key(partition, at), value(at)));
        }
        store.commit(writes, Durability::Synced).expect("works");
    }
    for space in [Space::Node, Space::Authority] {
        let records = (0..others).map(|at| Write::put(space, at_key(at), value(at)));
        store
            .commit(records.collect(), Durability::Synced)
            .expect("works");
    }
    directory.close().expect("works");
    folder
}

fn at_key(at: u32) -> Vec<u8> {
    format!("key {at:03}").into_bytes()
}

/// Flips a bit in the middle of the largest table of a keyspace.
fn damage(path: &Path, keyspace: u8) {
    let folder = path.join(format!("engine/keyspaces/{keyspace}/tables"));
    let tables = fs::read_dir(folder).expect("a folder");
    let tables = tables.map(|table| table.expect("an entry").path());
    let len = |table: &PathBuf| table.metadata().expect("a file").len();
    let table = tables.max_by_key(len).expect("a table");
    let mut bytes = fs::read(&table).expect("a file");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(table, bytes).expect("a file");
}

/// Whether the partition can be read; then all of it is there.
#[track_caller]
fn is_kept(directory: &Directory, partition: u16) -> bool {
    let records = directory.store().snapshot(Space::Partitions);
    match records.get(&Layout::life(place(partition))) {
        Ok(life) => {
            assert_eq!(life, Some(vec![0, 0, 0, 1]));
            let (from, to) = Layout::state(place(partition));
            let found = records.scan(&from, &to, usize::MAX).expect("works");
            let written = (0..RECORDS).map(|at| (key(partition, at), value(at)));
            assert_eq!(found, written.collect::<Vec<_>>());
            true
        }
        Err(RecordError::Damaged(_)) => {
            let (from, to) = Layout::state(place(partition));
            assert_eq!(records.scan(&from, &to, 1), Ok(Vec::new()));
            false
        }
        Err(error) => panic!("{error}"),
    }
}

#[track_caller]
fn has_all(directory: &Directory, space: Space) -> bool {
    let records = directory.store().snapshot(space);
    let found = records.scan(&[1], &[0xff; 64], usize::MAX).expect("works");
    found.len() == usize::try_from(OTHERS).expect("few")
}

#[test]
fn partitions_that_cannot_be_read_are_known_for_it_and_all_else_is_kept() {
    let folder = directory();
    damage(folder.path(), 1);
    let (before, _) = open(folder.path());
    assert!(!before.is_torn());
    before.notes().note_torn().expect("works");
    drop(before);
    let (before, _) = open(folder.path());
    assert!(before.is_torn());
    drop(before);
    let (saved, aside) = salvage(folder.path(), small()).expect("works");
    assert_eq!(saved.partitions, usize::from(PARTITIONS));
    assert!(0 < saved.lost && saved.lost <= 3, "{saved:?}");
    assert!(!saved.is_list_cut && !saved.is_node_lost && !saved.is_authority_lost);
    assert!(aside.join("engine").exists());
    for _ in 0..2 {
        let (directory, opened) = open(folder.path());
        assert!(opened.doubts.is_empty() && !opened.fresh, "{opened:?}");
        assert!(!directory.is_torn() && !directory.is_vote_lost());
        let lost = (0..PARTITIONS).filter(|one| !is_kept(&directory, *one));
        assert_eq!(lost.count(), saved.lost);
        assert!(has_all(&directory, Space::Node) && has_all(&directory, Space::Authority));
        directory.store().flush().expect("works");
        directory.close().expect("works");
    }
}

#[test]
fn authority_records_that_cannot_be_read_go_alone() {
    let folder = directory();
    damage(folder.path(), 3);
    let (before, _) = open(folder.path());
    assert!(before.is_torn(), "it need not be told so");
    drop(before);
    let (saved, _) = salvage(folder.path(), small()).expect("works");
    assert!(saved.is_authority_lost && !saved.is_node_lost && saved.lost == 0);
    let (directory, opened) = open(folder.path());
    assert!(opened.doubts.is_empty());
    assert!((0..PARTITIONS).all(|one| is_kept(&directory, one)));
    assert!(has_all(&directory, Space::Node));
    let left = directory
        .store()
        .keys(Space::Authority, &[1], &[0xff; 64], 1);
    assert_eq!(left, Ok(Vec::new()));
}

#[test]
fn a_directory_that_does_not_open_for_a_damaged_table_is_saved_and_in_doubt() {
    // The numbers of commits are near the middle.
    let folder = directory_of(60);
    damage(folder.path(), 3);
    let name = "n1".parse().expect("a name");
    let refused = Directory::open(folder.path(), Some(&name), small()).map(drop);
    assert!(refused.is_err_and(|error| error.is_damage()));
    let (saved, _) = salvage_unopened(folder.path(), small()).expect("works");
    assert!(saved.is_authority_lost && !saved.is_node_lost && saved.lost == 0);
    let (directory, opened) = open(folder.path());
    assert_eq!(opened.doubts, [Doubt::Earlier]);
    assert!(directory.is_vote_lost());
    assert!((0..PARTITIONS).all(|one| is_kept(&directory, one)));
}

/// The power may go after each step that is durable.
#[test]
fn a_salvage_is_done_once_wherever_it_is_broken_off() {
    let folder = directory();
    let (path, engine) = (folder.path(), folder.path().join("engine"));
    let (before, _) = open(path);
    before.notes().note_torn().expect("works");
    before.close().expect("works");
    let torn = fs::read(path.join("identity")).expect("a file");
    let is_torn = || {
        let (directory, opened) = open(path);
        assert!(opened.doubts.is_empty() && has_all(&directory, Space::Node));
        let is_torn = directory.is_torn();
        directory.close().expect("works");
        is_torn
    };
    // The new engine is whole, and the folder for the old one is there, but the old one is not in.
    fs::create_dir(path.join(FINISHED)).expect("a folder");
    fs::create_dir(path.join("damaged-1")).expect("a folder");
    assert!(is_torn(), "nothing was saved yet");
    let (_, aside) = salvage(path, small()).expect("works");
    assert!(aside.ends_with("damaged-1") && aside.join("engine").exists());
    assert!(!is_torn());
    // The old engine is in, but the directory still says that a table is damaged.
    fs::write(path.join("identity"), torn).expect("a file");
    fs::rename(&engine, path.join(FINISHED)).expect("a folder");
    assert!(!is_torn(), "it would be saved twice");
}

/// What a salvage leaves when its process ends before it is done.
#[test]
fn a_salvage_that_was_broken_off_is_ended_or_forgotten() {
    let folder = directory();
    let (path, engine) = (folder.path(), folder.path().join("engine"));
    for left in [UNFINISHED, FINISHED] {
        fs::create_dir(path.join(left)).expect("a folder");
        let (directory, opened) = open(path);
        assert!(
            opened.doubts.is_empty() && has_all(&directory, Space::Node),
            "{left}"
        );
        assert!(!path.join(left).exists());
        directory.close().expect("works");
    }
    let (_, aside) = salvage(path, small()).expect("works");
    fs::rename(&engine, path.join(FINISHED)).expect("a folder");
    let (directory, opened) = open(path);
    assert!(opened.doubts.is_empty() && has_all(&directory, Space::Node));
    drop(directory);
    assert!(aside.join("engine").exists());
}

#[test]
fn a_salvage_that_cannot_be_leaves_the_directory_as_it_was() {
    let folder = directory();
    damage(folder.path(), 1);
    let full = EngineOptions {
        reserve_bytes: u64::MAX,
        ..small()
    };
    let refused = salvage(folder.path(), full);
    assert!(
        matches!(refused, Err(DirectoryError::NoRoom(_))),
        "{refused:?}"
    );
    let (directory, opened) = open(folder.path());
    assert!(opened.doubts.is_empty() && has_all(&directory, Space::Node));
    drop(directory);
    let names: BTreeSet<_> = fs::read_dir(folder.path())
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert!(
        !names
            .iter()
            .any(|name| name.to_string_lossy().starts_with("salvag"))
    );
    assert!(!folder.path().join("damaged-1").exists());
}
