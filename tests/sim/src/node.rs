//! This is one life of a node's process: what the host does around the core's machines, with
//! nothing but memory, a simulated disk and frames. A crash drops it whole.

pub mod answer;
pub mod closing;
pub mod commit;
pub mod converge;
pub mod coordinate;
pub mod damage;
pub mod forward;
mod merge;
pub mod partitions;
mod policies;
pub mod resolver;
pub mod time;

use crate::authority::Known;
use crate::bug::Bug;
use crate::disk::Disk;
use crate::ledger::Ledger;
use crate::moment::{Moment, SECOND};
use crate::policy::{Manner, ORDERED};
use crate::random::Random;
use crate::table::Table;
use closing::ClosingTask;
use commit::Committer;
use converge::{Round, Rounds};
use coordinate::{ReadTask, WriteTask};
use damage::Inquiry;
use forward::ForwardTask;
use partitions::{Operation, Partitions, Renewal};
use soros_core::close::Ask;
use soros_core::codec::Codec;
use soros_core::dot::Dot;
use soros_core::epoch::Epoch;
use soros_core::id::{Generation, Incarnation, NodeId};
use soros_core::map::bucket::Buckets;
use soros_core::message::{Reply, Request};
use soros_core::node_clock::{Clocks, NodeClock};
use soros_core::operation::{OperationError, ReadAnswer, WriteAnswer};
use soros_core::place::Place;
use std::collections::{BTreeMap, BTreeSet};
use time::Asking;

/// What is the same for all nodes of a run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The rule that is taken away.
    pub bug: Option<Bug>,
    /// How long a client's operation may take, in microseconds.
    pub timeout: u64,
    /// How long after a pass of anti-entropy the next one begins, in microseconds.
    pub pass_period: u64,
    /// About how many bytes an answer of repair carries.
    pub repair_bytes: usize,
    /// How many versions a key may have.
    pub versions_max: usize,
    /// How far a clock may be from its peers', in microseconds.
    pub skew_max: u64,
    /// Whether writes are answered before they are synced.
    pub lazy: bool,
    /// How each version of the policy answers.
    pub releases: Vec<Manner>,
}

impl Settings {
    /// Whether no version of the policy takes from the last writer what is its own.
    #[must_use]
    pub fn is_ordered(&self) -> bool {
        let is_it = |manner: &Manner| ORDERED.contains(manner);
        self.releases.iter().all(is_it)
    }
}

/// A question of one node to another, in one life of the one that asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId {
    /// The life.
    pub life: u64,
    /// Which of its questions.
    pub number: u64,
}

/// Bytes on their way from one node to another.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Who sent it.
    pub from: NodeId,
    /// Which question it asks or answers.
    pub call: CallId,
    /// When it is too late to act on it.
    pub deadline: Moment,
    /// How the network may treat it.
    pub lane: Lane,
    /// The message.
    pub body: Body,
}

/// How the network may treat a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// A write that is to be coordinated: the connection hands it over once or not at all.
    Once,
    /// An object for another replica, of which the sender drops some when its queue is full.
    Spread,
    /// What is decided, and is learnt by anti-entropy at last: the sender may not live to tell it.
    Decided,
    /// All else. It may be repeated without harm.
    Other,
}

/// The message of a frame.
#[derive(Clone, Debug)]
pub enum Body {
    /// A question.
    Request(Vec<u8>),
    /// Its answer.
    Reply(Vec<u8>),
}

/// A client's operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OperationId(pub u64);

/// What a client is told.
#[derive(Clone, Debug)]
pub enum Told {
    /// How its write ended.
    Written(Result<WriteAnswer, OperationError>),
    /// How its read ended.
    Read(Result<ReadAnswer, OperationError>),
}

/// What a process wants to be woken for.
#[derive(Clone, Copy, Debug)]
pub enum Alarm {
    /// The disk has synced.
    Synced,
    /// What was answered unsynced is to be synced.
    SyncDue,
    /// The time of a task is up.
    Expired(TaskId),
    /// A replica takes long to answer a read.
    HedgeDue(TaskId),
    /// What was not clear to a task may be so now.
    Again(TaskId),
    /// Nothing was heard of a question.
    CallOver(CallId),
    /// The next pass of anti-entropy.
    Pass,
    /// The others are to be asked what time it is.
    AskTheTime,
    /// They were asked, and have had some time.
    ServesAnyway(TaskId),
    /// The second half of a drop that goes in two steps.
    DropClock(Place),
}

