//! This is who may import whom: the layers of the host, the crates and the parts of the world that
//! only some of them name, and what the core may not touch.

use crate::fault::Fault;
use crate::tree::File;

/// The layers of `host/src`, in reading order, and what each may import.
const LAYERS: [(&str, &[&str]); 11] = [
    ("main", &["app", "cli", "config", "telemetry"]),
    (
        "cli",
        &[
            "app",
            "client",
            "config",
            "network",
            "plugin",
            "store",
            "telemetry",
        ],
    ),
    (
        "app",
        &[
            "authority",
            "client",
            "config",
            "network",
            "peer",
            "plugin",
            "store",
            "telemetry",
        ],
    ),
    (
        "peer",
        &["client", "network", "plugin", "store", "telemetry"],
    ),
    (
        "authority",
        &["client", "network", "plugin", "store", "telemetry"],
    ),
    ("client", &["network", "telemetry"]),
    ("plugin", &["store", "telemetry"]),
    ("network", &["telemetry"]),
    ("store", &["telemetry"]),
    ("config", &["telemetry"]),
    ("telemetry", &[]),
];

/// A name that only some layers of the host may use.
struct Reserved {
    /// The crate or module, and the name in it; no name is all of it.
    path: [&'static str; 2],
    layers: &'static [&'static str],
}

const RESERVED: [Reserved; 12] = [
    Reserved {
        path: ["wasmtime", ""],
        layers: &["plugin"],
    },
    Reserved {
        path: ["hyper", ""],
        layers: &["network", "client"],
    },
    Reserved {
        path: ["hyper_util", ""],
        layers: &["network", "client"],
    },
    Reserved {
        path: ["fjall", ""],
        layers: &["store"],
    },
    Reserved {
        path: ["openraft", ""],
        layers: &["authority"],
    },
    Reserved {
        path: ["clap", ""],
        layers: &["cli", "main"],
    },
    Reserved {
        path: ["std", "fs"],
        layers: &["store", "config", "cli", "app"],
    },
    Reserved {
        path: ["tokio", "fs"],
        layers: &["store", "config", "cli", "app"],
    },
    Reserved {
        path: ["std", "env"],
        layers: &["main", "config", "cli", "telemetry"],
    },
    Reserved {
        path: ["std::process", "Command"],
        layers: &["main", "cli", "app", "plugin"],
    },
    Reserved {
        path: ["tokio::process", "Command"],
        layers: &["cli", "plugin"],
    },
    Reserved {
        path: ["tracing_subscriber", ""],
        layers: &["telemetry"],
    },
];

/// Parts of the standard library that the core may not name, tests included: it decides, and
/// touches nothing.
const FOREIGN_TO_CORE: [&str; 6] = ["env", "fs", "net", "os", "process", "thread"];

/// Modules of the host import only what lies below them.
pub(crate) fn imports(file: &File) -> Vec<Fault> {
    let Some(inside) = file.path.strip_prefix("host/src/") else {
        return Vec::new();
    };
    let layer = layer_of(inside);
    if layer == "lib" {
        return Vec::new();
    }
    let Some(allowed) = allowed_by(layer) else {
        return vec![Fault::new(
            &file.path,
            1,
            format!("layer `{layer}` is not in LAYERS"),
        )];
    };
    imported(&file.text, depth_of(inside))
        .into_iter()
        .filter(|(_, name)| name != layer && !allowed.contains(&name.as_str()))
        .map(|(line, name)| Fault::new(&file.path, line, refusal(layer, &name)))
        .collect()
}

fn refusal(layer: &str, name: &str) -> String {
    match allowed_by(name) {
        Some(_) => format!("`{layer}` may not import `{name}`"),
        None => format!("`{layer}` imports `{name}`, which is no layer"),
    }
}

fn allowed_by(layer: &str) -> Option<&'static [&'static str]> {
    LAYERS
        .iter()
        .find(|(name, _)| *name == layer)
        .map(|(_, allowed)| *allowed)
}

/// `peer` of `peer.rs` and of `peer/driver.rs`.
fn layer_of(inside: &str) -> &str {
    inside
        .split('/')
        .next()
        .unwrap_or(inside)
        .trim_end_matches(".rs")
}

/// How many `super::` lead from the file's own module to the root of the crate.
fn depth_of(inside: &str) -> usize {
    inside.split('/').count()
}

