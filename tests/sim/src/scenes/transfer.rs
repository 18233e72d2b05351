//! These are scenes of full transfers: what happens at the sender while one is under way.

use crate::bug::Bug;
use crate::report::Report;
use crate::table::Bucket;
use crate::world::play::{Play, at};

/// While a full transfer goes on, its sender forgets a deleted key, for all its dots have come
/// under the base. The receiver sees the delete in the clock of the first range and the key in no
/// range. What the sender has seen since must be repaired before the join: the third replica, which
/// has not heard of the delete, still hands the value on.
pub(super) fn a_key_that_the_sender_forgets(bug: Option<Bug>) -> Report {
    let (sender, receiver, writer, deleted) = (1, 2, 3, 2);
    let mut play = Play::new(&[Bucket::Siblings; 3], bug);
    play.write(at(writer).key(0));
    play.write(at(writer).key(1));
    play.all_learn();
    play.cut(sender, writer);
    play.cut(sender, receiver);
    play.cut(receiver, writer);
    // The client deletes at another replica than the one that took its write.
    play.write(at(writer).key(deleted).alone());
    play.delete(at(sender).key(deleted).alone());
    play.cut_log(sender);
    play.mend();
    play.cut(receiver, writer);
    play.begin_to_learn(receiver, sender);
    play.wait_for_range();
    play.hold(receiver, sender);
    let is_known = play.stored(sender, deleted).is_some();
    play.learn(sender, writer);
    let is_forgotten = play.stored(sender, deleted).is_none();
    play.expect(is_known && is_forgotten, "the sender forgets the key");
    let held = play.release();
    play.expect(0 < held, "the transfer had not ended");
    play.finish_learning(receiver);
    play.mend();
    play.learn(receiver, writer);
    play.end()
}

/// A full transfer breaks off, and its receiver, which has met a delete of a key that it had
/// compared by then, is united with a third replica that still holds the value. That must not come
/// back: the transfer that goes on is joined, and then it would stay.
pub(super) fn a_transfer_breaks_off_and_goes_on(bug: Option<Bug>) -> Report {
    let (receiver, other, sender, deleted) = (1, 2, 3, 0);
    let mut play = Play::new(&[Bucket::Siblings; 3], bug);
    half_way(&mut play, (sender, receiver, other));
    play.cut(sender, receiver);
    play.finish_learning(receiver);
    play.mend();
    play.cut(sender, other);
    play.learn(receiver, other);
    let regained = play.stored(receiver, deleted);
    let is_back = regained.is_some_and(|object| !object.versions.is_empty());
    play.expect(!is_back, "the value stays away");
    play.learn(receiver, sender);
    let is_gone = play.stored(receiver, deleted).is_none();
    play.expect(is_gone, "the delete is known");
    play.mend();
    play.all_learn();
    play.end()
}

/// The sender of a full transfer dies half-way, with a delete that nobody else had. The receiver
/// has met it, and with that its life closed it is as if it had lost the deleted value: but no disk
/// is at fault.
pub(super) fn a_delete_dies_half_way(bug: Option<Bug>) -> Report {
    let (receiver, other, sender, deleted) = (1, 2, 3, 0);
    let mut play = Play::new(&[Bucket::Siblings; 3], bug);
    half_way(&mut play, (sender, receiver, other));
    play.wipe(sender);
    play.mend();
    play.finish_learning(receiver);
    play.start(sender);
    play.learn(sender, other);
    play.learn(sender, receiver);
    play.cut(receiver, other);
    play.cut(receiver, sender);
    play.write(at(receiver).key(1).alone());
    play.mend();
    play.learn(receiver, other);
    play.learn(receiver, sender);
    play.expect(play.closed(receiver) == 1, "the life is closed");
    let is_absent = play.stored(receiver, deleted).is_none();
    play.expect(is_absent, "the value is deleted here");
    let is_there = play.stored(other, deleted).is_some();
    play.expect(is_there, "and there elsewhere");
    play.all_learn();
    play.all_learn();
    play.end()
}

/// A key is deleted at a sender alone, and a receiver comes past it in a full transfer.
fn half_way(play: &mut Play, (sender, receiver, other): (u64, u64, u64)) {
    for key in 0..3 {
        play.write(at(other).key(key));
    }
    play.all_learn();
    play.cut(sender, receiver);
    play.cut(sender, other);
    play.delete(at(sender).key(0).alone());
    play.cut_log(sender);
    play.mend();
    play.cut(sender, other);
    play.begin_to_learn(receiver, sender);
    play.wait_for_range();
    let met = play.stored(receiver, 0);
    let is_met = met.is_some_and(|object| object.versions.is_empty());
    play.expect(is_met, "the delete is met");
}
