//! These tests are about plugins: their versions come, take over and go, and never change.

use super::*;
use crate::limits::{COMPONENTS_BYTES_MAX, RELEASES_MAX};
use crate::map::plugin::{PluginName, PluginVersion, ValidatorUse};
use std::collections::BTreeMap;

fn name(text: &str) -> PluginName {
    text.parse().expect("a name")
}

fn version(text: &str) -> PluginVersion {
    text.parse().expect("a version")
}

fn release(byte: u8, size: u64) -> Release {
    Release {
        digest: PluginDigest([byte; 32]),
        abi: "soros:policy@1.0.0".to_owned(),
        size,
    }
}

fn push(plugin: &str, at: &str, kind: PluginKind, release: Release) -> Change {
    let (name, version) = (name(plugin), version(at));
    Change::PutRelease {
        name,
        version,
        kind,
        release,
    }
}

fn validator(at: &str, byte: u8) -> Change {
    push("own", at, PluginKind::Validation, release(byte, 9))
}

fn activate(plugin: &str, at: &str) -> Change {
    Change::Activate {
        name: name(plugin),
        version: version(at),
        tables: BTreeMap::new(),
    }
}

fn drop_release(plugin: &str, at: &str) -> Change {
    Change::DropRelease {
        name: name(plugin),
        version: version(at),
    }
}

/// A bucket that `own` validates.
fn guarded() -> Change {
    let validators = vec![ValidatorUse {
        plugin: name("own"),
        config: Json::empty(),
        on_failure: super::super::plugin::OnFailure::Closed,
    }];
    let config = BucketConfig {
        validators,
        ..BucketConfig::default()
    };
    put("guarded", config)
}

pub(super) fn some_change() -> impl Strategy<Value = Change> {
    let plugin = || prop_oneof![Just("own"), Just("lww"), Just("balanced")];
    let at = || prop_oneof![Just("0.1.0"), Just("1.0.0"), Just("2.0.0")];
    let kind = prop_oneof![Just(PluginKind::Validation), Just(PluginKind::Resolution)];
    prop_oneof![
        (plugin(), at(), kind, 0..3_u8).prop_map(|(plugin, at, kind, byte)| push(
            plugin,
            at,
            kind,
            release(byte, 9)
        )),
        (plugin(), at()).prop_map(|(plugin, at)| activate(plugin, at)),
        (plugin(), at()).prop_map(|(plugin, at)| drop_release(plugin, at)),
        Just(guarded()),
    ]
}

#[test]
fn a_version_is_used_only_once_it_is_in_force() {
    let map = after(&[validator("1.0.0", 1)]);
    let plugin = map.plugin(&name("own")).expect("the plugin");
    assert_eq!((&plugin.active, &plugin.previous), (&None, &None));
    let unknown = ChangeError::UnknownPlugin {
        name: name("own"),
        kind: PluginKind::Validation,
    };
    refused(&map, &guarded(), &unknown);
    let map = map.apply(&activate("own", "1.0.0")).expect("a change");
    map.apply(&guarded()).expect("it is in force");
    let missing = ChangeError::PluginNotFound {
        name: name("own"),
        version: Some(version("2.0.0")),
    };
    refused(&map, &activate("own", "2.0.0"), &missing);
    let missing = ChangeError::PluginNotFound {
        name: name("other"),
        version: None,
    };
    refused(&map, &activate("other", "2.0.0"), &missing);
}

#[test]
fn a_version_is_switched_there_and_back() {
    let changes = [
        validator("1.0.0", 1),
        validator("2.0.0", 2),
        activate("own", "1.0.0"),
        activate("own", "2.0.0"),
    ];
    let map = after(&changes);
    let states = |map: &Map| {
        let plugin = map.plugin(&name("own")).expect("the plugin");
        (plugin.active.clone(), plugin.previous.clone())
    };
    let (one, two) = (Some(version("1.0.0")), Some(version("2.0.0")));
    assert_eq!(states(&map), (two.clone(), one.clone()));
    let again = map.apply(&activate("own", "2.0.0")).expect("a change");
    assert_eq!(states(&again), (two.clone(), one.clone()));
    let back = map.apply(&activate("own", "1.0.0")).expect("a change");
    assert_eq!(states(&back), (one, two));
}

