//! This is whether version 1 of the interface is what it was when it was frozen, and what becomes
//! of components that speak another one.

use super::hostile::{encoded, interface, module};
use super::{RUNTIME, resolve};
use crate::plugin::AdmissionError;
use soros_core::map::json::Json;
use soros_core::policy::Resolved;

const KEEP: &str = r"\00\00\00\00\00\00\00\00\00\00\00\00";
/// The hash of the interface without its comments and spaces.
const FROZEN: &str = "a868da8eea7a684b23b7867969ecb14241162ce36a71bb2d402bd5250b2e917e";

#[test]
fn version_1_is_frozen() {
    let text = interface();
    let lines = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or(""));
    let words: Vec<&str> = lines.flat_map(str::split_whitespace).collect();
    let found = blake3::hash(words.join(" ").as_bytes());
    assert_eq!(
        found.to_hex().as_str(),
        FROZEN,
        "components that speak version 1 exist: see docs/interface.md for what may change"
    );
}

/// What a host says to a resolver of another version of the interface.
fn of_version(version: &str, edit: impl Fn(String) -> String) -> Result<Resolved, AdmissionError> {
    let name = format!("policy@{version}");
    let wit = edit(interface().replace("policy@1.0.0", &name));
    let module =
        module(KEEP, 128, "").replace("policy/resolver@1.0.0", &name.replace('@', "/resolver@"));
    let policy = RUNTIME.load(&encoded(&wit, "resolution", &module), &Json::empty())?;
    Ok(resolve(&policy, b"key").expect("it behaves"))
}

#[test]
fn a_later_minor_version_is_taken_where_it_fits() {
    for version in ["1.0.1", "1.2.0"] {
        assert_eq!(
            of_version(version, |wit| wit),
            Ok(Resolved::Keep(1)),
            "{version}"
        );
    }
    let widened = |wit: String| wit.replace("keep(u32)", "keep(s32)");
    let refused = of_version("1.2.0", widened).expect_err("it does not fit");
    assert!(matches!(refused, AdmissionError::Misfit(_)), "{refused}");
    assert!(refused.to_string().contains("sdk/wit/v1"), "{refused}");
}

#[test]
fn another_major_version_is_refused_with_both_and_a_way_out() {
    for version in ["2.0.0", "0.9.0"] {
        let refused = of_version(version, |wit| wit).expect_err("it is another interface");
        let text = refused.to_string();
        let found = format!("soros:policy/resolver@{version}");
        assert_eq!(
            refused,
            AdmissionError::OtherAbi {
                found: found.clone()
            }
        );
        for words in [
            &found,
            "this host speaks soros:policy@1",
            "Build it with an SDK",
        ] {
            assert!(text.contains(words), "{text}");
        }
    }
}
