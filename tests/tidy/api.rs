//! This is whether the API is the same wherever it is written down: the page for people, the
//! document for machines, and the table of codes in the network layer.

use serde_json::Value;
use std::collections::BTreeSet;

/// A route: its method, its path, and whether it is built.
pub(crate) type Route = (String, String, String);
/// An error's code and its status.
pub(crate) type Code = (String, String);

/// The routes of the page's table under `## Routes`.
pub(crate) fn routes_of_page(page: &str) -> BTreeSet<Route> {
    rows(page, "## Routes")
        .filter_map(|row| match row.as_slice() {
            [method, path, _, now] if path.starts_with('/') => {
                Some((method.clone(), path.clone(), now.clone()))
            }
            _ => None,
        })
        .collect()
}

/// The routes of the document.
pub(crate) fn routes_of_document(document: &Value) -> BTreeSet<Route> {
    let empty = serde_json::Map::new();
    let paths = document["paths"].as_object().unwrap_or(&empty);
    paths
        .iter()
        .flat_map(|(path, methods)| {
            let methods = methods.as_object().into_iter().flatten();
            methods.map(|(method, operation)| {
                let now = operation["x-soros-now"].as_str().unwrap_or_default();
                (method.to_uppercase(), path.clone(), now.to_owned())
            })
        })
        .collect()
}

/// The codes of the page's table under `## Errors`.
pub(crate) fn codes_of_page(page: &str) -> BTreeSet<Code> {
    rows(page, "## Errors")
        .filter_map(|row| match row.as_slice() {
            [status, code, _] if status.parse::<u16>().is_ok() => {
                Some((code.clone(), status.clone()))
            }
            _ => None,
        })
        .collect()
}

/// The codes of the document's `Code` schema.
pub(crate) fn codes_of_document(document: &Value) -> BTreeSet<Code> {
    let codes = document["components"]["schemas"]["Code"]["oneOf"].as_array();
    codes
        .into_iter()
        .flatten()
        .map(|code| {
            let text = code["const"].as_str().unwrap_or_default();
            (text.to_owned(), code["x-soros-status"].to_string())
        })
        .collect()
}

/// The codes of the source's `codes!` table: of the two strings of each entry the first.
pub(crate) fn codes_of_source(source: &str) -> BTreeSet<String> {
    let table = source.split_once("\ncodes! {").map_or("", |(_, rest)| rest);
    let table = table.split_once("\n}").map_or("", |(table, _)| table);
    let strings = table.split('"').skip(1).step_by(2);
    strings.step_by(2).map(str::to_owned).collect()
}

/// The references of the document that lead nowhere.
pub(crate) fn broken_references(document: &Value) -> Vec<String> {
    let mut references = Vec::new();
    collect_references(document, &mut references);
    references.retain(|reference| {
        let pointer = reference.trim_start_matches('#');
        document.pointer(pointer).is_none()
    });
    references
}

fn collect_references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            found.extend(
                fields
                    .get("$ref")
                    .and_then(Value::as_str)
                    .map(str::to_owned),
            );
            fields
                .values()
                .for_each(|field| collect_references(field, found));
        }
        Value::Array(items) => items
            .iter()
            .for_each(|item| collect_references(item, found)),
        _ => {}
    }
}

/// The cells of the table rows between `heading` and the next heading, without their backticks.
fn rows<'a>(page: &'a str, heading: &'a str) -> impl Iterator<Item = Vec<String>> + 'a {
    page.lines()
        .skip_while(move |line| *line != heading)
        .skip(1)
        .take_while(|line| !line.starts_with("## "))
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"))
        .map(|row| {
            row.split(" | ")
                .map(|cell| cell.trim().trim_matches('`').to_owned())
                .collect()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_tables_of_the_page() {
        let page = "## Routes\n\n| method | path | what | now |\n|---|---|---|---|\n\
                    | `GET` | `/a` | asks | built |\n## Errors\n| 404 | `gone` | it is |\n";
        let route = ("GET".to_owned(), "/a".to_owned(), "built".to_owned());
        assert_eq!(routes_of_page(page), BTreeSet::from([route]));
        let code = ("gone".to_owned(), "404".to_owned());
        assert_eq!(codes_of_page(page), BTreeSet::from([code]));
    }

    #[test]
    fn reads_the_table_of_the_source() {
        let source =
            "macro\ncodes! {\n    A B \"a-b\" \"A; b\";\n    C D \"c\"\n        \"C\";\n}\n";
        assert_eq!(
            codes_of_source(source),
            BTreeSet::from(["a-b".to_owned(), "c".to_owned()])
        );
    }

    #[test]
    fn finds_references_that_lead_nowhere() {
        let document = serde_json::json!({"a": [{"$ref": "#/b"}, {"$ref": "#/c"}], "b": 1});
        assert_eq!(broken_references(&document), ["#/c"]);
    }
}
