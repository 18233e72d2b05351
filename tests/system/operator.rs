//! This is what an operator does: configuration through any node, and a change of leaders.

use soros_tests::cluster::Cluster;
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_change_is_in_force_everywhere_when_it_is_answered() {
    let cluster = Cluster::start(3).await;
    for round in 0..6 {
        let bytes = 1000 + round;
        let config = format!(r#"{{"max_value_bytes":{bytes}}}"#);
        let node = round % 3;
        let answer = cluster
            .http(node)
            .put("/v1/buckets/small", &[], config)
            .await;
        let answer = answer.expect("an answer");
        assert_eq!(
            answer.status,
            if round == 0 { 201 } else { 200 },
            "{}",
            answer.text()
        );
        for node in 0..3 {
            let answer = cluster
                .http(node)
                .get("/v1/buckets/small")
                .await
                .expect("an answer");
            assert_eq!(answer.json()["max_value_bytes"], bytes, "{}", answer.text());
            let long = "x".repeat(bytes + 1);
            let refused = cluster.http(node).put("/v1/kv/small/k", &[], long).await;
            let refused = refused.expect("an answer");
            assert_eq!(
                (refused.status.as_u16(), refused.code().as_str()),
                (413, "value-too-large")
            );
        }
    }
    unknown_references(&cluster).await;
    deletion(&cluster).await;
    where_keys_live(&cluster).await;
}

async fn unknown_references(cluster: &Cluster) {
    for (config, status) in [
        (r#"{"placement":"nowhere"}"#, 422),
        (r#"{"resolver":{"plugin":"nothing"}}"#, 422),
        (r#"{"colour":"red"}"#, 400),
        ("{", 400),
    ] {
        let answer = cluster.http(0).put("/v1/buckets/wrong", &[], config).await;
        assert_eq!(answer.expect("an answer").status, status, "{config}");
    }
    let stale = [("if-match", "\"1\"")];
    let answer = cluster
        .http(0)
        .put("/v1/buckets/wrong", &stale, "{}")
        .await
        .expect("an answer");
    assert_eq!(answer.status, 412, "{}", answer.text());
}

async fn deletion(cluster: &Cluster) {
    let mut http = cluster.http(1);
    let stored = http
        .put("/v1/kv/small/k", &[], "v")
        .await
        .expect("an answer");
    assert_eq!(stored.status, 201, "{}", stored.text());
    let old = stored.header("soros-context").to_owned();
    let refused = http
        .delete("/v1/buckets/small", &[])
        .await
        .expect("an answer");
    assert_eq!(
        (refused.status.as_u16(), refused.code().as_str()),
        (409, "in-use")
    );
    let stored = http
        .put("/v1/kv/small/l", &[], "v")
        .await
        .expect("an answer");
    assert_eq!(stored.status, 201, "it is open again: {}", stored.text());
    let purged = http
        .delete("/v1/buckets/small?purge=true", &[])
        .await
        .expect("an answer");
    assert_eq!(purged.status, 204, "{}", purged.text());
    let gone = cluster
        .http(2)
        .get("/v1/kv/small/k")
        .await
        .expect("an answer");
    assert_eq!(
        (gone.status.as_u16(), gone.code().as_str()),
        (404, "bucket-not-found")
    );
    let made = http
        .put("/v1/buckets/small", &[], "{}")
        .await
        .expect("an answer");
    assert_eq!(made.status, 201, "{}", made.text());
    let absent = cluster
        .http(0)
        .get("/v1/kv/small/k")
        .await
        .expect("an answer");
    assert_eq!(
        (absent.status.as_u16(), absent.code().as_str()),
        (404, "key-not-found")
    );
    let token = [("soros-context", old.as_str())];
    let foreign = http
        .put("/v1/kv/small/k", &token, "w")
        .await
        .expect("an answer");
    assert_eq!(
        (foreign.status.as_u16(), foreign.code().as_str()),
        (400, "bad-context")
    );
    let emptied = http
        .delete("/v1/buckets/small", &[])
        .await
        .expect("an answer");
    assert_eq!(emptied.status, 204, "{}", emptied.text());
}

async fn where_keys_live(cluster: &Cluster) {
    let answer = cluster
        .http(2)
        .get("/v1/locate/default/some%20key")
        .await
        .expect("an answer");
    let place = answer.json();
    assert_eq!(
        place["replicas"].as_array().map(Vec::len),
        Some(3),
        "{}",
        answer.text()
    );
    assert_eq!(place["replicas"][0]["state"], "active");
    let map = cluster
        .http(0)
        .get("/v1/cluster/map")
        .await
        .expect("an answer");
    let epoch = map.json()["epoch"].as_u64().expect("an epoch");
    assert_eq!(map.header("etag"), format!("\"{epoch}\""));
    assert!(!map.text().contains("token"), "the secret is never shown");
    let path = format!("/v1/cluster/map?newer_than={epoch}&timeout=1");
    let none = cluster.http(1).get(&path).await.expect("an answer");
    assert_eq!(none.status, 304);
    let path = format!("/v1/cluster/map?newer_than={}&timeout=1", epoch - 1);
    let newer = cluster.http(1).get(&path).await.expect("an answer");
    assert_eq!(newer.status, 200);
}

#[tokio::test]
async fn another_authority_leads_when_the_leader_dies() {
    let mut cluster = Cluster::start(3).await;
    let status = cluster
        .http(0)
        .get("/v1/cluster")
        .await
        .expect("an answer")
        .json();
    let leader = status["authority"]["leader"]
        .as_str()
        .expect("a leader")
        .to_owned();
    let dead = (0..3)
        .find(|node| cluster.name(*node) == leader)
        .expect("a node of the cluster");
    cluster.kill(dead);
    let alive = (dead + 1) % 3;
    let begun = Instant::now();
    loop {
        let answer = cluster
            .http(alive)
            .put("/v1/buckets/after", &[], "{}")
            .await;
        let answer = answer.expect("an answer");
        if answer.status.is_success() {
            break;
        }
        assert!(
            [503, 504].contains(&answer.status.as_u16()),
            "{}",
            answer.text()
        );
        assert!(begun.elapsed() < Duration::from_secs(20), "no new leader");
    }
    cluster.restart(dead).await;
    let answer = cluster
        .http(dead)
        .get("/v1/buckets/after")
        .await
        .expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test]
async fn the_figures_say_what_was_done() {
    let cluster = Cluster::start(3).await;
    for number in 0..20 {
        let path = format!("/v1/kv/default/k{number}");
        let mut http = cluster.http(number % 3);
        let put = http.put(&path, &[], "value").await.expect("an answer");
        assert_eq!(put.status, 201, "{}", put.text());
        let got = http.get(&path).await.expect("an answer");
        assert_eq!(got.status, 200, "{}", got.text());
    }
    let answer = cluster.http(0).get("/metrics").await.expect("an answer");
    let page = answer.text();
    let figure = |name: &str| {
        let line = page.lines().find(|line| line.starts_with(name));
        let line = line.unwrap_or_else(|| panic!("`{name}` is not in\n{page}"));
        line.rsplit(' ').next().unwrap_or_default()
    };
    for (name, expected) in [
        ("soros_requests_total{op=\"put\",status=\"201\"}", "7"),
        ("soros_requests_total{op=\"get\",status=\"200\"}", "7"),
        ("soros_request_seconds_count{op=\"put\"}", "7"),
        ("soros_nodes_alive", "3"),
        ("soros_commit_failures_total", "0"),
    ] {
        assert_eq!(figure(name), expected, "{name} in\n{page}");
    }
    for name in [
        "soros_connections",
        "soros_epoch",
        "soros_link_messages_total{direction=\"sent\"}",
        "soros_link_bytes_total{direction=\"received\"}",
        "soros_link_connects_total",
        "soros_commit_operations_count",
        "soros_commit_seconds_sum",
    ] {
        let number: f64 = figure(name).parse().expect("a number");
        assert!(0.0 < number, "{name} in\n{page}");
    }
}
