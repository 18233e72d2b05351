//! This is which policies a node runs: those that the map's buckets and placements name, loaded
//! before the node says that it serves under the map.

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
use crate::peer::validate::{BucketValidator, Unusable};
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
    Blame, Plugin, PluginDigest, PluginName, PluginVersion, Quarantine, Release, ValidatorUse,
};
use soros_core::object::{Object, Value, Version};
use soros_core::operation::Target;
use soros_core::policy::{
    Change, PolicyError, Resolved as Answer, Sibling, Validation, Verdict, Wants,
};
use soros_core::write::Resolved;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a node that lacks components of policies in force looks for them before it serves
/// without.
const FETCH_TIME_MAX: Duration = Duration::from_secs(3);
/// How long between two looks for components that are missing.
const FETCH_PAUSE: Duration = Duration::from_secs(1);

/// The policies of a node.
pub(super) struct NodePolicies {
    components: Arc<NodeComponents>,
    loaded: ArcSwap<Loaded>,
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
    silent: Vec<Arc<Policy>>,
    /// Why shadows do not run.
    shadow_problems: BTreeMap<PluginName, String>,
    /// Whether one of them is only not ready yet.
    shadows_wait: bool,
    /// Whether there was no room for an instance of a policy: that passes by itself.
    had_no_room: bool,
}

/// When policies are loaded.
#[derive(Clone, Copy)]
enum When {
    /// While the node adopts the map.
    Adopting,
    /// While it serves under it.
    Later,
}

impl Loaded {
    /// The epoch of the map that they are of; 0 before any.
    fn epoch(&self) -> Epoch {
        self.map.as_ref().map(|map| map.epoch()).unwrap_or_default()
    }

