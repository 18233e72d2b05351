//! This is three replicas of one partition and the naive model of each, moved in step and compared
//! after every step.

use crate::closing::Attempts;
use crate::history::{Fact, History, WriteId};
use crate::memory::Memory;
use crate::model::Cell;
use crate::records;
use soros_core::clock::Clock;
use soros_core::closed::{Closed, Met, News, met};
use soros_core::dot::{Actor, Dot};
use soros_core::dot_set::DotSet;
use soros_core::id::{BucketId, Incarnation, NodeId, PlacementId};
use soros_core::key::{Key, Partition};
use soros_core::object::{Object, Value, Version};
use soros_core::place::{Entry, Place};
use soros_core::replica::{
    Difference, Found, Item, Outcome, Reached, Replica, Siblings, Standing, Taken, TransferKind,
    Write, Written,
};
use soros_core::time::Time;
use std::collections::{BTreeMap, BTreeSet};

pub(crate) const REPLICAS: usize = 3;
pub(crate) const KEYS: usize = 3;
const VERSIONS_MAX: usize = 6;

/// One replica, its disk, and the model of each key.
pub(crate) struct Node {
    pub(crate) disk: Memory,
    pub(crate) replica: Replica,
    pub(crate) cells: Vec<Cell>,
    /// What the sender of a transfer had seen at its first range, and where the ranges that are
    /// compared end; none when all are.
    compared: BTreeMap<usize, (DotSet, Closed, Option<Entry>)>,
}

/// What a client has seen of a key.
#[derive(Clone)]
struct Token {
    key: usize,
    context: DotSet,
    seen: BTreeSet<WriteId>,
}

/// An object on its way.
#[derive(Clone)]
struct Frame {
    key: usize,
    object: Object,
    dots: Vec<Dot>,
    cell: Cell,
    /// Whether it comes from the write's coordinator.
    first_hand: bool,
}

/// A full transfer under way.
struct Transfer {
    /// What the sender has closed.
    closed: Closed,
    /// What the sender had seen at its first range, and the dots repaired since the last.
    seen: DotSet,
    /// What the sender had seen at its last range.
    last: DotSet,
    /// Where the next range starts.
    next: Option<Entry>,
    /// Whether all ranges are merged.
    ranged: bool,
}

/// How a write treats the versions beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beside {
    Keep,
    Supersede,
    Merge,
}

/// Three replicas beside their models.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Node>,
    pub(crate) history: History,
    tokens: Vec<Token>,
    frames: Vec<Frame>,
    transfers: BTreeMap<(usize, usize), Transfer>,
    pub(crate) closing: Attempts,
    now: u64,
    incarnations: u128,
}

/// The place of the partition.
pub(crate) fn place() -> Place {
    Place {
        placement: PlacementId(1),
        partition: Partition::from_wire(3),
    }
}

/// The entry of key number `key`.
pub(crate) fn entry(key: usize) -> Entry {
    let bytes = [b'k', u8::try_from(key).expect("a few keys")];
    Entry {
        bucket: BucketId(1 + key as u64 % 2),
        key: Key::try_from(&bytes[..]).expect("two bytes"),
    }
}

pub(crate) fn node_id(index: usize) -> NodeId {
    NodeId(index as u64 + 1)
}

/// A value that nobody else writes.
pub(crate) fn value(number: u64) -> Value {
    Value {
        bytes: number.to_be_bytes().as_slice().into(),
        content_type: String::new(),
        content_encoding: None,
        meta: Vec::new(),
    }
}

impl Cluster {
    pub(crate) fn new() -> Cluster {
        let node = |index: usize| {
            let life = (node_id(index), Incarnation(index as u128));
            let disk = Memory::default();
            let replica = Replica::open(&disk, place(), life, Standing::Trusted);
            Node {
                replica: replica.expect("an empty disk opens"),
                disk,
                cells: vec![Cell::default(); KEYS],
                compared: BTreeMap::new(),
            }
        };
        Cluster {
            nodes: (0..REPLICAS).map(node).collect(),
            history: History::default(),
            tokens: Vec::new(),
            frames: Vec::new(),
            transfers: BTreeMap::new(),
            closing: Attempts::default(),
            now: 0,
            incarnations: 100,
        }
    }

    /// How many tokens the clients keep.
    pub(crate) fn tokens(&self) -> usize {
        self.tokens.len()
    }

