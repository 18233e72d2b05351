//! These are the changes of plugins: a version comes, takes over, or goes.

use super::{ChangeError, Next};
use crate::epoch::Epoch;
use crate::id::PlacementName;
use crate::limits::{COMPONENTS_BYTES_MAX, PLUGINS_MAX, RELEASES_MAX};
use crate::map::plugin::{
    Blame, Plugin, PluginKind, PluginName, PluginVersion, Quarantine, Release, Shadow, Withdrawn,
};
use crate::map::problem::ConfigProblem;
use crate::map::table::Table;
use std::collections::BTreeMap;

impl Next {
    pub(super) fn put_release(
        &mut self,
        name: &PluginName,
        version: &PluginVersion,
        kind: PluginKind,
        release: &Release,
    ) -> Result<(), ChangeError> {
        let releases = self
            .0
            .plugins
            .values()
            .flat_map(|plugin| plugin.releases.values());
        let bytes: u64 = releases.map(|release| release.size).sum();
        let is_full = self.0.plugins.len() == PLUGINS_MAX && !self.0.plugins.contains_key(name);
        let plugin = self
            .0
            .plugins
            .entry(name.clone())
            .or_insert_with(|| Plugin::new(kind));
        if plugin.kind != kind {
            return Err(ChangeError::OtherKind(name.clone()));
        }
        match plugin.releases.get(version) {
            Some(there) if there.digest == release.digest => return Ok(()),
            Some(_) => {
                let (name, version) = (name.clone(), version.clone());
                return Err(ChangeError::VersionExists { name, version });
            }
            None => {}
        }
        let fits = bytes.saturating_add(release.size) <= COMPONENTS_BYTES_MAX;
        if is_full || RELEASES_MAX <= plugin.releases.len() || !fits {
            return Err(ChangeError::TooManyPlugins);
        }
        plugin.releases.insert(version.clone(), release.clone());
        Ok(())
    }

    pub(super) fn activate(
        &mut self,
        name: &PluginName,
        version: &PluginVersion,
        tables: &BTreeMap<PlacementName, Table>,
        on_probation: bool,
    ) -> Result<(), ChangeError> {
        let epoch = self.0.epoch;
        let plugin = self.release_of(name, version)?;
        let is_other = plugin.active.as_ref() != Some(version);
        // A version that was on probation is not proven: the one before it stays to go back to.
        let was_on_probation = plugin.on_probation;
        if is_other {
            let replaced = plugin.active.replace(version.clone());
            if !was_on_probation || plugin.previous.as_ref() == Some(version) {
                plugin.previous = replaced;
            }
        }
        plugin.since = epoch;
        plugin.on_probation =
            on_probation && plugin.previous.is_some() && (is_other || was_on_probation);
        (plugin.quarantine, plugin.withdrawn) = (None, None);
        plugin.shadow.take_if(|shadow| shadow.version == *version);
        for (placement, table) in tables {
            let not_found = || ChangeError::PlacementNotFound(placement.clone());
            let there = self.0.placements.get(placement).ok_or_else(not_found)?;
            let config = there.config.clone();
            self.put_placement(placement, &config, table)?;
        }
        Ok(())
    }

    pub(super) fn withdraw(
        &mut self,
        name: &PluginName,
        since: Epoch,
        blame: &Blame,
    ) -> Result<(), ChangeError> {
        let at = self.0.epoch;
        let plugin = self.in_force_since(name, since)?;
        let moved = || ChangeError::PluginMoved(name.clone());
        let (Some(failed), Some(before), true) =
            (&plugin.active, &plugin.previous, plugin.on_probation)
        else {
            return Err(moved());
        };
        let (version, before) = (failed.clone(), before.clone());
        plugin.shadow.take_if(|shadow| shadow.version == before);
        // A rollback that comes too late does not bring the failed version back.
        (plugin.active, plugin.previous) = (Some(before), None);
        (plugin.since, plugin.on_probation) = (at, false);
        let blame = blame.clone();
        plugin.withdrawn = Some(Withdrawn { version, at, blame });
        Ok(())
    }

