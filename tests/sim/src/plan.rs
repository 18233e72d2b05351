//! This is what a seed means: how large the cluster is, what its clients and its network are like,
//! and what is done to it when.

use crate::bug::Bug;
use crate::moment::{MILLI, Moment, SECOND};
use crate::network::Weather;
use crate::node::Settings;
use crate::policy::{MANNERS, Manner, ORDERED};
use crate::random::Random;
use crate::report::Harm;
use crate::table::{Bucket, Size, buckets};
use crate::temper::{Habit, Temper};
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
    /// What the clients like to do.
    pub habits: Habits,
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
    /// How many of a thousand objects for another replica are dropped before they are sent.
    pub shed: u64,
    /// How often some nodes' dot logs are cut, in microseconds; never when none.
    pub log_cuts: Option<u64>,
    /// How often other nodes are cut off from each other, in microseconds; never when none.
    pub rifts: Option<u64>,
    /// How many of a thousand steps of a full transfer draw a harm to one of its two ends.
    pub strikes: u64,
    /// When a bucket is deleted with all that is in it.
    pub purge: Option<(Moment, Bucket)>,
    /// When an operator activates a version of the policy.
    pub activations: Vec<Moment>,
    /// What chance makes of the policy, apart from all else.
    pub chance: Random,
    /// Whether most clocks are right at any time, and who starts with a wrong one can ask them:
    /// then writes at `one` keep their order, too, when they are far enough apart.
    pub timely: bool,
}

/// What clients like to do.
#[derive(Clone, Copy, Debug)]
pub struct Habits {
    /// How many of a thousand writes are deletes.
    pub deletes: u64,
    /// How many of a thousand operations ask for one replica only.
    pub alone: u64,
    /// How many of a thousand operations are about the same key as the client's last one.
    pub faithful: u64,
}

const HARMS: [Harm; 10] = [
    Harm::Crash,
    Harm::Wipe,
    Harm::Restore,
    Harm::Damage,
    Harm::DamageTwo,
    Harm::Cut,
    Harm::Storm,
    Harm::ClockJump,
    Harm::ClockStep,
    Harm::LogCut,
];

/// How many of a thousand seeds answer writes before they are synced.
const LAZY: u64 = 150;
/// In how many of a thousand seeds a bucket is deleted.
const PURGED: u64 = 200;

/// In how many of a thousand seeds there is a policy whose versions are swapped.
const GOVERNED: u64 = 400;

/// In how many of a thousand of those the last writer wins, or the policy fails or keeps all.
const LAST_WRITERS: u64 = 200;

/// How long a node stays alone with the last writes, at most.
pub const ORPHAN_LASTS: u64 = 8 * SECOND;

impl Plan {
    /// The plan of a seed's stream of chance.
    pub fn new(random: &mut Random, bug: Option<Bug>) -> Plan {
        let temper = Temper::new(random);
        let plan = Plan::harmed(random, &temper, bug);
        if temper.has(Habit::WrongClocks) {
            plan.timely(random)
        } else {
            plan
        }
    }

    fn harmed(random: &mut Random, temper: &Temper, bug: Option<Bug>) -> Plan {
        let heal = Moment(random.between(8, 16) * SECOND);
        let keys = if temper.has(Habit::ManyKeys) {
            random.between(6, 16)
        } else {
            random.between(1, 5)
        };
        let keys = usize::try_from(keys).unwrap_or(1);
        Plan {
            size: size(random, temper),
            buckets: buckets(random, keys),
            settings: settings(random, temper, bug),
            weather: weather(random),
            clients: if temper.has(Habit::Busy) {
                random.index(5) + 6
            } else {
                random.index(5) + 2
            },
            habits: habits(temper),
            pause: if temper.has(Habit::Busy) {
                random.between(5, 40) * MILLI
            } else {
                random.between(40, 200) * MILLI
            },
            sync: if temper.has(Habit::LongTransfers) {
                *random.pick(&[5 * MILLI, 20 * MILLI, 40 * MILLI])
            } else {
                *random.pick(&[100, MILLI, 5 * MILLI, 40 * MILLI])
            },
            heal,
            harms: harms(random, temper, heal),
            backups: (0..6).map(|_| Moment(random.below(heal.0))).collect(),
            log_cuts: temper
                .has(Habit::ShortLogs)
                .then(|| *random.pick(&[100, 300, 1_000, 3_000]) * MILLI),
            shed: if temper.has(Habit::Sheds) {
                random.between(200, 500)
            } else {
                0
            },
            rifts: temper
                .has(Habit::Rifts)
                .then(|| *random.pick(&[300, 1_000, 2_000]) * MILLI),
            strikes: if temper.has(Habit::Strikes) {
                random.between(20, 200)
            } else {
                0
            },
            purge: random.chance(PURGED).then(|| {
                (
                    Moment(random.between(2 * SECOND, heal.0)),
                    Bucket::any(random),
                )
            }),
            activations: Vec::new(),
            chance: Random::new(0),
            timely: false,
        }
    }

