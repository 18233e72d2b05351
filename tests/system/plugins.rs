//! This is how versions of plugins come and go, and what an operator is told who asks for what may
//! not be.

use hyper::Method;
use soros_tests::cluster::Cluster;
use soros_tests::plugins::{activate, push, stamping};
use std::io::Write as _;
use std::process::{Command, Stdio};

const NAME: &str = "misbehaving";

#[tokio::test]
async fn versions_come_and_go_and_never_change() {
    let cluster = Cluster::start(3).await;
    let mut http = cluster.http(0);
    let (one, two) = (stamping("0.1.0"), stamping("0.2.0"));
    let pushed = push(&mut http, NAME, "0.1.0", one.clone()).await;
    assert_eq!(pushed.status, 201, "{}", pushed.text());
    let pushed = pushed.json();
    assert_eq!(pushed["kind"], "validation");
    let checks = pushed["checks"].as_array().expect("checks");
    assert!(
        checks.iter().all(|check| check["passed"] == true),
        "{pushed}"
    );
    let again = push(&mut cluster.http(1), NAME, "0.1.0", one.clone()).await;
    assert_eq!(again.status, 200, "{}", again.text());
    let mut other = one.clone();
    other.push(0);
    for (name, version, component, status, code) in [
        (NAME, "0.1.0", other.clone(), 409, "version-exists"),
        (NAME, "0.2.1", two.clone(), 422, "bad-plugin"),
        ("other", "0.2.0", two.clone(), 422, "bad-plugin"),
        (NAME, "0.3.0", b"no component".to_vec(), 422, "bad-plugin"),
        (NAME, "0.3", one.clone(), 400, "bad-request"),
        ("Bad", "0.3.0", one.clone(), 400, "bad-request"),
        (
            NAME,
            "0.3.0",
            vec![0; (32 << 20) + 1],
            413,
            "value-too-large",
        ),
    ] {
        let refused = push(&mut cluster.http(2), name, version, component).await;
        assert_eq!(refused.status, status, "{}", refused.text());
        assert_eq!(refused.code(), code);
    }
    for node in 0..3 {
        let path = format!("/v1/plugins/{NAME}/0.1.0");
        let mut http = cluster.http(node);
        let wasm = [("accept", "application/wasm")];
        let bytes = http.send(Method::GET, &path, &wasm, "").await;
        assert_eq!(bytes.expect("an answer").body, one, "at node {node}");
    }
    life_of_a_version(&cluster, two).await;
}

async fn life_of_a_version(cluster: &Cluster, two: Vec<u8>) {
    let mut http = cluster.http(1);
    for (version, code) in [("0.2.0", "plugin-not-found"), ("0.1.0", "")] {
        let answer = activate(&mut http, NAME, version).await;
        assert_eq!(answer.code(), code, "{}", answer.text());
    }
    let rollback = format!("/v1/plugins/{NAME}/rollback");
    let nothing = http.send(Method::POST, &rollback, &[], "").await;
    assert_eq!(nothing.expect("an answer").code(), "plugin-not-found");
    let bucket = r#"{"validators":[{"plugin":"misbehaving","config":"stamp"}]}"#;
    let made = http.put("/v1/buckets/stamped", &[], bucket).await;
    assert_eq!(made.expect("an answer").status, 201);
    let used = http.delete(&format!("/v1/plugins/{NAME}/0.1.0"), &[]).await;
    assert_eq!(used.expect("an answer").code(), "in-use");
    let stale = [("if-match", "\"1\"")];
    let path = format!("/v1/plugins/{NAME}/activate");
    let body = r#"{"version":"0.1.0"}"#;
    let moved = http.send(Method::POST, &path, &stale, body).await;
    assert_eq!(moved.expect("an answer").code(), "precondition-failed");
    let pushed = push(&mut http, NAME, "0.2.0", two).await;
    assert_eq!(pushed.status, 201, "{}", pushed.text());
    let switched = activate(&mut http, NAME, "0.2.0").await;
    assert_eq!(switched.status, 200, "{}", switched.text());
    let gone = http.delete(&format!("/v1/plugins/{NAME}/0.1.0"), &[]).await;
    assert_eq!(gone.expect("an answer").status, 204);
    let listed = cluster.http(2).get(&format!("/v1/plugins/{NAME}")).await;
    let listed = listed.expect("an answer").json();
    assert_eq!(listed["active"], "0.2.0");
    assert_eq!(listed["previous"], serde_json::Value::Null);
    assert_eq!(listed["versions"].as_array().map(Vec::len), Some(1));
    let absent = http.get("/v1/plugins/nothing").await;
    assert_eq!(absent.expect("an answer").code(), "plugin-not-found");
}

