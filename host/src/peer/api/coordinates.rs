//! This is what the key-value API asks of its node: the map, reads and writes, and what a bucket's
//! resolver makes of siblings.

use crate::network::BoxFuture;
use soros_core::dot::Dot;
use soros_core::id::NodeId;
use soros_core::map::Map;
use soros_core::map::plugin::{PluginName, PluginVersion};
use soros_core::object::Object;
use soros_core::operation::{
    OperationError, ReadAnswer, ReadRequest, Target, WriteAnswer, WriteRequest,
};
use soros_core::policy::Merged;
use std::sync::Arc;

/// A node as the key-value API sees it.
pub trait Coordinates: Send + Sync + 'static {
    /// The map to serve under, or why there is none.
    fn readiness(&self) -> Readiness;

    /// The replica to send a client to that would rather ask it itself; none when this node holds
    /// the key, or when no replica that does is known to be up.
    fn elsewhere(&self, target: &Target) -> Option<NodeId>;

    /// Reads a key, here or at a replica, within the cluster's `request_timeout_ms`.
    fn read(&self, request: ReadRequest) -> BoxFuture<'_, Result<ReadAnswer, OperationError>>;

    /// Writes or deletes a key, here or at a replica, within the cluster's `request_timeout_ms`.
    fn write(&self, request: WriteRequest) -> BoxFuture<'_, Result<WriteAnswer, OperationError>>;

    /// What the bucket's resolver makes of the object's versions, of which there are several. None
    /// when the bucket has no resolver, and when it keeps all or fails: then they are the answer.
    fn resolve(&self, map: &Map, target: &Target, object: &Object) -> Option<Resolved>;
}

/// Whether a node serves keys.
#[derive(Clone, Debug)]
pub enum Readiness {
    /// Not yet: it knows no map, or does not hold what the map gives it.
    Starting,
    /// It does, under this map.
    Serving(Arc<Map>),
    /// Not any more.
    ShuttingDown,
}

/// What a resolver made of siblings for a reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The plugin.
    pub plugin: PluginName,
    /// Its version.
    pub version: PluginVersion,
    /// What it made.
    pub choice: Choice,
}

/// What stands for all siblings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The version of this dot.
    Keep(Dot),
    /// A value made of them.
    Value(Merged),
    /// No value.
    Tombstone,
}
