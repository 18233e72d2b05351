//! This is every way that a policy misbehaves: each is bounded and has a name, and the next call
//! works.

use super::{PLACEMENT, RESOLUTION, VALIDATION, load, resolve, sibling, snapshot};
use crate::plugin::limits::{CALLS_AN_INSTANCE, INSTANCES, REQUEST};
use crate::plugin::{AdmissionError, Compiler, Runtime};
use soros_core::limits::CONTENT_TYPE_BYTES_MAX;
use soros_core::map::json::Json;
use soros_core::map::table::{Table, TableError};
use soros_core::policy::{
    BadAnswer, Change, Merged, Placement, PolicyError, Resolution, Resolved, Validation, Verdict,
};

/// A resolver of this manner answers so, and the next call works.
#[track_caller]
fn check(manner: &str, expected: &Result<Resolved, PolicyError>) {
    let policy = load(RESOLUTION, manner).expect("it misbehaves later");
    assert_eq!(resolve(&policy, b"key"), *expected);
    assert_eq!(resolve(&policy, b"behave"), Ok(Resolved::Keep(1)));
    let usage = policy.usage();
    assert_eq!(
        (usage.calls, usage.failures),
        (2, u64::from(expected.is_err()))
    );
    assert!(usage.fuel_max <= REQUEST.fuel);
}

