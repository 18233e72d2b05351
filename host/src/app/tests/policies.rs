//! These tests are about the components and shadows of one node: what is damaged or comes late is
//! made good, and what is only compared is in nobody's way.

use crate::app::calls::Ending;
use crate::app::components::NodeComponents;
use crate::app::node::RunsPolicies;
use crate::app::policies::NodePolicies;
use crate::app::shadow::shadows;
use crate::authority::wire::{Answer, Request, To, Wire, WireError, decode, encode};
use crate::authority::{Plugins, ShadowStanding};
use crate::network::BoxFuture;
use crate::plugin::limits::TRIAL_CALLS_MIN;
use crate::plugin::{Compiler, Runtime};
use crate::store::components::{Components, digest_of};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use soros_core::id::{ClusterId, Incarnation, NodeId, NodeName};
use soros_core::key::{Partition, PartitionCount};
use soros_core::map::Map;
use soros_core::map::bucket::BucketConfig;
use soros_core::map::change::Change;
use soros_core::map::format::Format;
use soros_core::map::founding::Founding;
use soros_core::map::json::Json;
use soros_core::map::node::{Identity, RaftId, Role};
use soros_core::map::placement::PlacementConfig;
use soros_core::map::plugin::{PluginKind, PluginName, Release, Sample, Shadow, ValidatorUse};
use soros_core::map::settings::Settings;
use soros_core::map::table::Table;
use soros_core::token::TokenKey;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

static RUNTIME: LazyLock<Arc<Runtime>> =
    LazyLock::new(|| Arc::new(Runtime::new(Compiler::Here).expect("room for engines")));

const OWN: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/misbehaving-validation.wasm"));

/// The same component with other bytes: a section that nobody reads.
fn numbered(number: u32) -> Vec<u8> {
    let mut bytes = OWN.to_vec();
    bytes.extend([0, 6, 1, b'n']);
    bytes.extend(number.to_le_bytes());
    bytes
}

fn release(component: &[u8]) -> Release {
    Release {
        digest: digest_of(component),
        abi: crate::plugin::ABI.to_owned(),
        size: component.len() as u64,
    }
}

/// The other node, which has this component.
#[derive(Default)]
struct Other(Mutex<Option<Vec<u8>>>);

impl Wire for Other {
    fn call(
        &self,
        _: &To,
        request: Bytes,
        _: Duration,
    ) -> BoxFuture<'static, Result<Bytes, WireError>> {
        let component = self.0.lock().expect("no test panicked").clone();
        let answer = match (decode(&request), component) {
            (Ok(Request::Component { digest, from }), Some(component))
                if digest == digest_of(&component) =>
            {
                let from = usize::try_from(from).expect("small");
                let piece = component[from..].chunks(512 << 10).next();
                let piece = STANDARD.encode(piece.unwrap_or_default());
                Ok(encode(&Answer::Component(Some(piece))))
            }
            _ => Err(WireError::NotSent),
        };
        Box::pin(std::future::ready(answer))
    }

    fn set_address(&self, _: NodeId, _: &str) {}
}

fn identity(name: &str) -> Identity {
    let name: NodeName = name.parse().expect("a name");
    Identity {
        raft: RaftId(NodeId::of(&name).0),
        incarnation: Incarnation(1),
        url: format!("http://{name}"),
        peer: format!("{name}:1"),
        zone: "z".to_owned(),
        capacity: 1 << 30,
        roles: BTreeSet::from([Role::Peer, Role::Authority]),
        version: "0.1.0".to_owned(),
        format: Format::KNOWN,
        name,
    }
}

fn name() -> PluginName {
    "own".parse().expect("a name")
}

