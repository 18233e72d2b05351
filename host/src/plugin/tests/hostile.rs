//! This is components written by hand to lie: about lengths, places, encodings and cases, and about
//! what they need. No SDK stands between them and the host.

use super::{RUNTIME, resolve};
use crate::plugin::limits::REQUEST;
use crate::plugin::{AdmissionError, Policy};
use soros_core::map::json::Json;
use soros_core::policy::{BadAnswer, Change, PolicyError, Resolved, Validation, Verdict};
use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// A resolver that answers with the bytes at 128; `more` adds to its module.
pub(super) fn module(answer: &str, at: u32, more: &str) -> String {
    format!(
        r#"(module
            (memory (export "memory") 1)
            (global $free (mut i32) (i32.const 4096))
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                (local $at i32)
                (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
                (global.set $free (i32.add (local.get $at) (local.get 3)))
                (local.get $at))
            (func (export "soros:policy/resolver@1.0.0#describe") (result i32) (i32.const 16))
            (func (export "soros:policy/resolver@1.0.0#configure") (param i32 i32) (result i32)
                (i32.const 64))
            (func (export "soros:policy/resolver@1.0.0#resolve")
                (param i32 i32 i32 i32) (result i32) (i32.const {at}))
            (data (i32.const 0) "liar1.0.0{{}}")
            (data (i32.const 16)
                "\00\00\00\00\04\00\00\00\04\00\00\00\05\00\00\00\09\00\00\00\02\00\00\00")
            (data (i32.const 64) "\00\00\00\00\01")
            (data (i32.const 128) "{answer}")
            {more})"#
    )
}

fn load(module: &str) -> Result<Arc<Policy>, AdmissionError> {
    load_as("resolution", module)
}

fn load_as(world: &str, module: &str) -> Result<Arc<Policy>, AdmissionError> {
    RUNTIME.load(&component(world, module), &Json::empty())
}

/// A component of one of the interface's worlds.
pub(super) fn component(world: &str, module: &str) -> Vec<u8> {
    encoded(&interface(), world, module)
}

/// The interface, in its own words.
pub(super) fn interface() -> String {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sdk/wit/v1/policy.wit");
    std::fs::read_to_string(source).expect("the interface")
}

/// A component of a world of this interface.
pub(super) fn encoded(interface: &str, world: &str, module: &str) -> Vec<u8> {
    let mut module = wat::parse_str(module).expect("a module in words");
    let mut wit = Resolve::default();
    let package = wit.push_str("policy.wit", interface).expect("an interface");
    let world = wit
        .select_world(&[package], Some(world))
        .expect("the world");
    embed_component_metadata(&mut module, &wit, world, StringEncoding::UTF8).expect("metadata");
    let encoder = ComponentEncoder::default().module(&module);
    encoder
        .and_then(|mut encoder| encoder.encode())
        .expect("a component")
}

/// What a resolver that answers with these bytes is found to say.
fn answer(bytes: &str) -> Result<Resolved, PolicyError> {
    resolve(
        &load(&module(bytes, 128, "")).expect("it lies later"),
        b"key",
    )
}

#[track_caller]
fn check_malformed<A: Debug>(answer: &Result<A, PolicyError>) {
    let malformed = matches!(answer, Err(PolicyError::BadAnswer(BadAnswer::Malformed(_))));
    assert!(malformed, "{answer:?}");
}

#[test]
fn an_honest_one_is_believed() {
    assert_eq!(
        answer(r"\00\00\00\00\00\00\00\00\01\00\00\00"),
        Ok(Resolved::Keep(0))
    );
    let far = BadAnswer::NoSuchSibling {
        index: u32::MAX,
        siblings: 2,
    };
    assert_eq!(
        answer(r"\00\00\00\00\00\00\00\00\ff\ff\ff\ff"),
        Err(far.into())
    );
}

