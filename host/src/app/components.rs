//! This is where a node has the components of plugins from: this program, its disk, or another
//! node; and which of them are compiled.
//!
//! Every node keeps every component that the map names, so that the loss of any node loses none. A
//! component that no map names any more goes; of those that none names yet a few are kept.

use crate::authority::PlanError;
use crate::authority::components::{PIECE_BYTES, fetch};
use crate::authority::wire::Wire;
use crate::plugin::compiler::CompilerError;
use crate::plugin::limits::COMPONENT_BYTES_MAX;
use crate::plugin::{AdmissionError, Admitted, Check, Policy, Ready, Runtime, shipped};
use crate::store::components::Components;
use bytes::Bytes;
use soros_core::id::NodeId;
use soros_core::map::Map;
use soros_core::map::json::Json;
use soros_core::map::plugin::{Plugin, PluginDigest, PluginName, PluginVersion, Release};
use soros_core::policy::PolicyError;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// How many components are kept that the map does not name: pushes that are under way, or failed.
const UNNAMED_MAX: usize = 8;
/// How many components stay compiled that are neither in force nor were so before.
const SPARE_MAX: usize = 8;

/// How long between two attempts to fetch what is waited for.
const FETCH_PAUSE: Duration = Duration::from_millis(100);

/// The components of a node.
pub(super) struct NodeComponents {
    me: NodeId,
    runtime: Arc<Runtime>,
    disk: Components,
    wire: Arc<dyn Wire>,
    known: Mutex<Known>,
    /// One component at a time is looked at: compiling takes a processor and much memory.
    admission: Semaphore,
}

/// What is known of the map's components, and what is compiled.
#[derive(Default)]
struct Known {
    /// Those that the map names.
    named: BTreeSet<PluginDigest>,
    /// Those that are in force, were before, or run beside.
    in_force: BTreeSet<PluginDigest>,
    /// The other nodes.
    others: Vec<NodeId>,
    ready: BTreeMap<PluginDigest, Ready>,
    /// Those of them that are neither, the oldest first.
    spare: Vec<PluginDigest>,
    /// Those that were in force and not here.
    missed: BTreeSet<PluginDigest>,
}

/// Why a policy that the map names cannot be used here.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    /// The component is not here.
    #[error("its component is not here yet")]
    NotHere,
    /// The disk failed.
    #[error("its component cannot be read: {0}")]
    Disk(#[from] io::Error),
    /// It is not let in.
    #[error(transparent)]
    Admission(#[from] AdmissionError),
}

impl LoadError {
    /// Whether the node or its machine lacked something at the moment, which says nothing of the
    /// policy.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            LoadError::NotHere => false,
            LoadError::Disk(_) => true,
            LoadError::Admission(error) => matches!(
                error,
                AdmissionError::Fails(PolicyError::Busy | PolicyError::Deadline { .. })
                    | AdmissionError::Compiler(
                        CompilerError::TooSlow | CompilerError::Ended(_) | CompilerError::NotRun(_)
                    )
            ),
        }
    }
}

impl LoadError {
    /// Whether the policy failed by its own fault, as it would at every node.
    fn is_of_policy(&self) -> bool {
        match self {
            LoadError::NotHere
            | LoadError::Disk(_)
            | LoadError::Admission(AdmissionError::Fails(PolicyError::Deadline { .. })) => false,
            LoadError::Admission(AdmissionError::Fails(error)) => error.is_fault(),
            LoadError::Admission(error) => matches!(error, AdmissionError::Misfit(_)),
        }
    }
}

impl From<LoadError> for PlanError {
    fn from(error: LoadError) -> PlanError {
        match error {
            LoadError::Admission(AdmissionError::BadConfig(problems)) => {
                PlanError::BadConfig(problems)
            }
            error if error.is_of_policy() => PlanError::Unfit(error.to_string()),
            error => PlanError::Failed(error.to_string()),
        }
    }
}

