//! This is every change of the map: each makes the next epoch of the map before it, or leaves it as
//! it is and says why.

mod proposal;
mod releases;

pub use proposal::{Origin, Proposal, step};

use super::bucket::{Bucket, BucketConfig, BucketState};
use super::format::Format;
use super::founding::Founding;
use super::node::{Identity, Node, NodeState, Role};
use super::placement::{Placement, PlacementConfig};
use super::plan::check_table;
use super::plugin::{Blame, PluginKind, PluginName, PluginVersion, Release, Shadow};
use super::problem::ConfigProblem;
use super::settings::Settings;
use super::table::{Table, TableError};
use super::{Map, MapError, Parts};
use crate::epoch::Epoch;
use crate::id::{BucketId, BucketName, NodeId, NodeName, PlacementId, PlacementName};
use crate::limits::{
    BUCKETS_MAX, COMPONENTS_BYTES_MAX, NODES_MAX, PLACEMENTS_MAX, PLUGINS_MAX, RELEASES_MAX,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One change of the map.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// The cluster begins.
    Found(Box<Founding>),
    /// A node came: a new one, which joins without data, or a known one, under a new incarnation.
    Register(Box<Identity>),
    /// A bucket is made, or configured anew.
    PutBucket {
        /// Which.
        name: BucketName,
        /// How.
        config: BucketConfig,
    },
    /// A bucket takes no more writes, so that it can be found out whether it is empty.
    CloseBucket {
        /// Which.
        name: BucketName,
    },
    /// A closing bucket has keys, or nobody could tell, and takes writes again.
    ReopenBucket {
        /// Which.
        name: BucketName,
        /// Which life of it.
        id: BucketId,
        /// The epoch that closed it: what was found out counts until it opens again.
        closed_at: Epoch,
    },
    /// A closing bucket has no keys and goes.
    DropBucket {
        /// Which.
        name: BucketName,
        /// Which life of it.
        id: BucketId,
        /// The epoch that closed it: what was found out counts until it opens again.
        closed_at: Epoch,
    },
    /// A bucket goes with all its keys.
    PurgeBucket {
        /// Which.
        name: BucketName,
    },
    /// A placement is made, or configured anew.
    PutPlacement {
        /// Which.
        name: PlacementName,
        /// How.
        config: PlacementConfig,
        /// The table that its policy answered with.
        table: Table,
    },
    /// A placement that no bucket uses goes.
    DeletePlacement {
        /// Which.
        name: PlacementName,
    },
    /// The cluster's settings are replaced.
    PutSettings(Settings),
    /// A version of a plugin is there: its component is at every node that lives.
    PutRelease {
        /// The plugin.
        name: PluginName,
        /// The version.
        version: PluginVersion,
        /// What the plugin decides.
        kind: PluginKind,
        /// Its component.
        release: Release,
    },
    /// A version of a plugin comes into force.
    Activate {
        /// The plugin.
        name: PluginName,
        /// The version.
        version: PluginVersion,
        /// The tables that it answered with, of the placements that use it.
        tables: BTreeMap<PlacementName, Table>,
        /// Whether the one before takes over when it fails.
        #[serde(default)]
        on_probation: bool,
    },
    /// The version in force failed on its probation: the one before takes over. Tables stay.
    Withdraw {
        /// The plugin.
        name: PluginName,
        /// The epoch from which the version is in force.
        since: Epoch,
        /// Why.
        blame: Blame,
    },
    /// The version in force is not asked any more.
    Quarantine {
        /// The plugin.
        name: PluginName,
        /// The epoch from which the version is in force.
        since: Epoch,
        /// Why.
        blame: Blame,
    },
    /// The version in force has passed its probation.
    EndProbation {
        /// The plugin.
        name: PluginName,
        /// The epoch from which the version is in force.
        since: Epoch,
    },
    /// A version runs beside the one in force, or none does.
    PutShadow {
        /// The plugin.
        name: PluginName,
        /// The version.
        shadow: Option<Shadow>,
    },
    /// A version of a plugin goes.
    DropRelease {
        /// The plugin.
        name: PluginName,
        /// The version.
        version: PluginVersion,
    },
}

