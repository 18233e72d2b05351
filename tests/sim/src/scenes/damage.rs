//! These are scenes of damaged records: what a bit can cost is the object that it flips in.

use crate::bug::Bug;
use crate::history::{Kind, Outcome};
use crate::report::Report;
use crate::table::Bucket;
use crate::world::play::{Play, at};

/// How many keys there are; the first is the one that is damaged.
const KEYS: u32 = 5;

fn begin(bug: Option<Bug>) -> Play {
    Play::new(&[Bucket::Siblings; KEYS as usize], bug)
}

/// Whether a replica holds all keys but the first.
fn holds_the_rest(play: &Play, node: u64) -> bool {
    (1..KEYS).all(|key| play.stored(node, key).is_some())
}

/// A replica is cut off and takes writes that nobody else has. When the others are back, one of its
/// older records turns out to be damaged before they have fetched anything.
pub(super) fn a_bit_flips_where_alone_the_last_writes_are(bug: Option<Bug>) -> Report {
    let mut play = begin(bug);
    play.write(at(1));
    play.all_learn();
    play.cut(1, 2);
    play.cut(1, 3);
    for key in 1..KEYS {
        play.write(at(1).key(key).blind().alone());
    }
    play.damage(1, 0);
    play.mend();
    play.scrub(1);
    play.expect(play.renewed() == 0, "others lack more than a handful");
    play.expect(holds_the_rest(&play, 1), "the rest is there");
    play.end()
}

/// A write quorum has the last writes: one of them loses its disk, and of the other one record is
/// damaged. It and a replica that was away must have all the rest of what is there.
pub(super) fn a_bit_flips_in_what_two_others_must_fetch(bug: Option<Bug>) -> Report {
    let mut play = begin(bug);
    fetch_what_is_damaged(&mut play, false);
    play.end()
}

/// The same, when the log no longer says which keys they lack, and all are compared.
pub(super) fn a_bit_flips_in_what_the_log_no_longer_names(bug: Option<Bug>) -> Report {
    let mut play = begin(bug);
    fetch_what_is_damaged(&mut play, true);
    play.end()
}

fn fetch_what_is_damaged(play: &mut Play, is_log_cut: bool) {
    play.cut(1, 3);
    play.cut(2, 3);
    for key in 0..KEYS {
        play.write(at(1).key(key));
        // What it wrote first is in no object any more, and in the log for a while.
        play.write(at(1).key(key));
    }
    play.damage(1, 0);
    play.wipe(2);
    play.start(2);
    play.mend();
    if is_log_cut {
        play.cut_log(1);
        play.cut_log(1);
    }
    play.learn(2, 1);
    play.expect(holds_the_rest(play, 2), "the second has all the rest");
    play.expect(play.renewed() == 0, "the third has nothing yet");
    play.learn(3, 1);
    play.expect(holds_the_rest(play, 3), "and the third");
}

/// Two of three replicas have a damaged record each, found in the same moment, and the third lacks
/// all of the last writes. Each of them has what is damaged at the other.
pub(super) fn bits_flip_at_two_replicas_at_once(bug: Option<Bug>) -> Report {
    let mut play = begin(bug);
    play.cut(1, 3);
    play.cut(2, 3);
    for key in 0..KEYS {
        play.write(at(1).key(key));
    }
    play.damage(1, 0);
    play.damage(2, 1);
    play.mend();
    play.scrub(1);
    play.scrub(2);
    play.expect(play.renewed() == 0, "the third has nothing yet");
    play.learn(3, 1);
    play.learn(3, 2);
    let all = (0..KEYS).all(|key| play.stored(3, key).is_some());
    play.expect(all, "the third has all");
    play.end()
}

/// Of two replicas each has a damaged record, and the only good copy of what is damaged at the
/// other.
pub(super) fn bits_flip_at_the_only_two_replicas(bug: Option<Bug>) -> Report {
    let mut play = Play::of(2, &[Bucket::Siblings; KEYS as usize], bug);
    damage_two_that_need_each_other(&mut play);
    play.end()
}

/// The same where the logs no longer name what is damaged, and one of the keys was deleted.
pub(super) fn bits_flip_at_the_only_two_replicas_and_no_log_names_them(bug: Option<Bug>) -> Report {
    let mut play = Play::of(2, &[Bucket::Siblings; KEYS as usize], bug);
    play.write(at(1).key(1));
    play.all_learn();
    play.all_learn();
    damage_two_that_need_each_other(&mut play);
    play.end()
}

