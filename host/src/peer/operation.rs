//! This is what is asked of a node's partitions, and what they answer.

use super::partitions::Renewal;
use crate::store::room::Room;
use soros_core::clock::Clock;
use soros_core::close::{self, Ask};
use soros_core::closed::{Closed, Closing};
use soros_core::dot::{Actor, Dot};
use soros_core::dot_set::DotSet;
use soros_core::id::{Generation, NodeId};
use soros_core::known::KnownLists;
use soros_core::map::bucket::Buckets;
use soros_core::object::Object;
use soros_core::operation::Target;
use soros_core::place::{Entry, Place};
use soros_core::replica::{
    Attempt, Chunk, Found, Item, LogBounds, Outcome, Promise, Quorum, Reached, Standing, Swept,
};
use soros_core::skew::Skew;
use soros_core::write::Store;
use std::time::{Duration, Instant};

/// What is asked of a node's partitions.
#[derive(Debug)]
pub enum Operation {
    /// Serves under a new map: opens the partitions it brings, those of which nothing is stored
    /// standing as said, and takes writes of its open buckets only from here on.
    Adopt {
        /// The partitions.
        places: Vec<(Place, Standing)>,
        /// The buckets.
        buckets: Buckets,
    },
    /// A client's write, at its coordinator.
    Write {
        /// The key.
        target: Target,
        /// What to write.
        store: Store,
        /// When it is too late to mint.
        deadline: Instant,
    },
    /// An object from the coordinator of a write, or a repair behind a read.
    Merge {
        /// The key.
        target: Target,
        /// The object, filled.
        object: Object,
        /// The dots that were minted for it.
        dots: Vec<Dot>,
    },
    /// Objects of anti-entropy.
    MergeItems {
        /// The partition.
        place: Place,
        /// The objects.
        items: Vec<Item>,
    },
    /// A range of a full transfer.
    MergeChunk {
        /// The partition.
        place: Place,
        /// Whose range it is.
        peer: NodeId,
        /// Where the range starts; none is the first key.
        from: Option<Entry>,
        /// The range.
        chunk: Chunk,
        /// What its sender has closed.
        closed: Closed,
    },
    /// The end of a full transfer.
    Join {
        /// The partition.
        place: Place,
        /// Whose ranges were compared.
        peer: NodeId,
        /// What was compared.
        clock: Clock,
    },
    /// Takes part in the closing of actors that have ended.
    Closing {
        /// The partition.
        place: Place,
        /// What the leader asks.
        ask: Ask,
        /// Whether the replica's silence is believed, as far as its process knows.
        believed: bool,
    },
    /// Closes what another replica has closed.
    Close {
        /// The partition.
        place: Place,
        /// The name of the list of those closed before.
        after: Option<Actor>,
        /// The steps that the other has taken since.
        steps: Vec<Closing>,
    },
    /// Takes note of the lists of closed actors that another replica knows beside its own.
    Learn {
        /// The partition.
        place: Place,
        /// The lists.
        lists: KnownLists,
    },
    /// Another replica has seen the same and holds the same.
    Agree {
        /// The partition.
        place: Place,
        /// The other replica.
        peer: NodeId,
        /// Whether it is settled.
        settled: bool,
        /// How many replicas there are.
        replicas: usize,
    },
    /// All that another replica held has been merged: a suspect may stand otherwise now.
    Stand {
        /// The partition.
        place: Place,
        /// The generation of its state in which the round began.
        begun: Generation,
        /// The other replica.
        peer: NodeId,
        /// Whether its silence can be believed.
        trusted: bool,
        /// How many replicas there are, and how many a write needs.
        quorum: Quorum,
    },
    /// Drops what of the dot log is past its bounds.
    BoundLog {
        /// The partition.
        place: Place,
        /// The bounds.
        bounds: LogBounds,
        /// The time since the process started.
        now: Duration,
    },
    /// A bounded part of what nobody reads any more goes.
    Sweep {
        /// The partition.
        place: Place,
    },
    /// A bounded part of what is stored of a partition goes whose placement is gone for ever.
    Forget {
        /// The partition.
        place: Place,
    },
    /// What another replica has seen, so that the dot log can be cut.
    Remember {
        /// The partition.
        place: Place,
        /// The other replica.
        peer: NodeId,
        /// What it has seen.
        seen: DotSet,
        /// Whether it believes that it holds all that it acknowledged.
        trusted: bool,
        /// All other replicas of the partition.
        others: Vec<NodeId>,
    },
    /// There is reason to doubt that the replica holds all that it acknowledged.
    Doubt {
        /// The partition.
        place: Place,
    },
    /// There is reason to doubt that any replica here does: the directory was put back.
    DoubtAll,
    /// A step on the way to a partition that begins anew: a record of it is damaged.
    Renewal {
        /// The partition.
        place: Place,
        /// The step.
        step: Renewal,
    },
}

