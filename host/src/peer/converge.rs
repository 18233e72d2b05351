//! This is anti-entropy at work: for ever, each partition is compared with each other replica of
//! it, and what this one lacks is fetched and merged.

use super::Peer;
use super::damage::{Kind, Note};
use super::operation::{Answer, Operation};
use super::partitions::{Partitions, Renewal, Shown};
use super::pauses::Circumstances;
use super::turns::{Called, RETRY_PERIOD, Slot, Turns};
use super::wire::Urgency;
use crate::store::commit::{CommitError, Commits};
use futures_util::future;
use futures_util::stream::{FuturesUnordered, StreamExt};
use soros_core::close::Word;
use soros_core::dot::Actor;
use soros_core::id::{Generation, NodeId};
use soros_core::limits::REPAIR_BYTES;
use soros_core::message::{Refusal, Reply, Request};
use soros_core::place::Place;
use soros_core::record::RecordError;
use soros_core::replica::{LogBounds, Promise, Promises, Reached};
use soros_core::sync::{Effect, End, Event, Speaker, Sync};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long another replica may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Rounds that broke in the middle of a full transfer, and the generation each began in.
pub(super) type Broken = BTreeMap<(Place, NodeId), (Sync, Generation)>;
/// What other replicas of a partition say of themselves.
pub(super) type Heard = BTreeMap<NodeId, Word>;

/// What comes of rounds beside what is merged.
struct Course<'a> {
    heard: Heard,
    /// Its slot among those that are compared.
    slot: Slot<'a>,
    /// Whether it has merged something already: what more there is may be much.
    has_merged: bool,
    /// Whether the own store did not take what was fetched, and will not before something changes.
    is_in_vain: bool,
}

impl Peer {
    /// Compares all partitions with all their other replicas, over and over. Ends never; whoever
    /// runs it drops it.
    pub async fn converge(&self) {
        let (mut turns, mut rounds) = (Turns::default(), FuturesUnordered::new());
        let mut called = Called::Due;
        loop {
            for place in turns.begin(&self.places(), called, tokio::time::Instant::now()) {
                rounds.push(async move { (place, self.converge_place(place).await) });
            }
            self.behind.store(turns.behind(), Ordering::Relaxed);
            let mut woken = pin!(tokio::time::timeout(RETRY_PERIOD, self.wake.notified()));
            called = loop {
                tokio::select! {
                    biased;
                    woken = &mut woken => break woken.map_or(Called::Due, |()| Called::All),
                    Some((place, is_behind)) = rounds.next() => {
                        turns.end(place, is_behind, tokio::time::Instant::now());
                        self.behind.store(turns.behind(), Ordering::Relaxed);
                    }
                }
            };
        }
    }

    /// Compares all partitions now, and asks for the time: a node has come back.
    pub fn converge_soon(&self) {
        self.wake.notify_one();
        self.wake_clock.notify_one();
    }

    /// How many partitions lack something that a reachable replica has, as of when each was last
    /// compared; all of them before the first time. One whose silence about a key is not believed
    /// yet is among them.
    #[must_use]
    pub fn partitions_behind(&self) -> u64 {
        let life_is_known = self.life_is_known();
        let moment = self.moments.load();
        let (mut held, mut unbelieved) = (0, 0);
        for (place, shown) in moment.places() {
            held += 1;
            unbelieved += u64::from(!self.is_shown_believed(*place, shown, life_is_known));
        }
        let behind = self.behind.load(Ordering::Relaxed);
        behind.min(held).max(unbelieved)
    }

    /// All partitions that are held, and those that cannot be opened.
    pub(super) fn places(&self) -> BTreeSet<Place> {
        let mut places: BTreeSet<Place> = self.damage.places().into_iter().collect();
        places.extend(self.moments.load().places().map(|(place, _)| *place));
        places
    }

    /// Compares a partition with its other replicas; whether it is behind one that is reachable, or
    /// is not to be believed yet.
    pub(super) async fn converge_place(&self, place: Place) -> bool {
        let mut course = Course {
            heard: BTreeMap::new(),
            slot: self.slots.take().await,
            has_merged: false,
            is_in_vain: false,
        };
        let note = self.damage.at(&place);
        if let Some(note) = note.filter(|note| note.kind == Kind::Damaged) {
            self.begin_anew(place, note).await;
        }
        self.bound_log(place);
        let mut behind = false;
        for peer in self.others_of(place) {
            if self.wire.is_reachable(peer) {
                behind |= self.round_unless_paused(place, peer, &mut course).await == End::Broken;
            }
        }
        let life_is_known = self.life_is_known();
        let believed = |shown: &Arc<Shown>| self.is_shown_believed(place, shown, life_is_known);
        let believed = self.moments.load().shown(&place).is_some_and(believed);
        if believed && !behind {
            self.close_ended(place, course.heard).await;
        }
        behind || !believed
    }

