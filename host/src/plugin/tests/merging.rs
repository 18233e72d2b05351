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

/// How much a policy takes: bytes, and fields, elements and escapes, of all values together.
type Bounds = (usize, usize);

const SET: Bounds = (32 << 10, 3_000);
const COUNTER: Bounds = (32 << 10, 3_000);
const JSON_MERGE: Bounds = (24 << 10, 1_500);

fn items(text: &str) -> usize {
    text.bytes().filter(|byte| b",[{\\".contains(byte)).count()
}

/// Items that are costly: what is around them, and the one of this number in this sibling.
type Shape = (&'static str, fn(usize, usize) -> String, &'static str);

/// Numbers in no order, as texts.
fn name(number: usize) -> String {
    format!("{:x}", number.wrapping_mul(0x9e37_79b9) % 0x10_0000)
}

const SET_SHAPES: [Shape; 5] = [
    (
        r#"{"add":{"":["#,
        |at, of| format!("\"{}\"", name(at * 131 + of)),
        "]}}",
    ),
    (
        r#"{"add":{"#,
        |at, of| format!(r#""{}{of}":[""]"#, name(at)),
        "}}",
    ),
    (r#"{"add":{"#, |at, _| format!(r#""{}":[]"#, name(at)), "}}"),
    (
        r#"{"del":{"":["#,
        |at, of| format!("\"\\u{:04x}\"", (at * 7 + of) % 0xd800),
        "]}}",
    ),
    (
        r#"{"add":{"":["#,
        |at, of| format!("\"{:0>99}\"", name(at + of)),
        "]}}",
    ),
];
const COUNTER_SHAPES: [Shape; 3] = [
    (r#"{"p":{"#, |at, of| format!("\"{}\":{of}", name(at)), "}}"),
    (
        r#"{"n":{"#,
        |at, of| format!("\"{}\":{}", name(at * 131 + of), u64::MAX),
        "}}",
    ),
    (
        r#"{"p":{"#,
        |at, of| format!("\"\\u{:04x}\":{of}", at % 0xd800),
        "}}",
    ),
];
const JSON_SHAPES: [Shape; 8] = [
    ("{", |at, of| format!("\"{}\":{of}", name(at)), "}"),
    ("{", |at, of| format!("\"{}\":0", name(at * 131 + of)), "}"),
    ("{", |at, of| format!(r#""{}":{{"":{of}}}"#, name(at)), "}"),
    (
        "{",
        |at, of| format!("\"{at}\":{}e-30{}", 9_007_199_254_740_993 + at, of % 8),
        "}",
    ),
    ("[", |at, _| (at % 10).to_string(), "]"),
    ("[", |at, of| format!("\"\\u{:04x}\"", (at + of) % 32), "]"),
    (
        "[",
        |at, of| format!("1.{}{}e-30{}", "0".repeat(200), at % 10, of % 8),
        "]",
    ),
    ("{", |at, of| format!("\"{:0>99}\":{of}", name(at)), "}"),
];

/// Values of a shape that keep to the bounds, and hardly: as many as these, of which the first has
/// half of all, or as much as the others.
fn values(
    (open, item, close): Shape,
    bounds: Bounds,
    siblings: usize,
    is_first: bool,
) -> Vec<String> {
    let share = |all: usize, of: usize| match (is_first, of) {
        (false, _) => all / siblings,
        (true, 0) => all / 2,
        (true, _) => all / 2 / (siblings - 1),
    };
    let value = |of| {
        let (bytes_max, items_max) = (share(bounds.0, of), share(bounds.1, of));
        let (mut text, mut count) = (open.to_owned(), items(open));
        for at in 0.. {
            let next = item(at, of);
            let comma = usize::from(0 < at);
            count += comma + items(&next);
            if bytes_max < text.len() + comma + next.len() + close.len() || items_max < count {
                break;
            }
            text.push_str(&","[..comma]);
            text.push_str(&next);
        }
        text + close
    };
    (0..siblings).map(value).collect()
}

#[test]
fn what_is_within_the_bounds_is_within_the_fuel_and_more_is_given_up_on() {
    let policies = [
        ("set", SET, &SET_SHAPES[..]),
        ("counter", COUNTER, &COUNTER_SHAPES),
        ("json-merge", JSON_MERGE, &JSON_SHAPES),
    ];
    for (name, bounds, shapes) in policies {
        let policy = RUNTIME.load(component(name), &Json::empty()).expect(name);
        let resolver = policy.resolver().expect("a resolver");
        let resolve = |values: &[String]| {
            let siblings = (1..).zip(values);
            let siblings = siblings.map(|(time, value)| sibling(time, value.as_bytes()));
            let mut fuel = 0;
            let answer = resolver.resolve_counted(b"key", &siblings.collect::<Vec<_>>(), &mut fuel);
            (answer, fuel)
        };
        let mut fuel_max = 0;
        for (number, &shape) in shapes.iter().enumerate() {
            for (siblings, is_first) in [(2, false), (16, true), (16, false), (128, true)] {
                let values = values(shape, bounds, siblings, is_first);
                let (answer, fuel) = resolve(&values);
                let case = format!("{name}, shape {number}, {siblings} {is_first}");
                assert!(
                    matches!(answer, Ok(Resolved::Value(_))),
                    "{case}: {answer:?}"
                );
                fuel_max = fuel.max(fuel_max);
            }
        }
        println!("{name} takes at most {fuel_max} of fuel");
        let small = "{}".to_owned();
        let long = format!("{{}}{}", " ".repeat(bounds.0 - 4));
        assert!(resolve(&[small.clone(), long.clone()]).0.is_ok(), "{name}");
        let many = format!("[{}]", vec!["1"; bounds.1].join(","));
        for more in [long + " ", many] {
            let given_up = resolve(&[small.clone(), more]).0.expect_err(name);
            assert!(matches!(given_up, PolicyError::GaveUp(_)), "{given_up}");
            assert!(!given_up.is_fault());
        }
    }
}