/// Two nodes, the plugin with the first of these components in force and the second as its shadow,
/// and a bucket that uses it.
fn map(active: &[u8], shadow: &[u8]) -> Map {
    let placement = PlacementConfig::default();
    let partitions = PartitionCount::try_from(placement.partitions).expect("a power of two");
    let members = vec![identity("n1"), identity("n2")];
    let ids: Vec<NodeId> = members.iter().map(Identity::id).collect();
    let cells = Partition::all(partitions)
        .flat_map(|_| ids.clone())
        .collect();
    let founding = Founding {
        cluster: ClusterId(1),
        name: "soros".to_owned(),
        members,
        plugins: crate::app::policies::shipped_plugins(),
        placement,
        table: Table::new(partitions, 2, cells).expect("a table"),
        settings: Settings::default(),
        token_key: TokenKey([1; 32]),
    };
    let mut map = Map::found(&founding).expect("a first map");
    let put = |version: &str, component| Change::PutRelease {
        name: name(),
        version: version.parse().expect("a version"),
        kind: PluginKind::Validation,
        release: release(component),
    };
    let validators = vec![ValidatorUse {
        plugin: name(),
        config: Json::Text("accept".to_owned()),
        on_failure: soros_core::map::plugin::OnFailure::Closed,
    }];
    let config = BucketConfig {
        validators,
        ..BucketConfig::default()
    };
    for change in [
        put("1.0.0", active),
        put("2.0.0", shadow),
        Change::Activate {
            name: name(),
            version: "1.0.0".parse().expect("a version"),
            tables: std::collections::BTreeMap::new(),
            on_probation: false,
        },
        Change::PutBucket {
            name: "b".parse().expect("a name"),
            config,
        },
        run_beside(Sample::ALL),
    ] {
        map = map.apply(&change).expect("a change");
    }
    map
}

fn run_beside(sample: Sample) -> Change {
    let shadow = Some(Shadow {
        version: "2.0.0".parse().expect("a version"),
        sample,
    });
    let name = name();
    Change::PutShadow { name, shadow }
}

fn components(folder: &Path, other: &Arc<Other>) -> NodeComponents {
    let me = identity("n1").id();
    let wire: Arc<dyn Wire> = Arc::<Other>::clone(other);
    NodeComponents::new(me, Arc::clone(&RUNTIME), Components::of(folder), wire)
}

#[tokio::test]
async fn a_component_that_was_damaged_is_fetched_before_it_comes_into_force() {
    let folder = tempfile::tempdir().expect("a folder");
    let (active, before) = (numbered(1), numbered(2));
    let other = Arc::new(Other(Mutex::new(Some(before.clone()))));
    let components = Arc::new(components(folder.path(), &other));
    components.adopt(&map(&active, &before));
    components.keep(before.clone().into()).await.expect("room");
    let file = format!("plugins/{}.wasm", digest_of(&before));
    std::fs::write(folder.path().join(file), &before[1..]).expect("the file is damaged");
    let configs = vec![Json::Text("accept".to_owned())];
    let prepared = components.prepare(&release(&before), configs).await;
    assert_eq!(prepared, Ok(()), "the other node has it");
}

fn standing(policies: &NodePolicies) -> ShadowStanding {
    let standing = policies.standings().remove(&name()).expect("the plugin");
    standing.shadow.expect("a shadow")
}

#[tokio::test(start_paused = true)]
async fn a_shadow_whose_component_comes_late_runs_then() {
    let folder = tempfile::tempdir().expect("a folder");
    let (active, late) = (numbered(3), numbered(4));
    let other = Arc::<Other>::default();
    let components = components(folder.path(), &other);
    components.keep(active.clone().into()).await.expect("room");
    let policies = Arc::new(NodePolicies::new(components, Arc::default()));
    let map = Arc::new(map(&active, &late));
    Arc::clone(&policies).adopt(Arc::clone(&map)).await;
    let bucket = map.bucket(&"b".parse().expect("a name")).expect("a bucket");
    let found = crate::peer::Policies::validators(&*policies, bucket.id).expect("loaded");
    assert!(found[0].policy.is_ok(), "what is in force does not wait");
    assert!(standing(&policies).problem.is_some());
    *other.0.lock().expect("no test panicked") = Some(late);
    let runs = async {
        while standing(&policies).problem.is_some() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_mins(1), runs).await;
    assert!(in_time.is_ok(), "{:?}", standing(&policies));
}

