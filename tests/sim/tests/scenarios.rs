//! These are the scenes: each stays sound, and shows the bug that it was written for.

use soros_sim::bug::Bug;
use soros_sim::scenes;

#[test]
fn every_scene_keeps_the_promises() {
    for (name, scene) in scenes::ALL {
        let report = scene(None);
        assert!(report.is_sound(), "{name}: {:?}", report.faults);
    }
}

#[test]
fn a_key_that_the_sender_forgets_comes_back_when_its_start_clock_is_joined_alone() {
    let bug = Some(Bug::JoinStartClockAlone);
    let report = scenes::a_key_that_the_sender_forgets_during_a_transfer(bug);
    assert!(!report.is_sound(), "the delete was undone");
}
