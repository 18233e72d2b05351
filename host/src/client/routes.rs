//! This is what lets a client go straight to a replica: the tables of the cluster's map, fetched
//! once and again when an answer names a newer epoch.

use super::origin::Origin;
use serde::Deserialize;
use soros_core::epoch::Epoch;
use soros_core::id::{BucketName, NodeId, PlacementName};
use soros_core::key::{Key, Partition};
use soros_core::map::table::Table;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// How long to wait before the map is asked for again for the same epoch: the node that was asked
/// may not have learnt what another one named.
const REFRESH_EVERY: Duration = Duration::from_millis(200);

/// What this client reads of the map.
#[derive(Debug, Deserialize)]
pub(super) struct MapView {
    pub(super) epoch: Epoch,
    nodes: BTreeMap<NodeId, NodeView>,
    buckets: HashMap<BucketName, BucketView>,
    placements: HashMap<PlacementName, PlacementView>,
}

#[derive(Debug, Deserialize)]
struct NodeView {
    identity: IdentityView,
}

#[derive(Debug, Deserialize)]
struct IdentityView {
    url: String,
}

#[derive(Debug, Deserialize)]
struct BucketView {
    config: BucketConfigView,
}

#[derive(Debug, Deserialize)]
struct BucketConfigView {
    placement: PlacementName,
}

#[derive(Debug, Deserialize)]
struct PlacementView {
    table: Table,
}

/// Where keys live, at one epoch.
pub(super) struct Routes {
    pub(super) epoch: Epoch,
    tables: HashMap<BucketName, Arc<Table>>,
    nodes: HashMap<NodeId, Arc<Origin>>,
}

impl Routes {
    /// The routes of a map; `origin` finds the node of a URL, if it is one.
    pub(super) fn of(map: MapView, origin: impl Fn(&str) -> Option<Arc<Origin>>) -> Routes {
        let tables: HashMap<PlacementName, Arc<Table>> = map
            .placements
            .into_iter()
            .map(|(name, view)| (name, Arc::new(view.table)))
            .collect();
        let table = |bucket: &BucketView| tables.get(&bucket.config.placement).cloned();
        let node = |(id, node): (&NodeId, &NodeView)| Some((*id, origin(&node.identity.url)?));
        Routes {
            epoch: map.epoch,
            tables: map
                .buckets
                .iter()
                .filter_map(|(name, bucket)| Some((name.clone(), table(bucket)?)))
                .collect(),
            nodes: map.nodes.iter().filter_map(node).collect(),
        }
    }

    /// The nodes that hold `key`, beginning with number `turn` of them; none when nobody knows.
    pub(super) fn replicas(
        &self,
        bucket: &BucketName,
        key: &Key,
        turn: usize,
    ) -> impl Iterator<Item = Arc<Origin>> {
        let table = self.tables.get(bucket);
        let holders = table.map_or(&[][..], |table| {
            table.replicas_of(Partition::of(key, table.partitions()))
        });
        let first = turn % holders.len().max(1);
        let (before, after) = holders.split_at(first);
        after
            .iter()
            .chain(before)
            .filter_map(|node| self.nodes.get(node).cloned())
    }
}

/// The routes of now, and when to ask for newer ones.
#[derive(Default)]
pub(super) struct Routing {
    current: arc_swap::ArcSwapOption<Routes>,
    /// The newest epoch that an answer has named.
    named: AtomicU64,
    /// When the map was asked for last; held while it is asked for.
    asked: tokio::sync::Mutex<Option<Asked>>,
}

/// A request for the map.
pub(super) struct Asked {
    at: Instant,
    /// The newest epoch that an answer had named by then.
    named: Epoch,
}

impl Routing {
    pub(super) fn current(&self) -> Option<Arc<Routes>> {
        self.current.load_full()
    }

    /// Notes that an answer was served under `epoch`.
    pub(super) fn saw(&self, epoch: Epoch) {
        self.named.fetch_max(epoch.0, Ordering::Relaxed);
    }

    /// Takes `routes` unless newer ones are there.
    pub(super) fn adopt(&self, routes: Routes) {
        let newer = self
            .current()
            .is_some_and(|current| routes.epoch < current.epoch);
        if !newer {
            self.saw(routes.epoch);
            self.current.store(Some(Arc::new(routes)));
        }
    }