/// What a process does to the world.
#[derive(Debug)]
pub enum Output {
    /// Sends a frame.
    Send(NodeId, Frame),
    /// Wants to be woken at a moment.
    Wake(Moment, Alarm),
    /// Writes a batch to the disk, and wants to be woken when it is synced.
    Sync,
    /// Tells a client.
    Tell(OperationId, Told),
    /// Says that equal clocks had unequal sums.
    SumAlarm(Place),
    /// Says that it drops a partition with a damaged record, which is gone once the disk has
    /// written that.
    Renewed(Place),
    /// Says that it is in the middle of a full transfer from another node.
    HalfWay(NodeId),
    /// Says that it went through all keys of a partition.
    Transferred(Place),
    /// Says that it led the closing of so many actors of a partition.
    Closed(Place, usize),
    /// Tells the authority that the version of the policy fails that is in force since an epoch.
    Blames(Epoch),
}

/// What a process is given with each event.
pub struct Turn<'a> {
    /// Virtual time.
    pub now: Moment,
    /// What the clocks of the node's machine say.
    pub clocks: Clocks,
    /// What does not change of the cluster's map.
    pub table: &'a Table,
    /// The newest map's buckets.
    pub buckets: &'a Buckets,
    /// What the node knows of the policy.
    pub known: Known,
    /// Where the policy's calls are written down.
    pub ledger: &'a mut Ledger,
    /// What is the same for all nodes.
    pub settings: &'a Settings,
    /// The node's disk.
    pub disk: &'a mut Disk,
    /// The node's own stream of chance.
    pub random: &'a mut Random,
    /// What the process does.
    pub outputs: Vec<Output>,
}

impl Turn<'_> {
    fn wake(&mut self, after: u64, alarm: Alarm) {
        self.outputs
            .push(Output::Wake(self.now.after(after), alarm));
    }

    fn has(&self, bug: Bug) -> bool {
        self.settings.bug == Some(bug)
    }
}

/// Work under way in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TaskId(u64);

enum Task {
    Write(Box<WriteTask>),
    Read(Box<ReadTask>),
    Forward(Box<ForwardTask>),
    Round(Box<Round>),
    Time(Box<Asking>),
    Closing(Box<ClosingTask>),
    Inquiry(Box<Inquiry>),
}

/// Who waits for the answer of a coordinated operation.
#[derive(Clone, Copy, Debug)]
pub enum Origin {
    /// A node that forwarded it.
    Peer(NodeId, CallId),
    /// A task of this node.
    Task(TaskId),
}

/// What a question is about.
#[derive(Clone, Copy, Debug)]
struct Asked {
    task: TaskId,
    to: NodeId,
    /// The last dot of the object that was sent.
    minted: Option<Dot>,
}

/// How long a node that did not answer is passed over.
const SHUNNED: u64 = SECOND / 2;

/// One life of a node's process.
pub struct Process {
    me: NodeId,
    life: u64,
    partitions: Partitions,
    policy: Known,
    committer: Committer,
    clock: NodeClock,
    tasks: BTreeMap<TaskId, Task>,
    calls: BTreeMap<CallId, Asked>,
    numbers: u64,
    /// Nodes that did not answer, and until when they are passed over.
    shunned: BTreeMap<NodeId, Moment>,
    rounds: Rounds,
    /// Partitions with a damaged record, and in which generation it was seen; none when they cannot
    /// be opened.
    damaged: BTreeMap<Place, Option<Generation>>,
    /// Who is asked of the partitions that cannot be opened.
    inquiries: BTreeMap<Place, TaskId>,
    /// Replies that wait until it is remembered what the asker has seen.
    remembering: BTreeMap<(NodeId, CallId), Reply>,
    /// Partitions of which actors are being closed.
    closing: BTreeSet<Place>,
}

