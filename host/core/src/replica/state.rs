//! This is what a replica keeps of itself beside its objects, and how an object is stored.

use crate::clock::Clock;
use crate::closed::Closed;
use crate::codec::{Codec, DecodeError, Reader, Writer};
use crate::dot::{Actor, Dot};
use crate::dot_set::DotSet;
use crate::id::{Generation, NodeId};
use crate::known::KnownLists;
use crate::limits::{DOTS_DECODED_MAX, REPLICAS_MAX};
use crate::object::Object;
use crate::record::RecordError;
use crate::sum::Sum;
use std::collections::BTreeSet;

/// Whether a replica's silence about a key can be believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It holds what it acknowledged: it answers quorum reads.
    Trusted,
    /// Its directory is new, old or damaged: it takes writes, and answers no quorum read until it
    /// has merged what enough others held after its start.
    Suspect {
        /// Whether nothing was lost with the state before it: enough others had promised to hold
        /// all of that when it was dropped.
        lost_nothing: bool,
        /// The trusted replicas that it has merged so far.
        trusted: BTreeSet<NodeId>,
        /// The replicas of whatever standing that it has merged so far.
        merged: BTreeSet<NodeId>,
    },
}

/// The clock record of a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The dots it has seen.
    pub clock: Clock,
    /// The sum over its live versions.
    pub sum: Sum,
    /// Whether its silence can be believed.
    pub standing: Standing,
    /// How many keys have a live version.
    pub live_keys: u64,
    /// How many objects wait to be made smaller.
    pub unstripped: u64,
    /// How many bytes the dot log takes, about.
    pub log_bytes: u64,
    /// Actors that are to be closed: nothing is taken first-hand of them any more.
    pub refused: BTreeSet<Actor>,
    /// Whether it may lack versions that others hold, and no disk is at fault: an object had met
    /// dots that nobody has any more, of an actor that is closed since.
    pub strays: bool,
    /// The lists of closed actors that it knows beside its own, in a record of their own.
    pub known: KnownLists,
}

impl Standing {
    /// A suspect that has merged nobody yet.
    #[must_use]
    pub fn suspect() -> Standing {
        Standing::beginning(false)
    }

    /// A suspect that has merged nobody yet, and may have lost something or has `lost_nothing`.
    #[must_use]
    pub fn beginning(lost_nothing: bool) -> Standing {
        Standing::Suspect {
            lost_nothing,
            trusted: BTreeSet::new(),
            merged: BTreeSet::new(),
        }
    }

    /// Whether the replica may answer a quorum read.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        matches!(self, Standing::Trusted)
    }

    /// Whether all that it acknowledged is here, or with enough others since it was dropped.
    #[must_use]
    pub fn has_lost_nothing(&self) -> bool {
        match self {
            Standing::Trusted => true,
            Standing::Suspect { lost_nothing, .. } => *lost_nothing,
        }
    }

    /// How a replica stands that has lost something after all. What it has merged stays merged.
    #[must_use]
    pub fn after_loss(&self) -> Standing {
        match self.clone() {
            Standing::Trusted => Standing::suspect(),
            Standing::Suspect {
                trusted, merged, ..
            } => Standing::Suspect {
                lost_nothing: false,
                trusted,
                merged,
            },
        }
    }

    /// How a replica stands once it has merged all that `node` held: it is trusted after enough
    /// others.
    #[must_use]
    pub fn after_merging(&self, node: NodeId, node_is_trusted: bool, quorum: Quorum) -> Standing {
        let Standing::Suspect {
            lost_nothing,
            trusted,
            merged,
        } = self
        else {
            return Standing::Trusted;
        };
        let (mut trusted, mut merged) = (trusted.clone(), merged.clone());
        merged.insert(node);
        if node_is_trusted {
            trusted.insert(node);
        }
        let is_whole = if *lost_nothing {
            quorum.can_refill(trusted.len(), merged.len())
        } else {
            quorum.can_fill(trusted.len(), merged.len())
        };
        if is_whole {
            return Standing::Trusted;
        }
        Standing::Suspect {
            lost_nothing: *lost_nothing,
            trusted,
            merged,
        }
    }
}

