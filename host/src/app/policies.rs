//! This is which policies a node runs: those that the map's buckets and placements name, loaded
//! before the node says that it serves under the map.

mod loading;
mod planning;

use super::calls::{Calls, Ending, Watched};
use super::components::NodeComponents;
use super::dry_run;
use super::node::RunsPolicies;
use super::reports::{self, Reported, Reports};
use super::shadow::{self, ShadowUse, Shadows, shadows};
use crate::authority::dry_run::Tally;
use crate::authority::{Authority, Counts, PlanError, Plugins, Standing};
use crate::network::BoxFuture;
use crate::peer::api::coordinates::{Choice, Resolved as ReadResolved};
use crate::peer::validate::BucketValidator;
use crate::peer::{Peer, Policies};
use crate::plugin::limits::TRIAL_CALLS_MIN;
use crate::plugin::{Admitted, Check, Policy, Recorded, Shipped, shipped};
use crate::telemetry::Metrics;
use arc_swap::ArcSwap;
use bytes::Bytes;
use soros_core::dot::Dot;
use soros_core::epoch::Epoch;
use soros_core::id::{BucketId, BucketName, NodeId};
use soros_core::map::Map;
use soros_core::map::json::Json;
use soros_core::map::plugin::{
    Blame, Plugin, PluginDigest, PluginName, PluginVersion, Quarantine, Release,
};
use soros_core::object::{Object, Value, Version};
use soros_core::operation::Target;
use soros_core::policy::{
    Change, PolicyError, Resolved as Answer, Sibling, Validation, Verdict, Wants,
};
use soros_core::write::Resolved;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// The policies of a node.
pub(super) struct NodePolicies {
    components: Arc<NodeComponents>,
    loaded: ArcSwap<Loaded>,
    installing: Mutex<()>,
    metrics: Arc<Metrics>,
    /// How the calls of each version went.
    calls: Mutex<BTreeMap<(PluginName, PluginVersion), Arc<Calls>>>,
    /// Where faults are handed in, and come out.
    reports: Reports,
    reported: Mutex<Option<Reported>>,
    /// What runs beside.
    shadows: Shadows,
    shadowed: Mutex<Option<shadow::Offered>>,
}

/// The policies of the buckets of one map.
#[derive(Default)]
struct Loaded {
    map: Option<Arc<Map>>,
    /// Why those are not here that should be.
    problems: BTreeMap<PluginName, String>,
    resolvers: BTreeMap<BucketId, BucketResolver>,
    validators: BTreeMap<BucketId, Arc<Vec<BucketValidator>>>,
    /// Those in quarantine, kept so that each map that comes need not make them again to learn what
    /// they want.
    kept: Vec<Arc<Policy>>,
    /// Why shadows do not run.
    shadow_problems: BTreeMap<PluginName, String>,
    /// Whether something that is not asked is only not ready yet.
    is_unfinished: bool,
    /// Whether what keeps a policy away may pass by itself.
    may_pass: bool,
}

impl Loaded {
    /// The epoch of the map that they are of; 0 before any.
    fn epoch(&self) -> Epoch {
        self.map.as_ref().map(|map| map.epoch()).unwrap_or_default()
    }

    /// Whether something is to be loaded again although all components are here.
    fn waits(&self) -> bool {
        self.is_unfinished || self.may_pass
    }

    /// Whether something could not be loaded.
    fn is_lacking(&self) -> bool {
        !self.problems.is_empty() || !self.shadow_problems.is_empty()
    }

    /// How many plugins of the map fail too often and are not asked.
    fn quarantined(&self) -> u64 {
        let plugins = self.map.iter().flat_map(|map| map.plugins().values());
        plugins.filter(|plugin| plugin.quarantine.is_some()).count() as u64
    }
}

#[derive(Clone)]
struct BucketResolver {
    plugin: PluginName,
    version: PluginVersion,
    policy: Arc<Policy>,
    calls: Arc<Calls>,
    watched: Watched,
    shadow: Option<ShadowUse>,
}

/// A validation policy, and where its calls show.
struct Measured {
    policy: Arc<Policy>,
    calls: Arc<Calls>,
    watched: Watched,
    shadow: Option<ShadowUse>,
    wants: Wants,
}

impl Validation for Measured {
    fn wants(&self) -> &Wants {
        &self.wants
    }

