//! These are the engine's promises after a crash, a damaged file and a full disk, over real files.

use super::*;
use crate::store::conformance::{engine, small};
use soros_core::record::RecordError;
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
            let mut bytes = fs::read(entry.path()).expect("a file");
            if is_journal(&target) {
                // The engine makes its journals as long as they may get.
                bytes.truncate(used(&bytes));
            }
            fs::write(&target, bytes).expect("a copy");
        }
    }
}

fn is_journal(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "jnl")
}

fn used(journal: &[u8]) -> usize {
    journal
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1)
}

/// The journals of the folder, oldest first.
fn journals(path: &Path) -> Vec<PathBuf> {
    let mut journals = files::entries(path).expect("a folder");
    journals.retain(|path| is_journal(path));
    journals.sort_by_key(|path| {
        let name = path.file_stem().and_then(|stem| stem.to_str());
        name.and_then(|name| name.parse::<u64>().ok())
    });
    journals
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
    let running = |ask: &dyn Fn(&running::Running) -> u64| {
        let state = store.shared.state();
        ask(state.running.as_ref().expect("an open engine"))
    };
    let committed = running(&running::Running::newest);
    assert!(running(&|running| running.written_out(Space::Node)) < committed);
    let view = store.snapshot(Space::Node);
    store.shared.failed.store(true, Ordering::Release);
    let write = || vec![Write::put(Space::Node, b"key".to_vec(), b"after".to_vec())];
    assert!(matches!(
        store.commit(write(), Durability::Synced),
        Err(StoreError::NotOpen(_))
    ));
    assert_eq!(
        view.get(b"key"),
        Ok(Some(b"before".to_vec())),
        "reads go on"
    );
    store.reopen().expect("opens");
    assert!(
        committed <= running(&|running| running.written_out(Space::Node)),
        "what a failed sync may have left in memory only is written anew"
    );
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

const COMMITS: usize = 12;

fn key(commit: usize) -> String {
    format!("key {commit}")
}

/// A folder with a few small commits in its journal, not all of them written out, and the newest
/// commit of each space.
fn with_commits(written_out: Option<Space>) -> (tempfile::TempDir, Sequences) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = engine(folder.path());
    for commit in 0..COMMITS {
        put(&store, Space::ALL[commit % 3], key(commit), vec![7; 9]);
        // Every commit changes this one, so the order of commits can be read off.
        put(
            &store,
            Space::Partitions,
            "turn".to_owned(),
            vec![u8::try_from(commit).expect("few")],
        );
    }
    if let Some(space) = written_out {
        store
            .shared
            .state()
            .running
            .as_ref()
            .expect("open")
            .flush_space(space)
            .expect("works");
    }
    let newest = store.ledger().sequences();
    drop(store);
    (killed(folder.path()), newest)
}

fn has_everything(store: &Engine) -> bool {
    let found = |space: Space, key: &str| store.snapshot(space).get(key.as_bytes());
    let last = vec![u8::try_from(COMMITS - 1).expect("few")];
    found(Space::Partitions, "turn") == Ok(Some(last))
        && (0..COMMITS).all(|at| found(Space::ALL[at % 3], &key(at)) == Ok(Some(vec![7; 9])))
}

fn tells_of_loss(store: &Engine, marked: &Sequences) -> bool {
    let newest = store.recovery().newest;
    let behind = Space::ALL
        .iter()
        .any(|space| newest.of(*space) < marked.of(*space));
    behind || !store.recovery().broken.is_empty()
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Refused,
    Told,
    Harmless,
}

#[track_caller]
fn opened_after_damage(folder: &Path, marked: &Sequences, damage: &str) -> Outcome {
    match Engine::open(folder, small()) {
        Err(StoreError::Damaged(_)) => Outcome::Refused,
        Err(error) => panic!("{damage}: {error}"),
        Ok(store) if tells_of_loss(&store, marked) => Outcome::Told,
        Ok(store) if has_everything(&store) => Outcome::Harmless,
        Ok(_) => panic!("{damage}: something is missing and nobody says so"),
    }
}

