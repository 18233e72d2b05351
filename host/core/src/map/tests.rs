//! These are the map's tests: each change as a script and its consequence, and any sequence of
//! changes against what must hold of every map.

mod formats;
mod releases;

use super::change::{Change, ChangeError, Proposal, step};
use super::diff::diff;
use super::founding::{Founding, voters};
use super::json::Json;
use super::plugin::{Plugin, PluginDigest, PluginKind, PolicyUse, Release};
use super::table::TableError;
use super::*;
use crate::id::{Incarnation, NodeName};
use crate::key::{Partition, PartitionCount};
use bucket::{BucketConfig, BucketState};
use node::{Identity, NodeState, RaftId, Role};
use placement::PlacementConfig;
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use table::Table;

fn identity(name: &str) -> Identity {
    let name: NodeName = name.parse().expect("a name");
    Identity {
        raft: RaftId(NodeId::of(&name).0 ^ 1),
        incarnation: Incarnation(1),
        url: format!("http://127.0.0.1/{name}"),
        peer: format!("127.0.0.1:{name}"),
        zone: format!("zone-{name}"),
        capacity: 1 << 30,
        roles: BTreeSet::from([Role::Peer, Role::Authority]),
        version: "0.1.0".to_owned(),
        format: format::Format::KNOWN,
        name,
    }
}

fn node(name: &str) -> NodeId {
    identity(name).id()
}

fn table(names: &[&str], config: &PlacementConfig, shift: usize) -> Table {
    let partitions = PartitionCount::try_from(config.partitions).expect("a power of two");
    let copies = names.len().min(usize::from(config.replicas));
    let cells = Partition::all(partitions)
        .flat_map(|partition| (0..copies).map(move |copy| partition.index() + copy + shift))
        .map(|at| node(names[at % names.len()]))
        .collect();
    Table::new(partitions, u8::try_from(copies).expect("few"), cells).expect("a table")
}

fn plugin(kind: PluginKind) -> Plugin {
    let version: super::plugin::PluginVersion = "0.1.0".parse().expect("a version");
    let abi = "soros:policy@1.0.0".to_owned();
    let release = Release {
        digest: PluginDigest([7; 32]),
        abi,
        size: 9,
    };
    Plugin::of(kind, version, release)
}

fn small() -> PlacementConfig {
    PlacementConfig {
        partitions: 4,
        ..PlacementConfig::default()
    }
}

const FOUNDERS: [&str; 3] = ["n1", "n2", "n3"];

fn founding() -> Founding {
    let plugins = [
        ("lww", PluginKind::Resolution),
        ("balanced", PluginKind::Placement),
        ("json-schema", PluginKind::Validation),
    ];
    let named = |(name, kind): (&str, _)| (name.parse().expect("a name"), plugin(kind));
    Founding {
        cluster: ClusterId(5),
        name: "soros".to_owned(),
        members: FOUNDERS.map(identity).to_vec(),
        plugins: plugins.map(named).into(),
        placement: small(),
        table: table(&FOUNDERS, &small(), 0),
        settings: Settings::default(),
        token_key: TokenKey([9; 32]),
    }
}

fn first() -> Map {
    Map::found(&founding()).expect("a first map")
}

fn after(changes: &[Change]) -> Map {
    changes
        .iter()
        .fold(first(), |map, change| map.apply(change).expect("a change"))
}

fn bucket(name: &str) -> BucketName {
    name.parse().expect("a name")
}

fn place(name: &str) -> PlacementName {
    name.parse().expect("a name")
}

fn put(name: &str, config: BucketConfig) -> Change {
    Change::PutBucket {
        name: bucket(name),
        config,
    }
}

fn put_place(name: &str, config: PlacementConfig, shift: usize) -> Change {
    let table = table(&FOUNDERS, &config, shift);
    Change::PutPlacement {
        name: place(name),
        config,
        table,
    }
}

#[track_caller]
fn refused(map: &Map, change: &Change, error: &ChangeError) {
    assert_eq!(map.apply(change).as_ref(), Err(error));
}

#[test]
fn begins_with_a_default_bucket_that_the_last_writer_wins() {
    let map = first();
    assert_eq!(map.epoch(), Epoch(1));
    let bucket = map.bucket(&bucket("default")).expect("the default bucket");
    assert_eq!(bucket.id, BucketId(1));
    assert_eq!(bucket.config.resolver, Some(PolicyUse::plain("lww")));
    let placement = map.placement_of(bucket).expect("its placement");
    assert_eq!((placement.id, placement.replicas()), (PlacementId(1), 3));
    assert_eq!(
        map.node(node("n1")).map(|node| node.state),
        Some(NodeState::Active)
    );
}

