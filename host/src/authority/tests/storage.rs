//! These tests run openraft's own conformance suite over the log and the state machine, in memory
//! and on disk.

use crate::authority::log::LogStore;
use crate::authority::raft::Types;
use crate::authority::state::StateMachine;
use crate::store::Store;
use crate::store::engine::{Engine, EngineOptions};
use crate::store::memory::Memory;
use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use std::sync::Arc;
use tempfile::TempDir;

fn over(store: Arc<dyn Store>) -> (LogStore, StateMachine) {
    let (machine, _) = StateMachine::new(Arc::clone(&store));
    (LogStore::new(store), machine)
}

struct InMemory;

impl StoreBuilder<Types, LogStore, StateMachine> for InMemory {
    async fn build(&self) -> Result<((), LogStore, StateMachine), StorageError<Types>> {
        let (log, machine) = over(Arc::new(Memory::new(1)));
        Ok(((), log, machine))
    }
}

struct OnDisk;

impl StoreBuilder<Types, LogStore, StateMachine, TempDir> for OnDisk {
    async fn build(&self) -> Result<(TempDir, LogStore, StateMachine), StorageError<Types>> {
        let directory = tempfile::tempdir().expect("a folder");
        let engine = Engine::open(directory.path(), EngineOptions::default()).expect("an engine");
        let (log, machine) = over(Arc::new(engine));
        Ok((directory, log, machine))
    }
}

#[tokio::test]
async fn keeps_log_vote_and_snapshots_in_memory_as_openraft_demands() {
    Suite::test_all(InMemory)
        .await
        .expect("openraft's conformance suite");
}

#[tokio::test]
async fn keeps_log_vote_and_snapshots_on_disk_as_openraft_demands() {
    Suite::test_all(OnDisk)
        .await
        .expect("openraft's conformance suite");
}
