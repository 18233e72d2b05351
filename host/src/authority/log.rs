//! This is the authority's Raft log on disk: the vote, the entries, and how far they are known to
//! be committed.
//!
//! ```text
//! vote                 the vote
//! committed            the last log id known to be committed
//! purged               the last log id that was purged
//! entry/ index:8       an entry
//! ```
//!
//! Every write is synced before it is answered, one after the other, as openraft demands.

use super::raft::{Entry, LogId, Types, Vote};
use super::record::{commit, open, seal, seal_as};
use crate::store::{Space, Store, Write};
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{EntryPayload, OptionalSend, RaftLogReader};
use serde::Serialize;
use serde::de::DeserializeOwned;
use soros_core::map::format::Format;
use soros_core::record::Records;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

const VOTE: &[u8] = b"vote";
const COMMITTED: &[u8] = b"committed";
const PURGED: &[u8] = b"purged";
const ENTRY: &[u8] = b"entry/";

/// How many entries are read from the store at a time.
const ENTRIES_READ: usize = 64;

/// The log, in the store's space for the authority.
#[derive(Clone)]
pub struct LogStore {
    store: Arc<dyn Store>,
}

impl Debug for LogStore {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("LogStore")
    }
}

impl LogStore {
    /// The log in `store`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> LogStore {
        LogStore { store }
    }

    fn records(&self) -> Box<dyn Records + Send + Sync> {
        self.store.snapshot(Space::Authority)
    }

    fn read<T: DeserializeOwned>(&self, key: &[u8]) -> io::Result<Option<T>> {
        let record = self.records().get(key).map_err(io::Error::other)?;
        Ok(record.map(|record| open(&record)).transpose()?)
    }

    async fn commit(&self, writes: Vec<Write>) -> io::Result<()> {
        commit(Arc::clone(&self.store), writes)
            .await
            .map_err(io::Error::other)
    }

    /// The entries from `start` (included) to `end` (excluded) that there are.
    fn entries(&self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        self.scan(start, end, |_, record| {
            entries.push(open(record)?);
            Ok(())
        })?;
        Ok(entries)
    }

    /// The keys of the entries from `start` (included) to `end` (excluded) that there are.
    fn keys(&self, start: u64, end: u64) -> io::Result<Vec<Vec<u8>>> {
        let mut keys = Vec::new();
        self.scan(start, end, |key, _| {
            keys.push(key.to_vec());
            Ok(())
        })?;
        Ok(keys)
    }

    fn scan(
        &self,
        start: u64,
        end: u64,
        mut each: impl FnMut(&[u8], &[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let records = self.records();
        let (mut from, to) = (entry_key(start), entry_key(end));
        while from < to {
            let found = records
                .scan(&from, &to, ENTRIES_READ)
                .map_err(io::Error::other)?;
            for (key, record) in &found {
                each(key, record)?;
            }
            let Some((last, _)) = found.last() else { break };
            from = [last, &[0][..]].concat();
        }
        Ok(())
    }
}

fn entry_key(index: u64) -> Vec<u8> {
    [ENTRY, &index.to_be_bytes()].concat()
}

fn put(key: impl Into<Vec<u8>>, value: &impl Serialize) -> Write {
    Write {
        space: Space::Authority,
        key: key.into(),
        value: Some(seal(value)),
    }
}

/// The format that a program must know to read `entry`.
fn format(entry: &Entry) -> Format {
    match &entry.payload {
        EntryPayload::Normal(proposal) => proposal.format,
        EntryPayload::Blank | EntryPayload::Membership(_) => Format::FIRST,
    }
}

fn remove(key: Vec<u8>) -> Write {
    Write {
        space: Space::Authority,
        key,
        value: None,
    }
}

/// `range` from its first index (included) to its last (excluded).
fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let start = match range.start_bound() {
        Bound::Included(&index) => index,
        Bound::Excluded(&index) => index.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(&index) => index.saturating_add(1),
        Bound::Excluded(&index) => index,
        Bound::Unbounded => u64::MAX,
    };
    (start, end)
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> io::Result<Vec<Entry>> {
        let (start, end) = bounds(&range);
        self.entries(start, end)
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        self.read(VOTE)
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let last_purged_log_id: Option<LogId> = self.read(PURGED)?;
        let mut last_log_id = last_purged_log_id;
        self.scan(0, u64::MAX, |_, record| {
            last_log_id = Some(open::<Entry>(record)?.log_id);
            Ok(())
        })?;
        Ok(LogState {
            last_purged_log_id,
            last_log_id,
        })
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        self.commit(vec![put(VOTE, vote)]).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        self.commit(vec![put(COMMITTED, &committed)]).await
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.read::<Option<LogId>>(COMMITTED)?.flatten())
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let writes = entries
            .into_iter()
            .map(|entry| {
                let (key, record) = (
                    entry_key(entry.log_id.index),
                    seal_as(format(&entry), &entry),
                );
                Write::put(Space::Authority, key, record)
            })
            .collect();
        let result = self.commit(writes).await;
        callback.io_completed(result);
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let start = last.map_or(0, |last| last.index.saturating_add(1));
        let writes = self
            .keys(start, u64::MAX)?
            .into_iter()
            .map(remove)
            .collect();
        self.commit(writes).await
    }

    async fn purge(&mut self, log_id: LogId) -> io::Result<()> {
        let keys = self.keys(0, log_id.index.saturating_add(1))?;
        let mut writes = vec![put(PURGED, &log_id)];
        writes.extend(keys.into_iter().map(remove));
        self.commit(writes).await
    }
}