    /// This plan, and in some seeds most keys have a policy whose versions an operator swaps. All
    /// chance in that is of a stream of its own, so that the other seeds stay what they were.
    #[must_use]
    pub fn with_policy(mut self, chance: &mut Random) -> Plan {
        if self.timely || !chance.chance(GOVERNED) {
            return self;
        }
        let is_ordered = chance.chance(LAST_WRITERS);
        let mut manner = || match () {
            () if is_ordered && chance.chance(500) => Manner::LastWins,
            () if is_ordered => *chance.pick(&ORDERED),
            () => *chance.pick(&MANNERS),
        };
        self.settings.releases = (0..4).map(|_| manner()).collect();
        self.settings.releases.truncate(chance.index(3) + 2);
        if self.settings.is_ordered() {
            // Where all are kept a delete takes what its client has seen, and what that won over is
            // back.
            self.habits.deletes = 0;
        }
        for bucket in &mut self.buckets {
            if chance.chance(700) {
                *bucket = Bucket::Policy;
            }
        }
        if let Some((_, bucket)) = &mut self.purge
            && chance.chance(250)
        {
            *bucket = Bucket::Policy;
        }
        let swaps = chance.between(2, 10);
        let when = |_| Moment(chance.between(SECOND, self.heal.0));
        self.activations = (0..swaps).map(when).collect();
        self.activations.sort();
        self.chance = chance.fork();
        self
    }

    /// This plan, but nothing is wrong except clocks: nodes come up with a wrong one, one at a
    /// time, and are cut off; the last of them until heal.
    fn timely(self, random: &mut Random) -> Plan {
        let before = random.below(2);
        let heal = Moment((9 + 8 * before) * SECOND + random.below(2 * SECOND));
        let first = (0..before).map(|_| Moment(2 * SECOND));
        let last = Moment(heal.0 - 6 * SECOND);
        let harms = first.chain([last]).map(|when| (when, Harm::Astray));
        Plan {
            buckets: vec![Bucket::LastWriter; self.buckets.len()],
            settings: Settings {
                skew_max: SECOND / 2,
                lazy: false,
                ..self.settings
            },
            weather: Weather {
                loss: 0,
                delay: *random.pick(&[MILLI / 2, 2 * MILLI]),
                ..self.weather
            },
            habits: Habits {
                deletes: 0,
                alone: random.between(300, 900),
                ..self.habits
            },
            sync: self.sync.min(5 * MILLI),
            heal,
            harms: harms.collect(),
            backups: Vec::new(),
            purge: None,
            timely: true,
            ..self
        }
    }
}

fn size(random: &mut Random, temper: &Temper) -> Size {
    let (nodes, replicas) = if temper.has(Habit::Orphans) {
        *random.pick(&[(3, 3), (5, 5), (5, 5)])
    } else {
        *random.pick(&[(3, 3), (3, 3), (4, 3), (5, 5), (5, 3), (5, 5), (3, 2)])
    };
    Size {
        nodes,
        replicas,
        partitions: *random.pick(&[1, 2]),
    }
}

fn settings(random: &mut Random, temper: &Temper, bug: Option<Bug>) -> Settings {
    let long = temper.has(Habit::LongTransfers);
    Settings {
        bug,
        timeout: random.between(500, 2_000) * MILLI,
        pass_period: random.between(100, 1_200) * MILLI,
        repair_bytes: if long {
            1
        } else {
            *random.pick(&[1, 200, 1_000, 1 << 20])
        },
        versions_max: *random.pick(&[4, 16, 128]),
        skew_max: *random.pick(&[SECOND / 2, SECOND / 2, 60 * SECOND]),
        lazy: random.chance(LAZY),
        releases: Vec::new(),
    }
}

fn weather(random: &mut Random) -> Weather {
    Weather {
        loss: *random.pick(&[0, 10, 50, 200]),
        repeats: *random.pick(&[0, 10, 100]),
        delay: *random.pick(&[MILLI / 2, 2 * MILLI, 20 * MILLI]),
    }
}

fn habits(temper: &Temper) -> Habits {
    Habits {
        deletes: if temper.has(Habit::Deletes) { 600 } else { 300 },
        alone: if temper.has(Habit::Alone) { 600 } else { 100 },
        faithful: if temper.has(Habit::Faithful) { 700 } else { 0 },
    }
}

/// Some kinds of harm, again and again: a run with all kinds hides what one alone would show.
fn harms(random: &mut Random, temper: &Temper, heal: Moment) -> Vec<(Moment, Harm)> {
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
    if temper.has(Habit::Orphans) {
        let mut when = Moment(random.between(SECOND, 3 * SECOND));
        while when < heal {
            harms.push((when, Harm::Orphan));
            when = when.after(ORPHAN_LASTS);
        }
    }
    harms.sort();
    harms
}
