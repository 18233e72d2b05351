//! This is what a durable write costs: the group committer over the engine in a node's directory,
//! against the same bytes appended to a file with one sync for as many writes as there are writers,
//! in the same run and on the same disk, that of the target directory.

#[path = "../core/benches/versus.rs"]
mod versus;

use criterion::{Criterion, criterion_group, criterion_main};
use soros_core::id::NodeName;
use soros_core::record::{Batch, RecordError};
use soros_host::store::Space;
use soros_host::store::commit::{Commits, Committer, CommitterThread, Core, View};
use soros_host::store::directory::Directory;
use soros_host::store::engine::EngineOptions;
use soros_host::store::overlay::Overlay;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use versus::Versus;

const WRITERS: [u64; 4] = [1, 8, 64, 256];
const VALUES: [(&str, usize); 2] = [("100 B", 100), ("1 KiB", 1 << 10)];
/// Writers overwrite keys of their own, so that the engine's tables stay small.
const KEYS_A_WRITER: u64 = 1_000;
const KEY_BYTES: usize = 16;

/// A key that begins as records of a partition do, never with the store's own first byte.
fn key(writer: u64, number: u64) -> [u8; KEY_BYTES] {
    let number = number % KEYS_A_WRITER;
    (1_u128 << 120 | u128::from(writer) << 64 | u128::from(number)).to_be_bytes()
}

/// Stores what it is given.
struct Records;

impl Commits for Records {
    type Operation = (Vec<u8>, Vec<u8>);
    type Answer = ();

    fn weight((key, value): &(Vec<u8>, Vec<u8>)) -> usize {
        key.len() + value.len()
    }

    fn apply(
        &mut self,
        (key, value): (Vec<u8>, Vec<u8>),
        batch: &mut Overlay<'_>,
    ) -> Result<(), RecordError> {
        batch.put(key, value);
        Ok(())
    }

    fn publish(&mut self, _: View) {}

    fn reload(&mut self, _: View) -> Result<(), RecordError> {
        Ok(())
    }
}

/// A committer over a node's directory.
struct Node {
    committer: Committer<(Vec<u8>, Vec<u8>), ()>,
    _thread: CommitterThread<(Vec<u8>, Vec<u8>), ()>,
    _directory: Directory,
    runtime: Runtime,
}

impl Node {
    fn open(path: &Path) -> Node {
        let name = NodeName::try_from("bench".to_owned()).expect("a name");
        let (directory, _) =
            Directory::open(path, Some(&name), EngineOptions::default()).expect("a new directory");
        let core = Core::new(Records, directory.store(), Space::Partitions).expect("an empty one");
        let (committer, thread) =
            Committer::start(core, "commit", Arc::default()).expect("a thread");
        Node {
            committer,
            _thread: thread,
            _directory: directory,
            runtime: Builder::new_current_thread().build().expect("a runtime"),
        }
    }

    /// How long `count` writes take of `writers`, each of which waits for its last one.
    fn time(&self, count: u64, writers: u64, value: &[u8]) -> Duration {
        self.runtime.block_on(async {
            let mut tasks = JoinSet::new();
            let since = Instant::now();
            for writer in 0..writers {
                let share = count / writers + u64::from(writer < count % writers);
                let (committer, value) = (self.committer.clone(), value.to_vec());
                tasks.spawn(async move {
                    for number in 0..share {
                        let write = (key(writer, number).to_vec(), value.clone());
                        committer.commit(write).await.expect("a disk with room");
                    }
                });
            }
            while let Some(ended) = tasks.join_next().await {
                ended.expect("a writer");
            }
            since.elapsed()
        })
    }
}

/// How long `count` writes take that are appended to `file`, `writers` of them before each sync.
fn append(file: &mut File, count: u64, writers: u64, value: &[u8]) -> Duration {
    let since = Instant::now();
    let (mut left, mut batch) = (count, Vec::new());
    while 0 < left {
        batch.clear();
        for writer in 0..writers.min(left) {
            batch.extend_from_slice(&key(writer, left));
            batch.extend_from_slice(value);
        }
        left = left.saturating_sub(writers);
        file.write_all(&batch).expect("a disk with room");
        file.sync_data().expect("a disk");
    }
    since.elapsed()
}

fn folder() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder in the target directory")
}

fn commit(criterion: &mut Criterion) {
    for (name, bytes) in VALUES {
        let value = vec![7; bytes];
        for writers in WRITERS {
            let folder = folder();
            let mut file = File::create(folder.path().join("raw")).expect("a file");
            let node = Node::open(&folder.path().join("node"));
            let mut group = Versus::new(criterion, &format!("{writers} writers of {name}"));
            group.time("a raw file", |count| {
                append(&mut file, count, writers, &value)
            });
            group.time("the committer", |count| node.time(count, writers, &value));
            group.finish();
        }
    }
}

criterion_group!(benches, commit);
criterion_main!(benches);
