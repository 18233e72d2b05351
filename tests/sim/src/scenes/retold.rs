//! These are scenes retold: what others' tests have found in stores of this kind, Jepsen's above
//! all.

use crate::bug::Bug;
use crate::history::{Kind, Outcome};
use crate::report::Report;
use crate::table::Bucket;
use crate::world::play::{HOUR, Play, at};

/// Clients add elements to a set on all sides of a split. Where the last writer wins all but one of
/// them are lost; siblings keep them, and so does a resolver that unites them.
pub(super) fn elements_are_added_on_all_sides(bug: Option<Bug>) -> Report {
    let mut play = Play::new(&[Bucket::Siblings, Bucket::Union], bug);
    play.cut(1, 2);
    play.cut(2, 3);
    play.cut(1, 3);
    for client in 0..9 {
        for key in 0..2 {
            let node = 1 + client as u64 % 3;
            play.write(at(node).key(key).by(client).blind().alone());
        }
    }
    let is_apart = |node| {
        play.stored(node, 0)
            .is_some_and(|key| key.versions.len() == 3)
    };
    play.expect((1..=3).all(is_apart), "each side has its own alone");
    play.mend();
    play.all_learn();
    let found = play.read(at(1).key(0));
    play.expect(found.len() == 9, "none of the siblings is lost");
    play.end()
}

/// Copies of writes come late: deleted since, and forgotten by all, and by a process that has
/// restarted. They must not bring the values back.
pub(super) fn a_repair_comes_late(bug: Option<Bug>) -> Report {
    let mut play = Play::new(&[Bucket::Siblings; 2], bug);
    play.hold(1, 3);
    for key in 0..2 {
        play.write(at(1).key(key));
        play.delete(at(2).key(key));
        play.restart(1);
        play.learn(1, 2);
    }
    play.learn(3, 2);
    let is_forgotten = |key| (1..=3).all(|node| play.stored(node, key).is_none());
    play.expect((0..2).all(is_forgotten), "the deletes are forgotten");
    play.pass(1, 3);
    play.all_learn();
    play.all_learn();
    play.expect(play.closed(3) == 2, "and both lives that wrote are closed");
    play.restart(3);
    let held = play.release();
    play.expect(2 <= held, "what was written comes late");
    play.end()
}

/// One bit flips on one disk, and the store notices. The replica must not pass its loss off as
/// deletes, nor mint the dots again that it has forgotten.
pub(super) fn a_bit_flips_on_a_minority(bug: Option<Bug>) -> Report {
    let mut play = Play::new(&[Bucket::Siblings], bug);
    play.write(at(1));
    play.all_learn();
    play.damage(1, 0);
    play.scrub(1);
    play.learn(2, 1);
    play.write(at(1).by(1).blind());
    play.wait();
    let is_whole = play.stored(2, 0).is_some_and(|key| key.versions.len() == 2);
    play.expect(is_whole, "nothing of it is taken for deleted");
    let report = play.end();
    assert!(bug.is_some() || report.renewed == 1, "the flip is noticed");
    report
}

/// The power goes everywhere at once, in the middle of a write and just after another: what was
/// acknowledged had been synced.
pub(super) fn the_power_is_cut_everywhere(bug: Option<Bug>) -> Report {
    let mut play = Play::new(&[Bucket::Siblings; 2], bug);
    play.write(at(1).key(0));
    play.wait();
    for node in 1..=3 {
        play.stall(node);
    }
    let write = play.begin(at(1).key(1).blind(), Kind::Write);
    play.wait();
    let lost = play.cut_power(1);
    play.expect(lost == 1, "a batch is lost");
    play.cut_power(2);
    play.cut_power(3);
    let outcome = play.finish(write);
    play.expect(outcome == Outcome::Unknown, "it was not acknowledged");
    play.release();
    for node in 1..=3 {
        play.start(node);
    }
    play.end()
}

/// A batch is torn by a power cut, and the next process appends behind what is left of it. Neither
/// may the torn batch count in part, nor the next one be lost with it at the second cut.
pub(super) fn a_torn_tail_is_appended_to(bug: Option<Bug>) -> Report {
    let mut play = Play::new(&[Bucket::Siblings; 2], bug);
    play.stall(2);
    play.write(at(1).key(0));
    play.wait();
    let lost = play.cut_power(2);
    play.expect(lost == 1, "a batch is torn");
    play.release();
    play.start(2);
    play.expect(play.stored(2, 0).is_none(), "nothing is left of it");
    play.write(at(2).key(1).blind().alone());
    play.cut_power(2);
    play.start(2);
    play.expect(play.stored(2, 1).is_some(), "what was appended is there");
    play.end()
}

