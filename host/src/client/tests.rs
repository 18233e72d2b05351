//! This is what the client is promised to do when nodes answer, refuse, break and fall silent.

use super::imitation::{Imitation, Say, nobody, refuse, say};
use super::{
    Client, ClientError, ClientOptions, Consistency, Found, Limits, NodeUrl, Protocol, ReadOptions,
    Route, Silence, Unseen, WriteOptions,
};
use crate::network::problem::Code;
use bytes::Bytes;
use serde_json::json;
use soros_core::id::{BucketName, NodeId, NodeName};
use soros_core::key::{Key, Partition, PartitionCount};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

fn bucket() -> BucketName {
    "default".parse().expect("a bucket")
}

fn key(text: &str) -> Key {
    Key::try_from(text.as_bytes()).expect("a key")
}

fn client(urls: &[&NodeUrl]) -> Client {
    client_with(urls, ClientOptions::default())
}

fn client_with(urls: &[&NodeUrl], options: ClientOptions) -> Client {
    let urls: Vec<NodeUrl> = urls.iter().map(|&url| url.clone()).collect();
    Client::new(&urls, options).expect("a URL")
}

async fn get(client: &Client) -> Result<Found, ClientError> {
    let read = client
        .get(&bucket(), &key("k"), &ReadOptions::default())
        .await;
    read.map(|read| read.found)
}

async fn put(client: &Client) -> Result<bool, ClientError> {
    let written = client
        .put(&bucket(), &key("k"), "v".into(), &WriteOptions::default())
        .await;
    written.map(|written| written.created)
}

#[tokio::test]
async fn reads_and_writes_a_value_with_what_belongs_to_it() {
    let node = Imitation::start(|asked| match asked.method.as_str() {
        "GET" => say(
            200,
            &[("soros-context", "seen"), ("soros-epoch", "7")],
            "value",
        ),
        _ => say(201, &[("soros-context", "written")], ""),
    })
    .await;
    let client = client(&[&node.url]);
    let options = ReadOptions {
        consistency: Some(Consistency::One),
        ..ReadOptions::default()
    };
    let read = client
        .get(&bucket(), &key("a b"), &options)
        .await
        .expect("a value");
    let Found::Value(value) = read.found else {
        panic!("{:?}", read.found)
    };
    assert_eq!(value, "value");
    let options = WriteOptions {
        context: read.facts.context,
        content_type: Some("text/plain".parse().expect("a type")),
        unseen: Unseen::Sibling,
        ..WriteOptions::default()
    };
    let value = Bytes::from_static(b"new");
    let written = client
        .put(&bucket(), &key("a b"), value, &options)
        .await
        .expect("an answer");
    assert!(written.created);
    assert_eq!(
        written.facts.context.expect("a context").as_str(),
        "written"
    );
    let asked = node.asked();
    assert_eq!(
        node.lines(),
        ["GET /v1/kv/default/a%20b", "PUT /v1/kv/default/a%20b"]
    );
    assert_eq!(asked[0].header("soros-consistency"), Some("one"));
    assert_eq!(asked[1].header("soros-context"), Some("seen"));
    assert_eq!(asked[1].header("content-type"), Some("text/plain"));
    assert_eq!(asked[1].header("soros-write"), Some("blind"));
    assert_eq!(asked[1].body, "new");
    assert_eq!(node.connections(), 1);
}

#[tokio::test]
async fn goes_to_the_next_node_when_one_refuses_or_cannot_be_reached() {
    for code in [
        Code::QuorumUnavailable,
        Code::ShuttingDown,
        Code::Overloaded,
        Code::DiskFull,
    ] {
        let refusing = Imitation::start(move |_| refuse(code)).await;
        let serving = Imitation::start(|_| say(201, &[], "")).await;
        let client = client(&[&nobody().url, &refusing.url, &serving.url]);
        assert!(put(&client).await.expect("an answer"), "{code}");
        assert!(put(&client).await.expect("an answer"), "{code}");
        assert_eq!(refusing.asked().len(), 1, "the client remembers who served");
    }
}