/// Two of three replicas have a damaged record each, and the third, which has all, is lost as soon
/// as the first is dropped: it had the only good copy of what is damaged at the second.
pub(super) fn a_disk_is_lost_after_bits_flipped_at_the_two_others(bug: Option<Bug>) -> Report {
    let mut play = begin(bug);
    for key in 0..KEYS {
        play.write(at(1).key(key));
    }
    play.all_learn();
    play.damage(1, 0);
    play.damage(2, 1);
    play.scrub(2);
    play.expect(play.renewed() == 1, "the others hold the rest");
    play.wipe(3);
    play.expect(
        play.stored(2, 0).is_some(),
        "the second has what the first cannot read",
    );
    play.start(3);
    play.end()
}

/// The same key is damaged at two of three replicas, and each has writes that nobody else has and
/// no log names. Each must hear what the others have compared, though one of them leaves out the
/// key, too.
pub(super) fn the_same_key_is_damaged_at_two_replicas(bug: Option<Bug>) -> Report {
    let mut play = begin(bug);
    play.write(at(1));
    play.all_learn();
    play.cut(1, 2);
    play.cut(1, 3);
    play.cut(2, 3);
    for (node, client) in [(1, 1), (2, 2)] {
        for key in 1..KEYS {
            // What it writes first is in no object any more.
            play.write(at(node).key(key).by(client).blind().alone());
            play.write(at(node).key(key).by(client).alone());
        }
        play.damage(node, 0);
        play.cut_log(node);
        play.cut_log(node);
        play.scrub(node);
    }
    play.mend();
    play.expect(play.renewed() == 0, "nobody has the rest");
    let report = play.end();
    assert!(bug.is_some() || 2 <= report.renewed, "both are dropped");
    report
}

/// A replica that was dropped has writes that no other has and no log names, and another record of
/// it is damaged before it has heard which lives are closed. It cannot close them now, and must be
/// dropped again; before that the others must have the rest of it.
pub(super) fn a_bit_flips_before_a_replica_has_heard_of_a_closing(bug: Option<Bug>) -> Report {
    let mut play = begin(bug);
    let (damaged, others) = (3, [1, 2]);
    // What is written first is in no object any more.
    play.write(at(1));
    play.write(at(1));
    play.restart(1);
    play.all_learn();
    play.all_learn();
    play.expect(play.closed(2) == 1, "a life is closed");
    play.damage(damaged, 0);
    play.scrub(damaged);
    play.expect(play.renewed() == 1, "the others hold the rest");
    for other in others {
        play.cut(damaged, other);
    }
    for key in 1..KEYS {
        play.write(at(damaged).key(key).blind().alone());
        play.write(at(damaged).key(key).alone());
    }
    play.cut_log(damaged);
    play.cut_log(damaged);
    play.damage(damaged, 1);
    play.scrub(damaged);
    play.mend();
    play.expect(play.closed(damaged) == 0, "it has closed nothing");
    play.expect(play.renewed() == 1, "nobody has the rest");
    let report = play.end();
    assert!(bug.is_some() || report.renewed == 2, "it is dropped");
    report
}

/// Both replicas of two are dropped, one after the other, before the second has learned the list of
/// closed lives. What the first takes along names the list, which nobody else has any more.
pub(super) fn the_only_two_replicas_are_dropped_after_a_closing(bug: Option<Bug>) -> Report {
    let mut play = dropped_after_a_closing(bug);
    play.learn(2, 1);
    play.expect(play.renewed() == 2, "the second holds nearly all the rest");
    play.expect(play.closed(2) == 0, "and has closed nothing");
    play.end()
}

/// The same, and then their processes end: no clock has that list any more, and no memory. A disk
/// is emptied, and on it a client writes whose token names the list.
pub(super) fn a_token_names_a_list_that_is_in_no_clock_any_more(bug: Option<Bug>) -> Report {
    let mut play = dropped_after_a_closing(bug);
    play.learn(2, 1);
    play.learn(1, 2);
    play.restart(1);
    play.expect(play.renewed() == 2, "both are dropped");
    play.expect(
        play.closed(1) + play.closed(2) == 0,
        "no clock has the list",
    );
    play.wipe(2);
    play.start(2);
    play.cut(1, 2);
    play.write(at(1).by(1).blind().alone());
    play.write(at(2).by(LATE).alone());
    play.restart(2);
    play.end()
}