#[test]
fn lengths_and_places_out_of_its_memory_are_not_followed() {
    let value = r"\00\00\00\00\01\00\00\00";
    check_malformed(&answer(&format!(
        r"{value}\00\00\00\00\04\00\00\00\00\00\00\00\ff\ff\ff\7f"
    )));
    check_malformed(&answer(&format!(
        r"{value}\f0\ff\ff\ff\20\00\00\00\00\00\00\00\00\00\00\00"
    )));
    for at in [129, 65_532, 0xffff_fff0] {
        let policy = load(&module("", at, "")).expect("it lies later");
        check_malformed(&resolve(&policy, b"key"));
    }
}

#[test]
fn text_that_is_not_utf_8_and_cases_that_there_are_not_are_refused() {
    let value = r"\00\00\00\00\01\00\00\00";
    let text = r"\98\00\00\00\02\00\00\00\00\00\00\00\00\00\00\00\ff\fe";
    check_malformed(&answer(&format!("{value}{text}")));
    check_malformed(&answer(r"\07\00\00\00\00\00\00\00"));
    check_malformed(&answer(r"\00\00\00\00\09\00\00\00"));
}

/// A validator that takes its config with the bytes at 64, and answers with those at 128.
fn validator(wants: &str, answer: &str) -> Result<Arc<Policy>, AdmissionError> {
    let module = module(answer, 128, "")
        .replace("policy/resolver@", "policy/validator@")
        .replace("#resolve\")", "#check\")")
        .replace(
            "(param i32 i32 i32 i32) (result i32) (i32.const 128)",
            CHECK,
        )
        .replace(r"\00\00\00\00\01", wants);
    load_as("validation", &module)
}

const CHECK: &str = "(param i32 i32) (result i32) (i32.const 128)";
/// No prefixes, no current value, no deletes, values of up to 255 bytes.
const WANTS: &str = r"\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\ff\00\00\00";

/// What a validator that answers with these bytes is found to say of one write.
fn verdicts(answer: &str) -> Result<Vec<Verdict>, PolicyError> {
    let policy = validator(WANTS, answer).expect("it lies later");
    let change = Change {
        bucket: "bucket",
        key: b"key",
        content_type: "text/plain",
        value: Some(b"value"),
        current: None,
        principal: "",
    };
    policy.validator().expect("a validator").check(&[change])
}

#[test]
fn lists_that_are_longer_than_memory_or_lie_askew_are_not_read() {
    assert_eq!(
        verdicts(r"\00\01\00\00\01\00\00\00"),
        Ok(vec![Verdict::Accept])
    );
    let counts = BadAnswer::VerdictCount {
        verdicts: 3,
        changes: 1,
    };
    assert_eq!(verdicts(r"\00\01\00\00\03\00\00\00"), Err(counts.into()));
    for list in [
        // As many as a length can say; so many that their bytes wrap around to a few.
        r"\00\01\00\00\ff\ff\ff\ff",
        r"\00\01\00\00\00\00\00\80",
        r"\00\01\00\00\01\00\00\08",
        // The last one ends behind the end; all are behind it.
        r"\f0\ff\00\00\01\00\00\00",
        r"\f0\ff\ff\ff\01\00\00\00",
        // At an odd place.
        r"\01\01\00\00\01\00\00\00",
    ] {
        check_malformed(&verdicts(list));
    }
    for wants in [
        r"\00\01\00\00\ff\ff\ff\ff\00\00\00\00\ff\00\00\00",
        r"\fc\ff\00\00\02\00\00\00\00\00\00\00\ff\00\00\00",
    ] {
        let wants = format!(r"\00\00\00\00{wants}");
        let refused = validator(&wants, "").err();
        assert!(
            matches!(refused, Some(AdmissionError::Misfit(_))),
            "{refused:?}"
        );
    }
}

/// What follows the interface's own call: the host gives back what it was answered.
const POST: &str = r#"(export "cabi_post_soros:policy/resolver@1.0.0#resolve") (param i32)"#;
const KEEP: &str = r"\00\00\00\00\00\00\00\00\00\00\00\00";