impl Process {
    /// A process that starts on the turn's disk. `sound` says whether what the disk holds can be
    /// believed, `new` whether the cluster begins with it.
    pub fn start(
        turn: &mut Turn<'_>,
        (me, incarnation): (NodeId, Incarnation),
        life: u64,
        (sound, new): (bool, bool),
    ) -> Process {
        let mut process = Process {
            me,
            life,
            partitions: Partitions::new(me, incarnation, turn.buckets),
            policy: turn.known,
            committer: Committer::default(),
            clock: NodeClock::start(turn.clocks),
            tasks: BTreeMap::new(),
            calls: BTreeMap::new(),
            numbers: 0,
            shunned: BTreeMap::new(),
            rounds: Rounds::default(),
            damaged: BTreeMap::new(),
            inquiries: BTreeMap::new(),
            remembering: BTreeMap::new(),
            closing: BTreeSet::new(),
        };
        process.partitions.manner = process.policy.manner(&turn.settings.releases);
        let places = turn.table.places_of(me).collect();
        process.submit_silently(Operation::Open { places, sound, new });
        process.pump(turn);
        let first = turn.random.below(turn.settings.pass_period);
        turn.wake(first, Alarm::Pass);
        process.ask_the_time(turn);
        process
    }

    /// Which life it is.
    #[must_use]
    pub fn life(&self) -> u64 {
        self.life
    }

    /// What it holds.
    #[must_use]
    pub fn partitions(&self) -> &Partitions {
        &self.partitions
    }

    /// It hears of the newest map.
    pub fn on_map(&mut self, turn: &mut Turn<'_>) {
        if !turn.has(Bug::OldVersionRuns) {
            self.policy = turn.known;
        }
        self.partitions.manner = self.policy.manner(&turn.settings.releases);
        let buckets = turn.buckets.clone();
        self.submit_silently(Operation::Adopt { buckets });
        self.pump(turn);
    }

    /// It removes what nobody reads any more.
    pub fn sweep(&mut self, turn: &mut Turn<'_>) {
        for place in turn.table.places_of(self.me) {
            self.submit_silently(Operation::Sweep { place });
        }
        self.pump(turn);
    }

