//! This is what stands for the sandbox in a simulated node: the default policies in plain Rust.

use bytes::Bytes;
use soros_core::id::{BucketId, BucketName, NodeId};
use soros_core::map::Map;
use soros_core::map::json::Json;
use soros_core::map::plugin::{
    Plugin, PluginDigest, PluginKind, PluginName, PluginVersion, PolicyUse, Release,
};
use soros_core::map::table::Table;
use soros_core::object::{Object, Version};
use soros_core::operation::Target;
use soros_core::policy::Placement;
use soros_core::policy::builtin::Balanced;
use soros_core::policy::topology::Snapshot;
use soros_core::write::Resolved;
use soros_host::app::RunsPolicies;
use soros_host::authority::dry_run::Tally;
use soros_host::authority::{Authority, PlanError, Planner, Plugins, Standing};
use soros_host::network::BoxFuture;
use soros_host::peer::api::coordinates::{Choice, Resolved as ReadResolved};
use soros_host::peer::validate::BucketValidator;
use soros_host::peer::{Peer, Policies};
use soros_host::plugin::{Admitted, Check};
use std::collections::BTreeMap;
use std::future::ready;
use std::sync::Arc;

const VERSION: &str = "0.1.0";

/// The plugins of a cluster that is founded.
pub(crate) fn plugins() -> BTreeMap<PluginName, Plugin> {
    let kinds = [
        ("lww", PluginKind::Resolution),
        ("balanced", PluginKind::Placement),
    ];
    let plugin = |(name, kind): (&str, PluginKind)| {
        let release = Release {
            digest: PluginDigest([1; 32]),
            abi: soros_host::plugin::ABI.to_owned(),
            size: 1,
        };
        (name_of(name), Plugin::of(kind, version(), release))
    };
    kinds.into_iter().map(plugin).collect()
}

fn name_of(name: &str) -> PluginName {
    name.parse().expect("a plugin's name")
}

fn version() -> PluginVersion {
    VERSION.parse().expect("a version")
}

/// The default policies, in plain Rust.
pub(crate) struct Plain;

impl RunsPolicies for Plain {
    fn adopt(self: Arc<Self>, _: Arc<Map>) -> BoxFuture<'static, ()> {
        Box::pin(ready(()))
    }

    fn problems(&self) -> BTreeMap<PluginName, String> {
        BTreeMap::new()
    }

    fn judge<'a>(
        &'a self,
        _: Arc<Peer>,
        _: (&'a Release, &'a Json),
        _: &'a BucketName,
    ) -> BoxFuture<'a, Result<Tally, PlanError>> {
        let nothing = PlanError::Failed("no component runs here".to_owned());
        Box::pin(ready(Err(nothing)))
    }

    fn chores(&self, _: &Arc<Authority>) -> Vec<BoxFuture<'static, ()>> {
        Vec::new()
    }
}

impl Policies for Plain {
    fn resolve_write(&self, _: &Map, _: &Target, object: &Object, new: &Version) -> Resolved {
        let last = object.versions.values().max_by_key(|version| version.time);
        match last {
            Some(version) if new.time < version.time => Resolved::Merged(version.clone()),
            _ => Resolved::KeepNew,
        }
    }

    fn resolve_read(&self, _: &Target, object: &Object) -> Option<ReadResolved> {
        let last = object
            .versions
            .iter()
            .max_by_key(|(_, version)| version.time);
        last.map(|(dot, _)| ReadResolved {
            plugin: name_of("lww"),
            version: version(),
            choice: Choice::Keep(*dot),
        })
    }

    fn validators(&self, _: BucketId) -> Option<Arc<Vec<BucketValidator>>> {
        None
    }
}

impl Planner for Plain {
    fn check<'a>(
        &'a self,
        _: PluginKind,
        _: &'a Release,
        _: &'a PolicyUse,
    ) -> BoxFuture<'a, Result<(), PlanError>> {
        Box::pin(ready(Ok(())))
    }

    fn plan<'a>(
        &'a self,
        _: &'a Release,
        _: &'a PolicyUse,
        now: Snapshot,
        before: Option<&'a Table>,
    ) -> BoxFuture<'a, Result<Table, PlanError>> {
        let planned = Balanced.plan(&now, before, 0);
        let planned = planned.map_err(|error| PlanError::Failed(error.to_string()));
        Box::pin(ready(planned))
    }
}

impl Plugins for Plain {
    fn admit<'a>(
        &'a self,
        _: &'a PluginName,
        _: &'a PluginVersion,
        _: Bytes,
    ) -> BoxFuture<'a, Result<Admitted, Vec<Check>>> {
        Box::pin(ready(Err(Vec::new())))
    }

    fn keep(&self, _: Bytes) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(ready(Ok(())))
    }

    fn hold<'a>(&'a self, _: &'a Release, _: NodeId) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(ready(Ok(())))
    }

    fn component(&self, _: PluginDigest, _: Option<u64>) -> BoxFuture<'_, Option<Vec<u8>>> {
        Box::pin(ready(None))
    }

    fn prepare<'a>(&'a self, _: &'a Release, _: Vec<Json>) -> BoxFuture<'a, Result<(), PlanError>> {
        Box::pin(ready(Ok(())))
    }

    fn standings(&self) -> BTreeMap<PluginName, Standing> {
        BTreeMap::new()
    }

    fn captures(&self, _: &PluginName) -> Vec<String> {
        Vec::new()
    }
}
