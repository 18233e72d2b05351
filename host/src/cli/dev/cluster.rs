//! This is the nodes of `soros dev` while they run: a thread each, stopped together.

use super::super::Failure;
use super::super::node::{NodeFailure, RunNode};
use crate::client::{Client, ClientOptions, NodeUrl};
use crate::config::{Config, ReadyNode};
use crate::network::{Trigger, shutdown};
use std::io;
use std::time::Duration;
use tokio::sync::mpsc;

/// How often a node is asked whether it serves.
const ASK_EVERY: Duration = Duration::from_millis(25);

/// Running nodes.
pub(super) struct Cluster {
    triggers: Vec<Trigger>,
    threads: Vec<std::thread::JoinHandle<()>>,
    ended: mpsc::UnboundedReceiver<Ended>,
}

/// A node that runs no more.
struct Ended {
    name: String,
    result: Result<(), NodeFailure>,
}

impl Cluster {
    /// Starts the nodes.
    pub(super) fn start(nodes: Vec<Config>, run_node: RunNode) -> io::Result<Cluster> {
        let (sender, ended) = mpsc::unbounded_channel();
        let mut cluster = Cluster {
            triggers: Vec::new(),
            threads: Vec::new(),
            ended,
        };
        for config in nodes {
            cluster.add(config, run_node, sender.clone())?;
        }
        Ok(cluster)
    }

    fn add(
        &mut self,
        config: Config,
        run_node: RunNode,
        sender: mpsc::UnboundedSender<Ended>,
    ) -> io::Result<()> {
        let (trigger, heard) = shutdown();
        let name = config
            .name
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default();
        let thread = std::thread::Builder::new()
            .name(name.clone())
            .spawn(move || {
                let run = std::panic::AssertUnwindSafe(|| run_node(config, heard));
                let result = std::panic::catch_unwind(run)
                    .unwrap_or_else(|_| Err(NodeFailure::Failed("it panicked".into())));
                // Nobody listens any more when the command ends already.
                let _ = sender.send(Ended { name, result });
            })?;
        self.triggers.push(trigger);
        self.threads.push(thread);
        Ok(())
    }

    /// Waits until a node ends that was not told to.
    pub(super) async fn failure(&mut self) -> Failure {
        match self.ended.recv().await {
            Some(Ended { name, result }) => Failure::NodeEnded {
                name,
                failure: result.err(),
            },
            // Every thread tells how it ended.
            None => Failure::NodeEnded {
                name: "a node".to_owned(),
                failure: None,
            },
        }
    }

    /// Stops all nodes and waits for them.
    pub(super) async fn drain(&mut self) -> Result<(), Failure> {
        self.triggers.iter().for_each(Trigger::fire);
        let mut first = Ok(());
        while let Some(Ended { name, result }) = self.ended.recv().await {
            if let (Err(failure), Ok(())) = (result, &first) {
                first = Err(Failure::NodeEnded {
                    name,
                    failure: Some(failure),
                });
            }
        }
        for thread in self.threads.drain(..) {
            // It has told how it ended, so it did not panic.
            let _ = thread.join();
        }
        first
    }

    /// Stops what still runs after `failure`, which stays what is told.
    pub(super) async fn stop_after(&mut self, failure: Failure) -> Failure {
        // What fails now fails because of the first.
        let _ = self.drain().await;
        failure
    }
}

/// Waits until all nodes say that they serve.
pub(super) async fn all_serve(nodes: &[ReadyNode]) {
    for node in nodes {
        serves(&node.url).await;
    }
}

async fn serves(url: &str) {
    let url: Result<NodeUrl, _> = url.parse();
    let client = url
        .ok()
        .and_then(|url| Client::new(&[url], ClientOptions::default()).ok());
    // A node's own URL is one, so there is a client.
    let Some(client) = client else { return };
    while client.ready().await.is_err() {
        tokio::time::sleep(ASK_EVERY).await;
    }
}
