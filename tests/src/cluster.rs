//! This is a cluster of real processes on loopback, each with a folder, ports and a log of its own
//! that it keeps across restarts.

use crate::disk::Disk;
use crate::flags::{self, Flags};
use crate::http::Http;
use crate::network::Network;
use crate::ports::free_port;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
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
    network: Option<Network>,
    disk: Option<Disk>,
}

/// One node of it, running or not.
#[derive(Debug)]
pub struct Node {
    name: String,
    roles: String,
    client: u16,
    peer: u16,
    /// Whether it joins the cluster that the others founded.
    joins: bool,
    /// What its process finds in its environment, besides what the tests' do.
    environment: Vec<(String, String)>,
    /// How many files its process may have open, if not as many as the tests'.
    open_files: Option<u32>,
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
        cluster.start_all().await;
        cluster
    }

    /// Starts `count` nodes with both roles that reach each other through a network that can be
    /// harmed.
    ///
    /// # Panics
    /// When a node does not come up.
    pub async fn start_on_network(count: usize) -> Cluster {
        let mut cluster = Cluster::of(&vec!["peer,authority"; count]);
        let peers: Vec<u16> = cluster.nodes.iter().map(|node| node.peer).collect();
        cluster.network = Some(Network::start(&peers).await);
        cluster.start_all().await;
        cluster
    }

    /// Starts `count` nodes with both roles whose directories are on `disk`.
    ///
    /// # Panics
    /// When a node does not come up.
    pub async fn start_on_disk(count: usize, disk: Disk) -> Cluster {
        let mut cluster = Cluster::of(&vec!["peer,authority"; count]);
        cluster.disk = Some(disk);
        cluster.start_all().await;
        cluster
    }

    /// A node for each entry of `roles`, none of which runs yet.
    ///
    /// # Panics
    /// When there is no room for a folder.
    #[must_use]
    pub fn of(roles: &[&str]) -> Cluster {
        Cluster {
            folder: tempfile::tempdir().expect("a temporary folder"),
            nodes: (1..)
                .zip(roles)
                .map(|(number, roles)| Node::new(number, roles))
                .collect(),
            network: None,
            disk: None,
        }
    }

    /// Adds a node with both roles that joins the others, waits until it serves, and says which it
    /// is.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn join(&mut self) -> usize {
        let node = self.count();
        let joining = Node {
            joins: true,
            ..Node::new(node + 1, "peer,authority")
        };
        self.nodes.push(joining);
        self.restart(node).await;
        node
    }

    /// Starts all nodes and waits until they serve at full strength.
    ///
    /// # Panics
    /// When one does not come up.
    pub async fn start_all(&mut self) {
        for node in 0..self.count() {
            self.spawn(node);
        }
        for node in 0..self.count() {
            self.wait_ready(node).await;
        }
    }

    /// What the next process of a node finds in its environment, besides what the tests' do.
    pub fn set_environment(&mut self, node: usize, environment: Vec<(String, String)>) {
        self.nodes[node].environment = environment;
    }

    /// How many files the next process of a node may have open.
    pub fn set_open_files(&mut self, node: usize, files: u32) {
        self.nodes[node].open_files = Some(files);
    }

    /// Where other nodes reach a node.
    #[must_use]
    pub fn peer_address(&self, node: usize) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.nodes[node].peer))
    }

    /// The folder of all nodes' folders.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    /// The disk that the nodes' directories are on.
    ///
    /// # Panics
    /// When they were not started on one.
    #[must_use]
    pub fn disk(&self) -> &Disk {
        self.disk.as_ref().expect("a cluster on a disk")
    }

    /// The network between the nodes.
    ///
    /// # Panics
    /// When they were not started on one.
    #[must_use]
    pub fn network(&self) -> &Network {
        self.network.as_ref().expect("a cluster on a network")
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
        let folder = match &self.disk {
            Some(disk) => disk.path(),
            None => self.folder.path().to_owned(),
        };
        folder.join(&self.nodes[node].name)
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

    /// The flags that a node is started with.
    #[must_use]
    pub fn flags(&self, node: usize) -> Flags {
        let advertised = |node: usize| match &self.network {
            Some(network) => network.port(node),
            None => self.nodes[node].peer,
        };
        let founders = (0..self.count())
            .filter(|&node| !self.nodes[node].joins)
            .map(|node| format!("127.0.0.1:{}", advertised(node)));
        let Node {
            name,
            roles,
            client,
            peer,
            joins,
            ..
        } = &self.nodes[node];
        Flags {
            name: Some(name.clone()),
            roles: roles.clone(),
            folder: self.folder(node),
            client: *client,
            peer: *peer,
            advertised: advertised(node),
            founders: founders.collect(),
            joins: *joins,
        }
    }

    /// A place for a test's own files that goes with the cluster.
    #[must_use]
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.folder.path().join("scratch").join(name)
    }

    /// Starts the process of a node that does not run, with the same flags every time.
    ///
    /// # Panics
    /// When the process cannot be started.
    pub fn spawn(&mut self, node: usize) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path(node));
        let mut command = self.flags(node).command();
        if let Some(files) = self.nodes[node].open_files {
            command = flags::with_open_files(&command, files);
        }
        if self.disk.is_some() {
            command.env_remove("SOROS_DISK_HIGH");
        }
        command.envs(self.nodes[node].environment.iter().cloned());
        let process = command.stderr(log.expect("a log file")).spawn();
        let process = process.expect("the binary starts");
        if let Some(network) = &self.network {
            network.set_process(node, process.id());
        }
        let before = self.nodes[node].process.replace(process);
        assert!(before.is_none(), "{} runs already", self.name(node));
    }

    /// A figure of a node's `/metrics`; its sum over all labels.
    ///
    /// # Panics
    /// When the node does not answer.
    pub async fn figure(&self, node: usize, name: &str) -> f64 {
        self.figure_with(node, name, "").await
    }

    /// A figure of a node's `/metrics`; its sum over all samples that have a label, as in
    /// `direction="sent"`.
    ///
    /// # Panics
    /// When the node does not answer.
    pub async fn figure_with(&self, node: usize, name: &str, label: &str) -> f64 {
        let answer = self.http(node).get("/metrics").await.expect("an answer");
        let text = answer.text();
        let lines = text
            .lines()
            .filter(|line| line.split(['{', ' ']).next() == Some(name) && line.contains(label));
        let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        values.sum()
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

    /// Waits until a node's process ends by itself.
    ///
    /// # Panics
    /// When it goes on for too long.
    pub async fn wait_ended(&mut self, node: usize) -> ExitStatus {
        self.ended_within(node, START_TIMEOUT).await
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
        (self.ended_within(node, STOP_TIMEOUT).await, begun.elapsed())
    }

    async fn ended_within(&mut self, node: usize, time: Duration) -> ExitStatus {
        let begun = Instant::now();
        let mut process = self.nodes[node].process.take().expect("a node that runs");
        loop {
            if let Some(status) = process.try_wait().expect("a process of this test") {
                return status;
            }
            if time < begun.elapsed() {
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

impl Node {
    fn new(number: usize, roles: &str) -> Node {
        Node {
            name: format!("n{number}"),
            roles: roles.to_owned(),
            client: free_port(),
            peer: free_port(),
            joins: false,
            environment: Vec::new(),
            open_files: None,
            process: None,
        }
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
