//! This is what is done to a cluster, within what it promises to survive: of each partition, fewer
//! disks than a write quorum lose something at a time. A damaged record of an object excuses the
//! loss of that object, where no other replica had it, and of nothing beside it.

use super::{Event, Fault, Phase, World};
use crate::bug::Bug;
use crate::history::{self, Operation};
use crate::moment::{MILLI, Moment, SECOND};
use crate::network::Weather;
use crate::plan::ORPHAN_LASTS;
use crate::random::Random;
use crate::record::{self, Kind};
use crate::report::Harm;
use crate::table::KeyId;
use soros_core::id::{Generation, NodeId};
use soros_core::place::{Layout, Place};

/// Why a replica may lack what it acknowledged.
#[derive(Clone, Debug)]
pub(super) enum Weakness {
    /// Its disk lost something before this life.
    Before(u64),
    /// A record of this generation is damaged without which it cannot be opened again: of its clock
    /// or its closed actors.
    Unopened(Generation, Vec<u8>),
}

/// An object whose record was damaged.
#[derive(Clone, Debug)]
pub(super) struct DamagedObject {
    node: NodeId,
    layout: Layout,
    key: KeyId,
    record: Vec<u8>,
    when: Moment,
}

/// What befalls the ends of a full transfer.
const STRIKES: [Harm; 6] = [
    Harm::Crash,
    Harm::Wipe,
    Harm::Restore,
    Harm::LogCut,
    Harm::Damage,
    Harm::Damage,
];
/// How often a harm that cannot be done now is tried again.
const TRIES: u8 = 8;

/// Wrong clocks are wrong by several times what is allowed where they must be found out.
const ASTRAY_LEAST: i64 = 8;

/// How far a clock is ahead that is right.
pub(super) fn right(random: &mut Random) -> i64 {
    random.below(SECOND / 4).cast_signed()
}

/// How far a clock is ahead that is wrong: a second or an hour, or behind.
fn wrong(random: &mut Random) -> i64 {
    let most = *random.pick(&[2 * SECOND, 120 * SECOND, 3_600 * SECOND]);
    let ahead = random.between(most / 2, most).cast_signed();
    if random.chance(500) { ahead } else { -ahead }
}

impl World {
    pub(super) fn on_harms(&mut self, harm: Harm, tries: u8) {
        if self.phase != Phase::Harmed {
            self.unfired += 1;
            return;
        }
        let fired = match harm {
            Harm::Crash => self.harm_one(World::crash_and_restart),
            Harm::ClockJump => self.harm_one(World::jump),
            Harm::ClockStep => self.harm_one(World::step_clock),
            Harm::Astray => self.harm_one(World::lead_astray),
            Harm::LogCut => self.harm_one(World::cut_log),
            Harm::Wipe => self.harm_one(World::wipe),
            Harm::Restore => self.harm_one(World::restore),
            Harm::Damage => self.harm_one(World::damage),
            Harm::DamageTwo => self.damage_two(),
            Harm::Cut => self.cut(),
            Harm::Storm => self.storm(),
            Harm::Orphan => self.orphan(),
            // These come with a crash, and by a plan of their own.
            Harm::Tail | Harm::Purge => false,
        };
        if fired {
            *self.harms.entry(harm).or_default() += 1;
        } else if tries < TRIES {
            let again = self.now.after(self.random.tailed(SECOND / 4));
            self.schedule.add(again, Event::Harms(harm, tries + 1));
        } else {
            self.unfired += 1;
        }
    }

    fn harm_one(&mut self, harm: impl FnOnce(&mut World, NodeId) -> bool) -> bool {
        let nodes: Vec<NodeId> = self.table.nodes().to_vec();
        let node = *self.random.pick(&nodes);
        self.process(node).is_some() && harm(self, node)
    }

    fn crash(&mut self, id: NodeId) {
        let bug = self.plan.settings.bug;
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        let process = node.process.take();
        let kept = node.random.index(node.disk.unsynced() + 1);
        node.disk.crash(kept, bug);
        if self.plan.settings.lazy {
            // Its directory says that there may be more than it holds.
            node.sound = false;
        }
        if let Some(since) = process.and_then(|process| process.unsynced_since()) {
            self.tails.push((id, since, self.now));
            *self.harms.entry(Harm::Tail).or_default() += 1;
        }
    }

