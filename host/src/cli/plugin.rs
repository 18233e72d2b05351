//! This is `soros plugin`: how a plugin is made, which there are, how they stand at the nodes, and
//! how versions come, take over and go.

mod build;
mod new;
mod test;
mod trial;

pub use build::BuildError;

use super::bucket::show_config;
use super::connect::{Caller, client, runtime};
use super::console::{Console, Output};
use super::{Failure, table};
use crate::client::{Client, ClientOptions, Limits};
use crate::plugin::limits::COMPONENT_BYTES_MAX;
use crate::plugin::shipped;
use clap::{Args, Subcommand};
use serde_json::Value;
use soros_core::epoch::Epoch;
use soros_core::map::plugin::{PluginName, PluginVersion};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a push or an activation may take: compiling, and bringing it to all nodes.
const PATIENCE: Duration = Duration::from_secs(70);

#[derive(Debug, Subcommand)]
pub(super) enum PluginCommand {
    /// Make a crate for a plugin, with one trait to fill
    New(new::NewArgs),
    /// Build the crate in a folder, as a component
    Build(build::BuildArgs),
    /// Try a component: the laws of its kind, its sample calls, and what calls cost
    Test(test::TestArgs),
    /// Ask captured calls again, and compare the answers
    Replay(test::ReplayArgs),
    /// List the plugins
    Ls,
    /// Show a plugin, and how it stands at the nodes
    Show {
        /// The plugin
        name: String,
    },
    /// Bring a component to all nodes, under the name and version that it says it has
    Push {
        /// The component
        #[arg(required_unless_present = "shipped")]
        file: Option<PathBuf>,
        /// The one of this name that ships with this program
        #[arg(long, value_name = "NAME", conflicts_with = "file")]
        shipped: Option<String>,
        #[command(flatten)]
        condition: Condition,
    },
    /// Switch to a version, once all nodes that live have it ready
    Activate {
        /// The plugin
        name: String,
        /// The version
        version: String,
        /// Only show what it would change
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        condition: Condition,
    },
    /// Run a version beside the one in force, and compare their answers
    Shadow(trial::ShadowArgs),
    /// Switch back to the version before
    Rollback {
        /// The plugin
        name: String,
        #[command(flatten)]
        condition: Condition,
    },
    /// Remove a version that is not in use
    Rm {
        /// The plugin
        name: String,
        /// The version
        version: String,
        #[command(flatten)]
        condition: Condition,
    },
}

#[derive(Args, Debug)]
pub(super) struct Condition {
    /// Change it only while the cluster's map is at this epoch
    #[arg(long, value_name = "EPOCH")]
    if_match: Option<u64>,
}

impl Condition {
    fn epoch(&self) -> Option<Epoch> {
        self.if_match.map(Epoch)
    }
}

impl PluginCommand {
    pub(super) fn run(self, caller: &Caller<'_>, console: &mut Console) -> Result<(), Failure> {
        let options = ClientOptions {
            limits: Limits {
                attempt: PATIENCE,
                whole: PATIENCE,
                ..Limits::default()
            },
            ..ClientOptions::default()
        };
        let client = client(&caller.urls()?, options)?;
        runtime()?.block_on(self.ask(&client, console))
    }

    async fn ask(self, client: &Client, console: &mut Console) -> Result<(), Failure> {
        match self {
            PluginCommand::New(args) => args.run(console),
            PluginCommand::Build(args) => args.run(console),
            PluginCommand::Test(args) => args.run(console),
            PluginCommand::Replay(args) => args.run(console),
            PluginCommand::Ls => list(client, console).await,
            PluginCommand::Show { name } => show(client, console, &name.parse()?).await,
            PluginCommand::Push {
                file,
                shipped,
                condition,
            } => {
                let component = component(file.as_deref(), shipped.as_deref())?;
                push(client, console, component, &condition).await
            }
            PluginCommand::Activate {
                name,
                version,
                dry_run,
                condition,
            } => {
                let (name, version): (PluginName, PluginVersion) =
                    (name.parse()?, version.parse()?);
                let epoch = condition.epoch();
                if dry_run {
                    let outcome = client.dry_run_plugin(&name, &version, epoch).await;
                    return trial::show_dry_run(console, &outcome.map_err(Failure::read)?);
                }
                let done = client.activate_plugin(&name, Some(&version), epoch).await;
                switched(console, &name, &done.map_err(Failure::write)?)
            }
            PluginCommand::Shadow(args) => args.run(client, console).await,
            PluginCommand::Rollback { name, condition } => {
                let name: PluginName = name.parse()?;
                let done = client.activate_plugin(&name, None, condition.epoch()).await;
                switched(console, &name, &done.map_err(Failure::write)?)
            }
            PluginCommand::Rm {
                name,
                version,
                condition,
            } => {
                let (name, version): (PluginName, PluginVersion) =
                    (name.parse()?, version.parse()?);
                let removed = client
                    .remove_plugin(&name, &version, condition.epoch())
                    .await;
                removed.map_err(Failure::write)?;
                Ok(console.removed(&format!("{name} {version}"))?)
            }
        }
    }
}

