//! This is policies in other languages: what the pages of `examples/` say is done, command by
//! command, and the components that come of it decide about writes to a running cluster.

use soros_tests::binary;
use soros_tests::cluster::Cluster;
use soros_tests::skip::skip;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// An example, and what it takes.
struct Example {
    folder: &'static str,
    name: &'static str,
    script: &'static str,
    /// Programs that its commands call.
    programs: &'static [&'static str],
    /// What its commands install, kept from run to run.
    tools: &'static str,
    /// A line of the script, and one that never ends.
    accepts: &'static str,
    never_ends: &'static str,
}

const JAVASCRIPT: Example = Example {
    folder: "javascript",
    name: "titled-js",
    script: "validator.js",
    programs: &["node", "npm", "npx"],
    tools: "node_modules",
    accepts: "  return { tag: \"accept\" };",
    never_ends: "  for (;;) {}",
};

const PYTHON: Example = Example {
    folder: "python",
    name: "titled-py",
    script: "validator.py",
    programs: &["python3"],
    tools: "venv",
    accepts: "        return Verdict_Accept()",
    never_ends: "        while True:\n            pass",
};

impl Example {
    /// Copies it to where its tools stay, and types the commands of its page that build it; none
    /// where the programs are not there, or the tools cannot be fetched, which is said aloud.
    fn build(&self) -> Option<PathBuf> {
        let missing = self.programs.iter().find(|program| !is_there(program));
        if let Some(missing) = missing {
            skip(&format!("examples/{} needs `{missing}`", self.folder));
            return None;
        }
        let place = self.copy();
        let page = fs::read_to_string(place.join("README.md")).expect("a page");
        let (install, build) = commands(&page);
        if !place.join(self.tools).join("complete").exists() {
            // What was left half done is done anew.
            let _ = fs::remove_dir_all(place.join(self.tools));
            if !self.types(&install, &place) {
                let why = "its tools cannot be installed";
                skip(&format!("examples/{}: {why}", self.folder));
                return None;
            }
            fs::write(place.join(self.tools).join("complete"), "").expect("a file");
        }
        assert!(self.types(&build, &place), "{build}");
        Some(self.component(&place))
    }

    /// The component of a script that never ends where it would accept.
    fn build_endless(&self) -> PathBuf {
        let place = self.copy();
        let path = place.join(self.script);
        let script = fs::read_to_string(&path).expect("a script");
        let endless = script
            .replace(self.accepts, self.never_ends)
            .replace("\"0.1.0\"", "\"0.2.0\"");
        assert!(endless.contains(self.never_ends), "{endless}");
        fs::write(&path, endless).expect("a script");
        let page = fs::read_to_string(place.join("README.md")).expect("a page");
        assert!(self.types(&commands(&page).1, &place));
        self.component(&place)
    }

    fn component(&self, place: &Path) -> PathBuf {
        place.join(format!("{}.wasm", self.name))
    }

    /// Its folder, in a tree like the one that its commands are typed in.
    fn copy(&self) -> PathBuf {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let tree = Path::new(env!("CARGO_TARGET_TMPDIR")).join("examples");
        let place = tree.join("examples").join(self.folder);
        fs::create_dir_all(&place).expect("a folder");
        let wit = "sdk/wit/v1/policy.wit";
        fs::create_dir_all(tree.join("sdk/wit/v1")).expect("a folder");
        fs::copy(root.join(wit), tree.join(wit)).expect("a copy");
        let from = root.join("examples").join(self.folder);
        for entry in fs::read_dir(from).expect("the example") {
            let entry = entry.expect("a file");
            if entry.path().is_file() {
                fs::copy(entry.path(), place.join(entry.file_name())).expect("a copy");
            }
        }
        place
    }

    fn types(&self, commands: &str, place: &Path) -> bool {
        let output = Command::new("bash")
            .args(["-ec", commands])
            .current_dir(place)
            .stdin(Stdio::null())
            .output()
            .expect("bash starts");
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            eprintln!("{}: {commands}\n{said}", self.folder);
        }
        output.status.success()
    }
}

fn is_there(program: &str) -> bool {
    let asked = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .output();
    asked.is_ok_and(|output| output.status.success())
}

/// The commands of a page's first block, which installs tools and builds: the first lines up to
/// the tools, and the rest. Those of `soros` are asked of the cluster itself.
fn commands(page: &str) -> (String, String) {
    let block = page.split("```sh\n").nth(1).expect("a block of commands");
    let block = block.split("```").next().unwrap_or_default();
    let lines = block.lines().filter(|line| !line.starts_with("soros "));
    let (install, build): (Vec<&str>, Vec<&str>) =
        lines.partition(|line| line.contains("install ") || line.contains("-m venv"));
    assert!(!install.is_empty() && !build.is_empty(), "{block}");
    (install.join("\n"), build.join("\n"))
}