#[tokio::test]
async fn never_sends_a_write_again_that_may_have_been_applied() {
    let says: [fn() -> Say; 4] = [
        || refuse(Code::OutcomeUnknown),
        || refuse(Code::Internal),
        || Say::Hangup,
        // A proxy that answers for a node knows nothing of the write.
        || say(503, &[], "busy"),
    ];
    for (at, says) in says.into_iter().enumerate() {
        let failing = Imitation::start(move |_| says()).await;
        let serving = Imitation::start(|_| say(200, &[], "value")).await;
        let client = client(&[&failing.url, &serving.url]);
        put(&client).await.expect_err("an unknown outcome");
        assert_eq!(serving.asked().len(), 0, "case {at}");
        let Ok(Found::Value(value)) = get(&client).await else {
            panic!("case {at}")
        };
        assert_eq!(value, "value", "a read goes on");
    }
}

#[tokio::test]
async fn gives_up_a_silent_node_in_time() {
    let silent = Imitation::start(|_| Say::Silence).await;
    let serving = Imitation::start(|_| say(200, &[], "value")).await;
    let attempt = Duration::from_millis(50);
    let limits = Limits {
        attempt,
        ..Limits::default()
    };
    let options = ClientOptions {
        limits,
        ..ClientOptions::default()
    };
    let client = client_with(&[&silent.url, &serving.url], options);
    let error = put(&client).await.expect_err("no answer");
    let ClientError::NoAnswer {
        cause: Silence::TimedOut(after),
        ..
    } = error
    else {
        panic!("{error}")
    };
    assert_eq!(after, attempt);
    assert!(get(&client).await.is_ok());
}

#[tokio::test]
async fn tells_an_absent_key_from_an_absent_bucket() {
    let node = Imitation::start(|asked| {
        let code = match asked.target.as_str() {
            "/v1/kv/default/k" => Code::KeyNotFound,
            _ => Code::BucketNotFound,
        };
        refuse(code)
    })
    .await;
    let client = client(&[&node.url]);
    assert!(matches!(get(&client).await, Ok(Found::Nothing)));
    let other: BucketName = "other".parse().expect("a bucket");
    let error = client
        .get(&other, &key("k"), &ReadOptions::default())
        .await
        .expect_err("no bucket");
    assert_eq!(error.code(), Some(Code::BucketNotFound));
}

#[tokio::test]
async fn reads_siblings_whatever_form_they_come_in() {
    let node = Imitation::start(|asked| match asked.header("accept") {
        None => say(
            300,
            &[("content-type", "multipart/mixed; boundary=x")],
            "--x--",
        ),
        Some(_) => say(
            300,
            &[("soros-context", "both")],
            json!({"siblings": [
                {"value": "YQ==", "content_type": "text/plain", "time": "t", "writer": "n1",
                 "deleted": false, "meta": {"a": "b"}},
                {"value": null, "content_type": null, "deleted": true, "writer": "n2"},
            ]})
            .to_string(),
        ),
    })
    .await;
    let read = client(&[&node.url])
        .get(&bucket(), &key("k"), &ReadOptions::default())
        .await;
    let read = read.expect("siblings");
    let Found::Siblings(siblings) = read.found else {
        panic!("{:?}", read.found)
    };
    assert_eq!(siblings[0].value, "a");
    assert!(siblings[1].deleted);
    assert_eq!(read.facts.context.expect("a context").as_str(), "both");
}

#[tokio::test]
async fn replaces_a_connection_that_the_node_has_closed() {
    let node = Imitation::start(|_| say(200, &[("connection", "close")], "value")).await;
    let client = client(&[&node.url]);
    for _ in 0..3 {
        assert!(get(&client).await.is_ok());
    }
    assert_eq!(node.connections(), 3);
}

