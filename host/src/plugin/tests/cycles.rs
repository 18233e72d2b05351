//! This is whether plugins that come and go leave something behind: memory or files. It is measured
//! in a process of its own, where nothing else comes and goes.

use super::hostile::{component, module};
use super::resolve;
use crate::plugin::{Compiler, Runtime};
use soros_core::map::json::Json;
use std::process::Command;

/// How often plugins come and go in the measuring process.
const CYCLES: &str = "SOROS_LOAD_CYCLES";
/// How much the second half may add. A leak of one instance, module or component in each cycle is
/// more.
const GROWTH_MAX: u64 = 4 << 20;

/// What this process holds: bytes of memory, open files, mappings.
fn held() -> [u64; 3] {
    let status = std::fs::read_to_string("/proc/self/status").expect("this is Linux");
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = resident.and_then(|text| text.trim().strip_suffix(" kB"));
    let kilobytes: u64 = kilobytes.expect("a figure").parse().expect("a number");
    let files = std::fs::read_dir("/proc/self/fd").expect("this is Linux");
    let maps = std::fs::read_to_string("/proc/self/maps").expect("this is Linux");
    [
        kilobytes << 10,
        files.count() as u64,
        maps.lines().count() as u64,
    ]
}

/// The same component with other bytes: a section that nobody reads.
fn numbered(component: &[u8], number: u32) -> Vec<u8> {
    let mut bytes = component.to_vec();
    bytes.extend([0, 6, 1, b'n']);
    bytes.extend(number.to_le_bytes());
    bytes
}

/// One plugin comes, is asked, and goes; each second one traps.
fn cycle(runtime: &Runtime, components: &[Vec<u8>; 2], number: u32) {
    let traps = number % 2 == 1;
    let component = numbered(&components[usize::from(traps)], number);
    let policy = runtime.load(&component, &Json::empty()).expect("a policy");
    assert_eq!(resolve(&policy, b"key").is_err(), traps);
    let cut = &component[..component.len() - 5];
    assert!(runtime.load(cut, &Json::empty()).is_err());
}

#[test]
#[ignore = "the test below starts it in a process of its own"]
fn come_and_go() {
    let cycles = std::env::var(CYCLES).map_or(10_000, |text| text.parse().expect("a number"));
    let runtime = Runtime::new(Compiler::Here).expect("room for engines");
    let keep = r"\00\00\00\00\00\00\00\00\00\00\00\00";
    let trap = r#"(func (export "cabi_post_soros:policy/resolver@1.0.0#resolve") (param i32)
                    unreachable)"#;
    let components = ["", trap].map(|more| component("resolution", &module(keep, 128, more)));
    let mut seen = Vec::new();
    for number in 0..=cycles {
        if [cycles / 10, cycles * 11 / 20, cycles].contains(&number) {
            seen.push(held());
        }
        cycle(&runtime, &components, number);
    }
    println!(
        "after {}, {} and {cycles}: {seen:?}",
        cycles / 10,
        cycles * 11 / 20
    );
    let [bytes, files, maps] = seen[2];
    assert!(bytes < seen[1][0] + GROWTH_MAX, "{seen:?}");
    assert_eq!(files, seen[1][1], "{seen:?}");
    assert!(maps <= seen[1][2] + 8, "{seen:?}");
}

#[test]
fn plugins_that_come_and_go_leave_nothing_behind() {
    let this = std::env::current_exe().expect("a test has a path");
    let run = Command::new(this)
        .args(["--ignored", "--exact", "--nocapture"])
        .arg("plugin::tests::cycles::come_and_go")
        .env(CYCLES, "2000")
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{said}");
    assert!(said.contains("1 passed"), "{said}");
}
