//! This is a cluster of real processes on loopback, each with a folder, ports and a log of its own
//! that it keeps across restarts.

use crate::binary::soros;
use crate::http::Http;
use crate::ports::free_port;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a node may take to serve.
const START_TIMEOUT: Duration = Duration::from_mins(1);
/// How long a node may take to end after it is asked to.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);

/// A cluster whose processes end with it.
#[derive(Debug)]
pub struct Cluster {
    folder: TempDir,
    nodes: Vec<Node>,
}

/// One node of it, running or not.
#[derive(Debug)]
pub struct Node {
    name: String,
    roles: String,
    client: u16,
    peer: u16,
    /// What its process finds in its environment, besides what the tests' do.
    environment: Vec<(String, String)>,
    process: Option<Child>,
}

impl Cluster {
    /// Starts `count` nodes with both roles, and waits until all serve at full strength.
    pub async fn start(count: usize) -> Cluster {
        Cluster::start_with(&vec!["peer,authority"; count]).await
    }

    /// Starts a node for each entry of `roles`, and waits until all serve at full strength.
    ///
    /// # Panics
    /// When a node does not come up.
    pub async fn start_with(roles: &[&str]) -> Cluster {
        let mut cluster = Cluster::of(roles);
        cluster.spawn_all().await;
        cluster
    }

    /// A node for each entry of `roles`, none of which runs yet.
    ///
    /// # Panics
    /// When there is no room for a folder.
    #[must_use]
    pub fn of(roles: &[&str]) -> Cluster {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let node = |(index, roles): (usize, &&str)| Node {
            name: format!("n{}", index + 1),
            roles: (*roles).to_owned(),
            client: free_port(),
            peer: free_port(),
            environment: Vec::new(),
            process: None,
        };
        let nodes = roles.iter().enumerate().map(node).collect();
        Cluster { folder, nodes }
    }

    /// Starts all nodes, and waits until all serve at full strength.
    ///
    /// # Panics
    /// When a node does not come up.
    pub async fn spawn_all(&mut self) {
        for index in 0..self.count() {
            self.spawn(index);
        }
        for index in 0..self.count() {
            self.wait_ready(index).await;
        }
    }

    /// What the next process of a node finds in its environment, besides what the tests' do.
    pub fn set_environment(&mut self, node: usize, environment: Vec<(String, String)>) {
        self.nodes[node].environment = environment;
    }

    /// The folder of all nodes' folders.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    /// How many nodes there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.nodes.len()
    }

    /// The name of a node.
    #[must_use]
    pub fn name(&self, node: usize) -> &str {
        &self.nodes[node].name
    }

    /// Where clients reach a node.
    #[must_use]
    pub fn address(&self, node: usize) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.nodes[node].client))
    }

    /// The URL of a node.
    #[must_use]
    pub fn url(&self, node: usize) -> String {
        format!("http://{}", self.address(node))
    }

    /// A client of a node.
    #[must_use]
    pub fn http(&self, node: usize) -> Http {
        Http::new(self.address(node))
    }

    /// Where a node keeps its data.
    #[must_use]
    pub fn folder(&self, node: usize) -> PathBuf {
        self.folder.path().join(&self.nodes[node].name)
    }

    /// The process of a node that runs.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn process_id(&self, node: usize) -> u32 {
        self.nodes[node]
            .process
            .as_ref()
            .expect("a node that runs")
            .id()
    }

    /// What a node has logged so far.
    #[must_use]
    pub fn log(&self, node: usize) -> String {
        std::fs::read_to_string(self.log_path(node)).unwrap_or_default()
    }

    fn log_path(&self, node: usize) -> PathBuf {
        self.folder
            .path()
            .join(format!("{}.log", self.nodes[node].name))
    }

    /// Starts the process of a node that does not run, with the same flags every time.
    ///
    /// # Panics
    /// When the process cannot be started.
    pub fn spawn(&mut self, node: usize) {
        let founders: Vec<String> = self
            .nodes
            .iter()
            .map(|node| format!("127.0.0.1:{}", node.peer))
            .collect();
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path(node));
        let folder = self.folder(node);
        let node = &mut self.nodes[node];
        assert!(node.process.is_none(), "{} runs already", node.name);
        let process = Command::new(soros())
            .arg("serve")
            .args(["--name", &node.name, "--roles", &node.roles])
            .arg("--dir")
            .arg(folder)
            .args(["--listen", &format!("127.0.0.1:{}", node.client)])
            .args(["--peer", &format!("127.0.0.1:{}", node.peer)])
            .args(["--bootstrap", &founders.join(",")])
            .envs(node.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.expect("a log file"))
            .spawn();
        node.process = Some(process.expect("the binary starts"));
    }

    /// Waits until a node serves and lacks nothing that the others have.
    ///
    /// # Panics
    /// When it ends instead, or takes too long.
    pub async fn wait_ready(&mut self, node: usize) {
        let begun = Instant::now();
        let mut http = self.http(node);
        loop {
            if let Ok(answer) = http.get("/health/ready").await
                && answer.status.is_success()
                && answer.json()["partitions_behind"] == 0
            {
                return;
            }
            let process = self.nodes[node].process.as_mut().expect("a node that runs");
            let ended = process.try_wait().expect("a process of this test");
            let log = || self.log(node);
            assert!(
                ended.is_none(),
                "{} ended: {ended:?}\n{}",
                self.name(node),
                log()
            );
            let late = START_TIMEOUT < begun.elapsed();
            assert!(!late, "{} does not come up\n{}", self.name(node), log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Kills a node's process at once.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(&mut self, node: usize) {
        let mut process = self.nodes[node].process.take().expect("a node that runs");
        process.kill().expect("a process of this test");
        process.wait().expect("a process of this test");
    }

    /// Asks a node's process to end and gives its exit status and how long it took.
    ///
    /// # Panics
    /// When it does not end in time.
    pub async fn terminate(&mut self, node: usize) -> (ExitStatus, Duration) {
        let begun = Instant::now();
        self.signal(node, rustix::process::Signal::TERM);
        let mut process = self.nodes[node].process.take().expect("a node that runs");
        loop {
            if let Some(status) = process.try_wait().expect("a process of this test") {
                return (status, begun.elapsed());
            }
            if STOP_TIMEOUT < begun.elapsed() {
                let _ = process.kill();
                panic!("{} does not end\n{}", self.name(node), self.log(node));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Sends a signal to a node's process.
    ///
    /// # Panics
    /// When it does not run.
    pub fn signal(&self, node: usize, signal: rustix::process::Signal) {
        let id = i32::try_from(self.process_id(node)).expect("a process id");
        let process = rustix::process::Pid::from_raw(id).expect("a process id");
        rustix::process::kill_process(process, signal).expect("a process of this test");
    }

    /// Starts a node again and waits until it serves at full strength.
    pub async fn restart(&mut self, node: usize) {
        self.spawn(node);
        self.wait_ready(node).await;
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            if let Some(process) = &mut node.process {
                let _ = process.kill();
                let _ = process.wait();
            }
        }
        if std::thread::panicking() {
            for node in 0..self.nodes.len() {
                let log = self.log(node);
                let tail: Vec<&str> = log.lines().rev().take(40).collect();
                eprintln!("the end of {}'s log:", self.name(node));
                tail.iter().rev().for_each(|line| eprintln!("  {line}"));
            }
        }
    }
}
