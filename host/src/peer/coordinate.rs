//! This is where a replica coordinates a client's operation: the core's machines decide, and their
//! effects are carried out here, over the committer, the wire and the bucket's resolver.

use super::Peer;
use super::operation::{Answer, Operation};
use super::wire::{Urgency, WireError};
use crate::store::commit::CommitError;
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{FuturesUnordered, StreamExt};
use soros_core::dot::Dot;
use soros_core::dot_set::DotSet;
use soros_core::id::NodeId;
use soros_core::message::{Refusal, Reply, Request};
use soros_core::object::Object;
use soros_core::operation::{
    Consistency, OperationError, ReadAnswer, ReadRequest, Target, WriteAnswer, WriteRequest,
};
use soros_core::read::{self, Read, Want};
use soros_core::replica::{Outcome, Standing, State};
use soros_core::skew::Skew;
use soros_core::write::{self, Coordination, Resolved, Store, Write};
use std::collections::{BTreeSet, VecDeque};
use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// How long what was not clear has to become so before it is tried again; each further time twice
/// as long, up to the longest.
const AGAIN: Duration = Duration::from_millis(20);
const AGAIN_MAX: Duration = Duration::from_millis(320);

type Pending<E> = FuturesUnordered<BoxFuture<'static, E>>;

impl Peer {
    /// Coordinates a write of a key this node holds, to its end: whoever asked may go away, and
    /// the replicas that were not waited for are sent the object all the same.
    ///
    /// # Errors
    /// [`OperationError`], which says whether anything may have been stored.
    pub async fn coordinate_write(
        self: &Arc<Self>,
        mut request: WriteRequest,
        deadline: Instant,
    ) -> Result<WriteAnswer, OperationError> {
        let with = self.coordination(&request)?;
        let changed = self.validate(&mut request, deadline).await?;
        let (answer, answered) = oneshot::channel();
        let peer = Arc::clone(self);
        // Ends by itself: nothing it waits for lasts longer than the deadline.
        tokio::spawn(async move { peer.drive_write(request, with, deadline, answer).await });
        // Without an answer the task is gone, and nobody knows what it had done.
        let unknown = OperationError::OutcomeUnknown {
            reached: 0,
            needed: 1,
        };
        let mut answer = answered.await.unwrap_or(Err(unknown));
        if let (Ok(answer), true) = (&mut answer, changed) {
            answer.versions = DotSet::default();
        }
        answer
    }

    async fn drive_write(
        &self,
        request: WriteRequest,
        with: Coordination,
        deadline: Instant,
        answer: oneshot::Sender<Result<WriteAnswer, OperationError>>,
    ) {
        let target = request.target.clone();
        let (mut write, first) = Write::new(request, with);
        let mut effects = VecDeque::from(first);
        let mut pending = Pending::new();
        let mut pause = AGAIN;
        let mut waiting = Some(answer);
        loop {
            while let Some(effect) = effects.pop_front() {
                match effect {
                    // An error means that whoever asked has gone.
                    write::Effect::Answer(answer) => {
                        let _ = waiting.take().map(|waiting| waiting.send(answer));
                    }
                    write::Effect::Again => {
                        pending.push(self.again(&mut pause, write::Event::Again));
                    }
                    effect => pending.push(self.carry_out_write(&target, effect, deadline)),
                }
            }
            let event = next(&mut pending, deadline).await;
            if waiting.is_none() && event.is_none() {
                return;
            }
            let event = event.unwrap_or(write::Event::Expired);
            effects.extend(write.step(event, &self.state_of(&target)));
        }
    }

