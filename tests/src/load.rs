//! This is load under which things happen: clients that read and write with tokens until they are
//! told to stop, and tell the oracle what they saw.

use crate::cluster::Cluster;
use crate::http::{Answer, Http, NoAnswer};
use crate::oracle::Oracle;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// The bucket that the load writes to; it has no resolver, so that siblings stay visible.
pub const BUCKET: &str = "load";
const KEYS: usize = 40;
/// How all versions of a key are asked for.
pub const SIBLINGS: &str = "application/vnd.soros.siblings+json";

/// What became of the requests sent to one node.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Requests that were answered as hoped.
    pub done: u64,
    /// Problems, by code.
    pub problems: BTreeMap<String, u64>,
    /// Connections that were refused or broke.
    pub no_answer: u64,
    /// The longest time without an answer as hoped.
    pub longest_gap: Duration,
}

/// Clients under way.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    clients: JoinSet<(usize, Tally)>,
    /// What they wrote and saw.
    pub oracle: Arc<Oracle>,
}

impl Load {
    /// Makes the bucket.
    ///
    /// # Panics
    /// When the cluster does not make it.
    pub async fn prepare(cluster: &Cluster) {
        let config = r#"{"resolver":null}"#;
        let path = format!("/v1/buckets/{BUCKET}");
        let answer = cluster
            .http(0)
            .put(&path, &[], config)
            .await
            .expect("an answer");
        assert!(answer.status.is_success(), "{}", answer.text());
    }

    /// Starts `clients` for each of `nodes`.
    #[must_use]
    pub fn start(cluster: &Cluster, nodes: &[usize], clients: usize) -> Load {
        Load::go_on(cluster, nodes, clients, Arc::default())
    }

