//! This is what nodes say to each other about the map: the requests, their answers, and the bytes
//! they are on the wire.
//!
//! ```text
//! version:1 json
//! ```
//!
//! How the bytes travel is the business of whoever implements [`Wire`].

use super::command::{CommandError, Done, Proposed};
use super::dry_run::{Loads, Tally};
use super::raft::{Types, Vote};
use super::state::Picture;
use super::{PlanError, Standing};
use crate::network::BoxFuture;
use bytes::Bytes;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use soros_core::epoch::Epoch;
use soros_core::id::{BucketName, ClusterId, NodeId, PlacementId};
use soros_core::map::Map;
use soros_core::map::format::Format;
use soros_core::map::json::Json;
use soros_core::map::node::{Identity, RaftId};
use soros_core::map::plugin::{PluginDigest, PluginName, Release};
use std::collections::BTreeMap;
use std::time::Duration;

/// The version of the messages that this program speaks.
pub const VERSION: u8 = 1;

/// Whom a request is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum To {
    /// A node whose address is known.
    Node(NodeId),
    /// Whoever listens at this address: host and port of a peer listener.
    Address(String),
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The request was certainly not taken.
    #[error("the request was not sent")]
    NotSent,
    /// The request was not taken: who was asked is another living process with this node's
    /// identity.
    #[error("another living process has this node's identity")]
    Twin,
    /// The request may have been taken.
    #[error("there was no answer")]
    Unknown,
}

/// How requests reach other nodes.
pub trait Wire: Send + Sync + 'static {
    /// Sends `request` and waits at most `timeout` for the answer.
    fn call(
        &self,
        to: &To,
        request: Bytes,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Bytes, WireError>>;

    /// From now on `node` is at `address`.
    fn set_address(&self, node: NodeId, address: &str);
}

/// What one node asks another.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// A message of the Raft group, for this member and no other: a node that lost its disk is
    /// another member, and must not answer for the one it was.
    Raft {
        /// The member.
        to: RaftId,
        /// The message.
        message: RaftMessage,
    },
    /// Who are you? The sender introduces itself.
    Hello(Box<Hello>),
    /// Is there a map newer than this epoch?
    Fetch {
        /// The sender's epoch.
        newer_than: Epoch,
        /// The newest format that it knows.
        knows: Format,
    },
    /// Here is a newer map.
    Push(Box<Map>),
    /// Change the map.
    Propose(Box<Proposed>),
    /// Who leads, and who votes?
    Leadership,
    /// What do you hold?
    Facts,
    /// Make this component durable, which the node `holder` has.
    Hold {
        /// The component.
        release: Release,
        /// Who has it.
        holder: NodeId,
    },
    /// A piece of a component, from this byte on.
    Component {
        /// Its digest.
        digest: PluginDigest,
        /// The byte.
        from: u64,
    },
    /// Get ready to be asked as this release of a plugin, with each of these configurations.
    Prepare {
        /// The release.
        release: Release,
        /// The configurations.
        configs: Vec<Json>,
    },
    /// How do the map's plugins stand with you?
    Plugins,
    /// Which calls does the shadow of this plugin answer otherwise with you?
    Captures {
        /// The plugin.
        name: PluginName,
    },
    /// What do the partitions of a placement hold of which you are the first replica?
    Loads {
        /// The placement.
        placement: PlacementId,
    },
    /// What would this release of a validator make of values that you hold?
    Judge {
        /// The release.
        release: Release,
        /// With this configuration.
        config: Json,
        /// Of this bucket.
        bucket: BucketName,
    },
}

/// A message of the Raft group.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RaftMessage {
    /// Entries of the log, or a heartbeat.
    Append(AppendEntriesRequest<Types>),
    /// Would you vote for me?
    PreVote(VoteRequest<Types>),
    /// Vote for me.
    Vote(VoteRequest<Types>),
    /// The state machine as a whole.
    Snapshot {
        /// The leader's vote.
        vote: Vote,
        /// The state machine.
        picture: Box<Picture>,
    },
    /// Stand for election now.
    Transfer(TransferLeaderRequest<Types>),
}

