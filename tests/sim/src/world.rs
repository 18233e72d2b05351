//! This is a run: one seed, a cluster in one thread, clients that use it and chance that harms it;
//! then heal, quiet, and the oracle's word.

mod ending;
mod harm;
pub mod play;
mod rollout;

use crate::authority::{Authority, InForce, Known};
use crate::bug::Bug;
use crate::client::{self, Client, Ending};
use crate::digest::Digest;
use crate::disk::Disk;
use crate::history::{History, Kind, Operation, Outcome};
use crate::ledger::Fate;
use crate::moment::{MILLI, Moment, SECOND, Schedule};
use crate::network::Network;
use crate::node::partitions::Shown;
use crate::node::{Alarm, Body, CallId, Frame, Lane, OperationId, Output, Process, Told, Turn};
use crate::oracle;
use crate::plan::Plan;
use crate::random::Random;
use crate::report::{Deed, Fault, Harm, Report};
use crate::table::{Bucket, KeyId, Table};
use harm::{DamagedObject, Weakness};
use soros_core::epoch::Epoch;
use soros_core::id::{BucketId, Generation, Incarnation, NodeId};
use soros_core::map::bucket::Buckets;
use soros_core::node_clock::Clocks;
use soros_core::operation::Basis;
use soros_core::place::Place;
use std::collections::{BTreeMap, BTreeSet};

/// A node: a disk, and a process while one runs.
struct Node {
    disk: Disk,
    process: Option<Process>,
    /// Whether the disk has lost nothing since a process last began on it.
    sound: bool,
    /// Whether it says that it had lost something, and not all of that is here again.
    in_doubt: bool,
    /// How far its wall clock is ahead, in microseconds.
    ahead: i64,
    /// What it has heard of the policy.
    in_force: InForce,
    /// The versions of the policy whose components it has.
    components: BTreeSet<usize>,
    random: Random,
    /// The incarnations so far.
    incarnations: Vec<Incarnation>,
}

impl Node {
    /// What it knows of the policy.
    fn policy(&self) -> Known {
        let in_force = self.in_force;
        let is_here = self.components.contains(&in_force.version);
        let other = self.components.last().copied();
        Known {
            in_force,
            component: is_here.then_some(in_force.version).or(other),
        }
    }
}

/// Something that is due.
enum Event {
    Arrives(NodeId, Frame),
    NotSent(NodeId, CallId),
    Rings(NodeId, u64, Alarm),
    Starts(NodeId),
    ClientActs(usize),
    ClientAsks(usize, u32, NodeId, Box<Basis>),
    ClientTold(usize, u32, Box<Told>),
    ClientGivesUp(usize, u32),
    Harms(Harm, u8),
    Strikes(NodeId),
    Scrubs(NodeId),
    CutsLogs(u64),
    Purges(Bucket),
    Adopts(NodeId),
    Operates,
    ProbationEnds(Epoch),
    Blamed(Epoch),
    Fetches(NodeId),
    Rifts(u64),
    Bereaves(Vec<NodeId>),
    Rejoins,
    BacksUp,
    Mends,
    CutsOff(NodeId),
    SetsRight(NodeId),
    Calms,
    Heals,
    Checks,
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Harmed,
    /// In a play all is told: clients do nothing by themselves, and no process starts again.
    Play,
    Healing,
    /// Since when all replicas have agreed.
    Resting(Moment),
    /// How many partitions had been dropped when clients began to read all once more.
    Reading(usize),
}