#[test]
fn refuses_to_begin_with_two_nodes_of_one_name_or_with_a_wrong_table() {
    let mut twice = founding();
    twice.members.push(identity("n1"));
    let name = identity("n1").name;
    let error = ChangeError::IdTaken {
        taken: name.clone(),
        asked: name,
    };
    assert_eq!(Map::found(&twice), Err(error));
    let mut few = founding();
    few.table = table(&["n1", "n2"], &small(), 0);
    let error = TableError::WrongCopies { have: 2, need: 3 };
    assert_eq!(Map::found(&few), Err(ChangeError::BadTable(error)));
    let mut stranger = founding();
    stranger.table = table(&["n1", "n2", "n9"], &small(), 0);
    let error = TableError::NotEligible(node("n9"));
    assert_eq!(Map::found(&stranger), Err(ChangeError::BadTable(error)));
}

#[test]
fn is_founded_once_and_changes_only_at_the_epoch_asked_for() {
    let propose = |only_at, change| Proposal {
        only_at,
        ..Proposal::on(None, change, None)
    };
    let found = propose(None, Change::Found(Box::new(founding())));
    let map = step(None, &found).expect("a first map");
    assert_eq!(step(Some(&map), &found), Err(ChangeError::AlreadyFounded));
    let settings = Change::PutSettings(Settings::default());
    assert_eq!(
        step(None, &propose(None, settings.clone())),
        Err(ChangeError::NotFounded)
    );
    let late = propose(Some(Epoch(7)), settings.clone());
    let error = ChangeError::Moved {
        expected: Epoch(7),
        now: Epoch(1),
    };
    assert_eq!(step(Some(&map), &late), Err(error));
    let next = step(Some(&map), &propose(Some(Epoch(1)), settings)).expect("a change");
    assert_eq!(next.epoch(), Epoch(2));
}

#[test]
fn gives_a_bucket_made_again_a_new_life() {
    let name = bucket("b");
    let put = put("b", BucketConfig::default());
    let map = after(&[put.clone(), put.clone()]);
    let id = map.bucket(&name).map(|bucket| bucket.id);
    assert_eq!(
        id,
        Some(BucketId(2)),
        "configuring it anew is not a new life"
    );
    let map = map
        .apply(&Change::PurgeBucket { name: name.clone() })
        .expect("a change");
    assert_eq!(map.bucket_by_id(BucketId(2)), None);
    let map = map.apply(&put).expect("a change");
    assert_eq!(map.bucket(&name).map(|bucket| bucket.id), Some(BucketId(5)));
    assert_eq!(
        map.bucket_by_id(BucketId(5)).map(|(name, _)| name),
        Some(&name)
    );
}

#[test]
fn drops_a_bucket_only_after_it_was_closed() {
    let name = bucket("b");
    let map = after(&[put("b", BucketConfig::default())]);
    let drop = Change::DropBucket {
        name: name.clone(),
        id: BucketId(2),
        closed_at: Epoch(3),
    };
    refused(&map, &drop, &ChangeError::BucketNotClosing(name.clone()));
    let close = Change::CloseBucket { name: name.clone() };
    let map = map.apply(&close).expect("a change");
    assert_eq!(
        map.bucket(&name).map(|bucket| bucket.state),
        Some(BucketState::Closing)
    );
    refused(&map, &close, &ChangeError::BucketClosing(name.clone()));
    refused(
        &map,
        &put("b", BucketConfig::default()),
        &ChangeError::BucketClosing(name.clone()),
    );
    let other = Change::DropBucket {
        name: name.clone(),
        id: BucketId(1),
        closed_at: Epoch(3),
    };
    refused(&map, &other, &ChangeError::BucketNotClosing(name.clone()));
    let reopen = Change::ReopenBucket {
        name: name.clone(),
        id: BucketId(2),
        closed_at: Epoch(3),
    };
    let open = map.apply(&reopen).expect("a change");
    assert_eq!(
        open.bucket(&name).map(|bucket| bucket.state),
        Some(BucketState::Open)
    );
    let gone = map.apply(&drop).expect("a change");
    assert_eq!(gone.bucket(&name), None);
    refused(&gone, &close, &ChangeError::BucketNotFound(name));
}

