//! This is `soros placement`: how keys are spread over nodes.

use super::bucket::show_config;
use super::console::{Console, Output};
use super::settings::{Changes, WholeArgs, changed, policy};
use super::{Failure, table};
use crate::client::Client;
use clap::{Args, Subcommand};
use serde_json::Value;
use soros_core::epoch::Epoch;
use soros_core::id::PlacementName;

/// The fields of a placement's configuration that a node takes.
const FIELDS: [&str; 4] = ["policy", "partitions", "replicas", "zones_min"];

#[derive(Debug, Subcommand)]
pub(super) enum PlacementCommand {
    /// List the placements
    Ls,
    /// Show how a placement is configured
    Show {
        /// The placement
        name: String,
    },
    /// Make a placement or change its configuration
    Set(SetArgs),
    /// Remove a placement that no bucket uses
    Rm {
        /// The placement
        name: String,
    },
}

#[derive(Args, Debug)]
pub(super) struct SetArgs {
    /// The placement
    name: String,
    #[command(flatten)]
    whole: WholeArgs,
    #[command(flatten)]
    parts: PartArgs,
}

/// What is changed of the configuration in force.
#[derive(Args, Debug)]
struct PartArgs {
    /// Who says where partitions live: NAME, or NAME={"its": "config"}
    #[arg(long)]
    policy: Option<String>,
    /// How many partitions: a power of two, fixed when the placement is made
    #[arg(long, value_name = "N")]
    partitions: Option<u32>,
    /// How many nodes hold each partition: 1 to 7
    #[arg(long, value_name = "N")]
    replicas: Option<u8>,
    /// In how many zones each partition must be; 0 for as many as there are
    #[arg(long, value_name = "N")]
    zones_min: Option<u8>,
}

impl PlacementCommand {
    pub(super) async fn run(self, client: Client, console: &mut Console) -> Result<(), Failure> {
        match self {
            PlacementCommand::Ls => list(&client, console).await,
            PlacementCommand::Show { name } => {
                let configured = client
                    .placement(&name.parse()?)
                    .await
                    .map_err(Failure::read)?;
                show_config(console, &configured.config)
            }
            PlacementCommand::Set(args) => args.run(&client, console).await,
            PlacementCommand::Rm { name } => {
                let removed = client.remove_placement(&name.parse()?).await;
                removed.map_err(Failure::write)?;
                Ok(console.removed(&name)?)
            }
        }
    }
}

async fn list(client: &Client, console: &mut Console) -> Result<(), Failure> {
    let answer = client.placements().await.map_err(Failure::read)?;
    if console.output == Output::Json {
        return Ok(console.json(&answer)?);
    }
    let placements = answer["placements"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    let rows: Vec<Vec<String>> = placements.iter().map(row).collect();
    for line in table::lines(
        &["NAME", "POLICY", "PARTITIONS", "REPLICAS", "ZONES"],
        &rows,
    ) {
        console.line(&line)?;
    }
    Ok(())
}

fn row(placement: &Value) -> Vec<String> {
    let cell = |name: &str| table::cell(placement.get(name));
    let policy = table::cell(placement.pointer("/policy/plugin"));
    vec![
        cell("name"),
        policy,
        cell("partitions"),
        cell("replicas"),
        cell("zones_min"),
    ]
}

impl SetArgs {
    async fn run(self, client: &Client, console: &mut Console) -> Result<(), Failure> {
        let name: PlacementName = self.name.parse()?;
        let changes = self.parts.changes()?;
        let asked = self.whole.if_match.map(Epoch);
        let (config, epoch) = match self.whole.config()? {
            Some(_) if !changes.is_empty() => {
                return Err(Failure::Usage(
                    "give a whole configuration or flags, not both",
                ));
            }
            Some(config) => (config, asked),
            None => {
                let configured = changed(client.placement(&name).await, &FIELDS, changes)?;
                (configured.config, asked.or(configured.epoch))
            }
        };
        let set = client
            .set_placement(&name, &config, epoch)
            .await
            .map_err(Failure::write)?;
        show_config(console, &set.config)
    }
}

impl PartArgs {
    fn changes(self) -> Result<Changes, Failure> {
        let mut changes = Changes::new();
        if let Some(text) = &self.policy {
            let policy = policy(text)
                .map_err(|error| Failure::NotConfiguration("--policy".to_owned(), error))?;
            changes.push(("policy", policy));
        }
        changes.extend(self.partitions.map(|number| ("partitions", number.into())));
        changes.extend(self.replicas.map(|number| ("replicas", number.into())));
        let zones = |number: u8| {
            if number == 0 {
                Value::Null
            } else {
                number.into()
            }
        };
        changes.extend(self.zones_min.map(|number| ("zones_min", zones(number))));
        Ok(changes)
    }
}
