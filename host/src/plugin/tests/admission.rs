//! This is what is not admitted: bytes that are no component, components that are no policy, and
//! configs that a policy does not take; each with a reason that says what to do.

use super::shipped::component;
use super::{RESOLUTION, RUNTIME, load};
use crate::plugin::admission::made_up;
use crate::plugin::compile::outline;
use crate::plugin::laws::Random;
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

/// What stands before the compiler is cheap, so it is tried on thousands: cut, flipped, with parts
/// written over each other.
#[test]
fn what_looks_at_a_component_first_is_harmed_by_none() {
    let mut random = Random::new(1);
    let (mut passed, mut longest) = (0, 0);
    for case in 0..10_000 {
        let plugin = &shipped()[case % shipped().len()];
        let mut bytes = plugin.bytes[..plugin.bytes.len().min(8 << 10)].to_vec();
        if case % 2 == 0 {
            bytes = plugin.bytes.to_vec();
        }
        for _ in 0..=random.below(4) {
            match random.below(4) {
                0 => bytes.truncate(random.below(bytes.len()) + 1),
                1 => {
                    let (from, to) = (random.below(bytes.len()), random.below(bytes.len()));
                    let len = random.below(64).min(bytes.len() - from.max(to));
                    bytes.copy_within(from..from + len, to);
                }
                _ => {
                    let at = random.below(bytes.len());
                    bytes[at] ^= 1 << random.below(8);
                }
            }
        }
        match outline(&bytes) {
            Ok(_) => passed += 1,
            Err(error) => longest = longest.max(error.to_string().len()),
        }
    }
    assert!((1_000..9_000).contains(&passed), "{passed} pass");
    assert!(longest < 8 << 10, "{longest} bytes of reason");
}

#[test]
fn a_reason_is_short_whatever_it_is_about() {
    let long = "a".repeat(90_000);
    let imports = (0..1_000).map(|at| format!(r#"(import "wasi:{long}/i{at}" (instance))"#));
    let imports = text(&format!(
        "(component {})",
        imports.take(20).collect::<String>()
    ));
    let Err(AdmissionError::ForeignImports(foreign)) = &imports else {
        panic!("it imports much");
    };
    assert_eq!(foreign.len(), 17);
    assert_eq!(foreign[16], "and 4 more");
    let other = text(&format!(
        r#"(component (instance $i)
            (export "soros:policy/validator@2.0.0-{long}" (instance $i)))"#
    ));
    assert!(matches!(other, Err(AdmissionError::OtherAbi { .. })));
    for refused in [imports, other] {
        let reason = refused.expect_err("it is refused").to_string();
        assert!(reason.len() < 4 << 10, "{}", reason.len());
    }
}

#[test]
fn components_deep_in_each_other_are_not_followed() {
    let nested = |depth: usize| {
        let mut component = wat::parse_str("(component)").expect("a component in words");
        for _ in 0..depth {
            let mut outer = wat::parse_str("(component)").expect("a component in words");
            outer.push(4);
            let mut len = component.len();
            while 0x7f < len {
                outer.push(u8::try_from(len & 0x7f).expect("seven bits") | 0x80);
                len >>= 7;
            }
            outer.push(u8::try_from(len).expect("seven bits"));
            outer.extend(component);
            component = outer;
        }
        admit(&component)
    };
    assert!(matches!(nested(100), Err(AdmissionError::NoPolicy(_))));
    let refused = nested(101).expect_err("it is too deep").to_string();
    assert!(refused.contains("more than 100 deep"), "{refused}");
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
    let nothing = text("(component)")
        .expect_err("it exports nothing")
        .to_string();
    assert!(nothing.contains("soros plugin build"), "{nothing}");
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
fn laws_are_tried_with_a_config_that_the_schema_means() {
    // It takes any string, and no empty config; its schema says that it is a string.
    let checks = look(RESOLUTION, "misbehaving", "0.1.0").expect("it behaves without a manner");
    assert!(checks[7].detail.starts_with("300 questions"), "{checks:?}");
    assert!(checks[9].detail.starts_with("p50 "), "{checks:?}");
    for (schema, expected) in [
        (r#"{"type":"string","enum":["a","b"]}"#, r#""a""#),
        (r#"{"type":["integer","null"],"minimum":3}"#, "3"),
        (
            r#"{"type":"object","required":["a","b"],"properties":{
                "a":{"type":"array"},"b":{"anyOf":[{"const":true}]},"c":{"type":"string"}}}"#,
            r#"{"a":[],"b":true}"#,
        ),
        (r#"{"examples":[7]}"#, "7"),
        (r#"{"type":"object","required":["a"]}"#, "none"),
        ("{}", "none"),
    ] {
        let schema = serde_json::from_str(schema).expect("a schema");
        let made = made_up(&schema, 0).map_or("none".to_owned(), |config| config.to_string());
        assert_eq!(made, expected);
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
