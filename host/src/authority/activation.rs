//! This is how another version of a plugin comes into force: made ready at every node that lives,
//! with every config that is in use, and then switched by one epoch.

use super::command::{CommandError, Done};
use super::lead::{Asked, Changed, change, newest, plan_failed};
use super::wire::{Answer, Request, To, ask};
use super::{Inner, PlanError, spread};
use futures_util::future::join_all;
use soros_core::epoch::Epoch;
use soros_core::id::{NodeName, PlacementName};
use soros_core::map::Map;
use soros_core::map::change::{Change, ChangeError, Origin};
use soros_core::map::json::Json;
use soros_core::map::plugin::{PluginName, PluginVersion, Release, Shadow};
use soros_core::map::table::Table;
use soros_core::policy::topology::Snapshot;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How long a node may take to make a version ready.
const PREPARE_TIMEOUT: Duration = Duration::from_secs(20);

/// What is to come into force, and what it replaces.
#[derive(Debug, PartialEq)]
struct Switch {
    version: PluginVersion,
    release: Release,
    active: Option<PluginVersion>,
    /// The configs of all that use the plugin.
    configs: Vec<Json>,
}

/// Lets a version of the plugin `name` come into force: the one asked for, or the one before.
///
/// # Errors
/// [`CommandError`] says whether anything was changed.
pub(super) async fn activate(
    inner: &Arc<Inner>,
    name: &PluginName,
    version: Option<&PluginVersion>,
    (origin, only_at): (Origin, Option<Epoch>),
) -> Result<Done, CommandError> {
    let not_leader = CommandError::NotLeader { leader: None };
    let map = newest(&*inner.leading().ok_or(not_leader)?).await?;
    if let Some(expected) = only_at
        && expected != map.epoch()
    {
        let now = map.epoch();
        return Err(ChangeError::Moved { expected, now }.into());
    }
    let switch = Switch::of(&map, name, version)?;
    let ready = prepare_everywhere(inner, &map, &switch).await?;
    let Changed { after, .. } = change(inner, Asked::by(origin, only_at), async |map| {
        // What was made ready must be what comes into force.
        if Switch::of(map, name, version)? != switch {
            return Err(ChangeError::PluginMoved(name.clone()).into());
        }
        Ok(Change::Activate {
            name: name.clone(),
            version: switch.version.clone(),
            tables: tables(inner, map, name, &switch.release).await?,
            // Who goes back does so because of the one that would take over.
            on_probation: version.is_some(),
        })
    })
    .await?;
    let (epoch, version, before) = (after.epoch(), switch.version.as_str(), &switch.active);
    let before = before.as_ref().map(PluginVersion::as_str);
    let (plugin, digest) = (name.as_str(), switch.release.digest);
    tracing::info!(plugin, version, before, %digest, %epoch, "a version of a plugin is in force");
    Ok(Done {
        epoch: after.epoch(),
        created: false,
        on_probation: after.plugin(name).is_some_and(|plugin| plugin.on_probation),
        ready,
        version: Some(switch.version),
        not_ready: spread::spread(inner, &after).await,
    })
}

/// Has every node that lives make the version ready that is to run as a shadow.
///
/// # Errors
/// [`CommandError`]; nothing was changed.
pub(super) async fn prepare_shadow(
    inner: &Arc<Inner>,
    name: &PluginName,
    shadow: &Shadow,
) -> Result<(), CommandError> {
    let not_leader = CommandError::NotLeader { leader: None };
    let map = newest(&*inner.leading().ok_or(not_leader)?).await?;
    let switch = Switch::of(&map, name, Some(&shadow.version))?;
    prepare_everywhere(inner, &map, &switch).await.map(drop)
}

