//! These are the scenes: each keeps the promises, and shows the bugs that are its opposites.

use soros_sim::report::{Fault, Report};
use soros_sim::scenes;

/// Whether a client or a reader of the disks would see that something broke: more than a count that
/// is wrong, or an alarm.
fn shows(report: &Report) -> bool {
    let is_sign = |fault: &Fault| {
        matches!(
            fault,
            Fault::Miscounted { .. } | Fault::LeftOver { .. } | Fault::FalseAlarm { .. }
        )
    };
    !report.faults.iter().all(is_sign)
}

#[test]
fn every_scene_keeps_the_promises() {
    for scene in &scenes::ALL {
        println!("{}", scene.name);
        let report = scene.play(None);
        assert!(report.is_sound(), "{}: {:?}", scene.name, report.faults);
    }
}

#[test]
fn every_scene_shows_its_opposites() {
    for scene in &scenes::ALL {
        for bug in scene.opposites {
            let report = scene.play(Some(*bug));
            assert!(shows(&report), "{}: {}", scene.name, bug.name());
            println!("{}: {}: {:?}", scene.name, bug.name(), report.faults);
        }
    }
}