/// Opens copies of `folder` whose newest journal `damage` has changed at each of `places`.
#[track_caller]
fn damaged(
    folder: &Path,
    marked: &Sequences,
    places: impl Iterator<Item = usize>,
    damage: impl Fn(&mut Vec<u8>, usize),
) -> Vec<Outcome> {
    let journal = journals(folder).pop().expect("a journal");
    let bytes = fs::read(&journal).expect("a file");
    let outcome = |at| {
        let copy = killed(folder);
        let mut bytes = bytes.clone();
        damage(&mut bytes, at);
        fs::write(
            copy.path().join(journal.file_name().expect("a name")),
            bytes,
        )
        .expect("a copy");
        opened_after_damage(copy.path(), marked, &format!("byte {at}"))
    };
    places.map(outcome).collect()
}

fn journal_bytes(folder: &Path) -> usize {
    fs::read(journals(folder).pop().expect("a journal"))
        .expect("a file")
        .len()
}

fn flip(bytes: &mut [u8], at: usize) {
    bytes[at] ^= 1 << (at % 8);
}

#[test]
fn no_flipped_byte_of_the_journal_takes_a_commit_unnoticed() {
    let (folder, marked) = with_commits(None);
    let len = journal_bytes(folder.path());
    // Every byte of some commits in the middle, and some of the others.
    let places = (0..len).step_by(101).chain(len / 2..len / 2 + 300);
    let outcomes = damaged(folder.path(), &marked, places, |bytes, at| {
        flip(bytes, at);
    });
    for expected in [Outcome::Told, Outcome::Refused] {
        assert!(outcomes.contains(&expected), "{expected:?} never happened");
    }
}

#[test]
fn no_flipped_byte_takes_a_commit_unnoticed_when_one_space_is_written_out() {
    for space in Space::ALL {
        let (folder, marked) = with_commits(Some(space));
        let len = journal_bytes(folder.path());
        let outcomes = damaged(folder.path(), &marked, (0..len).step_by(61), |bytes, at| {
            flip(bytes, at);
        });
        assert!(outcomes.contains(&Outcome::Told), "{space:?}");
    }
}

#[test]
fn no_cut_tail_of_the_journal_takes_a_commit_unnoticed() {
    let (folder, marked) = with_commits(None);
    let len = journal_bytes(folder.path());
    let outcomes = damaged(folder.path(), &marked, (0..len).step_by(41), Vec::truncate);
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Told));
}

#[test]
fn damage_in_a_sealed_journal_is_told_though_the_next_one_is_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = engine(folder.path());
    let journal = journals(folder.path()).pop().expect("a journal");
    let mut ends = Vec::new();
    for turn in 0..9 {
        put(&store, Space::Partitions, format!("key {turn}"), vec![1; 9]);
        put(&store, Space::Authority, "vote".to_owned(), vec![turn]);
        ends.push(used(&fs::read(&journal).expect("a file")));
    }
    let marked = store.ledger().sequences();
    drop(store);
    // What a kill leaves between the sealing of a journal and the flush that lets it go.
    let bytes = fs::read(&journal).expect("a file");
    fs::write(&journal, &bytes[..ends[3] - 5]).expect("a file");
    fs::write(journal.with_file_name("9.jnl"), &bytes[ends[6]..ends[8]]).expect("a file");
    let again = Engine::open(folder.path(), small()).expect("opens without a word");
    assert_eq!(again.recovery().newest, marked, "no mark tells of it");
    assert_eq!(
        again.recovery().broken,
        [Space::Partitions, Space::Authority]
    );
    again.accept_loss().expect("works");
    put(&again, Space::Partitions, "later".to_owned(), Vec::new());
    drop(again);
    let again = Engine::open(folder.path(), small()).expect("opens");
    assert_eq!(again.recovery().broken, [], "a loss is told once");
}

/// An engine of which a table is damaged, as its next opening finds it.
fn with_a_damaged_table() -> (tempfile::TempDir, Engine) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = engine(folder.path());
    for commit in 0..200 {
        put(&store, Space::Partitions, key(commit), vec![1; 100]);
    }
    store.close().expect("works");
    let tables = folder.path().join("keyspaces").join("1").join("tables");
    let tables = files::entries(&tables).expect("a folder");
    let len = |table: &PathBuf| table.metadata().expect("a file").len();
    let table = tables.into_iter().max_by_key(len).expect("a table");
    let mut bytes = fs::read(&table).expect("a file");
    let middle = bytes.len() / 2;
    flip(&mut bytes, middle);
    fs::write(table, bytes).expect("a file");
    let store = engine(folder.path());
    (folder, store)
}

