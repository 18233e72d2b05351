//! This is a play: a run in which operations and harms are told one by one and nothing is left to
//! chance. At its end the cluster heals and the oracle judges it, as it does any run.

use super::{Event, World};
use crate::bug::Bug;
use crate::client::Says;
use crate::history::{Kind, Operation, Outcome};
use crate::moment::{MILLI, Moment, SECOND};
use crate::network::Weather;
use crate::node::{Alarm, Settings};
use crate::plan::{Habits, Plan};
use crate::random::Random;
use crate::report::Report;
use crate::table::{Bucket, KeyId, Size};
use soros_core::id::NodeId;
use soros_core::operation::Consistency;
use soros_core::place::Place;
use std::collections::BTreeSet;

/// A play under way.
pub struct Play(World);

/// How many clients there are.
const CLIENTS: usize = 4;
/// How long anything in a play may take.
const PATIENCE: u64 = 30 * SECOND;

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

    /// By one who says nothing.
    #[must_use]
    pub fn unsaid(self) -> Act {
        let says = Says::Nothing;
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

/// How what a client did ended.
#[derive(Clone, Debug)]
pub struct Done {
    /// The number of the operation, which is the value that a write wrote.
    pub id: u32,
    /// Whether it is done.
    pub outcome: Outcome,
    /// What a read found.
    pub found: BTreeSet<u32>,
}

impl Play {
    /// A cluster of `nodes`, each a replica of one partition, with a key for each of `buckets`.
    #[must_use]
    pub fn new(nodes: usize, buckets: &[Bucket], bug: Option<Bug>) -> Play {
        let plan = Plan {
            size: Size {
                nodes,
                replicas: nodes,
                partitions: 1,
            },
            buckets: buckets.to_vec(),
            settings: Settings {
                bug,
                timeout: SECOND,
                pass_period: 100 * PATIENCE,
                repair_bytes: 1,
                versions_max: 128,
                skew_max: SECOND / 2,
            },
            weather: Weather::CLEAR,
            clients: CLIENTS,
            habits: Habits {
                deletes: 0,
                alone: 0,
                faithful: 0,
            },
            pause: MILLI,
            sync: 100,
            heal: Moment(1_000 * PATIENCE),
            harms: Vec::new(),
            backups: Vec::new(),
            log_cuts: None,
            shed: 0,
            rifts: None,
            strikes: 0,
        };
        let mut play = Play(World::new(0, plan, Random::new(1)));
        play.0.is_left_to_chance = false;
        play.0.begin();
        play.wait(SECOND);
        play.all_compare();
        play
    }

    /// Time passes.
    pub fn wait(&mut self, micros: u64) {
        let until = self.0.now.after(micros);
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

    /// Time passes until something holds.
    ///
    /// # Panics
    /// When it does not for long.
    #[track_caller]
    fn wait_for(&mut self, what: impl Fn(&World) -> bool) {
        let last = self.0.now.after(PATIENCE);
        while !what(&self.0) {
            assert!(self.0.now < last, "what a play waits for happens");
            self.step();
        }
    }

    /// A client writes the number of its operation.
    pub fn write(&mut self, act: Act) -> Done {
        self.act(act, Kind::Write)
    }

    /// A client deletes.
    pub fn delete(&mut self, act: Act) -> Done {
        self.act(act, Kind::Delete)
    }

    /// A client reads, and remembers what it found.
    pub fn read(&mut self, act: Act) -> Done {
        self.act(act, Kind::Read)
    }

    fn act(&mut self, act: Act, kind: Kind) -> Done {
        let (basis, seen) = match kind {
            Kind::Read => self.0.clients[act.client].say(act.key, Says::Nothing),
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
        self.wait_for(|world| !world.waiting.contains_key(&id));
        let ended = self.0.history.get(id);
        Done {
            id,
            outcome: ended.map_or(Outcome::Pending, |operation| operation.outcome),
            found: ended.map_or_else(BTreeSet::new, |operation| operation.found.clone()),
        }
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

    /// A replica fetches what another one has and it lacks.
    pub fn learn(&mut self, node: u64, from: u64) {
        self.begin_to_learn(node, from);
        self.finish_learning(node);
    }

    /// A replica comes to the end of what it began to fetch.
    pub fn finish_learning(&mut self, node: u64) {
        self.wait_for(|world| {
            let process = world.process(NodeId(node));
            process.is_none_or(|process| !process.is_comparing())
        });
    }

    /// Every replica fetches from every other one.
    pub fn all_compare(&mut self) {
        let nodes: Vec<u64> = self.0.table.nodes().iter().map(|node| node.0).collect();
        for one in &nodes {
            for other in nodes.iter().filter(|other| *other != one) {
                self.learn(*one, *other);
            }
        }
    }

    /// A full transfer that was begun comes to the end of its next range.
    pub fn wait_for_range(&mut self) {
        let ranges = self.0.ranges;
        self.wait_for(|world| ranges < world.ranges);
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

    /// What was held arrives now.
    pub fn release(&mut self) {
        self.0.holding.clear();
        for (to, frame) in std::mem::take(&mut self.0.held) {
            self.0.schedule.add(self.0.now, Event::Arrives(to, frame));
        }
    }

    /// A process is killed; what its disk has not synced is lost.
    pub fn crash(&mut self, node: u64) {
        self.0.crash(NodeId(node));
    }

    /// A process is killed, and its disk emptied.
    pub fn wipe(&mut self, node: u64) {
        let id = NodeId(node);
        self.0.crash(id);
        if let Some(node) = self.0.nodes.get_mut(&id) {
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
    pub fn restore(&mut self, node: u64) {
        let id = NodeId(node);
        self.0.crash(id);
        if let Some(node) = self.0.nodes.get_mut(&id) {
            assert!(node.disk.restore(), "a copy that differs");
        }
        self.0.on_loss(id);
    }

    /// A process starts.
    pub fn start(&mut self, node: u64) {
        self.0.schedule.add(self.0.now, Event::Starts(NodeId(node)));
        self.wait(20 * MILLI);
    }

    /// The dot log of a replica is cut as far as it goes.
    pub fn cut_log(&mut self, node: u64) {
        self.0.cut_log(NodeId(node));
        self.wait(20 * MILLI);
    }

    /// The wall clock of a node is ahead of the others', from its next start on.
    pub fn set_ahead(&mut self, node: u64, micros: u64) {
        if let Some(node) = self.0.nodes.get_mut(&NodeId(node)) {
            node.ahead = micros;
        }
    }

    /// A record of a key is damaged, and the store finds it.
    pub fn damage(&mut self, node: u64, key: u32) {
        let id = NodeId(node);
        let entry = self.0.table.target(KeyId(key)).entry.clone();
        let shown = self.0.process(id).and_then(|process| {
            let shown = process.partitions().shown(self.place())?;
            Some(shown.layout.object(&entry))
        });
        if let (Some(record), Some(node)) = (shown, self.0.nodes.get_mut(&id)) {
            let is_it = |key: &[u8]| key == record;
            assert!(node.disk.damage(&mut node.random, is_it), "there is one");
        }
        self.0.buried(id);
        self.0.turn(id, crate::node::Process::scrub);
        self.wait(20 * MILLI);
    }

    /// How many versions of a key a replica holds, tombstones too.
    #[must_use]
    pub fn versions(&self, node: u64, key: u32) -> usize {
        let target = self.0.table.target(KeyId(key));
        let node = self.0.nodes.get(&NodeId(node));
        let object = node.and_then(|node| {
            let view = node.process.as_ref()?.partitions();
            let view = view.view(target.place, &node.disk)?;
            view.object(&target.entry).ok()
        });
        object.map_or(0, |object| object.versions.len())
    }

    /// The end: the cluster heals, comes to rest, and is judged.
    #[must_use]
    pub fn end(mut self) -> Report {
        self.release();
        let world = &mut self.0;
        world.plan.settings.pass_period = 200 * MILLI;
        world.plan.heal = world.now;
        world.schedule.add(world.now, Event::Heals);
        self.wait(SECOND);
        let lives = self.0.nodes.iter().filter_map(|(id, node)| {
            let process = node.process.as_ref()?;
            Some((*id, process.life()))
        });
        for (id, life) in lives.collect::<Vec<_>>() {
            let event = Event::Rings(id, life, Alarm::Pass);
            self.0.schedule.add(self.0.now, event);
        }
        while !self.0.is_over() && self.0.faults.is_empty() {
            self.step();
        }
        self.0.report()
    }
}