impl NodeComponents {
    /// Those of the node `me`, on its disk and through its wire.
    pub(super) fn new(
        me: NodeId,
        runtime: Arc<Runtime>,
        disk: Components,
        wire: Arc<dyn Wire>,
    ) -> NodeComponents {
        NodeComponents {
            me,
            runtime,
            disk,
            wire,
            known: Mutex::default(),
            admission: Semaphore::new(1),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of what `map` names. What the map before named and this one does not goes.
    pub(super) fn adopt(&self, map: &Map) {
        let plugins = || map.plugins().values();
        let named: BTreeSet<_> = plugins()
            .flat_map(|plugin| plugin.releases.values())
            .map(|release| release.digest)
            .collect();
        let in_force = plugins().flat_map(in_force).collect();
        for (&node, entry) in map.nodes() {
            if node != self.me {
                self.wire.set_address(node, &entry.identity.peer);
            }
        }
        let others = map.nodes().keys().filter(|node| **node != self.me);
        let gone: Vec<_> = {
            let mut known = self.known();
            known.others = others.copied().collect();
            known.in_force = in_force;
            let before = std::mem::replace(&mut known.named, named);
            known.tidy();
            before.difference(&known.named).copied().collect()
        };
        for digest in gone {
            if let Err(error) = self.disk.remove(&digest) {
                tracing::warn!(%digest, %error, "a component that nobody names was not removed");
            }
        }
    }

    /// Whether a component is here.
    pub(super) fn has(&self, digest: &PluginDigest) -> bool {
        shipped_bytes(digest).is_some() || self.disk.has(digest)
    }

    /// Whether a component is compiled.
    pub(super) fn is_ready(&self, digest: &PluginDigest) -> bool {
        self.known().ready.contains_key(digest)
    }

    /// Whether a component is here and not damaged. One that is compiled was looked at before.
    async fn is_whole(&self, digest: PluginDigest) -> bool {
        let is_compiled = self.known().ready.contains_key(&digest);
        is_compiled || shipped_bytes(&digest).is_some() || self.read(digest, None).await.is_some()
    }

    /// Whether all that `map` names is on the disk.
    pub(super) fn has_all(&self, map: &Map) -> bool {
        let mut releases = releases(map);
        releases.all(|release| self.disk.has(&release.digest))
    }

    /// Fetches what `map` has in force and is not here, until it is. What was waited for once is
    /// not waited for again.
    pub(super) async fn fetch_active(&self, map: &Map) {
        let mut missing = Vec::new();
        for (_, release) in map.plugins().values().filter_map(Plugin::active) {
            let digest = release.digest;
            if !self.is_whole(digest).await && self.known().missed.insert(digest) {
                missing.push(release);
            }
        }
        // Each in its turn: what nobody has does not keep the others away.
        loop {
            let mut still_missing = Vec::new();
            for release in missing {
                if !self.fetch(release).await {
                    still_missing.push(release);
                }
            }
            missing = still_missing;
            if missing.is_empty() {
                return;
            }
            tokio::time::sleep(FETCH_PAUSE).await;
        }
    }

    /// Brings to the disk what `map` has in force or beside it, each tried once. Those that are
    /// missing still are the answer.
    pub(super) async fn fetch_in_force(&self, map: &Map) -> BTreeSet<PluginDigest> {
        self.bring(map, true).await
    }

    /// Brings to the disk what else `map` names, each tried once. Whether all of it is there now is
    /// the answer.
    pub(super) async fn fetch_rest(&self, map: &Map) -> bool {
        self.bring(map, false).await.is_empty()
    }

    async fn bring(&self, map: &Map, are_in_force: bool) -> BTreeSet<PluginDigest> {
        let in_force: BTreeSet<_> = map.plugins().values().flat_map(in_force).collect();
        let releases = releases(map);
        let releases: Vec<_> = releases
            .filter(|release| in_force.contains(&release.digest) == are_in_force)
            .collect();
        let mut missing = BTreeSet::new();
        for release in releases {
            if self.disk.has(&release.digest) {
                continue;
            }
            let is_here = match shipped_bytes(&release.digest) {
                Some(bytes) => self.keep(Bytes::from_static(bytes)).await.is_ok(),
                None => self.fetch(release).await,
            };
            if !is_here {
                missing.insert(release.digest);
            }
        }
        missing
    }

    async fn fetch(&self, release: &Release) -> bool {
        let others = self.known().others.clone();
        match fetch(&*self.wire, &others, release).await {
            Some(bytes) => self.keep(bytes.into()).await.is_ok(),
            None => false,
        }
    }

    /// Looks at a component.
    pub(super) async fn admit(
        &self,
        name: &PluginName,
        version: &PluginVersion,
        component: Bytes,
    ) -> Result<Admitted, Vec<Check>> {
        let _turn = self.admission.acquire().await;
        let runtime = Arc::clone(&self.runtime);
        let (name, version) = (name.clone(), version.clone());
        let look = move || runtime.admit(&component, &name, &version);
        spawn_blocking(look).await.unwrap_or_else(|error| {
            tracing::error!(%error, "a component was not looked at to the end");
            Err(vec![Check {
                check: "compile".to_owned(),
                passed: false,
                detail: "the node broke off: its log says why".to_owned(),
            }])
        })
    }

    /// Makes a component durable here.
    pub(super) async fn keep(&self, component: Bytes) -> Result<(), String> {
        let (disk, named) = (self.disk.clone(), self.known().named.clone());
        let write = move || {
            disk.write(&component)?;
            let unnamed = disk
                .list()?
                .into_iter()
                .filter(|digest| !named.contains(digest));
            let unnamed: Vec<PluginDigest> = unnamed.collect();
            let surplus = unnamed.len().saturating_sub(UNNAMED_MAX);
            unnamed
                .iter()
                .take(surplus)
                .try_for_each(|digest| disk.remove(digest))
        };
        let written = spawn_blocking(write).await;
        let written = written.unwrap_or_else(|error| Err(io::Error::other(error)));
        written.map_err(|error| error.to_string())
    }

    /// Makes a component durable here that `holder` has, and begins to compile it.
    pub(super) async fn hold(
        self: &Arc<Self>,
        release: &Release,
        holder: NodeId,
    ) -> Result<(), String> {
        if self.read(release.digest, None).await.is_none() {
            let bytes = fetch(&*self.wire, &[holder], release).await;
            let bytes = bytes.ok_or("its holder did not send it")?;
            self.keep(bytes.into()).await?;
        }
        let (components, release) = (Arc::clone(self), release.clone());
        // Nobody waits for that: what cannot be compiled is found out when it is to be used.
        spawn_blocking(move || components.ready(&release).map(drop));
        Ok(())
    }

    /// A piece of a component, or all of it.
    pub(super) async fn read(&self, digest: PluginDigest, piece: Option<u64>) -> Option<Vec<u8>> {
        let disk = self.disk.clone();
        let read = move || match (shipped_bytes(&digest), piece) {
            (Some(bytes), None) => Ok(Some(bytes.to_vec())),
            (Some(bytes), Some(from)) => {
                let rest = usize::try_from(from)
                    .ok()
                    .and_then(|from| bytes.get(from..));
                Ok(rest.map(|rest| rest[..rest.len().min(PIECE_BYTES)].to_vec()))
            }
            (None, None) => disk.read(&digest, COMPONENT_BYTES_MAX as u64),
            (None, Some(from)) => disk.piece(&digest, from, PIECE_BYTES as u64),
        };
        let read = spawn_blocking(read).await;
        let read = read.unwrap_or_else(|error| Err(io::Error::other(error)));
        read.unwrap_or_else(|error| {
            tracing::error!(%digest, %error, "a component cannot be read");
            None
        })
    }

    /// Gets ready to be asked as this release, with each of these configurations.
    pub(super) async fn prepare(
        self: &Arc<Self>,
        release: &Release,
        configs: Vec<Json>,
    ) -> Result<(), PlanError> {
        if !self.is_whole(release.digest).await {
            self.fetch(release).await;
        }
        let (components, release) = (Arc::clone(self), release.clone());
        let prepare = move || {
            components.ready(&release)?;
            let mut configs = configs.iter();
            configs.try_for_each(|config| components.load(&release, config).map(drop))
        };
        let prepared = spawn_blocking(prepare).await;
        let prepared = prepared.map_err(|error| PlanError::Failed(error.to_string()))?;
        prepared.map_err(PlanError::from)
    }

    /// A policy of a component that is here.
    pub(super) async fn load_soon(
        self: &Arc<Self>,
        release: &Release,
        config: &Json,
    ) -> Result<Arc<Policy>, PlanError> {
        let (components, release) = (Arc::clone(self), release.clone());
        let config = config.clone();
        let loaded = spawn_blocking(move || components.load(&release, &config)).await;
        let loaded = loaded.map_err(|error| PlanError::Failed(error.to_string()))?;
        loaded.map_err(PlanError::from)
    }

    /// A policy of a component that is here. It may compile, and waits for that.
    pub(super) fn load(&self, release: &Release, config: &Json) -> Result<Arc<Policy>, LoadError> {
        Ok(self.runtime.policy(&self.ready(release)?, config)?)
    }

    fn ready(&self, release: &Release) -> Result<Ready, LoadError> {
        if let Some(ready) = self.known().ready.get(&release.digest) {
            return Ok(ready.clone());
        }
        let bytes = if let Some(bytes) = shipped_bytes(&release.digest) {
            Cow::Borrowed(bytes)
        } else {
            let bytes_max = COMPONENT_BYTES_MAX as u64;
            let read = self.disk.read(&release.digest, bytes_max)?;
            Cow::Owned(read.ok_or(LoadError::NotHere)?)
        };
        let ready = self.runtime.ready(&bytes)?;
        let mut known = self.known();
        known.ready.insert(release.digest, ready.clone());
        known.spare.push(release.digest);
        known.tidy();
        Ok(ready)
    }
}

impl Known {
    /// Lets go of what is compiled and needed no more.
    fn tidy(&mut self) {
        let Known {
            in_force,
            ready,
            spare,
            ..
        } = self;
        spare.retain(|digest| !in_force.contains(digest));
        let surplus = spare.len().saturating_sub(SPARE_MAX);
        spare.drain(..surplus);
        ready.retain(|digest, _| in_force.contains(digest) || spare.contains(digest));
    }
}

fn releases(map: &Map) -> impl Iterator<Item = &Release> {
    let plugins = map.plugins().values();
    plugins.flat_map(|plugin| plugin.releases.values())
}

fn in_force(plugin: &Plugin) -> impl Iterator<Item = PluginDigest> {
    let shadow = plugin.shadow.iter().map(|shadow| &shadow.version);
    let versions = plugin.active.iter().chain(&plugin.previous).chain(shadow);
    let releases = versions.filter_map(|version| plugin.releases.get(version));
    releases.map(|release| release.digest)
}

fn shipped_bytes(digest: &PluginDigest) -> Option<&'static [u8]> {
    let shipped = shipped().iter().find(|shipped| shipped.digest == *digest);
    shipped.map(|shipped| shipped.bytes)
}