/// Its workers compact, come to the damage and end, at each opening again.
#[test]
fn an_engine_that_stops_again_and_again_at_a_damaged_table_says_so() {
    let (_folder, store) = with_a_damaged_table();
    let mut turns = 0;
    while !store.is_torn() {
        turns += 1;
        assert!(turns < 200, "no compaction comes to it");
        let write = Write::put(Space::Partitions, key(turns).into(), vec![2; 100]);
        let written = store.commit(vec![write], Durability::Synced);
        if written.and_then(|()| store.flush()).is_err() {
            // It may stop while it opens; then it is opened again.
            let _ = store.reopen();
            store.inspections().finish();
        }
    }
    assert!(store.has_room_for_copy());
    let _ = store.close();
    assert!(store.has_room_for_copy(), "a closed one, too");
}

#[test]
fn an_engine_serves_while_its_tables_are_looked_through() {
    let (_folder, store) = with_a_damaged_table();
    let turn = store.shared.inspecting.lock().expect("nobody looks yet");
    for _ in 0..2 {
        store.shared.failed.store(true, Ordering::Release);
        store.reopen().expect("opens");
    }
    put(&store, Space::Node, "key".to_owned(), b"value".to_vec());
    let found = store.snapshot(Space::Node).get(b"key");
    assert_eq!(found, Ok(Some(b"value".to_vec())));
    assert!(!store.is_torn(), "nobody has looked yet");
    drop(turn);
    store.inspections().finish();
    assert!(store.is_torn());
}

/// One that is opened again before all is looked through would never hear of what lies far behind.
#[test]
fn a_look_goes_on_where_the_one_before_it_ended_and_comes_round() {
    let (_folder, store) = with_a_damaged_table();
    let looked_from = |space: Space, from: &[u8]| {
        let (space, from) = (space.index(), from.to_vec());
        *store.shared.inspecting.lock().expect("nobody looks") = Reached { space, from };
        store.shared.torn.store(false, Ordering::Release);
        store
            .shared
            .inspect(store.openings(), &AtomicBool::new(false));
        assert!(store.is_torn());
        let reached = store.shared.inspecting.lock().expect("nobody looks");
        (Space::ALL[reached.space], reached.from.clone())
    };
    let first = key(0).into_bytes();
    let before = (Space::Partitions, first.clone());
    assert_eq!(
        looked_from(Space::Partitions, &first),
        before,
        "not from the beginning"
    );
    let begin = (Space::Partitions, Vec::new());
    assert_eq!(
        looked_from(Space::Authority, &[u8::MAX; 64]),
        begin,
        "all round"
    );
}

/// What lies before where it began is looked at last, and nothing twice.
#[test]
fn a_look_ends_when_it_has_come_round() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = engine(folder.path());
    for commit in 0..4 {
        put(&store, Space::Partitions, key(commit), vec![1; 1 << 20]);
    }
    let begun = Reached {
        space: Space::Partitions.index(),
        from: key(2).into_bytes(),
    };
    *store.shared.inspecting.lock().expect("nobody looks") = begun;
    store
        .shared
        .inspect(store.openings(), &AtomicBool::new(false));
    let reached = store.shared.inspecting.lock().expect("nobody looks");
    assert_eq!(reached.from, [key(2).as_bytes(), &[0]].concat());
    assert!(!store.is_torn());
}

#[test]
fn an_engine_that_wants_for_something_else_is_not_taken_for_damaged() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = engine(folder.path());
    for error in [
        StoreError::Full,
        StoreError::NotOpen("another time".to_owned()),
        StoreError::Failed("too many open files".to_owned()),
    ] {
        store.shared.inspected(&error);
    }
    assert!(!store.is_torn());
    let damaged = StoreError::Damaged("a table".to_owned());
    store.shared.inspected(&damaged);
    assert!(store.is_torn());
}
