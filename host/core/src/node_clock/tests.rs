//! These are a node's clock and its machine's, through what happens to machines.

use super::*;

const SECOND: u64 = 1_000_000;
const HOUR: u64 = 3_600 * SECOND;
const SKEW_MAX: u64 = SECOND / 2;
/// What a right clock says when the tests' begin, and the steady clock of the node.
const RIGHT: u64 = 1_000 * HOUR;
const STEADY: u64 = 7 * SECOND;

/// A node's clock on its machine, with two peers whose clocks are right unless they are told to be
/// wrong.
struct Node {
    clock: NodeClock,
    /// What the machine's clocks say.
    now: Clocks,
    /// What a right clock says.
    right: u64,
    peers: [i64; 2],
}

impl Node {
    /// A node that starts on a machine whose wall clock is `ahead`.
    fn start(ahead: i64) -> Node {
        let now = Clocks {
            wall: RIGHT.saturating_add_signed(ahead),
            steady: STEADY,
        };
        Node {
            clock: NodeClock::start(now),
            now,
            right: RIGHT,
            peers: [0, 0],
        }
    }

    fn sleep(&mut self, micros: u64) {
        self.now.wall += micros;
        self.now.steady += micros;
        self.right += micros;
    }

    /// The machine is suspended: its steady clock stands still.
    fn suspend(&mut self, micros: u64) {
        self.now.wall += micros;
        self.right += micros;
    }

    /// Sets the machine's wall clock.
    fn set(&mut self, ahead: i64) {
        self.now.wall = self.right.saturating_add_signed(ahead);
    }

    /// Asks all peers, by round trips of 2 ms.
    fn ask(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        for (peer, ahead) in [2, 3].into_iter().zip(self.peers) {
            let asked = self.now.steady;
            self.sleep(1_000);
            let theirs = self.right.saturating_add_signed(ahead);
            self.sleep(1_000);
            let told = Event::Told {
                peer: NodeId(peer),
                asked,
                theirs,
            };
            effects.extend(self.clock.step(told, self.now, SKEW_MAX));
        }
        let peers = BTreeSet::from([NodeId(2), NodeId(3)]);
        effects.extend(self.clock.step(Event::Asked(peers), self.now, SKEW_MAX));
        effects
    }

    fn tick(&mut self) -> Result<u64, Skew> {
        let time = self.clock.tick(self.now, Time::default(), SKEW_MAX);
        time.map(Time::micros)
    }

    #[track_caller]
    fn assert_right(&mut self) {
        assert_eq!(self.tick(), Ok(self.right));
    }
}

fn hours(hours: i64) -> i64 {
    hours * i64::try_from(HOUR).expect("a number")
}

#[test]
fn a_clock_that_is_wrong_at_the_start_gives_no_time_once_it_is_known() {
    for ahead in [hours(1), hours(-1)] {
        let mut node = Node::start(ahead);
        assert!(!node.clock.is_settled());
        assert_eq!(node.ask(), [Effect::Refuses(Skew(ahead))]);
        assert!(node.clock.is_settled());
        assert_eq!(node.tick(), Err(Skew(ahead)));
        assert_eq!(node.clock.check(), Err(Skew(ahead)));
        assert_eq!(node.ask(), []);
    }
}

#[test]
fn a_step_of_the_wall_clock_under_a_running_process_moves_nothing() {
    let mut node = Node::start(0);
    assert_eq!(node.ask(), []);
    for ahead in [hours(1), hours(-2)] {
        node.set(ahead);
        node.assert_right();
        assert_eq!(node.ask(), []);
        node.sleep(SECOND);
        node.assert_right();
    }
}

#[test]
fn it_follows_the_wall_clock_when_that_is_set_right() {
    for ahead in [hours(1), hours(-1)] {
        let mut node = Node::start(ahead);
        node.ask();
        // To another wrong time, first.
        node.set(hours(5));
        assert_eq!(node.ask(), []);
        node.set(0);
        let effects = node.ask();
        assert_eq!(effects, [Effect::Followed(-ahead), Effect::Serves]);
        node.assert_right();
    }
}

