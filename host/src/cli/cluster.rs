//! This is `soros cluster`: the nodes, who votes, and whether all is well.

use super::console::{Console, Output};
use super::{Failure, table};
use crate::client::Client;
use clap::Subcommand;
use serde_json::Value;

#[derive(Debug, Subcommand)]
pub(super) enum ClusterCommand {
    /// Show the nodes and the authority
    Status,
}

/// The columns of the nodes' table: a title, and the field that it shows.
const COLUMNS: [(&str, &str); 11] = [
    ("NODE", "name"),
    ("STATE", "state"),
    ("URL", "url"),
    ("ZONE", "zone"),
    ("ROLES", "roles"),
    ("PARTITIONS", "partitions"),
    ("BEHIND", "partitions_behind"),
    ("CLOCK MS", "clock_offset_ms"),
    ("BYTES", "bytes"),
    ("CAPACITY", "capacity"),
    ("VERSION", "version"),
];

impl ClusterCommand {
    pub(super) async fn run(self, client: Client, console: &mut Console) -> Result<(), Failure> {
        match self {
            ClusterCommand::Status => status(&client, console).await,
        }
    }
}

async fn status(client: &Client, console: &mut Console) -> Result<(), Failure> {
    let cluster = client.cluster().await.map_err(Failure::read)?;
    if console.output == Output::Json {
        return Ok(console.json(&cluster)?);
    }
    for line in summary(&cluster)
        .into_iter()
        .chain([String::new()])
        .chain(nodes(&cluster))
    {
        console.line(&line)?;
    }
    Ok(())
}

/// The fields that are shown first, in this order.
const FIRST: [&str; 3] = ["name", "epoch", "status"];

/// What is not about one node: names and numbers, and everything a node may add to them.
fn summary(cluster: &Value) -> Vec<String> {
    let row = |name: &str, value: &Value| vec![name.to_owned(), table::cell(Some(value))];
    let first = FIRST
        .iter()
        .filter_map(|name| Some(row(name, cluster.get(name)?)));
    let fields = cluster.as_object().into_iter().flatten();
    let is_other = |name: &str| !matches!(name, "nodes" | "authority") && !FIRST.contains(&name);
    let others = fields
        .filter(|(name, _)| is_other(name))
        .map(|(name, value)| row(name, value));
    let rows: Vec<Vec<String>> = first
        .chain(authority(&cluster["authority"]))
        .chain(others)
        .collect();
    table::lines(&["CLUSTER", ""], &rows)
}

fn authority(authority: &Value) -> Vec<Vec<String>> {
    let fields = authority.as_object().into_iter().flatten();
    let row = |(name, value): (&String, &Value)| {
        vec![format!("authority {name}"), table::cell(Some(value))]
    };
    fields.map(row).collect()
}

fn nodes(cluster: &Value) -> Vec<String> {
    let nodes = cluster["nodes"].as_array().map_or(&[][..], Vec::as_slice);
    let has = |field: &str| nodes.iter().any(|node| node.get(field).is_some());
    let columns: Vec<_> = COLUMNS.iter().filter(|(_, field)| has(field)).collect();
    let titles: Vec<&str> = columns.iter().map(|(title, _)| *title).collect();
    let shown = |node: &Value, field: &str| match field {
        "bytes" | "capacity" => table::bytes(node.get(field)),
        field => table::cell(node.get(field)),
    };
    let row = |node: &Value| {
        columns
            .iter()
            .map(|(_, field)| shown(node, field))
            .collect()
    };
    let rows: Vec<Vec<String>> = nodes.iter().map(row).collect();
    table::lines(&titles, &rows)
}
