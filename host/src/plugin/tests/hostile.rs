//! This is components written by hand to lie: about lengths, places, encodings and cases, and about
//! what they need. No SDK stands between them and the host.

use super::{RUNTIME, resolve};
use crate::plugin::limits::REQUEST;
use crate::plugin::{AdmissionError, Policy};
use soros_core::map::json::Json;
use soros_core::policy::{BadAnswer, PolicyError, Resolved};
use std::path::Path;
use std::sync::Arc;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// A resolver that answers with the bytes at 128; `more` adds to its module.
fn module(answer: &str, at: u32, more: &str) -> String {
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
    let mut module = wat::parse_str(module).expect("a module in words");
    let mut wit = Resolve::default();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sdk/wit/v1/policy.wit");
    let package = wit.push_file(source).expect("the interface");
    let world = wit
        .select_world(&[package], Some("resolution"))
        .expect("the world");
    embed_component_metadata(&mut module, &wit, world, StringEncoding::UTF8).expect("metadata");
    let encoder = ComponentEncoder::default().module(&module);
    let component = encoder
        .and_then(|mut encoder| encoder.encode())
        .expect("a component");
    RUNTIME.load(&component, &Json::empty())
}

/// What a resolver that answers with these bytes is found to say.
fn answer(bytes: &str) -> Result<Resolved, PolicyError> {
    resolve(
        &load(&module(bytes, 128, "")).expect("it lies later"),
        b"key",
    )
}

#[track_caller]
fn check_malformed(answer: &Result<Resolved, PolicyError>) {
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
