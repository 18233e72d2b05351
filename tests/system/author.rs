//! This is a plugin author's way, walked as the page says it: every command of `docs/plugins.md`
//! runs, in its order, and prints what the page shows.

use soros_tests::binary::soros;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Whose turn it is to type.
static TURN: Mutex<()> = Mutex::new(());

/// What a page says: commands of one block, and what they print.
#[derive(Debug)]
struct Step {
    commands: String,
    printed: String,
}

/// The blocks of commands on a page, each with the block of text behind it.
fn steps(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut kind = "";
    for line in page.lines() {
        match (kind, line.strip_prefix("```")) {
            ("", Some(name)) => {
                kind = if name.is_empty() { "plain" } else { name };
                if kind == "sh" {
                    let (commands, printed) = (String::new(), String::new());
                    steps.push(Step { commands, printed });
                }
            }
            (_, Some(_)) => kind = "",
            ("sh", None) => add(&mut steps, line, |step| &mut step.commands),
            ("text", None) => add(&mut steps, line, |step| &mut step.printed),
            _ => {}
        }
    }
    steps
}

fn add(steps: &mut [Step], line: &str, part: fn(&mut Step) -> &mut String) {
    if let Some(step) = steps.last_mut() {
        let text = part(step);
        text.push_str(line);
        text.push('\n');
    }
}

/// Where an author types: a folder in which `soros` is a program, and where they are in it.
struct Desk {
    folder: tempfile::TempDir,
    place: PathBuf,
    url: String,
    dev: Option<Child>,
}

impl Drop for Desk {
    fn drop(&mut self) {
        if let Some(mut dev) = self.dev.take() {
            // It may have ended by itself; its data goes with the folder.
            let _ = dev.kill();
            let _ = dev.wait();
        }
    }
}

impl Desk {
    fn new() -> Desk {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::os::unix::fs::symlink(soros(), folder.path().join("soros")).expect("a link");
        let place = folder.path().to_owned();
        let (url, dev) = (String::new(), None);
        Desk {
            folder,
            place,
            url,
            dev,
        }
    }

    /// Types commands, and stays where they lead.
    fn types(&mut self, commands: &str) -> Output {
        let place = self.folder.path().join("place");
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let script = format!("{commands}\npwd > {}\n", place.display());
        let path = std::env::var("PATH").unwrap_or_default();
        let output = Command::new("bash")
            .args(["-ec", &script])
            .current_dir(&self.place)
            .env("PATH", format!("{}:{path}", self.folder.path().display()))
            .env("SOROS_URL", &self.url)
            .env("CARGO_TARGET_DIR", target())
            // What the SDK needs was fetched when the plugins that ship were built.
            .env("CARGO_NET_OFFLINE", "true")
            .stdin(Stdio::null())
            .output()
            .expect("bash starts");
        drop(turn);
        if output.status.success() {
            let text = fs::read_to_string(place).expect("where it is");
            self.place = PathBuf::from(text.trim());
        }
        output
    }

    /// Starts a cluster as in another terminal; on free ports, as the page's may be taken here.
    fn starts_dev(&mut self) {
        let ready = self.folder.path().join("ready.json");
        let dev = Command::new(soros())
            .env("SOROS_DISK_HIGH", "1")
            .args(["dev", "--port", "0", "--ready-file"])
            .arg(&ready)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("the binary starts");
        self.dev = Some(dev);
        let begun = Instant::now();
        while !ready.exists() {
            let waited = begun.elapsed();
            assert!(waited < Duration::from_mins(1), "dev does not come up");
            std::thread::sleep(Duration::from_millis(20));
        }
        let text = fs::read_to_string(&ready).expect("a ready file");
        let ready: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        ready["nodes"][0]["url"]
            .as_str()
            .expect("a URL")
            .clone_into(&mut self.url);
    }
}

/// A target directory that stays from run to run, and which one desk uses at a time: tests of
/// documentation link with what lies in it when cargo's own lock is gone.
fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("author")
}

#[track_caller]
fn check(step: &Step, output: &Output) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = text(&output.stdout) + &text(&output.stderr);
    let fails = step.printed.starts_with("error:");
    let Step { commands, printed } = step;
    assert_eq!(output.status.success(), !fails, "{commands}\n{said}");
    for line in printed.lines() {
        // What differs from machine to machine stands as an ellipsis.
        let mut rest = said.as_str();
        for part in line.split('…').map(str::trim) {
            let at = rest.find(part);
            let at = at.unwrap_or_else(|| panic!("`{line}` is not said of\n{commands}\n{said}"));
            rest = &rest[at + part.len()..];
        }
    }
}

#[test]
fn the_page_leads_from_nothing_to_an_active_validator() {
    let page = include_str!("../../docs/plugins.md");
    let steps = steps(page);
    assert!(10 <= steps.len(), "{steps:?}");
    let mut desk = Desk::new();
    for step in &steps {
        match step.commands.trim() {
            "soros dev" => desk.starts_dev(),
            // It is installed, or there would be no binary; the network is not for tests.
            install if install.starts_with("rustup target add") => {}
            _ => check(step, &desk.types(&step.commands)),
        }
    }
    let read = desk.types("soros kv get notes first");
    assert_eq!(read.stdout, b"a note");
}

#[test]
fn every_kind_compiles_passes_its_tests_and_keeps_its_laws() {
    let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sdk");
    for (name, kind, flag) in [
        (
            "the-longest",
            "resolution",
            format!("--sdk {}", sdk.display()),
        ),
        ("by-lot", "placement", String::new()),
    ] {
        let mut desk = Desk::new();
        let commands = format!(
            "soros plugin new {name} --kind {kind} {flag}\ncd {name}\n\
             cargo test\nsoros plugin build\nsoros --output json plugin test {name}.wasm"
        );
        let output = desk.types(&commands);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{commands}\n{said}");
        let again = desk.types(&format!("cd ..; soros plugin new {name} --kind {kind}"));
        let said = String::from_utf8_lossy(&again.stderr);
        assert!(said.contains("exists"), "{said}");
    }
}

#[test]
fn what_does_not_build_says_what_to_do() {
    let mut desk = Desk::new();
    for (commands, words) in [
        ("soros plugin build", "soros plugin new"),
        (
            "soros plugin new a-b --kind validation; cd a-b; echo 'nonsense' >> src/lib.rs; \
             soros plugin build",
            "Mend what cargo names",
        ),
        (
            "cd a-b; printf '' > src/lib.rs; soros plugin build",
            "export_validation",
        ),
        (
            "cd a-b; RUSTC=/bin/true soros plugin build",
            "rustup target add wasm32-unknown-unknown",
        ),
        ("CARGO=/nowhere soros plugin build a-b", "https://rustup.rs"),
    ] {
        let output = desk.types(commands);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{commands}\n{said}");
        assert!(
            said.contains(words),
            "{words} is not said of {commands}\n{said}"
        );
    }
}
