//! These are what peers' clocks may say, and what is made of it.

use super::*;

const MILLI: i64 = 1_000;
const SECOND: i64 = 1_000 * MILLI;
const HOUR: i64 = 3_600 * SECOND;
/// What the steady clock says when the readings are taken.
const TAKEN: u64 = 5_000_000;
const SKEW_MAX: u64 = 500_000;

/// A reading of a clock that is `offset` ahead, by a round trip of `trip` microseconds.
fn reading(offset: i64, trip: u64) -> Reading {
    let theirs = u64::try_from(1_000 * HOUR + offset).expect("after 1970");
    Reading::new(TAKEN - trip / 2, TAKEN + trip / 2, theirs)
}

/// What is said of a node's clock by peers that are so far ahead of it, and how sure that is.
fn judged(offsets: &[(i64, u64)], now: u64) -> Judgement {
    let mut readings = Readings::default();
    for (peer, (offset, trip)) in (2..).zip(offsets) {
        readings.note(NodeId(peer), reading(*offset, *trip), now);
    }
    readings.judge(lead_of_all(), now, SKEW_MAX)
}

fn lead_of_all() -> i64 {
    lead(u64::try_from(1_000 * HOUR).expect("after 1970"), TAKEN)
}

/// What each of several nodes makes of the others' clocks.
#[track_caller]
fn check(clocks: &[i64], expected: &[Judgement]) {
    let judgements: Vec<Judgement> = (0..clocks.len())
        .map(|own| {
            let others = clocks.iter().enumerate().filter(|(at, _)| *at != own);
            let offsets: Vec<_> = others
                .map(|(_, clock)| (clock - clocks[own], 2_000))
                .collect();
            judged(&offsets, TAKEN)
        })
        .collect();
    assert_eq!(judgements, expected);
}

fn agrees(ahead: i64) -> Judgement {
    Judgement::Agrees(Skew(ahead))
}

fn divided(ahead: i64) -> Judgement {
    Judgement::Divided(Skew(ahead))
}

fn off(ahead: i64) -> Judgement {
    Judgement::Off(Skew(ahead))
}

#[test]
fn one_wrong_clock_of_three_is_off_and_the_two_right_ones_are_not() {
    for wrong in [HOUR, -HOUR, 600 * MILLI, -600 * MILLI] {
        check(&[wrong, 0, 0], &[off(wrong), agrees(0), agrees(0)]);
        check(
            &[0, 20 * MILLI, wrong],
            &[
                agrees(-20 * MILLI),
                agrees(20 * MILLI),
                off(wrong - if wrong < 0 { 0 } else { 20 * MILLI }),
            ],
        );
    }
}

#[test]
fn a_clock_within_what_is_allowed_is_not_off() {
    check(
        &[400 * MILLI, 0, 0],
        &[agrees(400 * MILLI), agrees(0), agrees(0)],
    );
}

#[test]
fn of_three_that_all_differ_the_middle_one_goes_on() {
    check(
        &[0, HOUR, 3 * HOUR],
        &[off(-HOUR), agrees(HOUR), off(2 * HOUR)],
    );
}

#[test]
fn two_that_differ_go_on_divided() {
    check(&[0, HOUR], &[divided(-HOUR), divided(HOUR)]);
    check(
        &[0, 0, HOUR, HOUR],
        &[divided(-HOUR), divided(-HOUR), divided(HOUR), divided(HOUR)],
    );
}

#[test]
fn two_wrong_clocks_of_five_are_off_though_each_has_company() {
    check(
        &[0, 0, 0, HOUR, HOUR],
        &[agrees(0), agrees(0), agrees(0), off(HOUR), off(HOUR)],
    );
    check(
        &[0, 0, 0, HOUR, -HOUR],
        &[agrees(0), agrees(0), agrees(0), off(HOUR), off(-HOUR)],
    );
}

#[test]
fn nobody_says_nothing() {
    check(&[HOUR], &[Judgement::Unheard]);
}

