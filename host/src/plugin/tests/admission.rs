//! This is what is not admitted: bytes that are no component, components that are no policy, and
//! configs that a policy does not take; each with a reason that says what to do.

use super::shipped::component;
use super::{RESOLUTION, RUNTIME, load};
use crate::plugin::limits::{COMPONENT_BYTES_MAX, CONFIG_BYTES_MAX, REQUEST};
use crate::plugin::{AdmissionError, Check, shipped};
use soros_core::map::json::Json;
use soros_core::policy::PolicyError;

fn admit(component: &[u8]) -> Result<(), AdmissionError> {
    RUNTIME.load(component, &Json::empty()).map(|_| ())
}

fn text(component: &str) -> Result<(), AdmissionError> {
    admit(&wat::parse_str(component).expect("a component in words"))
}

#[test]
fn bytes_that_are_no_component_are_refused() {
    let refused = |bytes: &[u8]| matches!(admit(bytes), Err(AdmissionError::NotAComponent(_)));
    assert!(refused(b""));
    assert!(refused(b"#!/bin/sh\n"));
    assert!(refused(b"\0asm\x01\0\0\0"));
    assert!(refused(&RESOLUTION[..RESOLUTION.len() / 2]));
    let large = vec![0; COMPONENT_BYTES_MAX + 1];
    assert_eq!(admit(&large), Err(AdmissionError::TooLarge(large.len())));
}

#[test]
fn damaged_components_never_do_harm() {
    let lww = component("lww");
    for at in (0..lww.len()).step_by(lww.len() / 16) {
        let mut damaged = lww.to_vec();
        damaged[at] ^= 1 << (at % 8);
        if let Err(error) = admit(&damaged) {
            assert!(!error.to_string().is_empty());
        }
        let cut = admit(&lww[..at]);
        assert!(cut.is_err(), "the first {at} bytes");
    }
}

#[test]
fn foreign_imports_are_listed_with_a_way_out() {
    let component = r#"(component
        (import "wasi:cli/environment@0.2.0" (instance))
        (import "soros:policy/log@1.0.0" (instance))
        (import "wasi:clocks/wall-clock@0.2.0" (instance))
        (import "soros:policy/log@2.0.0" (instance)))"#;
    let error = text(component).expect_err("it wants WASI");
    let foreign = ["wasi:cli/environment@0.2.0", "wasi:clocks/wall-clock@0.2.0"];
    let foreign = foreign
        .into_iter()
        .chain(["soros:policy/log@2.0.0"])
        .map(str::to_owned);
    assert_eq!(error, AdmissionError::ForeignImports(foreign.collect()));
    assert!(
        error.to_string().contains("wasm32-unknown-unknown"),
        "{error}"
    );
}

#[test]
fn components_that_are_no_policy_are_refused() {
    assert_eq!(
        text("(component)"),
        Err(AdmissionError::NoPolicy(Vec::new()))
    );
    let export = |names: &[&str]| {
        let exports: Vec<String> = names
            .iter()
            .map(|name| format!("(export {name:?} (instance $empty))"))
            .collect();
        format!("(component (instance $empty) {})", exports.concat())
    };
    assert_eq!(
        text(&export(&["soros:policy/resolver@2.1.0"])),
        Err(AdmissionError::OtherAbi {
            found: "soros:policy/resolver@2.1.0".into()
        })
    );
    let both = ["soros:policy/placer@1.0.0", "soros:policy/resolver@1.0.0"];
    assert!(matches!(
        text(&export(&both)),
        Err(AdmissionError::SeveralPolicies(_))
    ));
    assert!(matches!(
        text(&export(&["a:b/c@1.0.0"])),
        Err(AdmissionError::NoPolicy(_))
    ));
    let hollow = text(&export(&["soros:policy/validator@1.0.0"]));
    assert!(
        matches!(hollow, Err(AdmissionError::Misfit(_))),
        "{hollow:?}"
    );
}

#[test]
fn configs_that_it_does_not_take_are_refused() {
    let error = load(RESOLUTION, "refuse the config")
        .err()
        .expect("it refuses");
    assert_eq!(
        error.to_string(),
        "it does not take its config: /manner: not today"
    );
    let error = RUNTIME
        .load(RESOLUTION, &Json::empty())
        .err()
        .expect("it wants a string");
    assert!(matches!(error, AdmissionError::BadConfig(_)), "{error}");
    let error = RUNTIME
        .load(component("lww"), &Json::Null)
        .err()
        .expect("it wants nothing");
    assert!(matches!(error, AdmissionError::BadConfig(_)), "{error}");
    let long = "a".repeat(CONFIG_BYTES_MAX);
    assert!(matches!(
        load(RESOLUTION, &long),
        Err(AdmissionError::ConfigTooLarge(_))
    ));
}

#[test]
fn a_config_that_is_never_done_with_is_cut_short() {
    let error = load(RESOLUTION, "loop at once").err().expect("it loops");
    let fuel = REQUEST.fuel;
    assert_eq!(
        error,
        AdmissionError::Fails(PolicyError::OutOfFuel { fuel })
    );
}

#[test]
fn another_config_is_another_policy() {
    let (one, two) = (load(RESOLUTION, "one"), load(RESOLUTION, "two"));
    let (one, two) = (one.expect("any string"), two.expect("any string"));
    assert_eq!(one.digest(), two.digest());
    assert_ne!(one.id(), two.id());
}

fn look(component: &[u8], name: &str, version: &str) -> Result<Vec<Check>, Vec<Check>> {
    let (name, version) = (name.parse().expect("a name"), version.parse());
    let admitted = RUNTIME.admit(component, &name, &version.expect("a version"));
    admitted.map(|admitted| admitted.checks)
}

#[test]
fn what_ships_passes_every_check() {
    for plugin in shipped() {
        let checks = look(plugin.bytes, plugin.name, plugin.version).expect(plugin.name);
        assert_eq!(checks.len(), 10);
        assert!(checks.iter().all(|check| check.passed), "{checks:?}");
        assert!(!checks[8].detail.starts_with("not tried"), "{checks:?}");
        println!(
            "{}: {}; fuel: {}",
            plugin.name, checks[8].detail, checks[9].detail
        );
    }
}

#[test]
fn the_check_that_fails_is_the_last_one() {
    let imports = r#"(component (import "wasi:cli/environment@0.2.0" (instance)))"#;
    let imports = wat::parse_str(imports).expect("a component in words");
    let lww = component("lww");
    for (component, name, failed, count) in [
        (&b"none"[..], "lww", "component", 2),
        (&imports, "lww", "imports", 3),
        (lww, "other", "name", 7),
    ] {
        let checks = look(component, name, "0.1.0").expect_err("it fails");
        let last = checks.last().expect("a check");
        assert_eq!((last.check.as_str(), last.passed), (failed, false));
        assert_eq!(checks.len(), count);
        assert!(!last.detail.is_empty());
    }
}