#[test]
fn what_was_found_out_of_a_closed_bucket_counts_only_until_it_opens_again() {
    let name = bucket("b");
    let id = BucketId(2);
    let drop_of = |closed_at| Change::DropBucket {
        name: bucket("b"),
        id,
        closed_at,
    };
    let close = Change::CloseBucket { name: name.clone() };
    let reopen_of = |closed_at| Change::ReopenBucket {
        name: bucket("b"),
        id,
        closed_at,
    };
    let closed = after(&[put("b", BucketConfig::default()), close.clone()]);
    let open = closed.apply(&reopen_of(Epoch(3))).expect("a change");
    let again = open.apply(&close).expect("a change");
    let refusal = ChangeError::BucketNotClosing(name.clone());
    refused(&again, &drop_of(Epoch(3)), &refusal);
    refused(&again, &reopen_of(Epoch(3)), &refusal);
    let gone = again.apply(&drop_of(Epoch(5))).expect("a change");
    assert_eq!(gone.bucket(&name), None);
}

#[test]
fn refuses_a_bucket_that_names_what_there_is_not() {
    let map = first();
    let nowhere = BucketConfig {
        placement: place("moon"),
        ..BucketConfig::default()
    };
    refused(
        &map,
        &put("b", nowhere),
        &ChangeError::UnknownPlacement(place("moon")),
    );
    let resolver = Some(PolicyUse::plain("balanced"));
    let wrong = BucketConfig {
        resolver,
        ..BucketConfig::default()
    };
    let name = "balanced".parse().expect("a name");
    let error = ChangeError::UnknownPlugin {
        name,
        kind: PluginKind::Resolution,
    };
    refused(&map, &put("b", wrong), &error);
    let huge = BucketConfig {
        max_value_bytes: 0,
        default_ttl: Some(u64::MAX),
        ..BucketConfig::default()
    };
    let Err(ChangeError::BadConfig(problems)) = map.apply(&put("b", huge)) else {
        panic!("a value out of range was taken");
    };
    let paths: Vec<_> = problems
        .iter()
        .map(|problem| problem.path.as_str())
        .collect();
    assert_eq!(paths, ["/default_ttl", "/max_value_bytes"]);
}

#[test]
fn keeps_partitions_and_never_moves_a_placement_in_use() {
    let map = first();
    let more = PlacementConfig {
        partitions: 8,
        ..small()
    };
    refused(
        &map,
        &put_place("default", more, 0),
        &ChangeError::PartitionsFixed(4),
    );
    refused(
        &map,
        &put_place("default", small(), 1),
        &ChangeError::MovesNeeded,
    );
    let wide = PlacementConfig {
        replicas: 5,
        ..small()
    };
    let map = map
        .apply(&put_place("default", wide, 0))
        .expect("the table is the same");
    let placement = map.placement(&place("default")).expect("a placement");
    assert!(placement.is_under_replicated());
    assert_eq!(placement.id, PlacementId(1));
    let delete = Change::DeletePlacement {
        name: place("default"),
    };
    refused(
        &map,
        &delete,
        &ChangeError::PlacementInUse(place("default")),
    );
}

#[test]
fn gives_an_unused_placement_a_new_life_with_its_new_table() {
    let map = after(&[put_place("p", small(), 0), put_place("p", small(), 1)]);
    assert_eq!(
        map.placement(&place("p")).map(|placement| placement.id),
        Some(PlacementId(3))
    );
    let map = map
        .apply(&Change::DeletePlacement { name: place("p") })
        .expect("a change");
    assert_eq!(map.placement_by_id(PlacementId(3)), None);
    let moved = put(
        "default",
        BucketConfig {
            placement: place("q"),
            ..BucketConfig::default()
        },
    );
    let map = map.apply(&put_place("q", small(), 2)).expect("a change");
    refused(&map, &moved, &ChangeError::MovesNeeded);
}

#[test]
fn refuses_a_table_in_fewer_zones_than_asked_for() {
    let mut founding = founding();
    for member in &mut founding.members {
        member.zone = if member.name.as_str() == "n3" {
            "b"
        } else {
            "a"
        }
        .to_owned();
    }
    let map = Map::found(&founding).expect("a first map");
    let two = PlacementConfig {
        replicas: 2,
        zones_min: Some(2),
        ..small()
    };
    let Err(ChangeError::BadTable(TableError::Zones {
        have: 1, need: 2, ..
    })) = map.apply(&put_place("p", two.clone(), 0))
    else {
        panic!("two copies in one zone were taken");
    };
    let any = PlacementConfig {
        zones_min: None,
        ..two
    };
    assert!(map.apply(&put_place("p", any, 0)).is_ok());
}

