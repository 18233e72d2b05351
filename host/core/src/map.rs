//! This is the cluster map: nodes, buckets, placements with their tables, plugins and settings, as
//! they are at one epoch.
//!
//! A map never changes. A [`change::Change`] makes the next one of it, purely, so that every member
//! of the authority comes to the same map from the same log. Who is alive is not in it.

pub mod bucket;
pub mod change;
pub mod diff;
pub mod format;
pub mod founding;
pub mod json;
pub mod node;
pub mod placement;
pub mod plan;
pub mod plugin;
pub mod problem;
pub mod settings;
pub mod table;
#[cfg(test)]
mod tests;

use crate::epoch::Epoch;
use crate::id::{BucketId, BucketName, ClusterId, NodeId, PlacementId, PlacementName};
use crate::token::TokenKey;
use bucket::Bucket;
use format::Format;
use node::Node;
use placement::Placement;
use plugin::{Plugin, PluginKind, PluginName};
use serde::{Deserialize, Serialize};
use settings::Settings;
use std::collections::{BTreeMap, BTreeSet};

/// The cluster at an epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Parts", into = "Parts")]
pub struct Map {
    parts: Parts,
    /// Which bucket a stored or sent id means.
    bucket_names: BTreeMap<BucketId, BucketName>,
}

/// What a map is made of, and how it is written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Parts {
    // It comes first, so that what is wrong with a newer map is said to be that.
    #[serde(deserialize_with = "format::read")]
    format: Format,
    cluster: ClusterId,
    name: String,
    epoch: Epoch,
    nodes: BTreeMap<NodeId, Node>,
    buckets: BTreeMap<BucketName, Bucket>,
    placements: BTreeMap<PlacementName, Placement>,
    plugins: BTreeMap<PluginName, Plugin>,
    settings: Settings,
    token_key: TokenKey,
}

/// Why something read is not a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MapError {
    /// No epoch, or no node.
    #[error("the map has no epoch or no node")]
    Empty,
    /// A node under an id that is not its name's.
    #[error("a node's id is not that of its name")]
    NodeId,
    /// Two nodes with one Raft id.
    #[error("two nodes have one Raft id")]
    RaftId,
    /// A bucket or placement with the id of another, or of an epoch to come.
    #[error("a bucket or placement has an id of another, or of an epoch to come")]
    Id,
    /// A bucket or placement that names what there is not.
    #[error("a bucket or placement names a placement or plugin that there is not")]
    Reference,
    /// A table that does not fit its placement, or names a node that may hold no data.
    #[error("a table does not fit its placement or its nodes")]
    Table,
    /// A plugin without versions, or whose active or previous one there is not.
    #[error("a plugin has no versions, or one that it names is missing")]
    Plugin,
    /// A value out of its range.
    #[error("a configured value is out of its range")]
    Config,
}

impl Map {
    /// Which cluster this is.
    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        self.parts.cluster
    }

    /// What its operator calls it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.parts.name
    }

    /// The number of this map.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.parts.epoch
    }

    /// The newest format that all nodes know.
    #[must_use]
    pub fn format(&self) -> Format {
        self.parts.format
    }

    /// All nodes.
    #[must_use]
    pub fn nodes(&self) -> &BTreeMap<NodeId, Node> {
        &self.parts.nodes
    }

    /// A node.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.parts.nodes.get(&id)
    }

    /// All buckets.
    #[must_use]
    pub fn buckets(&self) -> &BTreeMap<BucketName, Bucket> {
        &self.parts.buckets
    }

    /// A bucket.
    #[must_use]
    pub fn bucket(&self, name: &BucketName) -> Option<&Bucket> {
        self.parts.buckets.get(name)
    }

    /// The bucket of a stored or sent id. One that is not here, and not above this epoch, is gone
    /// for ever.
    #[must_use]
    pub fn bucket_by_id(&self, id: BucketId) -> Option<(&BucketName, &Bucket)> {
        self.parts
            .buckets
            .get_key_value(self.bucket_names.get(&id)?)
    }

    /// All placements.
    #[must_use]
    pub fn placements(&self) -> &BTreeMap<PlacementName, Placement> {
        &self.parts.placements
    }

    /// A placement.
    #[must_use]
    pub fn placement(&self, name: &PlacementName) -> Option<&Placement> {
        self.parts.placements.get(name)
    }

    /// The placement of a stored or sent id. One that is not here, and not above this epoch, is
    /// gone for ever.
    #[must_use]
    pub fn placement_by_id(&self, id: PlacementId) -> Option<(&PlacementName, &Placement)> {
        self.parts
            .placements
            .iter()
            .find(|(_, placement)| placement.id == id)
    }

    /// The placement of `bucket`, which is always there for a bucket of this map.
    #[must_use]
    pub fn placement_of(&self, bucket: &Bucket) -> Option<&Placement> {
        self.placement(&bucket.config.placement)
    }

    /// All plugins.
    #[must_use]
    pub fn plugins(&self) -> &BTreeMap<PluginName, Plugin> {
        &self.parts.plugins
    }

    /// A plugin.
    #[must_use]
    pub fn plugin(&self, name: &PluginName) -> Option<&Plugin> {
        self.parts.plugins.get(name)
    }

    /// What the operator set.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.parts.settings
    }

    /// The secret behind the clients' tokens.
    #[must_use]
    pub fn token_key(&self) -> &TokenKey {
        &self.parts.token_key
    }

    /// Checks what must hold of every map.
    ///
    /// # Panics
    /// When it does not: a change made a map that may not be.
    pub fn assert_invariants(&self) {
        assert_eq!(self.parts.check(), Ok(()), "a map that may not be");
        assert_eq!(
            self.bucket_names,
            self.parts.bucket_names(),
            "a bucket is not found by its id"
        );
    }

    fn new(parts: Parts) -> Map {
        Map {
            bucket_names: parts.bucket_names(),
            parts,
        }
    }
}