    /// Whether something is to be loaded again although all components are here.
    fn waits(&self) -> bool {
        self.shadows_wait || self.had_no_room
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

    /// Loads the policies of the map's buckets, whose components are fetched from other nodes where
    /// they are missing. A resolver that does not load is reported, and its bucket's siblings are
    /// kept; for a validator the bucket says what becomes of writes.
    async fn load_for(self: &Arc<Self>, map: Arc<Map>) {
        self.components.adopt(&map);
        self.tidy_calls(&map);
        self.shadows.tidy(&map);
        let fetched = self.components.fetch_active(&map);
        if tokio::time::timeout(FETCH_TIME_MAX, fetched).await.is_err() {
            tracing::error!("components of policies in force are missing, and are looked for");
        }
        self.load(Arc::clone(&map), When::Adopting).await;
        if !self.components.has_all(&map) || self.loaded.load().waits() {
            let policies = Arc::clone(self);
            tokio::spawn(async move { policies.complete(map).await });
        }
    }

    /// Brings every component of the map here, and loads the policies again that lacked theirs, or
    /// were not ready.
    async fn complete(self: Arc<Self>, map: Arc<Map>) {
        while !self.components.fetch_all(&map).await {
            tokio::time::sleep(FETCH_PAUSE).await;
            if !self.is_at(&map) {
                return;
            }
        }
        let mut goes_on = self.loaded.load().is_lacking();
        while goes_on && self.is_at(&map) {
            self.load(Arc::clone(&map), When::Later).await;
            goes_on = self.loaded.load().had_no_room;
            if goes_on {
                tokio::time::sleep(FETCH_PAUSE).await;
            }
        }
    }

    fn is_at(&self, map: &Map) -> bool {
        self.loaded.load().epoch() == map.epoch()
    }

    async fn load(self: &Arc<Self>, map: Arc<Map>, when: When) {
        let policies = Arc::clone(self);
        let loaded = tokio::task::spawn_blocking(move || policies.load_all(map, when)).await;
        if let Ok(loaded) = loaded.map(Arc::new) {
            if self.loaded.load().epoch() <= loaded.epoch() {
                self.shadows.set_problems(&loaded.shadow_problems);
            }
            let unusable = loaded.problems.len() as u64;
            self.metrics.plugins_unusable.set(unusable);
            self.metrics.plugins_quarantined.set(loaded.quarantined());
            // Of two that are loaded at once the older must not have the last word.
            self.loaded.rcu(|now| {
                let newest = loaded.epoch().max(now.epoch());
                Arc::clone(if newest == loaded.epoch() {
                    &loaded
                } else {
                    now
                })
            });
        }
    }

    fn load_all(&self, map: Arc<Map>, when: When) -> Loaded {
        let mut loaded = Loaded::default();
        for bucket in map.buckets().values() {
            if let Some(used) = &bucket.config.resolver {
                let (plugin, config) = (&used.plugin, &used.config);
                let found = self.load_one(&map, (plugin, config), &mut loaded);
                if let Ok((version, policy, watched)) = found {
                    let resolver = BucketResolver {
                        plugin: plugin.clone(),
                        calls: self.calls_of(plugin, &version),
                        version,
                        policy,
                        watched,
                        shadow: self.load_shadow(&map, (plugin, config), when, &mut loaded),
                    };
                    loaded.resolvers.insert(bucket.id, resolver);
                }
            }
            let validators = bucket.config.validators.iter();
            let validators: Vec<_> = validators
                .map(|used| self.load_validator(&map, used, when, &mut loaded))
                .collect();
            if !validators.is_empty() {
                loaded.validators.insert(bucket.id, Arc::new(validators));
            }
        }
        for (plugin, reason) in &loaded.problems {
            let plugin = plugin.as_str();
            tracing::error!(plugin, reason, "a policy cannot be used");
        }
        loaded.map = Some(map);
        loaded
    }

    fn load_validator(
        &self,
        map: &Map,
        used: &ValidatorUse,
        when: When,
        loaded: &mut Loaded,
    ) -> BucketValidator {
        let shadow = self.load_shadow(map, (&used.plugin, &used.config), when, loaded);
        let measured = |(version, policy, watched): (PluginVersion, Arc<Policy>, Watched)| {
            let validator = policy.validator().ok_or(NO_VALIDATOR)?;
            let wants = validator.wants().clone();
            let measured: Arc<dyn Validation> = Arc::new(Measured {
                wants,
                calls: self.calls_of(&used.plugin, &version),
                watched,
                shadow,
                policy,
            });
            Ok((version, measured))
        };
        let policy = self.load_one(map, (&used.plugin, &used.config), loaded);
        let policy = policy.and_then(measured);
        BucketValidator {
            plugin: used.plugin.clone(),
            on_failure: used.on_failure,
            policy: policy.map_err(|reason| Unusable {
                reason,
                wants: self.wants_in_quarantine(map, used, loaded),
            }),
        }
    }

    /// What a validator in quarantine was asked about: its config says that, and it is not asked
    /// about any write to find out.
    fn wants_in_quarantine(
        &self,
        map: &Map,
        used: &ValidatorUse,
        loaded: &mut Loaded,
    ) -> Option<Wants> {
        let plugin = map.plugin(&used.plugin)?;
        plugin.quarantine.as_ref()?;
        let (_, release) = plugin.active()?;
        let policy = self.components.load(release, &used.config).ok()?;
        let wants = policy.validator()?.wants().clone();
        loaded.silent.push(policy);
        Some(wants)
    }

    fn load_shadow(
        &self,
        map: &Map,
        (name, config): (&PluginName, &Json),
        when: When,
        loaded: &mut Loaded,
    ) -> Option<ShadowUse> {
        let shadow = self.shadows.of(map, name)?;
        let plugin = map.plugin(name)?;
        let release = plugin.releases.get(&plugin.shadow.as_ref()?.version)?;
        let problem = match when {
            // Nobody waits for a map until something is compiled that is only compared.
            When::Adopting if !self.components.is_ready(&release.digest) => {
                loaded.shadows_wait = true;
                "it is not ready here yet".to_owned()
            }
            When::Adopting | When::Later => match self.components.load(release, config) {
                Ok(policy) => return Some(self.shadows.used(shadow, policy)),
                Err(error) => error.to_string(),
            },
        };
        loaded.shadow_problems.insert(name.clone(), problem);
        None
    }

    fn load_one(
        &self,
        map: &Map,
        (name, config): (&PluginName, &Json),
        loaded: &mut Loaded,
    ) -> Result<(PluginVersion, Arc<Policy>, Watched), String> {
        const NOTHING: &str = "it has no version in force";
        let plugin = map.plugin(name).ok_or(NOTHING)?;
        let (version, release) = plugin.active().ok_or(NOTHING)?;
        if let Some(quarantine) = &plugin.quarantine {
            let reason = in_quarantine(quarantine);
            loaded.problems.insert(name.clone(), reason.clone());
            return Err(reason);
        }
        match self.components.load(release, config) {
            Ok(policy) => Ok((version.clone(), policy, self.watched_of(name, plugin))),
            Err(error) => {
                loaded.had_no_room |= error.is_of_room();
                loaded.problems.insert(name.clone(), error.to_string());
                Err(error.to_string())
            }
        }
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
