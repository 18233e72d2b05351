//! This is what ships: it is what it says it is, and answers as the same policy in plain Rust.

use super::{RUNTIME, resolve, sibling, snapshot};
use crate::plugin::{AdmissionError, Compiler, Policy, Runtime, shipped};
use proptest::prelude::{Just, Strategy, any, prop, prop_assert_eq, prop_oneof, proptest};
use soros_core::id::NodeId;
use soros_core::map::json::Json;
use soros_core::map::table::Table;
use soros_core::policy::builtin::{Balanced, Lww};
use soros_core::policy::figures::{Figures, moves};
use soros_core::policy::{
    Change as Asked, Placement, PolicyError, Resolution, Resolved, Sibling, Validation, Verdict,
};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

pub(super) fn component(name: &str) -> &'static [u8] {
    let plugin = shipped().iter().find(|plugin| plugin.name == name);
    plugin.expect("it ships").bytes
}

/// Kept loaded while tests run, so that each is compiled once.
static LOADED: LazyLock<Vec<Arc<Policy>>> = LazyLock::new(|| {
    shipped()
        .iter()
        .map(|plugin| load_into(&RUNTIME, plugin.name))
        .collect()
});

fn load(name: &str) -> Arc<Policy> {
    let policy = LOADED.iter().find(|policy| policy.about().name == name);
    Arc::clone(policy.expect("it ships"))
}

fn load_into(runtime: &Runtime, name: &str) -> Arc<Policy> {
    let policy = runtime.load(component(name), &Json::empty());
    policy.expect("what ships is admitted")
}

#[test]
fn is_what_it_says_it_is() {
    for plugin in shipped() {
        let policy = load(plugin.name);
        assert_eq!(policy.about().name, plugin.name);
        assert_eq!(policy.about().version, plugin.version);
        assert_eq!(policy.kind(), plugin.kind);
        assert_eq!(policy.digest(), plugin.digest);
        assert_eq!(policy.abi(), "soros:policy@1.0.0");
        let here = env!("CARGO_MANIFEST_DIR").as_bytes();
        let names_this_place = plugin.bytes.windows(here.len()).any(|bytes| bytes == here);
        assert!(
            !names_this_place,
            "{} depends on where it is built",
            plugin.name
        );
        println!(
            "{}: {} bytes, {}",
            plugin.name,
            plugin.bytes.len(),
            plugin.digest
        );
    }
}

#[test]
fn is_one_policy_however_often_it_is_loaded() {
    let (first, second) = (load("lww"), load_into(&RUNTIME, "lww"));
    assert!(Arc::ptr_eq(&first, &second));
    assert_eq!(first.id(), second.id());
}

/// A sibling's fields, owned; few enough values that ties are common.
type Fields = (u64, u64, Option<Vec<u8>>, String, Vec<(String, String)>);

fn fields() -> impl Strategy<Value = Fields> {
    let time = prop::sample::select(vec![0, 1, 2, u64::MAX]);
    let writer = prop::sample::select(vec![0, 7, u64::MAX]);
    let value = prop::option::of(prop::collection::vec(any::<u8>(), 0..3));
    let meta = prop::collection::vec(("[a-c]{1,2}", "[x-z]{0,2}"), 0..2);
    (time, writer, value, "[a-b]/[a-b]", meta)
}

fn borrowed(fields: &Fields) -> Sibling<'_> {
    let (time, writer, value, content_type, meta) = fields;
    let meta = meta
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let (time, writer, value) = (*time, *writer, value.as_deref());
    Sibling {
        time,
        writer,
        value,
        content_type,
        meta,
    }
}

proptest! {
    #[test]
    fn lww_resolves_as_its_oracle_does(
        key in prop::collection::vec(any::<u8>(), 1..9),
        fields in prop::collection::vec(fields(), 1..9),
    ) {
        let siblings: Vec<Sibling<'_>> = fields.iter().map(borrowed).collect();
        let policy = load("lww");
        let winner = |resolved| match resolved {
            Resolved::Keep(place) => siblings[place].clone(),
            other => panic!("{other:?}"),
        };
        let found = policy.resolver().expect("a resolver").resolve(&key, &siblings);
        let expected = Lww.resolve(&key, &siblings);
        prop_assert_eq!(found.map(winner), expected.map(winner));
    }
}