/// What was overwritten lies at one replica, and at the other nothing but the name of a list says
/// so. Both are dropped before they have compared: that one has the name must not be forgotten when
/// it is believed again.
pub(super) fn only_the_name_of_a_list_tells_what_was_overwritten(bug: Option<Bug>) -> Report {
    let mut play = after_a_closing(bug);
    play.cut(1, 2);
    play.write(at(2).by(LATE).alone());
    play.mend();
    drop_before_the_list_is_learned(&mut play);
    play.cut(1, 2);
    play.write(at(1).by(1).blind().alone());
    play.mend();
    play.learn(2, 1);
    play.learn(2, 1);
    play.expect(play.renewed() == 2, "both are dropped");
    play.expect(
        play.closed(1) + play.closed(2) == 0,
        "no clock has the list",
    );
    play.learn(1, 2);
    play.end()
}

/// Who reads after a closing, and writes long after that.
const LATE: usize = 3;

/// A life is closed at both replicas of two, and [`LATE`] has a token that names the list. The
/// second has been dropped and not learned the list, the first wants to be, and each has a write of
/// its own.
fn dropped_after_a_closing(bug: Option<Bug>) -> Play {
    let mut play = after_a_closing(bug);
    drop_before_the_list_is_learned(&mut play);
    play.cut(1, 2);
    for (node, client) in [(1, 1), (2, 2)] {
        play.write(at(node).by(client).blind().alone());
    }
    play.mend();
    play
}

/// A life is closed at both replicas of two, and [`LATE`] has a token that names the list.
fn after_a_closing(bug: Option<Bug>) -> Play {
    let mut play = Play::of(2, &[Bucket::Siblings; KEYS as usize], bug);
    for key in 0..KEYS {
        // What is written first is in no object any more.
        play.write(at(1).key(key));
        play.write(at(1).key(key));
    }
    play.restart(1);
    play.all_learn();
    play.all_learn();
    play.expect(play.closed(1) == 1, "a life is closed");
    play.read(at(1).by(LATE));
    play
}

/// The second of two replicas is dropped, and one record of the first is damaged, so that the
/// second cannot learn its list.
fn drop_before_the_list_is_learned(play: &mut Play) {
    play.damage(2, 1);
    play.scrub(2);
    play.expect(play.renewed() == 1, "the first holds the rest");
    play.damage(1, KEYS - 1);
    play.begin_to_learn(2, 1);
    play.wait_for_range();
}

/// One of two replicas has merged what the other can read, says so, and is emptied before the other
/// has asked whether it may be dropped. What the life before held is gone.
pub(super) fn a_disk_is_emptied_after_it_said_what_it_holds(bug: Option<Bug>) -> Report {
    let mut play = Play::of(2, &[Bucket::Siblings; KEYS as usize], bug);
    play.cut(1, 2);
    for key in 0..KEYS {
        // What is written first is in no object any more.
        play.write(at(1).key(key).blind().alone());
        play.write(at(1).key(key).alone());
    }
    play.cut_log(1);
    play.cut_log(1);
    play.damage(1, 0);
    play.mend();
    play.begin_to_learn(2, 1);
    play.wait_for_copy(2, KEYS - 1);
    play.hold(1, 2);
    play.wait();
    play.wipe(2);
    play.start(2);
    let held = play.release();
    play.expect(0 < held, "it is asked");
    play.expect(play.renewed() == 0, "it holds nothing any more");
    play.end()
}

/// One of two replicas has a damaged object and is dropped, because the other promises to hold the
/// rest. The clock record of that one and its list of closed lives are damaged, and it restarts.
pub(super) fn who_promises_cannot_be_opened_again(bug: Option<Bug>) -> Report {
    let mut play = Play::of(2, &[Bucket::Siblings; KEYS as usize], bug);
    for key in 0..KEYS {
        play.write(at(1).key(key));
    }
    play.restart(1);
    play.all_learn();
    play.all_learn();
    play.expect(play.closed(1) == 1, "a life is closed");
    play.damage_closed(1);
    play.damage_clock(1);
    play.damage(2, 0);
    play.scrub(2);
    play.expect(play.renewed() == 1, "it is dropped");
    play.restart(1);
    play.expect(play.closed(1) == 1, "and the other can be opened");
    play.end()
}