impl Change {
    /// What kind of change it is, for logs.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Change::Found(_) => "found",
            Change::Register(_) => "register",
            Change::PutBucket { .. } => "put-bucket",
            Change::CloseBucket { .. } => "close-bucket",
            Change::ReopenBucket { .. } => "reopen-bucket",
            Change::DropBucket { .. } => "drop-bucket",
            Change::PurgeBucket { .. } => "purge-bucket",
            Change::PutPlacement { .. } => "put-placement",
            Change::DeletePlacement { .. } => "delete-placement",
            Change::PutSettings(_) => "put-settings",
            Change::PutRelease { .. } => "put-release",
            Change::Activate { .. } => "activate",
            Change::Withdraw { .. } => "withdraw",
            Change::Quarantine { .. } => "quarantine",
            Change::EndProbation { .. } => "end-probation",
            Change::PutShadow { .. } => "put-shadow",
            Change::DropRelease { .. } => "drop-release",
        }
    }
}

/// Why a change was refused; the map is as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeError {
    /// There is no cluster yet.
    #[error("there is no cluster yet")]
    NotFounded,
    /// There is a cluster already.
    #[error("there is a cluster already")]
    AlreadyFounded,
    /// The founding members do not make a map.
    #[error("the founding members do not make a map: {0}")]
    BadFounding(#[from] MapError),
    /// The map has moved on.
    #[error("the map is at epoch {now}, no longer at {expected}")]
    Moved {
        /// The epoch the change was made for.
        expected: Epoch,
        /// The epoch there is.
        now: Epoch,
    },
    /// Two names with one id.
    #[error("`{asked}` has the node id of `{taken}`: choose another name")]
    IdTaken {
        /// Who has the id.
        taken: NodeName,
        /// Who wants it.
        asked: NodeName,
    },
    /// Another node has this Raft id: its directory was copied.
    #[error("`{asked}` has the Raft id of `{taken}`: its directory is a copy")]
    RaftIdTaken {
        /// Who has the id.
        taken: NodeName,
        /// Who wants it.
        asked: NodeName,
    },
    /// A node's program does not know the format of the map.
    #[error(
        "the cluster's map has format {format}, and the program of `{asked}` knows formats up to \
         {knows}: run one that is at least as new as those of the other nodes"
    )]
    OldProgram {
        /// Who wants to come in.
        asked: NodeName,
        /// What its program knows.
        knows: Format,
        /// The map's.
        format: Format,
    },
    /// The change needs a format that not all nodes know.
    #[error(
        "the change needs format {needed}, and not all nodes know it{}: replace their programs \
         first", of_node(.node.as_ref())
    )]
    OldPrograms {
        /// What it needs.
        needed: Format,
        /// One that does not.
        node: Option<NodeName>,
    },
    /// A node that holds partitions wants to hold none.
    #[error("`{0}` holds partitions: drain it before it gives up the peer role")]
    HoldsData(NodeName),
    /// The cluster has as many nodes as it may.
    #[error("a cluster has at most {NODES_MAX} nodes")]
    TooManyNodes,
    /// The cluster has as many buckets as it may.
    #[error("a cluster has at most {BUCKETS_MAX} buckets")]
    TooManyBuckets,
    /// The cluster has as many placements as it may.
    #[error("a cluster has at most {PLACEMENTS_MAX} placements")]
    TooManyPlacements,
    /// No such bucket.
    #[error("there is no bucket `{0}`")]
    BucketNotFound(BucketName),
    /// No such placement.
    #[error("there is no placement `{0}`")]
    PlacementNotFound(PlacementName),
    /// A bucket names a placement that there is not.
    #[error("there is no placement `{0}`")]
    UnknownPlacement(PlacementName),
    /// A bucket or placement names a plugin that there is not, or that decides something else.
    #[error("there is no {kind:?} plugin `{name}`")]
    UnknownPlugin {
        /// The name.
        name: PluginName,
        /// What it would have to decide.
        kind: PluginKind,
    },
    /// Values out of their range.
    #[error("{} values are out of range", .0.len())]
    BadConfig(Vec<ConfigProblem>),
    /// A table that may not be.
    #[error("the placement policy's table may not be: {0}")]
    BadTable(#[from] TableError),
    /// The number of partitions of a placement never changes.
    #[error("a placement keeps its number of partitions, {0}")]
    PartitionsFixed(u32),
    /// Data would have to move.
    #[error("data would have to move: plan and apply the change")]
    MovesNeeded,
    /// The bucket is being deleted.
    #[error("bucket `{0}` is being deleted")]
    BucketClosing(BucketName),
    /// The bucket is not being deleted, or no longer this one.
    #[error("bucket `{0}` is not being deleted")]
    BucketNotClosing(BucketName),
    /// Buckets use the placement.
    #[error("buckets use the placement `{0}`")]
    PlacementInUse(PlacementName),
    /// No such plugin, or no such version of it.
    #[error("there is no plugin `{name}`{}", of_version(.version.as_ref()))]
    PluginNotFound {
        /// The plugin.
        name: PluginName,
        /// The version, where the plugin itself is there.
        version: Option<PluginVersion>,
    },
    /// The plugin decides something else.
    #[error("the plugin `{0}` decides something else: choose another name")]
    OtherKind(PluginName),
    /// The version is there, with other bytes.
    #[error("`{name}` has a version {version} of other bytes: push it under another version")]
    VersionExists {
        /// The plugin.
        name: PluginName,
        /// The version.
        version: PluginVersion,
    },
    /// Buckets or placements use the plugin, and the version is in force.
    #[error("{version} of `{name}` is in force, and buckets or placements use it")]
    PluginInUse {
        /// The plugin.
        name: PluginName,
        /// The version.
        version: PluginVersion,
    },
    /// The version runs as a shadow.
    #[error("{version} of `{name}` runs as its shadow")]
    ShadowRuns {
        /// The plugin.
        name: PluginName,
        /// The version.
        version: PluginVersion,
    },
    /// The plugin, or what uses it, changed while the change was made ready.
    #[error("the plugin `{0}`, or what uses it, was changed meanwhile")]
    PluginMoved(PluginName),
    /// The plugin had no version in force before.
    #[error("the plugin `{0}` had no other version in force before")]
    NothingBefore(PluginName),
    /// The cluster has as many plugins, versions or bytes of them as it may.
    #[error(
        "a cluster has at most {PLUGINS_MAX} plugins, {RELEASES_MAX} versions of each, and \
         {COMPONENTS_BYTES_MAX} bytes of them together"
    )]
    TooManyPlugins,
}

