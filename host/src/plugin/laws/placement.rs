//! This is the laws of placement: a table that stands, is balanced, stays when nothing changes,
//! moves little when something does, and survives the loss of any one node or zone.
//!
//! The bounds are those of the exact policy in plain Rust, with room for policies that are only
//! good. A config may leave nodes out; with one, a policy is judged on the nodes that it uses.

use super::random::Random;
use super::{Breach, Kind, Law, Subject, determinism, is_excused};
use crate::plugin::Placer;
use crate::plugin::capture::{MemberForm, PlacementCall, StateForm};
use crate::plugin::instance::Usage;
use soros_core::id::NodeId;
use soros_core::map::table::Table;
use soros_core::policy::builtin::Balanced;
use soros_core::policy::figures::{Figures, moves};
use soros_core::policy::topology::{Member, Snapshot};
use soros_core::policy::{Placement, PolicyError};
use std::collections::{BTreeMap, BTreeSet};

/// How many times as much as it need a node may hold, and as may move.
const ROOM_TIMES: u64 = 2;
/// How many partitions more than that: small numbers are uneven.
const ROOM_MORE: u64 = 3;

type Asked<'a> = Subject<'a, Placer>;

/// The table of a call's members, or of those after the change; none where there can be none or
/// the policy says that it has none.
fn table(
    subject: &mut Asked<'_>,
    call: &PlacementCall,
    members: &[MemberForm],
    before: Option<&Table>,
) -> Option<(Snapshot, Table)> {
    let now = call.snapshot(members).ok()?;
    let table = subject.fresh(|policy| policy.plan(&now, before, call.seed));
    table.ok().map(|table| (now, table))
}

/// The members that a policy is judged on: without a config all, with one those that it uses.
fn judged_on(
    subject: &Asked<'_>,
    call: &PlacementCall,
    members: &[MemberForm],
    table: &Table,
) -> Option<Snapshot> {
    let used = table.members();
    let is_used = |member: &&MemberForm| subject.is_plain || used.contains(&NodeId(member.id));
    let members: Vec<MemberForm> = members.iter().filter(is_used).cloned().collect();
    call.snapshot(&members).ok()
}

fn check_validity(subject: &mut Asked<'_>, call: &PlacementCall) -> Result<(), Breach> {
    let mut before = call.before.clone();
    for members in [&call.members, &call.later] {
        let Ok(now) = call.snapshot(members) else {
            continue;
        };
        let table = subject.fresh(|policy| policy.plan(&now, before.as_ref(), call.seed));
        match table {
            Err(error) if !is_excused(&error) => return Err(Breach(error.to_string())),
            Err(_) => {}
            Ok(table) => before = Some(table),
        }
    }
    Ok(())
}

fn check_balance(subject: &mut Asked<'_>, call: &PlacementCall) -> Result<(), Breach> {
    let Some((now, table)) = table(subject, call, &call.members, None) else {
        return Ok(());
    };
    let Some(now) = judged_on(subject, call, &call.members, &table).filter(|judged| {
        // Fewer nodes than copies are another question.
        judged.copies() == now.copies()
    }) else {
        return Ok(());
    };
    let Ok(best) = Balanced.plan(&now, None, call.seed) else {
        return Ok(());
    };
    let size = Figures::of(&best, &now, None).partition_bytes_max;
    for (node, load) in Figures::of(&table, &now, None).loads {
        let capacity = now.member(node).map_or(0, |member| member.node.capacity);
        // Where somebody without capacity has to hold something, nothing is too much.
        let Some(share) = capacity.checked_div(size) else {
            return Ok(());
        };
        let most = share.saturating_mul(ROOM_TIMES).saturating_add(ROOM_MORE);
        if most < u64::from(load) {
            return Err(Breach(format!(
                "node {node} holds {load} partitions, and its share is {share}: up to {most} pass"
            )));
        }
    }
    Ok(())
}

