//! These are the tests of what a reader is shown: siblings, resolved values, what is not modified.

use super::TOKEN;
use super::replica::{Got, Replica, merged};
use crate::peer::api::Choice;
use std::sync::Arc;

const MULTIPART: [(&str, &str); 1] = [("accept", "multipart/mixed")];
const JSON: [(&str, &str); 1] = [("accept", "application/vnd.soros.siblings+json")];

/// A part of a message: its headers as they are, and its content.
type Part = (String, String);

/// The parts of a `multipart/mixed` answer, by RFC 2046.
#[track_caller]
fn parts(got: &Got) -> Vec<Part> {
    let (kind, boundary) = got
        .header("content-type")
        .split_once("; boundary=")
        .expect("parts");
    assert_eq!(kind, "multipart/mixed");
    let text = format!("\r\n{}", std::str::from_utf8(&got.body).expect("text"));
    let delimiter = format!("\r\n--{boundary}");
    let mut pieces = text.split(&delimiter);
    assert_eq!(pieces.next(), Some(""), "nothing before the first part");
    let mut pieces: Vec<&str> = pieces.collect();
    assert_eq!(
        pieces.pop(),
        Some("--\r\n"),
        "the last line closes the message"
    );
    let part = |piece: &str| {
        let piece = piece.strip_prefix("\r\n").expect("a line's end");
        let (head, content) = piece.split_once("\r\n\r\n").expect("an empty line");
        (head.to_owned(), content.to_owned())
    };
    pieces.into_iter().map(part).collect()
}

fn with_siblings(bucket: &str) -> Arc<Replica> {
    let node = Replica::new();
    node.add_sibling(bucket, "k", 30, Some("late"));
    node.add_sibling(bucket, "k", 10, Some("early"));
    node.add_sibling(bucket, "k", 20, None);
    node
}

#[test]
fn shows_siblings_as_parts_in_the_order_of_their_times() {
    let node = with_siblings("plain");
    for fields in [&[][..], &MULTIPART, &[("accept", "text/plain")]] {
        let got = node.send("GET /v1/kv/plain/k", fields, "");
        assert_eq!((got.status, got.header("soros-siblings")), (300, "3"));
        assert_eq!(got.header("soros-resolved-by"), "");
        assert_ne!(got.header("etag"), "");
        let parts = parts(&got);
        let contents: Vec<&str> = parts.iter().map(|(_, content)| content.as_str()).collect();
        assert_eq!(contents, ["early", "", "late"]);
        assert!(parts[0].0.contains("Content-Type: text/plain"));
        assert!(parts[0].0.contains("Soros-Meta-From: early"));
        assert!(parts[1].0.starts_with("Soros-Deleted: true"));
        assert!(
            parts[2]
                .0
                .contains("Soros-Time: 1970-01-01T00:00:00.000030Z")
        );
        assert!(parts[2].0.contains("Soros-Writer: n1"));
    }
}

#[test]
fn shows_siblings_as_json() {
    let node = with_siblings("plain");
    let got = node.send("GET /v1/kv/plain/k", &JSON, "");
    assert_eq!((got.status, got.header("soros-siblings")), (300, "3"));
    assert_eq!(
        got.header("content-type"),
        "application/vnd.soros.siblings+json"
    );
    let json = got.json();
    let siblings = json["siblings"].as_array().expect("siblings");
    let values: Vec<_> = siblings
        .iter()
        .map(|sibling| sibling["value"].as_str())
        .collect();
    assert_eq!(values, [Some("ZWFybHk="), None, Some("bGF0ZQ==")]);
    let deleted: Vec<_> = siblings
        .iter()
        .map(|sibling| sibling["deleted"].as_bool())
        .collect();
    assert_eq!(deleted, [Some(false), Some(true), Some(false)]);
    assert_eq!(siblings[0]["meta"]["from"], "early");
    assert_eq!(siblings[0]["writer"], "n1");
    assert_eq!(siblings[0]["content_type"], "text/plain");
    assert_eq!(siblings[0]["time"], "1970-01-01T00:00:00.000010Z");
}

