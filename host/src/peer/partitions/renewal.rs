//! This is how a partition with a damaged record comes to begin anew: step by step, each of which
//! the committer's thread takes in turn with all else that happens to it.

use super::Partitions;
use crate::peer::operation::Answer;
use crate::store::overlay::Overlay;
use soros_core::dot::Actor;
use soros_core::dot_set::DotSet;
use soros_core::id::{Generation, NodeId};
use soros_core::place::Place;
use soros_core::record::RecordError;
use soros_core::replica::{Inventory, Promises, Replica};
use std::sync::Arc;

/// A step on the way to a partition that begins anew.
#[derive(Debug)]
pub enum Renewal {
    /// Another replica has merged all of these dots, but for what is damaged here.
    Held {
        /// Which life of it.
        holder: Actor,
        /// What it has merged.
        seen: DotSet,
        /// The generation of which that is said.
        of: Generation,
    },
    /// Another replica wants to drop its state and to rely on this one's.
    Promise {
        /// The other replica.
        peer: NodeId,
        /// What was looked at here.
        inventory: Inventory,
    },
    /// An attempt to drop this one begins.
    Attempt {
        /// The generation in which a record was seen to be damaged.
        seen: Generation,
    },
    /// The attempt ends: the partition begins anew if enough others hold the rest of it.
    Drop {
        /// What the others promised.
        promises: Promises,
    },
    /// One that cannot be opened begins anew.
    BeginAnew,
}

impl Partitions {
    pub(super) fn apply_step(
        &mut self,
        batch: &mut Overlay<'_>,
        place: Place,
        step: Renewal,
    ) -> Result<Answer, RecordError> {
        let Some(replica) = self.replicas.get_mut(&place) else {
            return match step {
                Renewal::BeginAnew => self.begin_anew(batch, place),
                _ => Ok(Answer::NotHeld),
            };
        };
        Ok(match step {
            Renewal::Held { holder, seen, of } if replica.layout().generation() == of => {
                replica.remember_held(holder, seen);
                Answer::Done
            }
            Renewal::Promise { peer, inventory } => {
                let trusted = replica.state().standing.is_trusted();
                self.touched.insert(place);
                let promise = replica.promise(peer, &inventory);
                // What is promised is rewritten in this commit, whatever else is in it.
                replica.save(batch);
                promise.map_or(Answer::NotNow, |promise| Answer::Promised(promise, trusted))
            }
            Renewal::Attempt { seen } if replica.layout().generation() == seen => {
                let attempt = replica.attempt_renewal();
                attempt.map_or(Answer::NotNow, Answer::Attempted)
            }
            Renewal::Held { .. } | Renewal::Attempt { .. } => Answer::NotHeld,
            Renewal::Drop { promises } => match replica.renew(batch, &promises)? {
                Some(renewed) => self.begin(place, renewed),
                None => Answer::NotNow,
            },
            Renewal::BeginAnew => Answer::Done,
        })
    }

    fn begin_anew(&mut self, batch: &mut Overlay<'_>, place: Place) -> Result<Answer, RecordError> {
        let replica = Replica::begin_anew(batch, place, self.me)?;
        Ok(self.begin(place, replica))
    }

    fn begin(&mut self, place: Place, replica: Replica) -> Answer {
        self.replicas.insert(place, replica);
        self.compared.insert(place, Arc::default());
        self.touched.insert(place);
        Answer::Done
    }
}
