//! This is the record of what was done to plugins: one line for each change, at the node that made
//! it, under the log target `audit`.

use super::command::{Command, Done};
use soros_core::epoch::Epoch;
use soros_core::map::Map;
use soros_core::map::plugin::{Plugin, PluginDigest, PluginName, PluginVersion};

/// The target of these lines.
const TARGET: &str = "audit";

/// Notes that `command` was carried out on the map `before`, if it was about a plugin. `through` is
/// the node that was asked for it.
pub(super) fn note(command: &Command, through: &str, before: &Map, done: &Done) {
    let known = |name, version| digest(before, name, version);
    let (action, plugin, version, digest) = match command {
        Command::PutRelease {
            name,
            version,
            release,
            ..
        } => ("push", name, Some(version), Some(release.digest)),
        Command::Activate { name, version } => {
            let action = match version {
                Some(_) => "activate",
                None => "rollback",
            };
            let version = done.version.as_ref();
            let digest = version.and_then(|version| known(name, version));
            (action, name, version, digest)
        }
        Command::DropRelease { name, version } => ("rm", name, Some(version), known(name, version)),
        Command::PutShadow { name, shadow } => {
            let version = shadow.as_ref().map(|shadow| &shadow.version);
            let digest = version.and_then(|version| known(name, version));
            let action = match shadow {
                Some(_) => "shadow",
                None => "shadow-stop",
            };
            (action, name, version, digest)
        }
        // What comes of reports is told where it is decided.
        Command::Report { .. }
        | Command::Register(_)
        | Command::PutBucket { .. }
        | Command::DeleteBucket { .. }
        | Command::PutPlacement { .. }
        | Command::DeletePlacement { .. }
        | Command::PutSettings(_) => return,
    };
    let epoch = done.epoch;
    line(&Line {
        action,
        through,
        plugin,
        version,
        digest,
        epoch,
    });
}

fn digest(map: &Map, name: &PluginName, version: &PluginVersion) -> Option<PluginDigest> {
    let releases = map.plugin(name).map(|plugin: &Plugin| &plugin.releases);
    Some(releases?.get(version)?.digest)
}

/// A change of a plugin.
pub(super) struct Line<'a> {
    /// What was done.
    pub(super) action: &'a str,
    /// Through which node.
    pub(super) through: &'a str,
    /// To which plugin.
    pub(super) plugin: &'a PluginName,
    /// To which version.
    pub(super) version: Option<&'a PluginVersion>,
    /// Its component.
    pub(super) digest: Option<PluginDigest>,
    /// The epoch of the map from which it holds.
    pub(super) epoch: Epoch,
}

/// Writes a line.
pub(super) fn line(line: &Line<'_>) {
    let Line {
        action,
        through,
        plugin,
        version,
        digest,
        epoch,
    } = line;
    let version = version.map(PluginVersion::as_str);
    let digest = digest.map(tracing::field::display);
    let (plugin, epoch) = (plugin.as_str(), epoch.0);
    tracing::info!(
        target: TARGET, action, through, plugin, version, digest, epoch, "a plugin was changed"
    );
}