#[test]
fn merges_siblings_by_the_token_they_came_with() {
    let node = with_siblings("plain");
    let read = node.send("GET /v1/kv/plain/k", &[], "");
    let put = node.send(
        "PUT /v1/kv/plain/k",
        &[(TOKEN, read.header(TOKEN))],
        "merged",
    );
    assert_eq!(put.status, 204);
    let got = node.send("GET /v1/kv/plain/k", &[], "");
    assert_eq!((got.status, &got.body[..]), (200, &b"merged"[..]));
}

#[test]
fn shows_one_version_in_the_form_that_was_asked_for() {
    let node = Replica::new();
    node.send(
        "PUT /v1/kv/default/k",
        &[("content-type", "text/plain")],
        "v",
    );
    let got = node.send("GET /v1/kv/default/k", &MULTIPART, "");
    assert_eq!((got.status, got.header("soros-siblings")), (200, "1"));
    assert_eq!(parts(&got).len(), 1);
    let got = node.send("GET /v1/kv/default/k", &JSON, "");
    assert_eq!((got.status, got.header("soros-siblings")), (200, "1"));
    assert_eq!(got.json()["siblings"][0]["value"], "dg==");
    let raw = node.send("GET /v1/kv/default/k", &[], "");
    assert_ne!(got.header("etag"), raw.header("etag"));
}

#[test]
fn shows_a_key_of_tombstones_as_absent() {
    let node = Replica::new();
    node.add_sibling("plain", "k", 1, None);
    node.add_sibling("plain", "k", 2, None);
    for fields in [&[][..], &MULTIPART, &JSON] {
        assert_eq!(node.send("GET /v1/kv/plain/k", fields, "").status, 404);
    }
    assert_eq!(node.send("DELETE /v1/kv/plain/k", &[], "").status, 204);
}

#[test]
fn shows_what_a_resolver_chose_and_who_it_is() {
    let node = Replica::new();
    let early = node.add_sibling("default", "k", 1, Some("early"));
    let late = node.add_sibling("default", "k", 2, Some("late"));
    node.resolve_to(Choice::Keep(early));
    let got = node.send("GET /v1/kv/default/k", &[], "");
    assert_eq!((got.status, &got.body[..]), (200, &b"early"[..]));
    assert_eq!(got.header("soros-siblings"), "2");
    assert_eq!(got.header("soros-resolved-by"), "lww@0.1.0");
    assert_eq!(got.header("soros-meta-from"), "early");
    assert_eq!(got.header("soros-time"), "1970-01-01T00:00:00.000001Z");
    let tag = got.header("etag").to_owned();
    node.resolve_to(Choice::Keep(late));
    assert_ne!(
        node.send("GET /v1/kv/default/k", &[], "").header("etag"),
        tag
    );
}

#[test]
fn shows_what_a_resolver_made() {
    let node = with_siblings("default");
    node.resolve_to(merged("a/b", "made"));
    let got = node.send("GET /v1/kv/default/k", &[], "");
    assert_eq!((got.status, &got.body[..]), (200, &b"made"[..]));
    assert_eq!(got.header("content-type"), "a/b");
    assert_eq!(
        (got.header("soros-siblings"), got.header("soros-time")),
        ("3", "")
    );
    let tag = got.header("etag").to_owned();
    node.resolve_to(merged("a/b", "made otherwise"));
    assert_ne!(
        node.send("GET /v1/kv/default/k", &[], "").header("etag"),
        tag
    );
    node.resolve_to(merged("no\ntype", "made"));
    let got = node.send("GET /v1/kv/default/k", &[], "");
    assert_eq!(got.header("content-type"), "application/octet-stream");
}

