//! This is anti-entropy: how a replica learns from another of its partition what it lacks.
//!
//! It compares clocks and sums by a hash; where they differ it sends its clock and gets the objects
//! of the dots it lacks; where the other's dot log no longer names them it goes through all keys.
//! What the other has closed is closed here, too, where the same was seen; else it goes through all
//! keys as well.
//! Equal clocks with unequal sums mean that a replica lost something it says it has seen: an alarm,
//! and a union of both.
//!
//! What is answered under a newer map than the asker's is not used: the other may have removed what
//! lives here still. The next round finds the newer map here, too.

use crate::clock::Clock;
use crate::closed::{Closed, Closing, News};
use crate::codec::{Codec, DecodeError, Reader, Writer};
use crate::dot::Actor;
use crate::dot_set::DotSet;
use crate::epoch::Epoch;
use crate::id::NodeId;
use crate::known::KnownLists;
use crate::place::Entry;
use crate::replica::{Chunk, Difference, Item, Reached, State, TransferKind};
use crate::sum::Sum;

/// How many answers full of objects a round takes before it ends and leaves the rest to the next.
const ANSWERS_PER_ROUND: u32 = 1 << 16;

/// A hash of a replica's clock and sum: replicas with equal ones hold the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateDigest(pub u128);

impl StateDigest {
    /// The hash of a replica's state.
    #[must_use]
    pub fn of(state: &State) -> StateDigest {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&state.clock.seen().to_bytes());
        hasher.update(&state.sum.to_bytes());
        hasher.update(&[u8::from(state.strays)]);
        let mut first = [0; 16];
        hasher.finalize_xof().fill(&mut first);
        StateDigest(u128::from_be_bytes(first))
    }
}

/// A replica's sum over the live versions of the buckets of one map, and of no others. Only the
/// sums of one map can be compared: what has died under a newer one may be removed there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    /// The map's epoch.
    pub epoch: Epoch,
    /// The sum.
    pub sum: Sum,
    /// Whether no object waits for the base, and the replica does not stray. One that waits may
    /// have met more than the clock says was seen, after a transfer that broke off: it may lack
    /// what that made obsolete, and nothing was lost.
    pub settled: bool,
}

/// A replica as a round sees it: durable, and all of one moment.
#[derive(Clone, Copy, Debug)]
pub struct Own<'a> {
    /// What it has seen, and its sum.
    pub state: &'a State,
    /// The epoch of the map it serves under.
    pub epoch: Epoch,
    /// Whether it holds objects of that map's buckets only.
    pub swept: bool,
}

impl Own<'_> {
    /// The replica's sum, while it can be compared with another's.
    #[must_use]
    pub fn tally(&self) -> Option<Tally> {
        let tally = Tally {
            epoch: self.epoch,
            sum: self.state.sum,
            settled: self.state.is_settled(),
        };
        self.swept.then_some(tally)
    }
}

/// Who gave an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Speaker {
    /// The epoch of the map it serves under.
    pub epoch: Epoch,
    /// Whether its silence can be believed.
    pub trusted: bool,
    /// Whether it has a damaged record.
    pub damaged: bool,
}

/// What the other replica answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Its clock and sum are those that were hashed.
    Same,
    /// They are not. The lists of closed actors that it knows beside its own: what it holds may
    /// name them.
    NotSame(KnownLists),
    /// What it has seen and the asker has not.
    Difference {
        /// The objects.
        difference: Difference,
        /// What it has seen.
        seen: DotSet,
        /// Its sum; none while that is over other buckets than those of its map.
        tally: Option<Tally>,
    },
    /// A range of its objects.
    Chunk(Chunk),
}

/// What arrives at a round.
#[derive(Clone, Debug)]
pub enum Event {
    /// The other's answer.
    Answered(Answer, Speaker),
    /// [`Effect::Learn`], [`Effect::Merge`] or [`Effect::Agree`] is durable; the state is that
    /// after it.
    Merged,
    /// [`Effect::Merge`] is durable, but for an object whose own record is damaged.
    MergedPartly,
    /// [`Effect::Close`] is durable, or what was seen here is not what the other had.
    Closed(bool),
    /// [`Effect::MergeChunk`] is durable, and came to this.
    ChunkMerged(Reached),
    /// [`Effect::Join`] is durable.
    Joined,
    /// The other did not answer, or the own store failed.
    Failed,
}