    fn check(&self, changes: &[Change<'_>]) -> Result<Vec<Verdict>, PolicyError> {
        let Some(validator) = self.policy.validator() else {
            return Err(PolicyError::GaveUp(NO_VALIDATOR.to_owned()));
        };
        let (begun, mut fuel) = (Instant::now(), 0);
        let verdicts = validator.check_counted(changes, &mut fuel);
        let refuses = |verdict: &Verdict| matches!(verdict, Verdict::Refuse(_));
        let ending = match &verdicts {
            Ok(verdicts) if verdicts.iter().any(refuses) => Ending::Refused,
            Ok(_) => Ending::Answered,
            Err(error) => Ending::Failed(error),
        };
        let time = begun.elapsed();
        self.calls.note(ending, time, fuel, Some(self.watched));
        if let (Some(shadow), Ok(verdicts)) = (&self.shadow, &verdicts) {
            let bytes = Recorded::bytes_of_validation(changes, verdicts);
            shadow.offer(bytes, || Recorded::validation(changes, verdicts));
        }
        verdicts
    }
}

const NO_VALIDATOR: &str = "the plugin is no validation policy";

impl NodePolicies {
    /// No policy yet; calls show in `metrics`.
    pub(super) fn new(components: NodeComponents, metrics: Arc<Metrics>) -> NodePolicies {
        let (reports, reported) = reports::reports();
        let (shadows, shadowed) = shadows(Arc::clone(&metrics));
        NodePolicies {
            reports,
            reported: Mutex::new(Some(reported)),
            shadows,
            shadowed: Mutex::new(Some(shadowed)),
            components: Arc::new(components),
            loaded: ArcSwap::default(),
            installing: Mutex::default(),
            calls: Mutex::default(),
            metrics,
        }
    }

    /// The components of this node.
    pub(super) fn components(&self) -> &Arc<NodeComponents> {
        &self.components
    }

    /// Where the faults of policies come out; once.
    fn take_reported(&self) -> Option<Reported> {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        reported.take()
    }

    /// Where the calls come out that shadows are to be asked; once.
    fn take_shadowed(&self) -> Option<shadow::Offered> {
        let mut shadowed = self.shadowed.lock().unwrap_or_else(PoisonError::into_inner);
        shadowed.take()
    }

    /// How the calls of a version went.
    pub(super) fn calls_of(&self, name: &PluginName, version: &PluginVersion) -> Arc<Calls> {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let of_version = calls.entry((name.clone(), version.clone()));
        let new = || {
            let (metrics, reports) = (Arc::clone(&self.metrics), self.reports.clone());
            Arc::new(Calls::new(name.clone(), version.clone(), metrics, reports))
        };
        Arc::clone(of_version.or_insert_with(new))
    }

    /// What is watched of the calls of a version, if it is in force.
    fn watched(&self, name: &PluginName, version: &PluginVersion) -> Option<Watched> {
        let loaded = self.loaded.load();
        let plugin = loaded.map.as_ref()?.plugin(name)?;
        (plugin.active.as_ref() == Some(version)).then(|| self.watched_of(name, plugin))
    }

    pub(super) fn watched_of(&self, name: &PluginName, plugin: &Plugin) -> Watched {
        let counts = || self.counts_of(name);
        let refuses_less = |before: &PluginVersion| {
            counts().get(before).is_some_and(|counts| {
                let gave_up = counts.failures.get("gave-up").copied().unwrap_or(0);
                u64::from(TRIAL_CALLS_MIN) <= counts.calls
                    && 2 * (counts.refused + gave_up) <= counts.calls
            })
        };
        let before = plugin.previous.as_ref().filter(|_| plugin.on_probation);
        Watched {
            since: plugin.since,
            refusals: before.is_some_and(refuses_less),
        }
    }

    fn counts_of(&self, name: &PluginName) -> BTreeMap<PluginVersion, Counts> {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let calls = calls.iter().filter(|((plugin, _), _)| plugin == name);
        let counts = calls.map(|((_, version), calls)| (version.clone(), calls.counts()));
        counts.collect()
    }

    /// Forgets the calls of versions that are gone.
    fn tidy_calls(&self, map: &Map) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.retain(|(name, version), _| {
            let plugin = map.plugin(name);
            plugin.is_some_and(|plugin| plugin.releases.contains_key(version))
        });
    }

