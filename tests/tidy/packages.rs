//! This is what every package declares: a licence that fits its folder, and the workspace's lints;
//! and how little the core depends on.

use crate::fault::Fault;
use crate::tree::File;

/// The licence files and words that each begins with.
pub(crate) const LICENCES: [(&str, &str); 5] = [
    (
        "LICENSE",
        "GNU GENERAL PUBLIC LICENSE\n                       Version 3",
    ),
    ("sdk/LICENSE-MIT", "Copyright (c) 2026 The Soros authors"),
    (
        "sdk/LICENSE-APACHE",
        "Apache License\n                           Version 2.0",
    ),
    (
        "examples/LICENSE-MIT",
        "Copyright (c) 2026 The Soros authors",
    ),
    (
        "examples/LICENSE-APACHE",
        "Apache License\n                           Version 2.0",
    ),
];

const OURS: &str = "GPL-3.0-or-later";
const THEIRS: &str = "MIT OR Apache-2.0";

/// What the core may depend on: nothing that waits, touches a disk or a socket, or runs Wasm.
/// (`bytes` and `rand_core` are the traits by which foca is given its buffers and its seed.)
const CORE_MAY_USE: [&str; 6] = ["blake3", "bytes", "foca", "rand_core", "serde", "thiserror"];

/// A package names its licence and keeps the workspace's lints.
pub(crate) fn manifest(file: &File) -> Vec<Fault> {
    let text = &file.text;
    if !text.contains("[package]") {
        return workspace(file);
    }
    let mut faults = Vec::new();
    let mut expect = |holds: bool, what: String| {
        if !holds {
            faults.push(Fault::new(&file.path, 1, what));
        }
    };
    let licence = licence_of(text);
    let expected = licence_for(&file.path);
    expect(
        licence == Some(expected),
        format!("the licence is {licence:?}, not `{expected}`"),
    );
    expect(
        text.contains("[lints]\nworkspace = true"),
        "`[lints] workspace = true` is missing".into(),
    );
    let host = has_dependency(text, "soros-host") || has_dependency(text, "soros-core");
    expect(
        !host || may_use_host(&file.path),
        "policies never depend on the host".into(),
    );
    faults
}

fn workspace(file: &File) -> Vec<Fault> {
    if licence_of(&file.text).is_some() && file.text.contains("[workspace.lints") {
        return Vec::new();
    }
    vec![Fault::new(
        &file.path,
        1,
        "a workspace names the licence and the lints of its packages",
    )]
}

/// The SDK and what newcomers copy may be used anywhere; the rest is Soros itself.
fn licence_for(path: &str) -> &'static str {
    if path.starts_with("sdk/") || path.starts_with("examples/") {
        THEIRS
    } else {
        OURS
    }
}

fn may_use_host(path: &str) -> bool {
    !path.starts_with("sdk/") && !path.starts_with("plugins/")
}

fn licence_of(text: &str) -> Option<&str> {
    text.lines().find_map(|line| {
        if line == "license.workspace = true" {
            return Some(OURS);
        }
        line.strip_prefix("license = \"")?.strip_suffix('"')
    })
}

fn has_dependency(text: &str, name: &str) -> bool {
    text.lines().any(|line| {
        line.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with(['.', ' ', '=']))
    })
}

/// The core's dependencies are the few that it may have.
pub(crate) fn core_dependencies(manifest: &str) -> Vec<Fault> {
    let mut section = "";
    let mut faults = Vec::new();
    for (number, line) in (1..).zip(manifest.lines()) {
        if line.starts_with('[') {
            section = line;
        } else if section == "[dependencies]" && !line.is_empty() && !line.starts_with('#') {
            let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
            if !CORE_MAY_USE.contains(&name) {
                let what = format!("the core may not depend on `{name}`");
                faults.push(Fault::new("host/core/Cargo.toml", number, what));
            }
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, text: &str, expected: &[&str]) {
        let file = File {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        let found: Vec<String> = manifest(&file).iter().map(ToString::to_string).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn asks_each_folder_for_its_licence() {
        let ours = "[package]\nlicense.workspace = true\n[lints]\nworkspace = true\n";
        let theirs = "[package]\nlicense = \"MIT OR Apache-2.0\"\n[lints]\nworkspace = true\n";
        check("host/Cargo.toml", ours, &[]);
        check("sdk/Cargo.toml", theirs, &[]);
        let refusal =
            "sdk/Cargo.toml:1: the licence is Some(\"GPL-3.0-or-later\"), not `MIT OR Apache-2.0`";
        check("sdk/Cargo.toml", ours, &[refusal]);
    }

    #[test]
    fn asks_for_the_lints() {
        let text = "[package]\nlicense.workspace = true\n";
        check(
            "host/Cargo.toml",
            text,
            &["host/Cargo.toml:1: `[lints] workspace = true` is missing"],
        );
    }

    #[test]
    fn keeps_the_host_out_of_policies() {
        let text = "[package]\nlicense.workspace = true\n[lints]\nworkspace = true\n\
                    [dependencies]\nsoros-host = \"1\"\n";
        check(
            "plugins/lww/Cargo.toml",
            text,
            &["plugins/lww/Cargo.toml:1: policies never depend on the host"],
        );
        check("tests/Cargo.toml", text, &[]);
    }

    #[test]
    fn keeps_the_core_small() {
        let manifest = "[dependencies]\nserde.workspace = true\ntokio = \"1\"\n\
                        [dev-dependencies]\nproptest = \"1\"\n";
        let found: Vec<String> = core_dependencies(manifest)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            found,
            ["host/core/Cargo.toml:3: the core may not depend on `tokio`"]
        );
    }
}