    /// The right to ask for the map now, when the routes are missing or older than an answer: one
    /// asks while the others go on with what there is.
    pub(super) fn turn_to_ask(&self) -> Option<tokio::sync::MutexGuard<'_, Option<Asked>>> {
        let named = Epoch(self.named.load(Ordering::Relaxed));
        if self.current().is_some_and(|current| named <= current.epoch) {
            return None;
        }
        let mut asked = self.asked.try_lock().ok()?;
        let is_recent = |asked: &Asked| named <= asked.named && asked.at.elapsed() < REFRESH_EVERY;
        if asked.as_ref().is_some_and(is_recent) {
            return None;
        }
        *asked = Some(Asked {
            at: Instant::now(),
            named,
        });
        Some(asked)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Protocol;
    use super::*;
    use soros_core::id::{ClusterId, Incarnation, NodeName};
    use soros_core::key::PartitionCount;
    use soros_core::map::Map;
    use soros_core::map::founding::Founding;
    use soros_core::map::node::{Identity, RaftId, Role};
    use soros_core::map::placement::PlacementConfig;
    use soros_core::map::plugin::{Plugin, PluginDigest, PluginKind, PluginVersion, Release};
    use soros_core::map::settings::Settings;
    use soros_core::token::TokenKey;

    fn identity(name: &str) -> Identity {
        let name: NodeName = name.parse().expect("a name");
        Identity {
            raft: RaftId(NodeId::of(&name).0),
            incarnation: Incarnation(1),
            url: format!("http://{name}:7070"),
            peer: format!("{name}:7071"),
            zone: "default".to_owned(),
            capacity: 1 << 30,
            roles: [Role::Peer, Role::Authority].into(),
            version: "0.1.0".to_owned(),
            format: soros_core::map::format::Format::KNOWN,
            name,
        }
    }

    fn plugin(kind: PluginKind) -> Plugin {
        let version: PluginVersion = "0.1.0".parse().expect("a version");
        let abi = "soros:policy@1.0.0".to_owned();
        let release = Release {
            digest: PluginDigest([7; 32]),
            abi,
            size: 9,
        };
        Plugin::of(kind, version, release)
    }

    /// A map of four nodes, of which two hold each partition.
    fn map() -> Map {
        let members = ["n1", "n2", "n3", "n4"].map(identity);
        let placement = PlacementConfig {
            partitions: 16,
            replicas: 2,
            ..Default::default()
        };
        let count = PartitionCount::try_from(16).expect("a power of two");
        let cells = Partition::all(count)
            .flat_map(|partition| [partition.index(), partition.index() + 1])
            .map(|at| members[at % 4].id())
            .collect();
        let plugins = [
            ("lww", PluginKind::Resolution),
            ("balanced", PluginKind::Placement),
        ];
        let founding = Founding {
            cluster: ClusterId(5),
            name: "soros".to_owned(),
            members: members.to_vec(),
            plugins: plugins
                .map(|(name, kind)| (name.parse().expect("a name"), plugin(kind)))
                .into(),
            placement,
            table: Table::new(count, 2, cells).expect("a table"),
            settings: Settings::default(),
            token_key: TokenKey([9; 32]),
        };
        Map::found(&founding).expect("a map")
    }

    #[test]
    fn finds_the_replicas_that_the_map_names() {
        let map = map();
        let view = serde_json::to_value(&map).expect("JSON");
        let view: MapView = serde_json::from_value(view).expect("what this client reads of it");
        let origin = |url: &str| {
            let url = url.parse().expect("a URL");
            Some(Arc::new(Origin::new(url, Protocol::Http1)))
        };
        let routes = Routes::of(view, origin);
        assert_eq!(routes.epoch, map.epoch());
        let bucket: BucketName = "default".parse().expect("a bucket");
        let placement = map
            .placement_of(map.bucket(&bucket).expect("it"))
            .expect("it");
        for number in 0..200_u32 {
            let key = Key::try_from(&number.to_be_bytes()[..]).expect("a key");
            let holders = placement.replicas_of(Partition::of(&key, placement.partitions()));
            let url = |id: &NodeId| map.node(*id).expect("a node").identity.url.clone();
            let mut expected: Vec<String> = holders.iter().map(url).collect();
            for turn in 0..2 {
                let found = routes.replicas(&bucket, &key, turn);
                let found: Vec<String> = found.map(|origin| origin.url.to_string()).collect();
                assert_eq!(found, expected);
                expected.rotate_left(1);
            }
        }
    }
}
