//! This is what an activation would change, found out without changing anything: for a placement
//! which partitions would move, with how much data, and what each node would hold; for a validator
//! how many of a sample of the values that are stored it would refuse.

use super::activation::{configs, tables};
use super::command::CommandError;
use super::forward::say;
use super::lead::plan_failed;
use super::wire::{Answer, Request};
use super::{Inner, PlanError};
use serde::{Deserialize, Serialize};
use soros_core::epoch::Epoch;
use soros_core::id::{BucketName, NodeId, NodeName, PlacementId, PlacementName};
use soros_core::key::Partition;
use soros_core::map::Map;
use soros_core::map::change::ChangeError;
use soros_core::map::json::Json;
use soros_core::map::placement::Placement;
use soros_core::map::plugin::{PluginKind, PluginName, PluginVersion, Release};
use soros_core::map::table::Table;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// How long a node may take to look through what it holds.
pub const LOOK_TIME_MAX: Duration = Duration::from_secs(5);
/// How long its answer may take.
const SAY_TIMEOUT: Duration = Duration::from_secs(8);
/// How long all buckets together may take; those that are left are not looked at.
const TRY_TIME_MAX: Duration = Duration::from_secs(20);
/// How long a version may take to be made ready to be tried.
const PREPARE_TIMEOUT: Duration = Duration::from_secs(20);
/// How many dry runs a node has under way at a time.
pub(super) const AT_A_TIME: usize = 2;
/// How many values of a bucket a node tries.
pub const VALUES_MAX: u64 = 1_000;
/// How many refused values are shown.
pub const EXAMPLES_MAX: usize = 10;

/// Tries versions of plugins on what this node holds.
pub trait TriesVersions: Send + Sync + 'static {
    /// What the partitions of a placement hold of which this node is the first replica.
    fn loads(&self, placement: PlacementId) -> crate::network::BoxFuture<'_, Option<Loads>>;

    /// What a release with a config would make of values of a bucket.
    fn judge<'a>(
        &'a self,
        release: &'a Release,
        config: &'a Json,
        bucket: &'a BucketName,
    ) -> crate::network::BoxFuture<'a, Result<Tally, PlanError>>;
}

/// Keys and bytes by partition.
pub type Loads = BTreeMap<u16, (u64, u64)>;

/// What a validator made of values that are stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// How many it was shown.
    pub sampled: u64,
    /// How many it would refuse.
    pub refused: u64,
    /// How many it would change.
    pub changed: u64,
    /// At how many it failed.
    pub failed: u64,
    /// Whether it was shown as many as it should.
    pub complete: bool,
    /// Some that it would refuse.
    pub examples: Vec<Example>,
}

impl Tally {
    fn join(&mut self, other: Tally) {
        self.sampled += other.sampled;
        self.refused += other.refused;
        self.changed += other.changed;
        self.failed += other.failed;
        self.complete &= other.complete;
        let room = EXAMPLES_MAX.saturating_sub(self.examples.len());
        self.examples.extend(other.examples.into_iter().take(room));
    }
}

/// A stored value that would be refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// Its key, percent-encoded.
    pub key: String,
    /// The reason's code.
    pub reason: String,
    /// The reason.
    pub detail: String,
    /// Where in the value.
    pub pointer: Option<String>,
}

/// As many dry runs are under way at a node as it has room for. Nothing was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{AT_A_TIME} dry runs are under way at this node")]
pub struct Occupied;

/// What an activation would change.
#[derive(Debug, Serialize)]
pub struct DryRun {
    epoch: Epoch,
    version: PluginVersion,
    /// The code that the activation would be refused with.
    refused: Option<&'static str>,
    placements: Vec<Moved>,
    buckets: Vec<Tried>,
    not_reached: Vec<NodeName>,
}

/// What would move in a placement.
#[derive(Debug, Serialize)]
struct Moved {
    placement: PlacementName,
    partitions: u64,
    copies: u64,
    keys: u64,
    bytes: u64,
    nodes: Vec<Balance>,
}

/// How many copies of partitions a node would hold.
#[derive(Debug, Serialize)]
struct Balance {
    node: NodeName,
    before: u64,
    after: u64,
}

/// What a validator would make of a bucket's values.
#[derive(Debug, Serialize)]
struct Tried {
    bucket: BucketName,
    #[serde(flatten)]
    tally: Tally,
}

