//! These are scenes of a policy whose versions are swapped, answer as no policy may, or fail.

use crate::bug::Bug;
use crate::history::{Kind, Outcome};
use crate::policy::Manner;
use crate::report::Report;
use crate::table::Bucket;
use crate::world::play::{Play, at};

/// Two nodes know of two versions, of which one lets the first writer win and the other the last.
/// Each has what the other keeps: nothing of it may go before one of them writes.
pub(super) fn two_nodes_know_of_two_versions(bug: Option<Bug>) -> Report {
    let manners = [Manner::FirstWins, Manner::LastWins];
    let mut play = Play::governed(&manners, &[Bucket::Policy], bug);
    play.cut(1, 2);
    play.cut(1, 3);
    play.cut(2, 3);
    let first = play.write(at(1).blind().alone());
    let second = play.write(at(2).by(1).blind().alone());
    play.activate(1);
    play.adopt(2);
    play.adopt(3);
    play.mend();
    play.begin_to_learn(1, 2);
    play.begin_to_learn(2, 1);
    play.finish_learning(1);
    play.finish_learning(2);
    play.all_learn();
    let found = play.read(at(3));
    play.expect(found.contains(&first), "the first is there");
    play.expect(found.contains(&second), "and the second");
    play.cut(1, 2);
    play.write(at(1).by(2).blind().alone());
    play.write(at(2).by(3).blind().alone());
    play.mend();
    play.all_learn();
    play.all_adopt();
    play.end()
}

/// A version fails again and again. All siblings are kept, and it is put in quarantine by one map:
/// who has heard of it asks it no more.
pub(super) fn a_policy_fails_too_often(bug: Option<Bug>) -> Report {
    let manners = [Manner::Traps, Manner::Unites];
    let mut play = Play::governed(&manners, &[Bucket::Policy], bug);
    for client in 0..6 {
        let node = 1 + client as u64 % 2;
        play.write(at(node).by(client).blind());
    }
    play.expect(play.asked() == 5, "it is asked once there are siblings");
    let complaints = play.hear_complaints();
    play.expect(complaints == 5, "the authority is told");
    play.adopt(1);
    play.write(at(1).by(6).blind());
    play.expect(play.asked() == 5, "it is asked no more there");
    play.write(at(2).by(7).blind());
    play.expect(play.asked() == 6, "only where that is not known yet");
    play.all_adopt();
    let found = play.read(at(3));
    play.expect(found.len() == 8, "and all siblings are kept");
    play.activate(1);
    play.all_adopt();
    play.write(at(3).by(8).blind());
    let stored = play.stored(3, 0);
    play.expect(
        stored.is_some_and(|key| key.versions.len() == 1),
        "until another version takes over",
    );
    play.end()
}

/// It is said that a version failed when another one is in force already, which nobody has seen
/// fail.
pub(super) fn complaints_come_late(bug: Option<Bug>) -> Report {
    let manners = [Manner::Traps, Manner::LastWins];
    let mut play = Play::governed(&manners, &[Bucket::Policy], bug);
    for client in 0..6 {
        play.write(at(1).by(client).blind());
    }
    play.activate(1);
    play.all_adopt();
    let complaints = play.hear_complaints();
    play.expect(complaints == 5, "they come late");
    play.all_adopt();
    let last = play.write(at(2).by(6).blind());
    let found = play.read(at(2));
    play.expect(found.into_iter().eq([last]), "the new version is asked");
    play.end()
}

/// A node is away while versions are swapped, and one hears of it late: each asks what it has heard
/// of, and who comes back has heard of the newest, and asks nothing until it has that.
pub(super) fn a_node_is_away_while_versions_are_swapped(bug: Option<Bug>) -> Report {
    let manners = [Manner::Buries, Manner::Traps, Manner::LastWins];
    let mut play = Play::governed(&manners, &[Bucket::Policy; 3], bug);
    for key in 0..2 {
        play.write(at(1).key(key).blind());
    }
    play.kill(3);
    play.activate(1);
    play.activate(2);
    play.adopt(2);
    let last = play.write(at(2).key(0).by(1).blind());
    play.start(3);
    play.all_learn();
    let found = play.read(at(3).key(0));
    play.expect(found.into_iter().eq([last]), "the newest version won");
    let asked = play.asked();
    play.write(at(3).key(2).blind());
    play.write(at(3).key(2).by(1).blind());
    play.expect(play.asked() == asked, "siblings stay until it is there");
    play.fetch(3);
    let last = play.write(at(3).key(1).by(1).blind());
    let found = play.read(at(2).key(1));
    play.expect(found.into_iter().eq([last]), "and wins at who was away");
    play.write(at(1).key(1).by(2).blind());
    let found = play.read(at(2).key(1));
    play.expect(found.is_empty(), "who has not heard of it buries yet");
    play.adopt(1);
    play.end()
}

/// A policy shows readers a value that nobody wrote. What is stored stays what was written.
pub(super) fn a_reader_is_shown_what_nobody_wrote(bug: Option<Bug>) -> Report {
    let mut play = Play::governed(&[Manner::Invents], &[Bucket::Policy], bug);
    play.cut(1, 2);
    play.cut(1, 3);
    play.cut(2, 3);
    for node in 1..=3 {
        let client = usize::try_from(node).unwrap_or(0);
        play.write(at(node).by(client).blind().alone());
    }
    play.mend();
    for node in 1..=3 {
        play.read(at(node));
    }
    play.expect(2 <= play.asked(), "readers are shown it");
    play.wait();
    let found = play.read(at(1));
    play.expect(found.len() == 3, "and all siblings are kept");
    play.end()
}

/// Two writes come at once. The policy has seen neither when it is asked about the other: what it
/// says of the second is of no use once the first is stored.
pub(super) fn siblings_move_while_the_policy_answers(bug: Option<Bug>) -> Report {
    let mut play = Play::governed(&[Manner::LastWins], &[Bucket::Policy], bug);
    play.write(at(1).blind());
    play.stall(1);
    // At one replica: what is late at a quorum would be minted again.
    let one = |client| at(1).by(client).blind().alone();
    let writes = [1, 2].map(|client| play.begin(one(client), Kind::Write));
    play.wait();
    play.expect(play.asked() == 2, "it is asked about both");
    play.release();
    for write in writes {
        let outcome = play.finish(write);
        play.expect(outcome == Outcome::Done, "both are done");
    }
    play.expect(play.asked() == 3, "and once more about one of them");
    play.end()
}
