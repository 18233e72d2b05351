//! This is what commands are promised to write, and how they are promised to end.

use super::console::{Buffer, Console};
use super::node::NodeFailure;
use super::{Exit, run};
use crate::client::NodeUrl;
use crate::client::imitation::{Asked, Imitation, Say, nobody, refuse, say};
use crate::config::Config;
use crate::network::{Code, Shutdown};
use clap::CommandFactory as _;
use serde_json::{Value, json};
use std::ffi::OsString;

/// What a command wrote, and how it ended.
struct Ran {
    exit: Exit,
    out: Vec<u8>,
    err: String,
}

impl Ran {
    fn lines(&self) -> Vec<String> {
        String::from_utf8_lossy(&self.out)
            .lines()
            .map(str::to_owned)
            .collect()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.out).expect("JSON")
    }
}

fn no_node(_: Config, _: Shutdown) -> Result<(), NodeFailure> {
    Err(NodeFailure::Failed("this test starts no node".into()))
}

/// Runs `soros` with these words and this input.
fn soros_blocking(words: &[String], input: Vec<u8>) -> Ran {
    let (out, err) = (Buffer::default(), Buffer::default());
    let mut console = Console::of_buffers(input, out.clone(), err.clone());
    let words = std::iter::once("soros".to_owned()).chain(words.iter().cloned());
    let exit = run(words.map(OsString::from), &|_| None, &mut console, no_node);
    Ran {
        exit,
        out: out.bytes(),
        err: String::from_utf8_lossy(&err.bytes()).into_owned(),
    }
}

/// Runs `soros` against the node at `url`, on another thread while the imitation answers.
async fn soros_with(url: &NodeUrl, words: &[&str], input: &[u8]) -> Ran {
    let mut words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
    words.extend(["--url".to_owned(), url.to_string()]);
    let input = input.to_vec();
    tokio::task::spawn_blocking(move || soros_blocking(&words, input))
        .await
        .expect("no panic")
}

async fn soros(url: &NodeUrl, words: &[&str]) -> Ran {
    soros_with(url, words, b"").await
}

/// How `soros words` ends when the node says `answer`.
async fn exit_after(words: &[&str], answer: fn(&Asked) -> Say) -> Exit {
    let node = Imitation::start(answer).await;
    let ran = soros(&node.url, words).await;
    assert_eq!(ran.exit == Exit::Done, ran.err.is_empty(), "{}", ran.err);
    assert!(
        ran.exit == Exit::Done || ran.err.contains("\nnext: "),
        "{}",
        ran.err
    );
    ran.exit
}

#[tokio::test]
async fn ends_as_the_answer_says() {
    let get = ["kv", "get", "default", "k"];
    let put = ["kv", "put", "default", "k", "v"];
    let del = ["kv", "del", "default", "k"];
    assert_eq!(exit_after(&get, |_| say(200, &[], "v")).await, Exit::Done);
    assert_eq!(
        exit_after(&get, |_| refuse(Code::KeyNotFound)).await,
        Exit::NotFound
    );
    assert_eq!(
        exit_after(&get, |_| refuse(Code::OutcomeUnknown)).await,
        Exit::Unavailable
    );
    assert_eq!(exit_after(&get, |_| Say::Hangup).await, Exit::Unavailable);
    assert_eq!(exit_after(&put, |_| say(201, &[], "")).await, Exit::Done);
    assert_eq!(exit_after(&put, |_| say(204, &[], "")).await, Exit::Done);
    assert_eq!(
        exit_after(&put, |_| refuse(Code::ContextRequired)).await,
        Exit::Conflict
    );
    assert_eq!(
        exit_after(&put, |_| refuse(Code::QuorumUnavailable)).await,
        Exit::Unavailable
    );
    assert_eq!(
        exit_after(&put, |_| refuse(Code::OutcomeUnknown)).await,
        Exit::Unknown
    );
    assert_eq!(
        exit_after(&put, |_| refuse(Code::NotImplemented)).await,
        Exit::Failed
    );
    assert_eq!(exit_after(&put, |_| Say::Hangup).await, Exit::Unknown);
    assert_eq!(exit_after(&del, |_| say(204, &[], "")).await, Exit::Done);
    assert_eq!(
        exit_after(&del, |_| say(503, &[], "proxy")).await,
        Exit::Unknown
    );
    let ran = soros(&nobody().url, &put).await;
    assert_eq!(ran.exit, Exit::Unavailable);
    assert!(ran.err.contains("soros dev"), "{}", ran.err);
}