fn of_version(version: Option<&PluginVersion>) -> String {
    version.map_or_else(String::new, |version| format!(" of version {version}"))
}

fn of_node(node: Option<&NodeName>) -> String {
    node.map_or_else(String::new, |node| format!(", `{node}` for one"))
}

impl Map {
    /// The map after `change`, one epoch on.
    ///
    /// # Errors
    /// [`ChangeError`] when the change may not be made.
    pub fn apply(&self, change: &Change) -> Result<Map, ChangeError> {
        self.ensure_format(change.format())?;
        let mut next = Next::after(self);
        match change {
            Change::Found(_) => Err(ChangeError::AlreadyFounded),
            Change::Register(identity) => next.register(identity),
            Change::PutBucket { name, config } => next.put_bucket(name, config),
            Change::CloseBucket { name } => next.close_bucket(name),
            Change::ReopenBucket {
                name,
                id,
                closed_at,
            } => next.reopen_bucket(name, *id, *closed_at),
            Change::DropBucket {
                name,
                id,
                closed_at,
            } => next.drop_bucket(name, *id, *closed_at),
            Change::PurgeBucket { name } => next.purge_bucket(name),
            Change::PutPlacement {
                name,
                config,
                table,
            } => next.put_placement(name, config, table),
            Change::DeletePlacement { name } => next.delete_placement(name),
            Change::PutSettings(settings) => next.put_settings(settings),
            Change::PutRelease {
                name,
                version,
                kind,
                release,
            } => next.put_release(name, version, *kind, release),
            Change::Activate {
                name,
                version,
                tables,
                on_probation,
            } => next.activate(name, version, tables, *on_probation),
            Change::Withdraw { name, since, blame } => next.withdraw(name, *since, blame),
            Change::Quarantine { name, since, blame } => next.quarantine(name, *since, blame),
            Change::EndProbation { name, since } => next.end_probation(name, *since),
            Change::PutShadow { name, shadow } => next.put_shadow(name, shadow.as_ref()),
            Change::DropRelease { name, version } => next.drop_release(name, version),
        }?;
        Ok(next.finish())
    }

    /// Refuses what a node's program could not carry out.
    pub(super) fn ensure_format(&self, needed: Format) -> Result<(), ChangeError> {
        if needed <= self.format() {
            return Ok(());
        }
        let mut nodes = self.nodes().values().map(|node| &node.identity);
        let behind = nodes.find(|node| node.format < needed);
        Err(ChangeError::OldPrograms {
            needed,
            node: behind.map(|node| node.name.clone()),
        })
    }
}