/// What a round asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Whether the other's clock and sum have this hash.
    Compare(StateDigest),
    /// To know these lists of closed actors, too.
    Learn(KnownLists),
    /// What the other has seen and is not here, all of which is seen here.
    AskDifference(DotSet),
    /// What the other has seen and is not here, which is not all seen here yet.
    AskRest(DotSet),
    /// The other's objects from this entry on.
    AskChunk(TransferKind, Option<Entry>),
    /// To merge these objects.
    Merge(Vec<Item>),
    /// To take these steps after the list of this name, if the same was seen here.
    Close(Option<Actor>, Vec<Closing>),
    /// To merge this range, which starts at the entry, of one who has closed these actors.
    MergeChunk(Option<Entry>, Chunk, Closed),
    /// To count all that this clock has seen as seen: it was compared.
    Join(Clock),
    /// To take note that the other holds the same, and whether that one is settled.
    Agree(bool),
    /// To tell the operator: a replica lost something it says it has seen.
    Alarm,
    /// The end: all that the other held when the round began is merged, or not.
    End(End),
}

/// How a round ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All that the other held when the round began is merged; whether it was trusted.
    Merged {
        /// Whether the other's silence could be believed throughout.
        trusted: bool,
    },
    /// It is not known to be.
    Broken,
}

/// One round of anti-entropy of one partition with one other replica.
#[derive(Debug)]
pub struct Sync {
    peer: NodeId,
    phase: Phase,
    trusted: bool,
    /// Whether the other has a damaged record.
    damaged: bool,
    /// What one with a damaged record had seen when it told last what is not here. If that is not
    /// all here in the end, it could not read it.
    told: Option<DotSet>,
    answers: u32,
}

#[derive(Debug)]
enum Phase {
    Comparing,
    Learning,
    AskingDifference,
    Merging {
        more: bool,
    },
    /// What the other has closed is being closed here.
    Closing(Transfer),
    AskingChunk {
        transfer: Transfer,
        from: Option<Entry>,
        /// None before the first range.
        compared: Option<Compared>,
    },
    MergingChunk {
        transfer: Transfer,
        compared: Compared,
    },
    /// All ranges are merged; what the other has seen since its first range is awaited.
    AskingRest(Transfer, Compared),
    MergingRest(Transfer, Compared),
    Joining,
    Ended,
}

/// A full transfer, and what the other has closed.
#[derive(Clone, Debug)]
struct Transfer {
    kind: TransferKind,
    closed: Closed,
}

/// What a full transfer has compared.
#[derive(Clone, Debug)]
struct Compared {
    /// What the other had seen at its first range, and the dots it has answered since the last.
    seen: DotSet,
    /// What it had seen at any of its ranges. Until `seen` covers this it cannot be joined: the
    /// other may have forgotten a key during the transfer, because all its dots had come under its
    /// base, and an absent key says nothing of dots that are above the base here.
    last: DotSet,
    left_out: LeftOut,
}

/// Whose damaged records were left out of a full transfer. Where there are any, nothing is joined;
/// the other is told what was compared all the same, so that it knows what is held here.
#[derive(Clone, Copy, Debug, Default)]
struct LeftOut {
    /// The other's.
    there: bool,
    /// Own ones.
    here: bool,
}

impl LeftOut {
    fn is_empty(self) -> bool {
        !self.there && !self.here
    }
}

impl Compared {
    /// What was compared when a range comes whose sender had seen `seen`. None when the other lost
    /// since its first range what it had seen then: its objects do not speak for that any more.
    fn with(before: Option<Compared>, chunk: &Chunk) -> Option<Compared> {
        let seen = &chunk.seen;
        let seen_first = || Compared {
            seen: seen.clone(),
            last: DotSet::default(),
            left_out: LeftOut::default(),
        };
        let mut compared = before.unwrap_or_else(seen_first);
        compared.last.join(seen);
        compared.left_out.there |= !chunk.damaged.is_empty();
        seen.includes(&compared.seen).then_some(compared)
    }
}

impl Sync {
    /// A round that begins, and what it asks for first.
    #[must_use]
    pub fn new(peer: NodeId, state: &State) -> (Sync, Vec<Effect>) {
        let sync = Sync {
            peer,
            phase: Phase::Comparing,
            trusted: true,
            damaged: false,
            told: None,
            answers: 0,
        };
        (sync, vec![Effect::Compare(StateDigest::of(state))])
    }