    /// Whether an operation's acknowledgement outlives what was lost unsynced: not all replicas
    /// that it counted can have lost it, or what it was stored in.
    pub(super) fn is_kept(&self, operation: &Operation) -> bool {
        let place = self.table.target(operation.key).place;
        let end = operation.end.unwrap_or(self.now);
        let unsynced = |node: &NodeId| {
            let covers = |(other, since, lost): &&(NodeId, Moment, Moment)| {
                other == node && *since <= end && operation.start <= *lost
            };
            self.tails.iter().any(|tail| covers(&tail))
        };
        let otherwise = |node: &NodeId| {
            let lost = |(other, when): &(NodeId, Moment)| other == node && operation.start <= *when;
            let damaged =
                |object: &DamagedObject| object.node == *node && object.key == operation.key;
            self.losses.iter().any(lost) || self.damaged.iter().any(damaged)
        };
        let replicas = self.table.replicas_of(place);
        let needed = operation.consistency.needed(replicas.len());
        let may_lack = |node: &&NodeId| unsynced(node) || otherwise(node);
        !replicas.iter().any(unsynced) || replicas.iter().filter(may_lack).count() < needed
    }

    fn crash_and_restart(&mut self, id: NodeId) -> bool {
        self.crash(id);
        self.restart_later(id);
        true
    }

    fn restart_later(&mut self, id: NodeId) {
        if self.phase == Phase::Play {
            return;
        }
        // A supervisor starts a process again at once, an operator later.
        let down = if self.random.chance(300) {
            self.random.between(MILLI, 50 * MILLI)
        } else {
            self.random.between(20 * MILLI, 3 * SECOND)
        };
        self.schedule.add(self.now.after(down), Event::Starts(id));
    }

    fn jump(&mut self, id: NodeId) -> bool {
        self.step_clock(id);
        self.crash_and_restart(id)
    }

    fn step_clock(&mut self, id: NodeId) -> bool {
        let ahead = if self.random.chance(600) {
            right(&mut self.random)
        } else {
            wrong(&mut self.random)
        };
        self.set_clock(id, ahead)
    }

    fn set_clock(&mut self, id: NodeId, ahead: i64) -> bool {
        let node = self.nodes.get_mut(&id);
        node.is_some_and(|node| std::mem::replace(&mut node.ahead, ahead) != ahead)
    }

    /// A node comes up with a wrong clock, learns so, and is cut off. Well before heal, if there is
    /// time, the cut is mended and the clock set right.
    fn lead_astray(&mut self, id: NodeId) -> bool {
        let ahead = wrong(&mut self.random).saturating_mul(ASTRAY_LEAST);
        self.set_clock(id, ahead);
        self.crash(id);
        let starts = self.now.after(self.random.between(20 * MILLI, SECOND / 2));
        let cut = starts.after(2 * SECOND);
        let mends = cut.after(self.random.between(2 * SECOND, 3 * SECOND));
        self.schedule.add(starts, Event::Starts(id));
        self.schedule.add(cut, Event::CutsOff(id));
        if mends.after(2 * SECOND) < self.plan.heal {
            self.schedule.add(mends, Event::Mends);
            self.schedule.add(mends, Event::SetsRight(id));
        }
        true
    }

    pub(super) fn cut_off(&mut self, id: NodeId) {
        let nodes = self.table.nodes().iter();
        for other in nodes.copied().filter(|node| *node != id) {
            self.network.cut(id, other);
            self.network.cut(other, id);
        }
    }

    pub(super) fn set_right(&mut self, id: NodeId) {
        let ahead = right(&mut self.random);
        self.set_clock(id, ahead);
    }

    pub(super) fn cut_log(&mut self, id: NodeId) -> bool {
        self.logs_cut.insert(id);
        let places: Vec<Place> = self.table.places_of(id).collect();
        self.turn(id, |process, turn| process.cut_logs(turn, &places));
        !places.is_empty()
    }

    /// The dot logs of some nodes are cut, now and again later.
    pub(super) fn on_cuts_logs(&mut self, period: u64) {
        if self.phase != Phase::Harmed {
            return;
        }
        let nodes: Vec<NodeId> = self.table.nodes().to_vec();
        for node in nodes {
            if self.random.chance(500) {
                self.cut_log(node);
            }
        }
        let next = self.now.after(self.random.between(period / 2, 2 * period));
        self.schedule.add(next, Event::CutsLogs(period));
    }

    /// Some pairs of nodes are cut from each other, one way or both, and others are no more.
    pub(super) fn on_rifts(&mut self, period: u64) {
        if self.phase != Phase::Harmed {
            return;
        }
        self.network.mend();
        let nodes: Vec<NodeId> = self.table.nodes().to_vec();
        for (at, one) in nodes.iter().enumerate() {
            for other in &nodes[at + 1..] {
                if self.random.chance(350) {
                    self.network.cut(*one, *other);
                    self.network.cut(*other, *one);
                }
            }
        }
        let next = self.now.after(self.random.between(period / 2, 2 * period));
        self.schedule.add(next, Event::Rifts(period));
    }