/// How many replicas a partition has, and how many of them a write needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quorum {
    /// N, at least 1.
    pub replicas: usize,
    /// W, from 1 to N.
    pub writes: usize,
}

impl Quorum {
    /// Whether a replica that lacks anything can have it from others: N - W + 1 `trusted` ones, for
    /// every write quorum has one of them, or all N - 1 of whatever standing.
    #[must_use]
    pub fn can_fill(self, trusted: usize, all: usize) -> bool {
        self.replicas + 1 - self.writes <= trusted || self.replicas - 1 <= all
    }

    /// Whether a replica that was dropped when enough others held all of it can have it from
    /// `trusted` ones, or all N - 1. What it does not have itself [`Quorum::holders`] had then: one
    /// less than for [`Quorum::can_fill`] is enough that one of these is among them.
    #[must_use]
    pub fn can_refill(self, trusted: usize, all: usize) -> bool {
        self.replicas - self.holders() <= trusted || self.replicas - 1 <= all
    }

    /// How many others must hold what a replica holds before it may be dropped: so many that a
    /// write survives the loss of fewer than a write quorum's disks without it, too.
    #[must_use]
    pub fn holders(self) -> usize {
        self.writes.min(self.replicas - 1).max(1)
    }
}

impl State {
    /// Before the first write.
    #[must_use]
    pub fn new(standing: Standing) -> State {
        State {
            clock: Clock::default(),
            sum: Sum::default(),
            standing,
            live_keys: 0,
            unstripped: 0,
            log_bytes: 0,
            refused: BTreeSet::new(),
            strays: false,
            known: KnownLists::default(),
        }
    }

    /// Those of the actors that another replica has `refused`, for they have ended, that are yet to
    /// be refused here. A suspect refuses what others do: its life before may have closed some of
    /// them, and told nobody but a client, so that a name is to be looked for among them.
    #[must_use]
    pub fn yet_to_refuse(&self, refused: &[Actor]) -> Vec<Actor> {
        if self.standing.is_trusted() {
            return Vec::new();
        }
        let closed = self.clock.closed();
        let is_new = |actor: &&Actor| !self.refused.contains(actor) && !closed.has(actor);
        refused.iter().filter(is_new).copied().collect()
    }

    /// The lists of closed actors that are known here, the own one first.
    #[must_use]
    pub fn lists(&self) -> Vec<&Closed> {
        let own = std::iter::once(self.clock.closed());
        own.chain(self.known.iter()).collect()
    }

    /// Whether one of them is or was called `name`.
    #[must_use]
    pub fn knows(&self, name: &Actor) -> bool {
        self.lists().iter().any(|list| list.knows(name))
    }

