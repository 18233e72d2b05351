//! This is what clients notice when the version of a plugin is switched under load: nothing. Every
//! write is made by one version or the other, and who was away comes back with the right one.

use hyper::Method;
use soros_tests::cluster::Cluster;
use soros_tests::http::Http;
use soros_tests::plugins::{activate, push, stamping};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const NAME: &str = "misbehaving";
const OLD: &str = "0.1.0";
const NEW: &str = "0.2.0";
const BUCKET: &str = r#"{"validators":[{"plugin":"misbehaving","config":"stamp"}]}"#;
/// How often the version is switched under load.
const SWITCHES: usize = 20;
const CLIENTS: usize = 6;

/// Three nodes with both versions, the old one in force for the bucket `stamped`.
async fn stamped() -> Cluster {
    let cluster = Cluster::start(3).await;
    for (node, version) in [OLD, NEW].into_iter().enumerate() {
        let component = stamping(version);
        let pushed = push(&mut cluster.http(node), NAME, version, component).await;
        assert_eq!(pushed.status, 201, "{}", pushed.text());
    }
    let early = cluster
        .http(0)
        .put("/v1/buckets/stamped", &[], BUCKET)
        .await;
    let early = early.expect("an answer");
    assert_eq!(early.code(), "unknown-reference", "no version is in force");
    let activated = activate(&mut cluster.http(1), NAME, OLD).await;
    assert_eq!(activated.status, 200, "{}", activated.text());
    let made = cluster
        .http(0)
        .put("/v1/buckets/stamped", &[], BUCKET)
        .await;
    let made = made.expect("an answer");
    assert_eq!(made.status, 201, "{}", made.text());
    cluster
}

/// What clients met: how many writes each version took, and everything else.
#[derive(Debug, Default)]
struct Tally {
    versions: BTreeMap<String, u64>,
    problems: Vec<String>,
}

/// Clients that write and read back what they wrote.
struct Writers {
    tasks: JoinSet<Tally>,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
}