    /// Lets the dot log keep to its bounds, however long a replica has been away.
    fn bound_log(&self, place: Place) {
        let moment = self.moments.load();
        let logs = moment
            .shown(&place)
            .is_some_and(|shown| 0 < shown.state.log_bytes);
        let Some(map) = self.map().filter(|_| logs) else {
            return;
        };
        let settings = map.settings();
        let bounds = LogBounds {
            bytes: settings.dot_log_bytes,
            age: Duration::from_hours(settings.dot_log_hours),
        };
        let now = self.started.elapsed();
        // What is refused now is done in the next pass.
        let _ = self
            .committer
            .submit(Operation::BoundLog { place, bounds, now });
    }

    /// Drops a partition with a damaged record, so that it is had from the others, once enough of
    /// them hold the rest of it; one that cannot be opened, once enough of them can fill it. The
    /// only copy is kept. One that did not get well by it needs another engine.
    async fn begin_anew(&self, place: Place, note: Note) {
        if !self.stays_damaged(place, note).await {
            return;
        }
        if self.damage.is_past_renewal(&place) {
            self.damage.note_stays();
            return;
        }
        let Some(quorum) = self.quorum_of(place) else {
            return;
        };
        let attempt = match note.seen {
            None => None,
            Some(seen) => match self.attempt_renewal(place, seen).await {
                Ok(Answer::Attempted(attempt)) => Some(attempt),
                Ok(Answer::NotNow) | Err(_) => return,
                // It has begun anew since.
                Ok(_) => return self.damage.clear(&place, note),
            },
        };
        let answers = self.ask_to_rely(place).await;
        let trusted = answers.iter().filter(|(.., trusted)| *trusted).count();
        // What another cannot read either is taken along, which takes an own clock.
        let whole = answers
            .iter()
            .filter(|(_, promise, _)| promise.unreadable.is_empty());
        let whole = whole.count();
        let promises = answers
            .iter()
            .map(|(node, promise, _)| (*node, promise.clone()));
        let step = match attempt {
            None if !quorum.can_fill(trusted, whole) || quorum.replicas == 1 => return,
            None => Renewal::BeginAnew,
            Some(attempt) => Renewal::Drop {
                promises: Promises {
                    attempt,
                    of: promises.collect(),
                    quorum,
                    bytes_max: REPAIR_BYTES,
                },
            },
        };
        let step = Operation::Renewal { place, step };
        match self.committer.commit(step).await {
            Ok(Answer::Done) => self.damage.begun_anew(place, note),
            Ok(_) => tracing::debug!("others do not hold enough of a damaged partition yet"),
            Err(error) => tracing::warn!(%error, "a damaged partition does not begin anew yet"),
        }
    }

    /// Whether what is noted of a partition is so still, for all that is known: the disk may have
    /// failed to read it once only. One that cannot be opened is not looked at again.
    async fn stays_damaged(&self, place: Place, note: Note) -> bool {
        if note.seen.is_none() || !self.damage.may_be_read(&place, note) {
            return true;
        }
        let _turn = self.inventories.acquire().await;
        let moment = self.moments.load_full();
        let read = tokio::task::spawn_blocking(move || moment.read_through(place)).await;
        let is_readable = match read {
            Ok(Ok(())) => true,
            Ok(Err(RecordError::Damaged(_) | RecordError::Strange(_))) => false,
            // Nothing is known of it: it is looked at again.
            Ok(Err(RecordError::Failed(_))) | Err(_) => return false,
        };
        self.damage.was_read_again(place, note);
        if is_readable {
            tracing::info!(partition = %place.partition, "all of a partition can be read again");
            self.damage.clear(&place, note);
        }
        !is_readable
    }

    async fn attempt_renewal(&self, place: Place, seen: Generation) -> Result<Answer, CommitError> {
        let step = Renewal::Attempt { seen };
        let attempt = Operation::Renewal { place, step };
        self.committer.commit(attempt).await
    }

    /// What the others that let this node drop a partition hold of it, and whether they are
    /// trusted.
    async fn ask_to_rely(&self, place: Place) -> Vec<(NodeId, Promise, bool)> {
        let others = self.others_of(place).into_iter();
        let asked = others.filter(|node| self.wire.is_reachable(*node));
        let asked = asked.map(async |node| {
            let deadline = Instant::now() + ANSWER_TIMEOUT;
            let request = Request::Rely { place };
            let reply = self
                .wire
                .call(node, &request, deadline, Urgency::Background);
            match reply.await {
                Ok(Reply::Promised(promise, trusted)) => Some((node, promise, trusted)),
                Ok(_) | Err(_) => None,
            }
        });
        future::join_all(asked)
            .await
            .into_iter()
            .flatten()
            .collect()
    }

