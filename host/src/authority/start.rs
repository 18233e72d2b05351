//! This is how a node comes into its cluster: it founds it with others, joins it, or comes back to
//! it under its new incarnation. It serves under the map it has meanwhile.

use super::bootstrap::{Step, View, Waiting, next_step};
use super::command::{Command, CommandError, Proposed};
use super::follow::{fetch_map, set_addresses};
use super::forward::{propose, propose_under};
use super::lead;
use super::member::{Member, Running};
use super::raft::Voter;
use super::wire::{Answer, Hello, Request, To, WireError, ask};
use super::{Entry, Failure, Inner, PlanError, twin};
use futures_util::future::join_all;
use soros_core::epoch::Epoch;
use soros_core::id::ClusterId;
use soros_core::map::Map;
use soros_core::map::change::{Change, Proposal};
use soros_core::map::founding::{Founding, founding_nodes};
use soros_core::map::node::Identity;
use soros_core::map::placement::PlacementConfig;
use soros_core::map::settings::Settings;
use soros_core::policy::topology::Snapshot;
use soros_core::token::TokenKey;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

/// How long a founding member may take to introduce itself.
const HELLO_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a node waits before it tries again to come in.
const PAUSE: Duration = Duration::from_millis(200);

/// Runs this node's member of the Raft group, if it has one, and adopts each map it comes to.
pub(super) async fn run_member(inner: Arc<Inner>) {
    if let Some(member) = &inner.member {
        member.run(&inner.keeper).await;
    }
}

/// Brings this node into its cluster, as itself, and ends when the map names it so.
pub(super) async fn come_in(inner: Arc<Inner>) {
    let mut last_wait = None;
    while !inner.keeper.is_registered() {
        let tried = match (inner.keeper.map(), &inner.parts.entry) {
            (Some(_), _) => come_back(&inner).await,
            (None, Entry::Bootstrap(founders)) => bootstrap(&inner, founders, &mut last_wait).await,
            (None, Entry::Join(address)) => enter(&inner, address).await,
            (None, Entry::Known) => Err(Failure::NoCluster),
        };
        if let Err(failure) = tried {
            inner.fail(failure);
            return;
        }
        if !inner.keeper.is_registered() {
            sleep(PAUSE).await;
        }
    }
}

/// A known node shows its new incarnation to the leader.
async fn come_back(inner: &Arc<Inner>) -> Result<(), Failure> {
    if let Some(map) = inner.keeper.map() {
        refuse_twin(inner, &map).await?;
    }
    let registered = propose(inner, register(inner)).await;
    judge(registered.map(|done| done.epoch))
}

/// Refuses to come in beside a living process with this node's name. Every leader does so too, but
/// that process may be the leader, which a node of the same id never asks.
async fn refuse_twin(inner: &Inner, map: &Map) -> Result<(), Failure> {
    let me = &inner.parts.identity;
    if twin::lives(inner, map, me).await {
        return Err(Failure::IdentityInUse(me.name.clone()));
    }
    Ok(())
}

fn register(inner: &Inner) -> Proposed {
    let command = Command::Register(Box::new(inner.parts.identity.clone()));
    Proposed {
        command,
        only_at: None,
    }
}

/// Whether a registration that failed is worth another try.
fn judge(registered: Result<Epoch, CommandError>) -> Result<(), Failure> {
    match registered {
        Err(CommandError::IdentityInUse(name)) => Err(Failure::IdentityInUse(name)),
        Err(CommandError::Refused(error)) => Err(Failure::Refused(error)),
        Err(error) => {
            tracing::info!(%error, "this node could not register yet");
            Ok(())
        }
        Ok(epoch) => {
            tracing::info!(%epoch, "this node is registered");
            Ok(())
        }
    }
}

/// Comes into the cluster of the node at `address`: as itself, if the map knows it, else as new.
async fn enter(inner: &Arc<Inner>, address: &str) -> Result<(), Failure> {
    let from = To::Address(address.to_owned());
    let map = match fetch_map(inner, &from, Epoch::NONE).await {
        Ok(Some(map)) => map,
        Err(WireError::Twin) => {
            let name = inner.parts.identity.name.clone();
            return Err(Failure::IdentityInUse(name));
        }
        Ok(None) | Err(WireError::NotSent | WireError::Unknown) => {
            tracing::info!(address, "no map was had there yet");
            return Ok(());
        }
    };
    if let Some(recorded) = inner.parts.cluster.filter(|lost| *lost != map.cluster()) {
        let found = map.cluster();
        return Err(Failure::OtherCluster { recorded, found });
    }
    set_addresses(inner, &map);
    let named = map
        .node(inner.id())
        .is_some_and(|node| node.identity == inner.parts.identity);
    if named {
        if let Err(error) = inner.keeper.accept(map).await {
            tracing::error!(%error, "the first map could not be adopted");
        }
        return Ok(());
    }
    refuse_twin(inner, &map).await?;
    let registered = propose_under(inner, &map, register(inner)).await;
    judge(registered.map(|done| done.epoch))
}

