//! These tests are about programs of different ages in one cluster: the map takes a newer format
//! only when all of them know it, and a program that is too old is told so.

use super::*;
use crate::map::format::{Format, UnknownFormat};

fn knowing(name: &str, format: u8) -> Identity {
    Identity {
        format: Format(format),
        ..identity(name)
    }
}

fn register(map: &Map, name: &str, format: u8) -> Result<Map, ChangeError> {
    map.apply(&Change::Register(Box::new(knowing(name, format))))
}

/// A map of three nodes whose programs know the first format.
fn first() -> Map {
    let mut founding = founding();
    for member in &mut founding.members {
        member.format = Format::FIRST;
    }
    Map::found(&founding).expect("a first map")
}

#[test]
fn the_map_takes_a_format_when_the_last_node_knows_it_and_keeps_it() {
    let map = first();
    let needs_two = |map: &Map| map.ensure_format(Format(2));
    let map = register(&map, "n1", 2).expect("a newer program");
    let map = register(&map, "n2", 2).expect("a newer program");
    assert_eq!(map.format(), Format::FIRST, "n3 does not know it");
    let behind = ChangeError::OldPrograms {
        needed: Format(2),
        node: Some("n3".parse().expect("a name")),
    };
    assert_eq!(needs_two(&map), Err(behind));
    let map = register(&map, "n3", 2).expect("a newer program");
    assert_eq!((map.format(), needs_two(&map)), (Format(2), Ok(())));
    for (name, knows) in [("n3", 1), ("n4", 1)] {
        let refused = ChangeError::OldProgram {
            asked: name.parse().expect("a name"),
            knows: Format(knows),
            format: Format(2),
        };
        assert_eq!(register(&map, name, knows), Err(refused));
    }
    let map = register(&map, "n4", 2).expect("a program of the same age");
    assert_eq!(map.format(), Format(2));
}

#[test]
fn what_a_newer_program_wrote_is_not_read_without_what_is_new_in_it() {
    let map = after(&[]);
    assert_eq!(map.format(), Format::KNOWN, "a new cluster has the newest");
    let newer = Format(Format::KNOWN.0 + 1);
    let json = serde_json::to_string(&map).expect("JSON");
    let (now, then) = (Format::KNOWN, newer);
    let newer_json = json.replacen(
        &format!("\"format\":{now}"),
        &format!("\"format\":{then}"),
        1,
    );
    let newer_json = newer_json.replacen("\"cluster\"", "\"new\":[1],\"cluster\"", 1);
    let error = serde_json::from_str::<Map>(&newer_json).expect_err("a newer map");
    let reason = UnknownFormat(newer).to_string();
    assert!(error.to_string().contains(&reason), "{error}");
    let untold = json.replacen(&format!("\"format\":{now},"), "", 1);
    assert!(serde_json::from_str::<Map>(&untold).is_err());
    let proposal = Proposal {
        format: newer,
        ..Proposal::on(Some(&map), Change::PutSettings(Settings::default()), None)
    };
    let json = serde_json::to_string(&proposal).expect("JSON");
    let error = serde_json::from_str::<Proposal>(&json).expect_err("a newer proposal");
    assert!(error.to_string().contains(&reason), "{error}");
}
