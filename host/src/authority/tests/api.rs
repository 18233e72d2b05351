//! These tests are about the HTTP API of the map, asked at any node of a small cluster.

use super::cluster::{Cluster, node_id, soon};
use crate::authority::Emptiness;
use crate::authority::api::{AuthorityApi, WAITING_MAX};
use crate::network::{HttpService, RequestBody, Trigger, shutdown};
use futures_util::FutureExt;
use http::{HeaderMap, Method, Request, StatusCode};
use serde_json::{Value, json};
use soros_core::map::settings::Durability;
use std::time::Duration;
use tokio::time::sleep;

const ALL: [&str; 3] = ["n1", "n2", "n3"];

/// An answer, its body read.
struct Answered {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

impl Answered {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    fn code(&self) -> &str {
        self.body
            .get("code")
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    #[track_caller]
    fn is(self, status: u16, code: &str) -> Answered {
        assert_eq!(
            (self.status.as_u16(), self.code()),
            (status, code),
            "{}",
            self.body
        );
        self
    }
}

/// The API of one node.
struct Api {
    api: AuthorityApi,
    stop: Trigger,
}

impl Api {
    fn of(cluster: &Cluster, name: &str) -> Api {
        let (stop, shutdown) = shutdown();
        Api {
            api: AuthorityApi::new(cluster.node(name), shutdown),
            stop,
        }
    }

    async fn send(
        &self,
        method: Method,
        target: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answered {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(RequestBody::full(body.to_owned())).unwrap();
        let response = soon(self.api.call(request)).await;
        let (parts, body) = response.into_parts();
        let bytes = body.bytes().unwrap();
        let body = if bytes.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(bytes).unwrap()
        };
        Answered {
            status: parts.status,
            headers: parts.headers,
            body,
        }
    }

    async fn get(&self, target: &str) -> Answered {
        self.send(Method::GET, target, &[], "").await
    }

    async fn put(&self, target: &str, body: &Value) -> Answered {
        self.send(Method::PUT, target, &[], &body.to_string()).await
    }

