//! This is how a command finds the leader from any node, and how any node learns who leads.

use super::command::{CommandError, Done, Proposed};
use super::lead::carry_out;
use super::member::Running;
use super::wire::{Answer, Facts, Leadership, Request, To, WireError, ask};
use super::{Inner, Standing, locked};
use futures_util::future::join_all;
use openraft::async_runtime::WatchReceiver;
use soros_core::id::NodeId;
use soros_core::map::Map;
use soros_core::map::node::Role;
use soros_core::map::plugin::PluginName;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long a command looks for a leader: longer than an election takes.
const SEARCH_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a command waits before it looks again.
const SEARCH_PAUSE: Duration = Duration::from_millis(100);
/// How long the leader may take: to plan, to commit, to spread, and for a bucket's deletion twice.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a node may take to say who leads, or what it holds.
const SAY_TIMEOUT: Duration = Duration::from_millis(500);

/// Has `proposed` carried out by whoever leads.
///
/// # Errors
/// [`CommandError`] says whether anything was changed.
pub(super) async fn propose(inner: &Arc<Inner>, proposed: Proposed) -> Result<Done, CommandError> {
    let Some(map) = inner.keeper.map() else {
        return Err(CommandError::NoLeader);
    };
    propose_under(inner, &map, proposed).await
}

/// As [`propose`], for a node that is not in the cluster yet and knows `map` only from another.
///
/// # Errors
/// [`CommandError`] says whether anything was changed.
pub(super) async fn propose_under(
    inner: &Arc<Inner>,
    map: &Map,
    proposed: Proposed,
) -> Result<Done, CommandError> {
    let deadline = Instant::now() + SEARCH_TIMEOUT;
    loop {
        match propose_once(inner, map, &proposed).await {
            Err(CommandError::NoLeader | CommandError::NotLeader { .. }) => {
                if deadline < Instant::now() {
                    return Err(CommandError::NoLeader);
                }
                sleep(SEARCH_PAUSE).await;
            }
            result => return result,
        }
    }
}

/// Asks this node itself, or else everyone who may lead, whoever is said to lead first.
async fn propose_once(
    inner: &Arc<Inner>,
    map: &Map,
    proposed: &Proposed,
) -> Result<Done, CommandError> {
    if inner.leading().is_some() {
        return carry_out_to_the_end(inner, proposed.clone()).await;
    }
    let request = Request::Propose(Box::new(proposed.clone()));
    let mut asked = BTreeSet::from([inner.id()]);
    let mut candidates = candidates(inner, map);
    while let Some(node) = candidates.pop_front() {
        if !asked.insert(node) {
            continue;
        }
        match ask(inner.wire(), &To::Node(node), &request, COMMAND_TIMEOUT).await {
            Ok(Answer::Propose(Err(CommandError::NotLeader { leader }))) => {
                candidates.extend(leader);
                candidates.rotate_right(usize::from(leader.is_some()));
            }
            Ok(Answer::Propose(Err(CommandError::NoLeader)) | Answer::Refused)
            | Err(WireError::NotSent | WireError::Twin) => {}
            Ok(Answer::Propose(result)) => {
                *locked(&inner.leader_hint) = Some(node);
                return result;
            }
            Ok(_) | Err(WireError::Unknown) => return Err(CommandError::Unknown),
        }
    }
    Err(CommandError::NoLeader)
}

/// Carries a command out even if whoever asked for it goes away: a change begun is brought to its
/// end.
pub(super) async fn carry_out_to_the_end(
    inner: &Arc<Inner>,
    proposed: Proposed,
) -> Result<Done, CommandError> {
    let inner = Arc::clone(inner);
    let task = tokio::spawn(async move { carry_out(&inner, proposed).await });
    task.await.unwrap_or_else(|error| {
        tracing::error!(%error, "a change of the map broke off");
        Err(CommandError::Unknown)
    })
}

