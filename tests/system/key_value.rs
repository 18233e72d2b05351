//! This is what a client sees: any node answers any route, and the answers are honest.

use hyper::Method;
use soros_tests::cluster::Cluster;

#[tokio::test]
async fn any_node_answers_for_any_key() {
    let cluster = Cluster::start(3).await;
    for number in 0..9 {
        let path = format!("/v1/kv/default/key{number}");
        let mut writer = cluster.http(number % 3);
        let value = format!("value{number}");
        let answer = writer
            .put(&path, &[("content-type", "text/plain")], value.clone())
            .await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.status, 201, "{}", answer.text());
        assert!(["w=2/3", "w=3/3"].contains(&answer.header("soros-achieved")));
        for reader in 0..3 {
            let answer = cluster.http(reader).get(&path).await.expect("an answer");
            assert_eq!(
                (answer.status.as_u16(), answer.text()),
                (200, value.clone())
            );
            assert_eq!(answer.header("content-type"), "text/plain");
            assert!(!answer.header("soros-context").is_empty());
            assert!(!answer.header("etag").is_empty());
        }
    }
    key_life(&cluster).await;
    siblings(&cluster).await;
    what_is_not_built(&cluster).await;
}

async fn key_life(cluster: &Cluster) {
    let path = "/v1/kv/default/life";
    let absent = cluster.http(0).get(path).await.expect("an answer");
    assert_eq!(
        (absent.status.as_u16(), absent.code().as_str()),
        (404, "key-not-found")
    );
    assert!(!absent.header("soros-context").is_empty());
    let first = cluster
        .http(0)
        .put(path, &[], "a")
        .await
        .expect("an answer");
    let second = cluster
        .http(1)
        .put(path, &[], "b")
        .await
        .expect("an answer");
    assert_eq!((first.status.as_u16(), second.status.as_u16()), (201, 204));
    let found = cluster.http(2).get(path).await.expect("an answer");
    assert_eq!(found.text(), "b");
    let etag = found.header("etag").to_owned();
    let headers = [("if-none-match", etag.as_str())];
    let same = cluster
        .http(0)
        .send(Method::GET, path, &headers, "")
        .await
        .expect("an answer");
    assert_eq!(same.status, 304);
    let deleted = cluster.http(0).delete(path, &[]).await.expect("an answer");
    assert_eq!(deleted.status, 204);
    for node in 0..3 {
        let gone = cluster.http(node).get(path).await.expect("an answer");
        assert_eq!(gone.status, 404);
    }
    let again = cluster.http(1).delete(path, &[]).await.expect("an answer");
    assert_eq!(again.status, 204);
    let empty = cluster
        .http(0)
        .put("/v1/kv/default/empty", &[], "")
        .await
        .expect("an answer");
    assert_eq!(empty.status, 201);
    let empty = cluster
        .http(1)
        .get("/v1/kv/default/empty")
        .await
        .expect("an answer");
    assert_eq!((empty.status.as_u16(), empty.body.len()), (200, 0));
}

async fn siblings(cluster: &Cluster) {
    let config = r#"{"resolver":null}"#;
    let made = cluster
        .http(1)
        .put("/v1/buckets/plain", &[], config)
        .await
        .expect("an answer");
    assert_eq!(made.status, 201, "{}", made.text());
    let path = "/v1/kv/plain/k";
    let first = cluster
        .http(0)
        .put(path, &[], "a")
        .await
        .expect("an answer");
    assert_eq!(first.status, 201, "{}", first.text());
    let refused = cluster
        .http(1)
        .put(path, &[], "b")
        .await
        .expect("an answer");
    assert_eq!(
        (refused.status.as_u16(), refused.code().as_str()),
        (428, "context-required")
    );
    let blind = [("soros-write", "blind")];
    let sibling = cluster
        .http(1)
        .put(path, &blind, "b")
        .await
        .expect("an answer");
    assert_eq!(sibling.status, 204, "{}", sibling.text());
    let both = cluster.http(2).get(path).await.expect("an answer");
    assert_eq!(
        (both.status.as_u16(), both.header("soros-siblings")),
        (300, "2")
    );
    assert!(both.header("content-type").starts_with("multipart/mixed"));
    what_tokens_name(cluster, path, sibling.header("soros-context")).await;
}

async fn what_tokens_name(cluster: &Cluster, path: &str, blind: &str) {
    // The token of the blind write names that write only: the value before it stays.
    let token = [("soros-context", blind)];
    cluster
        .http(2)
        .put(path, &token, "c")
        .await
        .expect("an answer");
    let left = cluster.http(0).get(path).await.expect("an answer");
    assert_eq!(
        (left.status.as_u16(), left.header("soros-siblings")),
        (300, "2")
    );
    // The token of a read names all that was read.
    let token = [("soros-context", left.header("soros-context"))];
    let merged = cluster
        .http(1)
        .put(path, &token, "all")
        .await
        .expect("an answer");
    assert_eq!(merged.status, 204, "{}", merged.text());
    let one = cluster.http(2).get(path).await.expect("an answer");
    assert_eq!((one.status.as_u16(), one.text().as_str()), (200, "all"));
    // A token of another key is refused.
    let token = [("soros-context", one.header("soros-context"))];
    let foreign = cluster
        .http(0)
        .put("/v1/kv/plain/other", &token, "x")
        .await
        .expect("an answer");
    assert_eq!(
        (foreign.status.as_u16(), foreign.code().as_str()),
        (400, "bad-context")
    );
}

async fn what_is_not_built(cluster: &Cluster) {
    let path = "/v1/kv/default/unbuilt";
    let refused = [
        (vec![("soros-ttl", "60")], "not-implemented"),
        (vec![("idempotency-key", "x")], "not-implemented"),
        (vec![("if-none-match", "*")], "conditional-needs-strong"),
        (vec![("if-match", "\"x\"")], "conditional-needs-strong"),
    ];
    for (headers, code) in refused {
        let answer = cluster
            .http(0)
            .put(path, &headers, "x")
            .await
            .expect("an answer");
        assert_eq!(
            (answer.status.as_u16(), answer.code().as_str()),
            (501, code),
            "{headers:?}"
        );
    }
    let absent = cluster.http(0).get(path).await.expect("an answer");
    assert_eq!(absent.status, 404, "nothing was stored");
    for (method, path) in [
        (Method::GET, "/v1/kv/default"),
        (Method::POST, "/v1/batch"),
        (Method::GET, "/v1/watch/default"),
        (Method::POST, "/v1/cluster/plan"),
    ] {
        let answer = cluster
            .http(1)
            .send(method, path, &[], "")
            .await
            .expect("an answer");
        assert_eq!(answer.status, 501, "{path}: {}", answer.text());
    }
    let strong = r#"{"consistency":"strong"}"#;
    let answer = cluster
        .http(2)
        .put("/v1/buckets/strong", &[], strong)
        .await
        .expect("an answer");
    assert_eq!(answer.status, 501, "{}", answer.text());
    let answer = cluster
        .http(2)
        .get("/v1/buckets/strong")
        .await
        .expect("an answer");
    assert_eq!(answer.status, 404, "nothing was made");
}