#[test]
fn shows_nothing_where_a_resolver_keeps_a_tombstone() {
    let node = with_siblings("default");
    let tombstone = node.add_sibling("default", "k", 40, None);
    for choice in [Choice::Tombstone, Choice::Keep(tombstone)] {
        node.resolve_to(choice);
        let got = node.send("GET /v1/kv/default/k", &[], "");
        assert_eq!((got.status, got.code().as_str()), (404, "key-not-found"));
        assert_eq!(got.header("soros-resolved-by"), "lww@0.1.0");
        assert_eq!(got.header("soros-siblings"), "4");
        assert_ne!(got.header(TOKEN), "");
        let all = node.send("GET /v1/kv/default/k", &MULTIPART, "");
        assert_eq!((all.status, parts(&all).len()), (300, 4));
    }
}

#[test]
fn shows_all_versions_where_a_resolver_fails_or_they_are_asked_for() {
    let node = with_siblings("default");
    let got = node.send("GET /v1/kv/default/k", &[], "");
    assert_eq!((got.status, parts(&got).len()), (300, 3));
    node.resolve_to(merged("a/b", "made"));
    let got = node.send("GET /v1/kv/default/k", &JSON, "");
    assert_eq!((got.status, got.header("soros-resolved-by")), (300, ""));
    let likes_one = [("accept", "a/b, multipart/mixed;q=0.5")];
    assert_eq!(
        node.send("GET /v1/kv/default/k", &likes_one, "").status,
        200
    );
}

#[test]
fn spares_a_reader_what_it_has() {
    let node = with_siblings("plain");
    node.send("PUT /v1/kv/plain/one", &[], "v");
    for (path, fields) in [
        ("one", &[][..]),
        ("k", &[]),
        ("k", &JSON),
        ("one", &MULTIPART),
    ] {
        let request = format!("GET /v1/kv/plain/{path}");
        let got = node.send(&request, fields, "");
        let tag = got.header("etag").to_owned();
        for condition in [tag.clone(), format!("\"x\", W/{tag}"), "*".to_owned()] {
            let fields = [fields, &[("if-none-match", &*condition)]].concat();
            let spared = node.send(&request, &fields, "");
            assert_eq!((spared.status, spared.body.len()), (304, 0));
            assert_eq!(spared.header("etag"), tag);
            assert_eq!(spared.header(TOKEN), got.header(TOKEN));
            assert_eq!(spared.header("content-type"), "");
            assert_eq!(spared.header("cache-control"), "no-cache");
            assert_eq!(spared.header("vary"), "accept");
        }
        let fields = [fields, &[("if-none-match", "\"x\"")]].concat();
        assert_eq!(node.send(&request, &fields, "").status, got.status);
    }
    let head = node.send("HEAD /v1/kv/plain/one", &[("if-none-match", "*")], "");
    assert_eq!((head.status, head.header("content-length")), (304, ""));
}

#[test]
fn refuses_a_reader_what_it_does_not_want() {
    let node = Replica::new();
    let put = node.send("PUT /v1/kv/plain/k", &[], "v");
    let tag = put.header("etag");
    let got = node.send("GET /v1/kv/plain/k", &[("if-match", "\"x\"")], "");
    assert_eq!(
        (got.status, got.code().as_str()),
        (412, "precondition-failed")
    );
    assert_eq!(got.header("etag"), tag);
    assert_eq!(got.header(TOKEN), put.header(TOKEN));
    assert_eq!(got.header("content-type"), "application/problem+json");
    assert_eq!(
        node.send("GET /v1/kv/plain/k", &[("if-match", tag)], "")
            .status,
        200
    );
    for name in ["if-match", "if-none-match"] {
        assert_eq!(
            node.send("GET /v1/kv/plain/missing", &[(name, "*")], "")
                .status,
            404
        );
    }
    let refused = node.send("GET /v1/kv/plain/k", &[("accept", "*/*;q=0")], "");
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (406, "not-acceptable")
    );
    assert_eq!(refused.header(TOKEN), put.header(TOKEN));
}
