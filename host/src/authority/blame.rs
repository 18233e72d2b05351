//! This is what the leader makes of reports that a plugin fails: too many in too short a time, from
//! all nodes together, and one epoch takes the version out of force, or puts it in quarantine.
//!
//! What is reported is of one activation, named by its epoch: a newer one is never undone.

use super::activation::configs;
use super::command::{CommandError, Done, REFUSED};
use super::lead::{Asked, Changed, change};
use super::member::Running;
use super::{Inner, PlanError, locked, spread};
use crate::plugin::limits::{FAULTS_MAX, FAULTS_TIME, PROBATION_TIME};
use soros_core::epoch::Epoch;
use soros_core::map::Map;
use soros_core::map::change::{Change, ChangeError};
use soros_core::map::plugin::{Blame, Plugin, PluginName};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// A plugin as it was activated once.
type Activated = (PluginName, Epoch);

/// How long the version before may take to be found fit to take over.
const PREPARE_TIMEOUT: Duration = Duration::from_secs(5);

/// What is counted apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Fault,
    Refusal,
}

impl Kind {
    fn of(blame: &Blame) -> Kind {
        if blame.cause == REFUSED {
            Kind::Refusal
        } else {
            Kind::Fault
        }
    }
}

/// What this node, as the leader, knows of plugins that fail, and of those on probation.
#[derive(Default)]
pub(super) struct Watch {
    faults: Mutex<BTreeMap<(Activated, Kind), VecDeque<Instant>>>,
    /// Those that refuse too much and cannot go back, and the map of which that was found out.
    stays: Mutex<BTreeMap<Activated, Epoch>>,
    /// When those on probation were first seen to be.
    probations: Mutex<BTreeMap<Activated, Instant>>,
}

impl Watch {
    /// Takes note of so many faults. Whether they are too many is the answer; then they are
    /// forgotten.
    fn note(&self, activated: &Activated, kind: Kind, count: u32) -> bool {
        let now = Instant::now();
        let mut faults = locked(&self.faults);
        faults.retain(|_, times| {
            times.retain(|time| now.duration_since(*time) < FAULTS_TIME);
            !times.is_empty()
        });
        let counted = (activated.clone(), kind);
        let times = faults.entry(counted.clone()).or_default();
        times.extend((0..count.min(FAULTS_MAX)).map(|_| now));
        let too_many = FAULTS_MAX as usize <= times.len();
        if too_many {
            faults.remove(&counted);
        }
        too_many
    }

    /// Takes note that under `map` a version that refuses too much cannot go back.
    fn stays(&self, (name, since): Activated, map: &Map) {
        let mut stays = locked(&self.stays);
        stays.retain(|(name, since), _| {
            map.plugin(name)
                .is_some_and(|plugin| plugin.since == *since)
        });
        stays.insert((name, since), map.epoch());
    }

    /// Whether it is known that the version cannot go back under the map of `epoch`.
    fn is_staying(&self, activated: &Activated, epoch: Epoch) -> bool {
        locked(&self.stays).get(activated) == Some(&epoch)
    }

    /// Those of `map` that have been on probation for long enough.
    fn passed(&self, map: &Map) -> Vec<Activated> {
        let plugins = map.plugins().iter();
        let now = plugins.filter(|(_, plugin)| plugin.on_probation);
        let now: Vec<Activated> = now
            .map(|(name, plugin)| (name.clone(), plugin.since))
            .collect();
        let mut seen = locked(&self.probations);
        seen.retain(|activated, _| now.contains(activated));
        let passed = now.into_iter().filter(|activated| {
            let begun = seen.entry(activated.clone()).or_insert_with(Instant::now);
            PROBATION_TIME <= begun.elapsed()
        });
        passed.collect()
    }
}

/// Takes a report that the version of `name` that is in force since `since` failed so often.
///
/// # Errors
/// [`CommandError`] says whether anything was changed.
pub(super) async fn report(
    inner: &Inner,
    name: &PluginName,
    since: Epoch,
    (count, blame): (u32, &Blame),
) -> Result<Done, CommandError> {
    if inner.leading().is_none() {
        return Err(CommandError::NotLeader { leader: None });
    }
    let now = inner.keeper.epoch();
    let nothing = Done::at(now, false, Vec::new());
    let (activated, kind) = ((name.clone(), since), Kind::of(blame));
    // Nobody has to wait for its turn because of what would be found out again.
    let is_known = kind == Kind::Refusal && inner.watch.is_staying(&activated, now);
    if is_known || !inner.watch.note(&activated, kind, count) {
        return Ok(nothing);
    }
    let decided = change(inner, Asked::default(), async |map| {
        let decided = decision(inner, map, (name, since), blame).await;
        decided.map_err(CommandError::from)
    });
    let Changed { before, after } = match decided.await {
        // It was decided, or another version came into force meanwhile.
        Err(CommandError::Refused(ChangeError::PluginMoved(_))) => return Ok(nothing),
        changed => changed?,
    };
    tell(name, &before, &after, blame);
    let not_ready = spread::spread(inner, &after).await;
    Ok(Done::at(after.epoch(), false, not_ready))
}