fn check_stability(subject: &mut Asked<'_>, call: &PlacementCall) -> Result<(), Breach> {
    let Some((_, first)) = table(subject, call, &call.members, None) else {
        return Ok(());
    };
    let Some((_, second)) = table(subject, call, &call.members, Some(&first)) else {
        return Err(Breach("it has no table from its own table on".to_owned()));
    };
    match moves(&second, Some(&first)) {
        0 => Ok(()),
        count => Err(Breach(format!(
            "nothing changed, and {count} copies would move from its own table on"
        ))),
    }
}

fn check_movement(subject: &mut Asked<'_>, call: &PlacementCall) -> Result<(), Breach> {
    let Some((_, before)) = table(subject, call, &call.members, None) else {
        return Ok(());
    };
    let Some((_, after)) = table(subject, call, &call.later, Some(&before)) else {
        return Ok(());
    };
    let Some(later) = judged_on(subject, call, &call.later, &after) else {
        return Ok(());
    };
    let Ok(best) = Balanced.plan(&later, Some(&before), call.seed) else {
        return Ok(());
    };
    if Figures::of(&best, &later, None).partition_bytes_max == 0 {
        // Somebody without capacity has to hold something, and it is anybody's choice who.
        return Ok(());
    }
    let (count, fewest) = (moves(&after, Some(&before)), moves(&best, Some(&before)));
    let cells = call.partitions as usize * usize::from(after.copies());
    // A newcomer's even share may move, although zones that are full elsewhere ask for less.
    let is_new = |member: &&Member| !before.members().contains(&member.node.id);
    let newcomers = later.open_members().filter(is_new).count();
    let fewest = fewest.max(cells * newcomers / later.open_members().count().max(1));
    let room = ROOM_TIMES * fewest as u64 + ROOM_MORE + cells as u64 / 8;
    if room < count as u64 {
        return Err(Breach(format!(
            "{count} copies would move, and {fewest} have to: up to {room} pass"
        )));
    }
    Ok(())
}

fn check_survival(subject: &mut Asked<'_>, call: &PlacementCall) -> Result<(), Breach> {
    if call.zones_min == Some(1) {
        // The operator has said that one zone is enough.
        return Ok(());
    }
    let Some((now, table)) = table(subject, call, &call.members, None) else {
        return Ok(());
    };
    let Some(judged) = judged_on(subject, call, &call.members, &table) else {
        return Ok(());
    };
    let has_room = |member: &&Member| 0 < member.node.capacity;
    let zones: BTreeSet<&str> = judged
        .open_members()
        .filter(has_room)
        .map(|member| member.node.zone.as_str())
        .collect();
    let zone_of = |id: &NodeId| now.member(*id).map(|member| member.node.zone.as_str());
    for (partition, row) in table.rows() {
        let held: BTreeSet<&str> = row.iter().filter_map(zone_of).collect();
        if 1 < zones.len() && 1 < row.len() && held.len() < 2 {
            return Err(Breach(format!(
                "partition {partition} is lost with zone `{}`",
                held.into_iter().next().unwrap_or_default()
            )));
        }
    }
    Ok(())
}

fn member(random: &mut Random, id: u64, is_even: bool) -> MemberForm {
    let odd = [0, 1, 3, 1000, 1 << 29, 1 << 30, 1 << 31, 1 << 50];
    let tags = ["ssd", "hdd"].map(str::to_owned);
    MemberForm {
        id,
        zone: random.pick(&["a", "b", "c"]).to_owned(),
        rack: String::new(),
        capacity: if is_even { 1 << 30 } else { random.pick(&odd) },
        tags: tags.into_iter().filter(|_| random.once_in(2)).collect(),
        state: match random.below(8) {
            0 => StateForm::Draining,
            1 => StateForm::Joining,
            _ => StateForm::Active,
        },
    }
}

/// The members after one change.
fn changed(random: &mut Random, members: &[MemberForm], is_even: bool) -> Vec<MemberForm> {
    let mut later = members.to_vec();
    let at = random.below(later.len());
    match random.below(6) {
        0 | 1 => drop(later.remove(at)),
        2 | 3 => {
            let id = later.iter().map(|member| member.id).max().unwrap_or(0);
            let mut new = member(random, id.saturating_add(1), is_even);
            new.state = StateForm::Joining;
            later.push(new);
        }
        4 => later[at].state = StateForm::Draining,
        _ => later[at].capacity /= 2,
    }
    later
}

