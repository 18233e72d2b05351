//! This is the membership of a few nodes in one thread and in virtual time: who is silent, who
//! restarts, which messages are lost, and what each node then holds of the others.

use super::*;
use proptest::prelude::{any, proptest};

/// How long a message takes.
const DELAY: Duration = Duration::from_millis(2);

/// All nodes, and what is under way between them.
struct World {
    now: Duration,
    nodes: BTreeMap<NodeId, Membership>,
    starts: u32,
    seed: u64,
    /// Messages by arrival: at, number, to, bytes.
    under_way: BTreeMap<(Duration, u64), (NodeId, Vec<u8>)>,
    sent: u64,
    wakes: BTreeMap<NodeId, Duration>,
    /// Nodes that do nothing until they are let go.
    stopped: BTreeSet<NodeId>,
    /// From whom to whom nothing gets through.
    cut: BTreeSet<(NodeId, NodeId)>,
    /// When whom held what of whom.
    log: Vec<(Duration, NodeId, NodeId, Standing)>,
    renewals: usize,
}

fn ids(count: u64) -> BTreeSet<NodeId> {
    (1..=count).map(NodeId).collect()
}

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

impl World {
    /// Nodes that expect each other and have met.
    fn of(count: u64, seed: u64) -> World {
        let mut world = World {
            now: Duration::from_secs(1),
            nodes: BTreeMap::new(),
            starts: 0,
            seed,
            under_way: BTreeMap::new(),
            sent: 0,
            wakes: BTreeMap::new(),
            stopped: BTreeSet::new(),
            cut: BTreeSet::new(),
            log: Vec::new(),
            renewals: 0,
        };
        for node in ids(count) {
            world.start(node, count);
        }
        world.run(millis(2000));
        world.check_all(&ids(count), Standing::Alive);
        world.log.clear();
        world
    }

    /// A process of the node starts, after the one before if there was one.
    fn start(&mut self, node: NodeId, count: u64) {
        self.starts += 1;
        self.wakes.remove(&node);
        let machine = Membership::new(node, self.starts, self.seed ^ node.0);
        self.nodes.insert(node, machine);
        self.step(node, Event::Expected(ids(count)));
    }

    /// The process dies.
    fn kill(&mut self, node: NodeId) {
        self.nodes.remove(&node);
        self.wakes.remove(&node);
    }

    fn step(&mut self, node: NodeId, event: Event) {
        let Some(machine) = self.nodes.get_mut(&node) else {
            return;
        };
        for effect in machine.step(event, self.now) {
            match effect {
                Effect::Send { to, bytes } => {
                    self.sent += 1;
                    if !self.cut.contains(&(node, to)) {
                        self.under_way
                            .insert((self.now + DELAY, self.sent), (to, bytes));
                    }
                }
                Effect::Wake(at) => {
                    self.wakes.insert(node, at);
                }
                Effect::Now(other, standing) => self.log.push((self.now, node, other, standing)),
                Effect::Renewed => self.renewals += 1,
                Effect::Unreadable => panic!("{node} cannot read what was sent"),
            }
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(next) = self.next().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            self.deliver_or_wake();
        }
        self.now = end;
    }

    fn next(&self) -> Option<Duration> {
        let arrival = self.under_way.keys().next().map(|(at, _)| *at);
        let running = |(node, _): &(&NodeId, &Duration)| !self.stopped.contains(node);
        let wake = self.wakes.iter().filter(running).map(|(_, at)| *at).min();
        arrival.into_iter().chain(wake).min()
    }

    fn deliver_or_wake(&mut self) {
        let due = self
            .under_way
            .first_entry()
            .filter(|first| first.key().0 <= self.now);
        if let Some(first) = due {
            let (to, bytes) = first.remove();
            if self.stopped.contains(&to) {
                // It lies in the socket until the process goes on.
                self.sent += 1;
                self.under_way
                    .insert((self.now + millis(10), self.sent), (to, bytes));
            } else {
                self.step(to, Event::Arrived(bytes));
            }
            return;
        }
        let stopped = &self.stopped;
        let now = self.now;
        let due = self
            .wakes
            .iter()
            .find(|(node, at)| !stopped.contains(node) && **at <= now);
        if let Some((&node, _)) = due {
            self.wakes.remove(&node);
            self.step(node, Event::Woken);
        }
    }