/// The top-level modules of the host that `text` names, with their lines.
fn imported(text: &str, depth: usize) -> Vec<(usize, String)> {
    let code = without_comments(text);
    let mut names = segments(&code, "crate");
    names.extend(segments(&code, "soros_host"));
    let up = vec!["super"; depth].join("::");
    names.extend(segments(without_tests(&code), &up));
    names
}

/// Crates and parts of the standard library are named only where they belong.
pub(crate) fn names(file: &File) -> Vec<Fault> {
    if file.path.starts_with("host/core/src/") {
        return foreign_to_core(file);
    }
    let Some(inside) = file.path.strip_prefix("host/src/") else {
        return Vec::new();
    };
    if inside.ends_with("/tests.rs") || inside.contains("/tests/") {
        return Vec::new();
    }
    let layer = layer_of(inside);
    let code = without_comments(&file.text);
    let code = without_tests(&code);
    RESERVED
        .iter()
        .filter(|reserved| !reserved.layers.contains(&layer))
        .flat_map(|reserved| {
            reserved
                .uses(code)
                .into_iter()
                .map(|line| (line, reserved.shown()))
        })
        .map(|(line, name)| {
            Fault::new(&file.path, line, format!("`{layer}` may not name `{name}`"))
        })
        .collect()
}

impl Reserved {
    fn uses(&self, code: &str) -> Vec<usize> {
        let [root, module] = self.path;
        let of_module =
            |(line, name): (usize, String)| (module.is_empty() || name == module).then_some(line);
        segments(code, root)
            .into_iter()
            .filter_map(of_module)
            .collect()
    }

    fn shown(&self) -> String {
        self.path.join("::").trim_end_matches(':').to_owned()
    }
}

fn foreign_to_core(file: &File) -> Vec<Fault> {
    segments(&without_comments(&file.text), "std")
        .into_iter()
        .filter(|(_, name)| FOREIGN_TO_CORE.contains(&name.as_str()))
        .map(|(line, name)| {
            Fault::new(
                &file.path,
                line,
                format!("the core may not name `std::{name}`"),
            )
        })
        .collect()
}

/// What follows `root::` in `code`, with the lines: one name, or each name of a group.
fn segments(code: &str, root: &str) -> Vec<(usize, String)> {
    let start = format!("{root}::");
    let mut found = Vec::new();
    for (at, _) in code.match_indices(&start) {
        let is_inside = |before: char| before.is_alphanumeric() || before == '_' || before == ':';
        if code[..at].chars().next_back().is_some_and(is_inside) {
            continue;
        }
        let line = code[..at].matches('\n').count() + 1;
        let names = first_names(&code[at + start.len()..]);
        found.extend(names.into_iter().map(|(below, name)| (line + below, name)));
    }
    found
}

/// The first names of `{a::b, c}` or of `a::b`, and how many lines below the start each stands.
fn first_names(rest: &str) -> Vec<(usize, String)> {
    let Some(group) = rest.strip_prefix('{') else {
        let name = leading_name(rest);
        return if name.is_empty() {
            Vec::new()
        } else {
            vec![(0, name.to_owned())]
        };
    };
    let mut names = Vec::new();
    let mut depth = 0_usize;
    let mut is_first = true;
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => is_first = true,
            _ if is_first && !letter.is_whitespace() => {
                is_first = false;
                let below = group[..at].matches('\n').count();
                names.push((below, leading_name(&group[at..]).to_owned()));
            }
            _ => {}
        }
    }
    names
}

fn leading_name(text: &str) -> &str {
    let end = text.find(|letter: char| !letter.is_alphanumeric() && letter != '_');
    &text[..end.unwrap_or(text.len())]
}

/// The code with its comments blanked out; lines keep their numbers.
fn without_comments(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    for line in text.lines() {
        code.push_str(&line[..comment_start(line)]);
        code.push('\n');
    }
    code
}

/// Where the comment of a line begins: at `//` behind an even number of quotes.
fn comment_start(line: &str) -> usize {
    let is_comment = |at: &usize| line[..*at].matches('"').count().is_multiple_of(2);
    line.match_indices("//")
        .map(|(at, _)| at)
        .find(is_comment)
        .unwrap_or(line.len())
}

