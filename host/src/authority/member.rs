//! This is a node's member of the Raft group: it is built from the store, runs, and is built again
//! when its disk failed it.

use super::keeper::{KeeperError, MapKeeper};
use super::log::LogStore;
use super::raft::{Types, config};
use super::record::{OpenError, check, commit, open, seal};
use super::state::{SnapshotData, StateMachine};
use super::transport::Transport;
use super::wire::Wire;
use crate::store::{Space, Store, StoreError, Write, aside};
use arc_swap::ArcSwapOption;
use openraft::StorageHelper;
use openraft::async_runtime::WatchReceiver;
use openraft::storage::RaftStateMachine;
use soros_core::id::{NodeId, NodeName};
use soros_core::map::format::UnknownFormat;
use soros_core::map::node::{RaftId, Role};
use soros_core::record::{RecordError, Records};
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// openraft, with our types.
pub type Raft = openraft::Raft<Types, StateMachine>;

const RAFT_ID: &[u8] = b"raft";
/// How long a member that failed rests before it is built again.
const REST: Duration = Duration::from_secs(1);
/// How long a member that stops waits until another leads.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(1);
/// How many records are removed at a time.
const REMOVED_AT_ONCE: usize = 256;

/// A running member and the maps its state machine comes to.
pub struct Running {
    /// The member.
    pub raft: Raft,
    /// The last map it came to.
    pub maps: watch::Receiver<SnapshotData>,
}

/// A node's member of the Raft group, or the place of one that is being built again.
pub struct Member {
    id: RaftId,
    store: Arc<dyn Store>,
    wire: Arc<dyn Wire>,
    running: ArcSwapOption<Running>,
}

impl Member {
    /// The member called `id`, not running yet.
    #[must_use]
    pub fn new(id: RaftId, store: Arc<dyn Store>, wire: Arc<dyn Wire>) -> Member {
        Member {
            id,
            store,
            wire,
            running: ArcSwapOption::empty(),
        }
    }

    /// The member's id.
    #[must_use]
    pub fn id(&self) -> RaftId {
        self.id
    }

    /// The member, while it runs.
    #[must_use]
    pub fn running(&self) -> Option<Arc<Running>> {
        self.running.load_full()
    }

    /// Runs the member for ever, and builds it again whenever it failed. `keeper` adopts every map
    /// that its state machine comes to.
    pub async fn run(&self, keeper: &MapKeeper) {
        loop {
            match self.build().await {
                Ok(running) => {
                    self.running.store(Some(Arc::clone(&running)));
                    follow(&running, keeper).await;
                    self.running.store(None);
                    tracing::error!(member = %self.id, "this member of the authority stopped");
                }
                Err(error) => {
                    tracing::error!(member = %self.id, %error, "no member of the authority");
                }
            }
            tokio::time::sleep(REST).await;
            self.reopen().await;
        }
    }

    /// Stops the member, if it runs. One that leads first hands over, so that the others need not
    /// find out that it is gone.
    pub async fn stop(&self) {
        let Some(running) = self.running() else {
            return;
        };
        hand_over(&running.raft).await;
        self.running.store(None);
        if let Err(error) = running.raft.shutdown().await {
            tracing::warn!(%error, "this member of the authority did not stop cleanly");
        }
    }

    async fn build(&self) -> Result<Arc<Running>, BuildError> {
        let (machine, maps) = StateMachine::new(Arc::clone(&self.store));
        let log = LogStore::new(Arc::clone(&self.store));
        let transport = Transport::new(Arc::clone(&self.wire));
        let raft = Raft::new(self.id, config()?, transport, log, machine).await?;
        Ok(Arc::new(Running { raft, maps }))
    }

    async fn reopen(&self) {
        let store = Arc::clone(&self.store);
        let reopened = aside(&*self.store, move || store.reopen()).await;
        if let Ok(Err(error)) = reopened {
            tracing::error!(%error, "the store does not open again");
        }
    }
}

