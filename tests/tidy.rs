//! This is the house's own rules, checked on every file: who may import whom, how long a line, a
//! function and a file may be, what a page must link to, and which licence a package carries.
//!
//! Each rule is a function from text to faults, tried on small fixtures in its own file and on the
//! whole tree here. A fault names its file and line and says what to do.

#[path = "tidy/api.rs"]
mod api;
#[path = "tidy/fault.rs"]
mod fault;
#[path = "tidy/layers.rs"]
mod layers;
#[path = "tidy/operations.rs"]
mod operations;
#[path = "tidy/packages.rs"]
mod packages;
#[path = "tidy/pages.rs"]
mod pages;
#[path = "tidy/rust.rs"]
mod rust;
#[path = "tidy/text.rs"]
mod text;
#[path = "tidy/tree.rs"]
mod tree;

use fault::Fault;
use std::collections::BTreeSet;
use tree::{File, Tree};

/// Fails with every fault, one a line.
#[track_caller]
fn assert_none(faults: &[Fault]) {
    let list: Vec<String> = faults.iter().map(ToString::to_string).collect();
    assert!(
        list.is_empty(),
        "{} faults:\n{}",
        list.len(),
        list.join("\n")
    );
}

/// Fails with the faults that `rule` finds in the files whose names end in one of `endings`.
#[track_caller]
fn check(endings: &[&str], rule: fn(&File) -> Vec<Fault>) {
    let tree = Tree::read();
    let files: Vec<&File> = tree.ending_in(endings).collect();
    assert!(!files.is_empty(), "no file ends in {endings:?}");
    let faults: Vec<Fault> = files.into_iter().flat_map(rule).collect();
    assert_none(&faults);
}

#[test]
fn modules_import_only_what_lies_below_them() {
    check(&[".rs"], layers::imports);
}

#[test]
fn crates_and_the_world_are_named_only_where_they_belong() {
    check(&[".rs"], layers::names);
}

#[test]
fn lines_functions_and_files_are_short() {
    check(&[".rs"], rust::too_long);
}

#[test]
fn files_say_what_they_are() {
    check(&[".rs"], rust::module_doc);
}

#[test]
fn names_are_nouns_of_the_field() {
    check(&[".rs"], rust::file_name);
}

#[test]
fn nothing_is_exported_by_glob_and_unsafe_stays_where_it_is_known() {
    check(&[".rs"], rust::exports_and_unsafe);
}

#[test]
fn promises_have_a_name_and_machines_have_none() {
    check(
        &[".rs", ".toml", ".md", ".wit", ".json", ".ci/run"],
        text::marks,
    );
}

#[test]
fn packages_carry_their_licence_and_the_lints() {
    check(&["Cargo.toml"], packages::manifest);
}

#[test]
fn the_core_depends_on_nothing_that_waits_or_touches() {
    let tree = Tree::read();
    assert_none(&packages::core_dependencies(
        tree.text("host/core/Cargo.toml"),
    ));
}

#[test]
fn the_licences_are_the_ones_that_the_packages_name() {
    let tree = Tree::read();
    for (path, title) in packages::LICENCES {
        assert!(tree.text(path).contains(title), "{path} is not `{title}`");
    }
}

#[test]
fn links_between_pages_resolve() {
    let tree = Tree::read();
    let faults: Vec<Fault> = tree
        .ending_in(&[".md"])
        .flat_map(|page| pages::broken_links(&tree, page))
        .collect();
    assert_none(&faults);
}

#[test]
fn every_page_can_be_found_from_the_first() {
    assert_none(&pages::orphans(&Tree::read()));
}

#[test]
fn architecture_fits_its_page() {
    let lines = Tree::read().text("ARCHITECTURE.md").lines().count();
    assert!(
        lines <= 200,
        "ARCHITECTURE.md has {lines} lines, more than 200"
    );
}

#[test]
fn what_the_readme_says_is_what_the_ci_tests() {
    let tree = Tree::read();
    assert_eq!(
        pages::test_commands(tree.text("README.md")),
        ["cargo test --workspace"]
    );
    assert!(
        tree.text(".ci/run")
            .contains("grep -m1 '^cargo test' README.md"),
        ".ci/run must take its test command from the README"
    );
}

#[test]
fn every_planted_bug_is_explained() {
    let tree = Tree::read();
    let page = tree.text("docs/design/causality.md");
    let bugs = pages::planted_bugs(tree.text("tests/sim/src/bug.rs"));
    assert!(!bugs.is_empty(), "no planted bug was found");
    for bug in bugs {
        assert!(
            page.contains(&format!("`{bug}`")),
            "docs/design/causality.md is silent on {bug}"
        );
    }
}

#[test]
fn the_policy_of_the_readme_is_one_that_compiles() {
    let tree = Tree::read();
    let compiled = pages::head_documentation(tree.text("sdk/src/lib.rs"));
    let blocks = pages::rust_blocks(tree.text("README.md"));
    assert!(!blocks.is_empty(), "the README shows no policy");
    for block in blocks {
        assert!(
            compiled.contains(block),
            "sdk/src/lib.rs does not document:\n{block}"
        );
    }
}

/// The API as machines read it.
fn document(tree: &Tree) -> serde_json::Value {
    serde_json::from_str(tree.text("docs/openapi.json")).expect("docs/openapi.json is JSON")
}

#[test]
fn people_and_machines_read_of_the_same_routes() {
    let tree = Tree::read();
    let routes = api::routes_of_page(tree.text("docs/http-api.md"));
    assert!(
        !routes.is_empty(),
        "docs/http-api.md has no table of routes"
    );
    assert_eq!(routes, api::routes_of_document(&document(&tree)));
}

#[test]
fn people_machines_and_the_source_know_the_same_error_codes() {
    let tree = Tree::read();
    let codes = api::codes_of_page(tree.text("docs/http-api.md"));
    assert_eq!(codes, api::codes_of_document(&document(&tree)));
    let names: BTreeSet<String> = codes.into_iter().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        api::codes_of_source(tree.text("host/src/network/problem.rs"))
    );
}

#[test]
fn references_within_the_machines_page_resolve() {
    let broken = api::broken_references(&document(&Tree::read()));
    assert!(
        broken.is_empty(),
        "docs/openapi.json refers to nothing with {broken:?}"
    );
}

#[test]
fn operators_read_of_every_figure() {
    let tree = Tree::read();
    let sources = tree.under("host/src/telemetry/");
    let figures: BTreeSet<String> = sources
        .flat_map(|file| operations::figures(&file.text))
        .collect();
    assert_eq!(
        figures,
        operations::figures(tree.text("docs/operations.md"))
    );
}

#[test]
fn operators_read_of_every_setting() {
    let tree = Tree::read();
    let settings = operations::settings_of_source(tree.text("host/src/config/setting.rs"));
    assert!(!settings.is_empty(), "no setting was found");
    assert_eq!(
        settings,
        operations::settings_of_page(tree.text("docs/operations.md"))
    );
}

#[test]
fn nothing_binary_is_committed() {
    let Some(files) = tree::committed() else {
        eprintln!("SKIPPED: not a git checkout, so nobody knows what is committed");
        return;
    };
    let binary: Vec<&String> = files.iter().filter(|path| tree::is_binary(path)).collect();
    assert!(binary.is_empty(), "binary files: {binary:?}");
}
