//! This is the state machine of the authority's Raft group: the map, made of the committed entries.
//!
//! It lies in memory and is made again at each start from the last snapshot on disk and the entries
//! after it that are known to be committed. Every map it comes to is published at once, for this
//! node to adopt.

use super::raft::{Applied, LogId, Payload, Snapshot, SnapshotMeta, StoredMembership, Types};
use super::record::{commit, open, seal_as};
use super::{audit, keeper};
use crate::store::{Space, Store, Write};
use futures_util::{Stream, TryStreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use serde::{Deserialize, Serialize};
use soros_core::epoch::Epoch;
use soros_core::map::Map;
use soros_core::map::change::{Proposal, step};
use std::io;
use std::sync::Arc;
use tokio::sync::watch;

const SNAPSHOT: &[u8] = b"snapshot";

/// What a snapshot holds: the map, or none before the cluster is founded.
pub type SnapshotData = Option<Arc<Map>>;

/// A snapshot as it lies on disk and goes over the wire.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Picture {
    /// Of which entry, under which membership.
    pub meta: SnapshotMeta,
    /// The map then.
    pub map: Option<Map>,
}

/// The state machine.
#[derive(Clone)]
pub struct StateMachine {
    store: Arc<dyn Store>,
    last_applied: Option<LogId>,
    membership: StoredMembership,
    map: watch::Sender<SnapshotData>,
    /// What was changed up to this epoch was told before this start.
    told: Epoch,
}

impl StateMachine {
    /// The state machine before its first entry. The receiver sees every map it comes to.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> (StateMachine, watch::Receiver<SnapshotData>) {
        let (map, maps) = watch::channel(None);
        let membership = StoredMembership::default();
        // A map that cannot be read keeps the node from starting, or is looked for again.
        let adopted = keeper::read(&*store).ok().flatten();
        (
            StateMachine {
                told: adopted.map(|map| map.epoch()).unwrap_or_default(),
                store,
                last_applied: None,
                membership,
                map,
            },
            maps,
        )
    }

    fn map(&self) -> SnapshotData {
        self.map.borrow().clone()
    }

    /// # Errors
    /// When the map takes a format that this program does not know: the nodes said that they know
    /// it, and then this one was replaced by an older one.
    fn on_proposal(&mut self, proposal: &Proposal) -> io::Result<Applied> {
        let before = self.map();
        let map = match step(before.as_deref(), proposal) {
            Ok(map) => map,
            Err(error) => return Ok(Applied(Err(error))),
        };
        map.format().known().map_err(io::Error::other)?;
        let epoch = map.epoch();
        if let Some(before) = before.filter(|_| self.told < epoch) {
            audit::note(proposal, &before, epoch);
        }
        self.map.send_replace(Some(Arc::new(map)));
        Ok(Applied(Ok(epoch)))
    }

    fn on_entry(&mut self, log_id: LogId, payload: Payload) -> io::Result<Applied> {
        self.last_applied = Some(log_id);
        match payload {
            EntryPayload::Normal(proposal) => return self.on_proposal(&proposal),
            EntryPayload::Membership(membership) => {
                self.membership = StoredMembership::new(Some(log_id), membership);
            }
            EntryPayload::Blank => {}
        }
        let epoch = self.map().map(|map| map.epoch()).unwrap_or_default();
        Ok(Applied(Ok(epoch)))
    }

    fn meta(&self) -> SnapshotMeta {
        SnapshotMeta {
            last_log_id: self.last_applied,
            last_membership: self.membership.clone(),
        }
    }
}

impl RaftStateMachine<Types> for StateMachine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = StateMachine;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok((self.last_applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let applied = self.on_entry(entry.log_id, entry.payload)?;
            if let Some(responder) = responder {
                responder.send(applied);
            }
        }
        Ok(())
    }

    /// A copy: the map is shared and never changes, so it costs nothing.
    async fn get_snapshot_builder(&mut self) -> StateMachine {
        let (map, _) = watch::channel(self.map());
        StateMachine {
            map,
            ..self.clone()
        }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, map: SnapshotData) -> io::Result<()> {
        save(&self.store, meta, &map).await?;
        self.last_applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.map.send_replace(map);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot<SnapshotData>>> {
        let records = self.store.snapshot(Space::Authority);
        let Some(record) = records.get(SNAPSHOT).map_err(io::Error::other)? else {
            return Ok(None);
        };
        let Picture { meta, map } = open(&record)?;
        Ok(Some(Snapshot {
            meta,
            snapshot: map.map(Arc::new),
        }))
    }
}

impl RaftSnapshotBuilder<Types> for StateMachine {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot<SnapshotData>> {
        let (meta, map) = (self.meta(), self.map());
        save(&self.store, &meta, &map).await?;
        Ok(Snapshot {
            meta,
            snapshot: map,
        })
    }
}

async fn save(store: &Arc<dyn Store>, meta: &SnapshotMeta, map: &SnapshotData) -> io::Result<()> {
    let picture = Picture {
        meta: meta.clone(),
        map: map.as_deref().cloned(),
    };
    let format = map.as_ref().map(|map| map.format()).unwrap_or_default();
    let value = Some(seal_as(format, &picture));
    let write = Write {
        space: Space::Authority,
        key: SNAPSHOT.to_vec(),
        value,
    };
    commit(Arc::clone(store), vec![write])
        .await
        .map_err(io::Error::other)
}