    /// Coordinates a read of a key this node holds.
    ///
    /// # Errors
    /// [`OperationError`] when too few replicas answer in time.
    pub async fn coordinate_read(
        &self,
        request: ReadRequest,
        deadline: Instant,
    ) -> Result<ReadAnswer, OperationError> {
        let target = request.target.clone();
        let replicas = self.replicas_of(&target)?;
        if self.moments.load().buckets().is_dead(target.bucket()) {
            return Err(OperationError::NotServed);
        }
        let candidates = self.candidates(&request, &replicas);
        let (mut read, first) = Read::new(request, self.me, &candidates, replicas.len());
        let mut effects = VecDeque::from(first);
        let mut pending = Pending::new();
        pending.push(
            tokio::time::sleep(self.hedge_delay())
                .map(|()| read::Event::HedgeDue)
                .boxed(),
        );
        let (mut answer, mut pause) = (None, AGAIN);
        loop {
            while let Some(effect) = effects.pop_front() {
                match effect {
                    read::Effect::Answer(reached) => answer = Some(reached),
                    read::Effect::Ask(node, want) => {
                        pending.push(self.ask(&target, node, want, deadline));
                    }
                    read::Effect::Again => {
                        pending.push(self.again(&mut pause, read::Event::Again));
                    }
                    read::Effect::Repair(node, object) => {
                        self.counters.read_repairs.fetch_add(1, Ordering::Relaxed);
                        self.repair(&target, node, object);
                    }
                }
            }
            if let Some(answer) = answer.take() {
                return answer;
            }
            let event = next(&mut pending, deadline)
                .await
                .unwrap_or(read::Event::Expired);
            let hedges = matches!(event, read::Event::HedgeDue);
            effects.extend(read.step(event, &self.state_of(&target)));
            if hedges && !effects.is_empty() {
                self.counters.hedged_reads.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn coordination(&self, request: &WriteRequest) -> Result<Coordination, OperationError> {
        let map = self.map().ok_or(OperationError::NotReady)?;
        let replicas = self.replicas_of(&request.target)?;
        let (_, bucket) = map
            .bucket_by_id(request.target.bucket())
            .ok_or(OperationError::NotServed)?;
        let resolver = bucket.config.resolver.is_some();
        // Nobody knows yet whether this node's clock is right.
        if !self.clock.is_settled() {
            return Err(OperationError::NotReady);
        }
        // A suspect's silence must not count where a quorum is asked what there is.
        if write::reads_quorum(request, resolver) && !self.is_believed(&request.target) {
            return Err(OperationError::NotReady);
        }
        let reachable = |node: &NodeId| *node == self.me || self.wire.is_reachable(*node);
        let reachable: BTreeSet<NodeId> = replicas.iter().copied().filter(reachable).collect();
        let versions_max = usize::try_from(map.settings().siblings_max).unwrap_or(usize::MAX);
        Ok(Coordination {
            me: self.me,
            replicas,
            reachable,
            resolver,
            versions_max,
        })
    }

    /// The replicas that may answer a read, the best first.
    fn candidates(&self, request: &ReadRequest, replicas: &[NodeId]) -> Vec<NodeId> {
        let believed = self.is_believed(&request.target);
        let others = replicas.iter().copied().filter(|node| *node != self.me);
        let others = others.filter(|node| self.wire.is_reachable(*node));
        let mut others: Vec<NodeId> = others.collect();
        others.sort_by_key(|node| self.wire.is_silent(*node));
        let me = std::iter::once(self.me);
        match request.consistency {
            // From its own copy, unless that is doubtful and there is another.
            Consistency::One if believed => me.collect(),
            Consistency::One => others.into_iter().chain(me).collect(),
            Consistency::Quorum | Consistency::All if believed => me.chain(others).collect(),
            Consistency::Quorum | Consistency::All => others,
        }
    }

    fn carry_out_write(
        &self,
        target: &Target,
        effect: write::Effect,
        deadline: Instant,
    ) -> BoxFuture<'static, write::Event> {
        match effect {
            write::Effect::Look(node) => {
                let clock = self.clock.clone();
                let looked = move |event| match event {
                    read::Event::Object(node, object) => match clock.tick(object.latest()) {
                        Ok(time) => write::Event::Looked(node, object, time),
                        Err(skew) => skewed(skew),
                    },
                    _ => write::Event::Failed(node),
                };
                self.ask(target, node, Want::Object, deadline)
                    .map(looked)
                    .boxed()
            }
            write::Effect::Resolve(object, version) => {
                let resolved = self.resolve_write(target, &object, &version);
                ready(write::Event::Resolved(resolved)).boxed()
            }
            write::Effect::Store(store) => self.store(target, store, deadline),
            write::Effect::Send(node, object, dots) => {
                let (target, minted) = (target.clone(), dots.last().copied());
                let request = Request::Store {
                    target,
                    object,
                    dots,
                };
                let reply = self
                    .wire
                    .call(node, &request, deadline, Urgency::Foreground);
                let acknowledged = move |reply| acknowledged(node, minted, &reply);
                reply.map(acknowledged).boxed()
            }
            write::Effect::Tick(after) => {
                let ticked = self.clock.tick(after);
                ready(ticked.map_or_else(skewed, write::Event::Ticked)).boxed()
            }
            write::Effect::Again | write::Effect::Answer(_) => {
                unreachable!("the loop sees to it")
            }
        }
    }

    fn resolve_write(
        &self,
        target: &Target,
        object: &Object,
        version: &soros_core::object::Version,
    ) -> Resolved {
        let Some(map) = self.map() else {
            return Resolved::KeepAll;
        };
        self.policies.resolve_write(&map, target, object, version)
    }

    fn store(
        &self,
        target: &Target,
        store: Store,
        deadline: Instant,
    ) -> BoxFuture<'static, write::Event> {
        let target = target.clone();
        let life_is_known = self.life_is_known();
        let stored = move |answer| stored(answer, life_is_known);
        match self.committer.submit(Operation::Write {
            target,
            store,
            deadline,
        }) {
            Ok(ticket) => ticket.map(stored).boxed(),
            Err(error) => ready(stored(Err(error))).boxed(),
        }
    }

    fn ask(
        &self,
        target: &Target,
        node: NodeId,
        want: Want,
        deadline: Instant,
    ) -> BoxFuture<'static, read::Event> {
        if node == self.me {
            return ready(self.look(target)).boxed();
        }
        let request = Request::Look {
            target: target.clone(),
            want,
        };
        let asked = Instant::now();
        let delays = self.delays.clone();
        let reply = self
            .wire
            .call(node, &request, deadline, Urgency::Foreground);
        let event = move |reply| {
            delays.observe(asked.elapsed());
            match reply {
                Ok(Reply::Object(object)) => read::Event::Object(node, object),
                Ok(Reply::Digest(digest)) => read::Event::Digest(node, digest),
                Ok(_) | Err(_) => read::Event::Failed(node),
            }
        };
        reply.map(event).boxed()
    }

