//! This is a play: a run in which operations and harms are told one by one, and chance decides of
//! delays only. At its end the cluster heals and the oracle judges it, as it does any run.

use super::{Event, Phase, World, clocks};
use crate::bug::Bug;
use crate::client::Says;
use crate::history::{Kind, Operation, Outcome};
use crate::moment::{MILLI, Moment, SECOND};
use crate::network::Weather;
use crate::node::{Alarm, Process, Settings};
use crate::oracle::replicas;
use crate::plan::{Habits, Plan};
use crate::policy::Manner;
use crate::random::Random;
use crate::report::{Fault, Report};
use crate::table::{Bucket, KeyId, Size};
use soros_core::id::NodeId;
use soros_core::object::Object;
use soros_core::operation::{Basis, Consistency};
use soros_core::place::{Layout, Place};
use std::collections::BTreeSet;

/// A play under way. Its first nodes are the replicas of its one partition, three where nothing
/// else is said; one more holds nothing and forwards.
pub struct Play(World);

/// An hour, in microseconds.
pub const HOUR: u64 = 3_600 * SECOND;
const REPLICAS: usize = 3;
/// How many clients there are.
const CLIENTS: usize = 100;
/// How long anything in a play may take.
const PATIENCE: u64 = 30 * SECOND;
/// Enough for what was begun to end, where nothing is lost.
const SHORTLY: u64 = 20 * MILLI;

/// What a client is told to do.
#[derive(Clone, Copy, Debug)]
pub struct Act {
    node: NodeId,
    key: KeyId,
    client: usize,
    says: Says,
    consistency: Consistency,
}

/// Something done at a node, at quorum, by the first client, of the first key; it says what it had
/// seen.
#[must_use]
pub fn at(node: u64) -> Act {
    Act {
        node: NodeId(node),
        key: KeyId(0),
        client: 0,
        says: Says::Seen,
        consistency: Consistency::Quorum,
    }
}

impl Act {
    /// By another client.
    #[must_use]
    pub fn by(self, client: usize) -> Act {
        Act { client, ..self }
    }

    /// Of another key.
    #[must_use]
    pub fn key(self, key: u32) -> Act {
        let key = KeyId(key);
        Act { key, ..self }
    }

    /// By one who says to have seen nothing.
    #[must_use]
    pub fn blind(self) -> Act {
        let says = Says::Blind;
        Act { says, ..self }
    }

    /// At one replica.
    #[must_use]
    pub fn alone(self) -> Act {
        let consistency = Consistency::One;
        Act {
            consistency,
            ..self
        }
    }
}

impl Play {
    /// A cluster with a key for each of `buckets`.
    #[must_use]
    pub fn new(buckets: &[Bucket], bug: Option<Bug>) -> Play {
        Play::of(REPLICAS, buckets, bug)
    }

    /// A cluster with so many replicas, and a key for each of `buckets`.
    #[must_use]
    pub fn of(replicas: usize, buckets: &[Bucket], bug: Option<Bug>) -> Play {
        Play::begun(plan(replicas, buckets, bug))
    }

    /// A cluster whose policy has a version for each of `manners`, of which the first is in force,
    /// and a key for each of `buckets`.
    #[must_use]
    pub fn governed(manners: &[Manner], buckets: &[Bucket], bug: Option<Bug>) -> Play {
        let mut plan = plan(REPLICAS, buckets, bug);
        plan.settings.releases = manners.to_vec();
        Play::begun(plan)
    }

    fn begun(planned: Plan) -> Play {
        let mut play = Play(World::new(0, planned, Random::new(1)));
        play.0.phase = Phase::Play;
        for node in play.0.nodes.values_mut() {
            node.ahead = 0;
        }
        play.0.begin();
        play.wait();
        play.all_learn();
        play
    }

    /// Makes sure that a harm fired, or that what the story tells happened. With a bug planted it
    /// may have gone otherwise.
    ///
    /// # Panics
    /// When it did not happen.
    #[track_caller]
    pub fn expect(&self, happened: bool, what: &str) {
        assert!(happened || self.0.plan.settings.bug.is_some(), "{what}");
    }

