//! These are the engine's promises on a disk that is really full: a small one in memory, mounted
//! for the test. Where mounting is not permitted the tests say so and check nothing.

use crate::store::conformance::small;
use crate::store::engine::{Engine, EngineOptions};
use crate::store::room::{Marks, Permille, Room, Usage};
use crate::store::{Durability, Space, Store, StoreError, Write};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long the engine may take to see that there is room, or to make some.
const PATIENCE: Duration = Duration::from_mins(1);
const DISK: &std::ffi::CStr = c"size=64m";
/// What the engine may hold where it frees what was deleted.
const CAPACITY: u64 = 24 << 20;
const VALUE_BYTES: usize = 16 << 10;

pub(super) struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    pub(super) fn mount() -> Option<SmallDisk> {
        let folder = tempfile::tempdir().expect("a folder");
        let mounted = mount("tmpfs", folder.path(), "tmpfs", MountFlags::empty(), DISK);
        if mounted.is_ok() {
            Some(SmallDisk(folder))
        } else {
            eprintln!("SKIPPED 1 test: a small disk cannot be mounted here");
            None
        }
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(super) fn fill(&self) {
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

/// Waits until the engine has done something by itself.
#[track_caller]
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "it took too long until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn the_high_mark_is_passed_and_left_again_with_what_others_write() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let marks = Marks {
        high: Permille::new(500),
        capacity: None,
    };
    let options = EngineOptions { marks, ..small() };
    let store = Engine::open(&disk.path().join("engine"), options).expect("opens");
    assert_eq!(store.disk().room, Room::Ample);
    let foreign = disk.path().join("foreign");
    std::fs::write(&foreign, vec![1; 40 << 20]).expect("there is room");
    wait_until("the mark is passed", || store.disk().room == Room::High);
    put(&store, 0).expect("the engine itself refuses nothing yet");
    std::fs::remove_file(foreign).expect("a file");
    wait_until("there is room", || store.disk().room == Room::Ample);
}

#[test]
fn what_deletes_free_comes_back_by_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    let marks = Marks {
        high: Permille::new(900),
        capacity: Some(CAPACITY),
    };
    let options = EngineOptions { marks, ..small() };
    let store = Engine::open(folder.path(), options).expect("opens");
    let room = || store.disk().room;
    for _ in 0..3 {
        let mut kept = 0;
        while room() == Room::Ample {
            put(&store, kept).expect("there is room");
            kept += 1;
        }
        // What was deleted last may only be merged away once the disk is full again.
        assert!(0 < kept, "there was room");
        for turn in (0..kept).filter(|turn| turn % 8 != 0) {
            let remove = Write::remove(Space::Partitions, key(turn));
            let removed = store.commit(vec![remove], Durability::Synced);
            removed.expect("removals are taken");
        }
        wait_until("there is room", || room() == Room::Ample);
        let view = store.snapshot(Space::Partitions);
        for turn in 0..kept {
            let expected = (turn % 8 == 0).then(|| vec![7; VALUE_BYTES]);
            assert_eq!(view.get(&key(turn)), Ok(expected), "commit {turn}");
        }
    }
    // What a view may still see goes with the next merges.
    wait_until("the files of merged tables are gone", || {
        put(&store, 0).expect("there is room");
        store.flush().expect("works");
        bytes_of_tables(folder.path()) <= CAPACITY
    });
}

fn bytes_of_tables(engine: &Path) -> u64 {
    let keyspaces = std::fs::read_dir(engine.join("keyspaces")).expect("a folder");
    let tables = keyspaces.filter_map(|keyspace| {
        let tables = keyspace.expect("a keyspace").path().join("tables");
        std::fs::read_dir(tables).ok()
    });
    let sizes = tables.flatten().filter_map(|table| {
        let metadata = table.expect("an entry").metadata();
        metadata.ok().map(|metadata| metadata.len())
    });
    sizes.sum()
}

/// On its way to a table it would take bytes of a full disk and give none back.
#[test]
fn what_is_in_memory_stays_there_where_no_merge_finds_room_after_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let free = Usage::of_file_system(folder.path()).expect("a file system");
    let options = EngineOptions {
        // Commits leave half of it alone, a merge all.
        reserve_bytes: free.free / 2 * 3,
        ..small()
    };
    let store = Engine::open(folder.path(), options).expect("opens");
    put(&store, 0).expect("there is room");
    let unwritten = || {
        let state = store.shared.state();
        let running = state.running.as_ref().expect("an open engine");
        running.unwritten_bytes()
    };
    let before = unwritten();
    assert!(0 < before);
    assert!(matches!(store.shared.make_room(&mut None), Ok(false)));
    assert_eq!(unwritten(), before);
}

/// What one that does not open takes is counted, too, or it would be copied for ever in vain.
#[test]
fn a_closed_engine_knows_whether_there_is_room_for_a_second_one() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let store = Engine::open(&disk.path().join("engine"), small()).expect("opens");
    (0..100).for_each(|turn| put(&store, turn).expect("there is room"));
    store.close().expect("works");
    disk.fill();
    assert!(!store.has_room_for_copy());
}
