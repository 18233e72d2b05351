//! These are the handler's tests: what a client sends, and what it gets of a node in memory.

mod refusals;
mod replica;
mod shown;
mod wire;

use replica::{Got, Replica, bucket};
use soros_core::map::bucket::BucketConfig;
use soros_core::map::change::Change;
use soros_core::operation::{Basis, Consistency};

const TOKEN: &str = "soros-context";

/// What every answer about a key says.
#[track_caller]
fn check_facts(got: &Got, achieved: &str, served_by: &str) {
    assert_ne!(got.header(TOKEN), "", "no context");
    assert_eq!(got.header("soros-achieved"), achieved);
    assert_eq!(got.header("soros-served-by"), served_by);
    assert_eq!(got.header("soros-epoch"), "2");
}

#[test]
fn stores_a_value_and_gives_it_back_as_it_was() {
    let node = Replica::new();
    let fields = [
        ("content-type", "text/plain; charset=utf-8"),
        ("content-encoding", "gzip"),
        ("soros-meta-origin", "København"),
    ];
    let put = node.send("PUT /v1/kv/default/a%20key", &fields, "hello");
    assert_eq!((put.status, put.body.len()), (201, 0));
    check_facts(&put, "w=2/3", "n1");
    let get = node.send("GET /v1/kv/default/a%20key", &[], "");
    assert_eq!((get.status, &get.body[..]), (200, &b"hello"[..]));
    check_facts(&get, "r=2/3", "n2");
    for (name, value) in &fields[..2] {
        assert_eq!(get.header(name), *value);
    }
    assert_eq!(
        get.headers["soros-meta-origin"].as_bytes(),
        "København".as_bytes()
    );
    assert_eq!(get.header("soros-writer"), "n1");
    assert_eq!(get.header("soros-time"), "1970-01-01T00:00:00.000001Z");
    assert_eq!(get.header("soros-siblings"), "");
    assert_eq!(get.header("x-content-type-options"), "nosniff");
}

#[test]
fn says_whether_a_live_version_was_known() {
    let node = Replica::new();
    let status = |request: &str| node.send(request, &[], "v").status;
    assert_eq!(status("DELETE /v1/kv/default/k"), 204);
    assert_eq!(status("PUT /v1/kv/default/k"), 201);
    assert_eq!(status("PUT /v1/kv/default/k"), 204);
    assert_eq!(status("DELETE /v1/kv/default/k"), 204);
    assert_eq!(status("PUT /v1/kv/default/k"), 201);
}

#[test]
fn gives_values_of_no_bytes_and_no_type() {
    let node = Replica::new();
    node.send("PUT /v1/kv/default/k", &[], "");
    let get = node.send("GET /v1/kv/default/k", &[], "");
    assert_eq!((get.status, get.body.len()), (200, 0));
    assert_eq!(get.header("content-type"), "application/octet-stream");
}

#[test]
fn takes_keys_byte_for_byte() {
    let node = Replica::new();
    let keys = [
        "a/b", "a//b", "a/../b", "a/./b", "a/b/", "A/b", "a%2Bb", "%00", "%FF", "%25",
    ];
    for key in keys {
        node.send(&format!("PUT /v1/kv/default/{key}"), &[], key);
    }
    for key in keys {
        let get = node.send(&format!("GET /v1/kv/default/{key}"), &[], "");
        assert_eq!(&get.body[..], key.as_bytes());
    }
    let spelt = |key: &str| {
        node.send(&format!("GET /v1/kv/d%65fault/{key}"), &[], "")
            .body
    };
    assert_eq!(&spelt("a+b")[..], b"a%2Bb");
    assert_eq!(&spelt("a%2fb")[..], b"a/b");
    assert_eq!(&spelt("%ff")[..], b"%FF");
}

#[test]
fn gives_a_context_for_what_is_not_there() {
    let node = Replica::new();
    let never = node.send("GET /v1/kv/plain/k", &[], "");
    assert_eq!(
        (never.status, never.code().as_str()),
        (404, "key-not-found")
    );
    check_facts(&never, "r=2/3", "n2");
    let token = never.header(TOKEN).to_owned();
    assert_eq!(
        node.send("PUT /v1/kv/plain/k", &[(TOKEN, &token)], "v")
            .status,
        201
    );
    let read = node.send("GET /v1/kv/plain/k", &[], "");
    let deleted = node.send("DELETE /v1/kv/plain/k", &[(TOKEN, read.header(TOKEN))], "");
    assert_eq!(deleted.status, 204);
    check_facts(&deleted, "w=2/3", "n1");
    let gone = node.send("GET /v1/kv/plain/k", &[], "");
    assert_eq!((gone.status, gone.header("etag")), (404, ""));
    assert_ne!(gone.header(TOKEN), token);
}

