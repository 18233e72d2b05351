//! This is the end of a run: heal, quiet, and what must hold then.

use super::{Event, Phase, World};
use crate::client;
use crate::history::{Kind, Operation, Outcome};
use crate::moment::{Moment, SECOND};
use crate::network::Weather;
use crate::node::partitions::{Partitions, Shown};
use crate::oracle::{self, leftovers, register, replicas, siblings};
use crate::report::Fault;
use crate::table::{Bucket, KeyId};
use soros_core::dot::Actor;
use soros_core::id::NodeId;
use soros_core::object::Object;
use soros_core::operation::{Basis, Consistency};
use soros_core::place::Place;
use std::collections::BTreeSet;

/// How long after heal a cluster may take to come to rest. Where four of five replicas have damaged
/// records, disks are slow and answers small, it takes more than a minute.
const REST_WITHIN: u64 = 60 * SECOND;
const REST_WITHIN_OF_FIVE: u64 = 180 * SECOND;
/// For how many passes of anti-entropy all must have been the same before it is judged, and how
/// long beside: a question asked before heal may wait for its answer as long as that, and each side
/// of a round for a sync that takes many times as long as most.
const QUIET_PASSES: u64 = 10;
const QUIET: u64 = 3 * SECOND;
const QUIET_SYNCS: u64 = 128;

