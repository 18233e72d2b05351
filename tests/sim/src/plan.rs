//! This is what a seed means: how large the cluster is, what its clients and its network are like,
//! and what is done to it when.

use crate::bug::Bug;
use crate::moment::{MILLI, Moment, SECOND};
use crate::network::Weather;
use crate::node::Settings;
use crate::random::Random;
use crate::report::Harm;
use crate::table::{Bucket, Size, buckets};
use std::collections::BTreeSet;

/// What a seed means.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How large the cluster is.
    pub size: Size,
    /// The keys: what becomes of the siblings of each.
    pub buckets: Vec<Bucket>,
    /// What is the same for all nodes.
    pub settings: Settings,
    /// The network's usual weather.
    pub weather: Weather,
    /// How many clients there are.
    pub clients: usize,
    /// How long a client waits between operations, usually, in microseconds.
    pub pause: u64,
    /// How long a sync takes, usually, in microseconds.
    pub sync: u64,
    /// When the faults end and the cluster must heal.
    pub heal: Moment,
    /// What is done to the cluster.
    pub harms: Vec<(Moment, Harm)>,
    /// When disks are backed up.
    pub backups: Vec<Moment>,
    /// What clients like to do.
    pub habits: Habits,
    /// Whether most clocks are right at any time, and who starts with a wrong one can ask them:
    /// then writes at `one` keep their order, too, when they are far enough apart.
    pub timely: bool,
}

const HARMS: [Harm; 9] = [
    Harm::Crash,
    Harm::Wipe,
    Harm::Restore,
    Harm::Damage,
    Harm::Cut,
    Harm::Storm,
    Harm::ClockJump,
    Harm::ClockStep,
    Harm::LogCut,
];

impl Plan {
    /// The plan of a seed's stream of chance.
    pub fn new(random: &mut Random, bug: Option<Bug>) -> Plan {
        if random.chance(TIMELY) {
            return Plan::timely(random, bug);
        }
        let heal = Moment(random.between(8, 16) * SECOND);
        let keys = random.between(1, 5);
        let keys = usize::try_from(keys).unwrap_or(1);
        Plan {
            size: size(random),
            buckets: buckets(random, keys),
            settings: settings(random, bug),
            weather: weather(random),
            clients: random.index(5) + 2,
            pause: random.between(40, 200) * MILLI,
            sync: *random.pick(&[100, MILLI, 5 * MILLI, 40 * MILLI]),
            heal,
            harms: harms(random, heal),
            backups: (0..6).map(|_| Moment(random.below(heal.0))).collect(),
            habits: Habits {
                reads: random.between(200, 500),
                deletes: 300,
                ones: 100,
            },
            timely: false,
        }
    }

    /// Nodes come up with a wrong clock, one at a time, and are cut off; nothing else is wrong. The
    /// last is cut off until heal.
    fn timely(random: &mut Random, bug: Option<Bug>) -> Plan {
        let before = random.below(2);
        let heal = Moment((9 + 8 * before) * SECOND + random.below(2 * SECOND));
        let first = (0..before).map(|_| Moment(2 * SECOND));
        let last = Moment(heal.0 - 6 * SECOND);
        let keys = random.index(4) + 1;
        let weather = Weather {
            loss: 0,
            repeats: *random.pick(&[0, 10, 100]),
            delay: *random.pick(&[MILLI / 2, 2 * MILLI]),
        };
        Plan {
            size: size(random),
            buckets: vec![Bucket::LastWriter; keys],
            settings: Settings {
                skew_max: SECOND / 2,
                ..settings(random, bug)
            },
            weather,
            clients: random.index(5) + 2,
            pause: random.between(40, 200) * MILLI,
            sync: *random.pick(&[100, MILLI, 5 * MILLI]),
            heal,
            harms: first
                .chain([last])
                .map(|when| (when, Harm::Astray))
                .collect(),
            backups: Vec::new(),
            habits: Habits {
                reads: random.between(100, 300),
                deletes: 0,
                ones: random.between(300, 900),
            },
            timely: true,
        }
    }
}

/// What clients like to do, of a thousand times.
#[derive(Clone, Copy, Debug)]
pub struct Habits {
    /// To read.
    pub reads: u64,
    /// To delete rather than to write, when they do not read.
    pub deletes: u64,
    /// To ask for one replica.
    pub ones: u64,
}

/// How many of a thousand seeds are about time.
const TIMELY: u64 = 60;

fn size(random: &mut Random) -> Size {
    let (nodes, replicas) = *random.pick(&[(3, 3), (3, 3), (4, 3), (5, 5), (5, 3), (5, 5)]);
    Size {
        nodes,
        replicas,
        partitions: *random.pick(&[1, 2]),
    }
}

fn settings(random: &mut Random, bug: Option<Bug>) -> Settings {
    Settings {
        bug,
        timeout: random.between(500, 2_000) * MILLI,
        pass_period: random.between(100, 1_200) * MILLI,
        repair_bytes: *random.pick(&[1, 200, 1_000, 1 << 20]),
        versions_max: *random.pick(&[4, 16, 128]),
        skew_max: *random.pick(&[SECOND / 2, SECOND / 2, 60 * SECOND]),
    }
}

fn weather(random: &mut Random) -> Weather {
    Weather {
        loss: *random.pick(&[0, 10, 50, 200]),
        repeats: *random.pick(&[0, 10, 100]),
        delay: *random.pick(&[MILLI / 2, 2 * MILLI, 20 * MILLI]),
    }
}

/// Some kinds of harm, again and again: a run with all kinds hides what one alone would show.
fn harms(random: &mut Random, heal: Moment) -> Vec<(Moment, Harm)> {
    let kinds: BTreeSet<Harm> = (0..random.between(1, 4))
        .map(|_| *random.pick(&HARMS))
        .collect();
    let kinds: Vec<Harm> = kinds.into_iter().collect();
    let mut harms: Vec<(Moment, Harm)> = (0..random.between(3, 14))
        .map(|_| {
            let when = Moment(random.between(SECOND, heal.0));
            (when, *random.pick(&kinds))
        })
        .collect();
    harms.sort();
    harms
}