/// A map being made of the one before.
struct Next(Parts);

impl Next {
    fn after(map: &Map) -> Next {
        let mut parts = map.parts.clone();
        parts.epoch = parts.epoch.next();
        Next(parts)
    }

    fn finish(mut self) -> Map {
        self.0.raise_format();
        let map = Map::new(self.0);
        map.assert_invariants();
        map
    }

    fn register(&mut self, identity: &Identity) -> Result<(), ChangeError> {
        identity.check().map_err(ChangeError::BadConfig)?;
        if identity.format < self.0.format {
            return Err(ChangeError::OldProgram {
                asked: identity.name.clone(),
                knows: identity.format,
                format: self.0.format,
            });
        }
        let id = identity.id();
        let asked = identity.name.clone();
        let same_raft = |node: &&Node| node.identity.raft == identity.raft;
        let owner = self
            .0
            .nodes
            .values()
            .find(same_raft)
            .map(|node| node.identity.name.clone());
        if let Some(taken) = owner.filter(|owner| *owner != asked) {
            return Err(ChangeError::RaftIdTaken { taken, asked });
        }
        if !identity.has(Role::Peer) && self.holds_data(id) {
            return Err(ChangeError::HoldsData(asked));
        }
        match self.0.nodes.get_mut(&id) {
            Some(node) if node.identity.name != asked => Err(ChangeError::IdTaken {
                taken: node.identity.name.clone(),
                asked,
            }),
            Some(node) => {
                if node.identity.raft != identity.raft {
                    node.since = self.0.epoch;
                }
                node.identity = identity.clone();
                Ok(())
            }
            None => self.join(identity),
        }
    }

    fn holds_data(&self, node: NodeId) -> bool {
        let mut tables = self.0.placements.values().map(|placement| &placement.table);
        tables.any(|table| table.members().contains(&node))
    }

    fn join(&mut self, identity: &Identity) -> Result<(), ChangeError> {
        if NODES_MAX <= self.0.nodes.len() {
            return Err(ChangeError::TooManyNodes);
        }
        let node = Node {
            state: NodeState::Joining,
            since: self.0.epoch,
            identity: identity.clone(),
        };
        self.0.nodes.insert(identity.id(), node);
        Ok(())
    }

    fn put_bucket(&mut self, name: &BucketName, config: &BucketConfig) -> Result<(), ChangeError> {
        config.check().map_err(ChangeError::BadConfig)?;
        self.check_references(config)?;
        let id = BucketId(self.0.epoch.0);
        let room = self.0.buckets.len() < BUCKETS_MAX;
        match self.0.buckets.get_mut(name) {
            Some(bucket) if bucket.state == BucketState::Closing => {
                Err(ChangeError::BucketClosing(name.clone()))
            }
            Some(bucket) if bucket.config.placement != config.placement => {
                Err(ChangeError::MovesNeeded)
            }
            Some(bucket) => {
                bucket.config = config.clone();
                Ok(())
            }
            None if !room => Err(ChangeError::TooManyBuckets),
            None => {
                let bucket = Bucket {
                    id,
                    state: BucketState::Open,
                    closed_at: Epoch::NONE,
                    config: config.clone(),
                };
                self.0.buckets.insert(name.clone(), bucket);
                Ok(())
            }
        }
    }

    fn check_references(&self, config: &BucketConfig) -> Result<(), ChangeError> {
        if !self.0.placements.contains_key(&config.placement) {
            return Err(ChangeError::UnknownPlacement(config.placement.clone()));
        }
        if let Some(resolver) = &config.resolver {
            self.check_plugin(&resolver.plugin, PluginKind::Resolution)?;
        }
        let mut validators = config.validators.iter();
        validators.try_for_each(|used| self.check_plugin(&used.plugin, PluginKind::Validation))
    }

    fn check_plugin(&self, name: &PluginName, kind: PluginKind) -> Result<(), ChangeError> {
        if self.0.has_plugin(name, kind) {
            return Ok(());
        }
        Err(ChangeError::UnknownPlugin {
            name: name.clone(),
            kind,
        })
    }