    fn wipe(&mut self, id: NodeId) -> bool {
        if !self.may_lose(id) {
            return false;
        }
        self.crash(id);
        if let Some(node) = self.nodes.get_mut(&id) {
            node.disk.wipe();
        }
        self.on_loss(id);
        true
    }

    fn restore(&mut self, id: NodeId) -> bool {
        if !self.may_lose(id) {
            return false;
        }
        self.crash(id);
        let node = self.nodes.get_mut(&id);
        if !node.is_some_and(|node| node.disk.restore()) {
            self.restart_later(id);
            return false;
        }
        self.on_loss(id);
        true
    }

    /// The disk of a node that does not run has lost something.
    pub(super) fn on_loss(&mut self, id: NodeId) {
        let next = self.lives + 1;
        let places: Vec<Place> = self.table.places_of(id).collect();
        for place in places {
            self.weak.insert((id, place), Weakness::Before(next));
        }
        self.losses.push((id, self.now));
        if let Some(node) = self.nodes.get_mut(&id) {
            node.sound = false;
        }
        self.mark_frail();
        self.restart_later(id);
    }

    fn damage(&mut self, id: NodeId) -> bool {
        let places: Vec<Place> = self.table.places_of(id).collect();
        if places.is_empty() {
            return false;
        }
        let place = *self.random.pick(&places);
        self.damage_at(id, place)
    }

    /// Two replicas of a partition have a damaged record each, and their stores may notice at once.
    fn damage_two(&mut self) -> bool {
        let places: Vec<Place> = self.table.places().collect();
        let place = *self.random.pick(&places);
        let mut nodes = self.table.replicas_of(place).to_vec();
        let first = self.random.index(nodes.len());
        nodes.rotate_left(first);
        nodes.truncate(2);
        if nodes.iter().any(|node| self.process(*node).is_none()) {
            return false;
        }
        let mut fired = false;
        let noticed = self.random.chance(500);
        for node in nodes {
            fired |= self.damage_at(node, place);
            if noticed {
                let soon = self.now.after(self.random.below(50 * MILLI));
                self.schedule.add(soon, Event::Scrubs(node));
            }
        }
        fired
    }

    fn damage_at(&mut self, id: NodeId, place: Place) -> bool {
        if self.is_relied_on(id, place) {
            return false;
        }
        let may_lose = self.may_lose_at(id, place);
        let shown = self
            .process(id)
            .and_then(|process| process.partitions().shown(place));
        let Some(layout) = shown.map(|shown| shown.layout) else {
            return false;
        };
        let first = layout.first();
        let Some(node) = self.nodes.get_mut(&id) else {
            return false;
        };
        let may_be = |key: &[u8]| match record::kind(key) {
            None => false,
            Some(Kind::Clock | Kind::Closed) => may_lose && key.starts_with(&first),
            Some(_) => key.starts_with(&first),
        };
        let Some(record) = node.disk.damage(&mut self.random, may_be) else {
            return false;
        };
        self.on_damaged(id, layout, record);
        true
    }

    /// A record of a replica is damaged.
    pub(super) fn on_damaged(&mut self, node: NodeId, layout: Layout, record: Vec<u8>) {
        let entry = Layout::entry_of_object(&record).ok();
        match record::kind(&record) {
            Some(Kind::Clock | Kind::Closed) => {
                let weakness = Weakness::Unopened(layout.generation(), record);
                self.weak.insert((node, layout.place()), weakness);
                self.losses.push((node, self.now));
            }
            Some(Kind::Object) => {
                let key = entry.and_then(|entry| self.table.key_of(&entry));
                self.damaged.extend(key.map(|key| DamagedObject {
                    node,
                    layout,
                    key,
                    record,
                    when: self.now,
                }));
            }
            Some(Kind::Log) => {
                self.logs_cut.insert(node);
            }
            _ => (),
        }
        self.mark_frail();
    }

    /// Whether a replica still lacks an object whose record was damaged.
    fn lacks(&self, object: &DamagedObject) -> bool {
        let place = object.layout.place();
        let shown = self.process(object.node);
        let shown = shown.and_then(|process| process.partitions().shown(place));
        let node = self.nodes.get(&object.node);
        let (Some(shown), Some(node)) = (shown, node) else {
            return true;
        };
        if shown.layout == object.layout {
            node.disk.is_damaged(&object.record)
        } else {
            !shown.state.standing.is_trusted()
        }
    }

