//! This is who is alive, as the nodes find out among themselves: the SWIM protocol (Das, Gupta,
//! Motivala, 2002, with suspicion) by `foca`, as a machine. Bytes, time and lost links go in;
//! bytes to send, the next moment to be asked, and who is alive, suspect or down come out.
//!
//! Nobody is declared down on one node's word alone: a node that does not answer is probed through
//! others, is then suspect, and is down only when it has not refuted that in time. A restarted
//! node, and one that was given up wrongly, comes back under a later life, which outranks
//! everything said of the earlier ones.

mod wire;

use crate::id::NodeId;
use foca::{AccumulatingRuntime, Foca, Member, NoCustomBroadcast, PeriodicParams, State, Timer};
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::num::{NonZeroU8, NonZeroUsize};
use std::time::Duration;
use wire::{Life, Wire};

/// How often one other node is probed.
const PROBE_PERIOD: Duration = Duration::from_millis(300);
/// How long a probe waits for its answer before others are asked to probe.
const PROBE_ANSWER_WITHIN: Duration = Duration::from_millis(100);
/// How many others are asked.
const HELPERS: NonZeroUsize = NonZeroUsize::new(3).expect("not zero");
/// How long a suspect node has to show that it lives.
const SUSPICION: Duration = Duration::from_millis(800);
/// How often news is sent to a few others, besides what probes carry.
const GOSSIP_PERIOD: Duration = Duration::from_millis(200);
/// How often a piece of news is passed on.
const NEWS_TIMES: NonZeroU8 = NonZeroU8::new(10).expect("not zero");
/// How often nodes that should be there and are not are knocked at, and at how many.
const KNOCK_PERIOD: Duration = Duration::from_millis(500);
const KNOCKS: usize = 8;
/// Being woken later than this, a node knows that it was stopped itself.
const LATE_MAX: Duration = Duration::from_millis(250);
/// How long a node that is down is remembered as such.
const DOWN_REMEMBERED: Duration = Duration::from_hours(1);
/// The longest message of the protocol.
pub const MEMBERSHIP_BYTES_MAX: usize = 16 << 10;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Bytes of another node's membership arrived.
    Arrived(Vec<u8>),
    /// The moment that [`Effect::Wake`] asked for has come.
    Woken,
    /// These other nodes should be there: the map says so, or a founding list.
    Expected(BTreeSet<NodeId>),
    /// The link to a node broke: its process has perhaps died. It becomes suspect at once.
    LinkLost(NodeId),
    /// This node leaves; it is the last event.
    Leave,
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send bytes to a node. They may get lost; they must not be delivered late by much.
    Send {
        /// The node.
        to: NodeId,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Step with [`Event::Woken`] at this moment; what was asked before no longer matters.
    Wake(Duration),
    /// A node's standing changed.
    Now(NodeId, Standing),
    /// The others had given this node up, and it came back under a later life.
    Renewed,
    /// What arrived is no message of the protocol, and is ignored.
    Unreadable,
}

/// How a node stands with the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It answers.
    Alive,
    /// It does not answer, and is asked to refute that.
    Suspect,
    /// It is given up until it comes back.
    Down,
}

/// One node's view of who is alive. Moments are durations since a start that the caller chose,
/// by a clock that never goes back.
pub struct Membership {
    foca: Foca<Life, Wire, Seeded, NoCustomBroadcast>,
    runtime: AccumulatingRuntime<Life>,
    alarms: BTreeMap<(Duration, u64), Alarm>,
    alarms_set: u64,
    wake: Option<Duration>,
    standings: BTreeMap<NodeId, Standing>,
    expected: BTreeSet<NodeId>,
    /// Rounds of knocks have begun.
    knocks: bool,
    /// After whom the next round of knocks goes on.
    knocked: Option<NodeId>,
    /// Which of foca's timers still count; learnt from those it sets.
    token: foca::TimerToken,
    has_left: bool,
}

/// What is to be done at a moment.
enum Alarm {
    Protocol(Timer<Life>),
    Knock,
}

impl Membership {
    /// The view of `node`, which knows nobody yet. `start` is greater at each start of the node's
    /// process than at all before, or it takes a few renewals until the others believe in it;
    /// `seed` decides what the protocol leaves to chance.
    #[must_use]
    pub fn new(node: NodeId, start: u32, seed: u64) -> Membership {
        let life = Life {
            node,
            start,
            renewal: 0,
        };
        Membership {
            foca: Foca::new(life, config(), Seeded(seed), Wire),
            runtime: AccumulatingRuntime::new(),
            alarms: BTreeMap::new(),
            alarms_set: 0,
            wake: None,
            standings: BTreeMap::new(),
            expected: BTreeSet::new(),
            knocks: false,
            knocked: None,
            token: foca::TimerToken::default(),
            has_left: false,
        }
    }

