//! This is one number that a single client raises and others read meanwhile, at quorum: a read
//! that begins after a number was acknowledged must not see a smaller one, whatever happens to the
//! nodes.

use crate::cluster::Cluster;
use crate::http::Http;
use crate::load::{BUCKET, is_found_or_absent, read, values};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;

const KEY: &str = "register";

/// The clients of the register.
#[derive(Debug)]
pub struct Register {
    shared: Arc<Shared>,
    clients: JoinSet<Seen>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    acknowledged: AtomicU64,
}

/// What the readers saw.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// How many reads were answered.
    pub reads: u64,
    /// Those that were older than what had been acknowledged.
    pub stale: Vec<String>,
}

impl Register {
    /// Starts a client that writes at `writer`, and one that reads at each of `readers`.
    #[must_use]
    pub fn start(cluster: &Cluster, writer: usize, readers: &[usize]) -> Register {
        let shared = Arc::new(Shared::default());
        let mut clients = JoinSet::new();
        clients.spawn(write(cluster.address(writer), Arc::clone(&shared)));
        for &reader in readers {
            let name = cluster.name(reader).to_owned();
            clients.spawn(watch(cluster.address(reader), name, Arc::clone(&shared)));
        }
        Register { shared, clients }
    }

    /// The greatest number that was acknowledged.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(Ordering::SeqCst)
    }

    /// Stops the clients and gives what the readers saw.
    ///
    /// # Panics
    /// When a client panicked.
    pub async fn stop(mut self) -> Seen {
        self.shared.stop.store(true, Ordering::SeqCst);
        let mut seen = Seen::default();
        while let Some(ended) = self.clients.join_next().await {
            let of_one = ended.expect("a client");
            seen.reads += of_one.reads;
            seen.stale.extend(of_one.stale);
        }
        seen
    }
}

async fn write(address: SocketAddr, shared: Arc<Shared>) -> Seen {
    let mut http = Http::new(address);
    let mut number = 0;
    while !shared.stop.load(Ordering::SeqCst) {
        number += 1;
        if write_once(&mut http, number, &shared).await.is_none() {
            http = Http::new(address);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    Seen::default()
}

async fn write_once(http: &mut Http, number: u64, shared: &Shared) -> Option<()> {
    let found = read(http, KEY).await.ok()?;
    if !is_found_or_absent(&found) {
        return None;
    }
    let path = format!("/v1/kv/{BUCKET}/{KEY}");
    let context = [("soros-context", found.header("soros-context"))];
    let answer = http.put(&path, &context, number.to_string()).await.ok()?;
    if answer.status.is_success() {
        shared.acknowledged.store(number, Ordering::SeqCst);
        Some(())
    } else {
        None
    }
}

async fn watch(address: SocketAddr, name: String, shared: Arc<Shared>) -> Seen {
    let mut http = Http::new(address);
    let mut seen = Seen::default();
    while !shared.stop.load(Ordering::SeqCst) {
        let before = shared.acknowledged.load(Ordering::SeqCst);
        let answer = match read(&mut http, KEY).await {
            Ok(answer) if is_found_or_absent(&answer) => answer,
            Ok(_) | Err(_) => {
                http = Http::new(address);
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            }
        };
        let numbers = values(&answer);
        let found = numbers.iter().filter_map(|value| value.parse::<u64>().ok());
        let found = found.max().unwrap_or(0);
        seen.reads += 1;
        if found < before {
            let stale = format!("{name} read {found} after {before} was acknowledged");
            seen.stale.push(stale);
        }
    }
    seen
}
