//! This is `soros dev`: a real cluster in one process on loopback, with nothing to prepare.

mod cluster;
mod ports;

use super::connect::URL_DEFAULT;
use super::console::{Console, Output};
use super::node::RunNode;
use super::ready;
use super::signals::{self, Signals};
use super::{Failure, Surroundings, connect, table};
use crate::config::{Config, Flags, ReadyNode, write_ready_file};
use crate::store::engine::EngineOptions;
use crate::store::room::{Marks, Permille, Room, Usage};
use crate::telemetry::{Log, start_log};
use clap::Args;
use cluster::Cluster;
use ports::Ports;
use serde_json::json;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};

/// The most nodes that one process runs.
const NODES_MAX: u16 = 32;

/// How the cluster is run.
#[derive(Args, Clone, Debug)]
pub(super) struct DevArgs {
    /// How many nodes
    #[arg(long, value_name = "N", default_value_t = 3,
          value_parser = clap::value_parser!(u16).range(1..=i64::from(NODES_MAX)))]
    nodes: u16,
    /// The first node's client port; its peer port is one above, the next node's ten above; 0 picks
    /// free ones [default: those of the last time with --dir, else 7070]
    #[arg(long)]
    port: Option<u16>,
    /// Where to keep the data; a temporary folder that goes at the end when absent
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Write this file once all nodes serve
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    #[arg(long, value_name = "FILTER", help = LOG_HELP)]
    log: Option<String>,
}

const LOG_HELP: &str =
    "What is logged, as in info or soros_host=debug [env: SOROS_LOG; default: warn,openraft=error]";

/// What is logged unless anyone says otherwise. Raft warns of every heartbeat that comes late.
const LOG_DEFAULT: &str = "warn,openraft=error";

/// How full the disk may be; the one setting of nodes that is taken from the environment.
const DISK_HIGH_VARIABLE: &str = "SOROS_DISK_HIGH";

/// The folder of the data, which goes with this value if it is a temporary one.
enum Folder {
    Kept(PathBuf),
    Temporary(tempfile::TempDir),
}

impl Folder {
    /// What a process that ends at once must not leave behind.
    fn remove_if_temporary(&self) {
        if let Folder::Temporary(folder) = self {
            // A node that still writes there may keep some of it: then it is the system's to clear.
            let _ = std::fs::remove_dir_all(folder.path());
        }
    }

    fn path(&self) -> &Path {
        match self {
            Folder::Kept(path) => path,
            Folder::Temporary(folder) => folder.path(),
        }
    }
}

/// Runs a cluster until it is told to stop.
pub(super) fn run(
    args: &DevArgs,
    surroundings: &Surroundings<'_>,
    console: &mut Console,
) -> Result<(), Failure> {
    let Surroundings {
        program,
        environment,
        run_node,
    } = *surroundings;
    let folder = args.folder()?;
    if let Some(path) = &args.ready_file {
        ready::prepare(path)?;
    }
    let ports = Ports::choose(args.port, args.nodes, folder.path())?;
    let nodes = DevArgs::nodes(&ports, folder.path(), environment)?;
    let filter = args.log.clone().or_else(|| environment("SOROS_LOG"));
    start_log(
        &Log {
            filter,
            ..Log::default()
        },
        Some(LOG_DEFAULT),
    )?;
    if let Some(config) = nodes.first()
        && let Some(warning) = full_disk(config, folder.path())
    {
        console.message(&warning)?;
    }
    let page = Page {
        program,
        folder: &folder,
        nodes: &ready_nodes(&nodes),
    };
    connect::runtime()?.block_on(async {
        let mut signals = Signals::listen()?;
        serve(args, nodes, run_node, &page, console, &mut signals).await
    })
}

/// Starts the nodes, says so when they serve, and stops them at a signal.
async fn serve(
    args: &DevArgs,
    nodes: Vec<Config>,
    run_node: RunNode,
    page: &Page<'_>,
    console: &mut Console,
    signals: &mut Signals,
) -> Result<(), Failure> {
    let mut cluster = Cluster::start(nodes, run_node)?;
    tokio::select! {
        failure = cluster.failure() => return Err(cluster.stop_after(failure).await),
        () = signals.next() => return drain(&mut cluster, page, console, signals).await,
        () = cluster::all_serve(page.nodes) => {}
    }
    if let Err(failure) = tell(args, page, console) {
        cluster.drain().await?;
        return Err(failure);
    }
    tokio::select! {
        failure = cluster.failure() => Err(cluster.stop_after(failure).await),
        () = signals.next() => drain(&mut cluster, page, console, signals).await,
    }
}

/// Says that all nodes serve, and where.
fn tell(args: &DevArgs, page: &Page<'_>, console: &mut Console) -> Result<(), Failure> {
    if let Some(path) = &args.ready_file {
        let written = write_ready_file(path, page.nodes);
        written.map_err(|error| Failure::File(path.clone(), error))?;
    }
    page.show(console)
}

/// Stops the nodes; another signal meanwhile ends the process.
async fn drain(
    cluster: &mut Cluster,
    page: &Page<'_>,
    console: &mut Console,
    signals: &mut Signals,
) -> Result<(), Failure> {
    console.message("draining; Ctrl-C again ends at once")?;
    tokio::select! {
        drained = cluster.drain() => drained,
        () = signals.next() => {
            page.folder.remove_if_temporary();
            signals::end()
        }
        () = tokio::time::sleep(signals::DRAIN_TIME_MAX) => Err(Failure::NotDrained),
    }
}