/// What a node answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// To [`RaftMessage::Append`].
    Append(AppendEntriesResponse<Types>),
    /// To [`RaftMessage::PreVote`] and [`RaftMessage::Vote`].
    Vote(VoteResponse<Types>),
    /// To [`RaftMessage::Snapshot`].
    Snapshot(SnapshotResponse<Types>),
    /// To [`RaftMessage::Transfer`].
    Transfer(TransferLeaderResponse<Types>),
    /// To [`Request::Hello`].
    Hello(Box<Hello>),
    /// To [`Request::Fetch`]: the map, if it is newer.
    Fetch(Option<Box<Map>>),
    /// To [`Request::Fetch`] of who could not read the map: its format.
    NewerFormat(Format),
    /// To [`Request::Push`]: the epoch of the map that is now in force at the sender.
    Push(Epoch),
    /// To [`Request::Propose`].
    Propose(Result<Done, CommandError>),
    /// To [`Request::Leadership`].
    Leadership(Leadership),
    /// To [`Request::Facts`].
    Facts(Facts),
    /// To [`Request::Hold`]: whether it is durable.
    Held(bool),
    /// To [`Request::Component`]: the piece in base64, if the component is here.
    Component(Option<String>),
    /// To [`Request::Prepare`].
    Prepared(Result<(), PlanError>),
    /// To [`Request::Plugins`].
    Plugins(BTreeMap<PluginName, Standing>),
    /// To [`Request::Captures`]: lines of a capture.
    Captures(Vec<String>),
    /// To [`Request::Loads`], if it could be found out.
    Loads(Option<Loads>),
    /// To [`Request::Judge`].
    Judged(Result<Tally, PlanError>),
    /// The request cannot be answered here: another member, a Raft member that stopped, a map of
    /// another cluster, or one that could not be stored.
    Refused,
}

/// How a node introduces itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Who it is.
    pub identity: Identity,
    /// Which cluster it is in, if any.
    pub cluster: Option<ClusterId>,
    /// Which cluster its directory belongs to although it has no map of it: that was lost.
    #[serde(default)]
    pub lost: Option<ClusterId>,
    /// The epoch of its map; 0 without one.
    pub epoch: Epoch,
    /// The founding members it was given, if any.
    pub founders: Vec<String>,
    /// Whether its Raft member has voted or has a log.
    pub has_voted: bool,
}

/// Who leads the authority and who votes in it, as one node sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leadership {
    /// The node that leads, if one is known.
    pub leader: Option<NodeId>,
    /// The term.
    pub term: u64,
    /// The nodes that vote.
    pub voters: Vec<NodeId>,
}

/// What a node holds, as it says itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The bytes it takes on disk.
    pub bytes: u64,
    /// How many of its partitions are not at full strength.
    pub partitions_behind: u64,
    /// How many milliseconds its clock is ahead of the median of its peers', if it heard any.
    #[serde(default)]
    pub clock_offset_ms: Option<i64>,
    /// Whether that is too much, so that it refuses writes.
    #[serde(default)]
    pub clock_skewed: bool,
    /// Whether its disk is full, so that it refuses values.
    #[serde(default)]
    pub disk_full: bool,
}

/// Why bytes are not a message.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// Another version, or nothing at all.
    #[error("the message does not have version {VERSION}")]
    Version,
    /// Not what a message is.
    #[error("the message is not what it should be")]
    Json(#[from] serde_json::Error),
}

/// The bytes of `message`.
///
/// # Panics
/// When a type's own serialisation refuses a value, which none of the authority's does.
#[must_use]
pub fn encode(message: &impl Serialize) -> Bytes {
    let mut bytes = vec![VERSION];
    serde_json::to_writer(&mut bytes, message).expect("the authority's types are JSON");
    bytes.into()
}

/// The message in `bytes`.
///
/// # Errors
/// [`MessageError`] when it is none of this version.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, MessageError> {
    match bytes.split_first() {
        Some((&VERSION, json)) => Ok(serde_json::from_slice(json)?),
        _ => Err(MessageError::Version),
    }
}

/// Sends `request` to `to` and reads the answer. An answer that cannot be read is none.
///
/// # Errors
/// [`WireError`] when there is no answer.
pub async fn ask(
    wire: &dyn Wire,
    to: &To,
    request: &Request,
    timeout: Duration,
) -> Result<Answer, WireError> {
    let answer = wire.call(to, encode(request), timeout).await?;
    decode(&answer).map_err(|error| {
        tracing::warn!(?to, %error, "an answer about the map could not be read");
        WireError::Unknown
    })
}