#[tokio::test]
async fn the_command_line_takes_a_plugin_through_its_life() {
    let cluster = Cluster::start(3).await;
    let folder = cluster.scratch("plugins");
    std::fs::create_dir_all(&folder).expect("a folder");
    for version in ["0.1.0", "0.2.0"] {
        let file = folder.join(format!("{version}.wasm"));
        std::fs::write(file, stamping(version)).expect("a file");
    }
    let url = cluster.url(0);
    let run = |words: &[&str]| {
        let mut command = Command::new(soros_tests::binary::soros());
        let output = command
            .args(["--url", &url, "--output", "json", "plugin"])
            .args(words);
        let output = output
            .current_dir(&folder)
            .output()
            .expect("the binary starts");
        let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said, complaint)
    };
    let (code, pushed, complaint) = run(&["push", "0.1.0.wasm"]);
    assert_eq!(code, Some(0), "{complaint}");
    assert_eq!(pushed["version"], "0.1.0");
    assert_eq!(run(&["activate", NAME, "0.1.0"]).0, Some(0));
    assert_eq!(run(&["push", "0.2.0.wasm"]).0, Some(0));
    let (code, done, complaint) = run(&["activate", NAME, "0.2.0"]);
    assert_eq!(code, Some(0), "{complaint}");
    assert_eq!(done["ready"].as_array().map(Vec::len), Some(3));
    assert_eq!(run(&["rollback", NAME]).1["version"], "0.1.0");
    let (_, shown, _) = run(&["show", NAME]);
    assert_eq!(shown["active"], "0.1.0");
    assert_eq!(shown["previous"], "0.2.0");
    assert_eq!(shown["nodes"].as_array().map(Vec::len), Some(3));
    let (_, listed, _) = run(&["ls"]);
    let names = listed["plugins"].as_array().expect("plugins").iter();
    assert!(names.map(|plugin| &plugin["name"]).any(|name| name == NAME));
    assert_eq!(run(&["activate", NAME, "9.9.9"]).0, Some(3));
    assert_eq!(
        run(&["activate", NAME, "0.2.0", "--if-match", "1"]).0,
        Some(4)
    );
    assert_eq!(run(&["rm", NAME, "0.2.0"]).0, Some(0));
    let (code, shipped, complaint) = run(&["push", "--shipped", "immutable"]);
    assert_eq!(code, Some(0), "{complaint}");
    assert_eq!(shipped["name"], "immutable");
    std::fs::write(folder.join("none.wasm"), b"none").expect("a file");
    let (code, _, complaint) = run(&["push", "none.wasm"]);
    assert_eq!(code, Some(1), "{complaint}");
    assert!(
        complaint.contains("not a WebAssembly component"),
        "{complaint}"
    );
}

/// What the process says that compiles: a byte for how it went, and the code or a complaint.
fn compiled(kind: &str, component: &[u8]) -> (Option<i32>, Vec<u8>) {
    let mut process = Command::new(soros_tests::binary::soros())
        .args(["internal", "compile", kind])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary starts");
    let mut input = process.stdin.take().expect("a pipe");
    std::thread::scope(|scope| {
        scope.spawn(move || input.write_all(component));
        let output = process.wait_with_output().expect("it ends");
        (output.status.code(), output.stdout)
    })
}

#[test]
fn the_process_that_compiles_says_code_or_what_is_wrong() {
    let (status, code) = compiled("validation", &stamping("0.1.0"));
    assert_eq!((status, code[0]), (Some(0), 1));
    assert!(1000 < code.len());
    let (status, complaint) = compiled("validation", b"no component");
    assert_eq!((status, complaint[0]), (Some(0), 0));
    assert_eq!(compiled("nothing", b"").0, Some(1));
}

#[tokio::test]
async fn nodes_start_without_a_component_and_get_it_by_a_push() {
    let mut cluster = Cluster::start(3).await;
    let component = stamping("0.1.0");
    let pushed = push(&mut cluster.http(0), NAME, "0.1.0", component.clone()).await;
    assert_eq!(pushed.status, 201, "{}", pushed.text());
    let activated = activate(&mut cluster.http(0), NAME, "0.1.0").await;
    assert_eq!(activated.status, 200, "{}", activated.text());
    for (bucket, on_failure) in [("shut", "closed"), ("ajar", "open")] {
        let path = format!("/v1/buckets/{bucket}");
        let used = format!(r#""plugin":"{NAME}","config":"stamp","on_failure":"{on_failure}""#);
        let config = format!(r#"{{"validators":[{{{used}}}]}}"#);
        let made = cluster.http(0).put(&path, &[], config).await;
        assert_eq!(made.expect("an answer").status, 201);
    }
    for node in 0..3 {
        cluster.kill(node);
    }
    for node in 0..3 {
        let folder = cluster.folder(node).join("plugins");
        std::fs::remove_dir_all(folder).expect("the node's copies");
    }
    for node in 0..3 {
        cluster.spawn(node);
    }
    for node in 0..3 {
        cluster.wait_ready(node).await;
    }
    let put = async |bucket: &str| {
        let path = format!("/v1/kv/{bucket}/a/k");
        let answer = cluster.http(1).put(&path, &[], "v").await;
        answer.expect("an answer")
    };
    let shut = put("shut").await;
    assert_eq!(shut.code(), "policy-unavailable", "{}", shut.text());
    assert_eq!(shut.json()["plugin"], NAME);
    for bucket in ["ajar", "default"] {
        let taken = put(bucket).await;
        assert!(taken.status.is_success(), "{bucket}: {}", taken.text());
    }
    let shown = cluster.http(2).get(&format!("/v1/plugins/{NAME}")).await;
    let shown = shown.expect("an answer").json();
    assert!(shown["nodes"][0]["problem"].is_string(), "{shown}");
    let unusable = async || cluster.figure(1, "soros_plugins_unusable").await;
    assert!(0.0 < unusable().await);
    let pushed = push(&mut cluster.http(2), NAME, "0.1.0", component).await;
    assert_eq!(pushed.status, 200, "{}", pushed.text());
    let taken = put("shut").await;
    assert!(taken.status.is_success(), "{}", taken.text());
    assert!(unusable().await < 1.0);
    let read = cluster.http(0).get("/v1/kv/shut/a/k").await;
    assert_eq!(read.expect("an answer").text(), "0.1.0:v");
}