    pub(super) fn quarantine(
        &mut self,
        name: &PluginName,
        since: Epoch,
        blame: &Blame,
    ) -> Result<(), ChangeError> {
        let now = self.0.epoch;
        let plugin = self.in_force_since(name, since)?;
        plugin.on_probation = false;
        plugin.quarantine = Some(Quarantine {
            since: now,
            blame: blame.clone(),
        });
        Ok(())
    }

    pub(super) fn end_probation(
        &mut self,
        name: &PluginName,
        since: Epoch,
    ) -> Result<(), ChangeError> {
        self.in_force_since(name, since)?.on_probation = false;
        Ok(())
    }

    pub(super) fn put_shadow(
        &mut self,
        name: &PluginName,
        shadow: Option<&Shadow>,
    ) -> Result<(), ChangeError> {
        let Some(shadow) = shadow else {
            let not_found = || ChangeError::PluginNotFound {
                name: name.clone(),
                version: None,
            };
            self.0.plugins.get_mut(name).ok_or_else(not_found)?.shadow = None;
            return Ok(());
        };
        let plugin = self.release_of(name, &shadow.version)?;
        if plugin.active.as_ref() == Some(&shadow.version) {
            let (path, message) = ("/version".to_owned(), "it is in force".to_owned());
            return Err(ChangeError::BadConfig(vec![ConfigProblem {
                path,
                message,
            }]));
        }
        plugin.shadow = Some(shadow.clone());
        Ok(())
    }

    /// The plugin `name`, if the version in force has been so since that epoch, and is asked.
    fn in_force_since(
        &mut self,
        name: &PluginName,
        since: Epoch,
    ) -> Result<&mut Plugin, ChangeError> {
        let plugin = self.0.plugins.get_mut(name);
        let asked = plugin.filter(|plugin| {
            plugin.since == since && plugin.active.is_some() && plugin.quarantine.is_none()
        });
        asked.ok_or_else(|| ChangeError::PluginMoved(name.clone()))
    }

    pub(super) fn drop_release(
        &mut self,
        name: &PluginName,
        version: &PluginVersion,
    ) -> Result<(), ChangeError> {
        let is_used = self.0.uses_plugin(name);
        let plugin = self.release_of(name, version)?;
        let shadow = plugin.shadow.as_ref().map(|shadow| &shadow.version);
        if shadow == Some(version) {
            let (name, version) = (name.clone(), version.clone());
            return Err(ChangeError::ShadowRuns { name, version });
        }
        if plugin.active.as_ref() == Some(version) {
            if is_used {
                let (name, version) = (name.clone(), version.clone());
                return Err(ChangeError::PluginInUse { name, version });
            }
            (plugin.active, plugin.quarantine) = (None, None);
        }
        plugin.previous.take_if(|previous| previous == version);
        plugin
            .withdrawn
            .take_if(|withdrawn| withdrawn.version == *version);
        plugin.on_probation &= plugin.active.is_some() && plugin.previous.is_some();
        plugin.releases.remove(version);
        if plugin.releases.is_empty() {
            self.0.plugins.remove(name);
        }
        Ok(())
    }

    /// The plugin `name`, which has a version `version`.
    fn release_of(
        &mut self,
        name: &PluginName,
        version: &PluginVersion,
    ) -> Result<&mut Plugin, ChangeError> {
        let not_found = |version| ChangeError::PluginNotFound {
            name: name.clone(),
            version,
        };
        let plugin = self.0.plugins.get_mut(name);
        let plugin = plugin.ok_or_else(|| not_found(None))?;
        if plugin.releases.contains_key(version) {
            Ok(plugin)
        } else {
            Err(not_found(Some(version.clone())))
        }
    }
}
