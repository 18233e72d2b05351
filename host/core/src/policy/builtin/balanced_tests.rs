//! This is the exact placement against the published optima and against all tables there are.

use super::*;
use crate::epoch::Epoch;
use crate::policy::figures::{Figures, moves};
use crate::policy::topology::{Member, Node, State, Topology};
use proptest::prelude::{Strategy, any, prop, prop_assert_eq, proptest};

fn now(capacities: &[u64], zones: &str, partitions: u32, zones_min: Option<u8>) -> Snapshot {
    let member = |(id, (capacity, zone)): (u64, (&u64, &str))| {
        let (zone, rack, tags) = (zone.to_owned(), String::new(), Vec::new());
        let node = Node {
            id: NodeId(id),
            zone,
            rack,
            capacity: *capacity,
            tags,
        };
        Member {
            node,
            state: State::Active,
        }
    };
    let members = (0..)
        .zip(capacities.iter().zip(zones.split(' ')))
        .map(member)
        .collect();
    let partitions = partitions.try_into().expect("a power of two");
    let (epoch, bytes, replicas) = (Epoch(1), Vec::new(), 3);
    let topology = Topology {
        epoch,
        members,
        partitions,
        replicas,
        zones_min,
        bytes,
    };
    topology.try_into().expect("open members")
}

#[track_caller]
fn check(capacities: &[u64], zones: &str, zones_min: u8, largest: u64) {
    let now = now(capacities, zones, 256, Some(zones_min));
    let table = Balanced.plan(&now, None, 0).expect("a table");
    assert_eq!(now.check(&table), Ok(()));
    assert_eq!(Figures::of(&table, &now, None).partition_bytes_max, largest);
    let again = Balanced.plan(&now, Some(&table), 0).expect("a table");
    assert_eq!(moves(&again, Some(&table)), 0);
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
fn takes_capacities_too_small_for_a_byte_a_partition_as_weights() {
    let now = now(&[1, 1, 2, 2], "A A A A", 16, None);
    let table = Balanced.plan(&now, None, 0).expect("a table");
    let loads: Vec<u32> = Figures::of(&table, &now, None)
        .loads
        .into_values()
        .collect();
    assert_eq!(loads, [8, 8, 16, 16]);
    let none = Balanced.plan(&self::now(&[0, 0, 0], "A A A", 16, None), None, 0);
    assert_eq!(none.expect("a table").members().len(), 3);
}

/// All sets of three of the members that are in enough zones.
fn rows(now: &Snapshot) -> Vec<Vec<NodeId>> {
    let ids: Vec<NodeId> = now.members().iter().map(|member| member.node.id).collect();
    let subsets = (0_u32..1 << ids.len()).filter(|set| set.count_ones() == 3);
    let row = |set: u32| {
        (0..ids.len())
            .filter(|at| set >> at & 1 == 1)
            .map(|at| ids[at])
            .collect()
    };
    let wide = |row: &Vec<NodeId>| {
        let zones = row
            .iter()
            .filter_map(|id| now.member(*id))
            .map(|member| &member.node.zone);
        usize::from(now.zones_min().unwrap_or(1)) <= zones.collect::<BTreeSet<_>>().len()
    };
    subsets.map(row).filter(wide).collect()
}

/// The largest partition of any table of two partitions, and the fewest moves to reach it.
fn best(now: &Snapshot, before: &Table) -> (u64, usize) {
    let rows = rows(now);
    let tables = rows
        .iter()
        .flat_map(|first| rows.iter().map(|second| [&first[..], second]));
    let score = |rows: [&[NodeId]; 2]| {
        let table = Table::new(now.partitions(), 3, rows.concat()).expect("a table");
        let figures = Figures::of(&table, now, Some(before));
        (
            figures.partition_bytes_max,
            std::cmp::Reverse(figures.moves),
        )
    };
    let (largest, fewest) = tables.map(score).max().expect("a table");
    (largest, fewest.0)
}

fn members() -> impl Strategy<Value = (Vec<u64>, Vec<u8>)> {
    let capacities = prop::collection::vec(8_u64..40, 3..7);
    capacities.prop_flat_map(|capacities| {
        let zones = prop::collection::vec(0..3_u8, capacities.len());
        (proptest::strategy::Just(capacities), zones)
    })
}

proptest! {
    #[test]
    fn is_as_good_as_the_best_of_all_tables(
        (capacities, zones) in members(),
        zones_min in 1..4_u8,
        old in any::<[prop::sample::Index; 2]>(),
    ) {
        let names: Vec<String> = zones.iter().map(u8::to_string).collect();
        let now = now(&capacities, &names.join(" "), 2, Some(zones_min));
        let rows = rows(&now);
        let before = old.map(|index| &index.get(&rows)[..]).concat();
        let before = Table::new(now.partitions(), 3, before).expect("a table");
        let table = Balanced.plan(&now, Some(&before), 0).expect("a table");
        prop_assert_eq!(now.check(&table), Ok(()));
        let figures = Figures::of(&table, &now, Some(&before));
        prop_assert_eq!((figures.partition_bytes_max, figures.moves), best(&now, &before));
    }
}
