//! These are the engine's promises on a disk that is really full: a small one in memory, mounted
//! for the test. Where mounting is not permitted the tests say so and check nothing.

use crate::store::conformance::small;
use crate::store::engine::{Engine, EngineOptions};
use crate::store::{Durability, Space, Store, StoreError, Write};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use std::path::Path;

const DISK: &std::ffi::CStr = c"size=64m";
const VALUE_BYTES: usize = 16 << 10;

struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<SmallDisk> {
        let folder = tempfile::tempdir().expect("a folder");
        let mounted = mount("tmpfs", folder.path(), "tmpfs", MountFlags::empty(), DISK);
        if mounted.is_ok() {
            Some(SmallDisk(folder))
        } else {
            eprintln!("SKIPPED 1 test: a small disk cannot be mounted here");
            None
        }
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn fill(&self) {
        let file = std::fs::File::create(self.path().join("filler")).expect("a file");
        let mut whole = 1 << 20;
        while 0 < whole {
            let block = vec![1; whole];
            while std::io::Write::write_all(&mut &file, &block).is_ok() {}
            whole /= 16;
        }
    }

    fn free(&self) {
        std::fs::remove_file(self.path().join("filler")).expect("the filler");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        unmount(self.path(), UnmountFlags::DETACH).expect("the small disk goes");
    }
}

fn key(turn: usize) -> Vec<u8> {
    format!("key {turn:06}").into_bytes()
}

fn put(store: &Engine, turn: usize) -> Result<(), StoreError> {
    let write = Write::put(Space::Partitions, key(turn), vec![7; VALUE_BYTES]);
    store.commit(vec![write], Durability::Synced)
}

/// Commits until one fails: how many were kept, and how the next one failed.
fn put_until_refused(store: &Engine, from: usize) -> (usize, StoreError) {
    let refusal = |turn| put(store, turn).err().map(|error| (turn, error));
    (from..10_000).find_map(refusal).expect("the disk is small")
}

#[track_caller]
fn assert_kept(store: &Engine, kept: usize) {
    let view = store.snapshot(Space::Partitions);
    for turn in 0..kept {
        assert_eq!(
            view.get(&key(turn)),
            Ok(Some(vec![7; VALUE_BYTES])),
            "commit {turn}"
        );
    }
}

#[test]
fn a_reserve_keeps_the_engine_well_and_room_brings_the_writes_back() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let room = disk.path().join("room");
    std::fs::write(&room, vec![1; 24 << 20]).expect("there is room");
    let options = EngineOptions {
        reserve_bytes: 8 << 20,
        ..small()
    };
    let store = Engine::open(&disk.path().join("engine"), options).expect("opens");
    let (kept, error) = put_until_refused(&store, 0);
    assert!(0 < kept && matches!(error, StoreError::Full), "{error}");
    assert_kept(&store, kept);
    disk.fill();
    assert!(matches!(put(&store, kept), Err(StoreError::Full)));
    assert_kept(&store, kept);
    disk.free();
    std::fs::remove_file(room).expect("a file");
    // A compaction may have met the full disk; whoever commits next finds out and opens again.
    if put(&store, kept).is_err() {
        store.reopen().expect("opens");
        put(&store, kept).expect("works");
    }
    assert_kept(&store, kept + 1);
}

#[test]
fn an_engine_that_ran_out_of_disk_opens_again_with_all_that_was_synced() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let options = EngineOptions {
        reserve_bytes: 1 << 20,
        ..small()
    };
    let store = Engine::open(&disk.path().join("engine"), options).expect("opens");
    for turn in 0..30 {
        put(&store, turn).expect("there is room");
    }
    disk.fill();
    let error = store.flush().expect_err("there is no room for a table");
    assert!(
        matches!(error, StoreError::Failed(_) | StoreError::NotOpen(_)),
        "{error}"
    );
    assert!(matches!(store.reopen(), Err(StoreError::Full)));
    assert_kept(&store, 30);
    disk.free();
    assert!(matches!(put(&store, 30), Err(StoreError::NotOpen(_))));
    store.reopen().expect("opens");
    put(&store, 30).expect("works");
    store.flush().expect("works");
    assert_kept(&store, 31);
}

#[test]
fn an_engine_without_a_reserve_neither_hangs_nor_loses_when_it_takes_the_last_byte() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let store = Engine::open(&disk.path().join("engine"), small()).expect("opens");
    let (kept, error) = put_until_refused(&store, 0);
    assert!(!matches!(error, StoreError::Damaged(_)), "{error}");
    assert_kept(&store, kept);
    drop(store);
    match Engine::open(&disk.path().join("engine"), small()) {
        Ok(again) => assert_kept(&again, kept),
        Err(error) => assert!(!matches!(error, StoreError::Damaged(_)), "{error}"),
    }
}