#[test]
fn a_version_never_changes() {
    let map = after(&[validator("1.0.0", 1)]);
    let same = map.apply(&validator("1.0.0", 1)).expect("the same again");
    assert_eq!(same.plugins(), map.plugins());
    let exists = ChangeError::VersionExists {
        name: name("own"),
        version: version("1.0.0"),
    };
    refused(&map, &validator("1.0.0", 2), &exists);
    let resolver = push("own", "2.0.0", PluginKind::Resolution, release(2, 9));
    refused(&map, &resolver, &ChangeError::OtherKind(name("own")));
}

#[test]
fn a_version_goes_unless_it_is_in_use() {
    let map = after(&[
        validator("1.0.0", 1),
        validator("2.0.0", 2),
        activate("own", "1.0.0"),
        activate("own", "2.0.0"),
        guarded(),
    ]);
    let used = ChangeError::PluginInUse {
        name: name("own"),
        version: version("2.0.0"),
    };
    refused(&map, &drop_release("own", "2.0.0"), &used);
    let map = map.apply(&drop_release("own", "1.0.0")).expect("a change");
    assert_eq!(map.plugin(&name("own")).expect("the plugin").previous, None);
    let unused = map.apply(&put("guarded", BucketConfig::default()));
    let map = unused.expect("a change");
    let map = map.apply(&drop_release("own", "2.0.0")).expect("a change");
    assert_eq!(map.plugin(&name("own")), None);
    let shipped = ChangeError::PluginInUse {
        name: name("balanced"),
        version: version("0.1.0"),
    };
    refused(&map, &drop_release("balanced", "0.1.0"), &shipped);
}

#[test]
fn there_is_room_for_so_many_versions_and_bytes() {
    let mut map = first();
    for number in 0..RELEASES_MAX {
        let byte = u8::try_from(number).expect("few");
        let change = validator(&format!("{number}.0.0"), byte);
        map = map.apply(&change).expect("there is room");
    }
    refused(&map, &validator("99.0.0", 99), &ChangeError::TooManyPlugins);
    let large = |byte| {
        let release = release(byte, COMPONENTS_BYTES_MAX / 2);
        push(
            "large",
            &format!("{byte}.0.0"),
            PluginKind::Validation,
            release,
        )
    };
    let map = after(&[large(1)]);
    refused(&map, &large(2), &ChangeError::TooManyPlugins);
}

#[test]
fn a_placement_policy_takes_over_with_its_tables() {
    let placer = push("own", "1.0.0", PluginKind::Placement, release(1, 9));
    let config = PlacementConfig {
        policy: PolicyUse::plain("own"),
        ..small()
    };
    let map = after(&[
        placer,
        activate("own", "1.0.0"),
        put_place("p", config.clone(), 0),
    ]);
    let two = push("own", "2.0.0", PluginKind::Placement, release(2, 9));
    let map = map.apply(&two).expect("a change");
    let moved = |shift| Change::Activate {
        name: name("own"),
        version: version("2.0.0"),
        tables: BTreeMap::from([(place("p"), table(&FOUNDERS, &config, shift))]),
    };
    let next = map.apply(&moved(1)).expect("nothing is stored there");
    let placement = next.placement(&place("p")).expect("the placement");
    assert_eq!(placement.table, table(&FOUNDERS, &config, 1));
    let used = BucketConfig {
        placement: place("p"),
        ..BucketConfig::default()
    };
    let map = map.apply(&put("b", used)).expect("a change");
    refused(&map, &moved(1), &ChangeError::MovesNeeded);
    map.apply(&moved(0)).expect("no data moves");
}

#[test]
fn a_map_of_before_plugins_were_switched_is_read() {
    let text = serde_json::to_string(&first()).expect("JSON");
    let old = text.replace(r#","previous":null"#, "");
    assert_ne!(old, text);
    let map: Map = serde_json::from_str(&old).expect("a map");
    assert_eq!(map, first());
    assert_eq!(map.plugin(&name("immutable")), None, "it was not there yet");
}