/// Lets the voter that is furthest lead, if this member leads and there is another.
async fn hand_over(raft: &Raft) {
    let me = *raft.node_id();
    let metrics = raft.metrics().borrow_watched().clone();
    let voters: BTreeSet<RaftId> = raft.voter_ids().filter(|&id| id != me).collect();
    let replication = metrics.replication.filter(|_| raft.is_leader());
    let progress = replication
        .into_iter()
        .flatten()
        .filter(|(id, _)| voters.contains(id));
    let Some((next, _)) = progress.max_by_key(|(_, matching)| *matching) else {
        return;
    };
    if raft.trigger().transfer_leader(next).await.is_ok() {
        let other = |leader: Option<RaftId>| leader.is_some_and(|leader| leader != me);
        let wait = raft.wait(Some(HAND_OVER_TIMEOUT));
        let handed = wait
            .metrics(|metrics| other(metrics.current_leader), "another leads")
            .await;
        if let Err(error) = handed {
            tracing::info!(%error, "the authority was not handed over in time");
        }
    }
}

async fn adopt(keeper: &MapKeeper, map: SnapshotData) {
    let Some(map) = map else { return };
    if let Err(error) = keeper.adopt(map).await {
        // The next map, or another node's, makes good for it.
        tracing::error!(%error, "a map could not be adopted");
    }
}