#[test]
fn what_it_does_when_its_answer_is_given_back_is_bounded() {
    let give_back = |does: &str| {
        let policy = load(&module(KEEP, 128, &format!("(func {POST} {does})")));
        let policy = policy.expect("it misbehaves later");
        let answers = [(); 2].map(|()| resolve(&policy, b"key"));
        assert_eq!(answers[0], answers[1]);
        answers[0].clone()
    };
    assert_eq!(give_back(""), Ok(Resolved::Keep(1)));
    let trapped = give_back("unreachable");
    assert!(
        matches!(trapped, Err(PolicyError::Trapped(_))),
        "{trapped:?}"
    );
    let fuel = REQUEST.fuel;
    assert_eq!(
        give_back("(loop (br 0))"),
        Err(PolicyError::OutOfFuel { fuel })
    );
}

#[test]
fn what_it_does_when_room_is_asked_for_is_bounded() {
    let makes_room = |does: &str| {
        let more = "(func $again (call $again))";
        let policy = module(KEEP, 128, more).replacen("(local $at i32)", does, 1);
        load(&policy).err()
    };
    let fails = |error| Some(AdmissionError::Fails(error));
    let fuel = REQUEST.fuel;
    assert_eq!(
        makes_room("(local $at i32) (loop (br 0))"),
        fails(PolicyError::OutOfFuel { fuel })
    );
    for trap in ["unreachable", "(call $again)"] {
        let refused = makes_room(&format!("(local $at i32) {trap}"));
        assert!(
            matches!(
                refused,
                Some(AdmissionError::Fails(PolicyError::Trapped(_)))
            ),
            "{trap}: {refused:?}"
        );
    }
    let limit = REQUEST.memory_bytes as u64;
    assert_eq!(
        makes_room("(local $at i32) (loop (drop (memory.grow (i32.const 1))) (br 0))"),
        fails(PolicyError::OutOfMemory { limit })
    );
    // Every place the same, and an odd one: it overwrites and misreads only its own memory.
    assert_eq!(
        makes_room("(local $at i32) (return (i32.const 4096))"),
        None
    );
    let odd = makes_room("(local $at i32) (return (i32.const 4097))");
    assert!(
        matches!(odd, None | Some(AdmissionError::Misfit(_))),
        "{odd:?}"
    );
}

/// A resolver that does this with its log.
fn logger(does: &str, more: &str) -> Result<Arc<Policy>, AdmissionError> {
    let import = r#"(import "soros:policy/log@1.0.0" "write" (func $log (param i32 i32 i32)))"#;
    let memory = r#"(memory (export "memory") 1)"#;
    let module = module(KEEP, 128, more)
        .replacen(memory, &format!("{import} {memory}"), 1)
        .replacen("(i32.const 128))", &format!("{does} (i32.const 128))"), 1);
    load(&module)
}

#[test]
fn lines_that_are_not_there_are_not_written() {
    let say = |level: &str, at: &str, len: &str| {
        let more = r#"(data (i32.const 300) "\ff\fe")"#;
        let call = format!("(call $log (i32.const {level}) (i32.const {at}) (i32.const {len}))");
        resolve(&logger(&call, more).expect("it lies later"), b"key")
    };
    assert_eq!(say("1", "0", "4"), Ok(Resolved::Keep(1)));
    for (level, at, len) in [
        ("1", "0", "-1"),
        ("1", "-1", "4"),
        ("1", "65535", "2"),
        ("1", "0", "0x7fffffff"),
        ("4", "0", "4"),
        ("-1", "0", "4"),
        // No UTF-8: the verdict's place holds a lone high byte.
        ("1", "300", "2"),
    ] {
        let answer = say(level, at, len);
        assert!(answer.is_err(), "{level} {at} {len}: {answer:?}");
    }
}

