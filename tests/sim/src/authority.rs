//! This is the authority of a simulated cluster: the core's map with one plugin, whose versions an
//! operator activates, and which is put in quarantine where it fails too often.

use crate::bug::Bug;
use crate::moment::{Moment, SECOND};
use soros_core::epoch::Epoch;
use soros_core::id::{ClusterId, Incarnation};
use soros_core::key::{Partition, PartitionCount};
use soros_core::map::Map;
use soros_core::map::change::{Change, ChangeError};
use soros_core::map::format::Format;
use soros_core::map::founding::Founding;
use soros_core::map::node::{Identity, RaftId, Role};
use soros_core::map::placement::PlacementConfig;
use soros_core::map::plugin::{
    Blame, Plugin, PluginDigest, PluginKind, PluginName, PluginVersion, Release,
};
use soros_core::map::settings::Settings;
use soros_core::map::table::Table;
use soros_core::token::TokenKey;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What a map says of the plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InForce {
    /// The map's epoch.
    pub epoch: Epoch,
    /// The number of the version in force.
    pub version: usize,
    /// The epoch from which it is in force.
    pub since: Epoch,
    /// Whether it is not to be asked.
    pub is_quarantined: bool,
}

/// What a node knows of the plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// What it has heard of.
    pub in_force: InForce,
    /// A version whose component it has: the one in force, if it has that.
    pub component: Option<usize>,
}

/// How often a version may fail, within which time, before it is out of force or in quarantine.
pub const FAILURES: usize = 5;
const WITHIN: u64 = 10 * SECOND;

/// What came of a report that a version fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is out of force, and the one before it is back.
    Withdrawn,
    /// It is not asked any more.
    Quarantined,
    /// It is not in force any more, or not asked.
    Late,
    /// It has not failed often enough yet.
    Counted,
}

/// The authority.
#[derive(Clone, Debug)]
pub struct Authority {
    map: Map,
    /// When the version failed, lately, that is in force since an epoch.
    failed: (Epoch, VecDeque<Moment>),
    bug: Option<Bug>,
}

const PLUGIN: &str = "lww";
const NODE: &str = "n1";

impl Authority {
    /// An authority of a plugin with so many versions, of which the first is in force.
    ///
    /// # Panics
    /// When the map does not take them.
    #[must_use]
    pub fn new(releases: usize, bug: Option<Bug>) -> Authority {
        let map = Map::found(&founding()).expect("a first map");
        let failed = (Epoch::NONE, VecDeque::new());
        let mut authority = Authority { map, failed, bug };
        for number in 1..releases {
            let change = Change::PutRelease {
                name: name(PLUGIN),
                version: version(number),
                kind: PluginKind::Resolution,
                release: release(number),
            };
            authority.apply(&change).expect("a version");
        }
        authority
    }

    fn apply(&mut self, change: &Change) -> Result<(), ChangeError> {
        self.map = self.map.apply(change)?;
        Ok(())
    }

    fn plugin(&self) -> &Plugin {
        let plugin = self.map.plugin(&name(PLUGIN));
        plugin.expect("the plugin that buckets use stays")
    }

    /// What the newest map says.
    #[must_use]
    pub fn in_force(&self) -> InForce {
        let plugin = self.plugin();
        InForce {
            epoch: self.map.epoch(),
            version: plugin.active.as_ref().map_or(0, number),
            since: plugin.since,
            is_quarantined: plugin.quarantine.is_some(),
        }
    }

    /// The version that was in force before.
    #[must_use]
    pub fn previous(&self) -> Option<usize> {
        self.plugin().previous.as_ref().map(number)
    }

    /// A version comes into force.
    ///
    /// # Panics
    /// When there is no such version.
    pub fn activate(&mut self, number: usize, on_probation: bool) {
        let change = Change::Activate {
            name: name(PLUGIN),
            version: version(number),
            tables: BTreeMap::new(),
            on_probation,
        };
        self.apply(&change).expect("a version that there is");
    }

    /// The version that is in force since `since` has passed its probation; false when it is not in
    /// force any more.
    pub fn end_probation(&mut self, since: Epoch) -> bool {
        let name = name(PLUGIN);
        self.apply(&Change::EndProbation { name, since }).is_ok()
    }

    /// A node says that the version has failed that is in force since `since`.
    ///
    /// # Panics
    /// Never: the node has a name.
    pub fn blame(&mut self, since: Epoch, now: Moment) -> Verdict {
        let in_force = self.in_force();
        let is_late = in_force.is_quarantined || in_force.since != since;
        if is_late && self.bug != Some(Bug::BlameComesLate) {
            return Verdict::Late;
        }
        let since = in_force.since;
        if !self.has_failed_too_often(since, now) {
            return Verdict::Counted;
        }
        let name = name(PLUGIN);
        let blame = Blame {
            node: NODE.parse().expect("a node's name"),
            cause: "trapped".to_owned(),
            detail: String::new(),
        };
        let (change, verdict) = if self.plugin().on_probation {
            let change = Change::Withdraw { name, since, blame };
            (change, Verdict::Withdrawn)
        } else {
            let change = Change::Quarantine { name, since, blame };
            (change, Verdict::Quarantined)
        };
        match self.apply(&change) {
            Ok(()) => verdict,
            Err(_) => Verdict::Late,
        }
    }

    fn has_failed_too_often(&mut self, since: Epoch, now: Moment) -> bool {
        if self.failed.0 != since {
            self.failed = (since, VecDeque::new());
        }
        let failed = &mut self.failed.1;
        failed.push_back(now);
        failed.retain(|when| now < when.after(WITHIN));
        FAILURES <= failed.len()
    }
}

fn name(plugin: &str) -> PluginName {
    plugin.parse().expect("a plugin's name")
}

fn version(number: usize) -> PluginVersion {
    format!("{number}.0.0").parse().expect("a version")
}

fn number(version: &PluginVersion) -> usize {
    let major = version.as_str().split('.').next();
    major.and_then(|major| major.parse().ok()).unwrap_or(0)
}

fn release(number: usize) -> Release {
    let byte = u8::try_from(number).unwrap_or(u8::MAX);
    Release {
        digest: PluginDigest([byte; 32]),
        abi: "soros:policy@1.0.0".to_owned(),
        size: 1,
    }
}

fn founding() -> Founding {
    let identity = Identity {
        name: NODE.parse().expect("a node's name"),
        incarnation: Incarnation(1),
        raft: RaftId(1),
        url: "http://127.0.0.1:1".to_owned(),
        peer: "127.0.0.1:2".to_owned(),
        zone: "zone".to_owned(),
        capacity: 1 << 30,
        roles: BTreeSet::from([Role::Peer, Role::Authority]),
        version: "0.1.0".to_owned(),
        format: Format::KNOWN,
    };
    let placement = PlacementConfig {
        partitions: 4,
        ..PlacementConfig::default()
    };
    let partitions = PartitionCount::try_from(placement.partitions).expect("a power of two");
    let cells = Partition::all(partitions).map(|_| identity.id()).collect();
    let plugin = |kind| Plugin::of(kind, version(0), release(0));
    Founding {
        cluster: ClusterId(1),
        name: "simulated".to_owned(),
        members: vec![identity],
        plugins: BTreeMap::from([
            (name(PLUGIN), plugin(PluginKind::Resolution)),
            (name("balanced"), plugin(PluginKind::Placement)),
        ]),
        placement,
        table: Table::new(partitions, 1, cells).expect("a table"),
        settings: Settings::default(),
        token_key: TokenKey([1; 32]),
    }
}
