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
}

const HARMS: [Harm; 8] = [
    Harm::Crash,
    Harm::Wipe,
    Harm::Restore,
    Harm::Damage,
    Harm::Cut,
    Harm::Storm,
    Harm::ClockJump,
    Harm::LogCut,
];

impl Plan {
    /// The plan of a seed's stream of chance.
    pub fn new(random: &mut Random, bug: Option<Bug>) -> Plan {
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
        }
    }
}

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
        skew_max: SECOND / 2,
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