#[test]
fn takes_a_known_node_back_and_a_new_one_in_without_data() {
    let mut back = identity("n1");
    back.incarnation = Incarnation(2);
    let map = after(&[Change::Register(Box::new(back))]);
    let known = map.node(node("n1")).expect("a node");
    assert_eq!(
        (known.identity.incarnation, known.state),
        (Incarnation(2), NodeState::Active)
    );
    let map = map
        .apply(&Change::Register(Box::new(identity("n4"))))
        .expect("a change");
    assert_eq!(
        map.node(node("n4")).map(|node| node.state),
        Some(NodeState::Joining)
    );
    let names = ["n1", "n2", "n4"];
    let change = Change::PutPlacement {
        name: place("p"),
        config: small(),
        table: table(&names, &small(), 0),
    };
    let error = TableError::NotEligible(node("n4"));
    refused(&map, &change, &ChangeError::BadTable(error));
}

#[test]
fn refuses_copied_directories_and_holders_of_data_that_want_none() {
    let map = first();
    let mut copy = identity("n4");
    copy.raft = identity("n2").raft;
    let (taken, asked) = (identity("n2").name, identity("n4").name);
    refused(
        &map,
        &Change::Register(Box::new(copy)),
        &ChangeError::RaftIdTaken { taken, asked },
    );
    let mut idle = identity("n2");
    idle.roles = BTreeSet::from([Role::Authority]);
    let error = ChangeError::HoldsData(idle.name.clone());
    refused(&map, &Change::Register(Box::new(idle)), &error);
}

#[test]
fn lets_one_three_or_five_vote_by_address() {
    let names = ["n6", "n2", "n4", "n1", "n5", "n3"];
    let counts = [(0, 0), (1, 1), (2, 1), (3, 3), (4, 3), (5, 5), (6, 5)];
    for (members, voting) in counts {
        let members: Vec<_> = names[..members].iter().map(|name| identity(name)).collect();
        let voters = voters(&members);
        assert_eq!(voters.len(), voting);
        assert!(voters.is_sorted_by_key(|voter| &voter.peer));
    }
    let mut member = identity("n1");
    member.roles = BTreeSet::from([Role::Peer]);
    assert_eq!(voters(&[member]).len(), 0);
}

#[test]
fn says_who_gains_and_loses_which_partitions() {
    let map = after(&[
        put_place("p", small(), 0),
        put("b", BucketConfig::default()),
    ]);
    let all = diff(None, &map);
    assert_eq!((all.moves.len(), all.nodes_changed.len()), (8, 3));
    let two = PlacementConfig {
        replicas: 2,
        ..small()
    };
    let next = map.apply(&put_place("p", two, 0)).expect("a change");
    let next = next
        .apply(&Change::PurgeBucket { name: bucket("b") })
        .expect("a change");
    let changed = diff(Some(&map), &next);
    assert_eq!(changed.placements_gone, [PlacementId(2)]);
    assert_eq!(changed.buckets_gone, [BucketId(3)]);
    assert_eq!(changed.nodes_changed, []);
    assert_eq!(changed.lost(node("n1")).count(), 4);
    assert_eq!(
        changed.gained(node("n1")).map(|(id, _)| id).next(),
        Some(PlacementId(4))
    );
    assert_eq!(diff(Some(&next), &next), diff::Diff::default());
}

