//! This is how a node comes into its cluster: it founds it with others, joins it, or comes back to
//! it under its new incarnation. It serves under the map it has meanwhile.

use super::bootstrap::{Step, View, Waiting, next_step};
use super::command::{Command, CommandError, Proposed, Registration};
use super::follow::{fetch_map, set_addresses};
use super::forward::{leadership, propose, propose_under};
use super::lead;
use super::member::{Member, Running};
use super::raft::Voter;
use super::wire::{Answer, Hello, Request, To, ask};
use super::{Entry, Failure, Inner, PlanError, twin};
use futures_util::future::{join, join_all};
use soros_core::epoch::Epoch;
use soros_core::id::{ClusterId, NodeId};
use soros_core::map::Map;
use soros_core::map::change::{Change, ChangeError, Proposal};
use soros_core::map::founding::{Founding, founding_nodes};
use soros_core::map::node::{Identity, Role};
use soros_core::map::placement::PlacementConfig;
use soros_core::map::plugin::Plugin;
use soros_core::map::settings::Settings;
use soros_core::policy::topology::Snapshot;
use soros_core::token::TokenKey;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// How long a founding member may take to introduce itself.
const HELLO_TIMEOUT: Duration = Duration::from_secs(1);
/// How many other nodes are asked at a time what they know of this one.
const ASKED_AT_ONCE: usize = 8;
/// How long they may take to tell.
const TELL_TIMEOUT: Duration = Duration::from_millis(500);
/// How long a node waits before it tries again to come in.
const PAUSE: Duration = Duration::from_millis(200);
/// How long it waits before it asks the other nodes again.
const CHECK_PAUSE: Duration = Duration::from_millis(50);

/// Runs this node's member of the Raft group, if it has one, and adopts each map it comes to.
pub(super) async fn run_member(inner: Arc<Inner>) {
    if let Some(member) = &inner.member {
        member.run(&inner.keeper).await;
    }
}

/// Brings this node into its cluster, as itself, and ends when the map names it so.
pub(super) async fn come_in(inner: Arc<Inner>) {
    // Not after one another: the leader may be long in coming, and the data path waits for none.
    join(register_soon(&inner), check_directory(&inner)).await;
}

async fn register_soon(inner: &Arc<Inner>) {
    let mut last_wait = None;
    while !inner.keeper.is_registered() {
        let tried = match (inner.keeper.map(), &inner.parts.entry) {
            (Some(map), _) => come_back(inner, &map).await,
            (None, Entry::Bootstrap(founders)) => bootstrap(inner, founders, &mut last_wait).await,
            (None, Entry::Join(address)) => enter(inner, address).await,
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
async fn come_back(inner: &Arc<Inner>, map: &Map) -> Result<(), Failure> {
    set_addresses(inner, map);
    refuse_twin(inner, map).await?;
    let registered = propose(inner, register(inner)).await;
    judge(inner, registered.map(|done| done.epoch)).await
}

/// Asks the other nodes whether they know a later life of this one than its directory does, until
/// enough have told or the leader has taken this one in, and says so to who serves.
async fn check_directory(inner: &Inner) {
    let mut told = BTreeSet::from([inner.id()]);
    while !inner.keeper.is_registered() && !is_directory_known(inner, &mut told).await {
        sleep(CHECK_PAUSE).await;
    }
}

/// Whether enough nodes could tell; `told` are those that know of no later life.
async fn is_directory_known(inner: &Inner, told: &mut BTreeSet<NodeId>) -> bool {
    let Some(map) = inner.keeper.map() else {
        return false;
    };
    set_addresses(inner, &map);
    let voters = leadership(inner).await.voters;
    if can_tell(told, &map, &voters) {
        inner.parts.adopts.vouched().await;
        return true;
    }
    let mut others: Vec<NodeId> = map.nodes().keys().copied().collect();
    others.retain(|node| !told.contains(node));
    others.sort_by_key(|node| !voters.contains(node));
    for asked in others.chunks(ASKED_AT_ONCE) {
        for (node, known) in join_all(asked.iter().map(|&node| ask_map(inner, node, &map))).await {
            let Some(known) = known else { continue };
            if let Some(latest) = inner.keeper.unknown_life(&known) {
                inner.keeper.doubt(latest).await;
                return true;
            }
            told.insert(node);
        }
        if can_tell(told, &map, &voters) {
            inner.parts.adopts.vouched().await;
            return true;
        }
    }
    false
}

/// The map of another node, unless it is older than `own`: such a node cannot tell.
async fn ask_map(inner: &Inner, node: NodeId, own: &Map) -> (NodeId, Option<Map>) {
    let newer_than = Epoch(own.epoch().0.saturating_sub(1));
    let to = To::Node(node);
    let asked = timeout(TELL_TIMEOUT, fetch_map(inner, &to, newer_than));
    let map = asked.await.ok().flatten();
    (node, map.filter(|map| map.cluster() == own.cluster()))
}

/// Whether the nodes `told` would know of a later life that the cluster took in: most of the voters
/// are among them, or, so that data is served without any authority, most of those that hold data.
fn can_tell(told: &BTreeSet<NodeId>, map: &Map, voters: &[NodeId]) -> bool {
    let holders = map.nodes().iter();
    let holders = holders.filter(|(_, node)| node.identity.has(Role::Peer));
    let holders: Vec<NodeId> = holders.map(|(&id, _)| id).collect();
    let most_told = |nodes: &[NodeId]| {
        let telling = nodes.iter().filter(|node| told.contains(node));
        nodes.len() < 2 * telling.count()
    };
    most_told(voters) || most_told(&holders)
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
    let registration = Registration {
        identity: inner.parts.identity.clone(),
        home: inner.keeper.home(),
    };
    Proposed {
        command: Command::Register(Box::new(registration)),
        only_at: None,
        through: inner.parts.identity.name.to_string(),
    }
}

/// Whether a registration that failed is worth another try.
pub(super) async fn judge(
    inner: &Inner,
    registered: Result<Epoch, CommandError>,
) -> Result<(), Failure> {
    match registered {
        Err(CommandError::OldDirectory { latest }) => {
            inner.keeper.doubt(latest).await;
            Ok(())
        }
        Err(CommandError::IdentityInUse(name)) => Err(Failure::IdentityInUse(name)),
        // Another change came between: the leader had lost its lead, and leads again.
        Err(CommandError::Refused(ChangeError::Moved { .. })) => Ok(()),
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
    let Some(map) = fetch_map(inner, &from, Epoch::NONE).await else {
        tracing::info!(address, "no map was had there yet");
        return Ok(());
    };
    if let Some(recorded) = inner.keeper.cluster().filter(|own| *own != map.cluster()) {
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
    judge(inner, registered.map(|done| done.epoch)).await
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
    match lead::propose(running, Proposal::on(None, change, None)).await {
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
    #[error("the placement policy does not ship")]
    NoPlugin,
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error("no random bits: {0}")]
    Random(#[from] getrandom::Error),
}

async fn first_map(inner: &Inner, members: Vec<Identity>) -> Result<Founding, FirstMapError> {
    let placement = PlacementConfig::default();
    let nodes = founding_nodes(&members)?;
    let now = Snapshot::of(Epoch::NONE.next(), &nodes, &placement)?;
    let plugin = inner.parts.first.plugins.get(&placement.policy.plugin);
    let (_, release) = plugin
        .and_then(Plugin::active)
        .ok_or(FirstMapError::NoPlugin)?;
    let planned = inner
        .parts
        .planner
        .plan(release, &placement.policy, now, None);
    let table = planned.await?;
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
