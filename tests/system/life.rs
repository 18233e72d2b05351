//! This is what is seen of plugins at work, and what the cluster does by itself when one misbehaves.

use serde_json::Value;
use soros_tests::cluster::Cluster;
use soros_tests::http::Http;
use soros_tests::plugins::{activate, push, stamping};
use std::time::{Duration, Instant};

const NAME: &str = "misbehaving";
const BUCKET: &str = r#"{"validators":[{"plugin":"misbehaving","config":"turn bad"}]}"#;

/// Three nodes with these versions, the first in force for the bucket `guarded`. Versions that begin
/// with 6 fail at values that begin with `bad`.
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

/// The audit lines of all nodes that name this action.
fn audited(cluster: &Cluster, action: &str) -> Vec<String> {
    let named = format!("action=\"{action}\"");
    let lines = (0..cluster.count()).flat_map(|node| {
        let log = cluster.log(node);
        log.lines().map(str::to_owned).collect::<Vec<_>>()
    });
    lines
        .filter(|line| line.contains("audit") && line.contains(&named))
        .collect()
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
        let lines = audited(&cluster, action);
        let names = |line: &&String| line.contains(&format!("version=\"{version}\""));
        assert_eq!(lines.iter().filter(names).count(), 1, "{action}: {lines:?}");
        assert!(
            lines.iter().all(|line| line.contains("through=\"n")),
            "{lines:?}"
        );
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