/// What a partition answers.
#[derive(Debug)]
pub enum Answer {
    /// It is done.
    Done,
    /// The node does not hold the partition, or the bucket takes no writes.
    NotHeld,
    /// The time given to it is up; nothing was written.
    TooLate,
    /// The other replica once had seen more, and does not know that it has lost something.
    Behind,
    /// The disk has no room for it; nothing was written.
    Full,
    /// The node's clock must not be believed; nothing was written.
    ClockOff(Skew),
    /// What became of a client's write.
    Written(Outcome),
    /// What was there when an object was merged.
    Found(Found),
    /// Where a range of a full transfer came to.
    Reached(Reached),
    /// Some of it was merged; the record of another key is damaged.
    Partly,
    /// What is held when another was promised to rely on it, and whether this one is trusted.
    Promised(Promise, bool),
    /// An attempt to drop a partition has begun.
    Attempted(Attempt),
    /// It cannot be done now.
    NotNow,
    /// It is not taken: the life of the replica that minted it has ended.
    Ended,
    /// It is not clear what is obsolete of what was to be merged; the rest of it was not.
    Unclear,
    /// What the leader of a closing is told.
    Closing(close::Answer),
    /// Whether actors were closed.
    Closed(bool),
    /// What a sweep did.
    Swept(Swept),
}

impl Operation {
    /// How much may be missing of the disk's room for it to be taken all the same. What brings no
    /// value always is: it is small, or makes room in the end.
    pub(super) fn needs(&self) -> Room {
        match self {
            Operation::Write { store, .. } if store.version.value.is_some() => Room::Ample,
            Operation::Merge { object, dots, .. } if object.is_live() => {
                let minted = dots.iter().rev().find_map(|dot| object.versions.get(dot));
                match minted {
                    Some(version) if version.value.is_some() => Room::Ample,
                    Some(_) => Room::Low,
                    None => Room::High,
                }
            }
            Operation::MergeItems { items, .. }
                if items.iter().any(|item| item.object.is_live()) =>
            {
                Room::High
            }
            Operation::MergeChunk { chunk, .. }
                if chunk.objects.iter().any(|(_, object)| object.is_live()) =>
            {
                Room::High
            }
            _ => Room::Low,
        }
    }

    /// The partition that is meant; none when it is several.
    pub(super) fn place(&self) -> Option<Place> {
        match self {
            Operation::Adopt { .. } | Operation::DoubtAll => None,
            Operation::Write { target, .. } | Operation::Merge { target, .. } => Some(target.place),
            Operation::MergeItems { place, .. }
            | Operation::MergeChunk { place, .. }
            | Operation::Join { place, .. }
            | Operation::Closing { place, .. }
            | Operation::Close { place, .. }
            | Operation::Learn { place, .. }
            | Operation::Agree { place, .. }
            | Operation::Stand { place, .. }
            | Operation::Remember { place, .. }
            | Operation::BoundLog { place, .. }
            | Operation::Sweep { place }
            | Operation::Forget { place }
            | Operation::Doubt { place }
            | Operation::Renewal { place, .. } => Some(*place),
        }
    }
}