async fn list(client: &Client, console: &mut Console) -> Result<(), Failure> {
    let answer = client.plugins().await.map_err(Failure::read)?;
    if console.output == Output::Json {
        return Ok(console.json(&answer)?);
    }
    let plugins = answer["plugins"].as_array().map_or(&[][..], Vec::as_slice);
    let rows: Vec<Vec<String>> = plugins.iter().map(row).collect();
    lines(
        console,
        &[
            "NAME", "KIND", "ACTIVE", "STATE", "PREVIOUS", "VERSIONS", "CALLS", "FAILURES",
        ],
        &rows,
    )?;
    not_reached(console, &answer)
}

fn row(plugin: &Value) -> Vec<String> {
    let cell = |name: &str| table::cell(plugin.get(name));
    vec![
        cell("name"),
        cell("kind"),
        cell("active"),
        state(plugin).to_owned(),
        cell("previous"),
        versions(&plugin["versions"]),
        cell("calls"),
        cell("failures"),
    ]
}

/// How the version in force stands.
fn state(plugin: &Value) -> &'static str {
    if plugin["quarantined"].is_object() {
        "quarantined"
    } else if plugin["on_probation"] == true {
        "on-probation"
    } else if plugin["active"].is_string() {
        "in-force"
    } else {
        "-"
    }
}

/// What the cluster did about a version that failed.
fn blamed(console: &mut Console, plugin: &Value, name: &PluginName) -> Result<(), Failure> {
    let why = |of: &Value| {
        let cell = |field: &str| table::cell(of.get(field));
        format!("{} at {}: {}", cell("cause"), cell("node"), cell("detail"))
    };
    if plugin["on_probation"] == true {
        console.line("on probation: if it fails, the version before is in force again")?;
    }
    let (quarantined, withdrawn) = (&plugin["quarantined"], &plugin["withdrawn"]);
    if quarantined.is_object() {
        let (since, why) = (table::cell(quarantined.get("since")), why(quarantined));
        console.line(&format!("not asked since epoch {since}, {why}"))?;
        let version = table::cell(plugin.get("active"));
        console.line(&format!(
            "to have it asked again: soros plugin activate {name} {version}, or another version"
        ))?;
    }
    if withdrawn.is_object() {
        let cell = |field: &str| table::cell(withdrawn.get(field));
        let (version, at, why) = (cell("version"), cell("at"), why(withdrawn));
        console.line(&format!(
            "{version} failed on its probation and went at epoch {at}, {why}"
        ))?;
    }
    Ok(())
}

/// Names the nodes that the figures lack.
fn not_reached(console: &mut Console, answer: &Value) -> Result<(), Failure> {
    let nodes = versions(&answer["not_reached"]);
    if nodes.is_empty() {
        return Ok(());
    }
    console.line("")?;
    Ok(console.line(&format!("without what these would say: {nodes}"))?)
}

fn versions(list: &Value) -> String {
    let names = list.as_array().into_iter().flatten();
    let name = |one: &Value| table::cell(Some(one.get("version").unwrap_or(one)));
    names.map(name).collect::<Vec<_>>().join(" ")
}

fn lines(console: &mut Console, titles: &[&str], rows: &[Vec<String>]) -> Result<(), Failure> {
    for line in table::lines(titles, rows) {
        console.line(&line)?;
    }
    Ok(())
}

async fn show(client: &Client, console: &mut Console, name: &PluginName) -> Result<(), Failure> {
    let plugin = client.plugin(name).await.map_err(Failure::read)?;
    if console.output == Output::Json {
        return Ok(console.json(&plugin)?);
    }
    let releases = plugin["versions"].as_array().into_iter().flatten();
    let release = |release: &Value| {
        let cell = |name: &str| table::cell(release.get(name));
        let version = cell("version");
        let state = ["active", "previous"].into_iter();
        let mut state = state.filter(|state| plugin[*state] == release["version"]);
        let state = state.next().unwrap_or("-").to_owned();
        vec![
            version,
            state,
            table::bytes(release.get("size")),
            cell("digest"),
        ]
    };
    let releases: Vec<Vec<String>> = releases.map(release).collect();
    lines(console, &["VERSION", "STATE", "SIZE", "DIGEST"], &releases)?;
    blamed(console, &plugin, name)?;
    console.line("")?;
    let nodes = plugin["nodes"].as_array().into_iter().flatten();
    let node = |node: &Value| {
        let cell = |name: &str| table::cell(node.get(name));
        let prepared = versions(&node["prepared"]);
        let names = ["calls", "failures", "problem"].map(cell);
        let cells = [cell("node"), cell("wanted"), prepared, cell("active")];
        cells.into_iter().chain(names).collect()
    };
    let mut nodes: Vec<Vec<String>> = nodes.map(node).collect();
    nodes.sort();
    let titles = [
        "NODE", "WANTED", "PREPARED", "ACTIVE", "CALLS", "FAILURES", "PROBLEM",
    ];
    lines(console, &titles, &nodes)?;
    let calls = calls_of_versions(&plugin);
    if !calls.is_empty() {
        console.line("")?;
        let titles = [
            "NODE", "VERSION", "CALLS", "REFUSED", "FAILED", "FUEL", "MEAN_US", "P99_US",
        ];
        lines(console, &titles, &calls)?;
    }
    not_reached(console, &plugin)
}