/// A resolver of this manner traps, with `words` in what is reported, and the next call works.
#[track_caller]
fn check_trap(manner: &str, words: &str) {
    let policy = load(RESOLUTION, manner).expect("it misbehaves later");
    match resolve(&policy, b"key") {
        Err(PolicyError::Trapped(reason)) => assert!(reason.contains(words), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(resolve(&policy, b"behave"), Ok(Resolved::Keep(1)));
}

#[test]
fn an_endless_loop_runs_out_of_fuel() {
    check("loop", &Err(PolicyError::OutOfFuel { fuel: REQUEST.fuel }));
}

#[test]
fn a_panic_is_a_trap_with_its_message_and_line() {
    check_trap("panic", "on purpose, at 2 siblings");
    check_trap("panic", "misbehaving/resolution/src/lib.rs:");
}

#[test]
fn endless_recursion_is_a_trap() {
    check_trap("recurse", "call stack exhausted");
}

#[test]
fn endless_growth_runs_out_of_memory() {
    check(
        "grow",
        &Err(PolicyError::OutOfMemory {
            limit: REQUEST.memory_bytes as u64,
        }),
    );
}

#[test]
fn a_policy_that_there_is_no_room_for_is_not_blamed() {
    let runtime = Runtime::new(Compiler::Here).expect("room for engines");
    let load = |manner: String| runtime.load(RESOLUTION, &Json::Text(manner));
    let policy = load("panic".to_owned()).expect("it misbehaves later");
    // What failed has no instance until it is asked again.
    assert!(resolve(&policy, b"key").is_err_and(|error| error.is_fault()));
    let mut others = Vec::new();
    let full = (0..=INSTANCES).find_map(|number| {
        let loaded = load(format!("keep,{number}"));
        loaded.map(|other| others.push(other)).err()
    });
    assert_eq!(full, Some(AdmissionError::Fails(PolicyError::Busy)));
    assert_eq!(resolve(&policy, b"behave"), Err(PolicyError::Busy));
    assert!(!PolicyError::Busy.is_fault());
    others.pop();
    assert_eq!(resolve(&policy, b"behave"), Ok(Resolved::Keep(1)));
}

#[test]
fn a_flood_of_log_lines_is_cut() {
    let policy = load(RESOLUTION, "flood the log").expect("it misbehaves later");
    let answer = resolve(&policy, b"key");
    assert!(
        matches!(
            answer,
            Ok(Resolved::Keep(1))
                | Err(PolicyError::OutOfFuel { .. } | PolicyError::Deadline { .. })
        ),
        "{answer:?}"
    );
    check("log a long line", &Ok(Resolved::Keep(1)));
}

#[test]
fn an_answer_that_makes_no_sense_is_refused() {
    let no_such = BadAnswer::NoSuchSibling {
        index: 2,
        siblings: 2,
    };
    check("keep one too many", &Err(no_such.into()));
    check("answer an odd type", &Err(BadAnswer::ContentType.into()));
    let limit = REQUEST.output_bytes as u64;
    check(
        "answer too much",
        &Err(PolicyError::OutputTooLarge { limit }),
    );
}

#[test]
fn a_reason_to_give_up_is_passed_on_in_part() {
    let policy = load(RESOLUTION, "give up").expect("it misbehaves later");
    match resolve(&policy, b"key") {
        Err(PolicyError::GaveUp(reason)) => assert!(reason.len() <= 1024, "{}", reason.len()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn answers_of_every_form_arrive() {
    check("", &Ok(Resolved::KeepAll));
    check("delete", &Ok(Resolved::Tombstone));
    let merged = Merged {
        content_type: "text/plain".into(),
        bytes: b"onetwo".to_vec(),
    };
    assert!(merged.content_type.len() <= CONTENT_TYPE_BYTES_MAX);
    check("merge", &Ok(Resolved::Value(merged)));
}

#[test]
fn repetition_and_order_are_hidden_from_it() {
    let policy = load(RESOLUTION, "merge, in any order").expect("it behaves");
    let resolver = policy.resolver().expect("a resolver");
    let (one, two) = (sibling(1, b"one"), sibling(2, b"two"));
    let left = resolver.resolve(
        b"key",
        &[two.clone(), one.clone(), two.clone(), one.clone()],
    );
    assert_eq!(left, resolver.resolve(b"key", &[one, two]));
}

#[test]
fn more_than_a_call_may_show_is_not_shown() {
    let policy = load(RESOLUTION, "merge, too much").expect("it behaves");
    let resolver = policy.resolver().expect("a resolver");
    let large = vec![b'a'; REQUEST.input_bytes];
    let answer = resolver.resolve(b"key", &[sibling(1, &large), sibling(2, b"two")]);
    assert!(
        matches!(answer, Err(PolicyError::InputTooLarge { .. })),
        "{answer:?}"
    );
}

#[test]
fn an_instance_that_never_gives_back_is_replaced() {
    let policy = load(RESOLUTION, "hoard").expect("it misbehaves later");
    let failures = (0..1000)
        .filter(|_| resolve(&policy, b"key").is_err())
        .count();
    assert!((1..10).contains(&failures), "{failures}");
}

#[test]
fn an_instance_is_replaced_after_so_many_calls() {
    let policy = load(RESOLUTION, "remember").expect("it misbehaves later");
    let mut answers = (0..=CALLS_AN_INSTANCE).map(|_| resolve(&policy, b"key"));
    let first = answers.next();
    let mut later = answers.skip(CALLS_AN_INSTANCE as usize - 1);
    assert_eq!(later.next(), first);
}

#[test]
fn a_table_that_breaks_the_rules_is_refused() {
    let now = snapshot(&[100; 4], &["a", "a", "b", "b"], 8, Some(2));
    let plan = |manner: &str| {
        let policy = load(PLACEMENT, manner).expect("it misbehaves later");
        policy
            .placer()
            .expect("a placer")
            .plan(&now, None, 0)
            .map_err(|error| match error {
                PolicyError::BadAnswer(BadAnswer::Table(error)) => error,
                other => panic!("{other}"),
            })
    };
    assert_eq!(
        plan("too short"),
        Err(TableError::Cells { have: 23, need: 24 })
    );
    assert!(matches!(plan("one node"), Err(TableError::Twice { .. })));
    assert_eq!(plan("nobody"), Err(TableError::NoMember(999)));
    assert_eq!(plan("").map(|table| table.members().len()), Ok(3));
}

#[test]
fn a_placement_sees_what_it_is_shown() {
    let now = snapshot(&[100, 200, 300], &["a", "b", "c"], 1, None);
    let ids = now.members().iter().map(|member| member.node.id).collect();
    let before = Table::new(now.partitions(), 3, ids).expect("a table");
    let policy = load(PLACEMENT, "repeat what is seen").expect("it tells");
    let answer = policy
        .placer()
        .expect("a placer")
        .plan(&now, Some(&before), 42);
    let Err(PolicyError::GaveUp(seen)) = answer else {
        panic!("{answer:?}")
    };
    for part in [
        "epoch: 7",
        "zone: \"b\"",
        "capacity: 300",
        "zones-min: None",
        "cells: [0, 1, 2]",
    ] {
        assert!(seen.contains(part), "{part}: {seen}");
    }
    assert!(seen.ends_with("42"), "{seen}");
}

fn change<'a>(key: &'a [u8], value: Option<&'a [u8]>) -> Change<'a> {
    Change {
        bucket: "default",
        key,
        content_type: "text/plain",
        value,
        current: Some(b"old"),
        principal: "somebody",
    }
}

#[test]
fn a_validator_is_asked_only_about_what_it_wants() {
    let policy = load(VALIDATION, "refuse").expect("it refuses");
    let validator = policy.validator().expect("a validator");
    assert!(validator.wants().current);
    let large = [0; 2000];
    let changes = [
        change(b"a/1", Some(b"new")),
        change(b"c/1", Some(b"new")),
        change(b"b/1", None),
        change(b"b/2", Some(&large)),
    ];
    let verdicts = validator.check(&changes).expect("verdicts");
    let code = |verdict: &Verdict| match verdict {
        Verdict::Refuse(refusal) => refusal.code.clone(),
        other => format!("{other:?}"),
    };
    let codes: Vec<String> = verdicts.iter().map(code).collect();
    assert_eq!(codes, ["because", "Accept", "because", "value-too-large"]);
    let Verdict::Refuse(refusal) = &verdicts[0] else {
        panic!("{verdicts:?}")
    };
    assert!(
        refusal.message.contains("principal: \"somebody\""),
        "{}",
        refusal.message
    );
    assert_eq!(refusal.pointer.as_deref(), Some("/a"));
}

#[test]
fn a_validator_may_change_a_value_but_not_a_delete() {
    let policy = load(VALIDATION, "change everything").expect("it changes");
    let validator = policy.validator().expect("a validator");
    let changed = Ok(vec![Verdict::AcceptAs(b"changed".to_vec())]);
    assert_eq!(validator.check(&[change(b"a/1", Some(b"new"))]), changed);
    assert_eq!(
        validator.check(&[change(b"a/1", None)]),
        Err(BadAnswer::DeleteAsValue.into())
    );
}

#[test]
fn a_validator_that_panics_says_so() {
    let policy = load(VALIDATION, "panic").expect("it misbehaves later");
    let answer = policy
        .validator()
        .expect("a validator")
        .check(&[change(b"a/1", Some(b"new"))]);
    assert!(matches!(answer, Err(PolicyError::Trapped(_))), "{answer:?}");
    let none = policy
        .validator()
        .expect("a validator")
        .check(&[change(b"z", Some(b"new"))]);
    assert_eq!(none, Ok(vec![Verdict::Accept]));
}

#[test]
fn many_changes_are_shown_in_several_calls() {
    let policy = load(VALIDATION, "").expect("it accepts");
    let validator = policy.validator().expect("a validator");
    let value = [0; 1000];
    let changes = vec![change(b"a/1", Some(&value)); 2500];
    assert_eq!(validator.check(&changes), Ok(vec![Verdict::Accept; 2500]));
    assert_eq!(policy.usage().calls, 40);
}