    /// The other replica.
    #[must_use]
    pub fn peer(&self) -> NodeId {
        self.peer
    }

    /// Whether a round that broke can go on where it was, with [`Sync::resume`].
    #[must_use]
    pub fn is_resumable(&self) -> bool {
        matches!(
            &self.phase,
            Phase::AskingChunk {
                compared: Some(_),
                ..
            } | Phase::AskingRest(..)
        )
    }

    /// Asks again for what a full transfer that broke was waiting for; what it had merged is not
    /// compared again. For the generation that it was begun in.
    pub fn resume(&mut self) -> Vec<Effect> {
        match &self.phase {
            Phase::AskingChunk { transfer, from, .. } => {
                vec![Effect::AskChunk(transfer.kind, from.clone())]
            }
            Phase::AskingRest(_, compared) => vec![Effect::AskRest(compared.seen.clone())],
            _ => self.end(End::Broken),
        }
    }

    /// Takes an event and gives what follows.
    pub fn step(&mut self, event: Event, own: Own<'_>) -> Vec<Effect> {
        let mut effects = self.on_event(event, own);
        if let Some(Effect::End(End::Merged { trusted })) = effects.last_mut() {
            let told = self.told.as_ref();
            *trusted &= told.is_none_or(|seen| own.state.clock.covers(seen));
        }
        effects
    }

    fn on_event(&mut self, event: Event, own: Own<'_>) -> Vec<Effect> {
        match event {
            Event::Answered(_, speaker) if own.epoch < speaker.epoch => self.fail(),
            Event::Answered(answer, speaker) => {
                self.trusted &= speaker.trusted;
                self.damaged = speaker.damaged;
                self.on_answered(answer, own)
            }
            Event::Merged => self.on_merged(own.state),
            Event::MergedPartly => self.on_merged_partly(own.state),
            Event::Closed(closed) => self.on_closed(closed, own.state),
            Event::ChunkMerged(next) => self.on_chunk_merged(next),
            Event::Joined => self.end_merged(),
            Event::Failed => self.fail(),
        }
    }

    /// Ends the round, for now or for good.
    fn fail(&mut self) -> Vec<Effect> {
        if self.is_resumable() {
            vec![Effect::End(End::Broken)]
        } else {
            self.end(End::Broken)
        }
    }

    fn on_answered(&mut self, answer: Answer, own: Own<'_>) -> Vec<Effect> {
        match (answer, std::mem::replace(&mut self.phase, Phase::Ended)) {
            (Answer::Same, Phase::Comparing) if own.state.strays => self.agree(false),
            (Answer::Same, Phase::Comparing) => self.end_merged(),
            (Answer::NotSame(known), Phase::Comparing) => self.on_not_same(known, own.state),
            (
                Answer::Difference {
                    difference,
                    seen,
                    tally,
                },
                Phase::AskingDifference,
            ) => {
                self.told = self.damaged.then(|| seen.clone());
                let clock = &own.state.clock;
                if own.state.strays
                    && seen == *clock.seen()
                    && let Some(other) = equal(tally, own.tally())
                {
                    return self.agree(other.settled);
                }
                let unequal = unequal(tally, own.tally()).filter(|_| seen == *clock.seen());
                self.on_difference(difference, &seen, unequal, clock)
            }
            (Answer::Difference { difference, .. }, Phase::AskingRest(transfer, compared)) => {
                self.on_rest(difference, transfer, compared)
            }
            (
                Answer::Chunk(chunk),
                Phase::AskingChunk {
                    transfer,
                    from,
                    compared,
                },
            ) => {
                let Some(compared) = Compared::with(compared, &chunk) else {
                    return self.end(End::Broken);
                };
                let closed = transfer.closed.clone();
                self.phase = Phase::MergingChunk { transfer, compared };
                vec![Effect::MergeChunk(from, chunk, closed)]
            }
            // An answer to a question this round did not ask.
            _ => self.end(End::Broken),
        }
    }

    fn on_not_same(&mut self, known: KnownLists, own: &State) -> Vec<Effect> {
        if own.known.lack(&known, own.clock.closed()) {
            self.phase = Phase::Learning;
            return vec![Effect::Learn(known)];
        }
        self.ask_difference(own)
    }

    fn ask_difference(&mut self, state: &State) -> Vec<Effect> {
        self.phase = Phase::AskingDifference;
        vec![Effect::AskDifference(state.clock.seen().clone())]
    }

