//! This is what every source file obeys: its lengths, its first line, its name, what it exports.

use crate::fault::Fault;
use crate::tree::File;

/// The longest line, in characters.
const LINE_MAX: usize = 100;
/// The longest function, in lines.
const FUNCTION_MAX: usize = 70;
/// The longest file, in lines.
const FILE_MAX: usize = 700;
/// Names that say nothing: a thing without a home gets a noun.
const EMPTY_NAMES: [&str; 8] = [
    "common", "helper", "helpers", "misc", "mod", "prelude", "util", "utils",
];
/// Where `unsafe` is known, and why: elsewhere the workspace's lints refuse it.
const UNSAFE: [(&str, &str); 3] = [
    ("host/src/plugin/", "compiled code is loaded from the cache"),
    ("sdk/", "generated bindings and `export!`"),
    (
        "tests/turmoil/",
        "what the process asks the system for time and randomness",
    ),
];
/// What the first lines of a file that a program wrote say.
const GENERATED: [&str; 2] = ["@generated", "written by wit-bindgen"];

/// Lines, functions and the file itself are not longer than they may be.
pub(crate) fn too_long(file: &File) -> Vec<Fault> {
    if is_generated(file) {
        return Vec::new();
    }
    let lines: Vec<&str> = file.text.lines().collect();
    let mut faults = wide_lines(&file.path, &lines);
    faults.extend(long_functions(&file.path, &lines));
    if FILE_MAX < lines.len() {
        faults.push(Fault::new(
            &file.path,
            lines.len(),
            format!("{} lines: at most {FILE_MAX}, so split it", lines.len()),
        ));
    }
    faults
}

fn is_generated(file: &File) -> bool {
    let says = |line: &str| GENERATED.iter().any(|mark| line.contains(mark));
    file.text.lines().take(5).any(says)
}

fn wide_lines(path: &str, lines: &[&str]) -> Vec<Fault> {
    let wide = |line: &str| LINE_MAX < line.chars().count();
    (1..)
        .zip(lines)
        .filter(|(_, line)| wide(line))
        .map(|(number, _)| Fault::new(path, number, format!("wider than {LINE_MAX} columns")))
        .collect()
}

fn long_functions(path: &str, lines: &[&str]) -> Vec<Fault> {
    (0..lines.len())
        .filter_map(|start| Some((start, function_length(&lines[start..])?)))
        .filter(|&(_, length)| FUNCTION_MAX < length)
        .map(|(start, length)| {
            let what = format!("a function of {length} lines: at most {FUNCTION_MAX}");
            Fault::new(path, start + 1, what)
        })
        .collect()
}

/// How many lines the function takes that begins on the first of `lines`, if one does. Rustfmt
/// closes a function at the indentation it opened at, so counting lines is enough.
fn function_length(lines: &[&str]) -> Option<usize> {
    let first = lines.first()?;
    if !begins_function(first) {
        return None;
    }
    let indent = &first[..first.len() - first.trim_start().len()];
    let body = lines
        .iter()
        .position(|line| line.trim_end().ends_with(['{', ';', '}']))?;
    if !lines[body].trim_end().ends_with('{') {
        return Some(body + 1);
    }
    let close = format!("{indent}}}");
    let end = lines
        .iter()
        .skip(body + 1)
        .position(|line| line.trim_end() == close)?;
    Some(body + end + 2)
}

fn begins_function(line: &str) -> bool {
    let before_name = |word: &&str| {
        matches!(*word, "async" | "const" | "extern" | "pub" | "unsafe")
            || word.starts_with("pub(")
            || word.starts_with('"')
    };
    line.split_whitespace().find(|word| !before_name(word)) == Some("fn")
}

/// The first line of the file says what it is.
pub(crate) fn module_doc(file: &File) -> Vec<Fault> {
    let first = file.text.lines().next().unwrap_or_default();
    let said = first
        .strip_prefix("//! ")
        .is_some_and(|doc| !doc.trim().is_empty());
    if said || is_generated(file) {
        return Vec::new();
    }
    vec![Fault::new(
        &file.path,
        1,
        "the first line must say `//! This is ...`",
    )]
}

/// No file and no folder has a name that says nothing.
pub(crate) fn file_name(file: &File) -> Vec<Fault> {
    file.path
        .trim_end_matches(".rs")
        .split('/')
        .filter(|part| EMPTY_NAMES.contains(part))
        .map(|part| Fault::new(&file.path, 1, format!("`{part}` says nothing: find a noun")))
        .collect()
}