    /// A client reads `key` at the replicas of `mask` and keeps the token.
    pub(crate) fn read(&mut self, key: usize, mask: u8) {
        let asked = (0..REPLICAS).filter(|index| mask & (1 << index) != 0);
        let (mut object, mut cell) = (Object::default(), Cell::default());
        for index in asked {
            let node = &self.nodes[index];
            let other = node.view_object(key);
            let Some(merged) = object.sync(other, &[node.replica.state().clock.closed()]) else {
                return;
            };
            object = merged;
            cell = cell.sync(&node.cells[key]);
        }
        let seen = cell.met;
        self.tokens.push(Token {
            key,
            context: object.seen(),
            seen,
        });
    }

    /// A client writes at replica `at`, with the token number `token` if there are any.
    pub(crate) fn write(
        &mut self,
        at: usize,
        key: usize,
        token: Option<usize>,
        is_live: bool,
        beside: Beside,
    ) {
        self.now += 1;
        let time = Time::at_micros(self.now);
        let of_key: Vec<&Token> = self.tokens.iter().filter(|t| t.key == key).collect();
        let token = token
            .filter(|_| !of_key.is_empty())
            .map(|t| of_key[t % of_key.len()].clone());
        let token = token.unwrap_or(Token {
            key,
            context: DotSet::default(),
            seen: BTreeSet::new(),
        });
        let node = &mut self.nodes[at];
        let seen = node.view_object(key).dots();
        let version = |is_live: bool| Version {
            time,
            value: is_live.then(|| value(time.micros())),
        };
        let write = Write {
            context: token.context.clone(),
            version: version(is_live),
            siblings: match beside {
                Beside::Keep => Siblings::Keep,
                Beside::Supersede => Siblings::Supersede { seen },
                Beside::Merge => Siblings::Merge {
                    seen,
                    version: version(true),
                },
            },
            versions_max: VERSIONS_MAX,
        };
        let outcome = node.replica.write(&mut node.disk, &entry(key), write);
        node.replica.save(&mut node.disk);
        match outcome.expect("memory does not fail") {
            Outcome::Written(written) => self.on_written(at, &token, is_live, beside, written),
            Outcome::Moved(_) => panic!("the versions did not move"),
            Outcome::TooManySiblings(_) => {
                let cell = &self.nodes[at].cells[key];
                let left = cell.versions.difference(&token.seen).count();
                assert!(VERSIONS_MAX <= left, "there was room for a sibling");
            }
        }
    }

    fn on_written(
        &mut self,
        at: usize,
        token: &Token,
        is_live: bool,
        beside: Beside,
        written: Written,
    ) {
        let key = token.key;
        let cell = self.nodes[at].cells[key].clone();
        assert_eq!(written.found.live, cell.is_live(&self.history));
        let time = Time::at_micros(self.now);
        let mut supersedes = token.seen.clone();
        if beside == Beside::Supersede {
            supersedes.extend(&cell.versions);
        }
        let mut fact = Fact {
            dot: written.dot,
            key,
            is_live,
            time,
            supersedes,
        };
        let own = self.history.add(fact.clone());
        let cells = &mut self.nodes[at].cells[key];
        cells.write(own, &fact.supersedes);
        if beside == Beside::Merge {
            fact.supersedes.extend(&cell.versions);
            fact.supersedes.insert(own);
            fact.is_live = true;
            fact.dot = *written.dots.last().expect("two dots");
            let merged = self.history.add(fact.clone());
            cells.write(merged, &fact.supersedes);
        }
        let cell = cells.clone();
        self.assert_beside(written.found, &cell, &written.dots);
        let mut after = token.clone();
        after.context.add(written.dot);
        after.seen.insert(own);
        self.tokens.push(after);
        self.frames.push(Frame {
            key,
            object: written.object,
            dots: written.dots,
            cell,
            first_hand: true,
        });
    }

    /// The latest time that a replica found beside a write is that of the other versions, where
    /// tombstones may be gone already.
    fn assert_beside(&self, found: Found, cell: &Cell, dots: &[Dot]) {
        let facts = cell.versions.iter().map(|id| self.history.fact(*id));
        let others = facts.filter(|fact| !dots.contains(&fact.dot));
        let live = others.clone().filter(|fact| fact.is_live);
        let latest = live.map(|fact| fact.time).max().unwrap_or_default();
        let most = others.map(|fact| fact.time).max().unwrap_or_default();
        assert!(latest <= found.beside && found.beside <= most);
    }

