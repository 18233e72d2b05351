//! This is the resolvers that make one value of several, and the placement that leaves nodes out,
//! as the components that ship.

use super::shipped::component;
use super::{RUNTIME, sibling, snapshot};
use soros_core::id::NodeId;
use soros_core::map::json::Json;
use soros_core::policy::{Placement, PolicyError, Resolution, Resolved};

/// What the policy `name` makes of two values; none where it keeps both.
#[track_caller]
fn check(name: &str, one: &str, other: &str, expected: Option<&str>) {
    let policy = RUNTIME.load(component(name), &Json::empty()).expect(name);
    let siblings = [sibling(1, one.as_bytes()), sibling(2, other.as_bytes())];
    let resolver = policy.resolver().expect("a resolver");
    let value = match resolver.resolve(b"key", &siblings).expect("an answer") {
        Resolved::Value(merged) => Some(String::from_utf8(merged.bytes).expect("JSON")),
        Resolved::KeepAll => None,
        other => panic!("{other:?}"),
    };
    assert_eq!(value.as_deref(), expected, "{name} of {one} and {other}");
}

#[test]
fn values_of_a_known_form_become_one() {
    let counted = Some(r#"{"n":{"a":1},"p":{"a":3,"b":1}}"#);
    check(
        "counter",
        r#"{"p":{"a":3}}"#,
        r#"{"p":{"a":2,"b":1},"n":{"a":1}}"#,
        counted,
    );
    let united = Some(r#"{"add":{"x":["1","2"]},"del":{"x":["1"]}}"#);
    check(
        "set",
        r#"{"add":{"x":["1"]},"del":{"x":["1"]}}"#,
        r#"{"add":{"x":["2"]}}"#,
        united,
    );
    let merged = Some(r#"{"a":{"x":1,"y":2},"b":[3]}"#);
    check(
        "json-merge",
        r#"{"a":{"x":1},"b":[3]}"#,
        r#"{"a":{"y":2},"b":[2,9]}"#,
        merged,
    );
    for name in ["counter", "set", "json-merge"] {
        check(name, "{}", "{", None);
    }
}

#[test]
fn pinned_leaves_out_what_it_is_told_to() {
    let now = snapshot(&[1 << 30; 6], &["a", "b", "a", "b", "a", "b"], 16, None);
    let plan = |config: &str| {
        let config: Json = serde_json::from_str(config).expect("JSON");
        let policy = RUNTIME
            .load(component("pinned"), &config)
            .expect("a config");
        let table = policy.placer().expect("a placer").plan(&now, None, 0)?;
        Ok(table.members().into_iter().collect::<Vec<NodeId>>())
    };
    assert_eq!(
        plan(r#"{"zones": ["a"]}"#),
        Ok([1, 3, 5].map(NodeId).to_vec())
    );
    assert_eq!(plan("{}").map(|nodes: Vec<NodeId>| nodes.len()), Ok(6));
    let tape = plan(r#"{"tags": ["tape"]}"#);
    assert!(matches!(tape, Err(PolicyError::GaveUp(_))), "{tape:?}");
}