/// How the calls of each version went at each node.
fn calls_of_versions(plugin: &Value) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for node in plugin["nodes"].as_array().into_iter().flatten() {
        for (version, counts) in node["versions"].as_object().into_iter().flatten() {
            let cell = |name: &str| table::cell(counts.get(name));
            let causes = counts["failures"].as_object().into_iter().flatten();
            let causes: Vec<String> = causes
                .map(|(cause, count)| format!("{cause}:{count}"))
                .collect();
            let failed = if causes.is_empty() {
                "0".to_owned()
            } else {
                causes.join(" ")
            };
            rows.push(vec![
                table::cell(node.get("node")),
                version.clone(),
                cell("calls"),
                cell("refused"),
                failed,
                cell("fuel"),
                cell("mean_us"),
                cell("p99_us"),
            ]);
        }
    }
    rows.sort();
    rows
}

async fn push(
    client: &Client,
    console: &mut Console,
    component: Vec<u8>,
    condition: &Condition,
) -> Result<(), Failure> {
    let (name, version) = about(&component)?;
    let epoch = condition.epoch();
    let pushed = client
        .push_plugin(&name, &version, component.into(), epoch)
        .await;
    let pushed = pushed.map_err(Failure::write)?;
    if console.output == Output::Json {
        return Ok(console.json(&pushed)?);
    }
    let checks = pushed["checks"].as_array().into_iter().flatten();
    let check = |check: &Value| {
        let passed = if check["passed"] == true {
            "passed"
        } else {
            "failed"
        };
        let cell = |name: &str| table::cell(check.get(name));
        vec![cell("check"), passed.to_owned(), cell("detail")]
    };
    let checks: Vec<Vec<String>> = checks.map(check).collect();
    lines(console, &["CHECK", "RESULT", "FOUND"], &checks)?;
    console.line("")?;
    let digest = table::cell(pushed.get("digest"));
    console.line(&format!("pushed {name} {version}, {digest}"))?;
    Ok(console.line(&format!(
        "to use it: soros plugin activate {name} {version}"
    ))?)
}

/// The component in a file, or the one of this name that ships.
fn component(file: Option<&Path>, name: Option<&str>) -> Result<Vec<u8>, Failure> {
    if let Some(file) = file {
        return read(file);
    }
    let named = shipped().iter().find(|shipped| Some(shipped.name) == name);
    let missing = Failure::Usage("no plugin of that name ships with this program");
    named.map(|shipped| shipped.bytes.to_vec()).ok_or(missing)
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |error| Failure::File(path.to_owned(), error);
    let file = File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    // One byte more than a node takes, so that the node says so.
    let most = COMPONENT_BYTES_MAX as u64 + 1;
    file.take(most).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// What a component calls itself. It is asked in the sandbox in which nodes run it.
fn about(component: &[u8]) -> Result<(PluginName, PluginVersion), Failure> {
    let bad = |error: &dyn std::fmt::Display| Failure::BadComponent(error.to_string());
    let ready = build::runtime()?
        .ready(component)
        .map_err(|error| bad(&error))?;
    let about = ready.about();
    Ok((about.name.parse()?, about.version.parse()?))
}

fn switched(console: &mut Console, name: &PluginName, done: &Value) -> Result<(), Failure> {
    if console.output == Output::Json {
        return show_config(console, done);
    }
    let ready = done["ready"].as_array().into_iter().flatten();
    let mut ready: Vec<String> = ready.map(|node| table::cell(Some(node))).collect();
    ready.sort();
    let version = table::cell(done.get("version"));
    let epoch = table::cell(done.get("epoch"));
    let line = format!(
        "{name} {version} is active from epoch {epoch} on, at {}",
        ready.join(" ")
    );
    console.line(&line)?;
    if let Some(seconds) = done["probation_seconds"].as_u64() {
        console.line(&format!(
            "on probation for {seconds} s: if it fails, the version before is in force again"
        ))?;
        console.line(&format!("to see how it does: soros plugin show {name}"))?;
    }
    let late = done["not_ready"].as_array().into_iter().flatten();
    let late: Vec<String> = late.map(|node| table::cell(Some(node))).collect();
    if !late.is_empty() {
        console.line(&format!("not yet at {}", late.join(" ")))?;
    }
    Ok(())
}
