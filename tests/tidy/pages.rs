//! This is what the pages obey: links lead somewhere, every page can be found, and the README's
//! test command is one.

use crate::fault::Fault;
use crate::tree::{File, Tree, exists};

/// Where a reader begins: what neither of these links to, nobody finds.
const FIRST_PAGES: [&str; 2] = ["README.md", "ARCHITECTURE.md"];

/// The relative links of `page` that lead nowhere.
pub(crate) fn broken_links(tree: &Tree, page: &File) -> Vec<Fault> {
    links(&page.text)
        .into_iter()
        .filter(|(_, target)| is_relative(target))
        .filter_map(|(line, target)| {
            let what = fault_of(tree, page, target)?;
            Some(Fault::new(&page.path, line, what))
        })
        .collect()
}

fn fault_of(tree: &Tree, page: &File, target: &str) -> Option<String> {
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path = if path.is_empty() {
        page.path.clone()
    } else {
        resolve(&page.path, path)
    };
    if !exists(&path) {
        return Some(format!("`{target}` leads nowhere"));
    }
    let text = &tree.file(&path)?.text;
    let found = anchor.is_empty() || anchors(text).iter().any(|known| known == anchor);
    (!found).then(|| format!("`{path}` has no heading `#{anchor}`"))
}

fn is_relative(target: &str) -> bool {
    !target.contains("://") && !target.starts_with("mailto:")
}

/// `target`, seen from the page at `from`, as a path from the root.
fn resolve(from: &str, target: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

/// The targets of `[text](target)`, with their lines; code is not read.
fn links(text: &str) -> Vec<(usize, &str)> {
    prose(text)
        .flat_map(|(number, line)| {
            line.match_indices("](")
                .filter_map(move |(at, _)| line[at + 2..].split([')', ' ']).next())
                .map(move |target| (number, target))
        })
        .collect()
}

/// The lines outside fences, numbered from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_code = false;
    (1..).zip(text.lines()).filter(move |(_, line)| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// The anchors of a page's headings, as they are usually made.
fn anchors(text: &str) -> Vec<String> {
    prose(text)
        .filter(|(_, line)| line.starts_with('#'))
        .map(|(_, line)| anchor_of(line.trim_start_matches('#').trim()))
        .collect()
}

fn anchor_of(heading: &str) -> String {
    heading
        .to_lowercase()
        .chars()
        .filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter))
        .map(|letter| if letter == ' ' { '-' } else { letter })
        .collect()
}

/// The files of `docs` that no first page links to.
pub(crate) fn orphans(tree: &Tree) -> Vec<Fault> {
    let known: Vec<String> = FIRST_PAGES
        .iter()
        .flat_map(|page| {
            links(tree.text(page))
                .into_iter()
                .map(|(_, to)| resolve(page, to))
        })
        .map(|target| target.split('#').next().unwrap_or_default().to_owned())
        .collect();
    tree.under("docs/")
        .filter(|page| !known.contains(&page.path))
        .map(|page| {
            Fault::new(
                &page.path,
                1,
                format!("link to it from one of {FIRST_PAGES:?}"),
            )
        })
        .collect()
}

/// The commands of the README that run tests.
pub(crate) fn test_commands(readme: &str) -> Vec<&str> {
    readme
        .lines()
        .filter(|line| line.starts_with("cargo test"))
        .collect()
}

/// The names of the bugs that the simulator can plant: the strings of its `NAMES`.
pub(crate) fn planted_bugs(source: &str) -> Vec<&str> {
    let list = source
        .split_once("const NAMES:")
        .map_or("", |(_, rest)| rest);
    let list = list.split_once("\n];").map_or("", |(list, _)| list);
    list.split('"').skip(1).step_by(2).collect()
}

/// The Rust of a page, block by block.
pub(crate) fn rust_blocks(page: &str) -> Vec<&str> {
    let begins = page.split("\n```rust\n").skip(1);
    begins
        .filter_map(|rest| Some(rest.split_once("\n```")?.0))
        .collect()
}

/// The code in the documentation at the head of a source file, which the test command compiles.
pub(crate) fn head_documentation(source: &str) -> String {
    let lines = source.lines().map_while(|line| line.strip_prefix("//!"));
    let lines = lines.map(|line| line.strip_prefix(' ').unwrap_or(line));
    lines.flat_map(|line| [line, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_links_outside_code() {
        let text = "[a](b.md) and [c](d.md#e)\n```\n[f](g.md)\n```\n[h](i.md \"title\")\n";
        assert_eq!(links(text), [(1, "b.md"), (1, "d.md#e"), (5, "i.md")]);
    }

    #[test]
    fn resolves_from_the_folder_of_the_page() {
        assert_eq!(
            resolve("docs/design/causality.md", "../http-api.md"),
            "docs/http-api.md"
        );
        assert_eq!(resolve("README.md", "./docs/cli.md"), "docs/cli.md");
    }

    #[test]
    fn makes_anchors_of_headings() {
        assert_eq!(
            anchors("# A `b`, c!\n## D\n```\n# e\n```\n"),
            ["a-b-c", "d"]
        );
    }

    #[test]
    fn finds_links_that_lead_nowhere() {
        let tree = Tree::read();
        let text = "[a](README.md) [b](gone.md) [c](README.md#gone) [d](https://example.org)";
        let page = File {
            path: "a.md".to_owned(),
            text: text.to_owned(),
        };
        let found: Vec<String> = broken_links(&tree, &page)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            found,
            [
                "a.md:1: `gone.md` leads nowhere",
                "a.md:1: `README.md` has no heading `#gone`"
            ]
        );
    }

    #[test]
    fn reads_rust_from_pages_and_documentation() {
        assert_eq!(
            rust_blocks("a\n```rust\nb\nc\n```\n```sh\nd\n```\n"),
            ["b\nc"]
        );
        assert_eq!(
            head_documentation("//! a\n//!\n//! b\nuse c;\n//! d\n"),
            "a\n\nb\n"
        );
    }

    #[test]
    fn reads_the_list_of_planted_bugs() {
        let source = "\"x\"\nconst NAMES: [(Bug, &str); 1] = [\n    (B::A, \"a-b\"),\n];\n\"y\"";
        assert_eq!(planted_bugs(source), ["a-b"]);
    }

    #[test]
    fn finds_every_test_command() {
        assert_eq!(test_commands("a\ncargo test -p b\n"), ["cargo test -p b"]);
    }
}