fn damage_two_that_need_each_other(play: &mut Play) {
    for key in 0..KEYS {
        play.write(at(1).key(key));
    }
    play.all_learn();
    play.damage(1, 0);
    play.damage(2, 1);
    play.scrub(1);
    play.scrub(2);
}

/// Two of five replicas have a damaged clock record, so that they cannot be opened, and a third one
/// a damaged object. Each waits for the others, and one must go first.
pub(super) fn clock_records_are_damaged_at_two_and_an_object_at_a_third(
    bug: Option<Bug>,
) -> Report {
    let mut play = Play::of(5, &[Bucket::Siblings; KEYS as usize], bug);
    for key in 0..KEYS {
        play.write(at(1).key(key));
    }
    play.all_learn();
    for (one, other) in (1..=5).flat_map(|one| (1..one).map(move |other| (one, other))) {
        play.cut(one, other);
    }
    for node in [1, 2] {
        play.damage_clock(node);
        play.restart(node);
    }
    play.damage(3, 0);
    play.scrub(3);
    play.mend();
    play.expect(play.renewed() == 0, "nobody could be asked");
    let report = play.end();
    assert!(
        bug.is_some() || report.renewed == 3,
        "all three are dropped"
    );
    report
}

/// One of five replicas has begun anew and merged nobody yet when two others have a damaged clock
/// record, so that they cannot be opened, and the log of a fourth a damaged entry. Those who hold
/// something are too few to fill one that has lost its disk; but the first had lost nothing.
pub(super) fn clock_records_are_damaged_at_two_while_a_third_begins_anew(
    bug: Option<Bug>,
) -> Report {
    let mut play = Play::of(5, &[Bucket::Siblings; KEYS as usize], bug);
    let (anew, unread) = (5, 4);
    for key in 0..KEYS {
        play.write(at(1).key(key));
    }
    play.all_learn();
    play.write(at(unread).key(1));
    play.damage(anew, 0);
    play.scrub(anew);
    play.expect(play.renewed() == 1, "the others hold all of it");
    for (one, other) in (1..=5).flat_map(|one| (1..one).map(move |other| (one, other))) {
        play.cut(one, other);
    }
    for node in [2, 3] {
        play.damage_clock(node);
        play.restart(node);
    }
    play.damage_log(unread, 1);
    play.scrub(unread);
    play.mend();
    play.expect(play.renewed() == 1, "nobody could be asked");
    let report = play.end();
    assert!(
        bug.is_some() || report.renewed == 4,
        "all but one are dropped"
    );
    report
}

/// Two of three have the last value of a key, and at one of them a bit flips in it. That one is
/// dropped, for the third holds the rest; but it has lost the value, and must not be believed when
/// it has merged the third alone.
fn a_value_that_two_have_is_damaged(bug: Option<Bug>) -> Play {
    let mut play = begin(bug);
    for key in 0..KEYS {
        play.write(at(1).key(key));
    }
    play.all_learn();
    play.cut(1, 3);
    play.cut(2, 3);
    play.write(at(1));
    play.mend();
    play.cut(2, 3);
    play.damage(1, 0);
    play.scrub(1);
    play.expect(play.renewed() == 1, "the others hold the rest");
    play.cut(1, 2);
    play.learn(1, 3);
    play
}

/// A read must not take the two for a quorum that have not seen the value.
pub(super) fn a_value_is_read_after_one_of_its_two_was_damaged(bug: Option<Bug>) -> Report {
    let mut play = a_value_that_two_have_is_damaged(bug);
    let read = play.begin(at(3).by(2), Kind::Read);
    let outcome = play.finish(read);
    play.expect(
        outcome != Outcome::Done,
        "the one that is left is out of reach",
    );
    play.end()
}

/// The other of them loses its disk then.
pub(super) fn a_value_is_lost_at_one_of_its_two_and_damaged_at_the_other(
    bug: Option<Bug>,
) -> Report {
    let mut play = a_value_that_two_have_is_damaged(bug);
    play.wipe(2);
    play.start(2);
    play.end()
}