    fn resolve(
        &self,
        target: &Target,
        siblings: &[Sibling<'_>],
    ) -> Option<(BucketResolver, Answer)> {
        let resolver = self
            .loaded
            .load()
            .resolvers
            .get(&target.bucket())
            .cloned()?;
        let policy = resolver.policy.resolver()?;
        let (begun, mut fuel) = (Instant::now(), 0);
        let answer = policy.resolve_counted(target.key().as_bytes(), siblings, &mut fuel);
        let ending = answer
            .as_ref()
            .map_or_else(Ending::Failed, |_| Ending::Answered);
        let time = begun.elapsed();
        let watched = Some(resolver.watched);
        resolver.calls.note(ending, time, fuel, watched);
        if let (Some(shadow), Ok(answer)) = (&resolver.shadow, &answer) {
            let key = target.key().as_bytes();
            let bytes = Recorded::bytes_of_resolution(key, siblings, answer);
            shadow.offer(bytes, || Recorded::resolution(key, siblings, answer));
        }
        match answer {
            Ok(answer) => Some((resolver, answer)),
            Err(error) => {
                let plugin = resolver.plugin.as_str();
                tracing::warn!(plugin, %error, "a resolver failed: the siblings are kept");
                None
            }
        }
    }
}

impl RunsPolicies for NodePolicies {
    fn adopt(self: Arc<Self>, map: Arc<Map>) -> BoxFuture<'static, ()> {
        Box::pin(async move { self.load_for(map).await })
    }

    fn problems(&self) -> BTreeMap<PluginName, String> {
        self.loaded.load().problems.clone()
    }

    fn judge<'a>(
        &'a self,
        peer: Arc<Peer>,
        policy: (&'a Release, &'a Json),
        bucket: &'a BucketName,
    ) -> BoxFuture<'a, Result<Tally, PlanError>> {
        Box::pin(dry_run::judge(peer, self, policy, bucket))
    }

    fn chores(&self, authority: &Arc<Authority>) -> Vec<BoxFuture<'static, ()>> {
        let reported = self.take_reported();
        let telling = reported.map(|reported| reports::run(Arc::clone(authority), reported));
        let comparing = self.take_shadowed().map(shadow::run);
        let telling = telling.map(|telling| Box::pin(telling) as BoxFuture<'static, ()>);
        let comparing = comparing.map(|comparing| Box::pin(comparing) as BoxFuture<'static, ()>);
        telling.into_iter().chain(comparing).collect()
    }
}

impl Policies for NodePolicies {
    fn resolve_write(
        &self,
        _map: &Map,
        target: &Target,
        object: &Object,
        new: &Version,
    ) -> Resolved {
        let versions: Vec<&Version> = object.versions.values().chain([new]).collect();
        let writers = object.versions.keys().map(|dot| dot.actor.node.0);
        // The new version has no dot yet; its writer is whoever coordinates, and no time is equal.
        let siblings = writers.chain([u64::MAX]).zip(&versions);
        let siblings: Vec<_> = siblings
            .map(|(writer, version)| sibling(writer, version))
            .collect();
        let Some((_, answer)) = self.resolve(target, &siblings) else {
            return Resolved::KeepAll;
        };
        let merged = |value| {
            Resolved::Merged(Version {
                time: new.time,
                value,
            })
        };
        match answer {
            Answer::Keep(index) if index + 1 == versions.len() => Resolved::KeepNew,
            // A version that a resolver only chose keeps its time.
            Answer::Keep(index) => versions.get(index).map_or(Resolved::KeepAll, |version| {
                Resolved::Merged((*version).clone())
            }),
            Answer::Value(value) => merged(Some(Value {
                bytes: value.bytes.into(),
                content_type: value.content_type,
                content_encoding: None,
                meta: Vec::new(),
            })),
            Answer::Tombstone => merged(None),
            Answer::KeepAll => Resolved::KeepAll,
        }
    }
    fn resolve_read(&self, target: &Target, object: &Object) -> Option<ReadResolved> {
        let dots: Vec<Dot> = object.versions.keys().copied().collect();
        let siblings = object
            .versions
            .iter()
            .map(|(dot, version)| sibling(dot.actor.node.0, version));
        let (resolver, answer) = self.resolve(target, &siblings.collect::<Vec<_>>())?;
        let choice = match answer {
            Answer::Keep(index) => Choice::Keep(*dots.get(index)?),
            Answer::Value(merged) => Choice::Value(merged),
            Answer::Tombstone => Choice::Tombstone,
            Answer::KeepAll => return None,
        };
        let BucketResolver {
            plugin, version, ..
        } = resolver;
        Some(ReadResolved {
            plugin,
            version,
            choice,
        })
    }

