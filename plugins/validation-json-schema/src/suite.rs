//! This is the published cases: all of JSON-Schema-Test-Suite's for Draft 2020-12.

use crate::check::Failure;
use crate::compile::{Source, compile};
use serde_json::Value;
use std::collections::BTreeMap;

/// The schemas that the cases expect at addresses on the web.
fn remotes() -> Vec<Value> {
    let text = include_str!("../suite/remotes.json");
    let remotes: BTreeMap<String, Value> = serde_json::from_str(text).expect("JSON");
    // A schema is known by its `$id` alone; who is fetched from elsewhere is given a sign there.
    let named = |(address, mut schema): (String, Value)| {
        let object = schema.as_object_mut().expect("an object");
        let id = object
            .entry("$id")
            .or_insert_with(|| address.clone().into())
            .clone();
        let sign = (id != address).then(|| serde_json::json!({"$id": address, "$ref": id}));
        std::iter::once(schema).chain(sign)
    };
    remotes.into_iter().flat_map(named).collect()
}

/// Asks all cases of a file but those that begin with one of `others`; how many there were.
#[track_caller]
fn check(text: &str, formats: bool, others: &[&str]) -> usize {
    let files: BTreeMap<String, Vec<Value>> = serde_json::from_str(text).expect("JSON");
    let remotes = remotes();
    let (mut wrong, mut count) = (Vec::new(), 0);
    for (file, groups) in &files {
        for group in groups {
            let told = |value: &Value| value["description"].as_str().unwrap_or("").to_owned();
            let name = format!("{file}: {}", told(group));
            if others.iter().any(|other| name.starts_with(other)) {
                continue;
            }
            let source = Source {
                schema: &group["schema"],
                more: if name.contains("remote") || group.to_string().contains("localhost:1234") {
                    &remotes
                } else {
                    &[]
                },
                formats,
            };
            let compiled = compile(&source);
            for case in group["tests"].as_array().expect("cases") {
                count += 1;
                let found: Result<(), Failure> = match &compiled {
                    Ok((schemas, root)) => schemas.check(*root, &case["data"]),
                    Err(problems) => {
                        wrong.push(format!("{name}: {problems:?}"));
                        break;
                    }
                };
                if found.is_ok() != case["valid"].as_bool().expect("a verdict") {
                    wrong.push(format!("{name}: {}: {found:?}", told(case)));
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {count}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    count
}

#[test]
fn what_is_required_is_as_published() {
    let count = check(include_str!("../suite/required.json"), false, &[]);
    assert!(1200 < count, "{count}");
}

#[test]
fn what_is_optional_is_as_published() {
    let count = check(
        include_str!("../suite/optional.json"),
        false,
        // What older drafts had.
        &["cross-draft", "dependencies-compatibility"],
    );
    assert!(100 < count, "{count}");
}

#[test]
fn formats_are_as_published() {
    let count = check(
        include_str!("../suite/format.json"),
        true,
        // Takes tables of Unicode: the format is not known, and holds for all.
        &["idn-hostname"],
    );
    assert!(400 < count, "{count}");
}