impl TryFrom<Parts> for Map {
    type Error = MapError;

    fn try_from(parts: Parts) -> Result<Map, MapError> {
        parts.check().map(|()| Map::new(parts))
    }
}

impl From<Map> for Parts {
    fn from(map: Map) -> Parts {
        map.parts
    }
}

fn ensure(holds: bool, error: MapError) -> Result<(), MapError> {
    if holds { Ok(()) } else { Err(error) }
}

impl Parts {
    fn bucket_names(&self) -> BTreeMap<BucketId, BucketName> {
        self.buckets
            .iter()
            .map(|(name, bucket)| (bucket.id, name.clone()))
            .collect()
    }

    /// Takes the newest format that all nodes know. It never becomes an older one: there may be
    /// something of it already.
    fn raise_format(&mut self) {
        let nodes = self.nodes.values();
        let known = nodes.map(|node| node.identity.format).min();
        self.format = self.format.max(known.unwrap_or_default());
    }

    fn check(&self) -> Result<(), MapError> {
        ensure(
            self.epoch != Epoch::NONE && !self.nodes.is_empty(),
            MapError::Empty,
        )?;
        ensure(self.settings.check().is_ok(), MapError::Config)?;
        self.check_nodes()?;
        self.check_plugins()?;
        self.placements
            .values()
            .try_for_each(|placement| self.check_placement(placement))?;
        self.buckets
            .values()
            .try_for_each(|bucket| self.check_bucket(bucket))?;
        self.check_ids()
    }

    fn check_nodes(&self) -> Result<(), MapError> {
        for (&id, node) in &self.nodes {
            ensure(node.identity.id() == id, MapError::NodeId)?;
            ensure(node.identity.check().is_ok(), MapError::Config)?;
        }
        let raft: BTreeSet<_> = self.nodes.values().map(|node| node.identity.raft).collect();
        ensure(raft.len() == self.nodes.len(), MapError::RaftId)
    }

    fn check_plugins(&self) -> Result<(), MapError> {
        ensure(self.plugins.values().all(Plugin::holds), MapError::Plugin)
    }

    fn check_placement(&self, placement: &Placement) -> Result<(), MapError> {
        let Placement { config, table, .. } = placement;
        ensure(config.check().is_ok(), MapError::Config)?;
        ensure(
            self.has_plugin(&config.policy.plugin, PluginKind::Placement),
            MapError::Reference,
        )?;
        let fits = table.partitions().get() == config.partitions
            && table.copies() <= config.replicas
            && table.members().iter().all(|&node| self.may_hold_data(node));
        ensure(fits, MapError::Table)
    }

    fn check_bucket(&self, bucket: &Bucket) -> Result<(), MapError> {
        let config = &bucket.config;
        ensure(config.check().is_ok(), MapError::Config)?;
        let resolver = config.resolver.as_ref();
        let known = self.placements.contains_key(&config.placement)
            && resolver.is_none_or(|used| self.has_plugin(&used.plugin, PluginKind::Resolution))
            && config
                .validators
                .iter()
                .all(|used| self.has_plugin(&used.plugin, PluginKind::Validation));
        ensure(known, MapError::Reference)
    }

    fn check_ids(&self) -> Result<(), MapError> {
        let buckets: BTreeSet<_> = self.buckets.values().map(|bucket| bucket.id.0).collect();
        let placements: BTreeSet<_> = self.placements.values().map(|place| place.id.0).collect();
        let past = |id: &u64| (1..=self.epoch.0).contains(id);
        let hold = buckets.len() == self.buckets.len()
            && placements.len() == self.placements.len()
            && buckets.iter().chain(&placements).all(past);
        ensure(hold, MapError::Id)
    }

    fn has_plugin(&self, name: &PluginName, kind: PluginKind) -> bool {
        self.plugins
            .get(name)
            .is_some_and(|plugin| plugin.kind == kind && plugin.active.is_some())
    }

    /// Whether a bucket or placement names the plugin.
    fn uses_plugin(&self, name: &PluginName) -> bool {
        let of_bucket = |bucket: &Bucket| {
            let config = &bucket.config;
            let resolver = config.resolver.iter().map(|used| &used.plugin);
            let mut validators = config.validators.iter().map(|used| &used.plugin);
            validators.any(|used| used == name) || resolver.eq([name])
        };
        let mut placements = self.placements.values();
        self.buckets.values().any(of_bucket)
            || placements.any(|placement| placement.config.policy.plugin == *name)
    }

    fn may_hold_data(&self, node: NodeId) -> bool {
        let joining = node::NodeState::Joining;
        self.nodes
            .get(&node)
            .is_some_and(|node| node.state != joining && node.identity.has(node::Role::Peer))
    }
}
