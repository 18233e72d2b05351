//! These are the changes of plugins: a version comes, takes over, or goes.

use super::{ChangeError, Next};
use crate::id::PlacementName;
use crate::limits::{COMPONENTS_BYTES_MAX, PLUGINS_MAX, RELEASES_MAX};
use crate::map::plugin::{Plugin, PluginKind, PluginName, PluginVersion, Release};
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
            .or_insert_with(|| Plugin {
                kind,
                releases: BTreeMap::new(),
                active: None,
                previous: None,
            });
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
    ) -> Result<(), ChangeError> {
        let plugin = self.release_of(name, version)?;
        if plugin.active.as_ref() != Some(version) {
            plugin.previous = plugin.active.replace(version.clone());
        }
        for (placement, table) in tables {
            let not_found = || ChangeError::PlacementNotFound(placement.clone());
            let there = self.0.placements.get(placement).ok_or_else(not_found)?;
            let config = there.config.clone();
            self.put_placement(placement, &config, table)?;
        }
        Ok(())
    }

    pub(super) fn drop_release(
        &mut self,
        name: &PluginName,
        version: &PluginVersion,
    ) -> Result<(), ChangeError> {
        let is_used = self.0.uses_plugin(name);
        let plugin = self.release_of(name, version)?;
        if plugin.active.as_ref() == Some(version) {
            if is_used {
                let (name, version) = (name.clone(), version.clone());
                return Err(ChangeError::PluginInUse { name, version });
            }
            plugin.active = None;
        }
        plugin.previous.take_if(|previous| previous == version);
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
