//! These are the tests of what is refused: each request with its status and code, and that nothing
//! was stored.

use super::TOKEN;
use super::replica::{Replica, bucket};
use crate::peer::api::Readiness;
use http::{HeaderMap, HeaderValue, header::HeaderName};
use proptest::prelude::{any, proptest};
use soros_core::dot_set::DotSet;
use soros_core::limits::{KEY_BYTES_MAX, VALUE_BYTES_DEFAULT};
use soros_core::map::bucket::{BucketConfig, Consistency};
use soros_core::map::change::Change;
use soros_core::operation::OperationError;

/// Checks that a request is refused so, by a node that has stored nothing and stores nothing.
#[track_caller]
fn check(request: &str, fields: &[(&str, &str)], status: u16, code: &str) {
    let node = Replica::new();
    let got = node.send(request, fields, "value");
    assert_eq!(
        (got.status, got.code().as_str()),
        (status, code),
        "{request} {fields:?}"
    );
    assert_eq!(got.header("content-type"), "application/problem+json");
    assert_eq!(got.header("soros-epoch"), "2");
    assert!(node.is_empty(), "{request} stored something");
}

#[test]
fn refuses_malformed_paths() {
    check("PUT /v1/kv/default/", &[], 400, "bad-key");
    check("GET /v1/kv/default/", &[], 400, "bad-key");
    check("PUT /v1/kv/default/a%2", &[], 400, "bad-key");
    check("PUT /v1/kv/def%ult/a", &[], 400, "bad-request");
    check("PUT /v1/kv/Default/a", &[], 400, "bad-bucket-name");
    check("PUT /v1/kv//a", &[], 400, "bad-bucket-name");
    check("GET /v1/kv/", &[], 400, "bad-bucket-name");
    check("PUT /v1/kv/default/a?w=3", &[], 400, "bad-request");
    check("PUT /v1/kv/default/a?%", &[], 400, "bad-request");
    check("PUT /v1/kv/other/a", &[], 404, "bucket-not-found");
    check("PUT /v1/kv", &[], 404, "no-such-route");
    let long = "k".repeat(KEY_BYTES_MAX + 1);
    check(
        &format!("PUT /v1/kv/default/{long}"),
        &[],
        414,
        "key-too-long",
    );
}

#[test]
fn refuses_methods_that_a_route_does_not_have() {
    for (request, allow) in [
        ("POST /v1/kv/default/k", "GET, HEAD, PUT, DELETE"),
        ("PATCH /v1/kv/default/", "GET, HEAD, PUT, DELETE"),
        ("PUT /v1/kv/default", "GET, HEAD"),
        ("DELETE /v1/watch/default", "GET, HEAD"),
        ("GET /v1/batch", "POST"),
    ] {
        let got = Replica::new().send(request, &[], "");
        assert_eq!(
            (got.status, got.code().as_str()),
            (405, "method-not-allowed"),
            "{request}"
        );
        assert_eq!(got.header("allow"), allow);
    }
}

#[test]
fn refuses_malformed_headers() {
    let key = "PUT /v1/kv/default/k";
    check(key, &[("soros-unknown", "1")], 400, "bad-header");
    check(key, &[("soros-consistency", "two")], 400, "bad-header");
    check(
        key,
        &[("soros-write", "blind"), (TOKEN, "AAEC")],
        400,
        "bad-header",
    );
    check(key, &[(TOKEN, "no token")], 400, "bad-context");
    check(key, &[("content-range", "bytes 0-1/2")], 400, "bad-header");
    let large = "v".repeat(4096);
    check(key, &[("soros-meta-a", &large)], 431, "headers-too-large");
    check(
        "GET /v1/kv/default/k",
        &[("soros-write", "blind")],
        400,
        "bad-header",
    );
    check(
        "GET /v1/kv/default/k",
        &[("if-match", "x")],
        400,
        "bad-header",
    );
    check(
        "DELETE /v1/kv/default/k",
        &[("soros-meta-a", "x")],
        400,
        "bad-header",
    );
}

#[test]
fn refuses_what_is_not_built() {
    for fields in [
        [("soros-ttl", "60")],
        [("idempotency-key", "one")],
        [("soros-session", "AAAA")],
    ] {
        check("PUT /v1/kv/default/k", &fields, 501, "not-implemented");
        check("DELETE /v1/kv/default/k", &fields, 501, "not-implemented");
    }
    check(
        "GET /v1/kv/default/k",
        &[("soros-session", "AAAA")],
        501,
        "not-implemented",
    );
    for fields in [
        [("if-match", "*")],
        [("if-none-match", "*")],
        [("if-match", "\"x\"")],
    ] {
        check(
            "PUT /v1/kv/default/k",
            &fields,
            501,
            "conditional-needs-strong",
        );
        check(
            "DELETE /v1/kv/default/k",
            &fields,
            501,
            "conditional-needs-strong",
        );
    }
    check("GET /v1/kv/default", &[], 501, "not-implemented");
    check(
        "GET /v1/kv/default?prefix=a&limit=5",
        &[],
        501,
        "not-implemented",
    );
    check("POST /v1/batch", &[], 501, "not-implemented");
    check(
        "GET /v1/watch/default?prefix=a",
        &[],
        501,
        "not-implemented",
    );
}