async fn decides_about_writes(example: &Example) {
    let Some(component) = example.build() else {
        return;
    };
    let cluster = Cluster::start(3).await;
    let mut http = cluster.http(0);
    comes_into_force(example, &cluster, "0.1.0", &component);
    let bucket = |config: &str| {
        let name = example.name;
        format!(r#"{{"validators": [{{"plugin": "{name}", "config": {config}}}]}}"#)
    };
    let path = "/v1/buckets/titled";
    let refused = http.put(path, &[], bucket(r#"{"max": 0}"#)).await;
    let refused = refused.expect("an answer");
    assert_eq!(
        (refused.status.as_u16(), &*refused.code()),
        (422, "bad-config")
    );
    let problem = &refused.json()["problems"][0];
    assert_eq!(problem["path"], "/validators/0/config/max", "{problem}");
    let made = http.put(path, &[], bucket(r#"{"max": 9}"#)).await;
    let made = made.expect("an answer");
    assert_eq!(made.status, 201, "{}", made.text());
    for node in 0..3 {
        let mut http = cluster.http(node);
        let key = format!("/v1/kv/titled/k{node}");
        let taken = http.put(&key, &[], r#"{"title": "Ä note"}"#).await;
        let taken = taken.expect("an answer");
        assert_eq!(taken.status, 201, "{}", taken.text());
        for (value, reason, pointer) in [
            (r#"{"title": ""}"#, "untitled", "/title"),
            (r#"{"title": "too long a title"}"#, "long-title", "/title"),
            ("{", "not-json", ""),
        ] {
            let refused = http.put(&key, &[], value).await.expect("an answer");
            assert_eq!(refused.status, 422, "{}", refused.text());
            let problem = refused.json();
            assert_eq!(problem["reason"], reason);
            assert_eq!(problem["pointer"].as_str().unwrap_or_default(), pointer);
        }
    }
    for _ in 0..200 {
        let taken = http.put("/v1/kv/titled/often", &[], r#"{"title": "Again"}"#);
        let taken = taken.await.expect("an answer");
        assert!(taken.status.is_success(), "{}", taken.text());
    }
    is_stopped(example, &cluster).await;
}

/// Brings a version to the cluster as its page says.
fn comes_into_force(example: &Example, cluster: &Cluster, version: &str, component: &Path) {
    let begun = Instant::now();
    soros(
        cluster,
        &["plugin", "push", &component.display().to_string()],
    );
    eprintln!(
        "{} {version}: pushed in {:?}",
        example.name,
        begun.elapsed()
    );
    soros(cluster, &["plugin", "activate", example.name, version]);
    eprintln!(
        "{} {version}: in force after {:?}",
        example.name,
        begun.elapsed()
    );
}

/// Asks for something as an operator does, who tries again when told so: on a busy machine, engines
/// take long to compile.
fn soros(cluster: &Cluster, arguments: &[&str]) {
    for _ in 0..10 {
        let output = Command::new(binary::soros())
            .args(arguments)
            .env("SOROS_URL", cluster.url(0))
            .output()
            .expect("the binary starts");
        if output.status.success() {
            return;
        }
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("try again"), "{arguments:?}: {said}");
    }
    panic!("{arguments:?} does not succeed");
}

/// A version that never ends fails its calls within their bounds, and is taken back.
async fn is_stopped(example: &Example, cluster: &Cluster) {
    let mut http = cluster.http(0);
    comes_into_force(example, cluster, "0.2.0", &example.build_endless());
    let key = "/v1/kv/titled/often";
    let failed = http.put(key, &[], r#"{"title": "Again"}"#).await;
    let failed = failed.expect("an answer");
    assert_eq!(
        (failed.status.as_u16(), &*failed.code()),
        (503, "policy-unavailable")
    );
    let refused = http.put(key, &[], "{}").await.expect("an answer");
    assert_eq!(refused.status, 422, "{}", refused.text());
    soros(cluster, &["plugin", "rollback", example.name]);
    let taken = http.put(key, &[], r#"{"title": "Again"}"#).await;
    let taken = taken.expect("an answer");
    assert!(taken.status.is_success(), "{}", taken.text());
}

#[tokio::test]
async fn a_policy_in_javascript_decides_about_writes() {
    decides_about_writes(&JAVASCRIPT).await;
}

#[tokio::test]
async fn a_policy_in_python_decides_about_writes() {
    // Its engine is large, and each node compiles it: a debug build takes minutes of both cores.
    if cfg!(debug_assertions) && std::env::var_os("SOROS_BINARY").is_none() {
        skip("a policy in Python takes a release build: name it by SOROS_BINARY");
        return;
    }
    decides_about_writes(&PYTHON).await;
}