/// A run under way.
pub struct World {
    seed: u64,
    plan: Plan,
    table: Table,
    /// The buckets of the newest map.
    buckets: Buckets,
    authority: Authority,
    /// Since when the version of the policy is in force.
    in_force_since: Moment,
    /// What chance makes of the policy, apart from all else.
    chance: Random,
    /// How many calls of the policy were judged.
    judged: usize,
    deeds: BTreeMap<Deed, usize>,
    now: Moment,
    schedule: Schedule<Event>,
    random: Random,
    network: Network,
    nodes: BTreeMap<NodeId, Node>,
    clients: Vec<Client>,
    /// Which client waits for which operation.
    waiting: BTreeMap<u32, usize>,
    history: History,
    lives: u64,
    phase: Phase,
    /// From whom to whom frames wait, whose disks do not sync, and what waits for that.
    holding: BTreeSet<(NodeId, NodeId)>,
    stalled: BTreeSet<NodeId>,
    held: Vec<Event>,
    digest: Digest,
    events: u64,
    faults: Vec<Fault>,
    harms: BTreeMap<Harm, usize>,
    unfired: usize,
    renewed: usize,
    /// Ranges of full transfers that were merged and had more behind them.
    ranges: usize,
    transfers: usize,
    closed: usize,
    sum_alarms: usize,
    weak: BTreeMap<(NodeId, Place), Weakness>,
    /// Which generation of a partition was dropped last because of a damaged record.
    dropped: BTreeMap<(NodeId, Place), Generation>,
    /// Objects whose records were damaged.
    damaged: Vec<DamagedObject>,
    /// Keys of which a write quorum's replicas lacked something at once: nothing is promised.
    frail: BTreeSet<KeyId>,
    /// The nodes whose dot logs do not name all that nobody else has seen, perhaps.
    logs_cut: BTreeSet<NodeId>,
    /// When a node dropped a partition because of a damaged record, and had a log that was cut.
    forgets: Vec<(NodeId, Moment)>,
    /// Which node lost what it had answered unsynced, since when, and when it did.
    tails: Vec<(NodeId, Moment, Moment)>,
    /// When a node's disk lost something.
    losses: Vec<(NodeId, Moment)>,
}

/// Runs a seed, with a bug planted or none.
#[must_use]
pub fn run(seed: u64, bug: Option<Bug>) -> Report {
    let mut random = Random::new(seed);
    let mut chance = Random::new(!seed);
    let plan = Plan::new(&mut random, bug).with_policy(&mut chance);
    run_plan(seed, plan, random)
}

/// Runs a plan.
#[must_use]
pub fn run_plan(seed: u64, plan: Plan, random: Random) -> Report {
    let mut world = World::new(seed, plan, random);
    world.begin();
    while let Some((when, event)) = world.schedule.pop() {
        world.now = when;
        world.events += 1;
        world.on_event(event);
        if !world.faults.is_empty() || world.is_over() {
            break;
        }
    }
    world.report()
}

impl World {
    fn new(seed: u64, plan: Plan, mut random: Random) -> World {
        let table = Table::new(plan.size, &plan.buckets);
        let settings = &plan.settings;
        let authority = Authority::new(settings.releases.len(), settings.bug);
        let in_force = authority.in_force();
        let node = |random: &mut Random| Node {
            disk: Disk::default(),
            process: None,
            sound: true,
            in_doubt: false,
            ahead: harm::right(random),
            in_force,
            components: BTreeSet::from([in_force.version]),
            random: random.fork(),
            incarnations: Vec::new(),
        };
        let nodes = table.nodes().iter().map(|id| (*id, node(&mut random)));
        let nodes = nodes.collect();
        let clients = (0..plan.clients)
            .map(|_| Client::new(&mut random, plan.habits))
            .collect();
        World {
            seed,
            network: Network::new(plan.weather),
            table,
            buckets: Table::all_buckets(),
            authority,
            in_force_since: Moment::default(),
            chance: plan.chance.clone(),
            judged: 0,
            deeds: BTreeMap::new(),
            now: Moment::default(),
            schedule: Schedule::default(),
            random,
            nodes,
            clients,
            waiting: BTreeMap::new(),
            history: History::default(),
            lives: 0,
            phase: Phase::Harmed,
            holding: BTreeSet::new(),
            stalled: BTreeSet::new(),
            held: Vec::new(),
            digest: Digest::default(),
            events: 0,
            faults: Vec::new(),
            harms: BTreeMap::new(),
            unfired: 0,
            renewed: 0,
            ranges: 0,
            transfers: 0,
            closed: 0,
            sum_alarms: 0,
            weak: BTreeMap::new(),
            dropped: BTreeMap::new(),
            damaged: Vec::new(),
            frail: BTreeSet::new(),
            logs_cut: BTreeSet::new(),
            forgets: Vec::new(),
            tails: Vec::new(),
            losses: Vec::new(),
            plan,
        }
    }

