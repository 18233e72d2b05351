//! This is how the policies of a map are loaded: what is here at once, and the rest when it comes.

use super::{BucketResolver, Loaded, Measured, NO_VALIDATOR, NodePolicies, Watched, in_quarantine};
use crate::app::components::LoadError;
use crate::app::shadow::ShadowUse;
use crate::peer::validate::{BucketValidator, Unusable};
use crate::plugin::Policy;
use soros_core::map::Map;
use soros_core::map::json::Json;
use soros_core::map::plugin::{PluginName, PluginVersion, Release, ValidatorUse};
use soros_core::policy::{Validation, Wants};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long a node that lacks components of policies in force looks for them before it serves
/// without.
const FETCH_TIME_MAX: Duration = Duration::from_secs(3);
/// How long between two looks for components that are missing.
const FETCH_PAUSE: Duration = Duration::from_secs(1);
/// How long until what may pass is tried again at first: each time twice as long.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
const RETRY_PAUSE_MAX: Duration = Duration::from_mins(1);

/// When policies are loaded.
#[derive(Clone, Copy)]
enum When {
    /// While the node adopts the map.
    Adopting,
    /// While it serves under it.
    Later,
}

impl NodePolicies {
    /// Loads the policies of the map's buckets, whose components are fetched from other nodes where
    /// they are missing. A resolver that does not load is reported, and its bucket's siblings are
    /// kept; for a validator the bucket says what becomes of writes.
    pub(super) async fn load_for(self: &Arc<Self>, map: Arc<Map>) {
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
        // Those in force that were missing when the policies were loaded.
        let mut lacked = None;
        let (mut retries_at, mut pause) = (Instant::now(), RETRY_PAUSE);
        while self.is_at(&map) {
            let missing = self.components.fetch_in_force(&map).await;
            let loaded = self.loaded.load_full();
            let retries = loaded.may_pass && retries_at <= Instant::now();
            let is_due = retries || lacked.as_ref() != Some(&missing);
            if is_due && loaded.is_lacking() && self.is_at(&map) {
                self.load(Arc::clone(&map), When::Later).await;
                retries_at = Instant::now() + pause;
                pause = RETRY_PAUSE_MAX.min(2 * pause);
            }
            let has_all = self.components.fetch_rest(&map).await && missing.is_empty();
            lacked = Some(missing);
            if has_all && !self.loaded.load().may_pass {
                return;
            }
            tokio::time::sleep(FETCH_PAUSE).await;
        }
    }

    fn is_at(&self, map: &Map) -> bool {
        self.loaded.load().epoch() == map.epoch()
    }

    async fn load(self: &Arc<Self>, map: Arc<Map>, when: When) {
        let policies = Arc::clone(self);
        let loaded = tokio::task::spawn_blocking(move || policies.load_all(map, when)).await;
        match loaded {
            Ok(loaded) => self.install(loaded),
            Err(error) => tracing::error!(%error, "policies were not loaded to the end"),
        }
    }

    fn install(&self, loaded: Loaded) {
        let _one_at_a_time = self
            .installing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Of two that are loaded at once the older must not have the last word.
        if loaded.epoch() < self.loaded.load().epoch() {
            return;
        }
        self.shadows.set_problems(&loaded.shadow_problems);
        let unusable = loaded.problems.len() as u64;
        self.metrics.plugins_unusable.set(unusable);
        self.metrics.plugins_quarantined.set(loaded.quarantined());
        self.loaded.store(Arc::new(loaded));
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
                wants: self.wants_in_quarantine(map, used, when, loaded),
            }),
        }
    }

    /// What a validator in quarantine was asked about: its config says that, and it is not asked
    /// about any write to find out.
    fn wants_in_quarantine(
        &self,
        map: &Map,
        used: &ValidatorUse,
        when: When,
        loaded: &mut Loaded,
    ) -> Option<Wants> {
        let plugin = map.plugin(&used.plugin)?;
        plugin.quarantine.as_ref()?;
        let (_, release) = plugin.active()?;
        if self.is_too_early(release, when, loaded) {
            return None;
        }
        let policy = self.load_component(release, &used.config, loaded).ok()?;
        let wants = policy.validator()?.wants().clone();
        loaded.kept.push(policy);
        Some(wants)
    }

    /// Whether something that is not asked is left for later: nobody waits for a map until it is
    /// compiled.
    fn is_too_early(&self, release: &Release, when: When, loaded: &mut Loaded) -> bool {
        let is_too_early =
            matches!(when, When::Adopting) && !self.components.is_ready(&release.digest);
        loaded.is_unfinished |= is_too_early;
        is_too_early
    }

    /// A policy of this component; that what keeps it away may pass is noted.
    fn load_component(
        &self,
        release: &Release,
        config: &Json,
        loaded: &mut Loaded,
    ) -> Result<Arc<Policy>, LoadError> {
        let policy = self.components.load(release, config);
        loaded.may_pass |= policy.as_ref().is_err_and(LoadError::may_pass);
        policy
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
        let problem = if self.is_too_early(release, when, loaded) {
            "it is not ready here yet".to_owned()
        } else {
            match self.load_component(release, config, loaded) {
                Ok(policy) => return Some(self.shadows.used(shadow, policy)),
                Err(error) => error.to_string(),
            }
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
        match self.load_component(release, config, loaded) {
            Ok(policy) => Ok((version.clone(), policy, self.watched_of(name, plugin))),
            Err(error) => {
                loaded.problems.insert(name.clone(), error.to_string());
                Err(error.to_string())
            }
        }
    }
}