#[test]
fn what_was_given_by_a_wrong_clock_does_not_hold_up_the_right_one() {
    let mut node = Node::start(hours(1));
    // Nobody could be asked.
    node.clock
        .step(Event::Asked(BTreeSet::new()), node.now, SKEW_MAX);
    assert_eq!(node.tick(), Ok(RIGHT + HOUR));
    node.set(0);
    node.ask();
    let time = node.tick().expect("a time");
    assert!(time <= node.right + SKEW_MAX, "{time} at {}", node.right);
}

#[test]
fn a_machine_that_was_suspended_is_right_again_as_soon_as_peers_are_heard() {
    let mut node = Node::start(0);
    node.ask();
    node.suspend(HOUR);
    let followed = Effect::Followed(hours(1));
    assert_eq!(node.ask(), [followed]);
    node.assert_right();
}

#[test]
fn a_process_that_was_stopped_is_still_right() {
    let mut node = Node::start(0);
    node.ask();
    // Its question was answered at once; it reads the answer an hour later.
    let (asked, theirs) = (node.now.steady, node.right);
    node.sleep(HOUR);
    let peer = NodeId(2);
    let told = Event::Told {
        peer,
        asked,
        theirs,
    };
    assert_eq!(node.clock.step(told, node.now, SKEW_MAX), []);
    node.assert_right();
    assert_eq!(node.ask(), []);
    node.assert_right();
}

#[test]
fn all_follow_when_all_machines_are_set() {
    let mut node = Node::start(0);
    node.ask();
    node.peers = [hours(1), 0];
    assert_eq!(node.ask(), []);
    node.set(hours(1));
    // This one's own and another still say otherwise.
    assert_eq!(node.ask(), []);
    node.peers = [hours(1), hours(1)];
    assert_eq!(node.ask(), [Effect::Followed(hours(1))]);
    // A wall clock that is left behind is the wrong one.
    node.set(0);
    assert_eq!(node.ask(), []);
    assert_eq!(node.tick(), Ok(node.right + HOUR));
}

#[test]
fn with_nobody_to_ask_it_goes_on() {
    let mut node = Node::start(hours(1));
    let asked = Event::Asked(BTreeSet::new());
    assert_eq!(node.clock.step(asked, node.now, SKEW_MAX), []);
    assert!(node.clock.is_settled());
    assert_eq!(node.clock.judgement(), Judgement::Unheard);
    assert_eq!(node.tick(), Ok(RIGHT + HOUR));
}

#[test]
fn it_remembers_for_a_while_what_a_peer_said_that_is_gone() {
    let mut node = Node::start(hours(1));
    node.ask();
    let peers = BTreeSet::from([NodeId(2), NodeId(3)]);
    for _ in 0..9 {
        node.sleep(60 * SECOND);
        let asked = Event::Asked(peers.clone());
        assert_eq!(node.clock.step(asked, node.now, SKEW_MAX), []);
        assert!(node.clock.check().is_err());
    }
    node.sleep(61 * SECOND);
    let asked = Event::Asked(peers);
    let effects = node.clock.step(asked, node.now, SKEW_MAX);
    assert_eq!(effects, [Effect::Serves]);
}

#[test]
fn two_nodes_that_differ_go_on_and_say_so() {
    let mut node = Node::start(hours(1));
    let nobody = Event::Asked(BTreeSet::new());
    node.clock.step(nobody, node.now, SKEW_MAX);
    let told = Event::Told {
        peer: NodeId(2),
        asked: node.now.steady,
        theirs: node.right,
    };
    let effects = node.clock.step(told.clone(), node.now, SKEW_MAX);
    assert_eq!(effects, [Effect::Divided(Skew(hours(1)))]);
    assert_eq!(node.clock.step(told.clone(), node.now, SKEW_MAX), []);
    assert!(node.clock.check().is_ok());
    // The one whose wall clock is set to the other's follows.
    node.set(0);
    let effects = node.clock.step(told, node.now, SKEW_MAX);
    assert_eq!(effects, [Effect::Followed(hours(-1))]);
}

#[test]
fn a_wild_version_is_overtaken_and_does_not_drag_the_clock_along() {
    let mut node = Node::start(0);
    let wild = Time::at_micros(RIGHT + HOUR);
    let above = node.clock.tick(node.now, wild, SKEW_MAX);
    assert!(above.is_ok_and(|time| wild < time));
    let next = node.tick().expect("a time");
    assert!(next <= RIGHT + SKEW_MAX);
}