/// Who may lead and lives: who is said to, then all with the authority role.
fn candidates(inner: &Inner, map: &Map) -> VecDeque<NodeId> {
    let said = inner.said_to_lead().or(*locked(&inner.leader_hint));
    let able = map
        .nodes()
        .iter()
        .filter(|(_, node)| node.identity.has(Role::Authority));
    let all = said.into_iter().chain(able.map(|(&id, _)| id));
    all.filter(|&node| inner.parts.liveness.is_alive(node))
        .collect()
}

impl Inner {
    /// Who leads, as this node's own member knows.
    pub(super) fn said_to_lead(&self) -> Option<NodeId> {
        leadership_of(&*self.member.as_ref()?.running()?).leader
    }
}

/// Who leads and who votes, as the member knows.
pub(super) fn leadership_of(running: &Running) -> Leadership {
    let metrics = running.raft.metrics();
    let metrics = metrics.borrow_watched();
    let membership = metrics.membership_config.membership();
    let node = |id| membership.get_node(&id).map(|voter| voter.node);
    Leadership {
        leader: metrics.current_leader.and_then(node),
        term: metrics.current_term,
        voters: membership.voter_ids().filter_map(node).collect(),
    }
}

/// Who leads and who votes. A node that is no member asks those who may be; when none of them
/// answers at once, nothing is known.
pub(super) async fn leadership(inner: &Inner) -> Leadership {
    let running = inner
        .member
        .as_ref()
        .and_then(super::member::Member::running);
    let own = running
        .map(|running| leadership_of(&running))
        .unwrap_or_default();
    let Some(map) = inner.keeper.map().filter(|_| own.voters.is_empty()) else {
        return own;
    };
    for node in candidates(inner, &map)
        .into_iter()
        .filter(|&node| node != inner.id())
    {
        let to = To::Node(node);
        let asked = ask(inner.wire(), &to, &Request::Leadership, SAY_TIMEOUT);
        if let Ok(Answer::Leadership(known)) = asked.await
            && !known.voters.is_empty()
        {
            return known;
        }
    }
    own
}

/// What the living nodes of `map` say that they hold.
pub(super) async fn facts(inner: &Inner, map: &Map) -> BTreeMap<NodeId, Facts> {
    let own = inner.parts.facts.facts();
    let answers = say(inner, map, Request::Facts, SAY_TIMEOUT).await;
    let others = answers
        .into_iter()
        .filter_map(|(node, answer)| match answer {
            Answer::Facts(facts) => Some((node, facts)),
            _ => None,
        });
    others.chain([(inner.id(), own)]).collect()
}

/// How the plugins stand at the living nodes of `map`.
pub(super) async fn standings(
    inner: &Inner,
    map: &Map,
) -> BTreeMap<NodeId, BTreeMap<PluginName, Standing>> {
    let own = inner.parts.plugins.standings();
    let answers = say(inner, map, Request::Plugins, SAY_TIMEOUT).await;
    let others = answers
        .into_iter()
        .filter_map(|(node, answer)| match answer {
            Answer::Plugins(standings) => Some((node, standings)),
            _ => None,
        });
    others.chain([(inner.id(), own)]).collect()
}

/// The calls that the shadow of a plugin answers otherwise, at the living nodes of `map`.
pub(super) async fn captures(inner: &Inner, map: &Map, name: &PluginName) -> Vec<String> {
    let mut captures = inner.parts.plugins.captures(name);
    let request = Request::Captures { name: name.clone() };
    for (_, answer) in say(inner, map, request, SAY_TIMEOUT).await {
        if let Answer::Captures(others) = answer {
            captures.extend(others);
        }
    }
    captures
}

/// What the other nodes of `map` answer within `time`.
pub(super) async fn say(
    inner: &Inner,
    map: &Map,
    request: Request,
    time: Duration,
) -> Vec<(NodeId, Answer)> {
    let request = &request;
    let others = map.nodes().keys().filter(|node| **node != inner.id());
    let asked = others.map(async |&node| {
        if !inner.parts.liveness.is_alive(node) {
            return None;
        }
        let answer = ask(inner.wire(), &To::Node(node), request, time).await;
        Some((node, answer.ok()?))
    });
    join_all(asked).await.into_iter().flatten().collect()
}