#[tokio::test]
async fn carries_many_requests_on_one_http2_connection() {
    let node = Imitation::start(|_| say(200, &[], "value")).await;
    let options = ClientOptions {
        protocol: Protocol::Http2,
        ..ClientOptions::default()
    };
    let client = client_with(&[&node.url], options);
    let (one, two, three) = tokio::join!(get(&client), get(&client), get(&client));
    assert!(one.is_ok() && two.is_ok() && three.is_ok());
    assert_eq!(node.connections(), 1);
    assert_eq!(node.asked().len(), 3);
}

/// A map of two nodes in which partition `p` of 16 lives on node `p % 2` alone, or on the other
/// one when `epoch` is even.
fn map(epoch: u64, urls: [&NodeUrl; 2]) -> String {
    let names = ["n1", "n2"];
    let ids = names.map(|name| NodeId::of(&name.parse::<NodeName>().expect("a name")));
    let mut members = ids;
    members.sort();
    let at = |id: NodeId| {
        members
            .iter()
            .position(|&member| member == id)
            .expect("a member")
    };
    let turn = usize::from(epoch.is_multiple_of(2));
    let cells: Vec<usize> = (0..16).map(|cell| at(ids[(cell + turn) % 2])).collect();
    let node = |at: usize| json!({"state": "active", "identity": {"url": urls[at].to_string()}});
    json!({
        "epoch": epoch,
        "nodes": {ids[0].0.to_string(): node(0), ids[1].0.to_string(): node(1)},
        "buckets": {"default": {"config": {"placement": "default"}}},
        "placements": {"default": {"table":
            {"partitions": 16, "copies": 1, "members": members, "cells": cells}}},
    })
    .to_string()
}

#[tokio::test]
async fn goes_straight_to_a_replica_and_follows_a_newer_map() {
    static EPOCH: AtomicUsize = AtomicUsize::new(1);
    let second = Imitation::start(|_| say(204, &[("soros-epoch", "2")], "")).await;
    let second_url = second.url.clone();
    let own: std::sync::Arc<std::sync::OnceLock<NodeUrl>> = std::sync::Arc::default();
    let own_url = std::sync::Arc::clone(&own);
    let first = Imitation::start(move |asked| match asked.target.as_str() {
        "/v1/cluster/map" => {
            let epoch = u64::try_from(EPOCH.fetch_add(1, Ordering::Relaxed)).expect("a number");
            say(
                200,
                &[],
                map(epoch, [own_url.get().expect("started"), &second_url]),
            )
        }
        _ => say(204, &[("soros-epoch", "1")], ""),
    })
    .await;
    own.set(first.url.clone()).expect("set once");
    let options = ClientOptions {
        route: Route::Smart,
        ..ClientOptions::default()
    };
    let client = client_with(&[&first.url], options);
    let count = PartitionCount::try_from(16).expect("a power of two");
    let odd = (0..).map(|number| key(&number.to_string()));
    let odd = odd
        .into_iter()
        .find(|key| Partition::of(key, count).index() % 2 == 1);
    let odd = odd.expect("half of all keys");
    let (bucket, options) = (bucket(), WriteOptions::default());
    let write = || client.put(&bucket, &odd, "v".into(), &options);
    write().await.expect("an answer");
    assert_eq!((first.asked().len(), second.asked().len()), (1, 1));
    // The second node's answer named epoch 2, in which the first holds the key.
    write().await.expect("an answer");
    assert_eq!(first.lines()[1], "GET /v1/cluster/map");
    assert!(first.lines()[2].starts_with("PUT "));
    assert_eq!(second.asked().len(), 1);
}

#[tokio::test]
async fn tells_what_a_node_said_rather_than_that_another_is_gone() {
    let refusing = Imitation::start(|_| refuse(Code::Starting)).await;
    let error = put(&client(&[&refusing.url, &nobody().url]))
        .await
        .expect_err("nobody serves");
    assert_eq!(error.code(), Some(Code::Starting));
}
