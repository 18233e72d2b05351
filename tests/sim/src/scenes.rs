//! These are the scenes: short plays of what is too rare a meeting for chance, or was once found
//! in some store and must never be found in this one. Each can be played with a bug planted.

mod lives;
mod transfer;

use crate::bug::Bug;
use crate::report::Report;

/// A scene.
pub struct Scene {
    /// What it is called.
    pub name: &'static str,
    /// The bugs that must be found in it.
    pub opposites: &'static [Bug],
    play: fn(Option<Bug>) -> Report,
}

impl Scene {
    /// Plays it, with a bug planted or none.
    ///
    /// # Panics
    /// When it does not go as it is told, and no bug is planted.
    #[must_use]
    pub fn play(&self, bug: Option<Bug>) -> Report {
        (self.play)(bug)
    }
}

/// All scenes.
pub const ALL: [Scene; 7] = [
    Scene {
        name: "a key that the sender forgets during a transfer",
        opposites: &[Bug::JoinStartClockAlone],
        play: transfer::a_key_that_the_sender_forgets,
    },
    Scene {
        name: "an emptied disk counts anew",
        opposites: &[Bug::SameActorAfterLoss],
        play: lives::an_emptied_disk_counts_anew,
    },
    Scene {
        name: "a directory is put back to a backup",
        opposites: &[Bug::RestoredIsTrusted],
        play: lives::a_directory_is_put_back,
    },
    Scene {
        name: "two lives begin in the same second",
        opposites: &[Bug::SameActorAfterLoss],
        play: lives::two_lives_begin_in_the_same_second,
    },
    Scene {
        name: "others know a higher dot of its own",
        opposites: &[Bug::SameActorAfterLoss],
        play: lives::others_know_a_higher_dot,
    },
    Scene {
        name: "an old write comes after its tombstone",
        opposites: &[Bug::TombstoneDroppedEarly],
        play: lives::an_old_write_comes_after_its_tombstone,
    },
    Scene {
        name: "a new write meets an old tombstone",
        opposites: &[Bug::SameActorAfterLoss],
        play: lives::a_new_write_meets_an_old_tombstone,
    },
];
