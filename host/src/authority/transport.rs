//! This is how members of the Raft group reach each other: openraft's network over [`Wire`].

use super::raft::{Snapshot, Types, Vote, Voter};
use super::state::{Picture, SnapshotData};
use super::wire::{Answer, RaftMessage, Request, To, Wire, WireError, ask};
use openraft::RaftNetworkFactory;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use soros_core::map::node::RaftId;
use std::sync::Arc;

/// Makes a [`Channel`] to each other member.
pub(super) struct Transport {
    wire: Arc<dyn Wire>,
}

impl Transport {
    /// Over `wire`.
    #[must_use]
    pub(super) fn new(wire: Arc<dyn Wire>) -> Transport {
        Transport { wire }
    }
}

impl RaftNetworkFactory<Types> for Transport {
    type Network = Channel;

    async fn new_client(&mut self, target: RaftId, voter: &Voter) -> Channel {
        Channel {
            wire: Arc::clone(&self.wire),
            target,
            to: To::Node(voter.node),
        }
    }
}

/// The way to one other member.
pub(super) struct Channel {
    wire: Arc<dyn Wire>,
    target: RaftId,
    to: To,
}

/// Why a member did not answer as it should.
#[derive(Debug, thiserror::Error)]
enum ChannelError {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("the node refused: it runs another member, or none")]
    Refused,
}

impl From<ChannelError> for RPCError<Types> {
    fn from(error: ChannelError) -> RPCError<Types> {
        match error {
            // Asking again at once would only find the same closed door.
            ChannelError::Wire(WireError::NotSent | WireError::Twin) | ChannelError::Refused => {
                RPCError::Unreachable(Unreachable::new(&error))
            }
            ChannelError::Wire(WireError::Unknown) => RPCError::Network(NetworkError::new(&error)),
        }
    }
}

impl Channel {
    async fn ask(&self, message: RaftMessage, option: &RPCOption) -> Result<Answer, ChannelError> {
        let request = Request::Raft {
            to: self.target,
            message,
        };
        Ok(ask(&*self.wire, &self.to, &request, option.soft_ttl()).await?)
    }

    async fn ask_vote(
        &self,
        message: RaftMessage,
        option: &RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        match self.ask(message, option).await? {
            Answer::Vote(response) => Ok(response),
            _ => Err(ChannelError::Refused.into()),
        }
    }
}

impl RaftNetworkV2<Types> for Channel {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        match self.ask(RaftMessage::Append(request), &option).await? {
            Answer::Append(response) => Ok(response),
            _ => Err(ChannelError::Refused.into()),
        }
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ask_vote(RaftMessage::Vote(request), &option).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ask_vote(RaftMessage::PreVote(request), &option).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot<SnapshotData>,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let map = snapshot.snapshot.as_deref().cloned();
        let picture = Box::new(Picture {
            meta: snapshot.meta,
            map,
        });
        let asked = self.ask(RaftMessage::Snapshot { vote, picture }, &option);
        let answer = tokio::select! {
            answer = asked => answer.map_err(RPCError::from)?,
            closed = cancel => return Err(closed.into()),
        };
        match answer {
            Answer::Snapshot(response) => Ok(response),
            _ => Err(RPCError::from(ChannelError::Refused).into()),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        match self.ask(RaftMessage::Transfer(request), &option).await? {
            Answer::Transfer(response) => Ok(response),
            _ => Err(ChannelError::Refused.into()),
        }
    }
}