    /// Compares a partition with another replica, but not while what that sends would be fetched in
    /// vain.
    async fn round_unless_paused(
        &self,
        place: Place,
        peer: NodeId,
        course: &mut Course<'_>,
    ) -> End {
        let round = (place, peer);
        if self
            .pauses
            .hold(round, &self.circumstances(place), Instant::now())
        {
            return End::Broken;
        }
        (course.has_merged, course.is_in_vain) = (false, false);
        let end = self.round(place, peer, course).await;
        if course.is_in_vain {
            self.pauses
                .begin(round, self.circumstances(place), Instant::now());
        } else {
            self.pauses.end(round);
        }
        end
    }

    /// What its own store's answers about a partition depend on.
    fn circumstances(&self, place: Place) -> Circumstances {
        let moment = self.moments.load();
        let shown = moment.shown(&place);
        Circumstances {
            room: self.store.disk().room,
            damage: self.damage.at(&place),
            generation: shown.map(|shown| shown.layout.generation()),
        }
    }

    /// Compares a partition with another replica. Who mints there is heard on the way.
    async fn round(&self, place: Place, peer: NodeId, course: &mut Course<'_>) -> End {
        let Some(begun) = self.moments.load().shown(&place).cloned() else {
            return End::Broken;
        };
        let generation = begun.layout.generation();
        // Also of a life that is not known yet: who remembers more of it than it has says so only
        // to one that believes to be whole.
        let trusted = begun.state.standing.is_trusted();
        let (mut sync, first) = match self.broken().remove(&(place, peer)) {
            Some((mut sync, begun)) if begun == generation => {
                let effects = sync.resume();
                (sync, effects)
            }
            _ => Sync::new(peer, &begun.state),
        };
        let mut effects = VecDeque::from(first);
        while let Some(effect) = effects.pop_front() {
            let event = match effect {
                Effect::Alarm => {
                    self.alarm(place, peer);
                    continue;
                }
                Effect::End(end) => {
                    if sync.is_resumable() {
                        self.broken().insert((place, peer), (sync, generation));
                    }
                    return self.end((place, generation), peer, end).await;
                }
                effect => {
                    self.carry_out_sync(place, (peer, trusted, begun.actor), effect, course)
                        .await
                }
            };
            let moment = self.moments.load_full();
            let Some(shown) = moment.shown(&place) else {
                return End::Broken;
            };
            effects.extend(sync.step(event, moment.own(shown)));
        }
        End::Broken
    }

    async fn carry_out_sync(
        &self,
        place: Place,
        (peer, trusted, life): (NodeId, bool, Actor),
        effect: Effect,
        course: &mut Course<'_>,
    ) -> Event {
        let difference = |dots, holder| Request::Difference {
            place,
            dots,
            holder,
            trusted,
        };
        match effect {
            Effect::Compare(digest) => {
                let compare = Request::Compare {
                    place,
                    digest,
                    trusted,
                };
                self.asked(place, peer, compare, course).await
            }
            Effect::AskDifference(dots) => {
                let request = difference(dots, None);
                if course.has_merged {
                    self.fetched(place, peer, request, course).await
                } else {
                    self.asked(place, peer, request, course).await
                }
            }
            Effect::AskRest(dots) => {
                let request = difference(dots, Some(life));
                self.fetched(place, peer, request, course).await
            }
            Effect::AskChunk(kind, from) => {
                let chunk = Request::Chunk { place, kind, from };
                self.fetched(place, peer, chunk, course).await
            }
            effect => self.change(place, peer, effect, course).await,
        }
    }

    /// Carries out what a round asks to be changed here.
    async fn change(
        &self,
        place: Place,
        peer: NodeId,
        effect: Effect,
        course: &mut Course<'_>,
    ) -> Event {
        match effect {
            Effect::Merge(items) => {
                let merge = Operation::MergeItems { place, items };
                self.merged(merge, course).await
            }
            Effect::Close(after, steps) => {
                let close = Operation::Close {
                    place,
                    after,
                    steps,
                };
                self.committed(close, course, committed).await
            }
            Effect::MergeChunk(from, chunk, closed) => {
                let merge = Operation::MergeChunk {
                    place,
                    peer,
                    from,
                    chunk,
                    closed,
                };
                self.merged(merge, course).await
            }
            Effect::Join(clock) => {
                let join = Operation::Join { place, peer, clock };
                self.committed(join, course, |_| Event::Joined).await
            }
            Effect::Learn(lists) => {
                let learn = Operation::Learn { place, lists };
                self.committed(learn, course, committed).await
            }
            Effect::Agree(settled) => self.agree(place, peer, settled, course).await,
            Effect::Compare(_)
            | Effect::AskDifference(_)
            | Effect::AskRest(_)
            | Effect::AskChunk(..)
            | Effect::Alarm
            | Effect::End(_) => Event::Failed,
        }
    }

