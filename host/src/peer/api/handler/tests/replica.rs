//! This is a node for the handler's tests: one replica in memory, whose objects are those of the
//! core, and a client that speaks to it through the handler.

use crate::network::{BoxFuture, HttpService, RequestBody};
use crate::peer::api::{Choice, Coordinates, KeyValueApi, Readiness, Resolved};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue, header::HeaderName};
use soros_core::dot::{Actor, Dot};
use soros_core::dot_set::DotSet;
use soros_core::id::{BucketName, ClusterId, Generation, Incarnation, NodeId, NodeName};
use soros_core::key::{Key, Partition, PartitionCount};
use soros_core::map::Map;
use soros_core::map::bucket::BucketConfig;
use soros_core::map::change::Change;
use soros_core::map::founding::Founding;
use soros_core::map::node::{Identity, RaftId, Role};
use soros_core::map::placement::PlacementConfig;
use soros_core::map::plugin::{Plugin, PluginDigest, PluginKind, PluginName, Release};
use soros_core::map::settings::Settings;
use soros_core::map::table::Table;
use soros_core::object::{Object, Value, Version};
use soros_core::operation::{
    Achieved, Basis, OperationError, ReadAnswer, ReadRequest, Target, WriteAnswer, WriteRequest,
};
use soros_core::place::Entry;
use soros_core::policy::Merged;
use soros_core::time::Time;
use soros_core::token::TokenKey;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

/// How many versions a key may have here.
const SIBLINGS_MAX: usize = 4;

/// A node in memory.
pub(super) struct Replica(Mutex<State>);

struct State {
    readiness: Readiness,
    objects: BTreeMap<Entry, Object>,
    minted: u64,
    /// What every operation fails with.
    error: Option<OperationError>,
    choice: Option<Choice>,
    elsewhere: Option<NodeId>,
    reads: Vec<ReadRequest>,
    writes: Vec<WriteRequest>,
    /// What the next write is merged to, under a dot of its own.
    merge: Option<Value>,
}

/// What a client got.
#[derive(Debug)]
pub(super) struct Got {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Got {
    /// A header's text; empty when there is none.
    pub(super) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().expect("text"))
    }

    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    pub(super) fn code(&self) -> String {
        self.json()["code"].as_str().expect("a code").to_owned()
    }
}

impl Replica {
    /// A node of a cluster with the bucket `default`, which has a resolver, and `plain`, without.
    pub(super) fn new() -> Arc<Replica> {
        let state = State {
            readiness: Readiness::Serving(Arc::new(founded())),
            objects: BTreeMap::new(),
            minted: 0,
            error: None,
            choice: None,
            elsewhere: None,
            reads: Vec::new(),
            writes: Vec::new(),
            merge: None,
        };
        let replica = Arc::new(Replica(Mutex::new(state)));
        replica.put_bucket(
            "plain",
            BucketConfig {
                resolver: None,
                ..BucketConfig::default()
            },
        );
        replica
    }

    /// What a client gets.
    #[track_caller]
    pub(super) fn send(
        self: &Arc<Replica>,
        request: &str,
        fields: &[(&str, &str)],
        body: &str,
    ) -> Got {
        let (method, path) = request.split_once(' ').expect("a method and a path");
        let mut request = http::Request::builder().method(method).uri(path);
        for (name, value) in fields {
            let value = HeaderValue::from_bytes(value.as_bytes()).expect("a value");
            request = request.header(name.parse::<HeaderName>().expect("a name"), value);
        }
        let request = request
            .body(RequestBody::full(body.to_owned()))
            .expect("a request");
        self.answer(request)
    }

    #[track_caller]
    pub(super) fn answer(self: &Arc<Replica>, request: crate::network::Request) -> Got {
        let api = KeyValueApi::new(self.clone());
        let response = api
            .call(request)
            .now_or_never()
            .expect("nothing to wait for");
        let (parts, body) = response.into_parts();
        let body = body.bytes().expect("a body that is there").clone();
        Got {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
        }
    }

    pub(super) fn put_bucket(&self, name: &str, config: BucketConfig) {
        self.change(&Change::PutBucket {
            name: bucket(name),
            config,
        });
    }

    pub(super) fn change(&self, change: &Change) {
        let next = self.map().apply(change).expect("a change");
        self.set_readiness(Readiness::Serving(Arc::new(next)));
    }

    pub(super) fn set_readiness(&self, readiness: Readiness) {
        self.state().readiness = readiness;
    }