impl World {
    pub(super) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Reading(_)) && self.waiting.is_empty()
    }

    /// Faults end: the network is whole, and all processes run.
    pub(super) fn on_heals(&mut self) {
        self.phase = Phase::Healing;
        self.network.mend();
        self.network.part(&[]);
        self.network.set_weather(Weather::CLEAR);
        self.plan.weather = Weather::CLEAR;
        let nodes: Vec<NodeId> = self.table.nodes().to_vec();
        for node in nodes {
            self.set_right(node);
            self.schedule
                .add(self.now.after(SECOND / 2), Event::Adopts(node));
            self.schedule.add(self.now, Event::Starts(node));
            // Where all replicas are needed, nobody can read around a record that is damaged.
            if self.is_short_without_one() {
                self.schedule
                    .add(self.now.after(SECOND), Event::Scrubs(node));
            }
        }
        self.schedule.add(self.now.after(SECOND), Event::Checks);
    }

    pub(super) fn on_checks(&mut self) {
        let period = self.plan.settings.pass_period;
        self.schedule.add(self.now.after(period), Event::Checks);
        match self.phase {
            Phase::Healing if self.is_at_rest() => self.phase = Phase::Resting(self.now),
            Phase::Healing if self.rest_until() < self.now => {
                if self.is_beyond_help() && self.waiting.is_empty() {
                    self.phase = Phase::Reading(self.renewed);
                } else {
                    self.faults.push(Fault::Restless { at: self.now });
                }
            }
            Phase::Resting(_) if !self.is_at_rest() => self.phase = Phase::Healing,
            Phase::Resting(since) if since.after(self.quiet()) <= self.now => self.on_quiet(),
            Phase::Harmed
            | Phase::Play
            | Phase::Reading(_)
            | Phase::Healing
            | Phase::Resting(_) => (),
        }
    }

    /// Until when it should be at rest.
    fn rest_until(&self) -> Moment {
        let long = 5 <= self.table.quorum().replicas;
        self.plan.heal.after(if long {
            REST_WITHIN_OF_FIVE
        } else {
            REST_WITHIN
        })
    }

    /// Whether what was answered unsynced is lost at so many replicas that those which cannot be
    /// opened wait for ever: any of the rest may be the only one that holds a value.
    fn is_beyond_help(&self) -> bool {
        let lacks = |node: &NodeId, place: Place| {
            let process = self.process(*node);
            let shown = process.and_then(|process| process.partitions().shown(place));
            !shown.is_some_and(Shown::is_trusted)
        };
        let is_unopened = |node: &NodeId, place: Place| {
            let process = self.process(*node);
            process.is_some_and(|process| process.partitions().shown(place).is_none())
        };
        let too_many = |place: Place| {
            let nodes = self.table.replicas_of(place);
            let lacking = nodes.iter().filter(|node| lacks(node, place)).count();
            self.table.quorum().writes <= lacking && nodes.iter().any(|it| is_unopened(it, place))
        };
        self.plan.settings.lazy && self.table.places().any(too_many)
    }

    fn quiet(&self) -> u64 {
        let passes = QUIET_PASSES * self.plan.settings.pass_period;
        QUIET + passes + QUIET_SYNCS * self.plan.sync
    }

    fn is_at_rest(&self) -> bool {
        let mut places = self.table.places();
        self.waiting.is_empty() && places.all(|place| self.is_place_at_rest(place))
    }

    /// Whether a replica has a damaged record that was come to.
    fn is_damage_known(&self) -> bool {
        let nodes = self.table.nodes().iter();
        let is_damaged = |node: &NodeId| {
            let process = self.process(*node);
            process.is_some_and(|process| {
                let mut places = self.table.places_of(*node);
                places.any(|place| process.is_damaged(place))
            })
        };
        nodes.copied().any(|node| is_damaged(&node))
    }

    fn is_place_at_rest(&self, place: Place) -> bool {
        let nodes = self.table.replicas_of(place).iter();
        let held: Option<Vec<&Partitions>> = nodes
            .map(|node| self.process(*node).map(crate::node::Process::partitions))
            .collect();
        held.is_some_and(|held| replicas::is_at_rest(place, &held))
    }

    /// All is quiet: the oracle looks at the disks, and clients read every key once more.
    fn on_quiet(&mut self) {
        self.phase = Phase::Reading(self.renewed);
        let nodes: Vec<NodeId> = self.table.nodes().to_vec();
        for node in nodes {
            self.judge_counts(node);
            self.judge_leftovers(node);
        }
        let keys: Vec<KeyId> = self.table.keys().collect();
        let is_dead = |key: &KeyId| self.is_dead(*key);
        let (_, living): (Vec<_>, Vec<KeyId>) = keys.into_iter().partition(is_dead);
        for key in living {
            self.judge_key(key);
            self.read_once_more(key);
        }
    }

    fn judge_leftovers(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get(&id) else {
            return;
        };
        let Some(process) = &node.process else {
            return;
        };
        for place in self.table.places_of(id) {
            let current = self.actors_of(place);
            if let Some(shown) = process.partitions().shown(place) {
                let faults = leftovers::judge(id, shown, &node.disk, (&current, &self.buckets));
                self.faults.extend(faults);
            }
        }
    }

    /// Who mints for a partition.
    fn actors_of(&self, place: Place) -> Vec<Actor> {
        let shown = |node: &NodeId| Some(self.process(*node)?.partitions().shown(place)?.actor);
        let replicas = self.table.replicas_of(place).iter();
        replicas.filter_map(shown).collect()
    }

    /// What each replica of a key holds.
    fn objects_of(&self, key: KeyId) -> Vec<Object> {
        let target = self.table.target(key);
        let replicas = self.table.replicas_of(target.place).iter();
        let object = |id: &NodeId| {
            let node = self.nodes.get(id)?;
            let view = node
                .process
                .as_ref()?
                .partitions()
                .view(target.place, &node.disk)?;
            // A damaged record that nobody read yet says nothing.
            view.object(&target.entry).ok()
        };
        replicas.filter_map(object).collect()
    }

    fn judge_key(&mut self, key: KeyId) {
        let bucket = self.table.bucket(key);
        let live = client::all_found;
        let objects = self.objects_of(key);
        let Some(first) = objects.first() else {
            return;
        };
        if objects.iter().any(|object| live(object) != live(first)) {
            let place = self.table.target(key).place;
            self.faults.push(Fault::Diverged { place });
        }
        let found = live(first);
        let winner = client::found(bucket, first).first().copied();
        let durable = |operation: &Operation| {
            self.is_kept(operation) && (operation.is_firm() || self.is_durable(operation))
        };
        let end = siblings::End {
            found: &found,
            winner,
            durable: &durable,
        };
        let mut faults = oracle::judge_end(&self.table, &self.history, key, &end);
        if bucket == Bucket::Policy {
            let history = &self.history;
            faults.extend(oracle::policies::judge_end(
                history, key, &objects, &durable,
            ));
            if self.plan.settings.is_ordered() {
                let winner = client::latest(first);
                faults.extend(register::judge_end(history, key, winner, &durable));
            }
        }
        faults.retain(|fault| self.is_promised(fault));
        self.faults.extend(faults);
        if self.plan.timely {
            let apart = 3 * self.plan.settings.skew_max;
            let faults = oracle::register::judge_order(&self.history, key, winner, apart);
            self.faults.extend(faults);
        }
    }

    fn read_once_more(&mut self, key: KeyId) {
        let operation = Operation {
            kind: Kind::Read,
            key,
            consistency: Consistency::Quorum,
            seen: BTreeSet::new(),
            start: self.now,
            end: None,
            outcome: Outcome::Pending,
            found: BTreeSet::new(),
            served_by: None,
        };
        let id = self.history.begin(operation);
        let node = *self.random.pick(self.table.nodes());
        self.send_ask(0, id, node, Basis::Unsaid);
    }

    /// A client of a cluster that is whole again was not served. It may have been the first to come
    /// to a damaged record: then it asks again when all is quiet once more.
    pub(super) fn judge_served(&mut self, id: u32, outcome: Outcome) {
        let Phase::Reading(dropped) = self.phase else {
            return;
        };
        if outcome == Outcome::Done {
            return;
        }
        let is_mending = dropped < self.renewed || self.is_damage_known();
        if is_mending && self.now < self.rest_until() {
            self.phase = Phase::Healing;
        } else if let Some(operation) = self.history.get(id) {
            let fault = Fault::Unserved { key: operation.key };
            self.faults
                .extend(self.is_promised(&fault).then_some(fault));
        }
    }
}
