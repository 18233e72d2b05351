//! This is what is found out about a version before it is in force: by a dry run, and by a shadow.

use hyper::Method;
use serde_json::{Value, json};
use soros_tests::cluster::Cluster;
use soros_tests::http::Http;
use soros_tests::plugins::{activate, misbehaving, push, renamed, stamping};
use std::process::Command;
use std::time::{Duration, Instant};

const NAME: &str = "misbehaving";

async fn put(http: &mut Http, path: &str, body: &str) -> Value {
    let answer = http.put(path, &[], body.to_owned()).await;
    let answer = answer.expect("an answer");
    assert!(answer.status.is_success(), "{path}: {}", answer.text());
    answer.json()
}

async fn get(http: &mut Http, path: &str) -> Value {
    let answer = http.get(path).await.expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

async fn dry_run(http: &mut Http, version: &str) -> Value {
    let path = format!("/v1/plugins/{NAME}/activate");
    let body = json!({"version": version, "dry_run": true}).to_string();
    let answer = http.send(Method::POST, &path, &[], body).await;
    let answer = answer.expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// Three nodes with two versions, the first in force.
async fn with_versions(versions: [(&str, Vec<u8>); 2]) -> Cluster {
    let cluster = Cluster::start(3).await;
    let first = versions[0].0;
    for (version, component) in versions {
        let pushed = push(&mut cluster.http(0), NAME, version, component).await;
        assert_eq!(pushed.status, 201, "{}", pushed.text());
    }
    let activated = activate(&mut cluster.http(0), NAME, first).await;
    assert_eq!(activated.status, 200, "{}", activated.text());
    cluster
}

fn bucket(config: &str) -> String {
    json!({"validators": [{"plugin": NAME, "config": config}]}).to_string()
}

#[tokio::test]
async fn a_dry_run_says_which_stored_values_a_validator_would_refuse() {
    let versions = ["0.1.0", "7.0.0"].map(|version| (version, stamping(version)));
    let cluster = with_versions(versions).await;
    let mut http = cluster.http(0);
    put(&mut http, "/v1/buckets/guarded", &bucket("turn bad")).await;
    for number in 0..12 {
        let value = if number < 5 { "bad" } else { "fine" };
        let path = format!("/v1/kv/guarded/a/{number}");
        put(&mut cluster.http(number % 3), &path, value).await;
    }
    let before = get(&mut http, "/v1/cluster/map").await;
    let outcome = dry_run(&mut cluster.http(1), "7.0.0").await;
    let bucket = &outcome["buckets"][0];
    assert_eq!(bucket["bucket"], "guarded");
    let counts = ["sampled", "refused", "changed", "failed"].map(|field| &bucket[field]);
    assert_eq!(counts, [12, 5, 7, 0], "{outcome}");
    assert_eq!(bucket["complete"], true);
    let examples = bucket["examples"].as_array().expect("examples");
    assert_eq!(examples.len(), 5);
    let is_said = |example: &&Value| {
        let key = example["key"].as_str().unwrap_or_default();
        key.starts_with("a/") && example["reason"] == "because" && example["pointer"] == "/a"
    };
    assert!(
        examples.iter().all(|example| is_said(&example)),
        "{outcome}"
    );
    assert_eq!(outcome["not_reached"], json!([]));
    assert_eq!(
        get(&mut http, "/v1/cluster/map").await,
        before,
        "nothing was changed"
    );
}

#[tokio::test]
async fn a_dry_run_says_what_a_placement_would_move() {
    let one = misbehaving("placement");
    let two = renamed(one.clone(), "0.1.0", "0.2.0");
    let cluster = with_versions([("0.1.0", one), ("0.2.0", two)]).await;
    let mut http = cluster.http(0);
    let policy = json!({"plugin": NAME, "config": "restless"});
    let placement = json!({"policy": policy, "partitions": 8, "replicas": 2});
    put(&mut http, "/v1/placements/odd", &placement.to_string()).await;
    let empty = dry_run(&mut http, "0.2.0").await;
    assert_eq!(empty["refused"], Value::Null, "no bucket uses it");
    put(&mut http, "/v1/buckets/moving", r#"{"placement":"odd"}"#).await;
    for number in 0..40 {
        let path = format!("/v1/kv/moving/k{number}");
        put(&mut cluster.http(number % 3), &path, "a value").await;
    }
    let before = get(&mut http, "/v1/cluster/map").await;
    let outcome = dry_run(&mut cluster.http(2), "0.2.0").await;
    assert_eq!(outcome["refused"], "moves-needed");
    let moved = &outcome["placements"][0];
    let counts = ["partitions", "copies", "keys"].map(|field| &moved[field]);
    assert_eq!(counts, [8, 8, 40], "{outcome}");
    assert!(40 * 7 <= moved["bytes"].as_u64().unwrap_or(0), "{outcome}");
    let nodes = moved["nodes"].as_array().expect("nodes").iter();
    let held = nodes.map(|node| node["after"].as_u64().unwrap_or(0));
    assert_eq!(held.sum::<u64>(), 16, "{outcome}");
    assert_eq!(
        get(&mut http, "/v1/cluster/map").await,
        before,
        "nothing was changed"
    );
    let refused = activate(&mut http, NAME, "0.2.0").await;
    assert_eq!(refused.code(), "moves-needed", "{}", refused.text());
}

/// Waits until the shadow was asked so often, and says what came of it.
async fn compared(cluster: &Cluster, count: u64) -> Value {
    let begun = Instant::now();
    loop {
        let shadow = get(&mut cluster.http(2), &format!("/v1/plugins/{NAME}/shadow")).await;
        if shadow["compared"] == count {
            return shadow;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{shadow}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_shadow_is_compared_and_never_used() {
    let versions = ["0.1.0", "6.0.0"].map(|version| (version, stamping(version)));
    let cluster = with_versions(versions).await;
    let mut http = cluster.http(0);
    put(&mut http, "/v1/buckets/guarded", &bucket("turn bad")).await;
    put(&mut http, "/v1/buckets/plain", &bucket("accept")).await;
    let path = format!("/v1/plugins/{NAME}/shadow");
    let refused = http.put(&path, &[], r#"{"version":"0.1.0"}"#).await;
    assert_eq!(
        refused.expect("an answer").code(),
        "bad-config",
        "it is in force"
    );
    let shadow = put(&mut http, &path, r#"{"version":"6.0.0"}"#).await;
    assert_eq!(shadow, json!({"version": "6.0.0", "sample": 1.0}));
    // The shadow agrees on ten, changes four otherwise, and fails at two.
    for (bucket, value, count) in [
        ("plain", "fine", 10),
        ("guarded", "fine", 4),
        ("guarded", "bad", 2),
    ] {
        for number in 0..count {
            let path = format!("/v1/kv/{bucket}/a/{value}{number}");
            put(&mut cluster.http(number % 3), &path, value).await;
        }
    }
    let shadow = compared(&cluster, 16).await;
    assert_eq!(
        (&shadow["differed"], &shadow["dropped"]),
        (&4.into(), &0.into()),
        "{shadow}"
    );
    assert_eq!(shadow["failures"], json!({"trapped": 2}));
    let read = cluster.http(1).get("/v1/kv/guarded/a/bad1").await;
    assert_eq!(
        read.expect("an answer").text(),
        "0.1.0:bad",
        "it is not used"
    );
    let plugin = get(&mut http, &format!("/v1/plugins/{NAME}")).await;
    assert_eq!(
        (&plugin["failures"], &plugin["quarantined"]),
        (&0.into(), &Value::Null)
    );
    let used = http.delete(&format!("/v1/plugins/{NAME}/6.0.0"), &[]).await;
    assert_eq!(used.expect("an answer").code(), "in-use");
    replayed(&cluster);
    for _ in 0..2 {
        let stopped = http.delete(&path, &[]).await;
        assert_eq!(stopped.expect("an answer").status, 204);
    }
    let none = http.get(&path).await.expect("an answer");
    assert_eq!(none.code(), "plugin-not-found", "{}", none.text());
}

/// What the shadow answered otherwise is asked again, of it and of the version in force.
fn replayed(cluster: &Cluster) {
    let folder = cluster.scratch("shadow");
    std::fs::create_dir_all(&folder).expect("a folder");
    let url = cluster.url(1);
    let run = |words: &[&str]| {
        let mut command = Command::new(soros_tests::binary::soros());
        let output = command.args(["--url", &url, "plugin"]).args(words);
        output
            .current_dir(&folder)
            .output()
            .expect("the binary starts")
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let captured = run(&["shadow", NAME, "--captures", "calls.ndjson"]);
    assert_eq!(
        captured.status.code(),
        Some(0),
        "{}",
        text(&captured.stderr)
    );
    assert!(
        text(&captured.stdout).contains("4 calls"),
        "{}",
        text(&captured.stdout)
    );
    for (version, code) in [("0.1.0", 0), ("6.0.0", 1)] {
        let file = format!("{version}.wasm");
        std::fs::write(folder.join(&file), stamping(version)).expect("a file");
        let words = ["replay", "calls.ndjson", &file, "--config", "\"turn bad\""];
        let replayed = run(&words);
        assert_eq!(
            replayed.status.code(),
            Some(code),
            "{}",
            text(&replayed.stderr)
        );
    }
    let shown = run(&["shadow", NAME]);
    assert!(
        text(&shown.stdout).contains("all, 6.0.0"),
        "{}",
        text(&shown.stdout)
    );
}
