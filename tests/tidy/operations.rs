//! This is whether the operator's page knows every figure and every setting of a node, and no
//! other.

use std::collections::BTreeSet;

/// How the names of figures begin.
const FIGURE: &str = "soros_";

/// The figures that `text` names, in strings or between backticks.
pub(crate) fn figures(text: &str) -> BTreeSet<String> {
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    text.split(['"', '`'])
        .filter(|word| word.starts_with(FIGURE) && word.chars().all(is_of_name))
        .filter(|word| *word != FIGURE && *word != "soros_host")
        .map(str::to_owned)
        .collect()
}

fn is_of_name(letter: char) -> bool {
    letter.is_ascii_lowercase() || letter == '_'
}

/// The settings of the source's `SETTINGS`: the first string of each.
pub(crate) fn settings_of_source(source: &str) -> BTreeSet<String> {
    let list = source.split_once("SETTINGS:").map_or("", |(_, rest)| rest);
    let list = list.split_once("];").map_or("", |(list, _)| list);
    list.split("setting(")
        .skip(1)
        .filter_map(|entry| entry.split('"').nth(1))
        .map(str::to_owned)
        .collect()
}

/// The settings of the page's table under `## Settings`.
pub(crate) fn settings_of_page(page: &str) -> BTreeSet<String> {
    page.lines()
        .skip_while(|line| *line != "## Settings")
        .skip(1)
        .take_while(|line| !line.starts_with("## "))
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(found: &BTreeSet<String>, expected: &[&str]) {
        assert_eq!(
            found.iter().map(String::as_str).collect::<Vec<_>>(),
            expected
        );
    }

    #[test]
    fn finds_figures_in_code_and_on_pages() {
        check(
            &figures("page.gauge(\"soros_epoch\", \"x\")"),
            &["soros_epoch"],
        );
        check(
            &figures("| `soros_a`, `soros_b_total` | x |"),
            &["soros_a", "soros_b_total"],
        );
        check(
            &figures("`soros_host=debug`\n#[cfg(test)]\n\"soros_x\""),
            &[],
        );
    }

    #[test]
    fn finds_settings_in_code_and_on_pages() {
        let source = "const SETTINGS: [Setting; 2] = [\n    setting(\"a\", \"A\", \"x\"),\n    \
                      setting(\n        \"b-c\",\n        \"B\",\n    ),\n];\nsetting(\"d\")";
        check(&settings_of_source(source), &["a", "b-c"]);
        let page = "## Settings\n| setting | x |\n| `a` | `SOROS_A` |\n## Then\n| `b` |\n";
        check(&settings_of_page(page), &["a"]);
    }
}