    fn begin(&mut self) {
        let nodes: Vec<NodeId> = self.table.nodes().to_vec();
        for node in nodes {
            self.schedule.add(self.now, Event::Starts(node));
        }
        for client in 0..self.clients.len() {
            let first = SECOND + self.random.below(SECOND);
            self.schedule.add(Moment(first), Event::ClientActs(client));
        }
        for (when, harm) in std::mem::take(&mut self.plan.harms) {
            self.schedule.add(when, Event::Harms(harm, 0));
        }
        for when in std::mem::take(&mut self.plan.backups) {
            self.schedule.add(when, Event::BacksUp);
        }
        if let Some(period) = self.plan.log_cuts {
            self.schedule.add(self.now, Event::CutsLogs(period));
        }
        if let Some(period) = self.plan.rifts {
            self.schedule.add(self.now, Event::Rifts(period));
        }
        if let Some((when, bucket)) = self.plan.purge {
            self.schedule.add(when, Event::Purges(bucket));
        }
        self.schedule.add(self.plan.heal, Event::Heals);
        self.begin_rollout();
    }

    fn on_event(&mut self, event: Event) {
        self.digest.number(self.now.0);
        match event {
            Event::Arrives(to, frame) => self.on_arrives(to, frame),
            Event::NotSent(node, call) => {
                self.digest.number(call.number);
                self.turn(node, |process, turn| process.on_not_sent(turn, call));
            }
            Event::Rings(node, life, alarm) => self.on_rings(node, life, alarm),
            Event::Starts(node) => self.on_starts(node),
            Event::ClientActs(client) => self.on_client_acts(client),
            Event::ClientAsks(client, id, node, basis) => {
                self.on_client_asks(client, id, node, *basis);
            }
            Event::ClientTold(client, id, told) => self.on_client_told(client, id, &told),
            Event::ClientGivesUp(client, id) => self.on_client_gives_up(client, id),
            Event::Harms(harm, tries) => self.on_harms(harm, tries),
            Event::CutsLogs(period) => self.on_cuts_logs(period),
            Event::Purges(bucket) => self.on_purges(bucket),
            Event::Adopts(node) => self.adopt(node),
            Event::Operates => self.on_operates(),
            Event::ProbationEnds(since) => self.on_probation_ends(since),
            Event::Blamed(since) => self.on_blamed(since),
            Event::Fetches(node) => self.on_fetches(node),
            Event::Rifts(period) => self.on_rifts(period),
            Event::Scrubs(node) => self.turn(node, Process::scrub),
            Event::Strikes(node) => self.on_strikes(node),
            Event::Bereaves(holders) => self.on_bereaves(&holders),
            Event::Rejoins => self.network.part(&[]),
            Event::BacksUp => self.on_backs_up(),
            Event::Mends => self.network.mend(),
            Event::CutsOff(node) => self.cut_off(node),
            Event::SetsRight(node) => self.set_right(node),
            Event::Calms => self.network.set_weather(self.plan.weather),
            Event::Heals => self.on_heals(),
            Event::Checks => self.on_checks(),
        }
    }

