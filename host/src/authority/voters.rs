//! This is how the Raft group follows the map: a voter whose node came back without its disk is
//! another member now, and takes the place of the one that is gone.

use super::Inner;
use super::member::Running;
use super::raft::Voter;
use openraft::ChangeMembers;
use openraft::async_runtime::WatchReceiver;
use soros_core::map::Map;
use soros_core::map::node::RaftId;
use std::collections::{BTreeMap, BTreeSet};

/// A member that takes the place of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Replacement {
    /// Who goes.
    pub(super) gone: RaftId,
    /// Who comes.
    pub(super) comes: RaftId,
    /// On which node.
    pub(super) voter: Voter,
}

/// The first of `voters` whose node has another member now.
pub(super) fn replacement(voters: &BTreeMap<RaftId, Voter>, map: &Map) -> Option<Replacement> {
    voters.iter().find_map(|(&gone, voter)| {
        let comes = map.node(voter.node)?.identity.raft;
        let is_other = comes != gone && !voters.contains_key(&comes);
        is_other.then(|| Replacement {
            gone,
            comes,
            voter: voter.clone(),
        })
    })
}

/// Replaces one voter, if one must be. The new member first gets the whole log, and votes only
/// then.
pub(super) async fn replace_voter(inner: &Inner, running: &Running) {
    let Some(map) = inner.keeper.map() else {
        return;
    };
    if is_half_changed(running) {
        finish_change(running).await;
        return;
    }
    let Some(Replacement { gone, comes, voter }) = replacement(&voters(running), &map) else {
        return;
    };
    tracing::info!(node = %voter.node, %gone, %comes, "a voter came back without its disk");
    let learns = running
        .raft
        .add_learner(comes, voter, true)
        .await
        .map(|_| ());
    let replaced = match learns {
        Ok(()) => {
            let change = ChangeMembers::Batch(vec![
                ChangeMembers::AddVoterIds(BTreeSet::from([comes])),
                ChangeMembers::RemoveVoters(BTreeSet::from([gone])),
            ]);
            running
                .raft
                .change_membership(change, false)
                .await
                .map(|_| ())
        }
        Err(error) => Err(error),
    };
    if let Err(error) = replaced {
        tracing::warn!(%error, "a voter could not be replaced yet");
    }
}

/// Whether a change of the voters was begun and not ended: its leader died. Every decision then
/// needs a majority of the old voters and one of the new ones.
fn is_half_changed(running: &Running) -> bool {
    let metrics = running.raft.metrics();
    let metrics = metrics.borrow_watched();
    1 < metrics
        .membership_config
        .membership()
        .get_joint_config()
        .len()
}

async fn finish_change(running: &Running) {
    let nobody_more = ChangeMembers::AddVoterIds(BTreeSet::new());
    match running.raft.change_membership(nobody_more, false).await {
        Ok(_) => tracing::info!("a change of the voters that had broken off is done"),
        Err(error) => tracing::warn!(%error, "a change of the voters could not be ended yet"),
    }
}

fn voters(running: &Running) -> BTreeMap<RaftId, Voter> {
    let metrics = running.raft.metrics();
    let metrics = metrics.borrow_watched();
    let membership = metrics.membership_config.membership();
    let voter = |id| membership.get_node(&id).map(|voter| (id, voter.clone()));
    membership.voter_ids().filter_map(voter).collect()
}