/// The code before its unit tests, which may prepare folders and sockets of their own.
fn without_tests(code: &str) -> &str {
    let tests = code.find("#[cfg(test)]\nmod ");
    &code[..tests.unwrap_or(code.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(rule: fn(&File) -> Vec<Fault>, path: &str, text: &str, expected: &[&str]) {
        let file = File {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        let found: Vec<String> = rule(&file).iter().map(ToString::to_string).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn keeps_the_roles_apart() {
        check(
            imports,
            "host/src/authority/driver.rs",
            "//! This is it.\nuse crate::peer::Peer;\n",
            &["host/src/authority/driver.rs:2: `authority` may not import `peer`"],
        );
        check(
            imports,
            "host/src/peer.rs",
            "fn ask() {\n    crate::authority::map()\n}\n",
            &["host/src/peer.rs:2: `peer` may not import `authority`"],
        );
    }

    #[test]
    fn lets_a_layer_import_what_lies_below() {
        check(
            imports,
            "host/src/peer/api.rs",
            "use crate::{network::Request, peer::X};\n",
            &[],
        );
        check(
            imports,
            "host/src/app.rs",
            "use crate::peer;\nuse crate::authority;\n",
            &[],
        );
        check(
            imports,
            "host/src/lib.rs",
            "pub use crate::app::App;\n",
            &[],
        );
        check(imports, "sdk/src/lib.rs", "use crate::anything;\n", &[]);
    }

    #[test]
    fn sees_into_groups_of_several_lines() {
        let text = "use crate::{\n    network::{Request, peer},\n    app::App, config,\n};\n";
        check(
            imports,
            "host/src/client/call.rs",
            text,
            &[
                "host/src/client/call.rs:3: `client` may not import `app`",
                "host/src/client/call.rs:3: `client` may not import `config`",
            ],
        );
    }

    #[test]
    fn sees_through_super_and_the_crate_name() {
        check(
            imports,
            "host/src/store.rs",
            "use super::network::Links;\n",
            &["host/src/store.rs:1: `store` may not import `network`"],
        );
        check(
            imports,
            "host/src/store/commit.rs",
            "use super::network;\n",
            &[
            // Of the layer's own module, so it is none of this rule's business.
        ],
        );
        check(
            imports,
            "host/src/main.rs",
            "fn main() { soros_host::peer::run() }\n",
            &["host/src/main.rs:1: `main` may not import `peer`"],
        );
    }

    #[test]
    fn refuses_a_layer_that_nobody_knows() {
        check(
            imports,
            "host/src/helpers.rs",
            "",
            &["host/src/helpers.rs:1: layer `helpers` is not in LAYERS"],
        );
        check(
            imports,
            "host/src/peer.rs",
            "use crate::odd::Thing;\n",
            &["host/src/peer.rs:1: `peer` imports `odd`, which is no layer"],
        );
    }

    #[test]
    fn keeps_crates_where_they_belong() {
        let text = "use hyper::body::Incoming;\nlet engine = wasmtime::Engine::default();\n";
        check(
            names,
            "host/src/peer.rs",
            text,
            &[
                "host/src/peer.rs:2: `peer` may not name `wasmtime`",
                "host/src/peer.rs:1: `peer` may not name `hyper`",
            ],
        );
        check(
            names,
            "host/src/network/listener.rs",
            "use hyper::body::Incoming;\n",
            &[],
        );
        check(
            names,
            "host/src/peer.rs",
            "// hyper::body is not for us\n",
            &[],
        );
        check(names, "host/src/peer.rs", "use my_hyper::body;\n", &[]);
    }

    #[test]
    fn keeps_files_and_the_environment_where_they_belong() {
        check(
            names,
            "host/src/peer.rs",
            "use std::{collections::BTreeMap, fs};\n",
            &["host/src/peer.rs:1: `peer` may not name `std::fs`"],
        );
        check(
            names,
            "host/src/network/dial.rs",
            "let home = std::env::var(\"HOME\");\n",
            &["host/src/network/dial.rs:1: `network` may not name `std::env`"],
        );
        check(
            names,
            "host/src/store/engine.rs",
            "use std::fs::File;\n",
            &[],
        );
        let in_tests = "#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n";
        check(names, "host/src/peer.rs", in_tests, &[]);
    }

    #[test]
    fn keeps_the_world_out_of_the_core() {
        check(
            names,
            "host/core/src/put.rs",
            "use std::{fmt, thread};\n",
            &["host/core/src/put.rs:1: the core may not name `std::thread`"],
        );
        check(
            names,
            "host/core/src/put.rs",
            "use std::collections::BTreeMap;\n",
            &[],
        );
    }

    #[test]
    fn tells_comments_from_addresses() {
        assert_eq!(
            without_comments("a(\"http://b\"); // c"),
            "a(\"http://b\"); \n"
        );
    }
}
