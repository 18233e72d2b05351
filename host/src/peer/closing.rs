//! This is the closing of actors that have ended: after a pass of anti-entropy, and only where
//! there is one, the leader of the partition's replicas asks all of them to take part.

use super::Peer;
use super::converge::Heard;
use super::operation::{Answer, Operation};
use super::wire::Urgency;
use crate::store::commit::CommitError;
use futures_util::stream::{FuturesUnordered, StreamExt};
use soros_core::close::{self, Ask, Close, Effect, Event};
use soros_core::dot::Actor;
use soros_core::id::NodeId;
use soros_core::message::{Reply, Request};
use soros_core::place::Place;
use std::time::{Duration, Instant};

/// How long a replica may take to answer: it syncs first.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How many actors the clocks of a node's partitions have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ActorCounts {
    /// That are not closed: one for each replica that has written since its last start, and those
    /// that are yet to be closed.
    pub open: u64,
    /// That are closed.
    pub closed: u64,
}

impl Peer {
    /// How many actors the clocks of the partitions have, all together.
    #[must_use]
    pub fn actor_counts(&self) -> ActorCounts {
        let moment = self.moments.load();
        let mut counts = ActorCounts::default();
        for (_, shown) in moment.places() {
            let clock = &shown.state.clock;
            let open = clock.seen().actors().filter(|actor| !actor.is_name());
            counts.open += open.count() as u64;
            counts.closed += clock.closed().len() as u64;
        }
        counts
    }

    /// Closes what has ended, if this node leads, and if all other replicas were `heard` just now.
    pub(super) async fn close_ended(&self, place: Place, mut heard: Heard) {
        let replicas = self.replicas_at(place).unwrap_or_default();
        let others = self.others_of(place);
        let all_heard = others.iter().all(|node| heard.contains_key(node));
        if close::leader(&replicas) != Some(self.me) || !all_heard {
            return;
        }
        let candidates = self.ended_candidates(place, &replicas, &mut heard);
        if candidates.is_empty() {
            return;
        }
        let (mut attempt, mut effects) = Close::new(self.me, &replicas, candidates);
        let mut pending = FuturesUnordered::new();
        loop {
            for effect in effects {
                match effect {
                    Effect::Ask(node, ask) => pending.push(self.ask_to_close(place, node, ask)),
                    Effect::End(closed) => {
                        tracing::debug!(partition = %place.partition, closed, "actors are closed");
                        return;
                    }
                }
            }
            let Some(event) = pending.next().await else {
                return;
            };
            effects = attempt.step(event);
        }
    }

    fn ended_candidates(&self, place: Place, replicas: &[NodeId], heard: &mut Heard) -> Vec<Actor> {
        let moment = self.moments.load();
        let (Some(shown), Some(view)) = (moment.shown(&place), moment.view(&place)) else {
            return Vec::new();
        };
        let mut own = view.word(shown.actor);
        own.damaged = self.damage.is_in(&place, shown.layout.generation());
        heard.insert(self.me, own);
        match view.open_actors() {
            Ok(open) => close::candidates(open, &shown.state, replicas, heard),
            Err(error) => {
                tracing::error!(partition = %place.partition, %error, "a record could not be read");
                let seen = Some(shown.layout.generation());
                self.damage.note(place, seen, &error);
                Vec::new()
            }
        }
    }

    async fn ask_to_close(&self, place: Place, node: NodeId, ask: Ask) -> Event {
        let answer = if node == self.me {
            match self.closing(place, ask).await {
                Ok(Answer::Closing(answer)) => Some(answer),
                Ok(_) | Err(_) => None,
            }
        } else {
            let (request, deadline) = (
                Request::Closing { place, ask },
                Instant::now() + ANSWER_TIMEOUT,
            );
            let urgency = Urgency::Background;
            match self.wire.call(node, &request, deadline, urgency).await {
                Ok(Reply::Closing(answer)) => Some(answer),
                Ok(_) | Err(_) => None,
            }
        };
        answer.map_or(Event::Failed(node), |answer| Event::Answered(node, answer))
    }

    /// Refuses, as a suspect, what another replica has `refused`.
    pub(super) async fn refuse_too(&self, place: Place, refused: &[Actor]) {
        let moment = self.moments.load_full();
        let shown = moment.shown(&place);
        let ended = shown.map(|shown| shown.state.yet_to_refuse(refused));
        if let Some(ended) = ended.filter(|ended| !ended.is_empty()) {
            // It is asked again with the next answer.
            let _ = self.closing(place, Ask::Refuse(ended)).await;
        }
    }

    /// Takes part in a closing.
    pub(super) async fn closing(&self, place: Place, ask: Ask) -> Result<Answer, CommitError> {
        let life_is_known = self.life_is_known();
        let moment = self.moments.load_full();
        let believed = moment
            .shown(&place)
            .is_some_and(|shown| self.is_shown_believed(place, shown, life_is_known));
        let closing = Operation::Closing {
            place,
            ask,
            believed,
        };
        self.committer.commit(closing).await
    }
}