fn each(call: &mut PlacementCall, change: &dyn Fn(&mut MemberForm)) {
    for member in call.members.iter_mut().chain(&mut call.later) {
        change(member);
    }
}

/// Gives the members the ids 1, 2 and so on.
fn renumber(call: &mut PlacementCall) {
    let all = call.members.iter().chain(&call.later);
    let ids: BTreeSet<u64> = all.map(|member| member.id).collect();
    let numbers: BTreeMap<u64, u64> = ids.into_iter().zip(1..).collect();
    each(call, &|member| member.id = numbers[&member.id]);
}

impl Kind for Placer {
    type Call = PlacementCall;
    type Answer = Table;
    const LAWS: &'static [Law<Placer>] = &[
        ("validity", check_validity),
        ("determinism", determinism),
        ("balance", check_balance),
        ("stability", check_stability),
        ("movement", check_movement),
        ("survival", check_survival),
    ];

    fn call(&self, random: &mut Random) -> PlacementCall {
        let is_even = random.once_in(2);
        let step = random.pick(&[1, 7, u64::MAX / 16]);
        let count = random.pick(&[1, 2, 3, 3, 4, 5, 6, 8]);
        let members = (1..=count).map(|at| member(random, at * step, is_even));
        let members: Vec<MemberForm> = members.collect();
        let partitions = random.pick(&[1, 4, 16, 16, 32]);
        PlacementCall {
            later: changed(random, &members, is_even),
            members,
            partitions,
            replicas: random.pick(&[1, 2, 3, 3, 5]),
            zones_min: random.pick(&[None, None, Some(1), Some(2), Some(3)]),
            bytes: if random.once_in(4) {
                vec![1 << 20; partitions as usize]
            } else {
                Vec::new()
            },
            before: None,
            seed: random.pick(&[0, 1, u64::MAX]),
            answer: None,
        }
    }

    fn ask(&self, call: &PlacementCall) -> Result<Table, PolicyError> {
        let now = call.snapshot(&call.members).map_err(PolicyError::GaveUp)?;
        self.plan(&now, call.before.as_ref(), call.seed)
    }

    fn smaller(call: &PlacementCall) -> Vec<PlacementCall> {
        let with = |change: &dyn Fn(&mut PlacementCall)| {
            let mut call = call.clone();
            change(&mut call);
            call
        };
        let mut smaller = vec![
            with(&|call| call.later.clear()),
            with(&|call| call.bytes.clear()),
            with(&|call| call.seed = 0),
            with(&renumber),
            with(&|call| each(call, &|member| member.tags.clear())),
            with(&|call| each(call, &|member| member.state = StateForm::Active)),
        ];
        smaller.retain(|less| less != call);
        if 1 < call.partitions {
            smaller.push(with(&|call| {
                call.partitions /= 2;
                call.bytes.truncate(call.partitions as usize);
            }));
        }
        if 1 < call.replicas {
            smaller.push(with(&|call| call.replicas -= 1));
        }
        if call.zones_min.is_some() {
            smaller.push(with(&|call| call.zones_min = None));
        }
        for member in call.members.iter().filter(|_| 1 < call.members.len()) {
            smaller.push(with(&|call| {
                call.members.retain(|other| other.id != member.id);
                call.later.retain(|other| other.id != member.id);
            }));
        }
        for member in call
            .members
            .iter()
            .filter(|member| member.capacity != 1 << 30)
        {
            smaller.push(with(&|call| {
                each(call, &|other| {
                    if other.id == member.id {
                        other.capacity = 1 << 30;
                    }
                });
            }));
        }
        smaller
    }

    fn expected(call: &PlacementCall) -> Option<serde_json::Value> {
        serde_json::to_value(call.answer.as_ref()?).ok()
    }

    fn found(answer: Result<Table, PolicyError>) -> Option<serde_json::Value> {
        match answer {
            Ok(table) => serde_json::to_value(table).ok(),
            Err(error) => Some(error.to_string().into()),
        }
    }

    fn usage(&self) -> Usage {
        Placer::usage(self)
    }
}