    fn look(&self, target: &Target) -> read::Event {
        let moment = self.moments.load();
        let view = moment.view(&target.place);
        // Some of a dead bucket's objects may have been removed already.
        let view = view.filter(|_| !moment.buckets().is_dead(target.bucket()));
        let object = view.map(|view| view.object(&target.entry));
        match object {
            Some(Ok(object)) => read::Event::Object(self.me, object),
            Some(Err(error)) => {
                tracing::error!(%error, partition = %target.place.partition, "a read failed");
                let shown = moment.shown(&target.place);
                let seen = shown.map(|shown| shown.layout.generation());
                self.damage.note(target.place, seen, &error);
                read::Event::Failed(self.me)
            }
            None => read::Event::Failed(self.me),
        }
    }

    /// Sends what a read found to a replica that lacks some of it, and waits for nothing.
    fn repair(&self, target: &Target, node: NodeId, object: Object) {
        let (target, dots) = (target.clone(), Vec::new());
        if node == self.me {
            let merge = Operation::Merge {
                target,
                object,
                dots,
            };
            if let Err(error) = self.committer.submit(merge) {
                tracing::debug!(%error, "a repair was left to anti-entropy");
            }
        } else {
            let request = Request::Store {
                target,
                object,
                dots,
            };
            self.wire.send(node, &request, Urgency::Background);
        }
    }

    fn state_of(&self, target: &Target) -> State {
        let moment = self.moments.load();
        moment.shown(&target.place).map_or_else(
            || State::new(Standing::suspect()),
            |shown| shown.state.clone(),
        )
    }

    /// Gives what is not clear time to become so: it does when a pass has heard what is closed.
    fn again<E: Send + 'static>(&self, pause: &mut Duration, event: E) -> BoxFuture<'static, E> {
        self.wake.notify_one();
        let longer = (*pause * 2).min(AGAIN_MAX);
        let pause = std::mem::replace(pause, longer);
        tokio::time::sleep(pause).map(|()| event).boxed()
    }

    fn hedge_delay(&self) -> Duration {
        self.delays.hedge()
    }
}

/// The next event, or none when the time is up.
async fn next<E>(pending: &mut Pending<E>, deadline: Instant) -> Option<E> {
    tokio::time::timeout_at(deadline.into(), pending.next())
        .await
        .ok()
        .flatten()
}

fn acknowledged(
    node: NodeId,
    minted: Option<Dot>,
    reply: &Result<Reply, WireError>,
) -> write::Event {
    match (reply, minted) {
        (Ok(Reply::Stored(found)), Some(minted)) => {
            write::Event::Acknowledged(node, minted, *found)
        }
        (Ok(Reply::Refused(Refusal::Unclear)), Some(minted)) => write::Event::Unclear(node, minted),
        (Ok(_) | Err(_), _) => write::Event::Failed(node),
    }
}

fn stored(answer: Result<Answer, CommitError>, life_is_known: bool) -> write::Event {
    match answer {
        Ok(Answer::Written(mut outcome)) => {
            if let Outcome::Written(written) = &mut outcome {
                written.found.suspect |= !life_is_known;
            }
            write::Event::Stored(outcome)
        }
        Ok(Answer::TooLate) => write::Event::Expired,
        Ok(Answer::ClockOff(skew)) => skewed(skew),
        Ok(Answer::Full) => write::Event::StoreFailed(OperationError::DiskFull),
        Ok(_) => write::Event::StoreFailed(OperationError::NotServed),
        Err(error) => write::Event::StoreFailed(operation_error(&error)),
    }
}

/// What a clock that is off gives instead of a time.
fn skewed(skew: Skew) -> write::Event {
    write::Event::StoreFailed(OperationError::ClockSkew { skew })
}

fn operation_error(error: &CommitError) -> OperationError {
    match error {
        CommitError::Busy => OperationError::Overloaded,
        CommitError::Closed => OperationError::NotReady,
        CommitError::Full => OperationError::DiskFull,
        CommitError::Unreadable(_)
        | CommitError::Unknown(_)
        | CommitError::Unavailable(_)
        | CommitError::Lost => OperationError::Storage,
    }
}
