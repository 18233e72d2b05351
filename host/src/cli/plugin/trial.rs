//! This is `soros plugin activate --dry-run` and `soros plugin shadow`: what a version would do,
//! before it is in force.

use super::super::console::{Console, Output};
use super::super::{Failure, table};
use super::{Condition, lines, not_reached};
use crate::client::Client;
use clap::Args;
use serde_json::Value;
use soros_core::map::plugin::{PluginName, PluginVersion};
use std::path::PathBuf;

#[derive(Args, Debug)]
pub(in crate::cli) struct ShadowArgs {
    /// The plugin
    name: String,
    /// Run this version beside the one in force; without one, what came of it is shown
    #[arg(conflicts_with_all = ["stop", "captures"])]
    version: Option<String>,
    /// On this part of all calls, from 0 to 1
    #[arg(long, default_value_t = 1.0, requires = "version")]
    sample: f64,
    /// Stop it
    #[arg(long, conflicts_with = "captures")]
    stop: bool,
    /// Write the calls that it answers otherwise to a file, for `soros plugin replay`
    #[arg(long, value_name = "FILE")]
    captures: Option<PathBuf>,
    #[command(flatten)]
    condition: Condition,
}

impl ShadowArgs {
    pub(super) async fn run(self, client: &Client, console: &mut Console) -> Result<(), Failure> {
        let (name, epoch): (PluginName, _) = (self.name.parse()?, self.condition.epoch());
        if self.stop {
            client
                .stop_shadow(&name, epoch)
                .await
                .map_err(Failure::write)?;
            return Ok(console.removed(&format!("the shadow of {name}"))?);
        }
        if let Some(path) = self.captures {
            let captures = client.captures(&name).await.map_err(Failure::read)?;
            let written = std::fs::write(&path, &captures);
            written.map_err(|error| Failure::File(path.clone(), error))?;
            let lines = captures.split(|byte| *byte == b'\n');
            let count = lines.filter(|line| !line.is_empty()).count();
            let line = format!("{count} calls are in {}", path.display());
            return Ok(console.line(&line)?);
        }
        let Some(version) = self.version else {
            let shadow = client.shadow(&name).await.map_err(Failure::read)?;
            return show_shadow(console, &shadow);
        };
        let version: PluginVersion = version.parse()?;
        let started = client
            .start_shadow(&name, (&version, self.sample), epoch)
            .await;
        let started = started.map_err(Failure::write)?;
        if console.output == Output::Json {
            return Ok(console.json(&started)?);
        }
        console.line(&format!(
            "{name} {version} runs beside the version in force"
        ))?;
        Ok(console.line(&format!(
            "to see what comes of it: soros plugin shadow {name}"
        ))?)
    }
}

fn show_shadow(console: &mut Console, shadow: &Value) -> Result<(), Failure> {
    if console.output == Output::Json {
        return Ok(console.json(shadow)?);
    }
    if shadow["placements"].is_array() {
        return show_dry_run(console, shadow);
    }
    let row = |name: String, of: &Value| {
        let cell = |field: &str| table::cell(of.get(field));
        let failed = of["failures"].as_object().into_iter().flatten();
        let failed: u64 = failed.filter_map(|(_, count)| count.as_u64()).sum();
        vec![
            name,
            cell("compared"),
            cell("differed"),
            failed.to_string(),
            cell("dropped"),
            cell("problem"),
        ]
    };
    let version = table::cell(shadow.get("version"));
    let nodes = shadow["nodes"].as_array().into_iter().flatten();
    let all = row(format!("all, {version}"), shadow);
    let nodes = nodes.map(|node| row(table::cell(node.get("node")), node));
    let mut rows: Vec<Vec<String>> = nodes.collect();
    rows.sort();
    rows.insert(0, all);
    let titles = [
        "NODE", "COMPARED", "DIFFERED", "FAILED", "DROPPED", "PROBLEM",
    ];
    lines(console, &titles, &rows)?;
    not_reached(console, shadow)
}

/// Shows what an activation would change.
pub(super) fn show_dry_run(console: &mut Console, outcome: &Value) -> Result<(), Failure> {
    if console.output == Output::Json {
        return Ok(console.json(outcome)?);
    }
    let array = |of: &Value, field: &str| of[field].as_array().cloned().unwrap_or_default();
    let cells = |of: &Value, fields: &[&str]| -> Vec<String> {
        let cell = |field: &&str| table::cell(of.get(*field));
        fields.iter().map(cell).collect()
    };
    for placement in array(outcome, "placements") {
        let fields = ["placement", "partitions", "copies", "keys", "bytes"];
        let titles = ["PLACEMENT", "PARTITIONS", "COPIES", "KEYS", "BYTES"];
        lines(console, &titles, &[cells(&placement, &fields)])?;
        let nodes = array(&placement, "nodes");
        let nodes: Vec<_> = nodes
            .iter()
            .map(|node| cells(node, &["node", "before", "after"]))
            .collect();
        lines(console, &["NODE", "BEFORE", "AFTER"], &nodes)?;
    }
    for bucket in array(outcome, "buckets") {
        let fields = ["bucket", "sampled", "refused", "changed", "failed"];
        let titles = ["BUCKET", "SAMPLED", "REFUSED", "CHANGED", "FAILED"];
        lines(console, &titles, &[cells(&bucket, &fields)])?;
        if bucket["complete"] == false {
            let name = table::cell(bucket.get("bucket"));
            console.line(&format!("bucket {name} was not looked at to the end"))?;
        }
        let examples = array(&bucket, "examples");
        let examples: Vec<_> = examples
            .iter()
            .map(|example| cells(example, &["key", "reason", "pointer", "detail"]))
            .collect();
        if !examples.is_empty() {
            lines(console, &["KEY", "REASON", "POINTER", "DETAIL"], &examples)?;
        }
    }
    if let Some(code) = outcome["refused"].as_str() {
        console.line(&format!("it would be refused: {code}"))?;
    }
    console.line("nothing was changed")?;
    not_reached(console, outcome)
}