/// Finds out what the activation of a version would change.
///
/// # Errors
/// [`CommandError`] as the activation would have it, as far as that can be known here.
pub(super) async fn dry_run(
    inner: &Inner,
    map: &Map,
    name: &PluginName,
    version: &PluginVersion,
) -> Result<DryRun, CommandError> {
    let not_found = |version| ChangeError::PluginNotFound {
        name: name.clone(),
        version,
    };
    let plugin = map.plugin(name).ok_or_else(|| not_found(None))?;
    let release = plugin.releases.get(version);
    let release = release.ok_or_else(|| not_found(Some(version.clone())))?;
    let prepared = inner.parts.plugins.prepare(release, configs(map, name));
    let prepared = timeout(PREPARE_TIMEOUT, prepared).await.map_err(|_| {
        let node = inner.parts.identity.name.clone();
        let reason = "it takes too long".to_owned();
        CommandError::NotPrepared { node, reason }
    })?;
    prepared.map_err(plan_failed)?;
    let mut outcome = DryRun {
        epoch: map.epoch(),
        version: version.clone(),
        refused: None,
        placements: Vec::new(),
        buckets: Vec::new(),
        not_reached: Vec::new(),
    };
    let mut silent = BTreeSet::new();
    match plugin.kind {
        PluginKind::Placement => {
            for (placement, table) in tables(inner, map, name, release).await? {
                let moved = moved(inner, map, &placement, &table, &mut silent).await;
                let is_used = map
                    .buckets()
                    .values()
                    .any(|bucket| bucket.config.placement == placement);
                if is_used
                    && map
                        .placement(&placement)
                        .is_some_and(|old| old.table != table)
                {
                    outcome.refused = Some("moves-needed");
                }
                outcome.placements.extend(moved);
            }
        }
        PluginKind::Validation => {
            outcome.buckets = tried(inner, map, (name, release), &mut silent).await;
        }
        PluginKind::Resolution => {}
    }
    let name_of = |id: &NodeId| map.node(*id).map(|node| node.identity.name.clone());
    outcome.not_reached = silent.iter().filter_map(name_of).collect();
    Ok(outcome)
}

async fn moved(
    inner: &Inner,
    map: &Map,
    name: &PlacementName,
    table: &Table,
    silent: &mut BTreeSet<NodeId>,
) -> Option<Moved> {
    let old = map.placement(name)?;
    let gains = |partition: Partition| {
        let before = old.replicas_of(partition);
        let after = table.replicas_of(partition).iter();
        after.filter(|node| !before.contains(node)).count() as u64
    };
    let copied: BTreeMap<u16, u64> = Partition::all(old.partitions())
        .map(|partition| (partition.get(), gains(partition)))
        .filter(|(_, gained)| 0 < *gained)
        .collect();
    let mut moved = Moved {
        placement: name.clone(),
        partitions: copied.len() as u64,
        copies: copied.values().sum(),
        keys: 0,
        bytes: 0,
        nodes: balance(map, old, table),
    };
    if copied.is_empty() {
        return Some(moved);
    }
    let loads = asked(
        inner,
        map,
        Request::Loads { placement: old.id },
        silent,
        |answer| match answer {
            Answer::Loads(loads) => loads,
            _ => None,
        },
    );
    let mut loads = loads.await;
    match inner.parts.tries_versions.loads(old.id).await {
        Some(own) => loads.push(own),
        None => drop(silent.insert(inner.id())),
    }
    for (partition, (keys, bytes)) in loads.into_iter().flatten() {
        let gained = copied.get(&partition).copied().unwrap_or(0);
        moved.keys += keys * gained;
        moved.bytes += bytes * gained;
    }
    Some(moved)
}

fn balance(map: &Map, old: &Placement, table: &Table) -> Vec<Balance> {
    let held = |table: &Table, node: NodeId| {
        let rows = table.rows();
        rows.filter(|(_, replicas)| replicas.contains(&node))
            .count() as u64
    };
    let nodes = map.nodes().iter();
    let nodes = nodes.map(|(&id, node)| Balance {
        node: node.identity.name.clone(),
        before: held(&old.table, id),
        after: held(table, id),
    });
    nodes.collect()
}

async fn tried(
    inner: &Inner,
    map: &Map,
    (name, release): (&PluginName, &Release),
    silent: &mut BTreeSet<NodeId>,
) -> Vec<Tried> {
    let mut tried = Vec::new();
    let deadline = Instant::now() + TRY_TIME_MAX;
    for (bucket, used) in map.buckets() {
        let validators = used.config.validators.iter();
        for used in validators.filter(|used| used.plugin == *name) {
            if deadline < Instant::now() {
                tried.push(Tried {
                    bucket: bucket.clone(),
                    tally: Tally::default(),
                });
                continue;
            }
            let request = Request::Judge {
                release: release.clone(),
                config: used.config.clone(),
                bucket: bucket.clone(),
            };
            let others = asked(inner, map, request, silent, |answer| match answer {
                Answer::Judged(tally) => tally.ok(),
                _ => None,
            });
            let mut all = others.await;
            let own = inner
                .parts
                .tries_versions
                .judge(release, &used.config, bucket);
            match own.await {
                Ok(own) => all.push(own),
                Err(_) => drop(silent.insert(inner.id())),
            }
            let mut tally = Tally {
                complete: true,
                ..Tally::default()
            };
            for one in all {
                tally.join(one);
            }
            let bucket = bucket.clone();
            tried.push(Tried { bucket, tally });
        }
    }
    tried
}

/// What the other nodes say; those that say nothing go to `silent`.
async fn asked<R>(
    inner: &Inner,
    map: &Map,
    request: Request,
    silent: &mut BTreeSet<NodeId>,
    read: impl Fn(Answer) -> Option<R>,
) -> Vec<R> {
    let answers = say(inner, map, request, SAY_TIMEOUT).await;
    let mut answers: BTreeMap<NodeId, Answer> = answers.into_iter().collect();
    let mut found = Vec::new();
    for &node in map.nodes().keys().filter(|node| **node != inner.id()) {
        match answers.remove(&node).and_then(&read) {
            Some(answer) => found.push(answer),
            None => drop(silent.insert(node)),
        }
    }
    found
}
