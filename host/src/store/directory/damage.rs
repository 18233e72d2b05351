//! These are a directory's promises when any of its files is damaged: whatever byte is flipped and
//! wherever a file is cut, the next start refuses, or says that records may be missing, or every
//! record is what was written or fails to be read. Never is one missing without a word.

use super::*;
use crate::store::conformance::small;
use crate::store::{Durability, Store, Write};
use soros_core::record::RecordError;
use std::collections::BTreeSet;
use std::fs;

/// How many records each space has.
const RECORDS: usize = 40;
/// The most places of one file that are damaged.
const PLACES_MAX: usize = 12;

/// What a start makes of a damaged directory, and what can be read then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// It refuses; what is there can be set aside.
    Refused,
    /// It says that records may be missing.
    InDoubt,
    /// Some records cannot be read.
    Unreadable,
    /// All is there.
    Harmless,
}

fn name() -> NodeName {
    "n1".parse().expect("a name")
}

fn key(at: usize) -> Vec<u8> {
    format!("key {at:03}").into_bytes()
}

fn value(at: usize) -> Vec<u8> {
    [u8::try_from(at).expect("few"); 60].to_vec()
}

/// A directory with records in several tables and in the journal, as a killed process leaves it.
fn directory() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for part in 0..4 {
        let (directory, _) = Directory::open(folder.path(), Some(&name()), small()).expect("opens");
        let store = directory.store();
        for at in (part..RECORDS).step_by(4) {
            for space in Space::ALL {
                let write = Write::put(space, key(at), value(at));
                store
                    .commit(vec![write], Durability::Synced)
                    .expect("works");
            }
        }
        if part < 3 {
            store.flush().expect("works");
        }
    }
    folder
}

/// The files of a folder and of those in it, by their paths from there.
fn files(folder: &Path, within: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder.join(within)).expect("a folder") {
        let entry = entry.expect("an entry");
        let path = within.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            found.extend(files(folder, &path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// A copy without the zeros that the engine makes room with in its journals.
fn copied(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().expect("a folder");
    for file in files(from, Path::new("")) {
        let target = to.path().join(&file);
        fs::create_dir_all(target.parent().expect("a folder")).expect("a folder");
        fs::write(target, content(&from.join(&file))).expect("a copy");
    }
    to
}

fn content(file: &Path) -> Vec<u8> {
    let mut bytes = fs::read(file).expect("a file");
    if file.extension().is_some_and(|extension| extension == "jnl") {
        let used = bytes.iter().rposition(|byte| *byte != 0);
        bytes.truncate(used.map_or(0, |last| last + 1));
    }
    bytes
}

#[track_caller]
fn outcome(path: &Path, damage: &str) -> Outcome {
    let (directory, opened) = match Directory::open(path, Some(&name()), small()) {
        Ok(opened) => opened,
        Err(error) if error.is_damage() => return Outcome::Refused,
        Err(error) => panic!("{damage}: {error}"),
    };
    if opened.is_suspect() {
        return Outcome::InDoubt;
    }
    let mut outcome = Outcome::Harmless;
    for space in Space::ALL {
        let view = directory.store().snapshot(space);
        for at in 0..RECORDS {
            match view.get(&key(at)) {
                Ok(Some(found)) if found == value(at) => {}
                Err(RecordError::Damaged(_)) => outcome = Outcome::Unreadable,
                other => panic!("{damage}: record {at} of {space:?} is {other:?}, without a word"),
            }
        }
        match view.scan(b"key", b"kez", RECORDS + 1) {
            Ok(all) if all.len() == RECORDS => {}
            Err(RecordError::Damaged(_)) => outcome = Outcome::Unreadable,
            other => panic!("{damage}: {space:?} has {other:?}, without a word"),
        }
    }
    outcome
}

/// Damages every file of the directory in turn at some places, and says what came of it.
#[track_caller]
fn check(damage: impl Fn(&mut Vec<u8>, usize)) -> BTreeSet<Outcome> {
    let folder = directory();
    let mut outcomes = BTreeSet::new();
    for file in files(folder.path(), Path::new("")) {
        let bytes = content(&folder.path().join(&file));
        let step = bytes.len().div_ceil(PLACES_MAX).max(1);
        for at in (step / 2..bytes.len()).step_by(step) {
            let copy = copied(folder.path());
            let mut bytes = bytes.clone();
            damage(&mut bytes, at);
            fs::write(copy.path().join(&file), bytes).expect("a file");
            let damage = format!("{} at {at}", file.display());
            outcomes.insert(outcome(copy.path(), &damage));
        }
    }
    outcomes
}

#[test]
fn no_flipped_bit_of_any_file_takes_a_record_without_a_word() {
    let outcomes = check(|bytes, at| bytes[at] ^= 1 << (at % 8));
    let all = [
        Outcome::Refused,
        Outcome::InDoubt,
        Outcome::Unreadable,
        Outcome::Harmless,
    ];
    assert_eq!(outcomes, BTreeSet::from(all));
}

#[test]
fn no_cut_file_takes_a_record_without_a_word() {
    let outcomes = check(Vec::truncate);
    assert!(outcomes.contains(&Outcome::Refused) && outcomes.contains(&Outcome::InDoubt));
}

#[test]
fn no_missing_file_takes_a_record_without_a_word() {
    let folder = directory();
    for file in files(folder.path(), Path::new("")) {
        let copy = copied(folder.path());
        fs::remove_file(copy.path().join(&file)).expect("a file");
        let name = file.display().to_string();
        let expected = match name.as_str() {
            "lock" => Outcome::Harmless,
            "mark" | "engine/0.jnl" => Outcome::InDoubt,
            _ => Outcome::Refused,
        };
        assert_eq!(outcome(copy.path(), &name), expected, "{name}");
    }
}

/// Each of these once ended the process, deleted data or went unnoticed.
#[test]
fn manifests_and_ends_of_tables_are_looked_at_before_the_engine_opens_them() {
    let folder = directory();
    let keyspace = Path::new("engine").join("keyspaces").join("1");
    let current = content(&folder.path().join(&keyspace).join("current"));
    let number = u64::from_le_bytes(current[..8].try_into().expect("a number"));
    let manifest = keyspace.join(format!("v{number}"));
    let tables = files(folder.path(), &keyspace.join("tables"));
    let table = tables.last().expect("a table");
    let manifest_bytes = content(&folder.path().join(&manifest));
    for at in (0..manifest_bytes.len()).step_by(3) {
        let copy = copied(folder.path());
        let mut bytes = manifest_bytes.clone();
        bytes[at] ^= 1;
        fs::write(copy.path().join(&manifest), bytes).expect("a file");
        let outcome = outcome(copy.path(), &format!("the manifest at {at}"));
        assert_eq!(outcome, Outcome::Refused, "{at}");
    }
    let table_bytes = content(&folder.path().join(table));
    for at in (table_bytes.len() - 160..table_bytes.len()).step_by(3) {
        let copy = copied(folder.path());
        let mut bytes = table_bytes.clone();
        bytes[at] ^= 0x80;
        fs::write(copy.path().join(table), bytes).expect("a file");
        let outcome = outcome(copy.path(), &format!("the table's end at {at}"));
        assert!(outcome != Outcome::InDoubt, "{at}");
    }
}