/// Nothing is exported by `*`; `unsafe` is allowed only where it is known.
pub(crate) fn exports_and_unsafe(file: &File) -> Vec<Fault> {
    let known = UNSAFE
        .iter()
        .any(|(prefix, _)| file.path.starts_with(prefix));
    let fault = |(number, line): (usize, &str)| {
        let line = line.trim_start();
        if line.starts_with("pub use ") && line.ends_with("::*;") {
            return Some(Fault::new(&file.path, number, "export by name, not by `*`"));
        }
        (!known && allows_unsafe(line))
            .then(|| Fault::new(&file.path, number, "`unsafe` is not allowed here"))
    };
    (1..).zip(file.text.lines()).filter_map(fault).collect()
}

fn allows_unsafe(line: &str) -> bool {
    let attribute = line.starts_with("#[") || line.starts_with("#![");
    attribute
        && line.contains("unsafe_code")
        && (line.contains("allow(") || line.contains("expect("))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    fn shown(faults: &[Fault]) -> Vec<String> {
        faults.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn finds_wide_lines_by_characters() {
        let text = format!("{}\n{}\n", "ä".repeat(100), "b".repeat(101));
        let found = too_long(&file("a.rs", &text));
        assert_eq!(shown(&found), ["a.rs:2: wider than 100 columns"]);
    }

    #[test]
    fn finds_long_functions_and_no_short_one() {
        let long = format!(
            "impl A {{\n    pub async fn a(\n    ) {{\n{}    }}\n}}\n",
            "x;\n".repeat(68)
        );
        let found = too_long(&file("a.rs", &long));
        assert_eq!(
            shown(&found),
            ["a.rs:2: a function of 71 lines: at most 70"]
        );
        let short = format!("fn a() {{\n{}}}\nfn b() {{}}\nfn c();\n", "x;\n".repeat(68));
        assert_eq!(too_long(&file("a.rs", &short)), []);
    }

    #[test]
    fn sees_where_a_function_ends() {
        let length = |text: &str| function_length(&text.lines().collect::<Vec<_>>());
        assert_eq!(length("fn a() {}"), Some(1));
        assert_eq!(
            length("pub(crate) const fn a(\n    b: u8,\n) -> u8;\n"),
            Some(3)
        );
        assert_eq!(
            length("fn a<T>()\nwhere\n    T: B,\n{\n    if c {\n    }\n}\n"),
            Some(7)
        );
        assert_eq!(length("let fn_a = 1;"), None);
    }

    #[test]
    fn finds_long_files_unless_a_program_wrote_them() {
        let lines = "x\n".repeat(701);
        assert_eq!(too_long(&file("a.rs", &lines)).len(), 1);
        assert_eq!(
            too_long(&file("a.rs", &format!("// @generated\n{lines}"))),
            []
        );
    }

    #[test]
    fn asks_for_a_first_line_that_says_something() {
        assert_eq!(module_doc(&file("a.rs", "//! This is it.\n")), []);
        assert_eq!(module_doc(&file("a.rs", "//!\n")).len(), 1);
        assert_eq!(module_doc(&file("a.rs", "use std::fmt;\n")).len(), 1);
        assert_eq!(module_doc(&file("a.rs", "")).len(), 1);
    }

    #[test]
    fn refuses_names_that_say_nothing() {
        let found = file_name(&file("host/src/peer/helpers.rs", ""));
        assert_eq!(
            shown(&found),
            ["host/src/peer/helpers.rs:1: `helpers` says nothing: find a noun"]
        );
        assert_eq!(file_name(&file("host/src/util/a.rs", "")).len(), 1);
        assert_eq!(file_name(&file("host/src/peer/mod.rs", "")).len(), 1);
        assert_eq!(file_name(&file("host/src/peer/api.rs", "")), []);
    }

    #[test]
    fn refuses_globs_and_unknown_unsafe() {
        assert_eq!(
            exports_and_unsafe(&file("a.rs", "pub use b::*;\n")).len(),
            1
        );
        assert_eq!(exports_and_unsafe(&file("a.rs", "pub use b::C;\n")), []);
        let allowed = "#[allow(unsafe_code)]\n";
        assert_eq!(
            exports_and_unsafe(&file("host/src/store/a.rs", allowed)).len(),
            1
        );
        assert_eq!(
            exports_and_unsafe(&file("host/src/plugin/a.rs", allowed)),
            []
        );
    }
}