impl Switch {
    fn of(
        map: &Map,
        name: &PluginName,
        version: Option<&PluginVersion>,
    ) -> Result<Switch, ChangeError> {
        let not_found = |version| ChangeError::PluginNotFound {
            name: name.clone(),
            version,
        };
        let plugin = map.plugin(name).ok_or_else(|| not_found(None))?;
        let version = version.or(plugin.previous.as_ref());
        let version = version.ok_or_else(|| ChangeError::NothingBefore(name.clone()))?;
        let release = plugin.releases.get(version);
        let release = release.ok_or_else(|| not_found(Some(version.clone())))?;
        Ok(Switch {
            version: version.clone(),
            release: release.clone(),
            active: plugin.active.clone(),
            configs: configs(map, name),
        })
    }
}

pub(super) fn configs(map: &Map, name: &PluginName) -> Vec<Json> {
    let mut configs = Vec::new();
    for bucket in map.buckets().values() {
        let resolver = bucket.config.resolver.iter();
        configs.extend(resolver.map(|used| (&used.plugin, &used.config)));
        let validators = bucket.config.validators.iter();
        configs.extend(validators.map(|used| (&used.plugin, &used.config)));
    }
    let placements = map.placements().values();
    configs.extend(placements.map(|placement| {
        let used = &placement.config.policy;
        (&used.plugin, &used.config)
    }));
    configs.retain(|(plugin, _)| *plugin == name);
    let distinct = configs
        .into_iter()
        .map(|(_, config)| (config.canonical(), config));
    let distinct: BTreeMap<String, &Json> = distinct.collect();
    distinct.into_values().cloned().collect()
}

/// Has every node that lives make the version ready, and names them.
async fn prepare_everywhere(
    inner: &Inner,
    map: &Map,
    switch: &Switch,
) -> Result<Vec<NodeName>, CommandError> {
    let Switch {
        release, configs, ..
    } = switch;
    let nodes = map.nodes().iter();
    let prepared = nodes.map(async |(&id, node)| {
        let name = node.identity.name.clone();
        if id == inner.id() {
            let done = inner.parts.plugins.prepare(release, configs.clone()).await;
            return Some((name, done));
        }
        let request = Request::Prepare {
            release: release.clone(),
            configs: configs.clone(),
        };
        let alive = || inner.parts.liveness.is_alive(id);
        if !alive() {
            return None;
        }
        match ask(inner.wire(), &To::Node(id), &request, PREPARE_TIMEOUT).await {
            Ok(Answer::Prepared(done)) => Some((name, done)),
            // It went meanwhile: it fetches what it needs when it returns.
            _ if !alive() => None,
            _ => Some((
                name,
                Err(PlanError::Failed("it does not answer".to_owned())),
            )),
        }
    });
    let mut ready = Vec::new();
    for (node, done) in join_all(prepared).await.into_iter().flatten() {
        match done {
            Ok(()) => ready.push(node),
            Err(PlanError::BadConfig(problems)) => {
                return Err(CommandError::BadPolicyConfig(problems));
            }
            Err(PlanError::Unfit(reason) | PlanError::Failed(reason)) => {
                return Err(CommandError::NotPrepared { node, reason });
            }
        }
    }
    Ok(ready)
}

/// The tables of the placements that use the plugin, as this version answers them.
pub(super) async fn tables(
    inner: &Inner,
    map: &Map,
    name: &PluginName,
    release: &Release,
) -> Result<BTreeMap<PlacementName, Table>, CommandError> {
    let mut tables = BTreeMap::new();
    for (placement_name, placement) in map.placements() {
        let config = &placement.config;
        if config.policy.plugin != *name {
            continue;
        }
        let now = Snapshot::of(map.epoch(), map.nodes(), config)
            .map_err(|error| CommandError::PolicyFailed(error.to_string()))?;
        let before = Some(&placement.table);
        let planned = inner
            .parts
            .planner
            .plan(release, &config.policy, now, before);
        let table = planned.await.map_err(plan_failed)?;
        tables.insert(placement_name.clone(), table);
    }
    Ok(tables)
}
