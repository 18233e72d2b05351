//! This is the record of what was done to plugins: one line for each change, at the node that made
//! it, under the log target `audit`.

use super::command::{Command, Done};
use soros_core::map::Map;
use soros_core::map::plugin::{Plugin, PluginDigest, PluginName, PluginVersion};

/// The target of these lines.
const TARGET: &str = "audit";

/// Notes that `command` was carried out on the map `before`, if it was about a plugin. `through` is
/// the node that was asked for it.
pub(super) fn note(command: &Command, through: &str, before: &Map, done: &Done) {
    match command {
        Command::PutRelease {
            name,
            version,
            release,
            ..
        } => line(
            "push",
            through,
            name,
            Some(version),
            Some(release.digest),
            done,
        ),
        Command::Activate { name, version } => {
            let action = match version {
                Some(_) => "activate",
                None => "rollback",
            };
            let digest = done
                .version
                .as_ref()
                .and_then(|at| digest(before, name, at));
            line(action, through, name, done.version.as_ref(), digest, done);
        }
        Command::DropRelease { name, version } => {
            let digest = digest(before, name, version);
            line("rm", through, name, Some(version), digest, done);
        }
        Command::Register(_)
        | Command::PutBucket { .. }
        | Command::DeleteBucket { .. }
        | Command::PutPlacement { .. }
        | Command::DeletePlacement { .. }
        | Command::PutSettings(_) => {}
    }
}

fn digest(map: &Map, name: &PluginName, version: &PluginVersion) -> Option<PluginDigest> {
    let releases = map.plugin(name).map(|plugin: &Plugin| &plugin.releases);
    Some(releases?.get(version)?.digest)
}

fn line(
    action: &str,
    through: &str,
    plugin: &PluginName,
    version: Option<&PluginVersion>,
    digest: Option<PluginDigest>,
    done: &Done,
) {
    let version = version.map(PluginVersion::as_str);
    let digest = digest.map(tracing::field::display);
    let (plugin, epoch) = (plugin.as_str(), done.epoch.0);
    tracing::info!(
        target: TARGET, action, through, plugin, version, digest, epoch, "a plugin was changed"
    );
}