    async fn delete(&self, target: &str) -> Answered {
        self.send(Method::DELETE, target, &[], "").await
    }
}

async fn three() -> (Cluster, Api) {
    let cluster = Cluster::founded(&ALL).await;
    let api = Api::of(&cluster, "n2");
    (cluster, api)
}

#[tokio::test(start_paused = true)]
async fn buckets_are_made_read_changed_listed_and_deleted() {
    let (cluster, api) = three().await;
    let made = api
        .put("/v1/buckets/b", &json!({"resolver": null}))
        .await
        .is(201, "");
    assert_eq!(made.body["resolver"], Value::Null);
    assert_eq!(made.body["max_value_bytes"], 4_194_304);
    assert!(made.body.get("not_ready").is_none());
    let epoch = cluster.keeper("n3").epoch().to_string();
    assert_eq!(made.header("soros-epoch"), Some(&*epoch));
    let read = Api::of(&cluster, "n3")
        .get("/v1/buckets/%62")
        .await
        .is(200, "");
    assert_eq!(read.body, made.body);
    assert_eq!(read.header("etag"), Some(&*format!("\"{epoch}\"")));
    let changed = api.put("/v1/buckets/b", &json!({})).await.is(200, "");
    assert_eq!(
        changed.body["resolver"],
        json!({"plugin": "lww", "config": {}})
    );
    let listed = api.get("/v1/buckets").await.is(200, "").body;
    let names: Vec<_> = listed["buckets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|b| &b["name"])
        .collect();
    assert_eq!(names, ["b", "default"]);
    cluster.net.say(Emptiness::HasKeys);
    api.delete("/v1/buckets/b").await.is(409, "in-use");
    cluster.net.say(Emptiness::Unknown);
    api.delete("/v1/buckets/b")
        .await
        .is(503, "quorum-unavailable");
    let gone = api.delete("/v1/buckets/b?purge=true").await.is(204, "");
    assert!(gone.body.is_null());
    api.get("/v1/buckets/b").await.is(404, "bucket-not-found");
    api.delete("/v1/buckets/b")
        .await
        .is(404, "bucket-not-found");
}

/// What is put where, and how it is refused.
const WRONG: &str = r#"
/v1/buckets/A | {} | 400 bad-bucket-name
/v1/buckets/a% | {} | 400 bad-request
/v1/buckets/a?x=1 | {} | 400 bad-request
/v1/buckets/a/b | {} | 404 no-such-route
/v1/buckets/a | { | 400 bad-request
/v1/buckets/a | [] | 400 bad-request
/v1/buckets/a | ["default"] | 400 bad-request
/v1/buckets/a | {"name": "a"} | 400 bad-request
/v1/buckets/a | {"resolver": ["lww"]} | 400 bad-request
/v1/buckets/a | {"placement": "default", "placement": "default"} | 400 bad-request
/v1/buckets/a | {"max_value_bytes": "1"} | 400 bad-request
/v1/buckets/a | {"max_value_bytes": -1} | 422 bad-config
/v1/buckets/a | {"max_value_bytes": 67108865} | 422 bad-config
/v1/buckets/a | {"placement": "moon"} | 422 unknown-reference
/v1/buckets/a | {"resolver": {"plugin": "moon"}} | 422 unknown-reference
/v1/buckets/a | {"resolver": {"plugin": "balanced"}} | 422 unknown-reference
/v1/buckets/a | {"resolver": {"plugin": "lww", "config": 1}} | 422 bad-config
/v1/buckets/a | {"consistency": "weak"} | 400 bad-request
/v1/buckets/a | {"consistency": "strong"} | 501 not-implemented
/v1/buckets/a | {"validators": [{"plugin": "x"}]} | 422 unknown-reference
/v1/buckets/a | {"validators": [{"plugin": "lww"}]} | 422 unknown-reference
/v1/buckets/a | {"validators": {"plugin": "x"}} | 400 bad-request
/v1/buckets/a | {"validators": [{"plugin": "x", "on_failure": "half"}]} | 400 bad-request
/v1/buckets/a | {"default_ttl": 60} | 501 not-implemented
/v1/buckets/a | {"quota_bytes": 60} | 501 not-implemented
/v1/placements/P | {} | 400 bad-request
/v1/placements/p | {"policy": ["balanced"]} | 400 bad-request
/v1/placements/p | {"policy": {"plugin": "lww"}} | 422 unknown-reference
/v1/placements/default | {"partitions": 16} | 409 immutable
/v1/placements/default | {"replicas": 2} | 409 moves-needed
/v1/cluster/settings | {"siblings_max": 0} | 422 bad-config
/v1/cluster/settings | {"durability": "never"} | 400 bad-request
/v1/cluster/map | {} | 405 method-not-allowed
/v1/plugins/lww/9.9.9 | {} | 409 version-exists
/v1/plugins/lww/9.9 | {} | 400 bad-request
/v1/plugins/Lww/9.9.9 | {} | 400 bad-request
/v1/plugins/lww/activate | {} | 405 method-not-allowed
/v1/plugins/lww/shadow | {} | 400 bad-request
"#;

#[tokio::test(start_paused = true)]
async fn what_is_wrong_or_not_built_changes_nothing() {
    let (cluster, api) = three().await;
    let before = cluster.map("n1");
    for line in WRONG.lines().filter(|line| !line.is_empty()) {
        let cells: Vec<&str> = line.split(" | ").collect();
        let answered = api.send(Method::PUT, cells[0], &[], cells[1]).await;
        let said = format!("{} {}", answered.status.as_u16(), answered.code());
        assert_eq!(said, cells[2], "{line}: {}", answered.body);
    }
    let two = json!({"partitions": 300, "replicas": 9});
    let two = api
        .put("/v1/placements/p", &two)
        .await
        .is(422, "bad-config");
    assert_eq!(two.body["problems"].as_array().unwrap().len(), 2);
    let huge = format!("\"{}\"", "x".repeat(300_000));
    let huge = api.send(Method::PUT, "/v1/buckets/a", &[], &huge).await;
    assert_eq!(huge.is(413, "value-too-large").body["limit"], 256 << 10);
    let foreign = [("soros-context", "x")];
    let foreign = api.send(Method::PUT, "/v1/buckets/a", &foreign, "{}").await;
    foreign.is(400, "bad-header");
    let method = api.send(Method::POST, "/v1/buckets", &[], "").await;
    assert_eq!(
        method.is(405, "method-not-allowed").header("allow"),
        Some("GET, HEAD")
    );
    let plan = api.send(Method::POST, "/v1/cluster/plan", &[], "{}").await;
    plan.is(501, "not-implemented");
    assert_eq!(*cluster.map("n1"), *before);
}

#[tokio::test(start_paused = true)]
async fn writes_may_be_answered_before_they_are_synced_and_not_any_more() {
    let (cluster, api) = three().await;
    for (said, set) in [
        ("interval", Durability::Interval),
        ("always", Durability::Always),
    ] {
        let settings = json!({"durability": said});
        let answer = api.put("/v1/cluster/settings", &settings).await;
        assert_eq!(answer.is(200, "").body["durability"], said);
        let shown = api.get("/v1/cluster/settings").await;
        assert_eq!(shown.is(200, "").body["durability"], said);
        assert_eq!(cluster.map("n1").settings().durability, set);
    }
}

#[tokio::test(start_paused = true)]
async fn changes_may_be_conditional_on_the_epoch() {
    let (cluster, api) = three().await;
    let epoch = cluster.keeper("n1").epoch();
    let tag = format!("\"{epoch}\"");
    let put = async |value: &str| {
        let headers = [("if-match", value)];
        api.send(Method::PUT, "/v1/cluster/settings", &headers, "{}")
            .await
    };
    put(&tag).await.is(200, "");
    let moved = put(&tag).await.is(412, "precondition-failed");
    assert_eq!(moved.body["epoch"], epoch.next().0);
    put("*").await.is(200, "");
    put("\"nothing\"").await.is(412, "precondition-failed");
    let none = [("if-none-match", "*")];
    let created = api.send(Method::PUT, "/v1/buckets/b", &none, "{}").await;
    created.is(501, "not-implemented");
    let now = format!("\"{}\"", cluster.keeper("n2").epoch());
    let known = [("if-none-match", &*now)];
    let read = api
        .send(Method::GET, "/v1/cluster/settings", &known, "")
        .await;
    assert_eq!(read.is(304, "").header("etag"), Some(&*now));
}

#[tokio::test(start_paused = true)]
async fn placements_are_made_shown_and_deleted() {
    let (_cluster, api) = three().await;
    let made = api
        .put("/v1/placements/p", &json!({"replicas": 2, "partitions": 8}))
        .await;
    let body = made.is(201, "").body;
    let shown = json!({"policy": {"plugin": "balanced", "config": {}}, "partitions": 8,
        "replicas": 2, "zones_min": null});
    assert_eq!(body, shown);
    assert_eq!(api.get("/v1/placements/p").await.is(200, "").body, shown);
    api.put("/v1/buckets/b", &json!({"placement": "p"}))
        .await
        .is(201, "");
    api.delete("/v1/placements/p").await.is(409, "in-use");
    api.put("/v1/buckets/b", &json!({}))
        .await
        .is(409, "moves-needed");
    api.delete("/v1/buckets/b?purge=true").await.is(204, "");
    api.delete("/v1/placements/p").await.is(204, "");
    let listed = api.get("/v1/placements").await.is(200, "").body;
    assert_eq!(listed["placements"][0]["name"], "default");
    api.get("/v1/placements/p")
        .await
        .is(404, "placement-not-found");
}

#[tokio::test(start_paused = true)]
async fn the_map_is_shown_without_its_secret_and_awaited() {
    let (cluster, api) = three().await;
    let epoch = cluster.keeper("n2").epoch();
    let shown = api.get("/v1/cluster/map").await.is(200, "");
    assert_eq!(shown.body["epoch"], epoch.0);
    assert!(!shown.body.to_string().contains("token"));
    let table = &shown.body["placements"]["default"]["table"];
    assert_eq!(
        (&table["partitions"], &table["copies"]),
        (&json!(256), &json!(3))
    );
    let poll = format!("/v1/cluster/map?newer_than={epoch}&timeout=60");
    let late = async {
        sleep(Duration::from_secs(20)).await;
        api.put("/v1/buckets/b", &json!({})).await.is(201, "");
    };
    let (newer, ()) = tokio::join!(api.get(&poll), late);
    assert_eq!(newer.is(200, "").body["epoch"], epoch.next().0);
    let known = api.get("/v1/cluster/map?newer_than=1").await.is(200, "");
    assert_eq!(known.body["epoch"], epoch.next().0);
    let nothing = format!("/v1/cluster/map?newer_than={}&timeout=1", epoch.next());
    api.get(&nothing).await.is(304, "");
    api.get("/v1/cluster/map?newer_than=1&timeout=601")
        .await
        .is(400, "bad-request");
    api.get("/v1/cluster/map?timeout=1")
        .await
        .is(400, "bad-request");
    let stop = async {
        sleep(Duration::from_secs(1)).await;
        api.stop.fire();
    };
    let (answered, ()) = tokio::join!(api.get("/v1/cluster/map?newer_than=99&timeout=600"), stop);
    answered.is(503, "shutting-down");
}

#[tokio::test(start_paused = true)]
async fn keys_are_located_and_nodes_that_are_down_shown_so() {
    let (cluster, api) = three().await;
    let found = api
        .get("/v1/locate/default/a/b%20%2F%00")
        .await
        .is(200, "")
        .body;
    assert_eq!(found["key"], "a/b%20/%00");
    let replicas = found["replicas"].as_array().unwrap();
    assert_eq!(replicas.len(), 3);
    assert!(replicas.iter().all(|replica| replica["state"] == "active"));
    api.get("/v1/locate/default/").await.is(400, "bad-key");
    api.get("/v1/locate/default/%4").await.is(400, "bad-key");
    api.get(&format!("/v1/locate/default/{}", "k".repeat(1025)))
        .await
        .is(414, "key-too-long");
    api.get("/v1/locate/moon/k")
        .await
        .is(404, "bucket-not-found");
    cluster.kill("n3").await;
    let found = api.get("/v1/locate/default/k").await.is(200, "").body;
    let down = |replica: &&Value| replica["state"] == "down";
    let down: Vec<_> = found["replicas"]
        .as_array()
        .unwrap()
        .iter()
        .filter(down)
        .collect();
    assert_eq!((down.len(), &down[0]["node"]), (1, &json!("n3")));
}

#[tokio::test(start_paused = true)]
async fn the_cluster_shows_its_nodes_and_who_votes() {
    let (cluster, api) = three().await;
    let shown = api.get("/v1/cluster").await.is(200, "").body;
    assert_eq!(
        (&shown["name"], &shown["status"]),
        (&json!("soros"), &json!("ok"))
    );
    assert_eq!(shown["authority"]["members"].as_array().unwrap().len(), 3);
    let leader = cluster.leader(&ALL).await;
    assert_eq!(shown["authority"]["leader"], json!(leader));
    let node = &shown["nodes"][0];
    assert_eq!(node["name"], "n1");
    assert_eq!(node["id"], node_id("n1").to_string());
    assert_eq!(
        (&node["partitions"], &node["bytes"]),
        (&json!(256), &json!(77))
    );
    assert_eq!(node["roles"], json!(["peer", "authority"]));
    api.put("/v1/placements/default", &json!({"replicas": 5}))
        .await
        .is(200, "");
    cluster.kill("n1").await;
    let shown = api.get("/v1/cluster").await.is(200, "").body;
    assert_eq!(shown["status"], "under-replicated");
    assert_eq!(shown["under_replicated"], json!(["default"]));
    assert_eq!(
        (&shown["nodes"][0]["state"], &shown["nodes"][0]["bytes"]),
        (&json!("down"), &Value::Null)
    );
    let plugins = api.get("/v1/plugins").await.is(200, "").body;
    assert_eq!(plugins["plugins"][1]["name"], "lww");
    let head = api
        .send(Method::HEAD, "/v1/plugins", &[], "")
        .await
        .is(200, "");
    assert!(head.body.is_null() && head.header("content-length") != Some("0"));
}

#[tokio::test(start_paused = true)]
async fn a_node_without_a_map_says_that_it_starts() {
    let mut cluster = Cluster::new();
    cluster.bootstrap("n1", &ALL).await;
    let api = Api::of(&cluster, "n1");
    let starting = api.get("/v1/buckets").await.is(503, "starting");
    assert!(starting.header("retry-after").is_some());
}

#[tokio::test(start_paused = true)]
async fn a_node_that_does_not_confirm_a_change_is_named() {
    let (cluster, api) = three().await;
    cluster.net.cut("n3", true);
    let done = api.put("/v1/buckets/b", &json!({})).await.is(201, "");
    assert_eq!(done.body["not_ready"], json!(["n3"]));
    cluster.net.cut("n1", true);
    let refused = api
        .put("/v1/buckets/c", &json!({}))
        .await
        .is(503, "quorum-unavailable");
    assert!(refused.header("retry-after").is_some());
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_newer_map_leaves_room_for_other_requests() {
    let (cluster, api) = three().await;
    let ask = || {
        let target = "/v1/cluster/map?newer_than=1000000&timeout=600";
        let request = Request::get(target).body(RequestBody::full(""));
        api.api.call(request.unwrap())
    };
    let mut waiting = Vec::new();
    let refused = loop {
        let mut asked = ask();
        match (&mut asked).now_or_never() {
            Some(answer) => break answer,
            None => waiting.push(asked),
        }
    };
    assert_eq!(waiting.len(), WAITING_MAX);
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.headers().contains_key("retry-after"));
    api.get("/v1/cluster/map").await.is(200, "");
    api.get("/v1/cluster/map?newer_than=0").await.is(200, "");
    waiting.pop();
    assert!(ask().now_or_never().is_none(), "who goes leaves its place");
    drop(cluster);
}
