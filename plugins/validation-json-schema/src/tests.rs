//! This is what a client and an operator are told, and what holds however schema and value
//! are made.

use super::*;
use serde_json::json;
use soros_sdk::testing::{change, verdict};

fn policy(schema: &Value) -> JsonSchema {
    let config = json!({"schema": schema});
    JsonSchema::new(serde_json::from_value(config).expect("a config")).expect("a schema")
}

#[track_caller]
fn check(schema: &Value, value: &str, code: &str, pointer: Option<&str>, words: &str) {
    let change = change("key", "application/json", value);
    let Verdict::Refuse(refusal) = verdict(&policy(schema), &change) else {
        panic!("{value} is taken");
    };
    assert_eq!(
        (refusal.code.as_str(), refusal.pointer.as_deref()),
        (code, pointer)
    );
    assert!(refusal.message.contains(words), "{}", refusal.message);
}

#[test]
fn a_client_is_told_what_is_wrong_and_where() {
    let schema = json!({
        "properties": {
            "a/b": {"items": {"minimum": 3}},
            "kind": {"enum": ["x", 1]},
            "name": {"type": "string", "pattern": "^a+$", "maxLength": 5},
        },
        "required": ["name"],
        "additionalProperties": false,
        "not": {"required": ["kind", "a/b"]},
    });
    let fits = |value, pointer, words| check(&schema, value, "does-not-fit", Some(pointer), words);
    fits("{}", "", "the property `name` is missing");
    fits(
        r#"{"name":"a","a/b":[3,2.5]}"#,
        "/a~1b/1",
        "2.5 is less than 3",
    );
    fits(r#"{"name":"b"}"#, "/name", "\"b\" does not match `^a+$`");
    fits(r#"{"name":"aaaaaa"}"#, "/name", "6 characters, more than 5");
    fits(r#"{"name":[]}"#, "/name", "it is array and not string");
    fits(r#"{"name":"a","kind":2}"#, "/kind", "2 is none of");
    fits(
        r#"{"name":"a","other":2}"#,
        "/other",
        "nothing is allowed here",
    );
    fits(r#"{"name":"a","kind":1,"a/b":[]}"#, "", "must not fit");
    check(&schema, "{", "not-json", None, "line 1");
    check(&schema, &"[".repeat(999), "not-json", None, "recursion");
    let change = change("key", "text/plain", r#"{"name":"aa","kind":1.0}"#);
    assert_eq!(verdict(&policy(&schema), &change), Verdict::Accept);
}

#[test]
fn depth_is_bounded() {
    // Each level of the value is asked about by five schemas that refer to each other.
    let mut defs = json!({"4": {"items": {"$ref": "#"}}});
    for at in 0..4 {
        defs[at.to_string()] = json!({"allOf": [{"$ref": format!("#/$defs/{}", at + 1)}]});
    }
    let schema = json!({"$ref": "#/$defs/0", "$defs": defs});
    let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let change = change("key", "", &nested(20));
    assert_eq!(verdict(&policy(&schema), &change), Verdict::Accept);
    check(
        &schema,
        &nested(120),
        "too-deep",
        Some(&"/0".repeat(27)),
        "nested too deeply",
    );
}

fn problems(config: Value) -> Vec<Problem> {
    let config = serde_json::from_value(config).expect("a config");
    JsonSchema::new(config).expect_err("a bad config")
}

#[track_caller]
fn check_problem(schema: &Value, path: &str, words: &str) {
    let problems = problems(json!({"schema": schema}));
    let paths: Vec<&str> = problems
        .iter()
        .map(|problem| problem.path.as_str())
        .collect();
    assert_eq!(paths, [path]);
    assert!(
        problems[0].message.contains(words),
        "{}",
        problems[0].message
    );
}

#[test]
fn an_operator_is_told_what_is_wrong_with_a_schema() {
    let items = |schema: Value| json!({"items": schema});
    check_problem(
        &items(json!({"type": "text"})),
        "/schema/items/type",
        "type",
    );
    check_problem(
        &items(json!({"minLength": -1})),
        "/schema/items/minLength",
        "whole number",
    );
    check_problem(
        &items(json!({"multipleOf": 0})),
        "/schema/items/multipleOf",
        "above 0",
    );
    check_problem(
        &items(json!({"pattern": "(?=a)"})),
        "/schema/items/pattern",
        "linear",
    );
    check_problem(&items(json!([true])), "/schema/items", "prefixItems");
    check_problem(&items(json!(3)), "/schema/items", "a schema is");
    check_problem(
        &json!({"$defs": {"a/b": {"required": "a"}}}),
        "/schema/$defs/a~1b/required",
        "",
    );
    check_problem(&json!({"anyOf": []}), "/schema/anyOf", "list of schemas");
    check_problem(
        &json!({"patternProperties": {"(": true}}),
        "/schema/patternProperties/(",
        "(",
    );
    check_problem(
        &json!({"$ref": "#/$defs/a"}),
        "/schema/$ref",
        "leads nowhere",
    );
    check_problem(
        &json!({"$ref": "http://example.com/a"}),
        "/schema/$ref",
        "nothing is fetched",
    );
    check_problem(&json!({"$ref": "#a"}), "/schema/$ref", "no anchor");
    let draft = "http://json-schema.org/draft-07/schema#";
    check_problem(&json!({"$schema": draft}), "/schema/$schema", "2020-12");
    let twice = json!({"items": {"$id": "urn:a"}, "contains": {"$id": "urn:a"}});
    check_problem(&twice, "/schema/items/$id", "two schemas");
}

#[test]
fn a_schema_that_asks_itself_forever_is_refused() {
    check_problem(&json!({"$ref": "#"}), "/schema", "refers to itself");
    let defs = json!({
        "a": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/b"}]},
        "b": {"not": {"$ref": "#/$defs/a"}},
    });
    let schema = json!({"items": {"$ref": "#/$defs/a"}, "$defs": defs});
    let problems = problems(json!({"schema": schema}));
    assert!(
        problems[0].path.starts_with("/schema/$defs/"),
        "{problems:?}"
    );
}

#[test]
fn schemas_are_found_by_their_address() {
    let other = json!({"$id": "http://example.com/a", "$defs": {"b": {"type": 3}}});
    let source = json!({"schema": {"$ref": "http://example.com/a"}, "schemas": [other]});
    assert_eq!(problems(source)[0].path, "/schemas/0/$defs/b/type");
    let unknown: Result<Config, _> = serde_json::from_value(json!({"schema": true, "format": 1}));
    assert!(
        unknown
            .expect_err("a misspelt field")
            .to_string()
            .contains("unknown field")
    );
}
