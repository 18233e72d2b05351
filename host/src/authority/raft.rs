//! This is the authority's Raft group in the words of openraft: who its members are, what its log
//! carries, how patient it is.

use openraft::vote::RaftLeaderId;
use openraft::{Config, RaftTypeConfig, SnapshotPolicy};
use serde::{Deserialize, Serialize};
use soros_core::epoch::Epoch;
use soros_core::id::NodeId;
use soros_core::map::change::{ChangeError, Proposal};
use soros_core::map::node::RaftId;
use std::sync::Arc;

openraft::declare_raft_types!(
    /// The types of the authority's Raft group.
    pub Types:
        D = Proposal,
        R = Applied,
        NodeId = RaftId,
        Node = Voter,
);

/// A member of the Raft group, seen by the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Voter {
    /// The node it runs on.
    pub node: NodeId,
}

/// A member nobody knows; openraft's own tests make such.
impl Default for Voter {
    fn default() -> Voter {
        Voter { node: NodeId(0) }
    }
}

/// What became of an entry of the log when it was applied: the epoch of the map after it, or why
/// the map stayed as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied(pub Result<Epoch, ChangeError>);

/// The part of a leader's id that its entries carry.
pub type LeaderId = <<Types as RaftTypeConfig>::LeaderId as RaftLeaderId>::Committed;
/// openraft's log ids, with our types.
pub type LogId = openraft::LogId<LeaderId>;
/// openraft's entries, with our types.
pub type Entry = <Types as RaftTypeConfig>::Entry;
/// openraft's votes, with our types.
pub type Vote = <Types as RaftTypeConfig>::Vote;
/// What an entry carries.
pub type Payload = <Types as RaftTypeConfig>::Payload;
/// openraft's memberships, with our types.
pub type StoredMembership = openraft::StoredMembership<LeaderId, RaftId, Voter>;
/// openraft's snapshot headers, with our types.
pub type SnapshotMeta = openraft::storage::SnapshotMeta<LeaderId, RaftId, Voter>;
/// openraft's snapshots, with our types.
pub type Snapshot<D> = openraft::storage::Snapshot<LeaderId, RaftId, Voter, D>;

/// How often a leader shows that it lives.
const HEARTBEAT_MS: u64 = 200;
/// How long a follower waits for a leader at least, and at most, before it stands for election:
/// several heartbeats, and more than a slow sync to disk.
const ELECTION_MS: std::ops::Range<u64> = 800..1_600;
/// After how many entries the log is folded into a snapshot.
const ENTRIES_PER_SNAPSHOT: u64 = 256;
/// How many entries are kept behind a snapshot, for members that are a little behind.
const ENTRIES_KEPT: u64 = 64;

const _: () = assert!(HEARTBEAT_MS * 3 < ELECTION_MS.start);

/// How patient the group is.
///
/// # Errors
/// openraft's own, when the numbers above do not hold together.
pub fn config() -> Result<Arc<Config>, openraft::ConfigError> {
    let config = Config {
        cluster_name: "soros".to_owned(),
        heartbeat_interval: HEARTBEAT_MS,
        election_timeout_min: ELECTION_MS.start,
        election_timeout_max: ELECTION_MS.end,
        install_snapshot_timeout: 10_000,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(ENTRIES_PER_SNAPSHOT),
        max_in_snapshot_log_to_keep: ENTRIES_KEPT,
        purge_batch_size: ENTRIES_KEPT,
        max_payload_entries: 32,
        // A member cut off from the others does not raise the term until it could win: when it
        // comes back it does not unseat a leader that works.
        enable_pre_vote: Some(true),
        // A leader whose disk fails it again and again must not lead again at each start.
        enable_leader_restore: Some(false),
        // A member whose directory was put back is told again what it had. Else a leader that goes
        // on sends it what comes after that for ever, and with two of three put back it can change
        // nothing any more.
        allow_log_reversion: Some(true),
        ..Config::default()
    };
    config.validate().map(Arc::new)
}