    /// Marks the keys that so many replicas lack now that all of them may: nothing is promised of
    /// those.
    fn mark_frail(&mut self) {
        let mut frail = Vec::new();
        for object in self.damaged.iter().filter(|object| self.lacks(object)) {
            let place = object.layout.place();
            let lacks_it = |node: &&NodeId| {
                let same = |other: &&DamagedObject| other.node == **node && other.key == object.key;
                self.is_weak(**node, place)
                    || self.is_refilling(**node, place)
                    || self
                        .damaged
                        .iter()
                        .filter(same)
                        .any(|other| self.lacks(other))
            };
            let others = self.table.others_of(place, object.node);
            if self.table.quorum().writes <= 1 + others.iter().filter(lacks_it).count() {
                frail.push(object.key);
            }
        }
        self.frail.extend(frail);
    }

    /// Damages a record, and lets the store read all it has soon.
    fn damage_and_scrub(&mut self, id: NodeId) -> bool {
        let soon = self.now.after(self.random.below(50 * MILLI));
        self.schedule.add(soon, Event::Scrubs(id));
        self.damage(id)
    }

    /// Whether a node may lose its disk: of none of its partitions too many others are weak.
    fn may_lose(&self, id: NodeId) -> bool {
        let mut places = self.table.places_of(id);
        places.all(|place| self.may_lose_at(id, place))
    }

    fn may_lose_at(&self, id: NodeId, place: Place) -> bool {
        let others = self.table.others_of(place, id);
        let is_weak =
            |node: &&NodeId| self.is_weak(**node, place) || self.is_refilling(**node, place);
        let weak = others.iter().filter(is_weak);
        weak.count() + 1 < self.table.quorum().writes && !self.is_relied_on(id, place)
    }

    /// Whether fewer than a write quorum hold what a replica held that is dropped.
    pub(super) fn is_short_without_one(&self) -> bool {
        self.table.quorum().holders() < self.table.quorum().writes
    }

    /// Whether a replica was dropped because of a damaged record, has yet to fetch what it held,
    /// and is needed.
    fn is_refilling(&self, id: NodeId, place: Place) -> bool {
        let process = self.process(id);
        let shown = process.and_then(|process| process.partitions().shown(place));
        let is_whole = |dropped: &Generation| {
            shown.is_some_and(|shown| {
                *dropped < shown.layout.generation() && shown.state.standing.is_trusted()
            })
        };
        let dropped = self.dropped.get(&(id, place));
        self.is_short_without_one() && dropped.is_some_and(|dropped| !is_whole(dropped))
    }

    /// Whether another replica may be dropped because this one has promised to hold what it has,
    /// and no third one does.
    fn is_relied_on(&self, id: NodeId, place: Place) -> bool {
        let others = self.table.others_of(place, id);
        let processes = others.iter().filter_map(|other| self.process(*other));
        let mut renewing = processes.filter(|process| process.is_renewing(place));
        self.is_short_without_one() && renewing.next().is_some()
    }

    fn is_weak(&self, id: NodeId, place: Place) -> bool {
        let Some(weakness) = self.weak.get(&(id, place)) else {
            return false;
        };
        let process = self.process(id);
        let shown = process.and_then(|process| Some((process, process.partitions().shown(place)?)));
        !shown.is_some_and(|(process, shown)| {
            shown.state.standing.is_trusted()
                && match weakness {
                    Weakness::Before(life) => *life <= process.life(),
                    Weakness::Unopened(generation, record) => {
                        let node = self.nodes.get(&id);
                        *generation < shown.layout.generation()
                            || node.is_some_and(|node| !node.disk.is_damaged(record))
                    }
                }
        })
    }

    /// A process drops a partition with a damaged record.
    pub(super) fn on_renewed(&mut self, node: NodeId, place: Place) {
        self.renewed += 1;
        let shown = self.process(node);
        let shown = shown.and_then(|process| process.partitions().shown(place));
        let generation = shown.map_or(Generation(0), |shown| shown.layout.generation());
        if shown.is_none() {
            // One that cannot be opened: what it took since its record was damaged is gone, too.
            self.losses.push((node, self.now));
        }
        self.dropped.insert((node, place), generation);
        if self.logs_cut.contains(&node) {
            self.forgets.push((node, self.now));
        }
    }

    /// A full transfer is under way: now and then one of its two ends is harmed soon.
    pub(super) fn on_half_way(&mut self, receiver: NodeId, sender: NodeId) {
        if 0 < self.plan.strikes && self.random.chance(self.plan.strikes) {
            let victim = *self.random.pick(&[receiver, sender]);
            let soon = self.now.after(self.random.below(20 * MILLI));
            self.schedule.add(soon, Event::Strikes(victim));
        }
    }

