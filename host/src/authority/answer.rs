//! This is what a node answers to the others' requests about the map.

use super::Entry;
use super::Inner;
use super::command::CommandError;
use super::components::sent;
use super::forward::{carry_out_to_the_end, leadership_of};
use super::member::{Member, Raft};
use super::raft::Snapshot;
use super::state::Picture;
use super::wire::{Answer, Hello, RaftMessage, Request, decode, encode};
use bytes::Bytes;
use soros_core::epoch::Epoch;
use soros_core::map::Map;
use soros_core::map::format::Format;
use std::sync::Arc;

/// The bytes that answer `request`.
pub(super) async fn answer(inner: &Arc<Inner>, request: &[u8]) -> Bytes {
    let answer = match decode::<Request>(request) {
        Ok(request) => on_request(inner, request).await,
        Err(error) => {
            tracing::warn!(%error, "a request about the map could not be read");
            Answer::Refused
        }
    };
    encode(&answer)
}

async fn on_request(inner: &Arc<Inner>, request: Request) -> Answer {
    match request {
        Request::Raft { to, message } => match inner.member.as_ref().filter(|own| own.id() == to) {
            Some(member) => on_raft_message(member, message).await,
            None => Answer::Refused,
        },
        Request::Hello(hello) => on_hello(inner, &hello).await,
        Request::Fetch { newer_than, knows } => on_fetch(inner, newer_than, knows),
        Request::Push(map) => on_push(inner, *map).await,
        Request::Propose(proposed) => Answer::Propose(if inner.leading().is_some() {
            carry_out_to_the_end(inner, *proposed).await
        } else {
            Err(CommandError::NotLeader {
                leader: inner.said_to_lead(),
            })
        }),
        Request::Leadership => {
            let running = inner.member.as_ref().and_then(Member::running);
            Answer::Leadership(running.map(|own| leadership_of(&own)).unwrap_or_default())
        }
        Request::Facts => Answer::Facts(inner.parts.facts.facts()),
        Request::Hold { .. }
        | Request::Component { .. }
        | Request::Prepare { .. }
        | Request::Plugins
        | Request::Captures { .. }
        | Request::Loads { .. }
        | Request::Judge { .. } => on_plugin_request(inner, request).await,
    }
}

async fn on_plugin_request(inner: &Inner, request: Request) -> Answer {
    let plugins = &inner.parts.plugins;
    match request {
        Request::Hold { release, holder } => {
            let held = plugins.hold(&release, holder).await;
            if let Err(reason) = &held {
                tracing::error!(digest = %release.digest, reason, "a component was not kept");
            }
            Answer::Held(held.is_ok())
        }
        Request::Component { digest, from } => {
            let piece = plugins.component(digest, Some(from)).await;
            Answer::Component(piece.map(|piece| sent(&piece)))
        }
        Request::Prepare { release, configs } => {
            Answer::Prepared(plugins.prepare(&release, configs).await)
        }
        Request::Plugins => Answer::Plugins(plugins.standings()),
        Request::Captures { name } => Answer::Captures(plugins.captures(&name)),
        Request::Loads { placement } => {
            Answer::Loads(inner.parts.tries_versions.loads(placement).await)
        }
        Request::Judge {
            release,
            config,
            bucket,
        } => {
            let judged = inner.parts.tries_versions.judge(&release, &config, &bucket);
            Answer::Judged(judged.await)
        }
        _ => Answer::Refused,
    }
}

/// A node without a map has heard of the others only so.
async fn on_hello(inner: &Inner, hello: &Hello) -> Answer {
    if inner.keeper.map().is_none() {
        inner
            .wire()
            .set_address(hello.identity.id(), &hello.identity.peer);
    }
    Answer::Hello(Box::new(inner.hello().await))
}

fn on_fetch(inner: &Inner, newer_than: Epoch, knows: Format) -> Answer {
    let map = inner.keeper.map().filter(|map| newer_than < map.epoch());
    if let Some(map) = map.as_ref().filter(|map| knows < map.format()) {
        return Answer::NewerFormat(map.format());
    }
    Answer::Fetch(map.map(|map| Box::new(Map::clone(&map))))
}

async fn on_push(inner: &Inner, map: Map) -> Answer {
    match inner.keeper.accept(map).await {
        Ok(epoch) => Answer::Push(epoch),
        Err(error) => {
            tracing::debug!(%error, "a map that was sent was not adopted");
            Answer::Refused
        }
    }
}

async fn on_raft_message(member: &Member, message: RaftMessage) -> Answer {
    let Some(running) = member.running() else {
        return Answer::Refused;
    };
    let answer = match message {
        RaftMessage::Append(request) => running
            .raft
            .append_entries(request)
            .await
            .map(Answer::Append)
            .ok(),
        RaftMessage::PreVote(request) => {
            running.raft.pre_vote(request).await.map(Answer::Vote).ok()
        }
        RaftMessage::Vote(request) => running.raft.vote(request).await.map(Answer::Vote).ok(),
        RaftMessage::Snapshot { vote, picture } => {
            let Picture { meta, map } = *picture;
            let snapshot = Snapshot {
                meta,
                snapshot: map.map(Arc::new),
            };
            let installed = running.raft.install_full_snapshot(vote, snapshot).await;
            installed.map(Answer::Snapshot).ok()
        }
        RaftMessage::Transfer(request) => running
            .raft
            .handle_transfer_leader(request)
            .await
            .map(Answer::Transfer)
            .ok(),
    };
    answer.unwrap_or(Answer::Refused)
}

impl Inner {
    /// How this node introduces itself.
    pub(super) async fn hello(&self) -> Hello {
        let map = self.keeper.map();
        let founders = match &self.parts.entry {
            Entry::Bootstrap(founders) => founders.clone(),
            Entry::Join(_) | Entry::Known => Vec::new(),
        };
        Hello {
            identity: self.parts.identity.clone(),
            cluster: map.as_ref().map(|map| map.cluster()),
            lost: self.keeper.cluster().filter(|_| map.is_none()),
            epoch: map.map(|map| map.epoch()).unwrap_or_default(),
            founders,
            has_voted: match self.member.as_ref().and_then(Member::running) {
                Some(running) => has_voted(&running.raft).await,
                None => false,
            },
        }
    }
}

/// Whether the member has voted or has a log; one that cannot say may have.
async fn has_voted(raft: &Raft) -> bool {
    raft.is_initialized().await.unwrap_or(true)
}