    /// A frame on its way arrives at `to`. It stays on its way: it may arrive again.
    pub(crate) fn deliver(&mut self, frame: usize, to: usize) {
        if self.frames.is_empty() {
            return;
        }
        let frame = self.frames[frame % self.frames.len()].clone();
        self.merge(to, &frame);
    }

    fn merge(&mut self, to: usize, frame: &Frame) {
        let node = &mut self.nodes[to];
        let before = node.with_compared(frame.key, &self.history);
        // Its own write may have come by a repair before.
        let was_there = |id: &WriteId| {
            let fact = self.history.fact(*id);
            fact.is_live && !frame.dots.contains(&fact.dot)
        };
        let was_live = before.versions.iter().any(was_there);
        let cell = before.sync(&frame.cell);
        let (object, dots, entry) = (frame.object.clone(), &frame.dots, entry(frame.key));
        let replica = &mut node.replica;
        let taken = if frame.first_hand {
            replica.take(&mut node.disk, &entry, object, dots)
        } else {
            let merged = replica.merge(&mut node.disk, &entry, object, dots);
            merged.map(|found| found.map_or(Taken::Unclear, Taken::Merged))
        };
        // What is not taken comes by anti-entropy: its node has it.
        let Taken::Merged(found) = taken.expect("memory does not fail") else {
            return;
        };
        node.replica.save(&mut node.disk);
        node.cells[frame.key] = cell.clone();
        assert_eq!(found.live, was_live);
        let written = frame.dots.iter().chain(frame.object.versions.keys());
        let written: Vec<Dot> = written.copied().collect();
        self.assert_beside(found, &cell, &written);
    }

    /// `to` asks `from` for what it lacks. Whatever does not arrive at once may arrive later.
    pub(crate) fn repair(&mut self, from: usize, to: usize, bytes_max: usize, arrives: u8) {
        let clock = self.nodes[to].replica.state().clock.clone();
        let node = &self.nodes[from];
        let view = node.replica.view(&node.disk);
        let difference = view.difference(clock.seen(), bytes_max);
        let items = match difference.expect("memory does not fail").found {
            Difference::None => return assert!(clock.covers(node.replica.state().clock.seen())),
            Difference::LogTooShort => return self.transfer_step(from, to, bytes_max),
            Difference::Closed(news) => return self.hear_news(from, to, news, bytes_max),
            Difference::Items { items, .. } => items,
        };
        assert!(!items.is_empty(), "a difference has an item");
        for (index, item) in items.into_iter().enumerate() {
            let frame = self.frame(from, item);
            self.frames.push(frame.clone());
            if arrives & (1 << (index % 8)) != 0 {
                self.merge(to, &frame);
            }
        }
    }

    /// `to` learns what `from` has closed, and compares all where it has not seen the same.
    fn hear_news(&mut self, from: usize, to: usize, news: News, bytes_max: usize) {
        let node = &mut self.nodes[to];
        let own = node.replica.state().clock.closed().clone();
        let steps = own.told(news).expect("news for this one").steps_after(&own);
        let closed = node.replica.close(own.name(), &steps);
        node.replica.save(&mut node.disk);
        if !closed {
            self.transfer_step(from, to, bytes_max);
        }
    }

    /// One more step of a full transfer from `from` to `to`; the first one starts it.
    pub(crate) fn transfer_step(&mut self, from: usize, to: usize, bytes_max: usize) {
        let clock = &self.nodes[from].replica.state().clock;
        let mut transfer = self.transfers.remove(&(from, to)).unwrap_or(Transfer {
            closed: clock.closed().clone(),
            seen: clock.seen().clone(),
            last: clock.seen().clone(),
            next: None,
            ranged: false,
        });
        let goes_on = if transfer.ranged {
            self.transfer_rest(from, to, bytes_max, &mut transfer)
        } else {
            self.transfer_range(from, to, bytes_max, &mut transfer)
        };
        if transfer.ranged && transfer.seen.includes(&transfer.last) {
            let clock = Clock::of(transfer.seen, transfer.closed).expect("the list it names");
            let node = &mut self.nodes[to];
            if node.replica.join(node_id(from), &clock) {
                node.replica.save(&mut node.disk);
                node.meet_bases(&self.history);
            }
            node.compared.remove(&from);
        } else if goes_on {
            self.transfers.insert((from, to), transfer);
        }
    }