#[test]
fn lww_resolves_values_that_no_call_could_carry() {
    let large = vec![b'a'; 6 << 20];
    let siblings = [sibling(2, &large), sibling(1, &large), sibling(3, b"small")];
    let policy = load("lww");
    let resolver = policy.resolver().expect("a resolver");
    assert_eq!(resolver.resolve(b"key", &siblings), Ok(Resolved::Keep(2)));
}

#[test]
fn lww_costs_little_and_the_same_every_time() {
    let runtime = Runtime::new(Compiler::Here).expect("room for engines");
    let policy = load_into(&runtime, "lww");
    let mut costs = Vec::new();
    for _ in 0..10 {
        let before = policy.usage().fuel_total;
        assert_eq!(resolve(&policy, b"key"), Ok(Resolved::Keep(0)));
        costs.push(policy.usage().fuel_total - before);
    }
    println!("lww, two siblings: {} of fuel", costs[0]);
    assert!(costs.iter().all(|cost| *cost < 10_000), "{costs:?}");
}

#[test]
fn lww_is_asked_by_many_threads_at_once() {
    let policy = load("lww");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..500 {
                    assert_eq!(resolve(&policy, b"key"), Ok(Resolved::Keep(0)));
                }
            });
        }
    });
    assert_eq!(policy.usage().failures, 0);
}

fn change<'a>(value: Option<&'a [u8]>, current: Option<&'a [u8]>) -> Asked<'a> {
    Asked {
        bucket: "b",
        key: b"k",
        content_type: "text/html; charset=utf-8",
        value,
        current,
        principal: "",
    }
}

