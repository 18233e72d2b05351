//! This is what is done to a cluster, within what it promises to survive: of each partition, fewer
//! disks than a write quorum lose something at a time.

use super::{Event, Fault, Phase, World};
use crate::bug::Bug;
use crate::moment::{MILLI, Moment, SECOND};
use crate::network::Weather;
use crate::random::Random;
use crate::record;
use crate::report::Harm;
use soros_core::id::{Generation, NodeId};
use soros_core::place::Place;

/// Why a replica may lack what it acknowledged.
#[derive(Clone, Copy, Debug)]
pub(super) enum Weakness {
    /// Its disk lost something before this life.
    Before(u64),
    /// A record of this generation is damaged.
    Damaged(Generation),
}

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
            Harm::Cut => self.cut(),
            Harm::Storm => self.storm(),
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
        if let Some(node) = self.nodes.get_mut(&id) {
            node.process = None;
            node.disk.crash(&mut node.random, bug);
        }
    }

    fn crash_and_restart(&mut self, id: NodeId) -> bool {
        self.crash(id);
        self.restart_later(id);
        true
    }

    fn restart_later(&mut self, id: NodeId) {
        let down = self.random.between(20 * MILLI, 3 * SECOND);
        self.schedule.add(self.now.after(down), Event::Starts(id));
    }

    fn jump(&mut self, id: NodeId) -> bool {
        self.step_clock(id);
        self.crash_and_restart(id)
    }

    fn step_clock(&mut self, id: NodeId) -> bool {
        let ahead = if self.random.chance(300) {
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

    fn cut_log(&mut self, id: NodeId) -> bool {
        let places: Vec<Place> = self.table.places_of(id).collect();
        self.turn(id, |process, turn| process.cut_logs(turn, &places));
        !places.is_empty()
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
    fn on_loss(&mut self, id: NodeId) {
        let next = self.lives + 1;
        let places: Vec<Place> = self.table.places_of(id).collect();
        for place in places {
            self.weak.insert((id, place), Weakness::Before(next));
        }
        self.buried(id);
        if let Some(node) = self.nodes.get_mut(&id) {
            node.sound = false;
        }
        self.restart_later(id);
    }

    /// Dots of a node's lives so far may have died.
    fn buried(&mut self, id: NodeId) {
        self.losses.push((id, self.now));
        if let Some(node) = self.nodes.get(&id) {
            let lives = node
                .incarnations
                .iter()
                .map(|incarnation| (id, *incarnation));
            self.died.extend(lives);
        }
    }

    fn damage(&mut self, id: NodeId) -> bool {
        let places: Vec<Place> = self.table.places_of(id).collect();
        if places.is_empty() {
            return false;
        }
        let place = *self.random.pick(&places);
        if !self.may_lose_at(id, place) {
            return false;
        }
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
        let of_place = |key: &[u8]| key.starts_with(&first) && record::kind(key).is_some();
        let damaged = node.disk.damage(&mut self.random, of_place);
        if damaged {
            let weakness = Weakness::Damaged(layout.generation());
            self.weak.insert((id, place), weakness);
        }
        damaged
    }

    /// Whether a node may lose its disk: of none of its partitions too many others are weak.
    fn may_lose(&self, id: NodeId) -> bool {
        let mut places = self.table.places_of(id);
        places.all(|place| self.may_lose_at(id, place))
    }

    fn may_lose_at(&self, id: NodeId, place: Place) -> bool {
        let others = self.table.others_of(place, id);
        let weak = others.iter().filter(|other| self.is_weak(**other, place));
        weak.count() + 1 < self.table.quorum().writes
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
                    Weakness::Damaged(generation) => *generation < shown.layout.generation(),
                }
        })
    }

    /// A process dropped a damaged partition.
    pub(super) fn on_renewed(&mut self, id: NodeId, _: Place) {
        self.renewed += 1;
        self.buried(id);
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
        if self
            .plan
            .settings
            .bug
            .is_none_or(|bug| bug != Bug::CollapseInPlace)
        {
            self.faults.push(Fault::FalseAlarm { place });
        }
    }

    /// Whether an operation's acknowledgement outlives what happened to its coordinator's disk.
    pub(super) fn is_durable(&self, start: Moment, served_by: Option<NodeId>) -> bool {
        let lost = |(node, when): &(NodeId, Moment)| Some(*node) == served_by && start <= *when;
        !self.losses.iter().any(lost)
    }
}
