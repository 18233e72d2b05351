//! This is what policies cost a cluster, as ratios within one run: the processor's time of a write
//! through a validator that accepts everything, and what the other buckets notice of a validator
//! that fails at every write. Measured on demand, because a busy machine says nothing; the page on
//! policies has the command.

use soros_tests::cluster::Cluster;
use soros_tests::plugins::{activate, push, stamping};
use std::process::{Child, Command, Stdio};

const NAME: &str = "misbehaving";
/// How many pairs are compared; their median counts.
const PAIRS: usize = 10;
const SECONDS: &str = "4";
const CLIENTS: &str = "16";

/// Three nodes, the plugin in force, and these buckets with a validator of each manner.
async fn cluster(buckets: &[(&str, Option<&str>)]) -> Cluster {
    let cluster = Cluster::start(3).await;
    let mut http = cluster.http(0);
    let pushed = push(&mut http, NAME, "0.1.0", stamping("0.1.0")).await;
    assert_eq!(pushed.status, 201, "{}", pushed.text());
    let activated = activate(&mut http, NAME, "0.1.0").await;
    assert_eq!(activated.status, 200, "{}", activated.text());
    for (bucket, manner) in buckets {
        let used = manner.map(|manner| format!(r#"{{"plugin":"{NAME}","config":"{manner}"}}"#));
        let body = format!(r#"{{"validators":[{}]}}"#, used.unwrap_or_default());
        let made = http.put(&format!("/v1/buckets/{bucket}"), &[], body).await;
        let made = made.expect("an answer");
        assert_eq!(made.status, 201, "{}", made.text());
    }
    cluster
}

fn bench(cluster: &Cluster, bucket: &str, seconds: &str, clients: &str) -> Child {
    let urls = (0..3).map(|node| cluster.url(node)).collect::<Vec<_>>();
    Command::new(soros_tests::binary::soros())
        .env("SOROS_URL", urls.join(","))
        .args(["--output", "json", "bench"])
        .args([
            "--read-ratio",
            "0",
            "--keys",
            "10000",
            "--value-bytes",
            "1024",
        ])
        .args([
            "--bucket",
            bucket,
            "--seconds",
            seconds,
            "--clients",
            clients,
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary starts")
}

/// How many writes a load got through.
fn writes(load: Child, seconds: &str) -> f64 {
    let output = load.wait_with_output().expect("it ends");
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let rate = said["targets"][0]["ops_per_second"].as_f64();
    rate.expect("a rate") * seconds.parse::<f64>().expect("a number")
}

/// What all nodes have had of the processor, in its ticks.
fn ticks(cluster: &Cluster) -> f64 {
    let of_node = |node: usize| {
        let path = format!("/proc/{}/stat", cluster.process_id(node));
        let stat = std::fs::read_to_string(path).expect("it runs");
        let fields = stat.rsplit(") ").next().expect("fields").split(' ');
        let used = fields.skip(11).take(2);
        used.map(|ticks| ticks.parse::<f64>().expect("a number"))
            .sum::<f64>()
    };
    (0..3).map(of_node).sum()
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    f64::midpoint(figures[middle], figures[figures.len() - 1 - middle])
}

/// Ticks of the processor for each write to this bucket.
fn ticks_a_write(cluster: &Cluster, bucket: &str) -> f64 {
    let before = ticks(cluster);
    let writes = writes(bench(cluster, bucket, SECONDS, CLIENTS), SECONDS);
    assert!(0.0 < writes, "no write to {bucket} came through");
    (ticks(cluster) - before) / writes
}

#[tokio::test]
#[ignore = "a measurement, which wants a quiet machine"]
async fn of_a_validator_that_accepts_everything() {
    let cluster = cluster(&[("plain", None), ("judged", Some("any key"))]).await;
    for bucket in ["plain", "judged"] {
        ticks_a_write(&cluster, bucket);
    }
    let mut ratios = Vec::new();
    for pair in 0..PAIRS {
        let order = if pair % 2 == 0 {
            ["plain", "judged"]
        } else {
            ["judged", "plain"]
        };
        let figures = order.map(|bucket| ticks_a_write(&cluster, bucket));
        let [plain, judged] = if pair % 2 == 0 {
            figures
        } else {
            [figures[1], figures[0]]
        };
        println!("{:.2} µs and {:.2} µs a write", plain * 1e4, judged * 1e4);
        ratios.push(judged / plain);
    }
    println!("the median of {PAIRS} pairs: {:.4}", median(ratios));
    assert!(0.0 < asked(&cluster).await, "the validator is asked");
}

async fn asked(cluster: &Cluster) -> f64 {
    let mut calls = 0.0;
    for node in 0..3 {
        let shown = cluster.http(node).get(&format!("/v1/plugins/{NAME}")).await;
        let shown = shown.expect("an answer").json();
        calls += shown["nodes"][node]["calls"].as_f64().unwrap_or(0.0);
    }
    calls
}

#[tokio::test]
#[ignore = "a measurement, which wants a quiet machine"]
async fn of_a_validator_that_fails_at_every_write() {
    let cluster = cluster(&[("plain", None), ("bad", Some("any key, without end"))]).await;
    let rate = || writes(bench(&cluster, "plain", SECONDS, CLIENTS), SECONDS);
    rate();
    let mut ratios = Vec::new();
    for _ in 0..PAIRS {
        let alone = rate();
        let mut bad = bench(&cluster, "bad", "3600", "1");
        let beside = rate();
        bad.kill().expect("it runs");
        bad.wait().expect("it ends");
        println!("{alone:.0} writes alone, {beside:.0} beside it");
        ratios.push(beside / alone);
    }
    println!("the median of {PAIRS} pairs: {:.3}", median(ratios));
}
