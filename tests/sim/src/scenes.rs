//! These are the scenes: short plays of what is too rare a meeting for chance, or was once found
//! in some store and must never be found in this one. Each can be played with a bug planted.

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
pub const ALL: [Scene; 1] = [
    Scene {
        name: "a key that the sender forgets during a transfer",
        opposites: &[Bug::JoinStartClockAlone],
        play: transfer::a_key_that_the_sender_forgets,
    },
];