    /// What is under way ends.
    pub fn wait(&mut self) {
        let until = self.0.now.after(SHORTLY);
        while self.0.schedule.next().is_some_and(|next| next <= until) {
            self.step();
        }
        self.0.now = until;
    }

    fn step(&mut self) {
        if let Some((when, event)) = self.0.schedule.pop() {
            self.0.now = when;
            self.0.events += 1;
            self.0.on_event(event);
        }
    }

    #[track_caller]
    fn wait_for(&mut self, what: impl Fn(&World) -> bool) {
        let last = self.0.now.after(PATIENCE);
        while !what(&self.0) {
            assert!(self.0.now < last, "what a play waits for happens");
            self.step();
        }
    }

    /// A client writes the number of its operation, and is told that it is done.
    #[track_caller]
    pub fn write(&mut self, act: Act) -> u32 {
        self.done(act, Kind::Write)
    }

    /// A client deletes, and is told that it is done.
    #[track_caller]
    pub fn delete(&mut self, act: Act) {
        self.done(act, Kind::Delete);
    }

    /// A client reads, and remembers what it found.
    #[track_caller]
    pub fn read(&mut self, act: Act) -> BTreeSet<u32> {
        let id = self.done(act, Kind::Read);
        let read = self.0.history.get(id);
        read.map_or_else(BTreeSet::new, |read| read.found.clone())
    }

    #[track_caller]
    fn done(&mut self, act: Act, kind: Kind) -> u32 {
        let id = self.begin(act, kind);
        let outcome = self.finish(id);
        assert!(outcome == Outcome::Done, "{act:?} is done: {outcome:?}");
        id
    }

    /// A client begins to do something that may fail. The number of the operation.
    pub fn begin(&mut self, act: Act, kind: Kind) -> u32 {
        let (basis, seen) = match kind {
            Kind::Read => (Basis::Unsaid, BTreeSet::new()),
            Kind::Write | Kind::Delete => self.0.clients[act.client].say(act.key, act.says),
        };
        let id = self.0.history.begin(Operation {
            kind,
            key: act.key,
            consistency: act.consistency,
            seen,
            start: self.0.now,
            end: None,
            outcome: Outcome::Pending,
            found: BTreeSet::new(),
            served_by: None,
        });
        self.0.send_ask(act.client, id, act.node, basis);
        id
    }

    /// How an operation ends.
    #[track_caller]
    pub fn finish(&mut self, id: u32) -> Outcome {
        self.wait_for(|world| !world.waiting.contains_key(&id));
        let ended = self.0.history.get(id);
        ended.map_or(Outcome::Pending, |operation| operation.outcome)
    }

    fn replicas(&self) -> std::ops::RangeInclusive<u64> {
        1..=self.0.table.quorum().replicas as u64
    }

    fn place(&self) -> Place {
        self.0.table.target(KeyId(0)).place
    }

    /// A replica begins to fetch what another one has and it lacks.
    pub fn begin_to_learn(&mut self, node: u64, from: u64) {
        let place = self.place();
        self.0.turn(NodeId(node), |process, turn| {
            process.compare_with(turn, place, NodeId(from));
        });
    }

    /// A replica comes to the end of what it began to fetch.
    #[track_caller]
    pub fn finish_learning(&mut self, node: u64) {
        self.wait_for(|world| {
            let process = world.process(NodeId(node));
            process.is_none_or(|process| !process.is_comparing())
        });
        self.wait();
    }

    /// A replica fetches what another one has and it lacks.
    #[track_caller]
    pub fn learn(&mut self, node: u64, from: u64) {
        self.begin_to_learn(node, from);
        self.finish_learning(node);
    }

    /// Every replica fetches from every other one.
    #[track_caller]
    pub fn all_learn(&mut self) {
        let replicas = self.replicas();
        for one in replicas.clone() {
            for other in replicas.clone().filter(|other| *other != one) {
                self.learn(one, other);
            }
        }
    }

    /// A full transfer that was begun comes to the end of its next range.
    #[track_caller]
    pub fn wait_for_range(&mut self) {
        let ranges = self.0.ranges;
        self.wait_for(|world| ranges < world.ranges);
    }