    /// How a node stands; `None` when nothing was heard of it.
    #[must_use]
    pub fn standing(&self, node: NodeId) -> Option<Standing> {
        self.standings.get(&node).copied()
    }

    /// Takes what happened at `now`.
    pub fn step(&mut self, event: Event, now: Duration) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Arrived(bytes) => self.on_arrived(&bytes, &mut effects),
            Event::Woken => self.on_woken(now),
            Event::Expected(nodes) => self.on_expected(nodes, now),
            Event::LinkLost(node) => self.on_link_lost(node, now),
            Event::Leave => self.on_leave(),
        }
        self.collect(now, &mut effects);
        self.assert_invariants();
        effects
    }

    fn on_arrived(&mut self, bytes: &[u8], effects: &mut Vec<Effect>) {
        // After leaving, an answer would say that this node is there.
        if !self.has_left && self.foca.handle_data(bytes, &mut self.runtime).is_err() {
            effects.push(Effect::Unreadable);
        }
    }

    fn on_woken(&mut self, now: Duration) {
        self.wake = None;
        self.forgive_own_pause(now);
        while let Some(due) = self.alarms.first_entry().filter(|due| due.key().0 <= now) {
            match due.remove() {
                Alarm::Protocol(timer) if self.is_void(&timer) => {}
                // An error means that the timer has become void in a way that only foca sees.
                Alarm::Protocol(timer) => {
                    let _ = self.foca.handle_timer(timer, &mut self.runtime);
                }
                Alarm::Knock => self.knock(now),
            }
            self.keep_timers(now);
        }
    }

    /// A node that was itself stopped must not hold the time it slept against the others, whose
    /// answers are still to be read.
    fn forgive_own_pause(&mut self, now: Duration) {
        let first = self.alarms.keys().next().map_or(now, |(at, _)| *at);
        let late = now.saturating_sub(first);
        if late > LATE_MAX {
            let alarms = std::mem::take(&mut self.alarms);
            let later = |((at, number), alarm)| ((at + late, number), alarm);
            self.alarms = alarms.into_iter().map(later).collect();
        }
    }

    /// Whether a suspicion was refuted before its time was up. (foca would still tell the member
    /// that it is down.)
    fn is_void(&self, timer: &Timer<Life>) -> bool {
        let Timer::ChangeSuspectToDown {
            member_id,
            incarnation,
            ..
        } = timer
        else {
            return false;
        };
        !self.foca.iter_membership_state().any(|member| {
            member.id() == member_id
                && member.incarnation() == *incarnation
                && member.state() == State::Suspect
        })
    }

    fn on_expected(&mut self, nodes: BTreeSet<NodeId>, now: Duration) {
        self.expected = nodes;
        self.expected.remove(&self.foca.identity().node);
        if !self.knocks && !self.has_left {
            self.knocks = true;
            self.knock(now);
        }
    }

    fn on_link_lost(&mut self, node: NodeId, now: Duration) {
        let known = self
            .foca
            .iter_members()
            .find(|member| member.id().node == node)
            .cloned();
        let Some(member) = known.filter(|member| member.state() == State::Alive) else {
            return;
        };
        let suspect = Member::new(*member.id(), member.incarnation(), State::Suspect);
        let _ = self
            .foca
            .apply_many([suspect].into_iter(), true, &mut self.runtime);
        let timer = Timer::ChangeSuspectToDown {
            member_id: *member.id(),
            incarnation: member.incarnation(),
            token: self.token,
        };
        self.set_alarm(now + SUSPICION, Alarm::Protocol(timer));
        // The node itself should hear of it first, if it lives.
        let _ = self.foca.gossip(&mut self.runtime);
    }

    fn on_leave(&mut self) {
        let _ = self.foca.leave_cluster(&mut self.runtime);
        self.has_left = true;
        self.alarms.clear();
    }

    /// Announces this node to some of those that should be there and are not. That founds the
    /// membership, and heals it when both sides of a split had given each other up.
    fn knock(&mut self, now: Duration) {
        self.set_alarm(now + KNOCK_PERIOD, Alarm::Knock);
        let absent = |node: &NodeId| matches!(self.standing(*node), None | Some(Standing::Down));
        let after = |node: &NodeId| self.knocked.is_some_and(|last| *node > last);
        let mut nodes: Vec<NodeId> = self.expected.iter().copied().filter(absent).collect();
        let turn = nodes.iter().position(after).unwrap_or(0);
        nodes.rotate_left(turn);
        nodes.truncate(KNOCKS);
        self.knocked = nodes.last().copied();
        for node in nodes {
            let life = Life {
                node,
                start: 0,
                renewal: 0,
            };
            let _ = self.foca.announce(life, &mut self.runtime);
        }
    }

    fn set_alarm(&mut self, at: Duration, alarm: Alarm) {
        self.alarms_set += 1;
        self.alarms.insert((at, self.alarms_set), alarm);
    }

    /// Keeps the timers that foca has set.
    fn keep_timers(&mut self, now: Duration) {
        while let Some((after, timer)) = self.runtime.to_schedule() {
            self.token = token_of(&timer).unwrap_or(self.token);
            self.set_alarm(now + after, Alarm::Protocol(timer));
        }
    }

    /// Turns what foca did into effects.
    fn collect(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        self.keep_timers(now);
        if self.has_left {
            self.alarms.clear();
        }
        while let Some((to, bytes)) = self.runtime.to_send() {
            effects.push(Effect::Send {
                to: to.node,
                bytes: bytes.to_vec(),
            });
        }
        while let Some(notification) = self.runtime.to_notify() {
            if matches!(notification, foca::OwnedNotification::Rejoin(_)) {
                effects.push(Effect::Renewed);
            }
        }
        self.compare_standings(effects);
        let next = self.alarms.keys().next().map(|(at, _)| *at);
        if let Some(at) = next.filter(|at| self.wake != Some(*at)) {
            effects.push(Effect::Wake(at));
        }
        self.wake = next;
    }

    fn compare_standings(&mut self, effects: &mut Vec<Effect>) {
        for member in self.foca.iter_membership_state() {
            let standing = match member.state() {
                State::Alive => Standing::Alive,
                State::Suspect => Standing::Suspect,
                State::Down => Standing::Down,
            };
            let node = member.id().node;
            // Among the members are earlier lives of this node.
            if node != self.foca.identity().node
                && self.standings.insert(node, standing) != Some(standing)
            {
                effects.push(Effect::Now(node, standing));
            }
        }
    }

    fn assert_invariants(&self) {
        let own = self.foca.identity().node;
        assert!(
            !self.expected.contains(&own),
            "a node does not knock at its own door"
        );
        assert!(
            !self.has_left || self.alarms.is_empty(),
            "who has left does nothing more"
        );
        let first = self.alarms.keys().next().map(|(at, _)| *at);
        assert!(self.wake == first, "the caller knows the next moment");
    }
}

