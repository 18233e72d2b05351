//! This is what a run has to say: what broke, how much was done, and its digest.

use crate::digest::Digest;
use crate::history::History;
use crate::moment::Moment;
use crate::table::KeyId;
use soros_core::id::NodeId;
use soros_core::place::Place;
use std::collections::{BTreeMap, BTreeSet};

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Acknowledged writes are gone, and nobody who had seen them wrote since.
    Lost {
        /// The key.
        key: KeyId,
        /// The writes.
        writes: BTreeSet<u32>,
    },
    /// A value is there that nobody wrote, or whose write is said to have failed.
    Phantom {
        /// The key.
        key: KeyId,
        /// The writes.
        writes: BTreeSet<u32>,
    },
    /// A value is there although a write that had seen it was acknowledged.
    Resurrected {
        /// The key.
        key: KeyId,
        /// The writes.
        writes: BTreeSet<u32>,
    },
    /// A quorum read missed what had been acknowledged before it began.
    Stale {
        /// The key.
        key: KeyId,
        /// The read.
        read: u32,
        /// What it missed.
        missed: BTreeSet<u32>,
    },
    /// A quorum read found what an acknowledged write had superseded before it began.
    Outdated {
        /// The key.
        key: KeyId,
        /// The read.
        read: u32,
        /// What it should not have found.
        found: BTreeSet<u32>,
    },
    /// A write that was acknowledged before another began wins over it.
    Overtaken {
        /// The key.
        key: KeyId,
        /// The write that wins.
        winner: u32,
        /// One that began after it was acknowledged, and was acknowledged.
        later: u32,
    },
    /// Replicas of a partition differ after heal and quiet.
    Diverged {
        /// The partition.
        place: Place,
    },
    /// The cluster does not come to rest after heal.
    Restless {
        /// When it was given up.
        at: Moment,
    },
    /// The sum or the counts of a replica are not those of its objects.
    Miscounted {
        /// The replica.
        node: NodeId,
        /// The partition.
        place: Place,
    },
    /// Something is left on a disk that nobody needs after heal and quiet.
    LeftOver {
        /// The replica.
        node: NodeId,
        /// What it is.
        what: LeftOver,
    },
    /// A cluster that is whole again does not serve.
    Unserved {
        /// The key.
        key: KeyId,
    },
    /// Equal clocks had unequal sums though no record was lost.
    FalseAlarm {
        /// The partition.
        place: Place,
    },
    /// A node asked a version of the policy that is not in force by what it has heard of, or one in
    /// quarantine.
    OutOfForce {
        /// The node.
        node: NodeId,
    },
    /// A version of the policy was put out of force, or in quarantine, that has not failed.
    Unjust {
        /// Which.
        version: usize,
    },
    /// Siblings are there although what the policy made of them was acknowledged.
    Leaked {
        /// The key.
        key: KeyId,
    },
}

/// What may be left on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftOver {
    /// An object of tombstones only.
    Tombstone,
    /// Entries of a stored context.
    Context,
    /// An entry of the index of unstripped objects.
    Unstripped,
    /// An entry of the dot log.
    Log,
    /// A record of an earlier generation.
    Generation,
    /// A gap in a clock.
    Gap,
    /// An actor that has ended and is not closed.
    Actor,
    /// An object of a dead bucket.
    Bucket,
}

/// What was done to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Harm {
    /// A process was killed, with what its disk had not synced.
    Crash,
    /// A disk was wiped.
    Wipe,
    /// A disk was put back to an older day.
    Restore,
    /// A record was damaged.
    Damage,
    /// A record was damaged at each of two replicas of a partition.
    DamageTwo,
    /// Nodes were cut off from others, one way or both.
    Cut,
    /// Frames were lost, repeated and late more than usual.
    Storm,
    /// A process came up with a wall clock that had jumped, back to the right time perhaps.
    ClockJump,
    /// A wall clock was set under a running process.
    ClockStep,
    /// A process came up with a wrong wall clock, and was cut off after the others had told it.
    Astray,
    /// The dot log was cut before all had seen what it names.
    LogCut,
    /// A process was killed, with what it had answered and its disk had not synced.
    Tail,
    /// A bucket was deleted.
    Purge,
    /// Of the nodes that alone had the last writes, all but one lost their disks, and that one was
    /// cut off.
    Orphan,
}

/// What was done with the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deed {
    /// A version came into force.
    Activated,
    /// The one before came back into force.
    RolledBack,
    /// A version failed on its probation, and the one before came back.
    Withdrawn,
    /// A version was put in quarantine.
    Quarantined,
    /// It was said of a version that it fails, and it was not in force any more.
    BlamedLate,
    /// A node that was away came up with another version than it had.
    Recalled,
    /// A version was asked.
    Asked,
    /// It was asked while not all nodes knew of the same one.
    AskedMixed,
    /// It failed.
    Failed,
    /// Its answer was stored.
    Stored,
}

/// A run's report.
#[derive(Clone, Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// The digest of all that happened.
    pub digest: Digest,
    /// The promises that were broken.
    pub faults: Vec<Fault>,
    /// The operations that were acknowledged.
    pub done: usize,
    /// The operations that may be done.
    pub unknown: usize,
    /// The operations that were certainly not done.
    pub failed: usize,
    /// What was done to the cluster, and how often.
    pub harms: BTreeMap<Harm, usize>,
    /// What was done with the policy, and how often.
    pub deeds: BTreeMap<Deed, usize>,
    /// What was planned and could not be done.
    pub unfired: usize,
    /// Partitions that were dropped because of damage.
    pub renewed: usize,
    /// Full transfers that were joined.
    pub transfers: usize,
    /// Actors that were closed.
    pub closed: usize,
    /// How often equal clocks had unequal sums.
    pub sum_alarms: usize,
    /// The events of the run.
    pub events: u64,
    /// What the clients did and were told.
    pub history: History,
}

/// The least number of acknowledged operations of a run that shows anything.
pub const DONE_MIN: usize = 20;

impl Fault {
    /// The key that it is about, if it is about one.
    #[must_use]
    pub fn key(&self) -> Option<KeyId> {
        match self {
            Fault::Lost { key, .. }
            | Fault::Phantom { key, .. }
            | Fault::Resurrected { key, .. }
            | Fault::Stale { key, .. }
            | Fault::Outdated { key, .. }
            | Fault::Overtaken { key, .. }
            | Fault::Leaked { key }
            | Fault::Unserved { key } => Some(*key),
            Fault::Diverged { .. }
            | Fault::Restless { .. }
            | Fault::Miscounted { .. }
            | Fault::LeftOver { .. }
            | Fault::OutOfForce { .. }
            | Fault::Unjust { .. }
            | Fault::FalseAlarm { .. } => None,
        }
    }
}

impl Report {
    /// Whether nothing broke.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.faults.is_empty()
    }

    /// Whether enough happened for soundness to mean something.
    #[must_use]
    pub fn is_eventful(&self) -> bool {
        let fired: usize = self.harms.values().sum();
        DONE_MIN <= self.done && 1 <= fired && self.unfired <= fired
    }
}
