//! This is what a node or an operator asks the authority to change, and what they are told.
//!
//! A command says what is wanted; the leader makes changes of the map of it: it has tables computed
//! and closes a bucket before it drops it.

use serde::{Deserialize, Serialize};
use soros_core::epoch::Epoch;
use soros_core::id::{BucketName, Incarnation, NodeId, NodeName, PlacementName};
use soros_core::map::bucket::BucketConfig;
use soros_core::map::change::ChangeError;
use soros_core::map::node::Identity;
use soros_core::map::placement::PlacementConfig;
use soros_core::map::plugin::{Blame, PluginKind, PluginName, PluginVersion, Release, Shadow};
use soros_core::map::problem::ConfigProblem;
use soros_core::map::settings::Settings;

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Command {
    /// A node started.
    Register(Box<Registration>),
    /// A bucket is to be made or configured anew.
    PutBucket {
        /// Which.
        name: BucketName,
        /// How.
        config: BucketConfig,
    },
    /// A bucket is to go.
    DeleteBucket {
        /// Which.
        name: BucketName,
        /// With its keys or only without.
        keys: Keys,
    },
    /// A placement is to be made or configured anew.
    PutPlacement {
        /// Which.
        name: PlacementName,
        /// How.
        config: PlacementConfig,
    },
    /// A placement is to go.
    DeletePlacement {
        /// Which.
        name: PlacementName,
    },
    /// The settings are to be replaced.
    PutSettings(Settings),
    /// A version of a plugin is to be named, whose component is at every node that lives.
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
    /// A version of a plugin is to come into force.
    Activate {
        /// The plugin.
        name: PluginName,
        /// The version; none is the one that was in force before.
        version: Option<PluginVersion>,
    },
    /// A version of a plugin is to go.
    DropRelease {
        /// The plugin.
        name: PluginName,
        /// The version.
        version: PluginVersion,
    },
    /// The version in force failed at a node. Of too many reports something follows.
    Report {
        /// The plugin.
        name: PluginName,
        /// The epoch from which the version is in force.
        since: Epoch,
        /// How often.
        count: u32,
        /// Where and how, the last time.
        blame: Blame,
    },
    /// A version is to run beside the one in force, or none is.
    PutShadow {
        /// The plugin.
        name: PluginName,
        /// The version.
        shadow: Option<Shadow>,
    },
}

/// The cause of a [`Command::Report`] that is about no fault: a version on probation refuses, or
/// gives up on, most of what it is asked.
pub const REFUSED: &str = "refused";

/// A node that started, and what its directory knows of its lives before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// Who it is, in this life of its process.
    pub identity: Identity,
    /// The life that the map in its directory named; none when it has no map.
    pub home: Option<Incarnation>,
}

/// What becomes of a bucket that has keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keys {
    /// It stays.
    Keep,
    /// It goes with them.
    Purge,
}

/// A command, and the epoch it was made for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proposed {
    /// What is wanted.
    pub command: Command,
    /// Only if the map still has this epoch.
    pub only_at: Option<Epoch>,
    /// The name of the node that was asked.
    #[serde(default)]
    pub through: String,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// The epoch of the map from which it is in force.
    pub epoch: Epoch,
    /// Whether what was put was not there before.
    pub created: bool,
    /// The nodes at which it is not yet in force; they learn of it before they serve again.
    pub not_ready: Vec<NodeName>,
    /// The nodes that had a plugin's version ready before it came into force.
    #[serde(default)]
    pub ready: Vec<NodeName>,
    /// The version of a plugin that came into force.
    #[serde(default)]
    pub version: Option<PluginVersion>,
    /// Whether it is on probation.
    #[serde(default)]
    pub on_probation: bool,
}

impl Done {
    /// What is in force from `epoch` on, at all nodes but these.
    #[must_use]
    pub fn at(epoch: Epoch, created: bool, not_ready: Vec<NodeName>) -> Done {
        Done {
            epoch,
            created,
            not_ready,
            ready: Vec::new(),
            version: None,
            on_probation: false,
        }
    }
}

/// Why a command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CommandError {
    /// The map does not allow it. Nothing was changed.
    #[error(transparent)]
    Refused(#[from] ChangeError),
    /// No leader could be reached, or it has no quorum. Nothing was changed.
    #[error("no leader of the authority can be reached")]
    NoLeader,
    /// Who was asked does not lead. Nothing was changed.
    #[error("another node leads the authority")]
    NotLeader {
        /// Who does, if known.
        leader: Option<NodeId>,
    },
    /// It may be carried out or not, now or later.
    #[error("whether the change was made is not known")]
    Unknown,
    /// The bucket has keys. It is as it was.
    #[error("bucket `{0}` has keys")]
    BucketInUse(BucketName),
    /// Too few replicas could tell whether the bucket has keys. It is as it was.
    #[error("too few replicas could tell whether bucket `{0}` has keys")]
    BucketUnchecked(BucketName),
    /// The policy does not take its configuration. Nothing was changed.
    #[error("the policy does not take its configuration: {} problems", .0.len())]
    BadPolicyConfig(Vec<ConfigProblem>),
    /// The policy could not be asked, or had no answer. Nothing was changed.
    #[error("the policy did not answer: {0}")]
    PolicyFailed(String),
    /// A node that lives cannot make a plugin's version ready. Nothing was changed.
    #[error("node `{node}` cannot make it ready: {reason}")]
    NotPrepared {
        /// The node.
        node: NodeName,
        /// Why.
        reason: String,
    },
    /// The node had a later life than its directory knows of: the directory is new, or was put
    /// back. Nothing was changed; it is taken in once it knows.
    #[error("the node had a later life than its directory knows of")]
    OldDirectory {
        /// The latest life there is a map of.
        latest: Incarnation,
    },
    /// A living node has this identity. Nothing was changed.
    #[error("a living node is called `{0}` already")]
    IdentityInUse(NodeName),
}