#[test]
fn the_host_is_not_called_while_it_calls() {
    let call = "(call $log (i32.const 1) (i32.const 0) (i32.const 4))";
    let policy = logger("", &format!("(func {POST} {call})")).expect("it misbehaves later");
    assert!(
        resolve(&policy, b"key").is_err(),
        "while an answer is given back"
    );
    let import = r#"(import "soros:policy/log@1.0.0" "write" (func $log (param i32 i32 i32)))"#;
    let memory = r#"(memory (export "memory") 1)"#;
    let room = module(KEEP, 128, "")
        .replacen(memory, &format!("{import} {memory}"), 1)
        .replacen("(local $at i32)", &format!("(local $at i32) {call}"), 1);
    assert!(load(&room).is_err(), "while room is asked for");
    assert!(logger(call, "").is_ok());
}

#[test]
fn room_that_it_does_not_have_is_not_written_to() {
    let realloc = "(local.get $at))";
    let module = module("", 128, "").replacen(realloc, "(i32.const 0x7ffffff0))", 1);
    let refused = load(&module);
    assert!(
        matches!(refused, Err(AdmissionError::Misfit(_))),
        "{:?}",
        refused.err()
    );
}

#[test]
fn more_memory_than_allowed_from_the_start_is_refused() {
    let module = module("", 128, "").replacen(
        "(memory (export \"memory\") 1)",
        "(memory (export \"memory\") 300)",
        1,
    );
    let limit = REQUEST.memory_bytes as u64;
    let expected = AdmissionError::Fails(PolicyError::OutOfMemory { limit });
    assert_eq!(load(&module).err(), Some(expected));
}

#[test]
fn memories_and_starts_without_measure_are_refused() {
    let limit = REQUEST.memory_bytes as u64;
    let out_of_memory = AdmissionError::Fails(PolicyError::OutOfMemory { limit });
    let four_gib = module("", 128, "").replacen("\"memory\") 1)", "\"memory\") 65536)", 1);
    assert!(load(&four_gib).is_err());
    let grows = "(func $f (loop (drop (memory.grow (i32.const 1))) (br 0))) (start $f)";
    assert_eq!(load(&module("", 128, grows)).err(), Some(out_of_memory));
    let recurses = load(&module("", 128, "(func $f (call $f)) (start $f)")).err();
    assert!(
        matches!(
            recurses,
            Some(AdmissionError::Fails(PolicyError::Trapped(_)))
        ),
        "{recurses:?}"
    );
    let table = "(table 10 funcref) (func $f (loop (drop (table.grow (ref.null func) \
                 (i32.const 1000))) (br 0))) (start $f)";
    let too_many = load(&module("", 128, table)).err();
    assert!(
        matches!(too_many, Some(AdmissionError::Fails(_))),
        "{too_many:?}"
    );
}

#[test]
fn tables_beyond_the_limit_are_refused() {
    let refused = load(&module("", 128, "(table 100000 funcref)"));
    assert!(refused.is_err());
}

#[test]
fn a_start_that_never_ends_is_cut_short() {
    let module = module("", 128, "(func $f (loop (br 0))) (start $f)");
    let expected = AdmissionError::Fails(PolicyError::OutOfFuel { fuel: REQUEST.fuel });
    assert_eq!(load(&module).err(), Some(expected));
}

#[test]
fn features_that_nodes_need_not_have_are_refused() {
    let features = [
        "(func $f (return_call $f))",
        "(memory $m 1)",
        "(tag $t) (func (throw $t))",
        "(func (param v128 v128 v128) (result v128)
            (i32x4.relaxed_laneselect (local.get 0) (local.get 1) (local.get 2)))",
        "(func (param i64 i64) (result i64 i64)
            (i64.mul_wide_u (local.get 0) (local.get 1)))",
        "(func (param externref))",
    ];
    for feature in features {
        let refused = load(&module("", 128, feature)).err();
        assert!(
            matches!(refused, Some(AdmissionError::Invalid(_))),
            "{feature}: {refused:?}"
        );
    }
}