#[test]
fn refuses_what_makes_no_sense_before_it_asks_anyone() {
    for words in [
        &["kv", "get", "default"][..],
        &["kv", "get", "UPPER", "k"],
        &["kv", "get", "default", ""],
        &["kv", "get", "default", "k", "--consistency", "most"],
        &["kv", "get", "default", "k", "--url", "ftp://a"],
        &["kv", "put", "default", "k", "v", "-f", "file"],
        &[
            "kv",
            "put",
            "default",
            "k",
            "v",
            "--blind",
            "--context",
            "t",
        ],
        &["bucket", "set", "b", "{}", "--placement", "p"],
        &["bucket", "set", "b", "[]"],
        &["bench", "--read-ratio", "2"],
        &["serve", "--listen", "0.0.0.0:7070", "--peer", "nonsense"],
        &["frobnicate"],
        &[],
    ] {
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        let ran = soros_blocking(&words, Vec::new());
        assert_eq!(ran.exit, Exit::Usage, "{words:?}: {}", ran.err);
        assert!(!ran.err.is_empty(), "{words:?}");
        assert!(ran.out.is_empty(), "{words:?}");
    }
}

#[test]
fn shows_help_and_version_on_standard_output() {
    for words in [["--help"], ["--version"]] {
        let ran = soros_blocking(&words.map(str::to_owned), Vec::new());
        assert_eq!((ran.exit, ran.err.as_str()), (Exit::Done, ""));
        assert!(ran.lines().iter().any(|line| line.contains("soros")));
    }
    let words = ["completions", "bash"].map(str::to_owned);
    assert!(soros_blocking(&words, Vec::new()).lines().len() > 50);
}

#[test]
fn has_a_page_with_every_command_and_every_flag() {
    fn check(page: &str, path: &str, command: &clap::Command) {
        for flag in command.get_arguments().filter(|flag| !flag.is_hide_set()) {
            let Some(long) = flag.get_long().filter(|long| *long != "file") else {
                continue;
            };
            // Of `soros serve` the page has the names that flags, variables and keys share.
            let is_there =
                page.contains(&format!("--{long}")) || page.contains(&format!("`{long}`"));
            assert!(is_there, "{path}: `--{long}` is not on the page");
        }
        let shown = |inner: &&clap::Command| !inner.is_hide_set();
        for inner in command.get_subcommands().filter(shown) {
            let path = format!("{path} {}", inner.get_name());
            assert!(
                page.contains(inner.get_name()),
                "`{path}` is not on the page"
            );
            check(page, &path, inner);
        }
    }
    let page = include_str!("../../../docs/cli.md");
    check(page, "soros", &super::Arguments::command());
}

#[tokio::test]
async fn writes_the_raw_value_and_the_headers_of_interest_apart() {
    let headers = [
        ("soros-context", "token"),
        ("etag", "\"e\""),
        ("x-other", "no"),
    ];
    let node = Imitation::start(move |_| say(200, &headers, &b"\x00raw\xff"[..])).await;
    let ran = soros(&node.url, &["kv", "get", "default", "k", "-v"]).await;
    assert_eq!(ran.out, b"\x00raw\xff");
    assert!(ran.err.contains("Soros-Context: token\n"), "{}", ran.err);
    assert!(ran.err.contains("ETag: \"e\"\n"), "{}", ran.err);
    assert!(!ran.err.contains("x-other"), "{}", ran.err);
    let ran = soros(
        &node.url,
        &["kv", "get", "default", "k", "--output", "json"],
    )
    .await;
    assert_eq!(ran.json()["value"], "AHJhd/8=");
    assert_eq!(ran.json()["context"], "token");
}

#[tokio::test]
async fn shows_siblings_as_json_and_calls_them_a_conflict() {
    let node = Imitation::start(|asked| {
        if asked.header("accept").is_none() {
            return say(300, &[], "parts");
        }
        let both = json!({"siblings": [{"value": "YQ=="}, {"deleted": true}]});
        say(300, &[("soros-context", "both")], both.to_string())
    })
    .await;
    let ran = soros(&node.url, &["kv", "get", "default", "k"]).await;
    assert_eq!(ran.exit, Exit::Conflict);
    assert_eq!(ran.json()["siblings"][0]["value"], "YQ==");
    assert_eq!(ran.json()["siblings"][1]["deleted"], true);
    assert_eq!(ran.json()["context"], "both");
}