    /// Whether nothing is under way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.committer.is_idle()
    }

    /// A frame arrives.
    pub fn on_frame(&mut self, turn: &mut Turn<'_>, frame: Frame) {
        self.shunned.remove(&frame.from);
        match frame.body {
            Body::Request(bytes) => {
                let reply_to = (frame.from, frame.call);
                match Request::from_bytes(&bytes) {
                    Ok(request) => self.on_request(turn, reply_to, request, frame.deadline),
                    Err(_) => self.reply(turn, reply_to, &answer::UNREADABLE),
                }
            }
            Body::Reply(bytes) => {
                let Some(asked) = self.calls.remove(&frame.call) else {
                    return;
                };
                let reply = Reply::from_bytes(&bytes).ok();
                self.on_reply(turn, asked, reply.ok_or(Silence::Unknown));
            }
        }
        self.pump(turn);
    }

    /// A question was certainly not taken: nobody listens there.
    pub fn on_not_sent(&mut self, turn: &mut Turn<'_>, call: CallId) {
        if let Some(asked) = self.calls.remove(&call) {
            self.shun(turn, asked.to);
            self.on_reply(turn, asked, Err(Silence::NotSent));
        }
        self.pump(turn);
    }

    /// An alarm rings.
    pub fn on_alarm(&mut self, turn: &mut Turn<'_>, alarm: Alarm) {
        match alarm {
            Alarm::Synced => self.on_synced(turn),
            Alarm::SyncDue => self.on_sync_due(turn),
            Alarm::Expired(task) => self.on_expired(turn, task),
            Alarm::HedgeDue(task) => self.on_hedge_due(turn, task),
            Alarm::Again(task) => self.on_again(turn, task),
            Alarm::CallOver(call) => self.on_call_over(turn, call),
            Alarm::Pass => self.on_pass(turn),
            Alarm::AskTheTime => self.ask_the_time(turn),
            Alarm::ServesAnyway(task) => self.on_serves_anyway(turn, task),
            Alarm::DropClock(place) => self.submit_step(place, Renewal::BeginAnew),
        }
        self.pump(turn);
    }

    fn on_reply(&mut self, turn: &mut Turn<'_>, asked: Asked, reply: Result<Reply, Silence>) {
        match self.tasks.get(&asked.task) {
            None => (),
            Some(Task::Write(_)) => self.on_write_reply(turn, asked, reply),
            Some(Task::Read(_)) => self.on_read_reply(turn, asked, reply),
            Some(Task::Forward(_)) => self.on_forward_reply(turn, asked.task, reply),
            Some(Task::Round(_)) => self.on_round_reply(turn, asked.task, reply),
            Some(Task::Time(_)) => self.on_time_reply(turn, &asked, &reply),
            Some(Task::Closing(_)) => self.on_closing_reply(turn, asked, reply),
            Some(Task::Inquiry(_)) => self.on_inquiry_reply(turn, (asked.task, asked.to), reply),
        }
    }

    fn on_call_over(&mut self, turn: &mut Turn<'_>, call: CallId) {
        if let Some(asked) = self.calls.remove(&call) {
            // What has to sync before it answers may only be slow.
            if !matches!(
                self.tasks.get(&asked.task),
                Some(Task::Round(_) | Task::Closing(_))
            ) {
                self.shun(turn, asked.to);
            }
            self.on_reply(turn, asked, Err(Silence::Unknown));
        }
    }

    fn on_expired(&mut self, turn: &mut Turn<'_>, id: TaskId) {
        // Who does not say what time it is may have other things to do.
        if let Some(Task::Time(_)) = self.tasks.get(&id) {
            return self.end_asking(turn, id);
        }
        let silent = self.calls.values().filter(|asked| asked.task == id);
        for node in silent.map(|asked| asked.to).collect::<Vec<_>>() {
            self.shun(turn, node);
        }
        match self.tasks.get(&id) {
            None => (),
            Some(Task::Write(_)) => self.on_write_expired(turn, id),
            Some(Task::Read(_)) => self.on_read_expired(turn, id),
            Some(Task::Forward(_)) => self.on_forward_expired(turn, id),
            Some(Task::Round(_) | Task::Time(_) | Task::Closing(_) | Task::Inquiry(_)) => {
                unreachable!("none has a time of its own but the time, which was asked above")
            }
        }
    }

    fn shun(&mut self, turn: &Turn<'_>, node: NodeId) {
        self.shunned.insert(node, turn.now.after(SHUNNED));
    }

    fn is_reachable(&self, turn: &Turn<'_>, node: NodeId) -> bool {
        let until = self.shunned.get(&node);
        until.is_none_or(|until| *until <= turn.now)
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn add(&mut self, task: Task) -> TaskId {
        let id = TaskId(self.number());
        self.tasks.insert(id, task);
        id
    }

    /// Ends a task; what it asked of others is heard no more.
    fn end(&mut self, id: TaskId) -> Option<Task> {
        self.calls.retain(|_, asked| asked.task != id);
        self.tasks.remove(&id)
    }

    /// Asks another node on behalf of a task, or of nobody.
    fn ask(
        &mut self,
        turn: &mut Turn<'_>,
        (task, to): (Option<TaskId>, NodeId),
        request: &Request,
        deadline: Moment,
    ) -> CallId {
        let call = CallId {
            life: self.life,
            number: self.number(),
        };
        if let Some(task) = task {
            let minted = match request {
                Request::Store { dots, .. } => dots.last().copied(),
                _ => None,
            };
            self.calls.insert(call, Asked { task, to, minted });
        }
        let frame = Frame {
            from: self.me,
            call,
            deadline,
            lane: match request {
                Request::Write(_) => Lane::Once,
                Request::Store { .. } => Lane::Spread,
                Request::Closing {
                    ask: Ask::Close(..),
                    ..
                } => Lane::Decided,
                _ => Lane::Other,
            },
            body: Body::Request(request.to_bytes()),
        };
        turn.outputs.push(Output::Send(to, frame));
        call
    }
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// The other certainly did not take the question.
    NotSent,
    /// It may have.
    Unknown,
}
