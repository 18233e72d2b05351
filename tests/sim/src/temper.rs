//! This is a seed's temper: which habits of the clients, the network and the disks it turns up.
//!
//! Each seed turns some up and leaves the others: a run with all of them hides what a few of them
//! would show (Groce and others, *Swarm Testing*, 2012).

use crate::random::Random;
use std::collections::BTreeSet;

/// What a seed can turn up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Habit {
    /// Dot logs are cut again and again, so that replicas must compare all keys.
    ShortLogs,
    /// A full transfer takes a range for each key, and long for each.
    LongTransfers,
    /// There are many keys.
    ManyKeys,
    /// Most writes are deletes.
    Deletes,
    /// Most operations ask for one replica only.
    Alone,
    /// Some nodes cannot speak to some others, and soon to others.
    Rifts,
    /// Nodes drop much of what they should send to other replicas at once.
    Sheds,
    /// Clients do not wait long.
    Busy,
    /// Clients stay with a key.
    Faithful,
    /// The last writes are left at one node that nobody reaches.
    Orphans,
    /// A full transfer under way draws harm to its two ends.
    Strikes,
    /// Nodes come up with a wrong clock, and nothing else is wrong: only many keys go with it, so
    /// that writes of one are far apart.
    WrongClocks,
}

const HABITS: [Habit; 11] = [
    Habit::ShortLogs,
    Habit::LongTransfers,
    Habit::ManyKeys,
    Habit::Deletes,
    Habit::Alone,
    Habit::Rifts,
    Habit::Sheds,
    Habit::Busy,
    Habit::Faithful,
    Habit::Orphans,
    Habit::Strikes,
];

/// How many of a thousand seeds turn a habit up.
const TURNED_UP: u64 = 500;
/// How many of a thousand seeds are about wrong clocks alone.
const ABOUT_CLOCKS: u64 = 60;

/// What a seed turns up.
#[derive(Clone, Debug)]
pub struct Temper(BTreeSet<Habit>);

impl Temper {
    /// The temper of a seed's stream of chance.
    pub fn new(random: &mut Random) -> Temper {
        if random.chance(ABOUT_CLOCKS) {
            return Temper(BTreeSet::from([Habit::WrongClocks, Habit::ManyKeys]));
        }
        let turned_up = HABITS.iter().filter(|_| random.chance(TURNED_UP));
        Temper(turned_up.copied().collect())
    }

    /// Whether a habit is turned up.
    #[must_use]
    pub fn has(&self, habit: Habit) -> bool {
        self.0.contains(&habit)
    }
}
