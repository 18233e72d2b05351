//! This is what becomes of components that are made to hurt who compiles or runs them: a refusal
//! with a reason, and a node that goes on.

use rustix::process::{Resource, Rlimit, getrlimit};
use soros_tests::bombs::{Harm, bombs};
use soros_tests::cluster::Cluster;
use soros_tests::plugins::push;
use std::io::{Read as _, Write as _};
use std::process::{Command, Output, Stdio};

/// The process that compiles, with less time and memory than it takes for itself, so that a test
/// need not wait for that.
fn bounded(seconds: u32, kilobytes: u32, component: &[u8]) -> Output {
    let program = soros_tests::binary::soros().display();
    let limits = format!("ulimit -S -t {seconds}; ulimit -S -v {kilobytes}");
    let mut process = Command::new("sh")
        .args([
            "-c",
            &format!("{limits}; exec '{program}' internal compile validation"),
        ])
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a shell");
    let mut input = process.stdin.take().expect("a pipe");
    std::thread::scope(|scope| {
        // One that has ended does not read all of it.
        scope.spawn(move || input.write_all(component).is_ok());
        process.wait_with_output().expect("it ends")
    })
}

#[test]
fn who_compiles_is_ended_at_its_bounds() {
    let enough = 2 << 20;
    for bomb in bombs() {
        let (name, size) = (bomb.name, bomb.bytes.len());
        match bomb.harm {
            Harm::Time => {
                let ended = bounded(1, enough, &bomb.bytes);
                assert_eq!(signal(&ended), "24", "{name} of {size} bytes: XCPU");
            }
            Harm::Memory => {
                let ended = bounded(60, 300 << 10, &bomb.bytes);
                assert_eq!(signal(&ended), "6", "{name} of {size} bytes: ABRT");
                let complaint = String::from_utf8_lossy(&ended.stderr);
                assert!(complaint.contains("memory allocation of"), "{complaint}");
            }
            Harm::Other => {}
        }
    }
}

fn signal(ended: &Output) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    let signal = ended.status.signal();
    signal.map_or_else(|| ended.status.to_string(), |number| number.to_string())
}

#[test]
fn who_compiles_bounds_itself_before_it_reads() {
    let mut process = Command::new(soros_tests::binary::soros())
        .args(["internal", "compile", "validation"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut input = process.stdin.take().expect("a pipe");
    // More than the pipe holds: when all is written, some of it has been read.
    input.write_all(&vec![0; 1 << 20]).expect("it reads");
    let path = format!("/proc/{}/limits", process.id());
    let limits = std::fs::read_to_string(path).expect("it runs");
    let soft = |name: &str| {
        let line = limits.lines().find_map(|line| line.strip_prefix(name));
        let mut words = line.expect("a limit").split_whitespace();
        words.next().expect("a figure").to_owned()
    };
    assert_eq!(soft("Max cpu time"), "60");
    assert_eq!(soft("Max address space"), (2_u64 << 30).to_string());
    assert_eq!(soft("Max core file size"), "0");
    assert_eq!(soft("Max file size"), "0");
    drop(input);
    let mut said = Vec::new();
    let mut output = process.stdout.take().expect("a pipe");
    output.read_to_end(&mut said).expect("it complains");
    assert!(process.wait().expect("it ends").success());
    assert_eq!(said[0], 0, "no component");
    let Rlimit { current, .. } = getrlimit(Resource::As);
    assert_ne!(current, Some(2 << 30), "who asks is not bounded");
}

#[tokio::test]
async fn a_node_that_is_pushed_bombs_refuses_them_and_goes_on() {
    let cluster = Cluster::start(1).await;
    for bomb in bombs() {
        // What takes long to fail is tried above, within less.
        if bomb.harm != Harm::Other {
            continue;
        }
        let name = bomb.name;
        let refused = push(&mut cluster.http(0), "bomb", "1.0.0", bomb.bytes).await;
        assert_eq!(refused.status, 422, "{name}: {}", refused.text());
        assert_eq!(refused.code(), "bad-plugin");
        let problem = refused.json();
        let checks = problem["checks"].as_array().expect("checks");
        let last = checks.last().expect("a check");
        assert_eq!(last["passed"], false, "{name}");
        let reason = last["detail"].as_str().unwrap_or_default();
        println!("{name}: {}: {reason}", last["check"]);
        assert!((10..4_096).contains(&reason.len()), "{name}: {reason}");
        let put = cluster.http(0).put("/v1/kv/default/k", &[], name).await;
        assert!(put.expect("an answer").status.is_success(), "after {name}");
    }
}
