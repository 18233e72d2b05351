//! This is what an operator and the authority do about the policy while faults run: versions come
//! into force, go back, and are put in quarantine; the nodes hear of it one after another.

use super::{Event, Node, Phase, World};
use crate::authority::{FAILURES, InForce, Verdict};
use crate::moment::{Moment, SECOND};
use crate::node::Process;
use crate::report::{Deed, Fault};
use soros_core::epoch::Epoch;
use soros_core::id::NodeId;
use std::collections::BTreeSet;

/// How many of a thousand nodes hear late of a map, and of a thousand reports are lost.
const SLOW: u64 = 150;
const LOST: u64 = 200;
/// How many of a thousand changes by an operator go back to the version before.
const BACK: u64 = 250;
/// How many of a thousand versions come into force on probation.
const ON_PROBATION: u64 = 400;

impl World {
    pub(super) fn count(&mut self, deed: Deed) {
        *self.deeds.entry(deed).or_default() += 1;
    }

    /// An operator activates a version, or goes back to the one before.
    pub(super) fn on_operates(&mut self) {
        if self.phase != Phase::Harmed {
            return;
        }
        let goes_back = self.chance.chance(BACK);
        let releases = self.plan.settings.releases.len();
        let (version, deed) = match self.authority.previous().filter(|_| goes_back) {
            Some(previous) => (previous, Deed::RolledBack),
            None => (self.chance.index(releases.max(1)), Deed::Activated),
        };
        let on_probation = self.chance.chance(ON_PROBATION);
        self.activate(version, on_probation);
        self.count(deed);
        if on_probation {
            let since = self.authority.in_force().since;
            let ends = self.now.after(self.chance.between(SECOND, 3 * SECOND));
            self.schedule.add(ends, Event::ProbationEnds(since));
        }
        self.spread_map();
    }

    /// A version comes into force. Its component is at every node that runs.
    pub(super) fn activate(&mut self, version: usize, on_probation: bool) {
        for node in self.nodes.values_mut() {
            if node.process.is_some() {
                node.components.insert(version);
            }
        }
        self.authority.activate(version, on_probation);
        self.in_force_since = self.now;
    }

    pub(super) fn on_probation_ends(&mut self, since: Epoch) {
        if self.authority.end_probation(since) {
            self.spread_map();
        }
    }

    /// A node says that the version fails that is in force since an epoch.
    pub(super) fn on_blames(&mut self, since: Epoch) {
        if self.phase == Phase::Play {
            self.held.push(Event::Blamed(since));
        } else if !self.chance.chance(LOST) {
            let when = self.now.after(self.chance.tailed(SECOND / 4));
            self.schedule.add(when, Event::Blamed(since));
        }
    }

    /// The authority hears that a version fails.
    pub(super) fn on_blamed(&mut self, since: Epoch) {
        let is_blamed = self.authority.in_force();
        let verdict = self.authority.blame(since, self.now);
        match verdict {
            Verdict::Counted => return,
            Verdict::Late => return self.count(Deed::BlamedLate),
            Verdict::Withdrawn => self.count(Deed::Withdrawn),
            Verdict::Quarantined => self.count(Deed::Quarantined),
        }
        if !self.has_failed(is_blamed) {
            self.faults.push(Fault::Unjust {
                version: is_blamed.version,
            });
        }
        if verdict == Verdict::Withdrawn {
            self.in_force_since = self.now;
        }
        self.spread_map();
    }

    /// Whether the version in force has failed often enough since it came into force.
    fn has_failed(&self, in_force: InForce) -> bool {
        let calls = self.history.ledger.calls().iter();
        let failed = calls.filter(|call| {
            call.version == in_force.version && !call.answered && self.in_force_since <= call.at
        });
        FAILURES <= failed.count()
    }

    /// The nodes hear of the newest map one after another.
    fn spread_map(&mut self) {
        if self.phase == Phase::Play {
            return;
        }
        for node in self.table.nodes().to_vec() {
            let within = if self.chance.chance(SLOW) {
                4 * SECOND
            } else {
                SECOND / 4
            };
            let hears = self.now.after(self.chance.below(within));
            self.schedule.add(hears, Event::Adopts(node));
        }
    }

    /// A node hears of the newest map.
    pub(super) fn adopt(&mut self, id: NodeId) {
        let in_force = self.authority.in_force();
        if let Some(node) = self.nodes.get_mut(&id) {
            node.in_force = in_force;
        }
        self.turn(id, Process::on_map);
        self.fetch_later(id);
    }

    /// A node whose component of the version in force is missing looks for it.
    fn fetch_later(&mut self, id: NodeId) {
        let lacks = |node: &Node| !node.components.contains(&node.in_force.version);
        if self.phase != Phase::Play && self.nodes.get(&id).is_some_and(lacks) {
            let fetches = self.now.after(self.chance.tailed(SECOND / 4));
            self.schedule.add(fetches, Event::Fetches(id));
        }
    }

    /// A node gets the component of the version that it knows to be in force.
    pub(super) fn on_fetches(&mut self, id: NodeId) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.components.insert(node.in_force.version);
            self.turn(id, Process::on_map);
        }
    }

    /// What a node that starts knows of the policy: the newest map, or the one that it had, and
    /// then it hears soon of the newest. Whose disk has lost something had none, and no component
    /// but that of the version that ships.
    pub(super) fn recall_policy(&mut self, id: NodeId) {
        let newest = self.authority.in_force();
        let (is_told, chance) = (self.phase == Phase::Play, &mut self.chance);
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        if !node.sound {
            node.components = BTreeSet::from([0]);
        }
        if node.in_force != newest {
            if node.sound && !is_told && chance.chance(500) {
                let hears = self.now.after(chance.tailed(SECOND / 4));
                self.schedule.add(hears, Event::Adopts(id));
            } else {
                node.in_force = newest;
                self.count(Deed::Recalled);
            }
        }
        self.fetch_later(id);
    }

    /// Holds the calls that a node has made in a turn against what it has heard of.
    pub(super) fn judge_calls(&mut self, id: NodeId) {
        let calls = self.history.ledger.calls();
        let Some(in_force) = self.nodes.get(&id).map(|node| node.in_force) else {
            return;
        };
        let new = calls.get(self.judged..).unwrap_or_default();
        if new.is_empty() {
            return;
        }
        let is_right = |version: usize| version == in_force.version && !in_force.is_quarantined;
        let wrong = new.iter().any(|call| !is_right(call.version));
        let (asked, failed) = (new.len(), new.iter().filter(|call| !call.answered).count());
        self.judged = calls.len();
        let known: BTreeSet<(usize, bool)> = self
            .nodes
            .values()
            .map(|node| (node.in_force.version, node.in_force.is_quarantined))
            .collect();
        *self.deeds.entry(Deed::Asked).or_default() += asked;
        *self.deeds.entry(Deed::Failed).or_default() += failed;
        if 1 < known.len() {
            *self.deeds.entry(Deed::AskedMixed).or_default() += asked;
        }
        if wrong {
            self.faults.push(Fault::OutOfForce { node: id });
        }
    }

    pub(super) fn begin_rollout(&mut self) {
        for when in std::mem::take(&mut self.plan.activations) {
            self.schedule.add(when, Event::Operates);
        }
        self.in_force_since = Moment::default();
    }
}