#[track_caller]
fn reads<T: serde::de::DeserializeOwned>(text: &str) -> T {
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn reads_configurations_with_what_is_left_out() {
    assert_eq!(reads::<BucketConfig>("{}"), BucketConfig::default());
    assert_eq!(reads::<BucketConfig>(r#"{"resolver":null}"#).resolver, None);
    let given: BucketConfig = reads(r#"{"resolver":{"plugin":"lww","config":null}}"#);
    assert_eq!(given, BucketConfig::default());
    assert_eq!(reads::<PlacementConfig>("{}"), PlacementConfig::default());
    assert_eq!(reads::<Settings>("{}"), Settings::default());
    let shown = serde_json::to_string(&BucketConfig::default()).expect("JSON");
    let form = r#"{"placement":"default","consistency":"eventual","resolver":{"plugin":"lww","#
        .to_owned()
        + r#""config":{}},"validators":[],"default_ttl":null,"max_value_bytes":4194304,"#
        + r#""quota_bytes":null}"#;
    assert_eq!(shown, form);
    for text in [
        r#"{"colour":1}"#,
        r#"{"max_value_bytes":"1"}"#,
        r#"{"max_value_bytes":1.5}"#,
    ] {
        assert!(
            serde_json::from_str::<BucketConfig>(text).is_err(),
            "{text}"
        );
    }
}

#[test]
fn reports_all_numbers_out_of_range_at_once() {
    let text = r#"{"request_timeout_ms":-1,"siblings_max":99999999999999999999999,
        "dot_log_hours":0}"#;
    let problems = reads::<Settings>(text)
        .check()
        .expect_err("three are out of range");
    let paths: Vec<_> = problems
        .iter()
        .map(|problem| problem.path.as_str())
        .collect();
    assert_eq!(
        paths,
        ["/request_timeout_ms", "/siblings_max", "/dot_log_hours"]
    );
    let text = r#"{"partitions":300,"replicas":300,"zones_min":9}"#;
    let problems = reads::<PlacementConfig>(text)
        .check()
        .expect_err("three are out of range");
    assert_eq!(problems.len(), 3);
}

#[test]
fn refuses_to_read_a_map_that_may_not_be() {
    let text = serde_json::to_string(&first()).expect("JSON");
    assert!(
        !format!("{:?}", first()).contains("9, 9, 9"),
        "the token key is shown"
    );
    let broken = [
        (r#""epoch":1"#, r#""epoch":0"#),
        (r#""plugin":"lww""#, r#""plugin":"balanced""#),
        (r#""copies":3"#, r#""copies":2"#),
        (r#""name":"n2""#, r#""name":"n9""#),
        (r#""siblings_max":128"#, r#""siblings_max":0"#),
    ];
    for (from, to) in broken {
        assert!(text.contains(from), "{from}");
        assert!(
            serde_json::from_str::<Map>(&text.replace(from, to)).is_err(),
            "{to}"
        );
    }
}

fn some_change() -> impl Strategy<Value = Change> {
    let name = || prop_oneof![Just("default"), Just("b"), Just("c")];
    let places = || prop_oneof![Just("default"), Just("p")];
    let config = (places(), any::<bool>(), 0..3_u64).prop_map(|(at, lww, bytes)| BucketConfig {
        placement: place(at),
        resolver: lww.then(|| PolicyUse {
            config: Json::Float(0.1),
            ..PolicyUse::plain("lww")
        }),
        max_value_bytes: bytes,
        ..BucketConfig::default()
    });
    let id = || (1..8_u64).prop_map(BucketId);
    let epochs = || (1..9_u64).prop_map(Epoch);
    let nodes = prop_oneof![Just("n1"), Just("n4"), Just("n5")];
    let role = prop_oneof![Just(Role::Peer), Just(Role::Authority)];
    let registered = (nodes, role, any::<u8>(), any::<bool>());
    prop_oneof![
        registered.prop_map(|(name, role, raft, same)| {
            let own = RaftId(raft.into());
            Change::Register(Box::new(Identity {
                raft: if same { identity("n2").raft } else { own },
                roles: BTreeSet::from([role]),
                ..identity(name)
            }))
        }),
        (name(), config).prop_map(|(name, config)| put(name, config)),
        name().prop_map(|name| Change::CloseBucket { name: bucket(name) }),
        (name(), id(), epochs()).prop_map(|(name, id, closed_at)| Change::ReopenBucket {
            name: bucket(name),
            id,
            closed_at
        }),
        (name(), id(), epochs()).prop_map(|(name, id, closed_at)| Change::DropBucket {
            name: bucket(name),
            id,
            closed_at
        }),
        name().prop_map(|name| Change::PurgeBucket { name: bucket(name) }),
        (places(), 1..4_u8, 0..4_usize).prop_map(|(name, replicas, shift)| {
            put_place(
                name,
                PlacementConfig {
                    replicas,
                    ..small()
                },
                shift,
            )
        }),
        (places(), 1..4_u8).prop_map(|(name, replicas)| Change::PutPlacement {
            name: place(name),
            config: PlacementConfig {
                replicas,
                ..small()
            },
            table: table(&FOUNDERS, &small(), 0),
        }),
        places().prop_map(|name| Change::DeletePlacement { name: place(name) }),
        (0..200_u64).prop_map(|siblings_max| {
            Change::PutSettings(Settings {
                siblings_max,
                ..Settings::default()
            })
        }),
    ]
}

proptest! {
    #[test]
    fn stays_sound_under_any_changes(
        changes in proptest::collection::vec(
            prop_oneof![3 => some_change(), 1 => releases::some_change()],
            0..24,
        )
    ) {
        let mut map = first();
        for change in changes {
            // Refused changes leave the map as it is; others make the very next epoch.
            if let Ok(next) = map.apply(&change) {
                next.assert_invariants();
                assert_eq!(next.epoch(), map.epoch().next());
                assert!(diff(Some(&map), &next).nodes_changed.len() <= 1);
                map = next;
            }
        }
        let text = serde_json::to_string(&map).expect("JSON");
        assert_eq!(reads::<Map>(&text), map);
    }
}