/// What becomes of a plugin that fails too often, or refuses too much.
async fn decision(
    inner: &Inner,
    map: &Map,
    (name, since): (&PluginName, Epoch),
    blame: &Blame,
) -> Result<Change, ChangeError> {
    let (name, mut blame) = (name.clone(), blame.clone());
    let plugin = map.plugin(&name);
    let asked = plugin.filter(|plugin| plugin.since == since && plugin.quarantine.is_none());
    let Some(plugin) = asked else {
        return Err(ChangeError::PluginMoved(name));
    };
    let refuses = Kind::of(&blame) == Kind::Refusal;
    if !plugin.on_probation {
        return if refuses {
            Err(ChangeError::PluginMoved(name))
        } else {
            Ok(Change::Quarantine { name, since, blame })
        };
    }
    let Some(why) = why_not_back(inner, map, &name, plugin).await else {
        return Ok(Change::Withdraw { name, since, blame });
    };
    if refuses {
        let plugin = name.as_str();
        tracing::error!(
            plugin,
            why,
            "a version refuses too much, and stays in force"
        );
        inner.watch.stays((name.clone(), since), map);
        return Err(ChangeError::PluginMoved(name));
    }
    blame.detail = format!("{}; {why}", blame.detail);
    Ok(Change::Quarantine { name, since, blame })
}

/// Why the version before cannot take over at any node, if so: it may not take a config that came
/// into use after it was replaced.
async fn why_not_back(
    inner: &Inner,
    map: &Map,
    name: &PluginName,
    plugin: &Plugin,
) -> Option<String> {
    let version = plugin.previous.as_ref()?;
    let release = plugin.releases.get(version)?;
    let prepared = inner.parts.plugins.prepare(release, configs(map, name));
    let unknown = |why: &str| {
        let (plugin, version) = (name.as_str(), version.as_str());
        tracing::warn!(plugin, version, why, "a version takes over again untried");
        None
    };
    let why = match timeout(PREPARE_TIMEOUT, prepared).await {
        Ok(Ok(())) => return None,
        Ok(Err(PlanError::BadConfig(problems))) => {
            let first = problems.first().map(|problem| problem.message.clone());
            let first = first.unwrap_or_default();
            format!("it does not take a config that is in use: {first}")
        }
        Ok(Err(PlanError::Unfit(reason))) => reason,
        // What this node lacks at the moment says nothing of the version.
        Ok(Err(PlanError::Failed(reason))) => return unknown(&reason),
        Err(_) => return unknown("it is not ready in time"),
    };
    Some(format!("{version} cannot take over again: {why}"))
}

fn tell(name: &PluginName, before: &Map, after: &Map, blame: &Blame) {
    let Some((version, _)) = before.plugin(name).and_then(Plugin::active) else {
        return;
    };
    let now = after.plugin(name);
    let is_quarantined = now.is_some_and(|plugin| plugin.quarantine.is_some());
    let Blame {
        node,
        cause,
        detail,
    } = blame;
    let (plugin, version, epoch) = (name.as_str(), version.as_str(), after.epoch().0);
    let (node, cause) = (node.as_str(), cause.as_str());
    let back_to = now.and_then(|plugin| plugin.active.as_ref());
    if let Some(back_to) = back_to.filter(|_| !is_quarantined) {
        let back_to = back_to.as_str();
        tracing::error!(
            plugin,
            version,
            back_to,
            node,
            cause,
            detail,
            epoch,
            "a version failed on its probation: the one before is in force again"
        );
    } else {
        tracing::error!(
            plugin,
            version,
            node,
            cause,
            detail,
            epoch,
            "a plugin fails too often and is not asked any more, until a version is activated"
        );
    }
}

/// Ends the probations that have lasted long enough.
pub(super) async fn end_probations(inner: &Inner, running: &Running) {
    let Some(map) = running.maps.borrow().clone() else {
        return;
    };
    for (name, since) in inner.watch.passed(&map) {
        let plugin = name.to_string();
        let ended = change(inner, Asked::default(), async |_| {
            Ok(Change::EndProbation { name, since })
        });
        match ended.await {
            Ok(Changed { after, .. }) => {
                let epoch = after.epoch().0;
                tracing::info!(plugin, epoch, "a version has passed its probation");
            }
            Err(CommandError::Refused(ChangeError::PluginMoved(_))) => {}
            Err(error) => tracing::warn!(%error, plugin, "a probation could not be ended yet"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn counts_the_faults_of_one_activation_within_a_window() {
        let watch = Watch::default();
        let activated = |since| ("own".parse().unwrap(), Epoch(since));
        assert!(!watch.note(&activated(1), Kind::Fault, FAULTS_MAX - 1));
        assert!(
            !watch.note(&activated(2), Kind::Fault, FAULTS_MAX - 1),
            "another activation"
        );
        advance(FAULTS_TIME / 2).await;
        assert!(watch.note(&activated(1), Kind::Fault, 1));
        assert!(
            !watch.note(&activated(1), Kind::Fault, 1),
            "they are forgotten"
        );
        advance(FAULTS_TIME / 2 + Duration::from_millis(1)).await;
        assert!(
            !watch.note(&activated(2), Kind::Fault, 1),
            "the others are too long ago"
        );
        assert!(watch.note(&activated(3), Kind::Fault, u32::MAX));
        assert!(!watch.note(&activated(4), Kind::Fault, FAULTS_MAX - 1));
        assert!(watch.note(&activated(4), Kind::Refusal, FAULTS_MAX));
        assert!(watch.note(&activated(4), Kind::Fault, 1), "counted apart");
    }
}
