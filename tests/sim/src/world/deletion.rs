//! This is what the authority does to buckets while a cluster runs: it purges them, deletes them
//! when they are empty, and makes them again. Nodes hear of it late, or from each other.

use super::{Event, World};
use crate::bug::Bug;
use crate::catalog::LifeId;
use crate::moment::{MILLI, SECOND};
use crate::table::Bucket;
use soros_core::epoch::Epoch;
use soros_core::id::{BucketId, NodeId};
use soros_core::operation::Consistency;
use std::collections::BTreeMap;

/// A bucket that is closed, to be dropped if it has no keys.
pub(super) struct Deletion {
    bucket: Bucket,
    id: BucketId,
    life: LifeId,
    /// The epoch that closed it.
    epoch: Epoch,
    /// What the nodes said: whether they hold a live key.
    answers: BTreeMap<NodeId, bool>,
}

impl World {
    /// Drops a bucket with all its keys; it is made again later.
    pub(super) fn purge(&mut self) -> bool {
        let Some((bucket, _)) = self.pick_living(|_| true) else {
            return false;
        };
        self.catalogs.drop(bucket);
        self.spread();
        self.create_later(bucket);
        true
    }

    /// Begins to delete a bucket if it has no keys.
    pub(super) fn delete(&mut self) -> bool {
        let Some((bucket, life)) = self.pick_living(|closing| !closing) else {
            return false;
        };
        if self.deletion.is_some() {
            return false;
        }
        self.catalogs.close(bucket, true);
        self.spread();
        self.deletion = Some(Deletion {
            bucket,
            id: life.id,
            life: life.life,
            epoch: self.catalogs.newest().epoch,
            answers: BTreeMap::new(),
        });
        let nodes: Vec<NodeId> = self.table.nodes().to_vec();
        for node in nodes {
            let when = self.now.after(self.random.between(MILLI, SECOND / 2));
            self.schedule.add(when, Event::Surveys(node));
        }
        let when = self.now.after(self.random.between(SECOND / 4, SECOND));
        self.schedule.add(when, Event::Decides);
        self.changes_due += 1;
        true
    }

    fn pick_living(
        &mut self,
        may: impl Fn(bool) -> bool,
    ) -> Option<(Bucket, crate::catalog::Life)> {
        let used = |bucket: &Bucket| self.plan.buckets.contains(bucket);
        let living = self.catalogs.newest().living();
        let living = living.filter(|(bucket, life)| used(bucket) && may(life.closing));
        let living: Vec<_> = living.collect();
        (!living.is_empty()).then(|| *self.random.pick(&living))
    }

    /// A node says whether it holds a live key of the closing bucket.
    pub(super) fn on_surveys(&mut self, node: NodeId) {
        let Some(deletion) = &self.deletion else {
            return;
        };
        let (id, epoch) = (deletion.id, deletion.epoch);
        let mut answer = None;
        self.turn(node, |process, turn| {
            answer = process.survey(turn, id, epoch);
        });
        if let (Some(deletion), Some(answer)) = (&mut self.deletion, answer) {
            deletion.answers.insert(node, answer);
        }
    }

    /// The authority has heard enough of a closing bucket: it goes, or opens again.
    pub(super) fn on_decides(&mut self) {
        self.changes_due -= 1;
        let Some(deletion) = self.deletion.take() else {
            return;
        };
        let (bucket, life) = (deletion.bucket, deletion.life);
        let now = self.catalogs.newest().life(bucket);
        if now.is_none_or(|now| now.life != life) {
            return; // Purged meanwhile.
        }
        if self.is_empty(&deletion) {
            self.dropped.push((bucket, life));
            self.catalogs.drop(bucket);
            self.create_later(bucket);
        } else {
            self.catalogs.close(bucket, false);
        }
        self.spread();
    }

    fn is_empty(&self, deletion: &Deletion) -> bool {
        let answers = &deletion.answers;
        let sure = self.table.places().all(|place| {
            let replicas = self.table.replicas_of(place);
            let empty = replicas.iter().filter(|node| answers.contains_key(node));
            Consistency::Quorum.needed(replicas.len()) <= empty.count()
        });
        sure && !answers.values().any(|has_keys| *has_keys)
    }

    fn create_later(&mut self, bucket: Bucket) {
        let when = self.now.after(self.random.tailed(SECOND / 4));
        self.schedule.add(when, Event::Creates(bucket));
        self.changes_due += 1;
    }

    pub(super) fn on_creates(&mut self, bucket: Bucket) {
        self.changes_due -= 1;
        let keeps = self.plan.settings.bug == Some(Bug::SameBucketId);
        self.catalogs.create(bucket, keeps);
        self.spread();
    }

    /// Sends the newest map to all nodes; some do not get it.
    pub(super) fn spread(&mut self) {
        let epoch = self.catalogs.newest().epoch;
        let nodes: Vec<NodeId> = self.table.nodes().to_vec();
        for node in nodes {
            let when = self.now.after(self.random.tailed(20 * MILLI));
            if self.phase != super::Phase::Harmed || !self.random.chance(200) {
                self.schedule.add(when, Event::MapComes(node, epoch));
            }
        }
    }
}
