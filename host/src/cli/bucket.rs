//! This is `soros bucket`: which buckets there are, and how each treats its keys.

use super::console::{Console, Output};
use super::settings::{Changes, WholeArgs, changed, policy};
use super::{Failure, table};
use crate::client::{Client, Keys};
use clap::{Args, Subcommand};
use serde_json::Value;
use soros_core::epoch::Epoch;
use soros_core::id::BucketName;

/// The fields of a bucket's configuration that a node takes.
const FIELDS: [&str; 7] = [
    "placement",
    "consistency",
    "resolver",
    "validators",
    "default_ttl",
    "max_value_bytes",
    "quota_bytes",
];

#[derive(Debug, Subcommand)]
pub(super) enum BucketCommand {
    /// List the buckets
    Ls,
    /// Show how a bucket is configured
    Show {
        /// The bucket
        name: String,
    },
    /// Make a bucket or change its configuration
    Set(SetArgs),
    /// Remove a bucket
    Rm {
        /// The bucket
        name: String,
        /// Remove its keys with it
        #[arg(long)]
        purge: bool,
    },
}

#[derive(Args, Debug)]
pub(super) struct SetArgs {
    /// The bucket
    name: String,
    #[command(flatten)]
    whole: WholeArgs,
    #[command(flatten)]
    parts: PartArgs,
}

/// What is changed of the configuration in force.
#[derive(Args, Debug)]
struct PartArgs {
    /// Where its keys live
    #[arg(long)]
    placement: Option<String>,
    /// What it promises: eventual or strong
    #[arg(long)]
    consistency: Option<String>,
    /// What makes one value of siblings: NAME, NAME={"its": "config"}, or none
    #[arg(long, value_name = "POLICY")]
    resolver: Option<String>,
    /// How many seconds a value lives that does not say so itself; 0 for ever
    #[arg(long, value_name = "SECONDS")]
    default_ttl: Option<u64>,
    /// The largest value
    #[arg(long, value_name = "BYTES")]
    max_value_bytes: Option<u64>,
    /// The most it may hold; 0 for no limit
    #[arg(long, value_name = "BYTES")]
    quota_bytes: Option<u64>,
}

impl BucketCommand {
    pub(super) async fn run(self, client: Client, console: &mut Console) -> Result<(), Failure> {
        match self {
            BucketCommand::Ls => list(&client, console).await,
            BucketCommand::Show { name } => show(&client, console, &name.parse()?).await,
            BucketCommand::Set(args) => args.run(&client, console).await,
            BucketCommand::Rm { name, purge } => {
                let keys = if purge { Keys::Purge } else { Keys::Keep };
                let removed = client.remove_bucket(&name.parse()?, keys).await;
                removed.map_err(Failure::write)?;
                Ok(console.removed(&name)?)
            }
        }
    }
}

async fn list(client: &Client, console: &mut Console) -> Result<(), Failure> {
    let answer = client.buckets().await.map_err(Failure::read)?;
    if console.output == Output::Json {
        return Ok(console.json(&answer)?);
    }
    let buckets = answer["buckets"].as_array().map_or(&[][..], Vec::as_slice);
    let rows: Vec<Vec<String>> = buckets.iter().map(row).collect();
    let titles = [
        "NAME",
        "PLACEMENT",
        "CONSISTENCY",
        "RESOLVER",
        "LARGEST VALUE",
    ];
    for line in table::lines(&titles, &rows) {
        console.line(&line)?;
    }
    Ok(())
}

fn row(bucket: &Value) -> Vec<String> {
    let cell = |name: &str| table::cell(bucket.get(name));
    let resolver = table::cell(bucket.pointer("/resolver/plugin"));
    vec![
        cell("name"),
        cell("placement"),
        cell("consistency"),
        resolver,
        table::bytes(bucket.get("max_value_bytes")),
    ]
}

async fn show(client: &Client, console: &mut Console, name: &BucketName) -> Result<(), Failure> {
    let configured = client.bucket(name).await.map_err(Failure::read)?;
    show_config(console, &configured.config)
}

/// Shows a configuration: its fields for people, the object for programs.
pub(super) fn show_config(console: &mut Console, config: &Value) -> Result<(), Failure> {
    if console.output == Output::Json {
        return Ok(console.json(config)?);
    }
    for line in table::fields(config) {
        console.line(&line)?;
    }
    Ok(())
}

impl SetArgs {
    async fn run(self, client: &Client, console: &mut Console) -> Result<(), Failure> {
        let name: BucketName = self.name.parse()?;
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
                let configured = changed(client.bucket(&name).await, &FIELDS, changes)?;
                (configured.config, asked.or(configured.epoch))
            }
        };
        let set = client
            .set_bucket(&name, &config, epoch)
            .await
            .map_err(Failure::write)?;
        show_config(console, &set.config)
    }
}

impl PartArgs {
    fn changes(self) -> Result<Changes, Failure> {
        let unless_0 = |number: u64| {
            if number == 0 {
                Value::Null
            } else {
                number.into()
            }
        };
        let mut changes = Changes::new();
        changes.extend(self.placement.map(|name| ("placement", name.into())));
        changes.extend(self.consistency.map(|name| ("consistency", name.into())));
        if let Some(text) = &self.resolver {
            let resolver = policy(text)
                .map_err(|error| Failure::NotConfiguration("--resolver".to_owned(), error))?;
            changes.push(("resolver", resolver));
        }
        changes.extend(
            self.default_ttl
                .map(|seconds| ("default_ttl", unless_0(seconds))),
        );
        changes.extend(
            self.max_value_bytes
                .map(|bytes| ("max_value_bytes", bytes.into())),
        );
        changes.extend(
            self.quota_bytes
                .map(|bytes| ("quota_bytes", unless_0(bytes))),
        );
        Ok(changes)
    }
}