#[test]
fn asks_for_a_context_where_nothing_merges() {
    let node = Replica::new();
    node.send("PUT /v1/kv/plain/k", &[], "first");
    for request in ["PUT /v1/kv/plain/k", "DELETE /v1/kv/plain/k"] {
        let refused = node.send(request, &[], "second");
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (428, "context-required")
        );
        let token = refused.header(TOKEN);
        assert_eq!(
            token,
            node.send("GET /v1/kv/plain/k", &[], "").header(TOKEN)
        );
    }
    let token = node
        .send("GET /v1/kv/plain/k", &[], "")
        .header(TOKEN)
        .to_owned();
    assert_eq!(
        node.send("PUT /v1/kv/plain/k", &[(TOKEN, &token)], "second")
            .status,
        204
    );
    assert_eq!(
        &node.send("GET /v1/kv/plain/k", &[], "").body[..],
        b"second"
    );
    // What the token has not seen stays.
    node.send("PUT /v1/kv/plain/k", &[(TOKEN, &token)], "third");
    assert_eq!(
        node.send("GET /v1/kv/plain/k", &[], "")
            .header("soros-siblings"),
        "2"
    );
}

#[test]
fn keeps_a_blind_write_beside_what_is_there() {
    let node = Replica::new();
    node.send("PUT /v1/kv/plain/k", &[], "first");
    let blind = node.send("PUT /v1/kv/plain/k", &[("soros-write", "blind")], "second");
    assert_eq!((blind.status, blind.header("etag")), (204, ""));
    assert_eq!(
        node.send("GET /v1/kv/plain/k", &[], "")
            .header("soros-siblings"),
        "2"
    );
    // Its token has seen itself alone.
    node.send(
        "PUT /v1/kv/plain/k",
        &[(TOKEN, blind.header(TOKEN))],
        "third",
    );
    let got = node.send("GET /v1/kv/plain/k", &[], "");
    let text = String::from_utf8_lossy(&got.body).into_owned();
    assert!(
        text.contains("first") && text.contains("third") && !text.contains("second"),
        "{text}"
    );
}

#[test]
fn writes_blindly_as_always_where_a_resolver_merges() {
    let node = Replica::new();
    node.send("PUT /v1/kv/default/k", &[], "first");
    node.send(
        "PUT /v1/kv/default/k",
        &[("soros-write", "blind")],
        "second",
    );
    let got = node.send("GET /v1/kv/default/k", &[], "");
    assert_eq!((got.status, &got.body[..]), (200, &b"second"[..]));
    let asked: Vec<Basis> = node.writes().into_iter().map(|write| write.basis).collect();
    assert_eq!(asked, [Basis::Unsaid, Basis::Unsaid]);
}

#[test]
fn names_in_a_token_all_that_was_met_and_nothing_else() {
    let node = Replica::new();
    let first = node.add_sibling("plain", "k", 1, Some("first"));
    let read = node
        .send("GET /v1/kv/plain/k", &[], "")
        .header(TOKEN)
        .to_owned();
    let unseen = node.add_sibling("plain", "k", 2, Some("unseen"));
    let put = node
        .send("PUT /v1/kv/plain/k", &[(TOKEN, &read)], "v")
        .header(TOKEN)
        .to_owned();
    let seen = node.opened("plain", "k", &put);
    assert!(seen.has(&first) && !seen.has(&unseen));
    let all = node
        .send("GET /v1/kv/plain/k", &[], "")
        .header(TOKEN)
        .to_owned();
    let seen_by_reader = node.opened("plain", "k", &all);
    // The first is gone, and a reader has met it all the same.
    assert!(seen_by_reader.includes(&seen) && seen_by_reader.has(&unseen));
}

