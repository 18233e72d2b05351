//! This is the exact placement on the published optima, on clusters that change, and on large ones.

use super::Balanced;
use soros_sdk::placement::{Member, Node, Placement, Previous, Snapshot, State};
use std::collections::BTreeSet;
use std::time::Instant;

fn member(id: u64, capacity: u64, zone: &str) -> Member {
    let (zone, rack, tags) = (zone.to_owned(), String::new(), Vec::new());
    Member {
        node: Node {
            id,
            zone,
            rack,
            capacity,
            tags,
        },
        state: State::Active,
    }
}

fn snapshot(members: Vec<Member>, partitions: u32, zones_min: Option<u16>) -> Snapshot {
    let copies = u16::try_from(members.len().min(3)).expect("a small number");
    Snapshot {
        epoch: 1,
        members,
        partitions,
        copies,
        zones_min,
        bytes: Vec::new(),
    }
}

/// `count` nodes of one capacity, in `zones` zones in turn.
fn alike(count: u64, zones: u64) -> Vec<Member> {
    (0..count)
        .map(|id| member(id, 1_000_000, &format!("z{}", id % zones)))
        .collect()
}

fn previous(now: &Snapshot, cells: &[u16]) -> Previous {
    let members = now.members.iter().map(|member| member.node.id).collect();
    Previous {
        members,
        copies: now.copies,
        cells: cells.to_vec(),
    }
}

/// The rows of a table, as ids, after a check against every rule.
#[track_caller]
fn rows(now: &Snapshot, cells: &[u16]) -> Vec<BTreeSet<u64>> {
    let copies = usize::from(now.copies);
    assert_eq!(cells.len(), now.partitions as usize * copies);
    let row = |row: &[u16]| {
        let members = row.iter().map(|at| &now.members[usize::from(*at)]);
        assert!(
            members
                .clone()
                .all(|member| member.state != State::Draining)
        );
        let zones: BTreeSet<&str> = members
            .clone()
            .map(|member| member.node.zone.as_str())
            .collect();
        assert!(usize::from(now.zones_min.unwrap_or(1)) <= zones.len());
        let ids: BTreeSet<u64> = members.map(|member| member.node.id).collect();
        assert_eq!(ids.len(), copies);
        ids
    };
    cells.chunks_exact(copies).map(row).collect()
}

fn plan(now: &Snapshot, before: Option<&Previous>) -> Vec<u16> {
    let cells = Balanced.plan(now, before, 42).expect("a table");
    assert_eq!(
        Balanced.plan(now, before, 42).as_ref(),
        Ok(&cells),
        "the same question again"
    );
    cells
}

/// How many bytes each partition may have before the first node is full.
fn largest(now: &Snapshot, rows: &[BTreeSet<u64>]) -> u64 {
    let room = |member: &Member| {
        let load = rows
            .iter()
            .filter(|row| row.contains(&member.node.id))
            .count() as u64;
        member.node.capacity.checked_div(load).unwrap_or(u64::MAX)
    };
    now.members.iter().map(room).min().expect("a member")
}

fn moves(before: &[BTreeSet<u64>], after: &[BTreeSet<u64>]) -> usize {
    before
        .iter()
        .zip(after)
        .map(|(before, after)| after.difference(before).count())
        .sum()
}

#[track_caller]
fn check(capacities: &[u64], zones: &str, zones_min: u16, expected: u64) {
    let zones = zones.split(' ');
    let members = (0..).zip(capacities.iter().zip(zones));
    let members = members
        .map(|(id, (capacity, zone))| member(id, *capacity, zone))
        .collect();
    let now = snapshot(members, 256, Some(zones_min));
    let cells = plan(&now, None);
    let first = rows(&now, &cells);
    assert_eq!(largest(&now, &first), expected);
    let again = rows(&now, &plan(&now, Some(&previous(&now, &cells))));
    assert_eq!(moves(&first, &again), 0);
}

const NINE: &str = "A B C C C B G H I";

#[test]
fn reaches_the_published_optima() {
    check(&[4000, 1000, 2000], "A B C", 3, 3);
    check(
        &[4000, 1000, 1000, 3000, 1000, 1000, 2000, 10_000, 2000],
        NINE,
        2,
        29,
    );
    check(
        &[4000, 1000, 2000, 7000, 1000, 1000, 2000, 10_000, 2000],
        NINE,
        3,
        38,
    );
    let millions = [4, 4, 2, 7, 1, 9, 2, 0, 2].map(|millions| millions * 1_000_000);
    let capacities = millions.map(|bytes| if bytes == 0 { 10_000 } else { bytes });
    check(&capacities, NINE, 1, 40_000);
}

#[test]
fn has_one_copy_a_node_while_nodes_are_few() {
    for count in [1, 2] {
        let now = snapshot(alike(count, 1), 16, None);
        let rows = rows(&now, &plan(&now, None));
        assert!(rows.iter().all(|row| row.len() as u64 == count));
    }
}

#[test]
fn moves_only_what_a_new_node_takes() {
    let now = snapshot(alike(12, 3), 256, None);
    let cells = plan(&now, None);
    let grown = snapshot(alike(13, 3), 256, None);
    let (before, after) = (
        rows(&now, &cells),
        plan(&grown, Some(&previous(&now, &cells))),
    );
    let after = rows(&grown, &after);
    let taken = after.iter().filter(|row| row.contains(&12)).count();
    assert_eq!(moves(&before, &after), taken);
    assert!(largest(&now, &before) <= largest(&grown, &after));
}

#[test]
fn moves_only_what_a_draining_node_had() {
    let mut now = snapshot(alike(12, 3), 256, None);
    let cells = plan(&now, None);
    let before = rows(&now, &cells);
    let had = before.iter().filter(|row| row.contains(&5)).count();
    let previous = previous(&now, &cells);
    now.members[5].state = State::Draining;
    let after = rows(&now, &plan(&now, Some(&previous)));
    assert_eq!(moves(&before, &after), had);
}

#[test]
fn spreads_what_a_node_holds_over_the_others() {
    let now = snapshot(alike(10, 1), 256, None);
    let rows = rows(&now, &plan(&now, None));
    let with_first = rows.iter().filter(|row| row.contains(&0)).flatten();
    let others: BTreeSet<u64> = with_first.copied().collect();
    assert_eq!(others.len(), 10);
}

#[test]
fn begins_rows_with_each_node_in_turn() {
    let now = snapshot(alike(3, 3), 256, None);
    let cells = plan(&now, None);
    for member in 0..3 {
        let firsts = cells.chunks_exact(3).filter(|row| row[0] == member).count();
        assert!((85..=86).contains(&firsts), "{member}: {firsts}");
    }
}

#[test]
fn plans_large_clusters_in_bearable_time() {
    for (partitions, nodes, zones) in [(256, 12, 3), (1024, 50, 7), (1024, 50, 1)] {
        let now = snapshot(alike(nodes, zones), partitions, None);
        let begun = Instant::now();
        let cells = plan(&now, None);
        println!("{partitions} × {nodes}: {:?}", begun.elapsed());
        let grown = snapshot(alike(nodes + 3, zones), partitions, None);
        let begun = Instant::now();
        plan(&grown, Some(&previous(&now, &cells)));
        println!("three nodes more: {:?}", begun.elapsed());
        rows(&now, &cells);
    }
}
