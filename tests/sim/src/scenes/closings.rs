//! These are scenes of lives that end: what comes late around the closing of an actor.

use crate::bug::Bug;
use crate::history::{Kind, Outcome};
use crate::report::Report;
use crate::table::Bucket;
use crate::world::play::{Play, at};

/// What a replica sent before it had seen a value arrives when the value's life is closed. It says
/// nothing of that value, which must stay.
pub(super) fn a_message_from_before_a_closing(bug: Option<Bug>) -> Report {
    let mut play = Play::new(&[Bucket::Siblings], bug);
    let (ended, early) = (3, 2);
    play.cut(early, ended);
    play.write(at(ended));
    play.hold(early, 1);
    play.hold(early, ended);
    play.write(at(early).by(1).blind().alone());
    play.pass(early, 1);
    play.pass(early, ended);
    play.mend();
    play.restart(ended);
    play.all_learn();
    play.all_learn();
    play.expect(play.closed(1) == 1 && play.closed(3) == 1, "it is closed");
    let held = play.release();
    play.expect(0 < held, "the message comes late");
    play.read(at(1).by(2));
    play.end()
}

/// A life of `ended` is being closed: what `late` says of it is on the way to the leader, who
/// decides by that.
fn before_it_is_decided((leader, ended, late): (u64, u64, u64), bug: Option<Bug>) -> Play {
    let mut play = Play::new(&[Bucket::Siblings], bug);
    play.write(at(ended));
    play.all_learn();
    play.restart(ended);
    play.learn(ended, leader);
    play.learn(leader, late);
    play.hold(late, leader);
    play.learn(leader, ended);
    play
}

/// A replica that has yet to hear of a closing reads what another has written since: of the value
/// that was superseded that says only that its life is closed.
pub(super) fn a_reader_that_has_not_heard_of_a_closing(bug: Option<Bug>) -> Report {
    let (leader, ended, late) = (1, 3, 2);
    let mut play = before_it_is_decided((leader, ended, late), bug);
    play.cut(leader, late);
    play.release();
    play.expect(
        play.closed(leader) == 1,
        "it is closed where it was decided",
    );
    play.expect(play.closed(late) == 0, "and one has not heard of it");
    play.read(at(leader));
    play.cut(ended, late);
    play.write(at(leader));
    play.mend();
    play.cut(leader, late);
    let read = play.begin(at(late).by(1), Kind::Read);
    let outcome = play.finish(read);
    play.expect(outcome != Outcome::Done, "it is not clear what is obsolete");
    play.end()
}

/// Who leads a closing is the only one that has closed when its disk is emptied, and in its next
/// life takes a write of a client that had heard of it. It no longer knows what the client names.
pub(super) fn a_leader_is_emptied_after_it_closed(bug: Option<Bug>) -> Report {
    let (leader, ended, late, told) = (1, 3, 2, 3);
    let mut play = before_it_is_decided((leader, ended, late), bug);
    play.cut(leader, late);
    play.cut(leader, ended);
    play.release();
    let closed = [leader, late, ended].map(|node| play.closed(node));
    play.expect(closed == [1, 0, 0], "it is closed where it was decided");
    let read = play.begin(at(leader).by(told).alone(), Kind::Read);
    let outcome = play.finish(read);
    play.expect(outcome == Outcome::Done, "its replica answers");
    play.wipe(leader);
    play.start(leader);
    play.write(at(late).by(1).blind());
    play.write(at(leader).by(told).alone());
    play.end()
}

/// A coordinator drops its partition, and what it had sent arrives while the life that it ended so
/// is being closed: all have said what they hold of that life, and none has it.
pub(super) fn a_write_comes_while_its_life_is_being_closed(bug: Option<Bug>) -> Report {
    let (leader, other, coordinator) = (1, 2, 3);
    let mut play = Play::new(&[Bucket::Siblings; 2], bug);
    play.write(at(coordinator).key(1));
    play.all_learn();
    play.hold(coordinator, leader);
    play.hold(coordinator, other);
    let write = play.begin(at(coordinator).blind(), Kind::Write);
    play.wait();
    play.pass(coordinator, leader);
    play.pass(coordinator, other);
    play.damage(coordinator, 0);
    play.scrub(coordinator);
    play.wait();
    play.expect(play.renewed() == 1, "it is dropped");
    play.learn(coordinator, leader);
    play.learn(coordinator, other);
    play.hold(other, leader);
    play.learn(leader, coordinator);
    let arrived = play.let_through(coordinator, leader) + play.let_through(coordinator, other);
    play.expect(2 <= arrived, "the write comes");
    let answered = play.let_through(other, leader);
    play.expect(0 < answered, "the last one says what it holds");
    play.expect(play.closed(leader) == 1, "it is closed");
    let outcome = play.finish(write);
    play.expect(outcome == Outcome::Unknown, "nobody took the write");
    play.read(at(coordinator).by(1));
    play.end()
}

/// A coordinator drops its partition, and is whole again, before the write that it had stored is
/// acknowledged by anyone else. It does not have that write any more.
pub(super) fn a_coordinator_drops_its_partition(bug: Option<Bug>) -> Report {
    let mut play = Play::new(&[Bucket::Siblings], bug);
    let (coordinator, other, silent) = (1, 2, 3);
    play.hold(coordinator, other);
    play.cut(coordinator, silent);
    let write = play.begin(at(coordinator).blind(), Kind::Write);
    play.wait();
    play.pass(coordinator, other);
    play.mend();
    play.damage(coordinator, 0);
    play.scrub(coordinator);
    play.wait();
    play.expect(play.renewed() == 1, "it is dropped");
    play.learn(coordinator, other);
    play.learn(coordinator, silent);
    play.expect(play.stored(coordinator, 0).is_none(), "the write is gone");
    let held = play.release();
    play.expect(0 < held, "it reaches another replica");
    let outcome = play.finish(write);
    play.expect(outcome == Outcome::Unknown, "one replica is not enough");
    play.wipe(other);
    play.start(other);
    play.end()
}