    pub(super) fn fail_with(&self, error: OperationError) {
        self.state().error = Some(error);
    }

    pub(super) fn resolve_to(&self, choice: Choice) {
        self.state().choice = Some(choice);
    }

    pub(super) fn send_elsewhere(&self, node: &str) {
        self.state().elsewhere = Some(identity(node).id());
    }

    pub(super) fn reads(&self) -> Vec<ReadRequest> {
        self.state().reads.clone()
    }

    pub(super) fn writes(&self) -> Vec<WriteRequest> {
        self.state().writes.clone()
    }

    /// Has the next write merged with what is there, to `text`.
    pub(super) fn merge_to(&self, text: &str) {
        self.state().merge = Some(value(text));
    }

    /// What the holder of a token has seen of a key.
    pub(super) fn opened(&self, name: &str, key: &str, token: &str) -> DotSet {
        let map = self.map();
        let token = URL_SAFE_NO_PAD.decode(token).expect("base64url");
        map.token_key()
            .open(&entry(&map, name, key), &token)
            .expect("a token of the key")
    }

    pub(super) fn map(&self) -> Arc<Map> {
        match self.readiness() {
            Readiness::Serving(map) => map,
            Readiness::Starting | Readiness::ShuttingDown => panic!("the node does not serve"),
        }
    }

    /// Whether nothing was ever stored.
    pub(super) fn is_empty(&self) -> bool {
        self.state().objects.is_empty()
    }

    /// Adds a version that nobody has seen, at `micros`: text, or a tombstone. Gives its dot.
    pub(super) fn add_sibling(
        &self,
        name: &str,
        key: &str,
        micros: u64,
        text: Option<&str>,
    ) -> Dot {
        let entry = entry(&self.map(), name, key);
        let value = text.map(value);
        let version = Version {
            time: Time::at_micros(micros),
            value,
        };
        let mut state = self.state();
        let dot = state.mint();
        state.objects.entry(entry).or_default().add(dot, version);
        dot
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0
            .lock()
            .expect("no test panics while it holds the state")
    }
}

impl Coordinates for Replica {
    fn readiness(&self) -> Readiness {
        self.state().readiness.clone()
    }

    fn elsewhere(&self, _target: &Target) -> Option<NodeId> {
        self.state().elsewhere
    }

    fn read(&self, request: ReadRequest) -> BoxFuture<'_, Result<ReadAnswer, OperationError>> {
        let answer = self.state().read(request);
        Box::pin(async { answer })
    }

    fn write(&self, request: WriteRequest) -> BoxFuture<'_, Result<WriteAnswer, OperationError>> {
        let resolver = self.resolver_of(&request.target);
        let answer = self.state().write(request, resolver);
        Box::pin(async { answer })
    }

    fn resolve(&self, map: &Map, target: &Target, object: &Object) -> Option<Resolved> {
        assert!(1 < object.versions.len(), "one version needs no resolver");
        let (_, bucket) = map.bucket_by_id(target.bucket())?;
        let plugin = bucket.config.resolver.as_ref()?.plugin.clone();
        let (version, _) = map.plugin(&plugin)?.active()?;
        let choice = self.state().choice.clone()?;
        Some(Resolved {
            plugin,
            version: version.clone(),
            choice,
        })
    }
}

impl Replica {
    fn resolver_of(&self, target: &Target) -> bool {
        let map = self.map();
        let (_, bucket) = map
            .bucket_by_id(target.bucket())
            .expect("a bucket of the map");
        bucket.config.resolver.is_some()
    }
}

impl State {
    fn mint(&mut self) -> Dot {
        self.minted += 1;
        actor().dot(self.minted)
    }

    fn read(&mut self, request: ReadRequest) -> Result<ReadAnswer, OperationError> {
        self.error.clone().map_or(Ok(()), Err)?;
        let object = self
            .objects
            .get(&request.target.entry)
            .cloned()
            .unwrap_or_default();
        self.reads.push(request);
        Ok(ReadAnswer {
            object,
            achieved: achieved(),
            served_by: identity("n2").id(),
        })
    }