impl DevArgs {
    fn folder(&self) -> Result<Folder, Failure> {
        let Some(path) = &self.dir else {
            let folder = tempfile::Builder::new().prefix("soros-dev-").tempdir()?;
            return Ok(Folder::Temporary(folder));
        };
        let failure = |error| Failure::File(path.clone(), error);
        std::fs::create_dir_all(path).map_err(failure)?;
        // A node left out would be one that the others miss.
        if path.join(format!("n{}", self.nodes + 1)).exists() {
            return Err(Failure::Usage(
                "the folder has data of more nodes: raise --nodes",
            ));
        }
        Ok(Folder::Kept(path.clone()))
    }

    /// The configurations of the nodes, each as `soros serve` would read it.
    fn nodes(
        ports: &Ports,
        folder: &Path,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Vec<Config>, Failure> {
        // What else is on this disk is not the cluster's, and the first setting to get in the way.
        let high = |name: &str| environment(name).filter(|_| name == DISK_HIGH_VARIABLE);
        let peers: Vec<String> = ports.0.iter().map(|pair| address(pair.peer)).collect();
        let founding = peers.join(",");
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let workers = (cores / ports.0.len()).max(1);
        let count = u16::try_from(ports.0.len()).unwrap_or(NODES_MAX);
        let nodes_here = NonZeroU16::new(count).unwrap_or(NonZeroU16::MIN);
        let node = |(number, pair): (usize, &ports::Pair)| {
            let name = format!("n{number}");
            let dir = folder.join(&name).display().to_string();
            let flags = Flags::default()
                .with("name", &name)
                .with("dir", &dir)
                .with("listen", &address(pair.client))
                .with("peer", &address(pair.peer))
                .with("bootstrap", &founding)
                .with("workers", &workers.to_string());
            let config = Config::load(&flags, high)?;
            Ok(Config {
                nodes_here,
                ..config
            })
        };
        (1..).zip(&ports.0).map(node).collect()
    }
}

/// What to say where the disk is so full that nodes on it take no values.
fn full_disk(config: &Config, folder: &Path) -> Option<String> {
    let usage = Usage::of_file_system(folder).ok()?;
    let marks = Marks {
        high: Permille::of_fraction(config.disk.high),
        capacity: None,
    };
    let reserve = EngineOptions::for_disk(usage.size).reserve_bytes;
    let is_full = marks.judge(Room::Ample, &usage, reserve).is_full();
    let path = folder.display();
    is_full.then(|| {
        format!(
            "the disk of {path} is too full: values will be refused with 507. Free some of it, \
             choose another with --dir, or set {DISK_HIGH_VARIABLE} (now {})",
            config.disk.high
        )
    })
}

fn address(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

/// The nodes as others see them.
fn ready_nodes(nodes: &[Config]) -> Vec<ReadyNode> {
    let ready = |node: &Config| ReadyNode {
        name: node
            .name
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        url: node.advertised_url(node.listen).to_string(),
        peer: node.advertised_peer(node.peer).to_string(),
    };
    nodes.iter().map(ready).collect()
}

/// What is shown once all nodes serve.
struct Page<'a> {
    program: &'a str,
    folder: &'a Folder,
    nodes: &'a [ReadyNode],
}

impl Page<'_> {
    fn show(&self, console: &mut Console) -> Result<(), Failure> {
        if console.output == Output::Json {
            return Ok(console.json(&json!({"nodes": self.nodes}))?);
        }
        for line in self.lines() {
            console.line(&line)?;
        }
        Ok(())
    }

    fn lines(&self) -> Vec<String> {
        let row = |node: &ReadyNode| vec![node.name.clone(), node.url.clone(), node.peer.clone()];
        let rows: Vec<Vec<String>> = self.nodes.iter().map(row).collect();
        let end = match self.folder {
            Folder::Kept(_) => "kept",
            Folder::Temporary(_) => "gone at the end",
        };
        let mut lines = table::lines(&["NODE", "URL", "PEER"], &rows);
        let first = self.nodes.first().map_or("", |node| node.url.as_str());
        lines.push(String::new());
        lines.push(format!("dashboard  {first}/"));
        lines.push(format!(
            "data       {} ({end})",
            self.folder.path().display()
        ));
        lines.push(String::new());
        lines.extend(self.commands().map(|command| format!("  {command}")));
        lines.push(String::new());
        lines.push("Ctrl-C stops the cluster.".to_owned());
        lines
    }

    /// Three commands to try: a write at one node, a read at another, and how they all are.
    fn commands(&self) -> [String; 3] {
        let node = |at: usize| self.nodes.get(at).or(self.nodes.first());
        let url = |at: usize| node(at).map_or("", |node| &node.url);
        let soros = |command: &str, at: usize| match url(at) {
            URL_DEFAULT => format!("{} {command}", self.program),
            other => format!("{} {command} --url {other}", self.program),
        };
        [
            format!("curl -X PUT --data hello {}/v1/kv/default/greeting", url(0)),
            soros("kv get default greeting", 1),
            soros("cluster status", 0),
        ]
    }
}

#[cfg(test)]
mod tests;
