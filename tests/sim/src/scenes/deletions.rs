//! These are scenes of buckets that die: what is left of them goes, and nothing else does.

use crate::bug::Bug;
use crate::history::{Kind, Outcome};
use crate::report::Report;
use crate::table::Bucket;
use crate::world::play::{Play, at};

const DEAD: Bucket = Bucket::LastWriter;

/// A replica is away while a bucket is written to, and hears of the writes when the bucket is dead:
/// from one that is swept, or not. It learns the dots without their objects, and hands them on;
/// the sums that differ meanwhile are nobody's loss.
pub(super) fn a_replica_missed_the_writes_of_a_bucket_that_died(bug: Option<Bug>) -> Report {
    let (living, dead) = (0, 1);
    let mut play = Play::new(&[Bucket::Siblings, DEAD], bug);
    let (writer, other, away) = (1, 2, 3);
    play.cut(away, writer);
    play.cut(away, other);
    play.write(at(writer).key(dead));
    play.write(at(writer).key(living));
    play.mend();
    play.purge(DEAD);
    play.all_adopt();
    play.learn(away, writer);
    play.learn(writer, away);
    play.learn(other, away);
    play.expect(play.stored(writer, dead).is_some(), "it is not swept yet");
    play.expect(play.stored(away, dead).is_none(), "it is not copied");
    play.sweep(writer);
    play.expect(play.stored(writer, dead).is_none(), "it is swept");
    play.all_learn();
    play.expect(play.stored(writer, dead).is_none(), "it is not copied back");
    play.all_sweep();
    play.all_learn();
    play.end()
}

/// A bucket dies, and its sender sweeps, between two ranges of a full transfer.
pub(super) fn a_bucket_dies_during_a_transfer(bug: Option<Bug>) -> Report {
    let buckets = [DEAD, DEAD, Bucket::Siblings, Bucket::Siblings];
    let mut play = Play::new(&buckets, bug);
    let (sender, other, receiver) = (1, 2, 3);
    play.cut(sender, receiver);
    play.cut(other, receiver);
    for key in 0..4 {
        play.write(at(sender).key(key));
    }
    play.cut_log(sender);
    play.mend();
    play.begin_to_learn(receiver, sender);
    play.wait_for_range();
    play.purge(DEAD);
    play.adopt(sender);
    play.sweep(sender);
    play.finish_learning(receiver);
    let waits = play.stored(receiver, 3).is_none();
    play.expect(waits, "what is told under a newer map is not used");
    play.all_adopt();
    play.all_learn();
    play.all_sweep();
    play.all_learn();
    play.end()
}

/// A replica is swept of a dead bucket, and one that does not know yet that it is dead asks it for
/// a key of it, or is asked by it. What is removed must not be told as nothing.
pub(super) fn a_dead_bucket_is_read_where_it_is_swept(bug: Option<Bug>) -> Report {
    let (dead, living) = (0, 1);
    let mut play = Play::new(&[DEAD, Bucket::Siblings], bug);
    let (late, swept, cut_off) = (1, 2, 3);
    play.write(at(late).key(dead));
    play.write(at(late).key(living));
    play.all_learn();
    play.cut(cut_off, late);
    play.cut(cut_off, swept);
    play.purge(DEAD);
    play.adopt(swept);
    play.sweep(swept);
    play.expect(play.stored(swept, dead).is_none(), "it is swept");
    for node in [late, swept] {
        let read = play.begin(at(node).key(dead), Kind::Read);
        let outcome = play.finish(read);
        play.expect(outcome != Outcome::Done, "one that is swept does not say");
    }
    play.expect(play.stored(late, dead).is_some(), "it stays where it was");
    play.mend();
    play.learn(late, cut_off);
    play.all_adopt();
    play.all_sweep();
    play.all_learn();
    play.end()
}

/// A process dies before a step of its sweep is synced, and goes on with it when it starts.
pub(super) fn a_process_dies_while_it_sweeps(bug: Option<Bug>) -> Report {
    let mut play = Play::new(&[DEAD, Bucket::Siblings], bug);
    play.write(at(1).key(0));
    play.write(at(1).key(1));
    play.all_learn();
    play.purge(DEAD);
    play.all_adopt();
    play.stall(2);
    play.sweep(2);
    let lost = play.cut_power(2);
    play.expect(0 < lost, "the sweep is not synced");
    play.release();
    play.start(2);
    play.expect(play.stored(2, 0).is_some(), "nothing of it is left");
    play.all_learn();
    play.all_sweep();
    play.all_learn();
    play.end()
}