#[tokio::test(start_paused = true)]
async fn what_nobody_has_does_not_keep_away_what_is_in_force() {
    let folder = tempfile::tempdir().expect("a folder");
    let (late, lost) = (numbered(12), numbered(13));
    let other = Arc::<Other>::default();
    let policies = NodePolicies::new(components(folder.path(), &other), Arc::default());
    let policies = Arc::new(policies);
    Arc::clone(&policies)
        .adopt(Arc::new(map(&late, &lost)))
        .await;
    assert!(policies.problems().contains_key(&name()));
    *other.0.lock().expect("no test panicked") = Some(late);
    let loaded = async {
        while policies.problems().contains_key(&name()) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_mins(1), loaded).await;
    assert!(in_time.is_ok(), "{:?}", policies.problems());
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_there_was_no_room_for_is_loaded_when_there_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = Arc::new(Runtime::new(Compiler::Here).expect("room for engines"));
    let active = numbered(9);
    let others = (0..).map_while(|number| {
        let config = Json::Text(format!("accept,{number}"));
        runtime.load(OWN, &config).ok()
    });
    let mut others: Vec<_> = others.collect();
    let me = identity("n1").id();
    let wire: Arc<dyn Wire> = Arc::<Other>::default();
    let disk = Components::of(folder.path());
    let components = NodeComponents::new(me, Arc::clone(&runtime), disk, wire);
    components.keep(active.clone().into()).await.expect("room");
    let policies = Arc::new(NodePolicies::new(components, Arc::default()));
    // What is in force is its own shadow here: one component is enough.
    let map = Arc::new(map(&active, &active));
    Arc::clone(&policies).adopt(map).await;
    assert!(policies.problems().contains_key(&name()));
    others.clear();
    let loaded = async {
        while policies.problems().contains_key(&name()) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_mins(1), loaded).await;
    assert!(in_time.is_ok(), "{:?}", policies.problems());
}

#[tokio::test]
async fn a_node_blames_no_version_for_refusals_that_it_cannot_compare() {
    let folder = tempfile::tempdir().expect("a folder");
    let components = components(folder.path(), &Arc::default());
    let policies = NodePolicies::new(components, Arc::default());
    let mut map = map(&numbered(10), &numbered(11));
    let activate = Change::Activate {
        name: name(),
        version: "2.0.0".parse().expect("a version"),
        tables: std::collections::BTreeMap::new(),
        on_probation: true,
    };
    map = map.apply(&activate).expect("a change");
    let plugin = map.plugin(&name()).expect("the plugin");
    let calls = policies.calls_of(&name(), &"1.0.0".parse().expect("a version"));
    for _ in 0..TRIAL_CALLS_MIN {
        assert!(!policies.watched_of(&name(), plugin).refusals);
        calls.note(Ending::Answered, Duration::ZERO, 1, None);
    }
    assert!(policies.watched_of(&name(), plugin).refusals);
}

#[tokio::test]
async fn a_shadow_that_is_not_compiled_does_not_hold_up_a_map() {
    let folder = tempfile::tempdir().expect("a folder");
    let (active, slow) = (numbered(5), numbered(6));
    let components = components(folder.path(), &Arc::default());
    for component in [&active, &slow] {
        components
            .keep(component.clone().into())
            .await
            .expect("room");
    }
    let policies = Arc::new(NodePolicies::new(components, Arc::default()));
    Arc::clone(&policies)
        .adopt(Arc::new(map(&active, &slow)))
        .await;
    assert!(!policies.components().is_ready(&digest_of(&slow)));
    assert!(policies.components().is_ready(&digest_of(&active)));
}

#[tokio::test]
async fn what_a_shadow_has_no_room_for_is_not_copied_and_who_looks_changes_nothing() {
    let (metrics, name) = (Arc::default(), name());
    let (shadows, _queue) = shadows(metrics);
    let before = map(&numbered(7), &numbered(8));
    let shadow = shadows.of(&before, &name).expect("a shadow");
    let policy = RUNTIME.load(OWN, &Json::Text("accept".to_owned()));
    let used = shadows.used(Arc::clone(&shadow), policy.expect("a policy"));
    used.offer(1 << 30, || panic!("there is no room for it"));
    let dropped = |map| {
        shadows
            .standing(map, &name)
            .map(|standing| standing.dropped)
    };
    assert_eq!(dropped(&before), Some(1));
    // Under another map it is another shadow, which does not run here yet.
    let other = before.apply(&run_beside(Sample::try_from(0.5).expect("a half")));
    let other = other.expect("a change");
    assert_eq!(dropped(&other), None);
    assert!(Arc::ptr_eq(
        &shadow,
        &shadows.of(&before, &name).expect("a shadow")
    ));
    assert_eq!(dropped(&before), Some(1), "its counts are seen");
}