    async fn agree(
        &self,
        place: Place,
        peer: NodeId,
        settled: bool,
        course: &mut Course<'_>,
    ) -> Event {
        let Some(quorum) = self.quorum_of(place) else {
            return Event::Failed;
        };
        let agree = Operation::Agree {
            place,
            peer,
            settled,
            replicas: quorum.replicas,
        };
        self.committed(agree, course, committed).await
    }

    /// What another answers to a request for more than a first answer, at the rate of repair.
    async fn fetched(
        &self,
        place: Place,
        peer: NodeId,
        request: Request,
        course: &mut Course<'_>,
    ) -> Event {
        course.slot.fetch_much().await;
        self.throttle.paid().await;
        self.asked(place, peer, request, course).await
    }

    async fn asked(
        &self,
        place: Place,
        peer: NodeId,
        request: Request,
        course: &mut Course<'_>,
    ) -> Event {
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        match self
            .wire
            .call(peer, &request, deadline, Urgency::Background)
            .await
        {
            Ok(Reply::Sync {
                answer,
                word,
                epoch,
            }) => {
                let speaker = Speaker {
                    epoch,
                    trusted: word.trusted,
                    damaged: word.damaged,
                };
                self.refuse_too(place, &word.refused).await;
                course.heard.insert(peer, word);
                Event::Answered(answer, speaker)
            }
            Ok(Reply::Refused(Refusal::Behind)) => {
                tracing::error!(
                    partition = %place.partition,
                    %peer,
                    "another replica remembers that this one had seen more: it has lost something, \
                     and answers no quorum read until it has that again"
                );
                let _ = self.committer.commit(Operation::Doubt { place }).await;
                Event::Failed
            }
            Ok(_) | Err(_) => Event::Failed,
        }
    }

    async fn merged(&self, merge: Operation, course: &mut Course<'_>) -> Event {
        self.throttle.take(Partitions::weight(&merge));
        course.has_merged = true;
        self.committed(merge, course, committed).await
    }

    async fn committed(
        &self,
        operation: Operation,
        course: &mut Course<'_>,
        event: impl FnOnce(Answer) -> Event,
    ) -> Event {
        let answer = self.committer.commit(operation).await;
        course.is_in_vain |= is_in_vain(&answer);
        match answer {
            Ok(Answer::NotHeld) => Event::Failed,
            Ok(Answer::Partly) => Event::MergedPartly,
            Ok(answer) => event(answer),
            Err(error) => {
                tracing::debug!(%error, "repair waits for the store");
                Event::Failed
            }
        }
    }

    fn alarm(&self, place: Place, peer: NodeId) {
        self.counters.sum_alarms.fetch_add(1, Ordering::Relaxed);
        tracing::error!(
            partition = %place.partition,
            %peer,
            "two replicas have seen the same writes and hold different values: \
             one of them has lost some; both are merged"
        );
    }

    /// Takes note that all the other held is merged.
    async fn end(&self, (place, begun): (Place, Generation), peer: NodeId, end: End) -> End {
        let (End::Merged { trusted }, Some(quorum)) = (end, self.quorum_of(place)) else {
            return End::Broken;
        };
        if self.is_suspect(place) {
            let stand = Operation::Stand {
                place,
                begun,
                peer,
                trusted,
                quorum,
            };
            match self.committer.commit(stand).await {
                Ok(Answer::Done) => (),
                Ok(_) | Err(_) => return End::Broken,
            }
        }
        if let Some(shown) = self.moments.load().shown(&place)
            && (trusted || shown.state.standing.is_trusted())
        {
            shown.compared.store(true, Ordering::Relaxed);
        }
        end
    }

    /// The full transfers that broke and can go on.
    fn broken(&self) -> MutexGuard<'_, Broken> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_suspect(&self, place: Place) -> bool {
        let moment = self.moments.load();
        moment
            .shown(&place)
            .is_some_and(|shown| !shown.state.standing.is_trusted())
    }
}

/// Whether the same would be answered to the same until there is room, or less damage.
fn is_in_vain(answer: &Result<Answer, CommitError>) -> bool {
    matches!(
        answer,
        Ok(Answer::Full | Answer::Partly | Answer::Reached(Reached::To { whole: false, .. }))
            | Err(CommitError::Full | CommitError::Unreadable(_))
    )
}

/// What a round hears of what it asked the store for.
fn committed(answer: Answer) -> Event {
    match answer {
        Answer::Done => Event::Merged,
        Answer::Closed(closed) => Event::Closed(closed),
        Answer::Reached(next) => Event::ChunkMerged(next),
        _ => Event::Failed,
    }
}
