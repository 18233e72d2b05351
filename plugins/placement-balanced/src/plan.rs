//! This is a plan from question to answer: who may hold partitions, who had them, and the rows as
//! the host reads them.

use crate::assignment::{Assignment, Rules};
use crate::shares::{Holder, Shape};
use soros_sdk::placement::{Member, Previous, Snapshot, State};

/// The table for `now`: balanced, and with the fewest moves of all that are.
pub(crate) fn plan(
    now: &Snapshot,
    before: Option<&Previous>,
    seed: u64,
) -> Result<Vec<u16>, String> {
    let holders = holders(&now.members);
    let shape = Shape::of(now, &holders);
    if shape.copies == 0 || holders.len() < shape.copies {
        return Err(format!(
            "{} copies on {} nodes",
            shape.copies,
            holders.len()
        ));
    }
    let zones = holders.iter().map(|holder| holder.zone).collect();
    let rules = Rules {
        shape,
        zones,
        shares: shape.shares(&holders),
    };
    let old = before.map(|before| old_rows(before, now, &holders));
    let rows = Assignment::new(rules, old, seed).complete()?;
    Ok(cells(&rows, &holders, shape.copies))
}

/// The members that partitions may be placed on, their zones numbered.
fn holders(members: &[Member]) -> Vec<Holder> {
    let mut names: Vec<&str> = Vec::new();
    let mut holders = Vec::new();
    for (position, member) in (0..).zip(members) {
        if member.state == State::Draining {
            continue;
        }
        let name = member.node.zone.as_str();
        let known = names.iter().position(|known| *known == name);
        let zone = known.unwrap_or(names.len());
        if known.is_none() {
            names.push(name);
        }
        holders.push(Holder {
            position,
            id: member.node.id,
            zone,
            capacity: u128::from(member.node.capacity),
        });
    }
    holders
}

/// For each partition the holders that had it, by their index.
fn old_rows(before: &Previous, now: &Snapshot, holders: &[Holder]) -> Vec<Vec<usize>> {
    let index = |id: &u64| holders.iter().position(|holder| holder.id == *id);
    let members: Vec<Option<usize>> = before.members.iter().map(index).collect();
    let holder = |cell: &u16| members.get(usize::from(*cell)).copied().flatten();
    let rows = before.cells.chunks(usize::from(before.copies).max(1));
    let mut rows: Vec<Vec<usize>> = rows
        .map(|row| row.iter().filter_map(holder).collect())
        .collect();
    rows.resize(now.partitions as usize, Vec::new());
    rows
}

/// The rows as the host reads them. Rows begin with each of their nodes in turn, so that those who
/// ask the first node of a row ask all nodes alike.
fn cells(rows: &[Vec<usize>], holders: &[Holder], copies: usize) -> Vec<u16> {
    let mut cells = Vec::with_capacity(rows.len() * copies);
    for (partition, row) in rows.iter().enumerate() {
        let mut row: Vec<u16> = row.iter().map(|holder| holders[*holder].position).collect();
        row.sort_unstable();
        row.rotate_left(partition % copies);
        cells.extend(row);
    }
    cells
}
