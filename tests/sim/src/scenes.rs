//! These are scenes: short plays of what is too rare a meeting for chance, or was found once and
//! must stay found. Each can be played with a bug planted.

use crate::bug::Bug;
use crate::report::Report;
use crate::table::Bucket;
use crate::world::play::{Play, at};

/// A scene, and what it is called.
pub type Scene = (&'static str, fn(Option<Bug>) -> Report);

/// All scenes.
pub const ALL: [Scene; 1] = [(
    "a key that the sender forgets during a transfer",
    a_key_that_the_sender_forgets_during_a_transfer,
)];

/// While a full transfer goes on, its sender forgets a deleted key, for all its dots have come
/// under the base. The receiver joins a clock that has seen the delete, and meets the value after.
#[must_use]
pub fn a_key_that_the_sender_forgets_during_a_transfer(bug: Option<Bug>) -> Report {
    let (sender, receiver, writer) = (1, 2, 3);
    let mut play = Play::new(3, &[Bucket::Siblings; 3], bug);
    play.write(at(writer).key(0).blind());
    play.all_compare();
    play.cut(sender, writer);
    play.cut(sender, receiver);
    play.cut(receiver, writer);
    // The client has read the value at the one replica that has it, and deletes it at another.
    play.write(at(writer).key(1).blind().alone());
    play.delete(at(sender).key(1).alone());
    play.cut_log(sender);
    play.mend();
    play.cut(receiver, writer);
    play.begin_to_learn(receiver, sender);
    play.hold(receiver, sender);
    play.wait_for_range();
    play.learn(sender, writer);
    play.release();
    play.finish_learning(receiver);
    play.mend();
    play.learn(receiver, writer);
    play.end()
}