#[tokio::test]
async fn stores_what_it_is_given_in_any_way() {
    let node = Imitation::start(|_| say(201, &[("soros-context", "new")], "")).await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("value");
    std::fs::write(&file, "from a file").expect("the disk");
    let file = file.display().to_string();
    soros_with(&node.url, &["kv", "put", "default", "k"], b"from input").await;
    soros_with(
        &node.url,
        &["kv", "put", "default", "k", "-f", "-"],
        b"from input too",
    )
    .await;
    soros(&node.url, &["kv", "put", "default", "k", "-f", &file]).await;
    let words = [
        "kv",
        "put",
        "default",
        "k",
        "given",
        "--context",
        "old",
        "--ttl",
        "5",
        "--output=json",
    ];
    let ran = soros(&node.url, &words).await;
    assert_eq!(
        ran.json(),
        json!({"created": true, "context": "new", "etag": null})
    );
    let asked = node.asked();
    let bodies: Vec<&[u8]> = asked.iter().map(|asked| asked.body.as_ref()).collect();
    assert_eq!(
        bodies,
        [
            &b"from input"[..],
            b"from input too",
            b"from a file",
            b"given"
        ]
    );
    assert_eq!(asked[3].header("soros-context"), Some("old"));
    assert_eq!(asked[3].header("soros-ttl"), Some("5"));
    let ran = soros(
        &node.url,
        &["kv", "put", "default", "k", "-f", "no/such/file"],
    )
    .await;
    assert_eq!(ran.exit, Exit::Failed);
    assert_eq!(node.asked().len(), 4);
}

#[tokio::test]
async fn puts_quotes_around_an_etag_that_has_none() {
    let node = Imitation::start(|_| refuse(Code::ConditionalNeedsStrong)).await;
    for (given, sent) in [("abc", "\"abc\""), ("\"abc\"", "\"abc\""), ("*", "*")] {
        soros(
            &node.url,
            &["kv", "put", "default", "k", "v", "--if-match", given],
        )
        .await;
        let asked = node.asked();
        assert_eq!(
            asked.last().expect("a request").header("if-match"),
            Some(sent)
        );
    }
}

#[tokio::test]
async fn lists_keys_page_by_page() {
    let node = Imitation::start(|asked| {
        let (key, cursor) = if asked.target.contains("cursor=") {
            ("b", Value::Null)
        } else {
            ("a%0A", json!("next/page"))
        };
        say(
            200,
            &[],
            json!({"items": [{"key": key}], "cursor": cursor}).to_string(),
        )
    })
    .await;
    let ran = soros(&node.url, &["kv", "ls", "default", "--prefix", "a b"]).await;
    assert_eq!(ran.lines(), ["a%0A", "b"]);
    assert_eq!(
        node.lines()[1],
        "GET /v1/kv/default?limit=1000&prefix=a%20b&cursor=next%2Fpage"
    );
    let ran = soros(&node.url, &["kv", "ls", "default", "--limit", "1"]).await;
    assert_eq!(ran.lines(), ["a%0A"]);
}