    /// Gives a node's process, if one runs, a turn, and does to the world what it does.
    fn turn(&mut self, id: NodeId, act: impl FnOnce(&mut Process, &mut Turn<'_>)) {
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        let Some(mut process) = node.process.take() else {
            return;
        };
        let life = process.life();
        let mut turn = Turn {
            now: self.now,
            clocks: clocks(self.now, node.ahead),
            table: &self.table,
            buckets: &self.buckets,
            known: node.policy(),
            ledger: &mut self.history.ledger,
            settings: &self.plan.settings,
            disk: &mut node.disk,
            random: &mut node.random,
            outputs: Vec::new(),
        };
        act(&mut process, &mut turn);
        let outputs = turn.outputs;
        if node.in_doubt {
            let mut places = self.table.places_of(id);
            let shown = |place| process.partitions().shown(place);
            node.in_doubt = !places.all(|place| shown(place).is_some_and(Shown::is_trusted));
        }
        node.process = Some(process);
        self.judge_calls(id);
        for output in outputs {
            self.on_output(id, life, output);
        }
    }

    fn on_output(&mut self, node: NodeId, life: u64, output: Output) {
        match output {
            Output::Send(to, frame) => self.on_send(node, to, &frame),
            Output::Wake(when, alarm) => {
                self.schedule.add(when, Event::Rings(node, life, alarm));
            }
            Output::Sync => {
                let when = self.now.after(50 + self.random.tailed(self.plan.sync));
                let synced = Event::Rings(node, life, Alarm::Synced);
                if self.stalled.contains(&node) {
                    self.held.push(synced);
                } else {
                    self.schedule.add(when, synced);
                }
            }
            Output::Tell(OperationId(id), told) => self.on_tell(id, told),
            Output::SumAlarm(place) => {
                self.sum_alarms += 1;
                self.on_sum_alarm(place);
            }
            Output::Renewed(place) => self.on_renewed(node, place),
            Output::HalfWay(peer) => {
                self.ranges += 1;
                self.on_half_way(node, peer);
            }
            Output::Transferred(_) => self.transfers += 1,
            Output::Closed(_, actors) => self.closed += actors,
            Output::Blames(since) => self.on_blames(since),
        }
    }

    fn on_send(&mut self, from: NodeId, to: NodeId, frame: &Frame) {
        let (Body::Request(bytes) | Body::Reply(bytes)) = &frame.body;
        self.digest.number(to.0);
        self.digest.bytes(bytes);
        if self.holding.contains(&(from, to)) {
            return self.held.push(Event::Arrives(to, frame.clone()));
        }
        let listens = self
            .nodes
            .get(&to)
            .is_some_and(|node| node.process.is_some());
        if !listens && matches!(frame.body, Body::Request(_)) && self.random.chance(700) {
            let when = self.now.after(MILLI);
            return self.schedule.add(when, Event::NotSent(from, frame.call));
        }
        let mut held = 0;
        let shed = match frame.lane {
            Lane::Spread => self.plan.shed,
            Lane::Decided => 2 * self.plan.shed,
            Lane::Once | Lane::Other => 0,
        };
        if 0 < shed && self.random.chance(shed) {
            if self.random.chance(500) {
                return;
            }
            held = self.random.below(self.plan.settings.timeout);
        }
        let mut deliveries = self.network.deliveries(from, to, &mut self.random);
        let most = if frame.lane == Lane::Once {
            1
        } else {
            usize::MAX
        };
        deliveries.truncate(most);
        for delay in deliveries {
            let when = self.now.after(held + delay);
            self.schedule.add(when, Event::Arrives(to, frame.clone()));
        }
    }

    fn on_arrives(&mut self, to: NodeId, frame: Frame) {
        self.digest.number(frame.call.number);
        self.turn(to, |process, turn| process.on_frame(turn, frame));
    }

    fn on_rings(&mut self, id: NodeId, life: u64, alarm: Alarm) {
        let process = self.nodes.get(&id).and_then(|node| node.process.as_ref());
        if process.is_some_and(|process| process.life() == life) {
            self.turn(id, |process, turn| process.on_alarm(turn, alarm));
            if matches!(alarm, Alarm::Synced) && self.events.is_multiple_of(8) {
                self.judge_counts(id);
            }
        }
    }

    fn on_starts(&mut self, id: NodeId) {
        if self.process(id).is_none() {
            self.recall_policy(id);
        }
        self.lives += 1;
        let life = self.lives;
        let new = self.now == Moment::default();
        let keeps = self.plan.settings.bug == Some(Bug::SameActorAfterLoss);
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        if node.process.is_some() {
            return;
        }
        let fresh = Incarnation(u128::from(node.random.word()) << 64 | u128::from(life));
        let last = node.incarnations.last().copied();
        let incarnation = last.filter(|_| keeps && !node.sound).unwrap_or(fresh);
        node.incarnations.push(incarnation);
        let mut turn = Turn {
            now: self.now,
            clocks: clocks(self.now, node.ahead),
            table: &self.table,
            buckets: &self.buckets,
            known: node.policy(),
            ledger: &mut self.history.ledger,
            settings: &self.plan.settings,
            disk: &mut node.disk,
            random: &mut node.random,
            outputs: Vec::new(),
        };
        node.in_doubt |= !node.sound;
        let process = Process::start(&mut turn, (id, incarnation), life, (!node.in_doubt, new));
        let outputs = turn.outputs;
        node.process = Some(process);
        node.sound = true;
        for output in outputs {
            self.on_output(id, life, output);
        }
    }

    /// A bucket is deleted with all that is in it, and the nodes hear of it one after another.
    fn on_purges(&mut self, bucket: Bucket) {
        self.purge(bucket);
        *self.harms.entry(Harm::Purge).or_default() += 1;
        for node in self.table.nodes().to_vec() {
            let hears = self.now.after(self.random.tailed(SECOND / 2));
            self.schedule.add(hears, Event::Adopts(node));
        }
    }

    fn purge(&mut self, bucket: Bucket) {
        self.buckets.epoch = self.buckets.epoch.next();
        let is_it = |id: &BucketId| self.table.bucket_by_id(*id) == bucket;
        self.buckets.open.retain(|id| !is_it(id));
    }

    /// Whether the bucket of a key was deleted.
    fn is_dead(&self, key: KeyId) -> bool {
        self.buckets.is_dead(self.table.target(key).bucket())
    }

    fn on_client_acts(&mut self, client: usize) {
        if self.phase != Phase::Harmed {
            return;
        }
        let (operation, basis) = self.clients[client].next(&self.table, self.now);
        let id = self.history.begin(operation);
        let node = *self.random.pick(self.table.nodes());
        self.send_ask(client, id, node, basis);
    }

    fn send_ask(&mut self, client: usize, id: u32, node: NodeId, basis: Basis) {
        self.waiting.insert(id, client);
        let arrives = self.now.after(MILLI / 10 + self.random.tailed(MILLI));
        let basis = Box::new(basis);
        self.schedule
            .add(arrives, Event::ClientAsks(client, id, node, basis));
        let patience = self.plan.settings.timeout + SECOND / 4;
        let gives_up = self.now.after(patience);
        self.schedule
            .add(gives_up, Event::ClientGivesUp(client, id));
    }

    fn on_client_asks(&mut self, client: usize, id: u32, node: NodeId, basis: Basis) {
        let Some(operation) = self.history.get(id) else {
            return;
        };
        let listens = self
            .nodes
            .get(&node)
            .is_some_and(|node| node.process.is_some());
        if !listens {
            return self.end_operation(client, id, &Ending::of(Outcome::Failed));
        }
        let ask = client::ask(&self.table, id, operation, basis);
        self.turn(node, |process, turn| {
            process.on_client(turn, OperationId(u64::from(id)), ask);
        });
    }

    fn on_tell(&mut self, id: u64, told: Told) {
        let Ok(id) = u32::try_from(id) else {
            return;
        };
        let Some(client) = self.waiting.get(&id).copied() else {
            return;
        };
        // Now and then an answer is lost on its way: the client learns nothing.
        if self.phase == Phase::Harmed && self.random.chance(10) {
            return;
        }
        let when = self.now.after(MILLI / 10 + self.random.tailed(MILLI));
        self.schedule
            .add(when, Event::ClientTold(client, id, Box::new(told)));
    }

    fn on_client_told(&mut self, client: usize, id: u32, told: &Told) {
        let Some(operation) = self
            .history
            .get(id)
            .filter(|_| self.waiting.contains_key(&id))
        else {
            return;
        };
        let key = operation.key;
        let ending = self.clients[client].on_told(&self.table, id, key, told);
        self.end_operation(client, id, &ending);
    }

    fn on_client_gives_up(&mut self, client: usize, id: u32) {
        if self.waiting.contains_key(&id) {
            let is_read = self.history.get(id).is_some_and(|op| op.kind == Kind::Read);
            let outcome = if is_read {
                Outcome::Failed
            } else {
                Outcome::Unknown
            };
            self.end_operation(client, id, &Ending::of(outcome));
        }
    }

    fn end_operation(&mut self, client: usize, id: u32, ending: &Ending) {
        self.waiting.remove(&id);
        self.digest
            .number(u64::from(id) << 8 | ending.outcome as u64);
        if let Some(operation) = self.history.get_mut(id) {
            operation.outcome = ending.outcome;
            operation.end = Some(self.now);
            operation.found.clone_from(&ending.found);
            operation.served_by = ending.served_by;
            if operation.kind == Kind::Read {
                let kept = |operation: &Operation| self.is_kept(operation);
                let mut faults = oracle::judge_read(&self.table, &self.history, id, &kept);
                faults.retain(|fault| self.is_promised(fault));
                self.faults.extend(faults);
            }
        }
        self.judge_served(id, ending.outcome);
        let pause = self.now.after(self.random.tailed(self.plan.pause));
        self.schedule.add(pause, Event::ClientActs(client));
    }

    fn on_backs_up(&mut self) {
        let nodes: Vec<NodeId> = self.table.nodes().to_vec();
        let node = *self.random.pick(&nodes);
        if let Some(node) = self.nodes.get_mut(&node) {
            node.disk.back_up();
        }
    }

    fn process(&self, node: NodeId) -> Option<&Process> {
        self.nodes.get(&node).and_then(|node| node.process.as_ref())
    }

    fn judge_counts(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get(&id) else {
            return;
        };
        let Some(process) = &node.process else {
            return;
        };
        for place in self.table.places_of(id) {
            if let Some(shown) = process.partitions().shown(place) {
                let fault = oracle::replicas::judge_counts(id, place, shown, &node.disk);
                self.faults.extend(fault);
            }
        }
    }

    fn report(&self) -> Report {
        let mut deeds = self.deeds.clone();
        let calls = self.history.ledger.calls().iter();
        let stored = calls.filter(|call| call.fate == Fate::Stored).count();
        deeds.extend((0 < stored).then_some((Deed::Stored, stored)));
        let count = |outcome: Outcome| {
            let ended = self.history.all().filter(|op| op.outcome == outcome);
            ended.count()
        };
        Report {
            seed: self.seed,
            digest: self.digest,
            faults: self.faults.clone(),
            done: count(Outcome::Done),
            unknown: count(Outcome::Unknown),
            failed: count(Outcome::Failed),
            harms: self.harms.clone(),
            deeds,
            unfired: self.unfired,
            renewed: self.renewed,
            transfers: self.transfers,
            closed: self.closed,
            sum_alarms: self.sum_alarms,
            events: self.events,
            history: self.history.clone(),
        }
    }
}

/// What the clocks of a machine say whose wall clock is `ahead` of a right one.
fn clocks(now: Moment, ahead: i64) -> Clocks {
    Clocks {
        wall: (WALL_START + now.0).saturating_add_signed(ahead),
        steady: now.0,
    }
}

/// What a right wall clock says when a run begins, in microseconds since 1970.
const WALL_START: u64 = 1_700_000_000_000_000;