#[test]
fn refuses_buckets_whose_promises_it_cannot_keep() {
    let strong = BucketConfig {
        consistency: Consistency::Strong,
        ..BucketConfig::default()
    };
    let expiring = BucketConfig {
        default_ttl: Some(60),
        ..BucketConfig::default()
    };
    let bounded = BucketConfig {
        quota_bytes: Some(60),
        ..BucketConfig::default()
    };
    for (config, read) in [(strong, 501), (expiring, 404), (bounded, 404)] {
        let node = Replica::new();
        node.put_bucket("new", config);
        for request in ["PUT /v1/kv/new/k", "DELETE /v1/kv/new/k"] {
            let got = node.send(request, &[], "v");
            assert_eq!((got.status, got.code().as_str()), (501, "not-implemented"));
        }
        assert_eq!(node.send("GET /v1/kv/new/k", &[], "").status, read);
        assert!(node.is_empty());
    }
}

#[test]
fn refuses_writes_into_a_bucket_that_is_being_deleted() {
    let node = Replica::new();
    node.send("PUT /v1/kv/plain/k", &[], "v");
    node.change(&Change::CloseBucket {
        name: bucket("plain"),
    });
    for request in ["PUT /v1/kv/plain/other", "DELETE /v1/kv/plain/k"] {
        let got = node.send(request, &[], "v");
        assert_eq!((got.status, got.code().as_str()), (409, "change-under-way"));
    }
    assert_eq!(node.send("GET /v1/kv/plain/k", &[], "").status, 200);
}

#[test]
fn takes_values_up_to_the_buckets_limit_and_names_it() {
    let node = Replica::new();
    node.put_bucket(
        "small",
        BucketConfig {
            max_value_bytes: 4,
            ..BucketConfig::default()
        },
    );
    assert_eq!(node.send("PUT /v1/kv/small/k", &[], "four").status, 201);
    let got = node.send("PUT /v1/kv/small/k", &[], "five!");
    assert_eq!((got.status, got.code().as_str()), (413, "value-too-large"));
    assert_eq!(got.json()["limit"], 4);
    let default = "v".repeat(VALUE_BYTES_DEFAULT);
    assert_eq!(node.send("PUT /v1/kv/default/k", &[], &default).status, 201);
    let got = node.send("PUT /v1/kv/default/k", &[], &format!("{default}v"));
    assert_eq!(
        (got.status, &got.json()["limit"]),
        (413, &VALUE_BYTES_DEFAULT.into())
    );
}

#[test]
fn refuses_more_siblings_than_a_key_may_have() {
    let node = Replica::new();
    let blind = [("soros-write", "blind")];
    for _ in 0..4 {
        node.send("PUT /v1/kv/plain/k", &blind, "v");
    }
    let got = node.send("PUT /v1/kv/plain/k", &blind, "v");
    assert_eq!(
        (got.status, got.code().as_str()),
        (409, "too-many-siblings")
    );
    let token = got.header(TOKEN);
    assert_eq!(
        node.send("PUT /v1/kv/plain/k", &[(TOKEN, token)], "all")
            .status,
        204
    );
    assert_eq!(&node.send("GET /v1/kv/plain/k", &[], "").body[..], b"all");
}

#[test]
fn refuses_everything_while_it_does_not_serve() {
    let node = Replica::new();
    for (readiness, code) in [
        (Readiness::Starting, "starting"),
        (Readiness::ShuttingDown, "shutting-down"),
    ] {
        node.set_readiness(readiness);
        let got = node.send("GET /v1/kv/default/k", &[], "");
        assert_eq!((got.status, got.code().as_str()), (503, code));
        assert_ne!(got.header("retry-after"), "");
        let head = node.send("HEAD /v1/kv/default/k", &[], "");
        assert_eq!((head.status, head.body.len()), (503, 0));
    }
}

#[test]
fn tells_failed_writes_from_unknown_ones() {
    let (reached, needed) = (1, 2);
    let node = Replica::new();
    node.fail_with(OperationError::OutcomeUnknown { reached, needed });
    let unknown = node.send("PUT /v1/kv/default/k", &[], "v");
    assert_eq!(
        (unknown.status, unknown.code().as_str()),
        (504, "outcome-unknown")
    );
    assert_eq!(unknown.header("soros-outcome"), "unknown");
    assert_eq!(unknown.header("retry-after"), "");
    node.fail_with(OperationError::QuorumUnavailable { reached, needed });
    let refused = node.send("PUT /v1/kv/default/k", &[], "v");
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (503, "quorum-unavailable")
    );
    assert_ne!(refused.header("retry-after"), "");
    assert_eq!(refused.header("soros-outcome"), "");
    node.fail_with(OperationError::ContextRequired {
        context: DotSet::default(),
    });
    let required = node.send("DELETE /v1/kv/plain/k", &[], "");
    assert_eq!(required.status, 428);
    assert_ne!(required.header(TOKEN), "");
}

proptest! {
    #[test]
    fn never_panics_whatever_is_sent(
        method in "(GET|HEAD|PUT|DELETE|POST|X)",
        path in "/v1/(kv/(plain|default)/[!-~]{0,20}|[!-~]{0,30})",
        fields in proptest::collection::vec(
            (
                "(soros-(context|write|consistency|route|ttl|meta-a|siblings)|accept|\
                 if-(none-)?match|content-(type|encoding))",
                proptest::collection::vec(any::<u8>(), 0..30),
            ),
            0..6,
        ),
    ) {
        let node = Replica::new();
        node.add_sibling("plain", "k", 1, Some("v"));
        let mut headers = HeaderMap::new();
        for (name, value) in &fields {
            if let Ok(value) = HeaderValue::from_bytes(value) {
                headers.append(name.parse::<HeaderName>().expect("a name"), value);
            }
        }
        let body = crate::network::RequestBody::full("v");
        if let Ok(mut request) = http::Request::builder().method(&*method).uri(path).body(body) {
            *request.headers_mut() = headers;
            let got = node.answer(request);
            assert!((200..=599).contains(&got.status) && got.status != 500);
        }
    }
}