    fn validators(&self, bucket: BucketId) -> Option<Arc<Vec<BucketValidator>>> {
        self.loaded.load().validators.get(&bucket).cloned()
    }
}

fn in_quarantine(quarantine: &Quarantine) -> String {
    let Quarantine { since, blame } = quarantine;
    let Blame {
        node,
        cause,
        detail,
    } = blame;
    format!("it is in quarantine since epoch {since}: {cause} at {node} ({detail})")
}

impl Plugins for NodePolicies {
    fn admit<'a>(
        &'a self,
        name: &'a PluginName,
        version: &'a PluginVersion,
        component: Bytes,
    ) -> BoxFuture<'a, Result<Admitted, Vec<Check>>> {
        Box::pin(self.components.admit(name, version, component))
    }

    fn keep(&self, component: Bytes) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(self.components.keep(component))
    }

    fn hold<'a>(
        &'a self,
        release: &'a Release,
        holder: NodeId,
    ) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(self.components.hold(release, holder))
    }

    fn component(
        &self,
        digest: PluginDigest,
        piece: Option<u64>,
    ) -> BoxFuture<'_, Option<Vec<u8>>> {
        Box::pin(self.components.read(digest, piece))
    }

    fn prepare<'a>(
        &'a self,
        release: &'a Release,
        configs: Vec<Json>,
    ) -> BoxFuture<'a, Result<(), PlanError>> {
        Box::pin(self.components.prepare(release, configs))
    }

    fn captures(&self, name: &PluginName) -> Vec<String> {
        let loaded = self.loaded.load();
        let map = loaded.map.as_ref();
        map.map_or_else(Vec::new, |map| self.shadows.captures(map, name))
    }

    fn standings(&self) -> BTreeMap<PluginName, Standing> {
        let loaded = self.loaded.load();
        let Some(map) = &loaded.map else {
            return BTreeMap::new();
        };
        let standing = |(name, plugin): (&PluginName, &Plugin)| {
            let releases = plugin.releases.iter();
            let here = releases.filter(|(_, release)| self.components.has(&release.digest));
            let prepared: BTreeSet<PluginVersion> =
                here.map(|(version, _)| version.clone()).collect();
            let problem = loaded.problems.get(name).cloned();
            let active = plugin
                .active
                .clone()
                .filter(|version| problem.is_none() && prepared.contains(version));
            let versions = self.counts_of(name);
            let standing = Standing {
                prepared,
                active,
                problem,
                calls: versions.values().map(|counts| counts.calls).sum(),
                failures: versions.values().map(Counts::failed).sum(),
                versions,
                shadow: self.shadows.standing(map, name),
            };
            (name.clone(), standing)
        };
        map.plugins().iter().map(standing).collect()
    }
}

fn sibling(writer: u64, version: &Version) -> Sibling<'_> {
    let value = version.value.as_ref();
    let meta = value.map(|value| value.meta.as_slice()).unwrap_or_default();
    Sibling {
        time: version.time.0,
        writer,
        value: value.map(|value| &*value.bytes),
        content_type: value
            .map(|value| value.content_type.as_str())
            .unwrap_or_default(),
        meta: meta
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect(),
    }
}

/// The plugins that ship, as a first map names them.
pub(super) fn shipped_plugins() -> BTreeMap<PluginName, Plugin> {
    let plugin = |shipped: &Shipped| {
        let name = PluginName::try_from(shipped.name.to_owned()).ok()?;
        let version = PluginVersion::try_from(shipped.version.to_owned()).ok()?;
        let release = Release {
            digest: shipped.digest,
            abi: crate::plugin::ABI.to_owned(),
            size: shipped.bytes.len() as u64,
        };
        Some((name, Plugin::of(shipped.kind, version, release)))
    };
    shipped().iter().filter_map(plugin).collect()
}