    /// Takes note that both hold the same, as one that strays.
    fn agree(&mut self, settled: bool) -> Vec<Effect> {
        self.phase = Phase::Merging { more: false };
        vec![Effect::Agree(settled)]
    }

    /// `unequal` says that equal clocks have unequal sums, and whether both replicas are settled.
    fn on_difference(
        &mut self,
        difference: Difference,
        seen: &DotSet,
        unequal: Option<bool>,
        own: &Clock,
    ) -> Vec<Effect> {
        let transfer = |kind| Transfer {
            kind,
            closed: own.closed().clone(),
        };
        match (difference, unequal) {
            (Difference::None, Some(settled)) => {
                let mut effects = Vec::new();
                effects.extend(settled.then_some(Effect::Alarm));
                effects.extend(self.ask_chunk(transfer(TransferKind::Union), None, None));
                effects
            }
            (Difference::None, None) => self.end_merged(),
            (Difference::LogTooShort, _) => {
                self.ask_chunk(transfer(TransferKind::Clocked), None, None)
            }
            (Difference::Closed(news), _) => self.on_news(news, seen, own),
            (Difference::Items { items, more }, _) => {
                self.answers += 1;
                self.phase = Phase::Merging { more };
                vec![Effect::Merge(items)]
            }
        }
    }

    /// Learns what the other has closed.
    fn on_news(&mut self, news: News, seen: &DotSet, own: &Clock) -> Vec<Effect> {
        let Some(closed) = own.closed().told(news) else {
            return self.end(End::Broken);
        };
        let more = closed.steps_after(own.closed());
        if !more.is_empty() {
            self.answers += 1;
            let after = own.closed().name();
            let kind = TransferKind::Clocked;
            self.phase = Phase::Closing(Transfer { kind, closed });
            return vec![Effect::Close(after, more)];
        }
        // The other has yet to close what is closed here. What it has beside can be asked for then,
        // unless it cannot come to that: it may have to begin anew, and waits for this one to have
        // all the rest.
        if own.covers(seen) {
            self.end_merged()
        } else if self.damaged {
            let kind = TransferKind::Clocked;
            self.ask_chunk(Transfer { kind, closed }, None, None)
        } else {
            self.end(End::Broken)
        }
    }

    fn on_closed(&mut self, closed: bool, state: &State) -> Vec<Effect> {
        let goes_on = self.answers < ANSWERS_PER_ROUND;
        match std::mem::replace(&mut self.phase, Phase::Ended) {
            Phase::Closing(_) if closed && goes_on => self.ask_difference(state),
            // A dot of them was missed here, or only seen here: all is compared.
            Phase::Closing(transfer) if goes_on => self.ask_chunk(transfer, None, None),
            _ => self.end(End::Broken),
        }
    }

    /// Takes what the other has seen since its first range, or since the answer before.
    fn on_rest(
        &mut self,
        difference: Difference,
        transfer: Transfer,
        mut compared: Compared,
    ) -> Vec<Effect> {
        match difference {
            // The other knows now what is held here. All that both could read is merged, and
            // nothing of that can be joined.
            _ if compared.left_out.here => self.end(End::Broken),
            _ if compared.left_out.there => {
                self.trusted = false;
                self.end_merged()
            }
            Difference::None if compared.seen.includes(&compared.last) => {
                self.join(transfer, compared)
            }
            // The other has lost some of it, cut its log, or closed more actors: the next round
            // goes through all keys again.
            Difference::None | Difference::LogTooShort | Difference::Closed(_) => {
                self.end(End::Broken)
            }
            Difference::Items { items, .. } => {
                self.answers += 1;
                for dot in items.iter().flat_map(|item| &item.dots) {
                    compared.seen.add(*dot);
                }
                self.phase = Phase::MergingRest(transfer, compared);
                vec![Effect::Merge(items)]
            }
        }
    }

    fn on_merged(&mut self, state: &State) -> Vec<Effect> {
        let goes_on = self.answers < ANSWERS_PER_ROUND;
        match std::mem::replace(&mut self.phase, Phase::Ended) {
            Phase::Learning => self.ask_difference(state),
            Phase::Merging { more: true } if goes_on => self.ask_difference(state),
            Phase::Merging { more: false } => self.end_merged(),
            Phase::MergingRest(transfer, compared) if goes_on => self.finish(transfer, compared),
            _ => self.end(End::Broken),
        }
    }