impl Writers {
    fn start(cluster: &Cluster, nodes: &[usize]) -> Writers {
        let (stop, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let mut tasks = JoinSet::new();
        for client in 0..CLIENTS {
            let address = cluster.address(nodes[client % nodes.len()]);
            let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
            tasks.spawn(write(address, client, stop, done));
        }
        Writers { tasks, stop, done }
    }

    /// Waits until so many more writes are done.
    async fn progress(&self, writes: u64) {
        let goal = self.done.load(Ordering::Relaxed) + writes;
        let begun = Instant::now();
        while self.done.load(Ordering::Relaxed) < goal {
            assert!(begun.elapsed() < Duration::from_mins(1), "no progress");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn stop(mut self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        let mut sum = Tally::default();
        while let Some(tally) = self.tasks.join_next().await {
            let tally = tally.expect("a client");
            sum.problems.extend(tally.problems);
            for (version, count) in tally.versions {
                *sum.versions.entry(version).or_default() += count;
            }
        }
        sum
    }
}

async fn write(
    address: SocketAddr,
    client: usize,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
) -> Tally {
    let (mut http, mut tally) = (Http::new(address), Tally::default());
    for count in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        match write_one(&mut http, &format!("{client}-{count}")).await {
            Ok(version) => *tally.versions.entry(version).or_default() += 1,
            Err(problem) => {
                tally.problems.push(problem);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        done.fetch_add(1, Ordering::Relaxed);
    }
    tally
}

/// Writes a value under a key of its own, and says which version it was stamped by.
async fn write_one(http: &mut Http, name: &str) -> Result<String, String> {
    let path = format!("/v1/kv/stamped/a/{name}");
    let put = http.put(&path, &[], name.to_owned()).await;
    let put = put.map_err(|error| format!("PUT: {error:?}"))?;
    if put.status != 201 {
        return Err(format!("PUT: {} {}", put.status, put.text()));
    }
    if !put.header("etag").is_empty() {
        return Err("a value that was changed has an ETag".to_owned());
    }
    let got = http.get(&path).await;
    let got = got.map_err(|error| format!("GET: {error:?}"))?;
    match got.text().split_once(':') {
        Some((version @ (OLD | NEW), value)) if value == name => Ok(version.to_owned()),
        _ => Err(format!("GET: {} {}", got.status, got.text())),
    }
}

/// Whether every node in `nodes` stamps with `version`.
async fn assert_in_force(cluster: &Cluster, nodes: &[usize], version: &str, round: &str) {
    for &node in nodes {
        let name = format!("in-force-{round}-{node}");
        let stamp = write_one(&mut cluster.http(node), &name).await;
        assert_eq!(stamp.as_deref(), Ok(version), "at node {node}");
    }
}

#[tokio::test]
async fn switching_versions_under_load_fails_no_request() {
    let cluster = stamped().await;
    let writers = Writers::start(&cluster, &[0, 1, 2]);
    let mut times = Vec::new();
    for round in 0..SWITCHES {
        writers.progress(20).await;
        let version = if round % 2 == 0 { NEW } else { OLD };
        let mut http = cluster.http(round % 3);
        let begun = Instant::now();
        let switched = if round % 4 == 3 {
            let path = format!("/v1/plugins/{NAME}/rollback");
            let answer = http.send(Method::POST, &path, &[], "").await;
            answer.expect("an answer")
        } else {
            activate(&mut http, NAME, version).await
        };
        times.push(begun.elapsed());
        assert_eq!(switched.status, 200, "{}", switched.text());
        assert_eq!(switched.json()["version"], version);
        assert_eq!(switched.json()["ready"].as_array().map(Vec::len), Some(3));
        assert_in_force(&cluster, &[0, 1, 2], version, &round.to_string()).await;
    }
    let tally = writers.stop().await;
    times.sort();
    println!("switched in {times:?}; {:?}", tally.versions);
    assert_eq!(tally.problems, Vec::<String>::new());
    assert_eq!(tally.versions.len(), 2, "{:?}", tally.versions);
}

#[tokio::test]
async fn a_node_that_was_away_comes_back_with_the_version_in_force() {
    let mut cluster = stamped().await;
    let writers = Writers::start(&cluster, &[0, 1]);
    writers.progress(20).await;
    cluster.kill(2);
    // Until the others know, it counts as one that lives and is not ready.
    let begun = Instant::now();
    loop {
        let switched = activate(&mut cluster.http(0), NAME, NEW).await;
        if switched.status == 200 {
            break;
        }
        assert_eq!(switched.code(), "not-ready", "{}", switched.text());
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "it is never given up"
        );
    }
    assert_in_force(&cluster, &[0, 1], NEW, "alone").await;
    // What it never had, it fetches.
    let third = push(&mut cluster.http(1), NAME, "0.3.0", stamping("0.3.0")).await;
    assert_eq!(third.status, 201, "{}", third.text());
    let plugins = cluster.folder(2).join("plugins");
    std::fs::remove_dir_all(&plugins).expect("the node's own copies");
    cluster.restart(2).await;
    assert_in_force(&cluster, &[0, 1, 2], NEW, "back").await;
    let tally = writers.stop().await;
    let odd = |problem: &&String| !problem.contains("outcome-unknown");
    assert_eq!(tally.problems.iter().find(odd), None);
    assert_held(&cluster).await;
}

/// Every node has every version, and asks the one in force.
async fn assert_held(cluster: &Cluster) {
    let begun = Instant::now();
    loop {
        let shown = cluster.http(0).get(&format!("/v1/plugins/{NAME}")).await;
        let shown = shown.expect("an answer").json();
        let nodes = shown["nodes"].as_array().cloned().unwrap_or_default();
        let complete = nodes.iter().all(|node| {
            let prepared = node["prepared"].as_array().map_or(0, Vec::len);
            (prepared, node["active"].as_str(), node["wanted"].as_str())
                == (3, Some(NEW), Some(NEW))
        });
        if complete && nodes.len() == 3 {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{shown}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
