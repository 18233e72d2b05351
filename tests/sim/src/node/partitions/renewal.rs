//! This is how a partition with a damaged record comes to begin anew, step by step.

use super::{Answer, Applied, Partitions, remove_range};
use crate::bug::Bug;
use crate::disk::Overlay;
use soros_core::dot::Actor;
use soros_core::dot_set::DotSet;
use soros_core::id::{Generation, NodeId};
use soros_core::place::{Layout, Place};
use soros_core::replica::{Attempt, Inventory, Promises, Replica, Standing};

/// A step on the way to a partition that begins anew.
#[derive(Clone, Debug)]
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
    /// An attempt ends: the partition begins anew if enough others hold the rest of it.
    Drop {
        /// What the others promised.
        promises: Promises,
    },
    /// One that cannot be opened begins anew.
    BeginAnew,
}

impl Renewal {
    /// Whether it may drop a partition.
    #[must_use]
    pub fn drops(&self) -> bool {
        matches!(self, Renewal::Drop { .. } | Renewal::BeginAnew)
    }
}

impl Partitions {
    /// Begins an attempt to drop a partition, if it is still of the generation in which a record
    /// was seen to be damaged.
    pub(in crate::node) fn attempt_renewal(
        &mut self,
        place: Place,
        seen: Generation,
    ) -> Option<Attempt> {
        let replica = self.replicas.get_mut(&place);
        let of_then = |replica: &&mut Replica| replica.layout().generation() == seen;
        replica.filter(of_then)?.attempt_renewal()
    }

    pub(super) fn apply_step(
        &mut self,
        batch: &mut Overlay<'_>,
        place: Place,
        step: Renewal,
        bug: Option<Bug>,
    ) -> Applied {
        let replica = match (self.replicas.get_mut(&place), &step) {
            (Some(_), Renewal::BeginAnew) if bug.is_none() => return Ok(Answer::Done),
            (_, Renewal::BeginAnew) => return self.begin_anew(batch, place, bug),
            (Some(replica), _) => replica,
            (None, _) => return Ok(Answer::NotHeld),
        };
        self.touched.insert(place);
        match step {
            Renewal::Held { holder, seen, of } if replica.layout().generation() == of => {
                replica.remember_held(holder, seen);
            }
            Renewal::Promise { peer, inventory } => {
                let trusted = replica.state().standing.is_trusted();
                let promise = replica.promise(peer, &inventory);
                replica.save(batch);
                let promised = |promise| Answer::Promised(promise, trusted);
                return Ok(promise.map_or(Answer::NotPromised, promised));
            }
            Renewal::Drop { promises } => match replica.renew(batch, &promises)? {
                Some(_) if bug == Some(Bug::SameActorAfterRefill) => {
                    batch.take_back();
                    return self.begin_anew(batch, place, bug);
                }
                Some(mut renewed) => {
                    if bug == Some(Bug::DamagedCountsAsKept) {
                        renewed.stand(Standing::beginning(true));
                        renewed.save(batch);
                    }
                    self.begin(place, renewed);
                }
                None => (),
            },
            Renewal::Held { .. } | Renewal::BeginAnew => (),
        }
        Ok(Answer::Done)
    }

    fn begin_anew(&mut self, batch: &mut Overlay<'_>, place: Place, bug: Option<Bug>) -> Applied {
        let replica = if bug == Some(Bug::SameActorAfterRefill) {
            let layout = self.replicas.get(&place).map(Replica::layout);
            let layout = layout.unwrap_or(Layout::new(place, Generation(1)));
            let mut end = layout.first();
            end.push(u8::MAX);
            remove_range(batch, &layout.first(), &end);
            Replica::open(batch, place, self.me, Standing::suspect())?
        } else {
            Replica::begin_anew(batch, place, self.me)?
        };
        self.begin(place, replica);
        Ok(Answer::Done)
    }

    fn begin(&mut self, place: Place, replica: Replica) {
        self.replicas.insert(place, replica);
        self.renewed.insert(place);
        self.compared.remove(&place);
        self.touched.insert(place);
    }
}
