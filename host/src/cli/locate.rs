//! This is `soros locate`: which nodes hold a key.

use super::console::{Console, Output};
use super::key::KeyArgs;
use super::{Failure, table};
use crate::client::Client;
use clap::Args;
use serde_json::Value;

#[derive(Args, Debug)]
pub(super) struct LocateArgs {
    #[command(flatten)]
    key: KeyArgs,
}

impl LocateArgs {
    pub(super) async fn run(self, client: Client, console: &mut Console) -> Result<(), Failure> {
        let (bucket, key) = self.key.parse()?;
        let answer = client.locate(&bucket, &key).await.map_err(Failure::read)?;
        if console.output == Output::Json {
            return Ok(console.json(&answer)?);
        }
        let cell = |name: &str| table::cell(answer.get(name));
        console.line(&format!(
            "partition {} at epoch {}",
            cell("partition"),
            cell("epoch")
        ))?;
        let replicas = answer["replicas"].as_array().map_or(&[][..], Vec::as_slice);
        let rows: Vec<Vec<String>> = replicas.iter().map(row).collect();
        for line in table::lines(&["NODE", "STATE", "ZONE", "URL"], &rows) {
            console.line(&line)?;
        }
        Ok(())
    }
}

fn row(replica: &Value) -> Vec<String> {
    ["node", "state", "zone", "url"]
        .map(|name| table::cell(replica.get(name)))
        .to_vec()
}