#[test]
fn what_is_not_certain_makes_nobody_refuse() {
    let surely = [(600 * MILLI, 2_000), (600 * MILLI, 2_000)];
    assert_eq!(judged(&surely, TAKEN), off(-600 * MILLI));
    // 600 ms off by a round trip of 400 ms may be 400 ms off.
    let perhaps = [(600 * MILLI, 2_000), (600 * MILLI, 400_000)];
    assert_eq!(judged(&perhaps, TAKEN), agrees(-600 * MILLI));
}

#[test]
fn a_reading_is_less_certain_as_it_gets_older() {
    let surely = [(600 * MILLI, 2_000), (600 * MILLI, 2_000)];
    let seconds = |seconds: u64| TAKEN + seconds * 1_000_000;
    assert_eq!(judged(&surely, seconds(90)), off(-600 * MILLI));
    assert_eq!(judged(&surely, seconds(110)), agrees(-600 * MILLI));
}

#[test]
fn the_middle_of_a_round_trip_is_wrong_by_half_of_it_at_most() {
    // Asked at 0 and answered at 100 ms by a clock that is 7 s ahead, read at any moment between.
    for read_at in [0, 30_000, 100_000] {
        let reading = Reading::new(0, 100_000, 7_000_000 + read_at);
        let (low, high) = reading.offsets(0, 100_000);
        assert!(low <= 7_000_000 && 7_000_000 <= high, "{low} to {high}");
    }
}

#[test]
fn the_surer_of_two_readings_that_agree_stays() {
    let (mut readings, peer) = (Readings::default(), NodeId(2));
    readings.note(peer, reading(HOUR, 2_000), TAKEN);
    readings.note(peer, reading(HOUR + 90 * MILLI, 200_000), TAKEN);
    assert_eq!(readings.0[&peer], reading(HOUR, 2_000));
    readings.note(peer, reading(HOUR, 1_000), TAKEN);
    assert_eq!(readings.0[&peer], reading(HOUR, 1_000));
}

#[test]
fn a_reading_that_contradicts_is_of_a_clock_that_was_set() {
    let (mut readings, peer) = (Readings::default(), NodeId(2));
    readings.note(peer, reading(HOUR, 2_000), TAKEN);
    readings.note(peer, reading(0, 200_000), TAKEN);
    assert_eq!(readings.0[&peer], reading(0, 200_000));
}

#[test]
fn who_is_gone_is_forgotten_at_once_and_what_is_old_after_a_while() {
    let mut readings = Readings::default();
    for peer in [2, 3] {
        readings.note(NodeId(peer), reading(HOUR, 2_000), TAKEN);
    }
    readings.retain(&BTreeSet::from([NodeId(2)]), TAKEN + KEPT);
    assert_eq!(readings.0.keys().collect::<Vec<_>>(), [&NodeId(2)]);
    readings.retain(&BTreeSet::from([NodeId(2)]), TAKEN + KEPT + 1);
    assert!(readings.0.is_empty());
}

#[test]
fn numbers_that_no_clock_shows_are_far_off_and_break_nothing() {
    let moments = [0, 1, u64::MAX / 2, u64::MAX];
    for asked in moments {
        for answered in moments {
            for theirs in moments {
                let mut readings = Readings::default();
                let reading = Reading::new(asked, answered, theirs);
                for (peer, now) in [(2, 0), (2, u64::MAX), (3, answered)] {
                    readings.note(NodeId(peer), reading, now);
                }
                for own in [i64::MIN, 0, i64::MAX] {
                    assert_ne!(readings.judge(own, answered, 0), Judgement::Unheard);
                    assert_ne!(readings.judge(own, answered, u64::MAX), Judgement::Unheard);
                }
            }
        }
    }
    let wild = (i64::MAX / 2, 2_000);
    assert!(matches!(judged(&[wild, wild], TAKEN), Judgement::Off(_)));
}

#[test]
fn says_how_far_and_in_which_direction() {
    let text = |micros| Skew(micros).to_string();
    assert_eq!(text(HOUR), "3600.000 s ahead of the median of its peers'");
    assert_eq!(text(-1_234_567), "1.234 s behind the median of its peers'");
}