#[test]
fn takes_a_token_for_its_own_key_and_bucket_only() {
    let node = Replica::new();
    let token = node
        .send("PUT /v1/kv/plain/k", &[], "v")
        .header(TOKEN)
        .to_owned();
    let status = |request: &str, token: &str| {
        let got = node.send(request, &[(TOKEN, token)], "w");
        if got.status < 400 {
            got.status.to_string()
        } else {
            got.code()
        }
    };
    assert_eq!(status("GET /v1/kv/plain/k", &token), "200");
    assert_eq!(status("GET /v1/kv/plain/other", &token), "bad-context");
    assert_eq!(status("PUT /v1/kv/plain/other", &token), "bad-context");
    assert_eq!(status("DELETE /v1/kv/default/k", &token), "bad-context");
    for forged in [
        "",
        "x",
        "AAAA",
        &format!("{token}AAAA"),
        &token[..token.len() - 2],
    ] {
        assert_eq!(
            status("PUT /v1/kv/plain/k", forged),
            "bad-context",
            "{forged}"
        );
    }
    node.change(&Change::PurgeBucket {
        name: bucket("plain"),
    });
    node.put_bucket(
        "plain",
        BucketConfig {
            resolver: None,
            ..BucketConfig::default()
        },
    );
    assert_eq!(status("PUT /v1/kv/plain/k", &token), "bad-context");
}

#[test]
fn tags_what_a_reader_gets_and_nothing_else() {
    let node = Replica::new();
    let put = node.send("PUT /v1/kv/plain/k", &[], "one");
    let get = node.send("GET /v1/kv/plain/k", &[], "");
    assert_ne!(put.header("etag"), "");
    assert_eq!(put.header("etag"), get.header("etag"));
    let next = node.send("PUT /v1/kv/plain/k", &[(TOKEN, get.header(TOKEN))], "one");
    assert_ne!(next.header("etag"), get.header("etag"));
    let token = next.header(TOKEN);
    assert_eq!(
        node.send("DELETE /v1/kv/plain/k", &[(TOKEN, token)], "")
            .header("etag"),
        ""
    );
}

#[test]
fn tags_no_write_that_was_merged_on_the_way() {
    let node = Replica::new();
    node.merge_to("merged");
    let put = node.send("PUT /v1/kv/default/k", &[], "mine");
    assert_eq!((put.status, put.header("etag")), (201, ""));
    assert_eq!(
        &node.send("GET /v1/kv/default/k", &[], "").body[..],
        b"merged"
    );
}

#[test]
fn asks_as_many_replicas_as_the_client_wants() {
    let node = Replica::new();
    for consistency in ["one", "quorum", "all"] {
        node.send(
            "GET /v1/kv/default/k",
            &[("soros-consistency", consistency)],
            "",
        );
    }
    node.send("GET /v1/kv/default/k", &[], "");
    let asked: Vec<_> = node.reads().iter().map(|read| read.consistency).collect();
    let expected = [
        Consistency::One,
        Consistency::Quorum,
        Consistency::All,
        Consistency::Quorum,
    ];
    assert_eq!(asked, expected);
}

#[test]
fn answers_a_head_with_the_headers_of_the_get() {
    let node = Replica::new();
    node.send("PUT /v1/kv/plain/k", &[("soros-meta-a", "b")], "value");
    node.add_sibling("plain", "many", 1, Some("a"));
    node.add_sibling("plain", "many", 2, None);
    for key in ["k", "many", "missing"] {
        let get = node.send(&format!("GET /v1/kv/plain/{key}"), &[], "");
        let mut head = node.send(&format!("HEAD /v1/kv/plain/{key}"), &[], "");
        assert_eq!((head.status, head.body.len()), (get.status, 0));
        let length = head.headers.remove("content-length").expect("a length");
        assert_eq!(length.to_str().expect("text"), get.body.len().to_string());
        assert_eq!(head.headers, get.headers);
    }
}

#[test]
fn redirects_to_a_replica_when_it_is_asked_to_and_holds_nothing() {
    let node = Replica::new();
    let redirect = [("soros-route", "redirect")];
    assert_eq!(
        node.send("PUT /v1/kv/default/k", &redirect, "v").status,
        201
    );
    node.send_elsewhere("n3");
    assert_eq!(node.send("GET /v1/kv/default/k", &[], "").status, 200);
    for method in ["GET", "HEAD", "PUT", "DELETE"] {
        let got = node.send(
            &format!("{method} /v1/kv/default/a/..//%2Fb%FFä"),
            &redirect,
            "v",
        );
        assert_eq!((got.status, got.body.len()), (307, 0));
        let path = "/v1/kv/default/a/..//%2Fb%FF%C3%A4";
        assert_eq!(
            got.header("location"),
            format!("http://n3.example:7070{path}")
        );
        assert_eq!(got.header("soros-epoch"), "2");
    }
    assert_eq!(node.reads().len(), 1);
}
