//! This is what is seen of plugins at work, and what the cluster does by itself when one fails.

use serde_json::Value;
use soros_tests::cluster::Cluster;
use soros_tests::http::Http;
use soros_tests::plugins::{activate, misbehaving, push, stamping};
use std::time::{Duration, Instant};

const NAME: &str = "misbehaving";
const BUCKET: &str = r#"{"validators":[{"plugin":"misbehaving","config":"turn bad"}]}"#;

/// Three nodes with these versions, the first in force for the bucket `guarded`. Versions that
/// begin with 6 fail at values that begin with `bad`.
async fn guarded(versions: &[&str]) -> Cluster {
    let cluster = Cluster::start(3).await;
    for version in versions {
        let pushed = push(&mut cluster.http(0), NAME, version, stamping(version)).await;
        assert_eq!(pushed.status, 201, "{}", pushed.text());
    }
    let activated = activate(&mut cluster.http(1), NAME, versions[0]).await;
    assert_eq!(activated.status, 200, "{}", activated.text());
    let made = cluster
        .http(0)
        .put("/v1/buckets/guarded", &[], BUCKET)
        .await;
    assert_eq!(made.expect("an answer").status, 201);
    cluster
}

async fn get(http: &mut Http, path: &str) -> Value {
    let answer = http.get(path).await.expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

async fn shown(cluster: &Cluster, node: usize) -> Value {
    get(&mut cluster.http(node), &format!("/v1/plugins/{NAME}")).await
}

/// Writes a value through a node and says the status and the problem's code.
async fn write(cluster: &Cluster, node: usize, key: &str, value: &str) -> (u16, String) {
    let path = format!("/v1/kv/guarded/a/{key}");
    let answer = cluster.http(node).put(&path, &[], value.to_owned()).await;
    let answer = answer.expect("an answer");
    let code = if answer.status.is_success() {
        String::new()
    } else {
        answer.code()
    };
    (answer.status.as_u16(), code)
}

/// Waits until each node has a line of the record that names this action and version, and sees to
/// it that none has two.
async fn assert_audited(cluster: &Cluster, action: &str, version: &str) {
    let parts = [
        "audit".to_owned(),
        format!("action=\"{action}\""),
        format!("version=\"{version}\""),
    ];
    let begun = Instant::now();
    for node in 0..cluster.count() {
        loop {
            let log = cluster.log(node);
            let is_named = |line: &&str| parts.iter().all(|part| line.contains(part));
            let lines: Vec<&str> = log.lines().filter(is_named).collect();
            if let [line] = lines[..] {
                assert!(line.contains("through=\"n"), "{line}");
                break;
            }
            assert!(lines.is_empty(), "{action} at {node}: {lines:?}");
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "{action} at {node}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn calls_are_counted_for_each_version_and_changes_are_on_record() {
    let mut cluster = guarded(&["0.1.0", "6.0.0"]).await;
    for node in 0..3 {
        assert_eq!(
            write(&cluster, node, &format!("k{node}"), "bad").await.0,
            201
        );
    }
    let plugin = shown(&cluster, 1).await;
    assert_eq!(
        (&plugin["calls"], &plugin["failures"]),
        (&3.into(), &0.into())
    );
    assert_eq!(plugin["not_reached"], Value::Array(Vec::new()));
    let at_nodes = plugin["nodes"].as_array().expect("nodes");
    let fuel = |node: &Value| node["versions"]["0.1.0"]["fuel"].as_u64().unwrap_or(0);
    assert!(0 < at_nodes.iter().map(fuel).sum::<u64>(), "{plugin}");
    let removed = format!("/v1/plugins/{NAME}/6.0.0");
    let removed = cluster.http(2).delete(&removed, &[]).await;
    assert_eq!(removed.expect("an answer").status, 204);
    for (action, version) in [("push", "6.0.0"), ("activate", "0.1.0"), ("rm", "6.0.0")] {
        assert_audited(&cluster, action, version).await;
    }
    cluster.kill(2);
    let version = format!("/v1/plugins/{NAME}/0.1.0");
    let begun = Instant::now();
    loop {
        let release = get(&mut cluster.http(0), &version).await;
        if release["not_reached"] == serde_json::json!(["n3"]) {
            assert_eq!(release["nodes"].as_array().map(Vec::len), Some(2));
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{release}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Writes what the version 6.0.0 fails at, through all nodes, until `is_done` of what is shown.
async fn provoke(cluster: &Cluster, is_done: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        for node in 0..3 {
            let (status, code) = write(cluster, node, "provoked", "bad").await;
            let expected = ["", "policy-unavailable"].contains(&code.as_str());
            assert!(expected, "{status} {code}");
        }
        let plugin = shown(cluster, 2).await;
        if is_done(&plugin) {
            return plugin;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{plugin}");
    }
}

#[tokio::test]
async fn a_version_that_fails_on_its_probation_is_taken_back() {
    let cluster = guarded(&["0.1.0", "6.0.0"]).await;
    let activated = activate(&mut cluster.http(0), NAME, "6.0.0").await;
    assert_eq!(activated.json()["probation_seconds"], 60);
    assert_eq!(shown(&cluster, 0).await["on_probation"], true);
    assert_eq!(write(&cluster, 1, "before", "fine").await.0, 201);
    let plugin = provoke(&cluster, |plugin| plugin["withdrawn"].is_object()).await;
    assert_eq!(
        (&plugin["active"], &plugin["previous"]),
        (&"0.1.0".into(), &Value::Null)
    );
    assert_eq!(plugin["withdrawn"]["version"], "6.0.0");
    assert_eq!(plugin["withdrawn"]["cause"], "trapped");
    assert_eq!(
        (&plugin["on_probation"], &plugin["quarantined"]),
        (&false.into(), &Value::Null)
    );
    for node in 0..3 {
        let (status, code) = write(&cluster, node, &format!("after{node}"), "bad").await;
        assert_eq!((status, code.as_str()), (201, ""));
    }
    let read = cluster.http(1).get("/v1/kv/guarded/a/after2").await;
    assert_eq!(read.expect("an answer").text(), "0.1.0:bad");
    assert_audited(&cluster, "withdraw", "6.0.0").await;
}

#[tokio::test]
async fn a_version_that_refuses_what_the_one_before_took_is_taken_back() {
    let cluster = guarded(&["0.1.0", "7.0.0"]).await;
    // Only a node that asked the one before often enough can tell.
    for number in 0..60 {
        let taken = write(&cluster, 1, &format!("before{number}"), "bad").await;
        assert_eq!(taken.0, 201);
    }
    let activated = activate(&mut cluster.http(0), NAME, "7.0.0").await;
    assert_eq!(activated.status, 200, "{}", activated.text());
    let begun = Instant::now();
    let plugin = loop {
        for number in 0..60 {
            let (status, code) = write(&cluster, 1, &format!("k{number}"), "bad").await;
            assert!(status == 201 || code == "rejected", "{status} {code}");
        }
        let plugin = shown(&cluster, 2).await;
        if plugin["withdrawn"].is_object() {
            break plugin;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{plugin}");
    };
    assert_eq!(plugin["active"], "0.1.0");
    assert_eq!(plugin["withdrawn"]["cause"], "refused");
    assert_eq!(plugin["quarantined"], Value::Null);
    assert_eq!(write(&cluster, 1, "after", "bad").await.0, 201);
    assert_audited(&cluster, "withdraw", "7.0.0").await;
}

#[tokio::test]
async fn a_validator_in_quarantine_is_not_asked_until_it_is_activated_again() {
    let mut cluster = guarded(&["6.0.0"]).await;
    let ajar = BUCKET.replace("bad\"", "bad\",\"on_failure\":\"open\"");
    let made = cluster.http(0).put("/v1/buckets/ajar", &[], ajar).await;
    assert_eq!(made.expect("an answer").status, 201);
    let plugin = provoke(&cluster, |plugin| plugin["quarantined"].is_object()).await;
    assert_eq!(plugin["active"], "6.0.0");
    cluster.kill(1);
    cluster.restart(1).await;
    let asked = |plugin: &Value| plugin["calls"].as_u64();
    let before = asked(&shown(&cluster, 0).await);
    for node in 0..3 {
        let refused = write(&cluster, node, "fine", "fine").await;
        assert_eq!(refused, (503, "policy-unavailable".to_owned()), "at {node}");
        let path = format!("/v1/kv/guarded/other/{node}");
        let taken = cluster.http(node).put(&path, &[], "fine").await;
        let taken = taken.expect("an answer").status;
        assert_eq!(taken, 201, "at {node}: it never wanted this key");
        let path = format!("/v1/kv/ajar/a/{node}");
        let taken = cluster.http(node).put(&path, &[], "fine").await;
        assert_eq!(taken.expect("an answer").status, 201, "at {node}");
        let read = cluster.http(node).get(&path).await.expect("an answer");
        assert_eq!(read.text(), "fine", "nobody stamped it");
        assert!(0.0 < cluster.figure(node, "soros_plugins_quarantined").await);
        let health = get(&mut cluster.http(node), "/health/ready").await;
        let problem = health["plugins_unusable"][NAME]
            .as_str()
            .unwrap_or_default();
        assert!(problem.contains("quarantine"), "{health}");
    }
    assert_eq!(asked(&shown(&cluster, 0).await), before, "it is not asked");
    let status = get(&mut cluster.http(1), "/v1/cluster").await;
    assert_eq!(status["quarantined"], serde_json::json!([NAME]));
    assert_audited(&cluster, "quarantine", "6.0.0").await;
    let lifted = activate(&mut cluster.http(2), NAME, "6.0.0").await;
    assert_eq!(lifted.status, 200, "{}", lifted.text());
    for node in 0..3 {
        let key = format!("lifted{node}");
        assert_eq!(write(&cluster, node, &key, "fine").await.0, 201);
    }
    assert_eq!(shown(&cluster, 0).await["quarantined"], Value::Null);
}

#[tokio::test]
async fn a_resolver_in_quarantine_leaves_all_siblings() {
    let cluster = Cluster::start(3).await;
    let component = misbehaving("resolution");
    let pushed = push(&mut cluster.http(0), NAME, "0.1.0", component).await;
    assert_eq!(pushed.status, 201, "{}", pushed.text());
    let activated = activate(&mut cluster.http(0), NAME, "0.1.0").await;
    assert_eq!(activated.status, 200, "{}", activated.text());
    let bucket = r#"{"resolver":{"plugin":"misbehaving","config":"panic"}}"#;
    let made = cluster.http(0).put("/v1/buckets/odd", &[], bucket).await;
    assert_eq!(made.expect("an answer").status, 201);
    let mut values = Vec::new();
    let begun = Instant::now();
    while shown(&cluster, 1).await["quarantined"].is_null() || values.len() < 9 {
        let value = format!("<{}>", values.len());
        let node = values.len() % 3;
        let mut http = cluster.http(node);
        let put = http.put("/v1/kv/odd/k", &[], value.clone()).await;
        let put = put.expect("an answer");
        assert!(put.status.is_success(), "{}", put.text());
        values.push(value);
        assert!(begun.elapsed() < Duration::from_secs(30), "no quarantine");
    }
    for node in 0..3 {
        let read = cluster.http(node).get("/v1/kv/odd/k").await;
        let read = read.expect("an answer");
        assert_eq!(read.status, 300, "{}", read.text());
        assert_eq!(read.header("soros-siblings"), values.len().to_string());
        let text = read.text();
        let lost = values.iter().find(|value| !text.contains(*value));
        assert_eq!(lost, None, "at {node}: {text}");
    }
}
