//! These tests are about plugins: their versions come, take over and go, and never change.

use super::*;
use crate::limits::{COMPONENTS_BYTES_MAX, RELEASES_MAX};
use crate::map::plugin::{
    Blame, Plugin, PluginName, PluginVersion, Quarantine, Sample, Shadow, ValidatorUse, Withdrawn,
};
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
        on_probation: true,
    }
}

fn drop_release(plugin: &str, at: &str) -> Change {
    Change::DropRelease {
        name: name(plugin),
        version: version(at),
    }
}

fn blame() -> Blame {
    Blame {
        node: "n1".parse().expect("a name"),
        cause: "trapped".to_owned(),
        detail: "unreachable".to_owned(),
    }
}

fn withdraw(plugin: &str, since: u64) -> Change {
    Change::Withdraw {
        name: name(plugin),
        since: Epoch(since),
        blame: blame(),
    }
}

fn quarantine(plugin: &str, since: u64) -> Change {
    Change::Quarantine {
        name: name(plugin),
        since: Epoch(since),
        blame: blame(),
    }
}

fn end_probation(plugin: &str, since: u64) -> Change {
    Change::EndProbation {
        name: name(plugin),
        since: Epoch(since),
    }
}

fn shadow(plugin: &str, at: Option<&str>) -> Change {
    let shadow = at.map(|at| Shadow {
        version: version(at),
        sample: Sample::ALL,
    });
    let name = name(plugin);
    Change::PutShadow { name, shadow }
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
        (plugin(), 0..12_u64).prop_map(|(plugin, since)| withdraw(plugin, since)),
        (plugin(), 0..12_u64).prop_map(|(plugin, since)| quarantine(plugin, since)),
        (plugin(), 0..12_u64).prop_map(|(plugin, since)| end_probation(plugin, since)),
        (plugin(), at()).prop_map(|(plugin, at)| shadow(plugin, Some(at))),
        plugin().prop_map(|plugin| shadow(plugin, None)),
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

fn own(map: &Map) -> &Plugin {
    map.plugin(&name("own")).expect("the plugin")
}

#[test]
fn a_version_that_fails_on_its_probation_gives_way_and_nothing_newer_does() {
    let map = after(&[validator("1.0.0", 1), validator("2.0.0", 2)]);
    let map = map.apply(&activate("own", "1.0.0")).expect("a change");
    assert!(!own(&map).on_probation, "there is none to go back to");
    let map = map.apply(&activate("own", "2.0.0")).expect("a change");
    let since = own(&map).since;
    assert_eq!((since, own(&map).on_probation), (map.epoch(), true));
    let moved = ChangeError::PluginMoved(name("own"));
    refused(&map, &withdraw("own", since.0 - 1), &moved);
    let back = map.apply(&withdraw("own", since.0)).expect("a change");
    let plugin = own(&back);
    assert_eq!(plugin.active, Some(version("1.0.0")));
    assert_eq!((plugin.since, plugin.on_probation), (back.epoch(), false));
    let withdrawn = Withdrawn {
        version: version("2.0.0"),
        at: back.epoch(),
        blame: blame(),
    };
    assert_eq!(plugin.withdrawn, Some(withdrawn));
    refused(&back, &withdraw("own", since.0), &moved);
    refused(&back, &withdraw("own", back.epoch().0), &moved);
    let passed = map.apply(&end_probation("own", since.0)).expect("a change");
    assert!(!own(&passed).on_probation);
    refused(&passed, &withdraw("own", since.0), &moved);
    let gone = map.apply(&drop_release("own", "1.0.0")).expect("a change");
    refused(&gone, &withdraw("own", since.0), &moved);
}

#[test]
fn quarantine_ends_with_the_next_activation() {
    let map = after(&[validator("1.0.0", 1), activate("own", "1.0.0"), guarded()]);
    let since = own(&map).since.0;
    let shut = map.apply(&quarantine("own", since)).expect("a change");
    let quarantined = Quarantine {
        since: shut.epoch(),
        blame: blame(),
    };
    assert_eq!(own(&shut).quarantine, Some(quarantined));
    let moved = ChangeError::PluginMoved(name("own"));
    refused(&shut, &quarantine("own", since), &moved);
    let lifted = shut.apply(&activate("own", "1.0.0")).expect("a change");
    assert_eq!(
        (&own(&lifted).quarantine, own(&lifted).on_probation),
        (&None, false)
    );
    refused(&lifted, &quarantine("own", since), &moved);
}

#[test]
fn a_shadow_is_another_version_and_stays_while_it_runs() {
    let map = after(&[
        validator("1.0.0", 1),
        validator("2.0.0", 2),
        activate("own", "1.0.0"),
    ]);
    let shadowed = map.apply(&shadow("own", Some("2.0.0"))).expect("a change");
    let runs = ChangeError::ShadowRuns {
        name: name("own"),
        version: version("2.0.0"),
    };
    refused(&shadowed, &drop_release("own", "2.0.0"), &runs);
    let error = map
        .apply(&shadow("own", Some("1.0.0")))
        .expect_err("in force");
    assert!(matches!(error, ChangeError::BadConfig(_)), "{error}");
    let active = shadowed.apply(&activate("own", "2.0.0")).expect("a change");
    assert_eq!(own(&active).shadow, None);
    let stopped = shadowed.apply(&shadow("own", None)).expect("a change");
    assert_eq!(own(&stopped).shadow, None);
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
        on_probation: true,
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
    let fields = r#","previous":null,"since":0,"on_probation":false,"quarantine":null,"#;
    let fields = fields.to_owned() + r#""withdrawn":null,"shadow":null"#;
    let old = text.replace(&fields, "");
    assert_ne!(old, text);
    let map: Map = serde_json::from_str(&old).expect("a map");
    assert_eq!(map, first());
    assert_eq!(map.plugin(&name("immutable")), None, "it was not there yet");
}