    /// What is behind the object that was left alone would not be come to by asking again: all is
    /// compared.
    fn on_merged_partly(&mut self, state: &State) -> Vec<Effect> {
        if let Phase::Merging { more: true } = self.phase {
            let (kind, closed) = (TransferKind::Clocked, state.clock.closed().clone());
            self.ask_chunk(Transfer { kind, closed }, None, None)
        } else {
            self.fail()
        }
    }

    /// Joins what was compared, once that is all the other knew when it sent its last range. Where
    /// something damaged was left out the other is told, by the question, what is held here now.
    fn finish(&mut self, transfer: Transfer, compared: Compared) -> Vec<Effect> {
        if compared.left_out.is_empty() && compared.seen.includes(&compared.last) {
            return self.join(transfer, compared);
        }
        let seen = compared.seen.clone();
        self.phase = Phase::AskingRest(transfer, compared);
        vec![Effect::AskRest(seen)]
    }

    fn join(&mut self, transfer: Transfer, compared: Compared) -> Vec<Effect> {
        match Clock::of(compared.seen, transfer.closed) {
            Some(clock) => {
                self.phase = Phase::Joining;
                vec![Effect::Join(clock)]
            }
            None => self.end(End::Broken),
        }
    }

    fn ask_chunk(
        &mut self,
        transfer: Transfer,
        from: Option<Entry>,
        compared: Option<Compared>,
    ) -> Vec<Effect> {
        let effect = Effect::AskChunk(transfer.kind, from.clone());
        self.told = None;
        self.phase = Phase::AskingChunk {
            transfer,
            from,
            compared,
        };
        vec![effect]
    }

    fn on_chunk_merged(&mut self, reached: Reached) -> Vec<Effect> {
        let phase = std::mem::replace(&mut self.phase, Phase::Ended);
        let (
            Phase::MergingChunk {
                transfer,
                mut compared,
            },
            Reached::To { next, whole },
        ) = (phase, reached)
        else {
            return self.end(End::Broken);
        };
        compared.left_out.here |= !whole;
        match transfer.kind {
            _ if next.is_some() => self.ask_chunk(transfer, next, Some(compared)),
            // The clocks were equal; what either has seen since has its own repair.
            TransferKind::Union if compared.left_out.is_empty() => self.end_merged(),
            TransferKind::Union => self.end(End::Broken),
            TransferKind::Clocked => self.finish(transfer, compared),
        }
    }

    fn end_merged(&mut self) -> Vec<Effect> {
        self.end(End::Merged {
            trusted: self.trusted,
        })
    }

    fn end(&mut self, end: End) -> Vec<Effect> {
        self.phase = Phase::Ended;
        vec![Effect::End(end)]
    }
}

/// Whether two sums that can be compared are unequal, and if so, whether both replicas are settled.
fn unequal(one: Option<Tally>, other: Option<Tally>) -> Option<bool> {
    let (one, other) = one.zip(other)?;
    let unequal = one.epoch == other.epoch && one.sum != other.sum;
    unequal.then_some(one.settled && other.settled)
}

/// The other's tally, if its sum can be compared and is equal.
fn equal(other: Option<Tally>, own: Option<Tally>) -> Option<Tally> {
    let (other, own) = other.zip(own)?;
    (other.epoch == own.epoch && other.sum == own.sum).then_some(other)
}

/// What a replica answers to one that lacks `difference`.
#[must_use]
pub fn answer(difference: Difference, own: Own<'_>) -> Answer {
    Answer::Difference {
        difference,
        seen: own.state.clock.seen().clone(),
        tally: own.tally(),
    }
}

/// What a replica answers to the hash of another's clock and sum.
#[must_use]
pub fn compare(state: &State, digest: StateDigest) -> Answer {
    if StateDigest::of(state) == digest {
        Answer::Same
    } else {
        Answer::NotSame(state.known.clone())
    }
}

/// Epoch 8, sum 16, settled 1.
impl Codec for Tally {
    fn encode(&self, writer: &mut Writer) {
        writer.u64(self.epoch.0);
        self.sum.encode(writer);
        writer.u8(u8::from(self.settled));
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Tally, DecodeError> {
        Ok(Tally {
            epoch: Epoch(reader.u64()?),
            sum: Sum::decode(reader)?,
            settled: reader.u8()? != 0,
        })
    }
}

#[cfg(test)]
mod tests;