    /// Every node of `nodes` holds all others of them for `standing`.
    #[track_caller]
    fn check_all(&self, nodes: &BTreeSet<NodeId>, standing: Standing) {
        for node in nodes {
            self.check(nodes, *node, standing);
        }
    }

    /// Every other node of `nodes` holds `node` for `standing`.
    #[track_caller]
    fn check(&self, nodes: &BTreeSet<NodeId>, node: NodeId, standing: Standing) {
        for other in nodes.iter().filter(|other| **other != node) {
            let held = self.nodes[other].standing(node);
            assert_eq!(held, Some(standing), "{other} of {node} at {:?}", self.now);
        }
    }

    fn ever(&self, node: NodeId, standing: Standing) -> bool {
        self.log
            .iter()
            .any(|(_, _, of, held)| *of == node && *held == standing)
    }
}

const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);

#[test]
fn gives_up_a_silent_node_everywhere_within_about_two_seconds() {
    for seed in 0..50 {
        for count in [3, 5] {
            let mut world = World::of(count, seed);
            world.kill(ONE);
            world.run(millis(400));
            assert!(
                !world.ever(ONE, Standing::Down),
                "nobody is given up at once"
            );
            world.run(millis(1900));
            let rest = &ids(count) - &BTreeSet::from([ONE]);
            world.check(&rest, ONE, Standing::Down);
            world.check_all(&rest, Standing::Alive);
            assert!(
                rest.iter()
                    .all(|node| !world.ever(*node, Standing::Suspect))
            );
        }
    }
}

#[test]
fn gives_up_a_node_sooner_when_its_link_breaks() {
    for seed in 0..50 {
        let mut world = World::of(3, seed);
        world.kill(ONE);
        let rest = &ids(3) - &BTreeSet::from([ONE]);
        for node in &rest {
            world.step(*node, Event::LinkLost(ONE));
        }
        world.check(&rest, ONE, Standing::Suspect);
        world.run(SUSPICION + millis(50));
        world.check(&rest, ONE, Standing::Down);
    }
}

#[test]
fn keeps_a_node_whose_link_broke_and_which_lives() {
    for seed in 0..50 {
        let mut world = World::of(3, seed);
        world.step(TWO, Event::LinkLost(ONE));
        assert_eq!(world.nodes[&TWO].standing(ONE), Some(Standing::Suspect));
        world.run(millis(3000));
        world.check_all(&ids(3), Standing::Alive);
        assert!(!world.ever(ONE, Standing::Down) && world.renewals == 0);
    }
}

#[test]
fn takes_a_restarted_node_back_at_once() {
    for seed in 0..50 {
        let mut world = World::of(3, seed);
        world.kill(ONE);
        world.run(millis(4000));
        world.start(ONE, 3);
        world.run(2 * DELAY);
        world.check_all(&ids(3), Standing::Alive);
        world.run(millis(5000));
        world.check_all(&ids(3), Standing::Alive);
        assert_eq!(world.renewals, 0);
    }
}

#[test]
fn takes_a_node_back_whose_starts_are_counted_from_less() {
    for seed in 0..50 {
        let mut world = World::of(3, seed);
        // A wall clock that was years ahead, and is set right while the node is down.
        world.kill(ONE);
        world.starts = 500_000_000;
        world.start(ONE, 3);
        world.run(millis(2000));
        world.kill(ONE);
        world.run(millis(100));
        world.starts = 7;
        world.start(ONE, 3);
        world.run(millis(1000));
        world.check_all(&ids(3), Standing::Alive);
        world.run(millis(5000));
        world.check_all(&ids(3), Standing::Alive);
        // It comes back under few lives, however far the clock went back.
        assert!(world.renewals <= 40, "{} renewals", world.renewals);
    }
}

#[test]
fn does_not_notice_a_restart_that_is_quicker_than_its_suspicion() {
    let mut world = World::of(3, 7);
    world.kill(ONE);
    world.run(millis(200));
    world.start(ONE, 3);
    world.run(millis(5000));
    world.check_all(&ids(3), Standing::Alive);
    assert!(!world.ever(ONE, Standing::Down));
}

