//! This is how a write that is minted spreads: whom its object is sent to, whose acknowledgement
//! counts, when it is minted again, and when it is done.

use super::{Effect, MINTED_AGAIN_MAX, Phase, Resolution, Store, Write, again};
use crate::dot::Dot;
use crate::id::NodeId;
use crate::object::{Object, Version};
use crate::operation::{Consistency, WriteAnswer};
use crate::replica::{Found, State, Written};
use crate::time::Time;
use std::collections::BTreeSet;

impl Write {
    pub(super) fn on_written(&mut self, written: Written, own: &State) -> Vec<Effect> {
        if self.own.is_empty() {
            self.existed |= written.found.live;
        }
        // A merged version that is minted again is not the client's: its token names the first dot.
        if self.own.is_empty() || !self.merges {
            self.own.push(written.dot);
        }
        let reachable = self
            .others()
            .filter(|node| self.with.reachable.contains(node));
        let send = |node| Effect::Send(node, written.object.clone(), written.dots.clone());
        let mut effects: Vec<Effect> = reachable.map(send).collect();
        let beside = written.found.beside;
        let acknowledged = BTreeSet::from([self.with.me]);
        let suspects = acknowledged.iter().copied();
        let suspects = suspects.filter(|_| written.found.suspect).collect();
        self.failed = self
            .others()
            .filter(|node| !self.with.reachable.contains(node))
            .collect();
        self.phase = Phase::Spreading {
            written,
            acknowledged,
            suspects,
            beside,
            unclear: BTreeSet::new(),
            waits: false,
        };
        effects.extend(self.conclude(own));
        effects
    }

    pub(super) fn on_acknowledged(
        &mut self,
        node: NodeId,
        of: (Dot, Found),
        own: &State,
    ) -> Vec<Effect> {
        let (minted, found) = of;
        let Phase::Spreading {
            written,
            acknowledged,
            suspects,
            beside,
            unclear,
            ..
        } = &mut self.phase
        else {
            return Vec::new();
        };
        // One for what was minted before says nothing of what was minted again. A repeated one is
        // normal: the network may deliver it twice.
        if written.dots.last() != Some(&minted) || !acknowledged.insert(node) {
            return Vec::new();
        }
        *beside = (*beside).max(found.beside);
        suspects.extend(found.suspect.then_some(node));
        // What a replica holds of a write minted again, or sent again, may be the write itself.
        let is_first = self.minted_again == 0 && !unclear.remove(&node);
        self.existed |= found.live && is_first;
        self.conclude(own)
    }

    pub(super) fn on_unclear(&mut self, node: NodeId, minted: Dot) -> Vec<Effect> {
        match &mut self.phase {
            Phase::Spreading {
                written,
                unclear,
                waits,
                ..
            } if written.dots.last() == Some(&minted) => {
                unclear.insert(node);
                again(waits)
            }
            _ => Vec::new(),
        }
    }

    /// Sends what is there now to those to whom the object was not clear: it may name a list of
    /// closed actors that they came past without having it. What has come beside the write since
    /// may have been acknowledged before it began.
    pub(super) fn send_again(&mut self, object: &Object) -> Vec<Effect> {
        let Phase::Spreading {
            written,
            beside,
            unclear,
            ..
        } = &mut self.phase
        else {
            return Vec::new();
        };
        // Where the own replica was dropped meanwhile, the write is not there any more.
        let seen = object.seen();
        let has_it = written.dots.iter().all(|dot| seen.has(dot));
        let object = if has_it { object } else { &written.object };
        *beside = (*beside).max(object.latest_beside(&written.dots));
        let send = |node: &NodeId| Effect::Send(*node, object.clone(), written.dots.clone());
        unclear.iter().map(send).collect()
    }

    /// Whether the write must stand above every version that was acknowledged before it began.
    fn is_ordered(&self) -> bool {
        self.with.resolver && self.request.consistency != Consistency::One
    }

    /// How many acknowledgements count. That of a suspect says nothing of what was there before it
    /// lost something, and counts only once all replicas have spoken.
    pub(super) fn counted(&self) -> usize {
        match &self.phase {
            Phase::Spreading {
                acknowledged,
                suspects,
                ..
            } if self.is_ordered() && acknowledged.len() < self.with.replicas.len() => {
                acknowledged.len() - suspects.len()
            }
            Phase::Spreading { acknowledged, .. } => acknowledged.len(),
            _ => 0,
        }
    }

    /// The coordinator is one of those that have the write only while its replica is the one that
    /// stored it: not when that was dropped meanwhile.
    fn check_own(&mut self, own: &State) {
        let me = self.with.me;
        if let Phase::Spreading {
            written,
            acknowledged,
            suspects,
            ..
        } = &mut self.phase
            && !written.dots.iter().all(|dot| own.clock.seen().has(dot))
        {
            acknowledged.remove(&me);
            suspects.remove(&me);
            self.failed.insert(me);
        }
    }

    /// Answers once enough replicas have the write, or too few are left.
    pub(super) fn conclude(&mut self, own: &State) -> Vec<Effect> {
        self.check_own(own);
        let (needed, counted) = (self.needed(), self.counted());
        let Phase::Spreading {
            written,
            acknowledged,
            beside,
            ..
        } = &self.phase
        else {
            return Vec::new();
        };
        if counted < needed {
            let (all, silent) = (
                self.with.replicas.len(),
                self.failed.difference(acknowledged).count(),
            );
            let awaited = all - silent - acknowledged.len();
            return if 0 < silent && counted + awaited < needed {
                self.unknown()
            } else {
                Vec::new()
            };
        }
        let minted = written
            .dots
            .last()
            .and_then(|dot| written.object.versions.get(dot));
        let is_late = minted.is_some_and(|version| version.time <= *beside);
        if self.is_ordered() && is_late && self.minted_again < MINTED_AGAIN_MAX {
            let (beside, written) = (*beside, written.clone());
            self.phase = Phase::Ticking { written };
            return vec![Effect::Tick(beside)];
        }
        let mut context = self.seen.clone();
        for dot in &self.own {
            context.add(*dot);
        }
        let answer = WriteAnswer {
            context,
            existed: self.existed,
            versions: written.object.dots(),
            achieved: self.achieved(acknowledged.len()),
            served_by: self.with.me,
        };
        self.answer(Ok(answer))
    }

    /// Mints the stored version again at a later time, so that it stands above what a replica held.
    pub(super) fn on_ticked(&mut self, time: Time) -> Vec<Effect> {
        let Phase::Ticking { written } = &self.phase else {
            return Vec::new();
        };
        let last = written
            .dots
            .last()
            .and_then(|dot| written.object.versions.get(dot));
        let value = last.and_then(|version| version.value.clone());
        let mut context = self.seen.clone();
        for dot in self.own.iter().chain(&written.dots) {
            context.add(*dot);
        }
        self.minted_again += 1;
        self.phase = Phase::Storing;
        let version = Version { time, value };
        let versions_max = self.with.versions_max;
        vec![Effect::Store(Store {
            context,
            version,
            siblings: Resolution::Keep,
            versions_max,
        })]
    }
}
