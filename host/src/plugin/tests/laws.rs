//! This is whether the laws find who breaks them: for each law one who does, and the smallest
//! question that shows it.

use super::shipped::component;
use super::{PLACEMENT, RESOLUTION, RUNTIME, VALIDATION};
use crate::plugin::laws::{Counterexample, Report, Trial, TrialError};
use crate::plugin::shipped;
use soros_core::map::json::Json;

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
    let replay = RUNTIME.replay(&ready, &Json::empty(), &format!("{right}{wrong}"));
    let replay = replay.expect("calls");
    assert_eq!((replay.calls, replay.differences.len()), (3, 1));
    assert_eq!(replay.differences[0].call, 3);
    let none = tried("\n{}").expect_err("no call");
    assert!(matches!(none, TrialError::Sample { line: 2, .. }), "{none}");
}
