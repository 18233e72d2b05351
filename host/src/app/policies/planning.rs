//! This is how placement policies are asked for tables, and policies whether they take a config.

use super::NodePolicies;
use crate::app::calls::Ending;
use crate::authority::{PlanError, Planner};
use crate::network::BoxFuture;
use soros_core::map::plugin::{PluginKind, PluginVersion, PolicyUse, Release};
use soros_core::map::table::Table;
use soros_core::policy::topology::Snapshot;
use std::time::Instant;

/// What every placement policy of this version is given as its seed: tables follow from the
/// topology alone.
const SEED: u64 = 0;

const NOT_A_PLACER: &str = "the plugin is no placement policy";

impl Planner for NodePolicies {
    fn check<'a>(
        &'a self,
        kind: PluginKind,
        release: &'a Release,
        policy: &'a PolicyUse,
    ) -> BoxFuture<'a, Result<(), PlanError>> {
        Box::pin(async move {
            let loaded = self.components.load_soon(release, &policy.config).await?;
            if loaded.kind() == kind {
                Ok(())
            } else {
                let name = policy.plugin.as_str();
                Err(PlanError::Failed(format!(
                    "plugin `{name}` is of another kind"
                )))
            }
        })
    }

    fn plan<'a>(
        &'a self,
        release: &'a Release,
        policy: &'a PolicyUse,
        now: Snapshot,
        before: Option<&'a Table>,
    ) -> BoxFuture<'a, Result<Table, PlanError>> {
        let before = before.cloned();
        Box::pin(async move {
            let failed = |error: &dyn std::fmt::Display| PlanError::Failed(error.to_string());
            let loaded = self.components.load_soon(release, &policy.config).await?;
            let version: PluginVersion = loaded
                .about()
                .version
                .parse()
                .map_err(|error| failed(&error))?;
            let calls = self.calls_of(&policy.plugin, &version);
            let watched = self.watched(&policy.plugin, &version);
            let planned = tokio::task::spawn_blocking(move || {
                let placer = loaded
                    .placer()
                    .ok_or(PlanError::Failed(NOT_A_PLACER.to_owned()))?;
                let (begun, mut fuel) = (Instant::now(), 0);
                let table = placer.plan_counted(&now, before.as_ref(), SEED, &mut fuel);
                let ending = table
                    .as_ref()
                    .map_or_else(Ending::Failed, |_| Ending::Answered);
                calls.note(ending, begun.elapsed(), fuel, watched);
                table.map_err(|error| failed(&error))
            });
            planned.await.unwrap_or_else(|error| Err(failed(&error)))
        })
    }
}
