//! This is what `soros dev` is promised to do with the nodes it runs, whatever a node is inside.
#![expect(
    clippy::needless_pass_by_value,
    clippy::unnecessary_wraps,
    reason = "the nodes of these tests have the signature of real ones"
)]

use super::super::console::{Buffer, Console};
use super::super::node::NodeFailure;
use super::*;
use crate::client::imitation::{Imitation, refuse, say};
use crate::network::{Code, Shutdown};
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::mpsc;

/// A node that starts, serves, and drains; it notes so in its folder.
fn serving(config: Config, mut shutdown: Shutdown) -> Result<(), NodeFailure> {
    let asked = AtomicUsize::new(0);
    std::fs::create_dir(&config.dir).expect("the disk");
    connect::runtime().expect("a runtime").block_on(async {
        let script = move |_: &_| match asked.fetch_add(1, Ordering::Relaxed) {
            0 => refuse(Code::Starting),
            _ => say(200, &[], r#"{"status": "ready"}"#),
        };
        let _node = Imitation::start_at(&config.listen.to_string(), script).await;
        shutdown.wait().await;
    });
    std::fs::write(config.dir.join("drained"), "").expect("the disk");
    Ok(())
}

/// As above, but the second node cannot start.
fn failing(config: Config, shutdown: Shutdown) -> Result<(), NodeFailure> {
    if config
        .name
        .as_ref()
        .is_some_and(|name| name.as_str() == "n2")
    {
        return Err(NodeFailure::Failed("its disk is on fire".into()));
    }
    serving(config, shutdown)
}

fn panicking(_: Config, _: Shutdown) -> Result<(), NodeFailure> {
    panic!("a fault of the node")
}

struct Stage {
    folder: tempfile::TempDir,
    args: DevArgs,
    out: Buffer,
}

impl Stage {
    fn new() -> Stage {
        let folder = tempfile::tempdir().expect("a folder");
        let args = DevArgs {
            nodes: 3,
            port: Some(0),
            dir: Some(folder.path().join("data")),
            ready_file: Some(folder.path().join("ready.json")),
            log: None,
        };
        Stage {
            folder,
            args,
            out: Buffer::default(),
        }
    }

    /// Runs the cluster; `stop` says when a signal comes.
    async fn run(&self, run_node: RunNode, stop: impl Future<Output = ()>) -> Result<(), Failure> {
        let folder = self.args.folder()?;
        let ports = Ports::choose(self.args.port, self.args.nodes, folder.path())?;
        let nodes = DevArgs::nodes(&ports, folder.path(), &|_| None)?;
        let of_all = |node: &Config| node.nodes_here.get() == self.args.nodes;
        assert!(
            nodes.iter().all(of_all),
            "they share what the process may open"
        );
        let page = Page {
            program: "soros",
            folder: &folder,
            nodes: &ready_nodes(&nodes),
        };
        let mut console = Console::of_buffers(Vec::new(), self.out.clone(), Buffer::default());
        let (sender, receiver) = mpsc::channel(1);
        let mut signals = Signals::of_channel(receiver);
        let serving = serve(
            &self.args,
            nodes,
            run_node,
            &page,
            &mut console,
            &mut signals,
        );
        let stopping = async {
            stop.await;
            // The cluster may have ended by itself.
            let _ = sender.send(()).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            ended = serving => ended,
            () = stopping => unreachable!("it waits for ever"),
        }
    }

    /// Waits for the ready file.
    async fn ready(&self) -> serde_json::Value {
        let path = self.folder.path().join("ready.json");
        loop {
            if let Ok(text) = std::fs::read(&path) {
                return serde_json::from_slice(&text).expect("whole JSON");
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test]
async fn says_where_the_nodes_are_once_all_serve_and_drains_them_at_a_signal() {
    let stage = Stage::new();
    let ready = std::cell::RefCell::new(serde_json::Value::Null);
    stage
        .run(serving, async { *ready.borrow_mut() = stage.ready().await })
        .await
        .expect("drained");
    let ready = ready.into_inner();
    let nodes = ready["nodes"].as_array().expect("nodes");
    assert_eq!(
        nodes.iter().map(|node| &node["name"]).collect::<Vec<_>>(),
        ["n1", "n2", "n3"]
    );
    let page = String::from_utf8(stage.out.bytes()).expect("text");
    for node in nodes {
        assert!(
            page.contains(node["url"].as_str().expect("a URL")),
            "{page}"
        );
        let name = node["name"].as_str().expect("a name");
        assert!(
            stage
                .folder
                .path()
                .join("data")
                .join(name)
                .join("drained")
                .exists()
        );
    }
    assert!(
        page.contains("/v1/kv/default/greeting") && page.contains("cluster status"),
        "{page}"
    );
}

#[tokio::test]
async fn stops_the_others_when_a_node_cannot_start() {
    let stage = Stage::new();
    let failure = stage
        .run(failing, std::future::pending())
        .await
        .expect_err("no cluster");
    assert_eq!(failure.to_string(), "n2 ended: its disk is on fire");
    assert!(stage.folder.path().join("data/n1/drained").exists());
    assert!(!stage.folder.path().join("ready.json").exists());
}

#[tokio::test]
async fn tells_that_a_node_panicked() {
    let stage = Stage::new();
    let failure = stage
        .run(panicking, std::future::pending())
        .await
        .expect_err("no cluster");
    assert!(
        failure.to_string().ends_with("ended: it panicked"),
        "{failure}"
    );
}

#[tokio::test]
async fn stops_nodes_that_never_serve() {
    fn mute(_: Config, mut shutdown: Shutdown) -> Result<(), NodeFailure> {
        connect::runtime()
            .expect("a runtime")
            .block_on(shutdown.wait());
        Ok(())
    }
    let stage = Stage::new();
    stage
        .run(mute, std::future::ready(()))
        .await
        .expect("drained");
}

#[test]
fn runs_each_node_as_serve_would() {
    let folder = tempfile::tempdir().expect("a folder");
    let ports = Ports(vec![
        ports::Pair {
            client: 7070,
            peer: 7071,
        },
        ports::Pair {
            client: 7080,
            peer: 7081,
        },
    ]);
    let nodes = DevArgs::nodes(&ports, folder.path(), &|_| None).expect("configurations");
    assert_eq!(nodes[0].start, nodes[1].start);
    assert_eq!(nodes[1].listen.to_string(), "127.0.0.1:7080");
    assert_eq!(nodes[1].dir, folder.path().join("n2"));
    let crate::config::Start::Bootstrap(members) = &nodes[0].start else {
        panic!("no founding")
    };
    assert_eq!(members.len(), 2);
}

#[test]
fn refuses_a_folder_of_more_nodes() {
    let stage = Stage::new();
    let data = stage.folder.path().join("data");
    std::fs::create_dir_all(data.join("n4")).expect("the disk");
    assert!(matches!(stage.args.folder(), Err(Failure::Usage(_))));
}

#[test]
fn says_that_the_disk_is_too_full_for_values() {
    let folder = tempfile::tempdir().expect("a folder");
    let ports = Ports::choose(Some(0), 1, folder.path()).expect("free ports");
    let high = |name: &str| (name == DISK_HIGH_VARIABLE).then(|| "0.001".to_owned());
    let nodes = DevArgs::nodes(&ports, folder.path(), &high).expect("configurations");
    let warning = full_disk(&nodes[0], folder.path()).expect("a warning");
    assert!(
        warning.contains("507") && warning.contains("0.001"),
        "{warning}"
    );
}