/// A coordinator hears nothing of the others: its client is told that the outcome is unknown, for
/// the write is stored, and tries again elsewhere. Both may be there, and neither may have failed.
pub(super) fn a_client_tries_again_what_is_unknown(bug: Option<Bug>) -> Report {
    let mut play = Play::new(&[Bucket::Siblings], bug);
    play.cut(1, 2);
    play.cut(1, 3);
    let first = play.begin(at(1).blind(), Kind::Write);
    let outcome = play.finish(first);
    play.expect(outcome == Outcome::Unknown, "it is not known");
    play.write(at(2).blind());
    play.mend();
    play.all_learn();
    let found = play.read(at(3));
    play.expect(found.contains(&first), "the first one is there, too");
    play.end()
}

/// A node that holds no replica forwards a write and hears nothing of it. Were it to ask another
/// replica, too, the write would be there twice, and its client, who knows of one, would delete
/// that one only.
pub(super) fn a_forwarded_write_is_not_heard_of(bug: Option<Bug>) -> Report {
    let (replica, router) = (1, 4);
    let mut play = Play::new(&[Bucket::Siblings], bug);
    play.hold(replica, router);
    let write = play.begin(at(router).blind(), Kind::Write);
    let outcome = play.finish(write);
    play.expect(outcome == Outcome::Unknown, "nothing is heard of it");
    if outcome != Outcome::Done {
        let found = play.read(at(2));
        play.expect(found.contains(&write), "it is done");
    }
    play.delete(at(2));
    let held = play.release();
    play.expect(0 < held, "there was an answer");
    play.end()
}

/// Two nodes start with wall clocks that are an hour ahead and an hour behind. They write nothing,
/// for the last write would lose against theirs or theirs against one before it; they still read.
/// With their clocks set right they write again, and the last write wins.
pub(super) fn wall_clocks_are_an_hour_off(bug: Option<Bug>) -> Report {
    let mut play = Play::new(&[Bucket::LastWriter], bug);
    let right = play.clock(2);
    for (node, says) in [(1, right + HOUR), (3, right - HOUR)] {
        play.set_clock(node, says);
        play.restart(node);
    }
    play.all_learn();
    let mut last = play.write(at(2).blind());
    for node in [1, 3] {
        let wrong = play.begin(at(node).by(1).blind(), Kind::Write);
        let outcome = play.finish(wrong);
        play.expect(outcome == Outcome::Failed, "a wrong clock writes nothing");
        last = play.write(at(4).by(2).blind());
        let found = play.read(at(node).by(3));
        play.expect(found.into_iter().eq([last]), "it reads the last write");
    }
    for node in [1, 3] {
        play.set_clock(node, play.clock(2));
        play.restart(node);
        play.all_learn();
        last = play.write(at(node).by(1).blind());
    }
    let found = play.read(at(2).by(3));
    play.expect(found.into_iter().eq([last]), "the last write wins");
    play.end()
}

/// Each of ninety-nine writers reads before the one before it has written: each overwrites what it
/// has read, and beside it stands the one write that it has not. Two writers who
/// know only their own last write leave two siblings as well, however often each of them writes.
pub(super) fn ninety_nine_writers_interleave(bug: Option<Bug>) -> Report {
    const WRITERS: usize = 99;
    let mut play = Play::new(&[Bucket::Siblings; 2], bug);
    let node = |writer: usize| 1 + writer as u64 % 3;
    for writer in 0..WRITERS {
        play.read(at(node(writer)).by(writer + 1));
        let reads = at(node(writer)).by(writer);
        play.write(if writer < 1 { reads.blind() } else { reads });
        let turns = at(node(writer)).key(1).by(usize::from(writer % 3 == 0));
        play.write(if writer < 2 { turns.blind() } else { turns });
    }
    play.all_learn();
    for key in 0..2 {
        let siblings = play.stored(1, key).map(|key| key.versions.len());
        play.expect(siblings == Some(2), "two siblings are left");
    }
    play.end()
}