    /// As [`Load::start`], for clients that know what those before them wrote.
    #[must_use]
    pub fn go_on(cluster: &Cluster, nodes: &[usize], clients: usize, oracle: Arc<Oracle>) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let turn = oracle.next_turn();
        let mut tasks = JoinSet::new();
        for &node in nodes {
            for number in 0..clients {
                let client = Client {
                    node,
                    name: format!("{turn}.{node}.{number}"),
                    http: Http::new(cluster.address(node)),
                    oracle: oracle.clone(),
                    tally: Tally::default(),
                    last_done: Instant::now(),
                    random: (node * 1000 + number) as u64 + 1,
                };
                tasks.spawn(client.run(cluster.address(node), stop.clone()));
            }
        }
        Load {
            stop,
            clients: tasks,
            oracle,
        }
    }

    /// Waits until `more` further writes have been acknowledged.
    ///
    /// # Panics
    /// When that takes more than a minute: nothing gets through.
    pub async fn progress(&self, more: usize) {
        let begun = Instant::now();
        let enough = self.oracle.acknowledged_count() + more;
        while self.oracle.acknowledged_count() < enough {
            assert!(
                begun.elapsed() < Duration::from_mins(1),
                "the load makes no progress"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Stops the clients and gives what became of the requests to each node.
    ///
    /// # Panics
    /// When a client panicked.
    pub async fn stop(mut self) -> (BTreeMap<usize, Tally>, Arc<Oracle>) {
        self.stop.store(true, Ordering::Relaxed);
        let mut tallies: BTreeMap<usize, Tally> = BTreeMap::new();
        while let Some(ended) = self.clients.join_next().await {
            let (node, tally) = ended.expect("a client");
            let sum = tallies.entry(node).or_default();
            sum.done += tally.done;
            sum.no_answer += tally.no_answer;
            sum.longest_gap = sum.longest_gap.max(tally.longest_gap);
            for (code, count) in tally.problems {
                *sum.problems.entry(code).or_default() += count;
            }
        }
        (tallies, self.oracle)
    }
}

/// How long the replicas may take to hold the same once nothing is written any more.
const AGREE_TIMEOUT: Duration = Duration::from_secs(20);

/// What is wrong with the values that each key holds in the end: what a quorum says at every node
/// must satisfy the oracle, and so must the nodes' own copies, which come to be the same.
///
/// # Panics
/// When a node does not answer.
pub async fn faults(cluster: &Cluster, oracle: &Oracle) -> Vec<String> {
    let mut faults = Vec::new();
    let begun = Instant::now();
    for key in oracle.keys() {
        for node in 0..cluster.count() {
            let values = found(cluster, node, &key, "quorum").await;
            faults.extend(oracle.faults(&key, &values));
        }
        let mut copies = own_copies(cluster, &key).await;
        while 1 < copies.len() && begun.elapsed() < AGREE_TIMEOUT {
            tokio::time::sleep(Duration::from_millis(50)).await;
            copies = own_copies(cluster, &key).await;
        }
        if 1 < copies.len() {
            faults.push(format!("DIVERGED {key}: {copies:?}"));
        }
        let in_copies = copies.iter().flat_map(|values| oracle.faults(&key, values));
        faults.extend(in_copies);
    }
    faults
}

/// The different copies of a key that the nodes hold.
async fn own_copies(cluster: &Cluster, key: &str) -> BTreeSet<BTreeSet<String>> {
    let mut copies = BTreeSet::new();
    for node in 0..cluster.count() {
        copies.insert(found(cluster, node, key, "one").await);
    }
    copies
}

/// What a key holds, as a node says.
async fn found(cluster: &Cluster, node: usize, key: &str, consistency: &str) -> BTreeSet<String> {
    let headers = [("accept", SIBLINGS), ("soros-consistency", consistency)];
    let path = format!("/v1/kv/{BUCKET}/{key}");
    let mut http = cluster.http(node);
    let answer = http.send(hyper::Method::GET, &path, &headers, "").await;
    let answer = answer.expect("an answer");
    let name = cluster.name(node);
    assert!(is_found_or_absent(&answer), "{name}: {}", answer.text());
    values(&answer)
}

/// Reads a key at a quorum.
///
/// # Errors
/// [`NoAnswer`] when none came.
pub async fn read(http: &mut Http, key: &str) -> Result<Answer, NoAnswer> {
    let path = format!("/v1/kv/{BUCKET}/{key}");
    http.send(hyper::Method::GET, &path, &[("accept", SIBLINGS)], "")
        .await
}

/// Whether a read says what there is: a value, several, or none.
#[must_use]
pub fn is_found_or_absent(answer: &Answer) -> bool {
    answer.status.is_success() || [300, 404].contains(&answer.status.as_u16())
}

/// The values in an answer to [`read`].
#[must_use]
pub fn values(answer: &Answer) -> BTreeSet<String> {
    let json = answer.json();
    let siblings = json["siblings"].as_array().cloned().unwrap_or_default();
    let values = siblings
        .iter()
        .filter_map(|sibling| sibling["value"].as_str());
    values.map(decode_base64).collect()
}

fn decode_base64(text: &str) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |byte: u8| ALPHABET.iter().position(|other| *other == byte);
    let digits: Vec<usize> = text.bytes().filter_map(digit).collect();
    let mut bytes = Vec::new();
    for four in digits.chunks(4) {
        let bits = four
            .iter()
            .enumerate()
            .fold(0, |bits, (at, digit)| bits | digit << (18 - 6 * at));
        let three = bits.to_be_bytes();
        bytes.extend_from_slice(&three[three.len() - 3..][..four.len() - 1]);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

struct Client {
    node: usize,
    name: String,
    http: Http,
    oracle: Arc<Oracle>,
    tally: Tally,
    last_done: Instant,
    random: u64,
}

impl Client {
    async fn run(mut self, address: SocketAddr, stop: Arc<AtomicBool>) -> (usize, Tally) {
        let mut count = 0_u64;
        while !stop.load(Ordering::Relaxed) {
            count += 1;
            if self.read_and_write(count).await.is_err() {
                self.tally.no_answer += 1;
                self.http = Http::new(address);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        (self.node, self.tally)
    }

    /// Reads a key and writes to it a value that has seen what was read.
    async fn read_and_write(&mut self, count: u64) -> Result<(), NoAnswer> {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let key = format!("k{}", (self.random >> 33) as usize % KEYS);
        let found = read(&mut self.http, &key).await?;
        if !is_found_or_absent(&found) {
            self.problem(&found).await;
            return Ok(());
        }
        self.done();
        let (seen, context) = (values(&found), found.header("soros-context").to_owned());
        let value = format!("{}-{count}", self.name);
        self.oracle.sends(&key, &value, &seen);
        let path = format!("/v1/kv/{BUCKET}/{key}");
        let answer = self
            .http
            .put(&path, &[("soros-context", &context)], value.clone())
            .await?;
        if answer.status.is_success() {
            self.oracle.acknowledged(&key, &value);
            self.done();
        } else {
            self.problem(&answer).await;
        }
        Ok(())
    }

    fn done(&mut self) {
        self.tally.done += 1;
        self.tally.longest_gap = self.tally.longest_gap.max(self.last_done.elapsed());
        self.last_done = Instant::now();
    }

    async fn problem(&mut self, answer: &Answer) {
        let code = format!("{} {}", answer.status.as_u16(), answer.code());
        *self.tally.problems.entry(code).or_default() += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_base64() {
        for (text, value) in [("", ""), ("YQ==", "a"), ("YWI=", "ab"), ("YWJj", "abc")] {
            assert_eq!(decode_base64(text), value);
        }
        assert_eq!(decode_base64("MS4wLTEyMw=="), "1.0-123");
    }
}