    fn write(
        &mut self,
        request: WriteRequest,
        resolver: bool,
    ) -> Result<WriteAnswer, OperationError> {
        self.error.clone().map_or(Ok(()), Err)?;
        self.writes.push(request.clone());
        let mut object = self
            .objects
            .get(&request.target.entry)
            .cloned()
            .unwrap_or_default();
        let (existed, context) = (object.is_live(), object.seen());
        let seen = match request.basis {
            Basis::Seen(seen) => seen,
            Basis::Unsaid if existed && !resolver => {
                return Err(OperationError::ContextRequired { context });
            }
            Basis::Unsaid | Basis::Blind => DotSet::default(),
        };
        // The last writer wins over all there is, though its client has not seen it.
        let discarded = if resolver { &context } else { &seen };
        object.discard(discarded, &[]);
        if SIBLINGS_MAX <= object.versions.len() {
            return Err(OperationError::TooManySiblings { context });
        }
        let dot = self.mint();
        let version = Version {
            time: Time::at_micros(self.minted),
            value: request.value,
        };
        object.add(dot, version);
        let mut context = seen;
        context.add(dot);
        if let Some(merged) = self.merge.take() {
            object.discard(&object.seen(), &[]);
            let (merge, time) = (self.mint(), Time::at_micros(self.minted));
            object.add(
                merge,
                Version {
                    time,
                    value: Some(merged),
                },
            );
        }
        let versions = object.dots();
        self.objects.insert(request.target.entry, object);
        let (achieved, served_by) = (achieved(), identity("n1").id());
        Ok(WriteAnswer {
            context,
            existed,
            versions,
            achieved,
            served_by,
        })
    }
}

/// A merged value, as a resolver makes it.
pub(super) fn merged(content_type: &str, text: &str) -> Choice {
    let (content_type, bytes) = (content_type.to_owned(), text.as_bytes().to_vec());
    Choice::Value(Merged {
        content_type,
        bytes,
    })
}

pub(super) fn bucket(name: &str) -> BucketName {
    name.parse().expect("a bucket's name")
}

fn entry(map: &Map, name: &str, key: &str) -> Entry {
    let bucket = map.bucket(&bucket(name)).expect("a bucket").id;
    Entry {
        bucket,
        key: Key::try_from(key.as_bytes()).expect("a key"),
    }
}

fn value(text: &str) -> Value {
    Value {
        bytes: text.as_bytes().into(),
        content_type: "text/plain".to_owned(),
        content_encoding: None,
        meta: vec![("from".to_owned(), text.to_owned())],
    }
}

fn achieved() -> Achieved {
    Achieved {
        reached: 2,
        replicas: 3,
    }
}

fn actor() -> Actor {
    let (node, incarnation, generation) = (identity("n1").id(), Incarnation(1), Generation(1));
    Actor {
        node,
        incarnation,
        generation,
    }
}

fn identity(name: &str) -> Identity {
    let name: NodeName = name.parse().expect("a name");
    Identity {
        raft: RaftId(NodeId::of(&name).0 ^ 1),
        incarnation: Incarnation(1),
        url: format!("http://{name}.example:7070/"),
        peer: format!("{name}.example:7071"),
        zone: "zone".to_owned(),
        capacity: 1 << 30,
        roles: BTreeSet::from([Role::Peer, Role::Authority]),
        version: "0.1.0".to_owned(),
        format: soros_core::map::format::Format::KNOWN,
        name,
    }
}

fn plugin(name: &str, kind: PluginKind) -> (PluginName, Plugin) {
    let version: soros_core::map::plugin::PluginVersion = "0.1.0".parse().expect("a version");
    let abi = "soros:policy@1.0.0".to_owned();
    let release = Release {
        digest: PluginDigest([7; 32]),
        abi,
        size: 9,
    };
    let plugin = Plugin::of(kind, version, release);
    (name.parse().expect("a name"), plugin)
}

fn founded() -> Map {
    let members = ["n1", "n2", "n3"].map(identity).to_vec();
    let ids: Vec<NodeId> = members.iter().map(Identity::id).collect();
    let partitions = PartitionCount::try_from(4).expect("a power of two");
    let cells = Partition::all(partitions)
        .flat_map(|_| ids.clone())
        .collect();
    let plugins = [
        plugin("lww", PluginKind::Resolution),
        plugin("balanced", PluginKind::Placement),
        plugin("json-schema", PluginKind::Validation),
    ];
    let founding = Founding {
        cluster: ClusterId(5),
        name: "soros".to_owned(),
        members,
        plugins: plugins.into(),
        placement: PlacementConfig {
            partitions: 4,
            ..PlacementConfig::default()
        },
        table: Table::new(partitions, 3, cells).expect("a table"),
        settings: Settings::default(),
        token_key: TokenKey([9; 32]),
    };
    Map::found(&founding).expect("a first map")
}