/// Does the next step of a founding member.
async fn bootstrap(
    inner: &Arc<Inner>,
    founders: &[String],
    last_wait: &mut Option<Waiting>,
) -> Result<(), Failure> {
    let others = greet(inner, founders).await;
    let me = inner.hello().await;
    let running = inner.member.as_ref().and_then(Member::running);
    let leads = running
        .as_ref()
        .is_some_and(|running| running.raft.is_leader());
    let step = next_step(&View {
        me: &me,
        others: &others,
        leads,
    });
    match step {
        Step::Wait(waiting) => {
            if last_wait.as_ref() != Some(&waiting) {
                tracing::info!(%waiting, "the cluster is not founded yet");
            }
            *last_wait = Some(waiting);
            Ok(())
        }
        Step::Initialize(voters) => {
            initialize(running.as_deref(), &voters).await;
            Ok(())
        }
        Step::Found(members) => {
            if let Some(running) = running {
                found(inner, &running, members).await;
            }
            Ok(())
        }
        Step::Rejoin(address) => enter(inner, &address).await,
        Step::GiveUp(error) => Err(error.into()),
    }
}

/// Asks all other founding members who they are.
async fn greet(inner: &Inner, founders: &[String]) -> BTreeMap<String, Hello> {
    let request = Request::Hello(Box::new(inner.hello().await));
    let request = &request;
    let others = founders
        .iter()
        .filter(|&address| *address != inner.parts.identity.peer);
    let greeted = others.map(async |address| {
        let to = To::Address(address.clone());
        match ask(inner.wire(), &to, request, HELLO_TIMEOUT).await {
            Ok(Answer::Hello(hello)) => Some((address.clone(), *hello)),
            _ => None,
        }
    });
    let hellos: BTreeMap<String, Hello> = join_all(greeted).await.into_iter().flatten().collect();
    for hello in hellos.values() {
        inner
            .wire()
            .set_address(hello.identity.id(), &hello.identity.peer);
    }
    hellos
}

/// Makes the Raft group.
async fn initialize(running: Option<&Running>, voters: &[Identity]) {
    let Some(running) = running else { return };
    let member = |voter: &Identity| (voter.raft, Voter { node: voter.id() });
    let members: BTreeMap<_, _> = voters.iter().map(member).collect();
    match running.raft.initialize(members).await {
        Ok(()) => tracing::info!(voters = voters.len(), "the authority is founded"),
        Err(error) => tracing::warn!(%error, "the authority could not be founded yet"),
    }
}

/// Proposes the first map.
async fn found(inner: &Inner, running: &Running, members: Vec<Identity>) {
    let founding = match first_map(inner, members).await {
        Ok(founding) => founding,
        Err(error) => {
            tracing::error!(%error, "there is no first map");
            return;
        }
    };
    let change = Change::Found(Box::new(founding));
    match lead::propose(
        running,
        Proposal {
            change,
            only_at: None,
        },
    )
    .await
    {
        Ok(map) => tracing::info!(cluster = %map.cluster(), "the cluster is founded"),
        Err(error) => tracing::warn!(%error, "the cluster could not be founded yet"),
    }
}

/// Why there is no first map.
#[derive(Debug, thiserror::Error)]
enum FirstMapError {
    #[error(transparent)]
    Members(#[from] soros_core::map::change::ChangeError),
    #[error(transparent)]
    Topology(#[from] soros_core::policy::topology::TopologyError),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error("no random bits: {0}")]
    Random(#[from] getrandom::Error),
}

async fn first_map(inner: &Inner, members: Vec<Identity>) -> Result<Founding, FirstMapError> {
    let placement = PlacementConfig::default();
    let nodes = founding_nodes(&members)?;
    let now = Snapshot::of(Epoch::NONE.next(), &nodes, &placement)?;
    let table = inner
        .parts
        .planner
        .plan(&placement.policy, now, None)
        .await?;
    let (mut cluster, mut token_key) = ([0; 16], [0; 32]);
    getrandom::fill(&mut cluster)?;
    getrandom::fill(&mut token_key)?;
    Ok(Founding {
        cluster: ClusterId(u128::from_be_bytes(cluster)),
        name: inner.parts.first.name.clone(),
        members,
        plugins: inner.parts.first.plugins.clone(),
        placement,
        table,
        settings: Settings::default(),
        token_key: TokenKey(token_key),
    })
}