fn config() -> foca::Config {
    let gossip = PeriodicParams {
        frequency: GOSSIP_PERIOD,
        num_members: HELPERS,
    };
    foca::Config {
        probe_period: PROBE_PERIOD,
        probe_rtt: PROBE_ANSWER_WITHIN,
        num_indirect_probes: HELPERS,
        max_transmissions: NEWS_TIMES,
        suspect_to_down_after: SUSPICION,
        remove_down_after: Some(DOWN_REMEMBERED),
        max_packet_size: const { NonZeroUsize::new(MEMBERSHIP_BYTES_MAX).expect("not zero") },
        notify_down_members: true,
        periodic_announce: None,
        periodic_announce_to_down_members: None,
        periodic_gossip: Some(gossip),
    }
}

/// The token of a timer that has one.
fn token_of(timer: &Timer<Life>) -> Option<foca::TimerToken> {
    match timer {
        Timer::ProbeRandomMember(token)
        | Timer::SendIndirectProbe { token, .. }
        | Timer::ChangeSuspectToDown { token, .. }
        | Timer::PeriodicAnnounce(token)
        | Timer::PeriodicAnnounceDown(token)
        | Timer::PeriodicGossip(token) => Some(*token),
        Timer::RemoveDown(_) => None,
    }
}

/// Chance from a seed: `SplitMix64` (Steele, Lea, Flood, 2014).
struct Seeded(u64);

impl rand_core::TryRng for Seeded {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.try_next_u64()
            .map(|bits| u32::try_from(bits >> 32).unwrap_or(0))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Ok(mixed ^ (mixed >> 31))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(8) {
            let bits = self.try_next_u64()?.to_le_bytes();
            chunk.copy_from_slice(&bits[..chunk.len()]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