/// Three of five deleted what one of them and two others have. One that never had it goes through
/// all keys of the first, which has a damaged record, and holds what it met there, but cannot hand
/// it on, and no log names the delete. The first is dropped then: what it has of the delete is with
/// too few to be believed when it has merged those who lack it.
pub(super) fn a_delete_is_met_by_one_that_cannot_hand_it_on(bug: Option<Bug>) -> Report {
    let mut play = Play::of(5, &[Bucket::Siblings; KEYS as usize], bug);
    let (dropped, deleted, met, with) = (1, [1, 2, 3], 4, 5);
    for key in 1..KEYS {
        play.write(at(dropped).key(key));
    }
    play.all_learn();
    for other in [1, 2, 3, with] {
        play.cut(met, other);
    }
    play.write(at(dropped));
    play.wait();
    for other in deleted {
        play.cut(with, other);
    }
    play.read(at(dropped));
    play.delete(at(dropped));
    play.wait();
    for (one, other) in [(1, 2), (1, 3), (2, 1), (2, 3), (3, 1), (3, 2)] {
        play.learn(one, other);
    }
    play.cut_log(dropped);
    play.cut_log(dropped);
    play.damage(dropped, KEYS - 1);
    play.mend();
    for (one, other) in [(2, 4), (3, 4), (4, 5), (1, 5), (2, 5), (3, 5)] {
        play.cut(one, other);
    }
    play.learn(met, dropped);
    // It gives up on the one that does not answer, and tries again.
    for _ in 0..2 {
        play.scrub(dropped);
        for _ in 0..40 {
            play.wait();
        }
    }
    play.expect(play.renewed() == 1, "three others hold the rest");
    play.mend();
    for (one, other) in [(1, 2), (1, 3), (2, 4), (2, 5), (3, 4), (3, 5)] {
        play.cut(one, other);
    }
    play.learn(dropped, with);
    play.learn(dropped, met);
    play.learn(dropped, met);
    play.kill(2);
    play.kill(3);
    let read = play.begin(at(met).by(2), Kind::Read);
    let outcome = play.finish(read);
    play.expect(
        outcome != Outcome::Done,
        "those who know of the delete are away",
    );
    play.start(2);
    play.start(3);
    play.end()
}

/// Three of five have the last value of a key. One of them is put back to a backup, and a bit flips
/// in it at another. The first is filled from that one and from those that have not seen the value:
/// it must not be believed by that.
pub(super) fn a_suspect_is_filled_from_who_cannot_read_all(bug: Option<Bug>) -> Report {
    let mut play = Play::of(5, &[Bucket::Siblings; KEYS as usize], bug);
    let (unread, back, holder, without) = (1, 2, 3, [4, 5]);
    for key in 0..KEYS {
        play.write(at(unread).key(key));
    }
    play.all_learn();
    play.back_up(back);
    for (one, other) in [1, 2, 3]
        .into_iter()
        .flat_map(|one| without.map(|it| (one, it)))
    {
        play.cut(one, other);
    }
    play.write(at(unread));
    play.wait();
    play.kill(back);
    play.restore(back);
    play.start(back);
    play.damage(unread, 0);
    play.mend();
    for other in [1, 2, 4, 5] {
        play.cut(holder, other);
    }
    for other in without {
        play.cut(unread, other);
    }
    for other in [unread, 4, 5] {
        play.learn(back, other);
    }
    play.kill(holder);
    let read = play.begin(at(4).by(2), Kind::Read);
    let outcome = play.finish(read);
    play.expect(
        outcome != Outcome::Done,
        "two of those that are left may lack it",
    );
    play.start(holder);
    play.end()
}

/// A partition whose clock record is damaged cannot be opened. Nothing of it is dropped before the
/// others can be asked.
pub(super) fn a_clock_record_is_damaged_while_all_others_are_away(bug: Option<Bug>) -> Report {
    let mut play = begin(bug);
    for key in 0..KEYS {
        play.write(at(1).key(key));
    }
    play.all_learn();
    play.damage_clock(1);
    play.cut(1, 2);
    play.cut(1, 3);
    play.restart(1);
    play.look_after(1);
    play.expect(play.renewed() == 0, "nobody can fill it");
    play.mend();
    play.look_after(1);
    play.expect(play.renewed() == 1, "the others can");
    play.end()
}