/// The codes of the refusals; empty for what is accepted.
fn codes(name: &str, config: &str, changes: &[Asked<'_>]) -> Vec<String> {
    let config: Json = serde_json::from_str(config).expect("JSON");
    let policy = RUNTIME.load(component(name), &config).expect("a config");
    let validator = policy.validator().expect("a validator");
    let code = |verdict| match verdict {
        Verdict::Accept => String::new(),
        Verdict::AcceptAs(_) => "changed".to_owned(),
        Verdict::Refuse(refusal) => refusal.code,
    };
    let verdicts = validator.check(changes).expect("verdicts");
    verdicts.into_iter().map(code).collect()
}

#[test]
fn immutable_keeps_what_is_there() {
    let (new, old) = (Some(&b"new"[..]), Some(&b"old"[..]));
    let changes = [
        change(new, None),
        change(new, old),
        change(old, old),
        change(None, old),
        change(None, None),
    ];
    let refused = "immutable";
    assert_eq!(
        codes("immutable", "{}", &changes),
        ["", refused, refused, refused, ""]
    );
    assert_eq!(
        codes("immutable", r#"{"deletes": true}"#, &changes),
        ["", refused, refused, "", ""]
    );
}

#[test]
fn size_and_type_takes_what_it_is_told_to() {
    let changes = [change(Some(b"1234"), None), change(Some(b"12345"), None)];
    let codes = |config| codes("size-and-type", config, &changes);
    assert_eq!(codes("{}"), ["", ""]);
    let sized = r#"{"max_bytes": 4, "content_types": ["image/png", "text/*"]}"#;
    assert_eq!(codes(sized), ["", "value-too-large"]);
    let typed = r#"{"content_types": ["image/*"]}"#;
    assert_eq!(codes(typed), ["content-type", "content-type"]);
}

#[test]
fn size_and_type_says_what_is_wrong_with_its_config() {
    let load = |config| {
        let config: Json = serde_json::from_str(config).expect("JSON");
        match RUNTIME.load(component("size-and-type"), &config) {
            Err(AdmissionError::BadConfig(problems)) => problems,
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("{config:?} is taken"),
        }
    };
    let problems = load(r#"{"content_types": ["text/plain", "text"]}"#);
    assert_eq!(problems[0].path, "/content_types/1");
    assert!(load(r#"{"bytes": 4}"#)[0].message.contains("unknown field"));
    assert!(load(r#"{"max_bytes": -1}"#)[0].message.contains("invalid"));
}

/// What becomes of one value: the refusal's code, place and message.
fn judged(config: &Json, value: &[u8]) -> Result<Option<[String; 3]>, PolicyError> {
    let policy = RUNTIME.load(component("json-schema"), config);
    let policy = policy.expect("a config");
    let validator = policy.validator().expect("a validator");
    let verdicts = validator.check(&[change(Some(value), None)])?;
    Ok(match &verdicts[0] {
        Verdict::Refuse(refusal) => Some([
            refusal.code.clone(),
            refusal.pointer.clone().unwrap_or_default(),
            refusal.message.clone(),
        ]),
        _ => None,
    })
}

#[test]
fn json_schema_answers_as_published() {
    let text = include_str!("../../../../plugins/validation-json-schema/suite/required.json");
    let files: BTreeMap<String, Vec<serde_json::Value>> = serde_json::from_str(text).expect("JSON");
    let mut count = 0;
    // The others are asked of the policy as plain Rust.
    for name in [
        "allOf",
        "dynamicRef",
        "pattern",
        "type",
        "unevaluatedItems",
        "uniqueItems",
    ] {
        for group in &files[name] {
            if group.to_string().contains("localhost") {
                continue;
            }
            let config = serde_json::json!({"schema": group["schema"]});
            let config: Json = serde_json::from_value(config).expect("JSON");
            for case in group["tests"].as_array().expect("cases") {
                let found = judged(&config, case["data"].to_string().as_bytes());
                let refusal = found.expect("a verdict");
                assert_eq!(refusal.is_none(), case["valid"] == true, "{group}: {case}");
                count += 1;
            }
        }
    }
    assert!(250 < count, "{count}");
}

#[test]
fn json_schema_stays_within_its_bounds() {
    // Patterns that take some engines exponential time, and one that asks for much of its own.
    for pattern in ["^(a+)+$", "^(a|aa)*$", "^(a|a?){30}$"] {
        let config = serde_json::json!({"schema": {"pattern": pattern}});
        let config: Json = serde_json::from_value(config).expect("JSON");
        let value = format!("\"{}!\"", "a".repeat(2000));
        let [code, ..] = judged(&config, value.as_bytes())
            .expect("a verdict")
            .expect("a refusal");
        assert_eq!(code, "does-not-fit");
    }
    let deep = r##"{"schema": {"$ref": "#/$defs/a", "$defs": {
        "a": {"allOf": [{"$ref": "#/$defs/b"}]}, "b": {"items": {"anyOf": [{"$ref": "#"}]}}
    }}}"##;
    let deep: Json = serde_json::from_str(deep).expect("JSON");
    let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(judged(&deep, nested(30).as_bytes()), Ok(None));
    for (depth, expected) in [(120, "too-deep"), (20_000, "not-json")] {
        let found = judged(&deep, nested(depth).as_bytes());
        let [code, ..] = found.expect("a verdict").expect("a refusal");
        assert_eq!(code, expected);
    }
    let mut doubling = serde_json::json!({"$defs": {"40": true}, "$ref": "#/$defs/0"});
    for at in 0..40 {
        let next = serde_json::json!({"$ref": format!("#/$defs/{}", at + 1)});
        doubling["$defs"][at.to_string()] = serde_json::json!({"allOf": [next, next]});
    }
    let config = serde_json::json!({"schema": doubling});
    let config: Json = serde_json::from_value(config).expect("JSON");
    let found = judged(&config, b"1");
    assert!(
        matches!(found, Err(PolicyError::OutOfFuel { .. })),
        "{found:?}"
    );
}

#[test]
fn json_schema_says_where_a_schema_is_wrong() {
    let config = r#"{"schema": {"items": {"minimum": "3"}}, "schemas": [{"$ref": "http://a/b"}]}"#;
    let config: Json = serde_json::from_str(config).expect("JSON");
    let Err(AdmissionError::BadConfig(problems)) = RUNTIME.load(component("json-schema"), &config)
    else {
        panic!("{config:?} is taken");
    };
    let paths: Vec<&str> = problems
        .iter()
        .map(|problem| problem.path.as_str())
        .collect();
    assert_eq!(paths, ["/schema/items/minimum", "/schemas/0/$ref"]);
    assert!(
        problems[1].message.contains("nothing is fetched"),
        "{problems:?}"
    );
}

/// Members with ids, capacities and zones, and how each partition was placed before: as numbers
/// that are taken modulo what there is.
type Change = (Vec<(u64, u8)>, Vec<u16>, Option<u8>, u64);

fn changes() -> impl Strategy<Value = Change> {
    let capacity = prop_oneof![1_u64..50, 1_000_u64..5_000, Just(1_000_000), Just(0)];
    let members = prop::collection::vec((capacity, 0..4_u8), 1..9);
    let cells = prop::collection::vec(any::<u16>(), 16 * 3);
    (members, cells, prop::option::of(1..4_u8), any::<u64>())
}

/// A table on some of the nodes 1 to 10: some of them are gone, and some members are not in it.
fn before(numbers: &[u16]) -> Table {
    let rows = numbers.chunks_exact(3).flat_map(|row| {
        let mut nodes: Vec<u64> = (1..=10).collect();
        let take = |number: &u16| NodeId(nodes.remove(usize::from(*number) % nodes.len()));
        row.iter().map(take).collect::<Vec<_>>()
    });
    Table::new(16.try_into().expect("a power of two"), 3, rows.collect()).expect("a table")
}

proptest! {
    #[test]
    fn balanced_is_as_good_as_its_oracle((members, cells, zones_min, seed) in changes()) {
        let (capacities, zones): (Vec<u64>, Vec<u8>) = members.into_iter().unzip();
        let names: Vec<String> = zones.iter().map(u8::to_string).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let now = snapshot(&capacities, &names, 16, zones_min);
        let before = before(&cells);
        let policy = load("balanced");
        let placer = policy.placer().expect("a placer");
        for before in [None, Some(&before)] {
            let found = placer.plan(&now, before, seed).expect("a table");
            let expected = Balanced.plan(&now, before, seed).expect("a table");
            let figures = |table| {
                let figures = Figures::of(table, &now, before);
                (figures.partition_bytes_max, figures.moves)
            };
            prop_assert_eq!(figures(&found), figures(&expected));
            prop_assert_eq!(placer.plan(&now, before, seed), Ok(found));
        }
    }
}

#[test]
fn balanced_plans_as_fast_in_the_sandbox_as_operators_need() {
    let runtime = Runtime::new(Compiler::Here).expect("room for engines");
    let policy = load_into(&runtime, "balanced");
    let placer = policy.placer().expect("a placer");
    for (nodes, partitions, fuel_max) in [(12, 256, 100_000_000), (50, 1024, 2_000_000_000)] {
        let zones = ["a", "b", "c"].repeat(nodes);
        let now = snapshot(&vec![1_000_000; nodes], &zones[..nodes], partitions, None);
        let grown = snapshot(
            &vec![1_000_000; nodes + 2],
            &zones[..nodes + 2],
            partitions,
            None,
        );
        let begun = Instant::now();
        let table = placer.plan(&now, None, 0).expect("a table");
        let grown = placer.plan(&grown, Some(&table), 0).expect("a table");
        let (moves, usage) = (moves(&grown, Some(&table)), policy.usage());
        println!(
            "{partitions} × {nodes} and two more: {:?}, {moves} moves, at most {} of fuel a plan",
            begun.elapsed(),
            usage.fuel_max
        );
        assert!(usage.fuel_max < fuel_max, "{usage:?}");
    }
}
