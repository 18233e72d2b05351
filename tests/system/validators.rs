//! This is what a bucket with validators takes, and what a client is told of the rest, at every
//! node.

use hyper::Method;
use soros_tests::cluster::Cluster;

#[tokio::test]
async fn a_bucket_takes_what_its_validators_let_pass() {
    let cluster = Cluster::start(3).await;
    let config = r#"{"validators": [
        {"plugin": "size-and-type", "config": {"max_bytes": 9, "content_types": ["text/*"]}},
        {"plugin": "immutable"}
    ]}"#;
    let made = cluster.http(0).put("/v1/buckets/notes", &[], config).await;
    let made = made.expect("an answer");
    assert_eq!(made.status, 201, "{}", made.text());
    assert_eq!(made.json()["validators"][1]["on_failure"], "closed");
    for node in 0..3 {
        let mut http = cluster.http(node);
        let path = format!("/v1/kv/notes/k{node}");
        let text = [("content-type", "text/plain; charset=utf-8")];
        let taken = http.put(&path, &text, "a note").await.expect("an answer");
        assert_eq!(taken.status, 201, "{}", taken.text());
        for (method, kind, value, reason, plugin) in [
            (
                Method::PUT,
                "text/plain",
                "another",
                "immutable",
                "immutable",
            ),
            (
                Method::PUT,
                "image/png",
                "a note",
                "content-type",
                "size-and-type",
            ),
            (
                Method::PUT,
                "text/plain",
                "a long note",
                "value-too-large",
                "size-and-type",
            ),
            (Method::DELETE, "text/plain", "", "immutable", "immutable"),
        ] {
            let fields = if method == Method::PUT {
                vec![("content-type", kind)]
            } else {
                Vec::new()
            };
            // Any node refuses it, whoever coordinates.
            let mut other = cluster.http((node + 1) % 3);
            let refused = other.send(method, &path, &fields, value).await;
            let refused = refused.expect("an answer");
            assert_eq!(refused.status, 422, "{}", refused.text());
            let problem = refused.json();
            assert_eq!(problem["code"], "rejected");
            assert_eq!(problem["plugin"], plugin);
            assert_eq!(problem["version"], "0.1.0");
            assert_eq!(problem["reason"], reason);
        }
        let read = http.get(&path).await.expect("an answer");
        assert_eq!(
            (read.status.as_u16(), read.text().as_str()),
            (200, "a note")
        );
    }
    refused_configs(&cluster).await;
}

async fn refused_configs(cluster: &Cluster) {
    for (config, status, code, path) in [
        (r#"{"plugin": "nothing"}"#, 422, "unknown-reference", ""),
        (r#"{"plugin": "lww"}"#, 422, "unknown-reference", ""),
        (
            r#"{"plugin": "size-and-type", "config": {"content_types": ["text"]}}"#,
            422,
            "bad-config",
            "/validators/0/config/content_types/0",
        ),
        (
            r#"{"plugin": "immutable", "config": {"often": true}}"#,
            422,
            "bad-config",
            "/validators/0/config",
        ),
    ] {
        let body = format!(r#"{{"validators": [{config}]}}"#);
        let answer = cluster.http(1).put("/v1/buckets/more", &[], body).await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.status, status, "{}", answer.text());
        assert_eq!(answer.code(), code);
        let problem = answer.json();
        assert_eq!(problem["problems"][0]["path"].as_str().unwrap_or(""), path);
    }
    let absent = cluster.http(2).get("/v1/buckets/more").await;
    assert_eq!(absent.expect("an answer").status, 404);
}

#[tokio::test]
async fn a_client_is_told_where_its_json_does_not_fit() {
    let cluster = Cluster::start(3).await;
    let bucket = r#"{"validators": [{"plugin": "json-schema", "config": {"schema": {
        "properties": {"items": {"items": {"properties": {"count": {"minimum": 1}}}}},
        "required": ["items"]
    }}}]}"#;
    let made = cluster.http(0).put("/v1/buckets/orders", &[], bucket).await;
    let made = made.expect("an answer");
    assert_eq!(made.status, 201, "{}", made.text());
    for node in 0..3 {
        let mut http = cluster.http(node);
        let path = format!("/v1/kv/orders/k{node}");
        for (value, reason, pointer) in [
            (
                r#"{"items": [{"count": 1}, {"count": 0}]}"#,
                "does-not-fit",
                "/items/1/count",
            ),
            ("{}", "does-not-fit", ""),
            ("items", "not-json", ""),
        ] {
            let refused = http.put(&path, &[], value).await.expect("an answer");
            assert_eq!(refused.status, 422, "{}", refused.text());
            let problem = refused.json();
            assert_eq!(
                (&problem["code"], &problem["reason"]),
                (&"rejected".into(), &reason.into())
            );
            assert_eq!(
                problem["pointer"].as_str().unwrap_or_default(),
                pointer,
                "{problem}"
            );
            assert!(problem["detail"].is_string(), "{problem}");
        }
        let taken = http.put(&path, &[], r#"{"items": [{"count": 1}]}"#).await;
        assert_eq!(taken.expect("an answer").status, 201);
    }
    let bucket = r#"{"validators": [{"plugin": "json-schema", "config": {"schema": {
        "$ref": "http://example.com/schema"
    }}}]}"#;
    let refused = cluster.http(1).put("/v1/buckets/more", &[], bucket).await;
    let refused = refused.expect("an answer");
    assert_eq!(
        (refused.status.as_u16(), refused.code()),
        (422, "bad-config".to_owned())
    );
    let path = &refused.json()["problems"][0]["path"];
    assert_eq!(path, "/validators/0/config/schema/$ref");
}