#[test]
fn keeps_a_node_that_one_other_cannot_reach() {
    for seed in 0..50 {
        let mut world = World::of(3, seed);
        world.cut.insert((TWO, ONE));
        world.run(millis(20_000));
        world.check_all(&ids(3), Standing::Alive);
        assert!(!world.ever(ONE, Standing::Down), "others can probe it");
        assert_eq!(world.renewals, 0);
    }
}

#[test]
fn keeps_two_nodes_that_cannot_reach_each_other_at_all() {
    for seed in 0..20 {
        let mut world = World::of(4, seed);
        world.cut.extend([(ONE, TWO), (TWO, ONE)]);
        world.run(millis(20_000));
        world.check_all(&ids(4), Standing::Alive);
        assert!(!world.ever(ONE, Standing::Down) && !world.ever(TWO, Standing::Down));
    }
}

#[test]
fn heals_when_a_split_ends_though_both_sides_had_given_each_other_up() {
    for seed in 0..20 {
        for count in [2, 3, 5] {
            let mut world = World::of(count, seed);
            let rest = &ids(count) - &BTreeSet::from([ONE]);
            for node in &rest {
                world.cut.extend([(*node, ONE), (ONE, *node)]);
            }
            world.run(millis(10_000));
            world.check(&rest, ONE, Standing::Down);
            for node in &rest {
                assert_eq!(world.nodes[&ONE].standing(*node), Some(Standing::Down));
            }
            world.cut.clear();
            world.run(millis(2000));
            world.check_all(&ids(count), Standing::Alive);
        }
    }
}

#[test]
fn takes_back_a_process_that_was_stopped_and_blames_nobody_for_its_sleep() {
    for seed in 0..20 {
        let mut world = World::of(3, seed);
        // It had just begun to doubt another, whose refutal will wait in its socket.
        world.step(ONE, Event::LinkLost(TWO));
        world.stopped.insert(ONE);
        world.run(millis(10_000));
        let rest = &ids(3) - &BTreeSet::from([ONE]);
        world.check(&rest, ONE, Standing::Down);
        world.log.clear();
        world.stopped.clear();
        world.run(millis(2000));
        world.check_all(&ids(3), Standing::Alive);
        assert!(rest.iter().all(|node| !world.ever(*node, Standing::Down)));
    }
}

#[test]
fn is_down_at_once_when_it_leaves_and_says_nothing_more() {
    let mut world = World::of(3, 1);
    world.step(ONE, Event::Leave);
    world.run(DELAY);
    let rest = &ids(3) - &BTreeSet::from([ONE]);
    world.check(&rest, ONE, Standing::Down);
    world.step(ONE, Event::Expected(ids(3)));
    world.run(millis(5000));
    world.check(&rest, ONE, Standing::Down);
    world.start(ONE, 3);
    world.run(2 * DELAY);
    world.check_all(&ids(3), Standing::Alive);
}

#[test]
fn does_the_same_from_the_same_seed() {
    let script = |seed| {
        let mut world = World::of(5, seed);
        world.kill(ONE);
        world.run(millis(1000));
        world.start(ONE, 5);
        world.cut.insert((TWO, NodeId(3)));
        world.run(millis(5000));
        (world.log, world.sent)
    };
    assert_eq!(script(3), script(3));
    assert_ne!(script(3).1, script(4).1);
}

proptest! {
    #[test]
    fn survives_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut node = Membership::new(ONE, 1, 1);
        node.step(Event::Expected(ids(3)), millis(0));
        node.step(Event::Arrived(bytes), millis(1));
    }

    #[test]
    fn survives_damaged_messages(
        seed in any::<u64>(),
        at in any::<proptest::sample::Index>(),
        flip in 1..=u8::MAX,
    ) {
        let mut world = World::of(3, seed);
        world.run(millis(50));
        for node in [ONE, TWO] {
            let effects = world.nodes.get_mut(&node).unwrap().step(Event::Woken, world.now);
            for effect in effects {
                if let Effect::Send { to, mut bytes } = effect {
                    let at = at.index(bytes.len());
                    bytes[at] ^= flip;
                    let other = world.nodes.get_mut(&to).unwrap();
                    other.step(Event::Arrived(bytes), world.now);
                }
            }
        }
    }
}
