//! This is the command line against a real cluster: what it prints, and how it exits.

use soros_tests::binary::soros;
use soros_tests::cluster::Cluster;
use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn run(cluster: &Cluster, arguments: &[&str], input: &str) -> Output {
    let mut process = Command::new(soros())
        .args(["--url", &cluster.url(0)])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut stdin = process.stdin.take().expect("a pipe");
    stdin
        .write_all(input.as_bytes())
        .expect("it reads its input");
    drop(stdin);
    process.wait_with_output().expect("it ends")
}

#[track_caller]
fn check(cluster: &Cluster, arguments: &[&str], input: &str, code: i32) -> String {
    let output = run(cluster, arguments, input);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
    assert_eq!(code != 0, error.contains("error"), "{arguments:?}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_buckets_and_the_cluster_are_within_reach() {
    let cluster = Cluster::start(3).await;
    check(&cluster, &["kv", "put", "default", "greeting"], "hello", 0);
    assert_eq!(
        check(&cluster, &["kv", "get", "default", "greeting"], "", 0),
        "hello"
    );
    check(&cluster, &["kv", "del", "default", "greeting"], "", 0);
    check(&cluster, &["kv", "get", "default", "greeting"], "", 3);
    check(&cluster, &["kv", "get", "default"], "", 2);
    let buckets = check(&cluster, &["--output", "json", "bucket", "ls"], "", 0);
    let buckets: serde_json::Value = serde_json::from_str(&buckets).expect("JSON");
    assert_eq!(buckets["buckets"][0]["name"], "default", "{buckets}");
    assert!(check(&cluster, &["placement", "show", "default"], "", 0).contains("balanced"));
    assert!(check(&cluster, &["cluster", "status"], "", 0).contains("n2"));
    assert!(check(&cluster, &["locate", "default", "k"], "", 0).contains("n1"));
    let bench = [
        "--output",
        "json",
        "bench",
        "--seconds",
        "1",
        "--keys",
        "100",
        "--clients",
        "4",
    ];
    let report = check(&cluster, &bench, "", 0);
    serde_json::from_str::<serde_json::Value>(&report).expect("JSON");
}

#[test]
fn dev_brings_up_a_real_cluster_and_drains_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ready = folder.path().join("ready.json");
    let mut process = Command::new(soros())
        .env("SOROS_DISK_HIGH", "1")
        .args(["dev", "--port", "0", "--ready-file"])
        .arg(&ready)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let begun = Instant::now();
    while !ready.exists() {
        assert!(process.try_wait().expect("a child").is_none(), "dev ended");
        assert!(
            begun.elapsed() < Duration::from_mins(1),
            "dev does not come up"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    let text = std::fs::read_to_string(&ready).expect("a ready file");
    let nodes: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let url = |node: usize| {
        nodes["nodes"][node]["url"]
            .as_str()
            .expect("a URL")
            .to_owned()
    };
    let kv = |node: usize, arguments: &[&str]| {
        let output = Command::new(soros())
            .args(["--url", &url(node), "kv"])
            .args(arguments)
            .output();
        output.expect("the binary starts")
    };
    let value = folder.path().join("value");
    std::fs::write(&value, "from a file").expect("a file");
    let path = value.to_str().expect("a path");
    assert!(kv(0, &["put", "default", "k", "-f", path]).status.success());
    assert_eq!(kv(2, &["get", "default", "k"]).stdout, b"from a file");
    let id = i32::try_from(process.id()).expect("a process id");
    let id = rustix::process::Pid::from_raw(id).expect("a process id");
    rustix::process::kill_process(id, rustix::process::Signal::INT).expect("a child");
    let output = process.wait_with_output().expect("it ends");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(
        printed.contains(&url(0)) && printed.contains("n3"),
        "{printed}"
    );
}

#[test]
fn wrong_flags_are_all_told_at_once() {
    let output = Command::new(soros())
        .args([
            "serve",
            "--name",
            "Not A Name",
            "--listen",
            "nonsense",
            "--peer",
            "0.0.0.0:1",
        ])
        .output()
        .expect("the binary starts");
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8_lossy(&output.stderr);
    for part in ["Not A Name", "nonsense", "--insecure"] {
        assert!(error.contains(part), "{part} is missing:\n{error}");
    }
}