    /// Merges a range; whether the transfer goes on.
    fn transfer_range(
        &mut self,
        from: usize,
        to: usize,
        bytes_max: usize,
        at: &mut Transfer,
    ) -> bool {
        let sender = &self.nodes[from];
        let view = sender.replica.view(&sender.disk);
        let chunk = view.chunk(TransferKind::Clocked, at.next.as_ref(), bytes_max);
        let chunk = chunk.expect("memory does not fail");
        at.last = chunk.seen.clone();
        let start = match self.nodes[to].compared.get(&from) {
            Some((start, ..)) if at.next.is_some() => start.clone(),
            _ => chunk.seen.clone(),
        };
        let first = at.next.as_ref();
        let inside = |entry: &Entry, end: Option<&Entry>| {
            first.is_none_or(|first| first <= entry) && end.is_none_or(|end| entry < end)
        };
        let (cells, sent) = (sender.cells.clone(), sender.stored_keys());
        let node = &mut self.nodes[to];
        let own = node.stored_keys();
        let next =
            node.replica
                .merge_chunk(&mut node.disk, node_id(from), first, chunk, &at.closed);
        let Reached::To { next, .. } = next.expect("memory does not fail") else {
            return false;
        };
        node.replica.save(&mut node.disk);
        for key in sent.union(&own).copied() {
            if inside(&entry(key), next.as_ref()) {
                let own = node.with_compared(key, &self.history);
                node.cells[key] = own.sync(&cells[key]);
            }
        }
        let closed = at.closed.clone();
        node.compared.insert(from, (start, closed, next.clone()));
        at.ranged = next.is_none();
        at.next = next;
        true
    }

    /// Repairs what the sender has seen since its first range; whether the transfer goes on.
    fn transfer_rest(
        &mut self,
        from: usize,
        to: usize,
        bytes_max: usize,
        at: &mut Transfer,
    ) -> bool {
        let node = &self.nodes[from];
        let view = node.replica.view(&node.disk);
        let items = match view.difference(&at.seen, bytes_max).expect("memory").found {
            Difference::None => panic!("the sender has seen more since"),
            Difference::LogTooShort | Difference::Closed(_) => return false,
            Difference::Items { items, .. } => items,
        };
        for item in items {
            for dot in &item.dots {
                at.seen.add(*dot);
            }
            let frame = self.frame(from, item);
            self.merge(to, &frame);
        }
        true
    }

    fn frame(&self, from: usize, item: Item) -> Frame {
        let key = records::key_of(&item.entry);
        Frame {
            key,
            object: item.object,
            dots: item.dots,
            cell: self.nodes[from].cells[key].clone(),
            first_hand: false,
        }
    }

    /// A transfer breaks off.
    pub(crate) fn break_off(&mut self, from: usize, to: usize) {
        self.transfers.remove(&(from, to));
    }

    /// `to` hears what `from` has seen.
    pub(crate) fn remember(&mut self, from: usize, to: usize) {
        let seen = self.nodes[from].replica.state().clock.seen().clone();
        let remembered = self.nodes[to].replica.remember(node_id(from), seen, true);
        assert!(
            remembered,
            "a replica that lost nothing had seen more before"
        );
    }

    /// Nobody lost anything, so nobody is taken for a suspect.
    pub(crate) fn assert_trusted(&self) {
        let trusted = |node: &Node| node.replica.state().standing.is_trusted();
        assert!(self.nodes.iter().all(trusted), "a sound replica is suspect");
    }

    pub(crate) fn settle(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        while node.replica.settle(&mut node.disk).expect("memory") {}
        node.replica.save(&mut node.disk);
        records::assert_settled(node);
    }

    pub(crate) fn truncate(&mut self, at: usize) {
        let others = (0..REPLICAS).filter(|other| *other != at).map(node_id);
        let others: Vec<NodeId> = others.collect();
        let node = &mut self.nodes[at];
        while node.replica.truncate(&mut node.disk, &others).expect("ok") {}
        node.replica.save(&mut node.disk);
    }

