//! This is the first map of a cluster, made of what its founding members said of themselves.

use super::bucket::{Bucket, BucketConfig, BucketState};
use super::change::ChangeError;
use super::format::Format;
use super::node::{Identity, Node, NodeState, Role};
use super::placement::{Placement, PlacementConfig};
use super::plan::check_table;
use super::plugin::{Plugin, PluginName};
use super::settings::Settings;
use super::table::Table;
use super::{Map, Parts};
use crate::epoch::Epoch;
use crate::id::{BucketId, ClusterId, NodeId, PlacementId};
use crate::limits::{NAME_BYTES_MAX, NODES_MAX};
use crate::token::TokenKey;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// All that a first map is made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Founding {
    /// The new cluster's id: random bits.
    pub cluster: ClusterId,
    /// What its operator calls it.
    pub name: String,
    /// Its founding members.
    pub members: Vec<Identity>,
    /// The plugins that ship.
    pub plugins: BTreeMap<PluginName, Plugin>,
    /// How the placement `default` is configured.
    pub placement: PlacementConfig,
    /// The table of the placement `default`.
    pub table: Table,
    /// The settings.
    pub settings: Settings,
    /// The secret behind the clients' tokens: random bits.
    pub token_key: TokenKey,
}

impl Map {
    /// The first map.
    ///
    /// # Errors
    /// [`ChangeError`] when the members, the table or a reference do not hold together.
    ///
    /// # Panics
    /// Never: `default` is a name.
    pub fn found(founding: &Founding) -> Result<Map, ChangeError> {
        let epoch = Epoch::NONE.next();
        let nodes = founding_nodes(&founding.members)?;
        let config = &founding.placement;
        config.check().map_err(ChangeError::BadConfig)?;
        check_table(&nodes, config, &founding.table)?;
        let placement = Placement {
            id: PlacementId(epoch.0),
            config: config.clone(),
            table: founding.table.clone(),
        };
        let bucket_config = BucketConfig::default();
        let placement_name = bucket_config.placement.clone();
        let bucket = Bucket {
            id: BucketId(epoch.0),
            state: BucketState::Open,
            closed_at: Epoch::NONE,
            config: bucket_config,
        };
        let mut parts = Parts {
            format: Format::FIRST,
            cluster: founding.cluster,
            name: founding.name.chars().take(NAME_BYTES_MAX).collect(),
            epoch,
            nodes,
            buckets: BTreeMap::from([("default".parse().expect("a name"), bucket)]),
            placements: BTreeMap::from([(placement_name, placement)]),
            plugins: founding.plugins.clone(),
            settings: founding.settings.clone(),
            token_key: founding.token_key.clone(),
        };
        parts.raise_format();
        Map::try_from(parts).map_err(ChangeError::BadFounding)
    }
}

/// The nodes of a first map.
///
/// # Errors
/// [`ChangeError`] when there are too many, one is out of its limits or two have one id.
pub fn founding_nodes(members: &[Identity]) -> Result<BTreeMap<NodeId, Node>, ChangeError> {
    if NODES_MAX < members.len() {
        return Err(ChangeError::TooManyNodes);
    }
    let mut nodes = BTreeMap::new();
    for identity in members {
        identity.check().map_err(ChangeError::BadConfig)?;
        let node = Node {
            state: NodeState::Active,
            since: Epoch::NONE.next(),
            identity: identity.clone(),
        };
        if let Some(other) = nodes.insert(identity.id(), node) {
            let (taken, asked) = (other.identity.name, identity.name.clone());
            return Err(ChangeError::IdTaken { taken, asked });
        }
    }
    Ok(nodes)
}

/// Which of the founding members vote: of those with the authority role, sorted by address, the
/// first 1, 3 or 5, as many as there are.
#[must_use]
pub fn voters(members: &[Identity]) -> Vec<&Identity> {
    let mut able: Vec<_> = members
        .iter()
        .filter(|member| member.has(Role::Authority))
        .collect();
    able.sort_by(|left, right| left.peer.cmp(&right.peer));
    able.truncate(voters_of(able.len()));
    able
}

/// How many of `able` members vote: an odd number, so that none is there in vain.
#[must_use]
pub fn voters_of(able: usize) -> usize {
    match able {
        0 => 0,
        1 | 2 => 1,
        3 | 4 => 3,
        _ => 5,
    }
}
