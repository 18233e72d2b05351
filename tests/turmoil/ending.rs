//! This is what must hold once nothing is harmed any more: all nodes serve, hold the same, and have
//! everything that was acknowledged.

use crate::clients::{Stage, http, insist};
use hyper::Method;
use soros_tests::load::{BUCKET, SIBLINGS, is_found_or_absent, values};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long the nodes may take until all holds.
const WITHIN: Duration = Duration::from_secs(30);
/// How long between two looks.
const STEP: Duration = Duration::from_millis(250);

/// What does not hold in the end, after the nodes had their time.
pub(crate) async fn faults(stage: &Stage, names: &[String]) -> Vec<String> {
    let begun = Instant::now();
    loop {
        let faults = faults_now(stage, names).await;
        if faults.is_empty() || WITHIN <= begun.elapsed() {
            return faults;
        }
        sleep(STEP).await;
    }
}

async fn faults_now(stage: &Stage, names: &[String]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut epochs = BTreeSet::new();
    for name in names {
        faults.extend(unready(name).await);
        let Ok(map) = http(name).get("/v1/cluster/map").await else {
            faults.push(format!("{name} does not show its map"));
            continue;
        };
        let map = map.json();
        epochs.insert(map["epoch"].as_u64());
        let buckets = &map["buckets"];
        let made = stage.told().buckets.clone();
        let gone = made.iter().filter(|bucket| buckets[bucket].is_null());
        faults.extend(gone.map(|bucket| format!("LOST at {name}: the bucket {bucket}")));
    }
    if 1 < epochs.len() {
        faults.push(format!("DIVERGED maps: {epochs:?}"));
    }
    if !faults.is_empty() {
        return faults;
    }
    for key in stage.oracle.keys() {
        let mut copies = BTreeSet::new();
        for name in names {
            for consistency in ["one", "quorum"] {
                match found(name, &key, consistency).await {
                    Some(values) => {
                        faults.extend(stage.oracle.faults(&key, &values));
                        copies.insert(values);
                    }
                    None => faults.push(format!("{name} does not answer for {key}")),
                }
            }
        }
        if 1 < copies.len() {
            faults.push(format!("DIVERGED {key}: {copies:?}"));
        }
    }
    faults
}

/// Why the node `name` is not at full strength.
async fn unready(name: &str) -> Option<String> {
    let Ok(answer) = http(name).get("/health/ready").await else {
        return Some(format!("{name} does not answer"));
    };
    let behind = answer.json()["partitions_behind"].as_u64();
    let whole = answer.status.is_success() && behind == Some(0);
    (!whole).then(|| format!("{name} is not whole: {}", answer.text()))
}

async fn found(name: &str, key: &str, consistency: &str) -> Option<BTreeSet<String>> {
    let headers = [("accept", SIBLINGS), ("soros-consistency", consistency)];
    let path = format!("/v1/kv/{BUCKET}/{key}");
    let answer = http(name).send(Method::GET, &path, &headers, "").await;
    answer
        .ok()
        .filter(is_found_or_absent)
        .map(|answer| values(&answer))
}

/// Waits until all nodes serve at full strength and the clients' bucket is there.
pub(crate) async fn beginning(names: &[String]) {
    for name in names {
        insist(name, &Method::GET, "/health/ready", "").await;
        while unready(name).await.is_some() {
            sleep(STEP).await;
        }
    }
    let path = format!("/v1/buckets/{BUCKET}");
    insist(&names[0], &Method::PUT, &path, r#"{"resolver":null}"#).await;
    for name in names {
        insist(name, &Method::GET, &path, "").await;
    }
}