    /// The node's process ends and another one starts on the same disk.
    pub(crate) fn restart(&mut self, at: usize) {
        self.incarnations += 1;
        let life = (node_id(at), Incarnation(self.incarnations));
        let node = &mut self.nodes[at];
        let replica = Replica::open(&node.disk, place(), life, Standing::suspect());
        let replica = replica.expect("memory opens");
        let untouched = node.disk.records.is_empty();
        if !untouched {
            assert_eq!(replica.state(), node.replica.state(), "state as stored");
        }
        node.replica = replica;
        node.replica.stand(Standing::Trusted);
        node.compared.clear();
        self.transfers
            .retain(|(from, to), _| *from != at && *to != at);
    }

    /// Everybody learns everything.
    fn converge(&mut self) {
        for _ in 0..4 {
            for (from, to) in pairs() {
                for _ in 0..64 {
                    self.repair(from, to, usize::MAX, u8::MAX);
                }
                self.remember(from, to);
            }
        }
    }

    /// Everybody learns everything, actors that have ended are closed, and what nobody needs is
    /// forgotten.
    pub(crate) fn quiet(&mut self) {
        self.converge();
        self.close_all();
        self.converge();
        (0..REPLICAS).for_each(|at| self.settle(at));
        (0..REPLICAS).for_each(|at| self.truncate(at));
    }

    /// Every replica is what its model says.
    pub(crate) fn assert_sound(&self) {
        for node in &self.nodes {
            for key in 0..KEYS {
                records::assert_cell(node, key, &self.history);
            }
            records::assert_figures(node, &self.history);
            records::assert_log(node, &self.history);
        }
    }

    /// What is left is what no write superseded, everywhere, and nothing else.
    pub(crate) fn assert_converged(&self) {
        for node in &self.nodes {
            for key in 0..KEYS {
                let is_live = |id: &WriteId| self.history.fact(*id).is_live;
                let mut left = self.history.maximal(key);
                let mut cell = node.cells[key].versions.clone();
                left.retain(is_live);
                cell.retain(is_live);
                assert_eq!(cell, left, "what is left of key {key}");
            }
            let first = self.nodes[0].replica.state();
            let state = node.replica.state();
            assert_eq!((&state.clock, state.sum), (&first.clock, first.sum));
            records::assert_nothing_left_over(node);
            let current =
                |actor: &Actor| self.nodes.iter().any(|node| node.replica.actor() == *actor);
            let mut open = state.clock.seen().actors().filter(|actor| !actor.is_name());
            assert!(open.all(current), "an actor that has ended is closed");
        }
    }
}

impl Node {
    /// The object of a key, filled.
    pub(crate) fn view_object(&self, key: usize) -> Object {
        let view = self.replica.view(&self.disk);
        view.object(&entry(key)).expect("memory does not fail")
    }

    /// The keys that have a record.
    fn stored_keys(&self) -> BTreeSet<usize> {
        let is_stored = |key: &usize| {
            let record = self.replica.layout().object(&entry(*key));
            self.disk.records.contains_key(&record)
        };
        (0..KEYS).filter(is_stored).collect()
    }

    /// A key's cell as a merge finds it: of one that a transfer compared, all that the sender had
    /// seen was met.
    fn with_compared(&self, key: usize, history: &History) -> Cell {
        let mut cell = self.cells[key].clone();
        let compared = self.compared.values();
        let reached = |end: &Option<Entry>| end.as_ref().is_none_or(|end| entry(key) < *end);
        for (start, closed, _) in compared.filter(|(.., end)| reached(end)) {
            let had_met = |dot: &Dot| met(start, dot, &[closed]) == Met::Yes;
            let seen = history.of_key(key).filter(|(_, fact)| had_met(&fact.dot));
            cell.met.extend(seen.map(|(id, _)| id));
        }
        cell
    }

    /// A clock that was joined says of every key that what lies under its bases was met.
    fn meet_bases(&mut self, history: &History) {
        let clock = &self.replica.state().clock;
        for (key, cell) in self.cells.iter_mut().enumerate() {
            let under = history
                .of_key(key)
                .filter(|(_, fact)| clock.is_under_base(&fact.dot));
            cell.met.extend(under.map(|(id, _)| id));
        }
    }
}

/// All ordered pairs of replicas.
fn pairs() -> impl Iterator<Item = (usize, usize)> {
    let of = |from| (0..REPLICAS).map(move |to| (from, to));
    (0..REPLICAS).flat_map(of).filter(|(from, to)| from != to)
}