    pub(super) fn on_strikes(&mut self, node: NodeId) {
        if self.phase != Phase::Harmed || self.process(node).is_none() {
            return;
        }
        let harm = *self.random.pick(&STRIKES);
        let fired = match harm {
            Harm::Crash => self.crash_and_restart(node),
            Harm::Wipe => self.wipe(node),
            Harm::Restore => self.restore(node),
            Harm::LogCut => self.cut_log(node),
            _ => self.damage_and_scrub(node),
        };
        if fired {
            *self.harms.entry(harm).or_default() += 1;
        }
    }

    /// Leaves the last writes of a partition at one node that nobody reaches: a write quorum is
    /// parted from the others for a while, then all of it but one lose their disks, and that one
    /// is cut off.
    fn orphan(&mut self) -> bool {
        let places: Vec<Place> = self.table.places().collect();
        let place = *self.random.pick(&places);
        let mut holders = self.table.replicas_of(place).to_vec();
        if holders.iter().any(|node| self.is_weak(*node, place)) {
            return false;
        }
        let first = self.random.index(holders.len());
        holders.rotate_left(first);
        holders.truncate(self.table.quorum().writes);
        self.network.part(&holders);
        let bereaves = self.now.after(self.random.between(SECOND / 4, SECOND));
        self.schedule.add(bereaves, Event::Bereaves(holders));
        let ends = self.random.between(ORPHAN_LASTS / 2, ORPHAN_LASTS);
        self.schedule.add(self.now.after(ends), Event::Rejoins);
        true
    }

    pub(super) fn on_bereaves(&mut self, holders: &[NodeId]) {
        let Some((last, others)) = holders.split_last() else {
            return;
        };
        if self.phase != Phase::Harmed {
            return;
        }
        self.network.part(&[*last]);
        for other in others {
            if self.process(*other).is_some() && self.wipe(*other) {
                let soon = self.now.after(self.random.between(MILLI, 50 * MILLI));
                self.schedule.add(soon, Event::Starts(*other));
            }
        }
    }

    fn cut(&mut self) -> bool {
        let nodes: Vec<NodeId> = self.table.nodes().to_vec();
        let one = *self.random.pick(&nodes);
        let (both, all) = (self.random.chance(600), self.random.chance(600));
        let others = nodes.iter().filter(|node| **node != one);
        let others: Vec<NodeId> = others.copied().collect();
        for other in others {
            if all || self.random.chance(400) {
                self.network.cut(one, other);
                if both {
                    self.network.cut(other, one);
                }
            }
        }
        let mends = self.now.after(self.random.between(SECOND / 2, 4 * SECOND));
        self.schedule.add(mends, Event::Mends);
        true
    }

    fn storm(&mut self) -> bool {
        let weather = Weather {
            loss: self.random.between(100, 500),
            repeats: self.random.between(50, 300),
            delay: self.random.between(5, 100) * MILLI,
        };
        self.network.set_weather(weather);
        let calms = self.now.after(self.random.between(SECOND / 2, 3 * SECOND));
        self.schedule.add(calms, Event::Calms);
        true
    }

    /// Equal clocks had unequal sums. No harm here changes a record silently.
    pub(super) fn on_sum_alarm(&mut self, place: Place) {
        let collapses = matches!(
            self.plan.settings.bug,
            Some(Bug::CollapseInPlace | Bug::CollapseByVersion)
        );
        if !collapses {
            self.faults.push(Fault::FalseAlarm { place });
        }
    }

    /// Whether an operation's acknowledgement outlives what happened to its coordinator's disk.
    pub(super) fn is_durable(&self, operation: &Operation) -> bool {
        let (start, served_by) = (operation.start, operation.served_by);
        let lost = |(node, when): &(NodeId, Moment)| Some(*node) == served_by && start <= *when;
        let damaged = |object: &DamagedObject| {
            object.key == operation.key && lost(&(object.node, object.when))
        };
        // What others know of a delete by a context only they cannot hand on, and where the log no
        // longer names it, who drops a partition cannot take it along.
        let forgotten = operation.kind == history::Kind::Delete && self.forgets.iter().any(lost);
        !self.losses.iter().any(lost) && !self.damaged.iter().any(damaged) && !forgotten
    }

    /// Whether something is promised of the key that a fault is about.
    pub(super) fn is_promised(&self, fault: &Fault) -> bool {
        let is_it = |key: KeyId| !self.frail.contains(&key) && !self.is_dead(key);
        fault.key().is_none_or(is_it)
    }
}
