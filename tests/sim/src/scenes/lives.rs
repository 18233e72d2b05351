//! These are scenes of replicas that lose their memory and go on, after what Riak found under the
//! number kv679: a dot used twice names two writes, and one of them is lost without a sound.

use crate::bug::Bug;
use crate::history::{Kind, Outcome};
use crate::moment::SECOND;
use crate::report::Report;
use crate::table::Bucket;
use crate::world::play::{Play, at};

/// A coordinator loses its disk and takes a write at once. Were its dot the first one again, the
/// others would take the new write for the old one.
pub(super) fn an_emptied_disk_counts_anew(bug: Option<Bug>) -> Report {
    let mut play = Play::new(&[Bucket::Siblings], bug);
    play.write(at(1));
    play.all_learn();
    play.wipe(1);
    play.start(1);
    play.write(at(1).by(1).blind());
    play.end()
}

/// A directory is put back to the copy of yesterday, and with the only other holder of today's
/// write out of reach its owner is asked for it.
pub(super) fn a_directory_is_put_back(bug: Option<Bug>) -> Report {
    let mut play = Play::new(&[Bucket::Siblings], bug);
    play.write(at(1));
    play.all_learn();
    play.back_up(1);
    play.cut(1, 3);
    play.cut(2, 3);
    play.write(at(1));
    play.mend();
    play.restore(1);
    play.cut(1, 2);
    play.cut(2, 3);
    play.start(1);
    play.learn(1, 3);
    let read = play.begin(at(3).by(1), Kind::Read);
    let outcome = play.finish(read);
    play.expect(outcome == Outcome::Failed, "there is no quorum");
    play.end()
}

/// A write quorum of five has a value. Two of it lose their disks, and the third is out of reach:
/// what one of the two says to the other must not make it believe that there is nothing.
pub(super) fn two_of_a_write_quorum_lose_their_disks(bug: Option<Bug>) -> Report {
    let mut play = Play::of(5, &[Bucket::Siblings], bug);
    let (emptied, last, without) = ([1, 2], 3, [4, 5]);
    for holder in [1, 2, last] {
        for node in without {
            play.cut(holder, node);
        }
    }
    play.write(at(last));
    play.expect(play.stored(1, 0).is_some(), "three have it");
    for node in emptied {
        play.wipe(node);
    }
    play.mend();
    for node in emptied.into_iter().chain(without) {
        play.cut(last, node);
    }
    for node in emptied {
        play.start(node);
    }
    for node in emptied {
        for other in emptied.into_iter().chain(without) {
            if other != node {
                play.learn(node, other);
            }
        }
    }
    let read = play.begin(at(emptied[0]).by(1), Kind::Read);
    let outcome = play.finish(read);
    play.expect(outcome != Outcome::Done, "there is no quorum");
    play.end()
}

/// A node loses its disk, its wall clock goes back, and its next life begins and writes in the very
/// second in which the one before did: what tells the two apart must not be the time.
pub(super) fn two_lives_begin_in_the_same_second(bug: Option<Bug>) -> Report {
    let mut play = Play::new(&[Bucket::LastWriter, Bucket::Siblings], bug);
    let second = play.clock(1) / SECOND * SECOND;
    for client in 0..2 {
        play.set_clock(1, second);
        for key in 0..2 {
            play.write(at(1).key(key).by(client).blind());
        }
        let is_same = play.clock(1) / SECOND * SECOND == second;
        play.expect(is_same, "it is the same second");
        if client == 0 {
            play.wipe(1);
            play.set_clock(1, second);
            play.start(1);
        }
    }
    play.read(at(2));
    play.end()
}

/// A directory is put back, and a client brings a token that names a later dot of its owner than
/// the owner knows. In Riak it was a fallback that knew the higher dot.
pub(super) fn others_know_a_higher_dot(bug: Option<Bug>) -> Report {
    let mut play = Play::new(&[Bucket::Siblings], bug);
    play.write(at(1));
    play.back_up(1);
    play.write(at(1));
    play.all_learn();
    play.restore(1);
    play.start(1);
    play.write(at(1));
    play.end()
}

/// The doomstone: a delete comes to replicas that do not have yet what it deletes. Were its
/// tombstone dropped before the base has passed all of that, the old write would return.
pub(super) fn an_old_write_comes_after_its_tombstone(bug: Option<Bug>) -> Report {
    let mut play = Play::new(&[Bucket::Siblings], bug);
    play.hold(3, 1);
    play.hold(3, 2);
    play.write(at(3).alone());
    play.delete(at(1).alone());
    play.wait();
    play.expect(play.stored(1, 0).is_some(), "the delete is remembered");
    let held = play.release();
    play.expect(2 <= held, "the write comes after the delete");
    play.all_learn();
    play.expect(play.stored(1, 0).is_none(), "the tombstone is dropped");
    play.end()
}

/// The doomstone, the other way: the tombstone of an old delete waits at one replica when the key
/// is written anew by a coordinator that has lost its disk since. The old delete must not take the
/// new write with it.
pub(super) fn a_new_write_meets_an_old_tombstone(bug: Option<Bug>) -> Report {
    let mut play = Play::new(&[Bucket::Siblings; 2], bug);
    play.write(at(1).key(0));
    play.all_learn();
    play.cut(1, 3);
    play.write(at(1).key(1));
    // The delete comes to the third replica, which lacks the write before it.
    play.mend();
    play.delete(at(1).key(0));
    play.wait();
    play.expect(play.stored(1, 0).is_none(), "one drops the tombstone");
    play.expect(play.stored(3, 0).is_some(), "and one keeps it");
    play.cut(1, 3);
    play.cut(2, 3);
    play.wipe(1);
    play.start(1);
    play.write(at(1).key(0).by(1).blind());
    play.mend();
    play.learn(1, 3);
    play.end()
}

/// A replica drops its partition, for a record is damaged, and its process dies before it hears
/// that this is done. The write in that record is gone, for nobody else had it, and the gap under
/// a later one stays: what waits for it is no leftover. (Found by a seed whose end was taken for a
/// fault.)
pub(super) fn a_process_dies_as_it_drops_a_partition(bug: Option<Bug>) -> Report {
    let mut play = Play::new(&[Bucket::Siblings; 3], bug);
    play.write(at(1).key(0));
    play.all_learn();
    play.cut(1, 2);
    play.cut(1, 3);
    play.write(at(1).key(1).alone());
    play.mend();
    play.write(at(1).key(2));
    play.wait();
    play.stall(1);
    play.damage(1, 1);
    play.scrub(1);
    let unheard = play.kill(1);
    play.release();
    play.start(1);
    let is_gone = (0..3).all(|key| play.stored(1, key).is_none());
    play.expect(unheard == 1 && is_gone, "the drop came through");
    play.end()
}