    /// Whether what it holds is what its clock says: no object has met more, or had when an actor
    /// was closed.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.unstripped == 0 && !self.strays
    }

    /// The clock record. Format 5, strays 1, sum 16, live keys 8, unstripped 8, log bytes 8,
    /// standing 1 (0 trusted; 1 suspect, 2 one that has lost nothing, then the nodes merged: count
    /// 4, each 8 and 1 if it was trusted), refused actors: count 4, each 28; what was seen.
    #[must_use]
    pub fn to_record(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.u8(FORMAT);
        writer.u8(u8::from(self.strays));
        self.sum.encode(&mut writer);
        writer.u64(self.live_keys);
        writer.u64(self.unstripped);
        writer.u64(self.log_bytes);
        match &self.standing {
            Standing::Trusted => writer.u8(TRUSTED),
            Standing::Suspect {
                lost_nothing,
                trusted,
                merged,
            } => {
                writer.u8(if *lost_nothing { LOST_NOTHING } else { SUSPECT });
                writer.len(merged.len());
                for node in merged {
                    writer.u64(node.0);
                    writer.u8(u8::from(trusted.contains(node)));
                }
            }
        }
        writer.len(self.refused.len());
        self.refused
            .iter()
            .for_each(|actor| actor.encode(&mut writer));
        self.clock.seen().encode(&mut writer);
        writer.into_bytes()
    }

    /// The state of a clock record, and of the closed actors beside it. It knows no other lists.
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes are no clock record, or one of another list.
    pub fn of_record(bytes: &[u8], closed: Closed) -> Result<State, DecodeError> {
        let mut reader = Reader::new(bytes);
        if reader.u8()? != FORMAT {
            return Err(DecodeError::Invalid("a clock record's format"));
        }
        let strays = reader.u8()? != 0;
        let sum = Sum::decode(&mut reader)?;
        let (live_keys, unstripped, log_bytes) = (reader.u64()?, reader.u64()?, reader.u64()?);
        let standing = match reader.u8()? {
            TRUSTED => Standing::Trusted,
            kind @ (SUSPECT | LOST_NOTHING) => decode_suspect(&mut reader, kind == LOST_NOTHING)?,
            _ => return Err(DecodeError::Invalid("a standing")),
        };
        let refused: Vec<Actor> = reader.list(DOTS_DECODED_MAX)?;
        let clock = Clock::of(DotSet::decode(&mut reader)?, closed);
        reader.finish()?;
        Ok(State {
            clock: clock.ok_or(DecodeError::Invalid("a list of closed actors"))?,
            sum,
            standing,
            live_keys,
            unstripped,
            log_bytes,
            refused: refused.into_iter().collect(),
            strays,
            known: KnownLists::default(),
        })
    }
}

const FORMAT: u8 = 5;
const TRUSTED: u8 = 0;
const SUSPECT: u8 = 1;
const LOST_NOTHING: u8 = 2;

fn decode_suspect(reader: &mut Reader<'_>, lost_nothing: bool) -> Result<Standing, DecodeError> {
    let (mut trusted, mut merged) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..reader.len(usize::from(REPLICAS_MAX) * 16)? {
        let node = NodeId(reader.u64()?);
        merged.insert(node);
        if reader.u8()? != 0 {
            trusted.insert(node);
        }
    }
    Ok(Standing::Suspect {
        lost_nothing,
        trusted,
        merged,
    })
}

/// An object as stored: stripped, with the dot it waits for if it could be smaller.
#[derive(Clone, Debug, Default)]
pub(super) struct Stored {
    pub(super) blocker: Option<Dot>,
    pub(super) object: Object,
}

impl Stored {
    pub(super) fn new(stripped: Object, clock: &Clock) -> Stored {
        Stored {
            blocker: stripped.blocker(clock),
            object: stripped,
        }
    }

    /// 0, or 1 and the blocker 36; then the object.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.u8(u8::from(self.blocker.is_some()));
        if let Some(blocker) = &self.blocker {
            blocker.encode(&mut writer);
        }
        self.object.encode(&mut writer);
        writer.into_bytes()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Stored, RecordError> {
        let mut reader = Reader::new(bytes);
        let mut read = || {
            let blocker = match reader.u8()? {
                0 => None,
                _ => Some(Dot::decode(&mut reader)?),
            };
            let object = Object::decode(&mut reader)?;
            reader.finish()?;
            Ok::<_, DecodeError>(Stored { blocker, object })
        };
        read().map_err(|_| RecordError::Strange("an object"))
    }
}

pub(super) fn encode_generation(generation: Generation) -> Vec<u8> {
    generation.0.to_be_bytes().to_vec()
}

pub(super) fn decode_generation(bytes: &[u8]) -> Result<Generation, RecordError> {
    let bytes = bytes
        .try_into()
        .map_err(|_| RecordError::Strange("a generation"))?;
    Ok(Generation(u32::from_be_bytes(bytes)))
}
