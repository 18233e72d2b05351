//! This is the record of what was done to plugins: one line for each change, at each member of the
//! authority that carries it out, under the log target `audit`. So no line is lost with who asked
//! for the change, or with who led. A member that starts tells nothing again that its node knew,
//! and one that was given the whole map tells nothing of how that came about.

use soros_core::epoch::Epoch;
use soros_core::map::Map;
use soros_core::map::change::{Change, Proposal};
use soros_core::map::plugin::{Plugin, PluginDigest, PluginName, PluginVersion};

/// The target of these lines.
const TARGET: &str = "audit";

/// Notes what `proposal` made of the map `before`, if it was about a plugin; `epoch` is that of the
/// map after it.
pub(super) fn note(proposal: &Proposal, before: &Map, epoch: Epoch) {
    let known = |name, version| digest(before, name, version);
    let active = |name| {
        before
            .plugin(name)
            .and_then(|plugin| plugin.active.as_ref())
    };
    let origin = proposal.origin.as_ref();
    let asked = origin.map_or("", |origin| origin.through.as_str());
    let (action, through, plugin, version) = match &proposal.change {
        Change::PutRelease { name, version, .. } => ("push", asked, name, Some(version)),
        Change::Activate { name, version, .. } => {
            let is_rollback = origin.is_some_and(|origin| origin.is_rollback);
            let action = if is_rollback { "rollback" } else { "activate" };
            (action, asked, name, Some(version))
        }
        Change::DropRelease { name, version } => ("rm", asked, name, Some(version)),
        Change::PutShadow { name, shadow } => match shadow {
            Some(shadow) => ("shadow", asked, name, Some(&shadow.version)),
            None => ("shadow-stop", asked, name, None),
        },
        Change::Withdraw { name, blame, .. } => {
            ("withdraw", blame.node.as_str(), name, active(name))
        }
        Change::Quarantine { name, blame, .. } => {
            ("quarantine", blame.node.as_str(), name, active(name))
        }
        Change::Found(_)
        | Change::Register(_)
        | Change::PutBucket { .. }
        | Change::CloseBucket { .. }
        | Change::ReopenBucket { .. }
        | Change::DropBucket { .. }
        | Change::PurgeBucket { .. }
        | Change::PutPlacement { .. }
        | Change::DeletePlacement { .. }
        | Change::PutSettings(_)
        | Change::EndProbation { .. } => return,
    };
    let pushed = match &proposal.change {
        Change::PutRelease { release, .. } => Some(release.digest),
        _ => None,
    };
    let digest = pushed.or_else(|| version.and_then(|version| known(plugin, version)));
    let version = version.map(PluginVersion::as_str);
    let digest = digest.map(tracing::field::display);
    let (plugin, epoch) = (plugin.as_str(), epoch.0);
    tracing::info!(
        target: TARGET, action, through, plugin, version, digest, epoch, "a plugin was changed"
    );
}

fn digest(map: &Map, name: &PluginName, version: &PluginVersion) -> Option<PluginDigest> {
    let releases = map.plugin(name).map(|plugin: &Plugin| &plugin.releases);
    Some(releases?.get(version)?.digest)
}