    fn bucket(&mut self, name: &BucketName) -> Result<&mut Bucket, ChangeError> {
        self.0
            .buckets
            .get_mut(name)
            .ok_or_else(|| ChangeError::BucketNotFound(name.clone()))
    }

    fn close_bucket(&mut self, name: &BucketName) -> Result<(), ChangeError> {
        let epoch = self.0.epoch;
        let bucket = self.bucket(name)?;
        if bucket.state == BucketState::Closing {
            return Err(ChangeError::BucketClosing(name.clone()));
        }
        bucket.state = BucketState::Closing;
        bucket.closed_at = epoch;
        Ok(())
    }

    fn closing_bucket(
        &mut self,
        name: &BucketName,
        id: BucketId,
        closed_at: Epoch,
    ) -> Result<&mut Bucket, ChangeError> {
        let bucket = self.bucket(name)?;
        let closing = bucket.state == BucketState::Closing && bucket.closed_at == closed_at;
        if closing && bucket.id == id {
            return Ok(bucket);
        }
        Err(ChangeError::BucketNotClosing(name.clone()))
    }

    fn reopen_bucket(
        &mut self,
        name: &BucketName,
        id: BucketId,
        closed_at: Epoch,
    ) -> Result<(), ChangeError> {
        let bucket = self.closing_bucket(name, id, closed_at)?;
        bucket.state = BucketState::Open;
        bucket.closed_at = Epoch::NONE;
        Ok(())
    }

    fn drop_bucket(
        &mut self,
        name: &BucketName,
        id: BucketId,
        closed_at: Epoch,
    ) -> Result<(), ChangeError> {
        self.closing_bucket(name, id, closed_at)?;
        self.0.buckets.remove(name);
        Ok(())
    }

    fn purge_bucket(&mut self, name: &BucketName) -> Result<(), ChangeError> {
        self.bucket(name)?;
        self.0.buckets.remove(name);
        Ok(())
    }

    fn put_placement(
        &mut self,
        name: &PlacementName,
        config: &PlacementConfig,
        table: &Table,
    ) -> Result<(), ChangeError> {
        config.check().map_err(ChangeError::BadConfig)?;
        self.check_plugin(&config.policy.plugin, PluginKind::Placement)?;
        let id = match self.0.placements.get(name) {
            Some(old) => self.replaced_id(name, old, config, table)?,
            None if PLACEMENTS_MAX <= self.0.placements.len() => {
                return Err(ChangeError::TooManyPlacements);
            }
            None => PlacementId(self.0.epoch.0),
        };
        if self
            .0
            .placements
            .get(name)
            .is_none_or(|old| old.table != *table)
        {
            check_table(&self.0.nodes, config, table)?;
        } else if config.replicas < table.copies() {
            let (have, need) = (table.copies(), config.replicas);
            return Err(TableError::WrongCopies { have, need }.into());
        }
        let placement = Placement {
            id,
            config: config.clone(),
            table: table.clone(),
        };
        self.0.placements.insert(name.clone(), placement);
        Ok(())
    }

    /// The id of the placement that replaces `old`. Under another table it is a new one, so that
    /// what the old replicas held of buckets long gone never meets the new ones.
    fn replaced_id(
        &self,
        name: &PlacementName,
        old: &Placement,
        config: &PlacementConfig,
        table: &Table,
    ) -> Result<PlacementId, ChangeError> {
        if old.config.partitions != config.partitions {
            return Err(ChangeError::PartitionsFixed(old.config.partitions));
        }
        if old.table == *table {
            return Ok(old.id);
        }
        if self.uses(name) {
            Err(ChangeError::MovesNeeded)
        } else {
            Ok(PlacementId(self.0.epoch.0))
        }
    }

    fn uses(&self, name: &PlacementName) -> bool {
        self.0
            .buckets
            .values()
            .any(|bucket| bucket.config.placement == *name)
    }

    fn delete_placement(&mut self, name: &PlacementName) -> Result<(), ChangeError> {
        if !self.0.placements.contains_key(name) {
            return Err(ChangeError::PlacementNotFound(name.clone()));
        }
        if self.uses(name) {
            return Err(ChangeError::PlacementInUse(name.clone()));
        }
        self.0.placements.remove(name);
        Ok(())
    }

    fn put_settings(&mut self, settings: &Settings) -> Result<(), ChangeError> {
        settings.check().map_err(ChangeError::BadConfig)?;
        self.0.settings = settings.clone();
        Ok(())
    }
}
