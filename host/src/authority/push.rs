//! This is how a version of a plugin comes into the cluster: looked at by the node it was sent to,
//! kept by every node that lives, and only then named by the map.
//!
//! So whoever learns of it from the map has it, or finds a node that does.

use super::command::{Command, CommandError, Done};
use super::wire::{Answer, Request, To, ask};
use super::{Authority, Inner};
use crate::plugin::{Admitted, Check};
use bytes::Bytes;
use futures_util::future::join_all;
use soros_core::epoch::Epoch;
use soros_core::id::{NodeId, NodeName};
use soros_core::map::Map;
use soros_core::map::change::ChangeError;
use soros_core::map::plugin::{PluginDigest, PluginName, PluginVersion, Release};
use std::time::Duration;
use tokio::sync::SemaphorePermit;

/// How long a node may take to fetch a component and to make it durable.
const HOLD_TIMEOUT: Duration = Duration::from_secs(30);

/// How many components may be on their way into one node: each takes its size in memory, and waits
/// for its turn to be compiled.
pub(super) const AT_A_TIME: usize = 2;

/// Why a component was not let in. The map is as it was.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// As many are being let in as may be.
    #[error("{AT_A_TIME} components are being let in by this node")]
    Busy,
    /// It failed a check, the last one.
    #[error("the component failed a check")]
    Refused(Vec<Check>),
    /// These nodes live and do not have it yet.
    #[error("these nodes could not take the component: {}", names(.0))]
    NotHeld(Vec<NodeName>),
    /// Too few nodes live.
    #[error("{holders} of {nodes} nodes have the component, which is no majority")]
    TooFew {
        /// How many have it.
        holders: usize,
        /// How many there are.
        nodes: usize,
    },
    /// This node could not keep it.
    #[error("this node could not keep the component: {0}")]
    Storage(String),
    /// The map was not changed, or it is not known.
    #[error(transparent)]
    Command(#[from] CommandError),
}

fn names(nodes: &[NodeName]) -> String {
    let names: Vec<&str> = nodes.iter().map(NodeName::as_str).collect();
    names.join(", ")
}

/// What came of a push.
#[derive(Debug)]
pub struct Pushed {
    /// What was found.
    pub admitted: Admitted,
    /// How the map was changed.
    pub done: Done,
}

impl Authority {
    /// Makes room for a component, before any of it is read.
    ///
    /// # Errors
    /// [`PushError::Busy`] when there is none.
    pub fn begin_push(&self) -> Result<SemaphorePermit<'_>, PushError> {
        let room = self.inner.pushes.try_acquire();
        room.map_err(|_| PushError::Busy)
    }

    /// Lets a component in as version `version` of the plugin `name`. The same bytes again are let
    /// in again, and change nothing.
    ///
    /// # Errors
    /// [`PushError`]; what nodes keep of a component that no map names goes in time.
    pub async fn push(
        &self,
        name: &PluginName,
        version: &PluginVersion,
        component: Bytes,
        only_at: Option<Epoch>,
    ) -> Result<Pushed, PushError> {
        let inner = &self.inner;
        let map = inner.keeper.map().ok_or(CommandError::NoLeader)?;
        refuse_other_bytes(&map, name, version, &component)?;
        let admitted = inner
            .parts
            .plugins
            .admit(name, version, component.clone())
            .await;
        let admitted = admitted.map_err(PushError::Refused)?;
        let kept = inner.parts.plugins.keep(component).await;
        kept.map_err(PushError::Storage)?;
        hold_everywhere(inner, &map, &admitted.release).await?;
        let command = Command::PutRelease {
            name: name.clone(),
            version: version.clone(),
            kind: admitted.kind,
            release: admitted.release.clone(),
        };
        let done = self.propose(command, only_at).await?;
        let (plugin, version, epoch) = (name.as_str(), version.as_str(), done.epoch);
        let digest = admitted.release.digest;
        tracing::info!(plugin, version, %digest, %epoch, "a version of a plugin was pushed");
        Ok(Pushed { admitted, done })
    }
}

/// Refuses at once what the map would refuse in the end.
fn refuse_other_bytes(
    map: &Map,
    name: &PluginName,
    version: &PluginVersion,
    component: &[u8],
) -> Result<(), CommandError> {
    let plugin = map.plugin(name);
    let there = plugin.and_then(|plugin| plugin.releases.get(version));
    match there {
        Some(there) if there.digest != PluginDigest(*blake3::hash(component).as_bytes()) => {
            let (name, version) = (name.clone(), version.clone());
            Err(ChangeError::VersionExists { name, version }.into())
        }
        _ => Ok(()),
    }
}

/// Waits until every node that lives has the component on disk; they must be most of all.
async fn hold_everywhere(inner: &Inner, map: &Map, release: &Release) -> Result<(), PushError> {
    let others = map.nodes().iter().filter(|(id, _)| **id != inner.id());
    let asked = others.map(async |(&id, node)| {
        let holds = inner.parts.liveness.is_alive(id) && holds(inner, id, release).await;
        let failed = !holds && inner.parts.liveness.is_alive(id);
        (holds, failed.then(|| node.identity.name.clone()))
    });
    let answers = join_all(asked).await;
    let holders = 1 + answers.iter().filter(|(holds, _)| *holds).count();
    let failed: Vec<NodeName> = answers
        .into_iter()
        .filter_map(|(_, failed)| failed)
        .collect();
    let nodes = map.nodes().len();
    if !failed.is_empty() {
        Err(PushError::NotHeld(failed))
    } else if holders <= nodes / 2 {
        Err(PushError::TooFew { holders, nodes })
    } else {
        Ok(())
    }
}

async fn holds(inner: &Inner, node: NodeId, release: &Release) -> bool {
    let request = Request::Hold {
        release: release.clone(),
        holder: inner.id(),
    };
    let answer = ask(inner.wire(), &To::Node(node), &request, HOLD_TIMEOUT).await;
    matches!(answer, Ok(Answer::Held(true)))
}