    /// A replica comes to have something of a key.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn wait_for_copy(&mut self, node: u64, key: u32) {
        let last = self.0.now.after(PATIENCE);
        while self.stored(node, key).is_none() {
            assert!(self.0.now < last, "what a play waits for happens");
            self.step();
        }
    }

    /// Nothing goes between two nodes, and what is sent is lost.
    pub fn cut(&mut self, one: u64, other: u64) {
        self.0.network.cut(NodeId(one), NodeId(other));
        self.0.network.cut(NodeId(other), NodeId(one));
    }

    /// All nodes reach each other again.
    pub fn mend(&mut self) {
        self.0.network.mend();
    }

    /// What `from` sends to `to` waits until it is released.
    pub fn hold(&mut self, from: u64, to: u64) {
        self.0.holding.insert((NodeId(from), NodeId(to)));
    }

    /// What `from` sends to `to` from here on arrives; what was held waits on.
    pub fn pass(&mut self, from: u64, to: u64) {
        self.0.holding.remove(&(NodeId(from), NodeId(to)));
    }

    /// What was held of what `from` sent to `to` arrives; what it sends from here on does, too. How
    /// much there was.
    pub fn let_through(&mut self, from: u64, to: u64) -> usize {
        self.pass(from, to);
        let is_it = |event: &mut Event| match event {
            Event::Arrives(receiver, frame) => {
                frame.from == NodeId(from) && *receiver == NodeId(to)
            }
            _ => false,
        };
        let held: Vec<Event> = self.0.held.extract_if(.., is_it).collect();
        let count = held.len();
        for event in held {
            self.0.schedule.add(self.0.now, event);
        }
        self.wait();
        count
    }

    /// A disk does not sync until it is released.
    pub fn stall(&mut self, node: u64) {
        self.0.stalled.insert(NodeId(node));
    }

    /// What was held arrives, and disks that stalled sync. How much there was.
    pub fn release(&mut self) -> usize {
        self.0.holding.clear();
        self.0.stalled.clear();
        let held = std::mem::take(&mut self.0.held);
        let count = held.len();
        for event in held {
            self.0.schedule.add(self.0.now, event);
        }
        self.wait();
        count
    }

    /// A process is killed together with its machine: nothing is left that was not synced. How many
    /// batches were lost.
    pub fn cut_power(&mut self, node: u64) -> usize {
        self.crash(node, |_| 0)
    }

    /// A process is killed, and what its disk was told to write comes through. How many batches the
    /// process did not hear of any more.
    pub fn kill(&mut self, node: u64) -> usize {
        self.crash(node, |unsynced| unsynced)
    }

    fn crash(&mut self, node: u64, kept: impl Fn(usize) -> usize) -> usize {
        let bug = self.0.plan.settings.bug;
        let Some(node) = self.0.nodes.get_mut(&NodeId(node)) else {
            return 0;
        };
        node.process = None;
        let unsynced = node.disk.unsynced();
        node.disk.crash(kept(unsynced), bug);
        unsynced
    }

    /// A process is killed, and its disk emptied.
    ///
    /// # Panics
    /// When it was empty.
    #[track_caller]
    pub fn wipe(&mut self, node: u64) {
        self.kill(node);
        let id = NodeId(node);
        if let Some(node) = self.0.nodes.get_mut(&id) {
            assert!(node.disk.records().next().is_some(), "something is lost");
            node.disk.wipe();
        }
        self.0.on_loss(id);
    }

    /// A disk is copied away.
    pub fn back_up(&mut self, node: u64) {
        if let Some(node) = self.0.nodes.get_mut(&NodeId(node)) {
            node.disk.back_up();
        }
    }

    /// A process is killed, and its disk put back to the copy.
    ///
    /// # Panics
    /// When that changes nothing.
    #[track_caller]
    pub fn restore(&mut self, node: u64) {
        self.kill(node);
        let id = NodeId(node);
        if let Some(node) = self.0.nodes.get_mut(&id) {
            assert!(node.disk.restore(), "the copy differs");
        }
        self.0.on_loss(id);
    }

    /// A process starts, and serves.
    #[track_caller]
    pub fn start(&mut self, node: u64) {
        let node = NodeId(node);
        self.0.schedule.add(self.0.now, Event::Starts(node));
        self.wait_for(|world| world.process(node).is_some_and(Process::tells_the_time));
        self.wait();
    }

    /// A process is killed and starts again.
    #[track_caller]
    pub fn restart(&mut self, node: u64) {
        self.kill(node);
        self.start(node);
    }

    /// A bucket is deleted with all that is in it. Nobody hears of it yet.
    pub fn purge(&mut self, bucket: Bucket) {
        self.0.purge(bucket);
    }

    /// A version of the policy comes into force. Nobody hears of it yet.
    pub fn activate(&mut self, version: usize) {
        self.0.activate(version, false);
    }

    /// A node gets the component of the version that it has heard is in force.
    pub fn fetch(&mut self, node: u64) {
        self.0.on_fetches(NodeId(node));
        self.wait();
    }

    /// The authority hears what nodes complained of so far. How many complaints there were.
    pub fn hear_complaints(&mut self) -> usize {
        let is_it = |event: &mut Event| matches!(event, Event::Blamed(_));
        let complaints: Vec<Event> = self.0.held.extract_if(.., is_it).collect();
        let count = complaints.len();
        for complaint in complaints {
            self.0.on_event(complaint);
        }
        count
    }

    /// How often the policy was asked.
    #[must_use]
    pub fn asked(&self) -> usize {
        self.0.history.ledger.calls().len()
    }

    /// A node hears of the newest map.
    pub fn adopt(&mut self, node: u64) {
        self.0.adopt(NodeId(node));
        self.wait();
    }

    /// Every node hears of the newest map.
    pub fn all_adopt(&mut self) {
        for node in 1..=self.0.table.nodes().len() as u64 {
            self.adopt(node);
        }
    }

    /// Every node removes what nobody reads any more.
    pub fn all_sweep(&mut self) {
        for node in self.replicas() {
            self.sweep(node);
        }
    }

    /// A node removes what nobody reads any more.
    pub fn sweep(&mut self, node: u64) {
        self.0.turn(NodeId(node), Process::sweep);
        self.wait();
    }

    /// The dot log of a replica is cut as far as it goes.
    pub fn cut_log(&mut self, node: u64) {
        self.0.cut_log(NodeId(node));
        self.wait();
    }

    /// What the wall clock of a node says, in microseconds.
    #[must_use]
    pub fn clock(&self, node: u64) -> u64 {
        let ahead = self.0.nodes.get(&NodeId(node)).map_or(0, |node| node.ahead);
        clocks(self.0.now, ahead).wall
    }

    /// The wall clock of a node jumps.
    pub fn set_clock(&mut self, node: u64, says: u64) {
        let right = clocks(self.0.now, 0).wall;
        let ahead = says.cast_signed() - right.cast_signed();
        if let Some(node) = self.0.nodes.get_mut(&NodeId(node)) {
            node.ahead = ahead;
        }
    }

    /// A bit of a key's record flips.
    ///
    /// # Panics
    /// When there is no such record.
    #[track_caller]
    pub fn damage(&mut self, node: u64, key: u32) {
        let entry = self.0.table.target(KeyId(key)).entry.clone();
        self.damage_record(node, |layout| layout.object(&entry));
    }

    /// A bit of the clock record flips.
    ///
    /// # Panics
    /// When there is no such record.
    #[track_caller]
    pub fn damage_clock(&mut self, node: u64) {
        self.damage_record(node, Layout::clock);
    }

    /// A bit of the list of closed actors flips.
    ///
    /// # Panics
    /// When there is no such record.
    #[track_caller]
    pub fn damage_closed(&mut self, node: u64) {
        self.damage_record(node, |layout| layout.closed(0));
    }

    /// A bit of the log entry of a write flips.
    ///
    /// # Panics
    /// When there is no such record.
    #[track_caller]
    pub fn damage_log(&mut self, node: u64, key: u32) {
        let written = self.stored(node, key);
        let dot = written.and_then(|object| object.versions.keys().last().copied());
        let dot = dot.expect("the key has a value");
        self.damage_record(node, |layout| layout.log(&dot));
    }

    #[track_caller]
    fn damage_record(&mut self, node: u64, record: impl Fn(&Layout) -> Vec<u8>) {
        let (id, place) = (NodeId(node), self.place());
        let shown = self.0.process(id);
        let shown = shown.and_then(|process| process.partitions().shown(place));
        let layout = shown.map(|shown| shown.layout);
        if let (Some(layout), Some(node)) = (layout, self.0.nodes.get_mut(&id)) {
            let record = record(&layout);
            let is_it = |key: &[u8]| key == record;
            let damaged = node.disk.damage(&mut node.random, is_it);
            assert!(damaged.is_some(), "there is one");
            self.0.on_damaged(id, layout, record);
        }
    }

    /// The store of a node finds what is damaged.
    pub fn scrub(&mut self, node: u64) {
        self.0.turn(NodeId(node), Process::scrub);
        self.wait();
    }

    /// A node looks after all its partitions, and gives up on who does not answer.
    pub fn look_after(&mut self, node: u64) {
        let id = NodeId(node);
        if let Some(life) = self.0.process(id).map(Process::life) {
            let pass = Event::Rings(id, life, Alarm::Pass);
            self.0.schedule.add(self.0.now, pass);
        }
        let until = self.0.now.after(2 * SECOND);
        while self.0.schedule.next().is_some_and(|next| next <= until) {
            self.step();
        }
        self.0.now = until;
    }

    /// How many partitions were dropped.
    #[must_use]
    pub fn renewed(&self) -> usize {
        self.0.renewed
    }

    /// What a replica has stored of a key, tombstones and what it met too; none when that is
    /// nothing.
    #[must_use]
    pub fn stored(&self, node: u64, key: u32) -> Option<Object> {
        let target = self.0.table.target(KeyId(key));
        let node = self.0.nodes.get(&NodeId(node))?;
        let shown = node.process.as_ref()?.partitions().shown(target.place)?;
        let mut objects = replicas::objects(&node.disk, &shown.layout);
        let found = objects.find(|(entry, ..)| *entry == target.entry);
        found.map(|(.., object)| object)
    }

    /// How many actors a replica has closed.
    #[must_use]
    pub fn closed(&self, node: u64) -> usize {
        let process = self.0.process(NodeId(node));
        let shown = process.and_then(|process| process.partitions().shown(self.place()));
        shown.map_or(0, |shown| shown.state.clock.closed().len())
    }

    /// The end: the cluster heals, comes to rest, and is judged.
    #[must_use]
    pub fn end(mut self) -> Report {
        self.release();
        let world = &mut self.0;
        world.plan.settings.pass_period = SECOND / 5;
        world.plan.heal = world.now;
        world.schedule.add(world.now, Event::Heals);
        self.wait();
        for (id, node) in &self.0.nodes {
            if let Some(process) = &node.process {
                let pass = Event::Rings(*id, process.life(), Alarm::Pass);
                self.0.schedule.add(self.0.now, pass);
            }
        }
        // To the very end, so that what a first fault leads to shows as well.
        let is_restless = |fault: &Fault| matches!(fault, Fault::Restless { .. });
        while !self.0.is_over() && !self.0.faults.iter().any(is_restless) {
            self.step();
        }
        self.0.report()
    }
}

fn plan(replicas: usize, buckets: &[Bucket], bug: Option<Bug>) -> Plan {
    Plan {
        size: Size {
            nodes: replicas + 1,
            replicas,
            partitions: 1,
        },
        buckets: buckets.to_vec(),
        settings: Settings {
            bug,
            timeout: SECOND,
            // Replicas compare when they are told to.
            pass_period: 1_000 * HOUR,
            repair_bytes: 1,
            versions_max: 128,
            skew_max: SECOND / 2,
            lazy: false,
            releases: Vec::new(),
        },
        weather: Weather::CLEAR,
        clients: CLIENTS,
        habits: Habits {
            deletes: 0,
            alone: 0,
            faithful: 0,
        },
        pause: MILLI,
        sync: MILLI / 10,
        heal: Moment(1_000 * HOUR),
        harms: Vec::new(),
        backups: Vec::new(),
        log_cuts: None,
        shed: 0,
        rifts: None,
        strikes: 0,
        purge: None,
        activations: Vec::new(),
        chance: Random::new(1),
        timely: false,
    }
}
