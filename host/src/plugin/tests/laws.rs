//! This is whether the laws find who breaks them: for each law one who does, and the smallest
//! question that shows it.

use super::shipped::component;
use super::{PLACEMENT, RESOLUTION, RUNTIME, VALIDATION};
use crate::plugin::laws::{Counterexample, Report, Trial, TrialError, tried};
use crate::plugin::{Resolver, shipped};
use soros_core::map::json::Json;
use std::cell::Cell;

fn report(component: &[u8], config: &str) -> Report {
    let ready = RUNTIME.ready(component).expect("a component");
    let config: Json = serde_json::from_str(config).expect("JSON");
    let trial = Trial {
        seed: 1,
        cases: 100,
    };
    let report = RUNTIME.try_laws(&ready, &config, trial, "");
    report.expect("it takes its config")
}

/// What shows that a policy of this manner breaks `law`.
#[track_caller]
fn breach(component: &[u8], manner: &str, law: &str) -> Counterexample {
    let report = report(component, &format!("{manner:?}"));
    assert!(!report.holds());
    let finding = report.laws.iter().find(|finding| finding.law == law);
    let breach = finding.expect("a law of this kind").breach.clone();
    let breach = breach.unwrap_or_else(|| panic!("{manner} keeps {law}: {report:?}"));
    println!("{manner}: {law}: {}: {}", breach.reason, breach.call);
    breach
}

/// Whether a policy of this manner keeps `law`.
fn keeps(component: &[u8], manner: &str, law: &str) -> bool {
    let report = report(component, &format!("{manner:?}"));
    let finding = report.laws.iter().find(|finding| finding.law == law);
    finding.expect("a law of this kind").breach.is_none()
}

#[test]
fn resolvers_that_break_a_law_are_found() {
    let small = breach(RESOLUTION, "keep the middle one", "regrouping");
    let siblings = small.call["siblings"].as_array().expect("siblings");
    assert_eq!(siblings.len(), 3, "{}", small.call);
    assert!(keeps(RESOLUTION, "keep the middle one", "determinism"));
    breach(RESOLUTION, "merge", "idempotence");
    let small = breach(RESOLUTION, "remember", "determinism");
    assert!(small.reason.contains("asked"), "{}", small.reason);
    for manner in ["loop", "panic", "recurse", "keep one too many"] {
        breach(RESOLUTION, manner, "validity");
    }
    for law in [
        "validity",
        "determinism",
        "order",
        "idempotence",
        "regrouping",
    ] {
        assert!(keeps(RESOLUTION, "give up", law), "{law}");
        assert!(keeps(RESOLUTION, "delete", law), "{law}");
    }
}

/// The host sorts siblings, so no policy can break this law: here the host itself is at fault, and
/// asks by turns two policies that differ.
#[test]
fn siblings_that_are_not_shown_in_one_order_are_found() {
    let ready = RUNTIME.ready(RESOLUTION).expect("a component");
    let turn = Cell::new(false);
    let make = || {
        let manner = if turn.replace(!turn.get()) {
            "delete"
        } else {
            "keep all"
        };
        let config = Json::Text(manner.to_owned());
        Resolver::new(RUNTIME.source(&ready.compiled, &config))
    };
    let trial = Trial { seed: 1, cases: 9 };
    let (laws, _) = tried(&make, &Json::empty(), trial, "").expect("no samples");
    let finding = laws.iter().find(|finding| finding.law == "order");
    let breach = finding.and_then(|finding| finding.breach.clone());
    let breach = breach.expect("it is broken");
    assert!(breach.reason.contains("turned round"), "{}", breach.reason);
    assert_eq!(breach.call["siblings"].as_array().map(Vec::len), Some(2));
}

#[test]
fn validators_that_break_a_law_are_found() {
    let small = breach(VALIDATION, "refuse every second", "batch");
    let changes = small.call["changes"].as_array().expect("changes");
    assert_eq!(changes.len(), 2, "{}", small.call);
    breach(VALIDATION, "refuse every second", "determinism");
    breach(VALIDATION, "panic", "validity");
    breach(VALIDATION, "change everything", "validity");
    assert!(report(VALIDATION, "\"refuse\"").holds());
}

#[test]
fn placements_that_break_a_law_are_found() {
    for manner in ["too short", "one node", "nobody"] {
        breach(PLACEMENT, manner, "validity");
    }
    let small = breach(PLACEMENT, "remember", "determinism");
    let members = small.call["members"].as_array().expect("members");
    assert_eq!(members.len(), 2, "{}", small.call);
    breach(PLACEMENT, "uneven", "balance");
    breach(PLACEMENT, "restless", "stability");
    breach(PLACEMENT, "in turn", "movement");
    assert!(keeps(PLACEMENT, "in turn", "stability"));
    breach(PLACEMENT, "zone by zone", "survival");
}

#[test]
fn the_same_seed_gives_the_same_report() {
    for plugin in shipped() {
        let once = report(plugin.bytes, "{}");
        assert!(once.holds(), "{once:?}");
        assert_eq!(once, report(plugin.bytes, "{}"));
        assert!(once.fuel.p50 <= once.fuel.p99 && once.fuel.max < once.fuel.limit);
    }
}

#[test]
fn samples_have_the_answers_that_they_come_with() {
    let ready = RUNTIME.ready(component("lww")).expect("a component");
    let trial = Trial { seed: 1, cases: 0 };
    let tried = |samples| RUNTIME.try_laws(&ready, &Json::empty(), trial, samples);
    let call = r#"{"key":"a","siblings":[{"time":1,"value":"x"},{"time":2,"value":null}]"#;
    let right = format!("{call},\"answer\":{{\"keep\":1}}}}\n\n{call}}}\n");
    assert!(tried(&right).expect("calls").holds());
    let wrong = format!("{call},\"answer\":\"keep-all\"}}");
    let report = tried(&wrong).expect("calls");
    let breach = report.laws[0].breach.as_ref().expect("another answer");
    assert_eq!(breach.reason, r#"the answer is {"keep":1}, not "keep-all""#);
    let lawful = RUNTIME.ready(RESOLUTION).expect("a component");
    let deletes = Json::Text("delete".to_owned());
    let report = RUNTIME.try_laws(&lawful, &deletes, trial, &right);
    let samples = &report.expect("calls").laws[0];
    assert_eq!((samples.law.as_str(), samples.cases), ("samples", 1));
    assert!(samples.breach.is_some(), "it has another answer");
    let replay = RUNTIME.replay(&ready, &Json::empty(), &format!("{right}{wrong}"));
    let replay = replay.expect("calls");
    assert_eq!((replay.calls, replay.differences.len()), (3, 1));
    assert_eq!(replay.differences[0].call, 3);
    let none = tried("\n{}").expect_err("no call");
    assert!(matches!(none, TrialError::Sample { line: 2, .. }), "{none}");
}