#[derive(Debug, thiserror::Error)]
enum BuildError {
    #[error(transparent)]
    Config(#[from] openraft::ConfigError),
    #[error(transparent)]
    Fatal(#[from] openraft::errors::Fatal<Types>),
}

/// Follows the member's maps until it stops.
async fn follow(running: &Running, keeper: &MapKeeper) {
    let mut maps = running.maps.clone();
    let mut metrics = running.raft.metrics();
    while metrics.borrow_and_update().running_state.is_ok() {
        tokio::select! {
            changed = maps.changed() => {
                if changed.is_err() {
                    return;
                }
                let map = maps.borrow_and_update().clone();
                adopt(keeper, map).await;
            }
            changed = metrics.changed() => {
                if changed.is_err() {
                    return;
                }
            }
        }
    }
}

/// Why a node's member id could not be read or drawn.
#[derive(Debug, thiserror::Error)]
pub enum RaftIdError {
    /// The disk failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The disk failed.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The node's map could not be read.
    #[error(transparent)]
    Map(#[from] KeeperError),
    /// A newer program wrote the records.
    #[error("the authority's records in the data directory cannot be read: {0}")]
    Newer(#[from] UnknownFormat),
    /// There were no random bits.
    #[error("no random bits: {0}")]
    Random(#[from] getrandom::Error),
}

/// The member id of the node whose records these are: drawn at its first start and kept beside its
/// vote, so that whoever loses the vote loses the id with it. Where the id or any other of the
/// authority's records cannot be read, the vote cannot be trusted: all of them are dropped and a
/// new id is drawn.
///
/// # Errors
/// [`RaftIdError`] when the disk fails.
pub async fn raft_id(store: &Arc<dyn Store>) -> Result<RaftId, RaftIdError> {
    match read(&**store)? {
        Some(id) => Ok(id),
        None => forget(store).await,
    }
}

/// The member id; none when there is none yet, or when the records are damaged.
fn read(store: &dyn Store) -> Result<Option<RaftId>, RaftIdError> {
    match read_id(&*store.snapshot(Space::Authority)) {
        Ok(id) => Ok(id),
        Err(OpenError::Disk(failed @ RecordError::Failed(_))) => Err(failed.into()),
        // The records are sound; it is this program that is too old for them.
        Err(OpenError::Newer(format)) => Err(format.into()),
        Err(error) => {
            tracing::warn!(%error, "the authority's records here are damaged: they are dropped");
            Ok(None)
        }
    }
}

/// The member id, if it and all that lies beside it can be read.
fn read_id(records: &dyn Records) -> Result<Option<RaftId>, OpenError> {
    let id = records.get(RAFT_ID)?;
    let mut from = vec![1];
    loop {
        let found = records.scan(&from, &[0xff; 64], REMOVED_AT_ONCE)?;
        for (_, record) in &found {
            check(record)?;
        }
        match found.last() {
            Some((last, _)) => from = [last, &[0][..]].concat(),
            None => break,
        }
    }
    id.as_deref().map(open).transpose()
}

/// Sees to the authority's records of the node `name` where the disk may have lost some: the member
/// might vote twice, or not have what it helped to commit. The others take a new one in for it. Of
/// a member that is the only one there is, what is left is kept.
///
/// # Errors
/// [`RaftIdError`] when the disk fails.
pub async fn after_a_loss(store: &Arc<dyn Store>, name: &NodeName) -> Result<(), RaftIdError> {
    // Where a record is damaged all are dropped in any case, and who cannot read them leaves them.
    if read(&**store)?.is_some() && !is_only_voter(store, name).await? {
        tracing::warn!("the authority's records may have lost a vote: they are dropped");
        forget(store).await?;
    }
    Ok(())
}

/// Whether the node `name` is the only one that votes: as its member's log says, or else its map.
/// Where neither says anything, there is nothing that would be worth to be kept.
async fn is_only_voter(store: &Arc<dyn Store>, name: &NodeName) -> Result<bool, RaftIdError> {
    match voters(store).await {
        Ok(voters) if !voters.is_empty() => {
            return Ok(voters.iter().all(|node| *node == NodeId::of(name)));
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "who votes cannot be read"),
    }
    let map = super::keeper::read(&**store)?;
    Ok(map.is_some_and(|map| {
        let mut able = map.nodes().values().map(|node| &node.identity);
        able.all(|other| !other.has(Role::Authority) || other.name == *name)
    }))
}

/// The nodes that vote, as the log or the snapshot says; none when there is no group yet.
async fn voters(store: &Arc<dyn Store>) -> io::Result<BTreeSet<NodeId>> {
    let mut log = LogStore::new(Arc::clone(store));
    let (mut machine, _) = StateMachine::new(Arc::clone(store));
    let in_log = StorageHelper::new(&mut log, &mut machine)
        .last_membership_in_log(0)
        .await;
    let newest = match in_log.map_err(io::Error::other)?.pop() {
        Some(membership) => membership,
        None => match machine.get_current_snapshot().await? {
            Some(snapshot) => snapshot.meta.last_membership,
            None => return Ok(BTreeSet::new()),
        },
    };
    let membership = newest.membership();
    let node = |id| membership.get_node(&id).map(|voter| voter.node);
    Ok(membership.voter_ids().filter_map(node).collect())
}

/// Drops all of the authority's records and draws a new member id: for a disk that may have lost
/// a vote. The leader takes the new member in and the old one out.
///
/// # Errors
/// [`RaftIdError`] when the disk fails.
pub async fn forget(store: &Arc<dyn Store>) -> Result<RaftId, RaftIdError> {
    let id = RaftId(getrandom::u64()?);
    // The old id goes first: where there is none, this begins anew after a crash.
    let remove = |key| Write::remove(Space::Authority, key);
    commit(Arc::clone(store), vec![remove(RAFT_ID.to_vec())]).await?;
    loop {
        // Some may be damaged, which is no reason to keep them.
        let found = store.keys(Space::Authority, &[1], &[0xff; 64], REMOVED_AT_ONCE)?;
        if found.is_empty() {
            break;
        }
        let removed = found.into_iter().map(remove).collect();
        commit(Arc::clone(store), removed).await?;
    }
    let write = Write::put(Space::Authority, RAFT_ID.to_vec(), seal(&id));
    commit(Arc::clone(store), vec![write]).await?;
    Ok(id)
}