#[tokio::test]
async fn changes_only_the_fields_that_are_given() {
    let node = Imitation::start(|asked| match asked.line().as_str() {
        "GET /v1/buckets/b" => {
            let config = json!({"name": "b", "placement": "default", "max_value_bytes": 5});
            say(200, &[("soros-epoch", "9")], config.to_string())
        }
        "GET /v1/buckets/new" => refuse(Code::BucketNotFound),
        _ => say(200, &[], asked.body.clone()),
    })
    .await;
    let words = [
        "bucket",
        "set",
        "b",
        "--resolver",
        "none",
        "--output",
        "json",
    ];
    let ran = soros(&node.url, &words).await;
    let config = json!({"placement": "default", "max_value_bytes": 5, "resolver": null});
    assert_eq!(ran.json(), config);
    assert_eq!(node.asked()[1].header("if-match"), Some("\"9\""));
    let words = [
        "bucket",
        "set",
        "new",
        "--max-value-bytes",
        "7",
        "--output",
        "json",
    ];
    assert_eq!(
        soros(&node.url, &words).await.json(),
        json!({"max_value_bytes": 7})
    );
    let words = [
        "bucket",
        "set",
        "b",
        r#"{"resolver": {"plugin": "set"}}"#,
        "--if-match",
        "3",
    ];
    let ran = soros(&node.url, &words).await;
    assert_eq!(
        ran.lines(),
        ["FIELD     VALUE", r#"resolver  {"plugin":"set"}"#]
    );
    let last = node.asked().pop().expect("a request");
    assert_eq!(
        (last.line().as_str(), last.header("if-match")),
        ("PUT /v1/buckets/b", Some("\"3\""))
    );
}

#[tokio::test]
async fn removes_buckets_and_placements() {
    let node = Imitation::start(|_| say(204, &[], "")).await;
    assert_eq!(
        soros(&node.url, &["bucket", "rm", "b"]).await.exit,
        Exit::Done
    );
    assert_eq!(
        soros(&node.url, &["bucket", "rm", "b", "--purge"])
            .await
            .exit,
        Exit::Done
    );
    assert_eq!(
        soros(&node.url, &["placement", "rm", "p"]).await.exit,
        Exit::Done
    );
    let lines = [
        "DELETE /v1/buckets/b",
        "DELETE /v1/buckets/b?purge=true",
        "DELETE /v1/placements/p",
    ];
    assert_eq!(node.lines(), lines);
}

#[tokio::test]
async fn shows_lists_as_tables() {
    let node = Imitation::start(|asked| {
        let answer = match asked.target.as_str() {
            "/v1/buckets" => json!({"buckets": [{"name": "default", "placement": "default",
                "consistency": "eventual", "resolver": {"plugin": "lww"}, "max_value_bytes": 9}]}),
            "/v1/placements" => json!({"placements": [{"name": "default", "partitions": 256,
                "policy": {"plugin": "balanced"}, "replicas": 3, "zones_min": null}]}),
            "/v1/locate/default/k" => json!({"partition": 7, "epoch": 3, "replicas": [
                {"node": "n1", "url": "http://a:1", "zone": "z", "state": "active"}]}),
            _ => json!({"name": "soros", "epoch": 3, "authority": {"leader": "n1",
                "members": ["n1"]}, "nodes": [{"name": "n1", "state": "active",
                "roles": ["peer", "authority"], "partitions": 256}]}),
        };
        say(200, &[], answer.to_string())
    })
    .await;
    let expected: [(&[&str], &[&str]); 4] = [
        (
            &["bucket", "ls"],
            &[
                "NAME     PLACEMENT  CONSISTENCY  RESOLVER  LARGEST VALUE",
                "default  default    eventual     lww       9 B",
            ],
        ),
        (
            &["placement", "ls"],
            &[
                "NAME     POLICY    PARTITIONS  REPLICAS  ZONES",
                "default  balanced  256         3         -",
            ],
        ),
        (
            &["locate", "default", "k"],
            &[
                "partition 7 at epoch 3",
                "NODE  STATE   ZONE  URL",
                "n1    active  z     http://a:1",
            ],
        ),
        (
            &["cluster", "status"],
            &[
                "CLUSTER",
                "name               soros",
                "epoch              3",
                "authority leader   n1",
                "authority members  n1",
                "",
                "NODE  STATE   ROLES           PARTITIONS",
                "n1    active  peer,authority  256",
            ],
        ),
    ];
    for (words, lines) in expected {
        assert_eq!(soros(&node.url, words).await.lines(), lines, "{words:?}");
    }
}

#[tokio::test]
async fn tells_programs_of_errors_in_json() {
    let node = Imitation::start(|_| refuse(Code::BucketNotFound)).await;
    let ran = soros(
        &node.url,
        &["kv", "get", "default", "k", "--output", "json"],
    )
    .await;
    let error: Value = serde_json::from_str(&ran.err).expect("JSON");
    assert_eq!(
        (&error["code"], &error["exit"]),
        (&json!("bucket-not-found"), &json!(3))
    );
    assert!(
        error["next"]
            .as_str()
            .is_some_and(|next| next.contains("soros bucket"))
    );
}

#[tokio::test]
async fn measures_a_load_and_a_baseline_in_turns() {
    let node = Imitation::start(|asked| match asked.method.as_str() {
        "GET" => say(200, &[], "v"),
        _ => say(204, &[], ""),
    })
    .await;
    let words = [
        "bench",
        "--seconds",
        "0.3",
        "--clients",
        "3",
        "--keys",
        "20",
        "--value-bytes",
        "10",
        "--baseline",
        "--output",
        "json",
    ];
    let ran = soros(&node.url, &words).await;
    assert_eq!(ran.exit, Exit::Done, "{}", ran.err);
    let report = ran.json();
    for target in [&report["targets"][0], &report["targets"][1]] {
        assert!(
            target["ops_per_second"]
                .as_f64()
                .is_some_and(|rate| rate > 10.0),
            "{report}"
        );
        assert!(target["reads"]["p99_us"].is_u64() && target["writes"]["p99_us"].is_u64());
        assert_eq!(target["errors"], json!({}));
    }
    assert!(report["ratios"]["ops_per_second"].is_f64(), "{report}");
    let lines = node.lines();
    assert!(
        lines[..20]
            .iter()
            .all(|line| line.starts_with("PUT /v1/kv/default/bench-000000"))
    );
}

#[tokio::test]
async fn calls_a_load_that_nobody_served_unavailable() {
    let node = Imitation::start(|_| refuse(Code::QuorumUnavailable)).await;
    let words = [
        "bench",
        "--seconds",
        "0.1",
        "--clients",
        "2",
        "--no-preload",
    ];
    let ran = soros(&node.url, &words).await;
    assert_eq!(ran.exit, Exit::Unavailable);
    assert!(ran.err.contains("quorum-unavailable"), "{}", ran.err);
}
