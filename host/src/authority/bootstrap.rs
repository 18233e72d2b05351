//! This is how a cluster is founded once and never twice, and how a founding member that lost its
//! disk finds the cluster it founded.
//!
//! A pure decision: what the founding members said of themselves goes in, the next step comes out.
//! Every member decides for itself, by the same rules; whoever carries the steps out asks again and
//! again until the node has a map.

use super::wire::Hello;
use soros_core::id::{ClusterId, NodeName};
use soros_core::map::founding::voters;
use soros_core::map::node::Identity;
use std::collections::{BTreeMap, BTreeSet};

/// What a founding member knows.
pub struct View<'a> {
    /// Itself.
    pub me: &'a Hello,
    /// What the other founding members said last, by the address they were asked at.
    pub others: &'a BTreeMap<String, Hello>,
    /// Whether this node's member leads the Raft group.
    pub leads: bool,
}

/// What a founding member does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It waits.
    Wait(Waiting),
    /// It makes the Raft group, of these voters.
    Initialize(Vec<Identity>),
    /// It leads the Raft group and proposes the first map, of these members.
    Found(Vec<Identity>),
    /// There is a cluster: it comes in through the node at this address.
    Rejoin(String),
    /// It gives up.
    GiveUp(BootstrapError),
}

/// What a founding member waits for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Waiting {
    /// These did not answer.
    #[error("founding members that do not answer: {}", .0.join(", "))]
    Silent(Vec<String>),
    /// This one was given other founding members.
    #[error("the node at {0} was given other founding members")]
    OtherFounders(String),
    /// This one says that it is elsewhere.
    #[error("the node at {asked} says its peer address is {says}")]
    OtherAddress {
        /// Where it was asked.
        asked: String,
        /// Where it says it is.
        says: String,
    },
    /// Another member makes the Raft group, or the group elects its leader.
    #[error("another founding member makes the first map")]
    Founding,
    /// These were in a cluster and have lost its map. Nobody may found another in its place.
    #[error(
        "the map of cluster {cluster} was lost at {}: start a node that has it, or empty the \
         directories of all founding members to begin anew",
        .members.join(", ")
    )]
    Lost {
        /// The cluster.
        cluster: ClusterId,
        /// Those that were in it.
        members: Vec<String>,
    },
}

/// Why a founding member gives up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BootstrapError {
    /// Its own address is not among the founding members.
    #[error("this node's peer address {0} is not among the founding members: list it")]
    NotListed(String),
    /// The founding members are in different clusters, or their directories are.
    #[error(
        "founding members, or their directories, are in two clusters, {0} and {1}: list those of \
         one, and empty a directory that is to be of no other"
    )]
    TwoClusters(ClusterId, ClusterId),
    /// Two of them have one name, or names with one id.
    #[error("two founding members, `{0}` and `{1}`, have one node id: rename one")]
    OneId(NodeName, NodeName),
    /// None of them has the authority role.
    #[error("no founding member has the authority role: give it to one")]
    NoAuthority,
}

/// The next step of a founding member.
#[must_use]
pub fn next_step(view: &View<'_>) -> Step {
    if !view.me.founders.contains(&view.me.identity.peer) {
        return Step::GiveUp(BootstrapError::NotListed(view.me.identity.peer.clone()));
    }
    match living_cluster(view) {
        Ok(Some(address)) => return Step::Rejoin(address),
        Ok(None) => {}
        Err(error) => return Step::GiveUp(error),
    }
    if let Some(lost) = lost_cluster(view) {
        return Step::Wait(lost);
    }
    match ready(view) {
        Ok(members) => founding_step(view, &members),
        Err(step) => step,
    }
}

/// Where a cluster can be come into, if a member is in one: at the member that knows its newest
/// map.
fn living_cluster(view: &View<'_>) -> Result<Option<String>, BootstrapError> {
    let members = std::iter::once(view.me).chain(view.others.values());
    let mut clusters = members.filter_map(|hello| hello.cluster.or(hello.lost));
    if let Some(one) = clusters.next()
        && let Some(other) = clusters.find(|other| *other != one)
    {
        return Err(BootstrapError::TwoClusters(one, other));
    }
    let living = view.others.iter();
    let living = living.filter(|(_, hello)| hello.cluster.is_some());
    let newest = living.max_by_key(|(_, hello)| hello.epoch);
    Ok(newest.map(|(address, _)| address.clone()))
}

/// Which cluster must be found before another may be founded, if any.
fn lost_cluster(view: &View<'_>) -> Option<Waiting> {
    let members = std::iter::once((&view.me.identity.peer, view.me)).chain(view.others);
    let lost: Vec<_> = members
        .filter_map(|(address, hello)| Some((address.clone(), hello.lost?)))
        .collect();
    let (_, cluster) = lost.first()?;
    Some(Waiting::Lost {
        cluster: *cluster,
        members: lost.iter().map(|(address, _)| address.clone()).collect(),
    })
}

/// All members, if all answered, agree on who they are, and differ from each other.
fn ready<'a>(view: &View<'a>) -> Result<Vec<&'a Hello>, Step> {
    let wanted: BTreeSet<&String> = view.me.founders.iter().collect();
    let others = wanted
        .iter()
        .filter(|&&address| *address != view.me.identity.peer);
    let silent: Vec<String> = others
        .filter(|&&address| !view.others.contains_key(address))
        .map(|&address| address.clone())
        .collect();
    if !silent.is_empty() {
        return Err(Step::Wait(Waiting::Silent(silent)));
    }
    for (asked, hello) in view.others {
        if hello.founders.iter().collect::<BTreeSet<_>>() != wanted {
            return Err(Step::Wait(Waiting::OtherFounders(asked.clone())));
        }
        if hello.identity.peer != *asked {
            let (asked, says) = (asked.clone(), hello.identity.peer.clone());
            return Err(Step::Wait(Waiting::OtherAddress { asked, says }));
        }
    }
    let members: Vec<&Hello> = std::iter::once(view.me)
        .chain(view.others.values())
        .collect();
    differ(&members).map_err(Step::GiveUp)?;
    Ok(members)
}

fn differ(members: &[&Hello]) -> Result<(), BootstrapError> {
    let mut names = BTreeMap::new();
    for hello in members {
        let name = &hello.identity.name;
        if let Some(other) = names.insert(hello.identity.id(), name) {
            return Err(BootstrapError::OneId(other.clone(), name.clone()));
        }
    }
    Ok(())
}

fn founding_step(view: &View<'_>, members: &[&Hello]) -> Step {
    let identities: Vec<Identity> = members.iter().map(|hello| hello.identity.clone()).collect();
    let voting = voters(&identities);
    let Some(first) = voting.first() else {
        return Step::GiveUp(BootstrapError::NoAuthority);
    };
    if view.leads {
        return Step::Found(identities);
    }
    // Who has voted may belong to a group that somebody made already: a second one is never made.
    let untouched = members.iter().all(|hello| !hello.has_voted);
    if untouched && first.name == view.me.identity.name {
        return Step::Initialize(voting.into_iter().cloned().collect());
    }
    Step::Wait(Waiting::Founding)
}
