//! This is how a policy's own tests ask it: what it is shown, made in a line, and the laws that it
//! must keep, on examples of your own. No component is needed, so `cargo test` is enough.
//!
//! `soros plugin test` then tries the component itself, in the sandbox that nodes run it in, with
//! questions that it makes up.

use crate::placement::{Member, Node, Placement, Previous, Snapshot, State};
use crate::resolution::{Resolution, Resolved, Sibling};
use crate::validation::{Change, Validation, Verdict};

/// A write of a value that nothing was there before.
#[must_use]
pub fn change(key: &str, content_type: &str, value: &str) -> Change {
    Change {
        bucket: "bucket".into(),
        key: key.into(),
        content_type: content_type.into(),
        value: Some(value.into()),
        current: None,
        principal: String::new(),
    }
}

/// What `policy` says of `change`; asked twice, it must say the same.
///
/// # Panics
/// When it does not.
#[track_caller]
pub fn verdict(policy: &impl Validation, change: &Change) -> Verdict {
    let verdict = policy.check(change);
    let again = policy.check(change);
    assert_eq!(verdict, again, "asked twice, it answers differently");
    verdict
}

/// A text that was written at `time`.
#[must_use]
pub fn sibling(time: u64, value: &str) -> Sibling {
    Sibling {
        time,
        writer: 1,
        value: Some(value.into()),
        content_type: "text/plain".into(),
        meta: Vec::new(),
    }
}

/// A delete at `time`.
#[must_use]
pub fn tombstone(time: u64) -> Sibling {
    Sibling {
        value: None,
        ..sibling(time, "")
    }
}

/// Sees to it that texts, each written by itself, become this text, or are all kept where none is
/// `expected`; and that [regrouping](assert_regrouping) makes no difference.
///
/// # Panics
/// When it is not so.
#[track_caller]
pub fn assert_merges(policy: &impl Resolution, texts: &[&str], expected: Option<&str>) {
    let siblings: Vec<Sibling> = (1..)
        .zip(texts)
        .map(|(time, text)| sibling(time, text))
        .collect();
    let text = match policy.resolve(b"key", &siblings).expect("an answer") {
        Resolved::Value(merged) => Some(String::from_utf8(merged.bytes).expect("a text")),
        Resolved::KeepAll => None,
        other => panic!("neither merged nor all kept: {other:?}"),
    };
    assert_eq!(text.as_deref(), expected);
    assert_regrouping(policy, &siblings);
}

/// Sees to it that deletes give way to a text, and that of deletes alone one is left.
///
/// # Panics
/// When they do not.
#[track_caller]
pub fn assert_values_win(policy: &impl Resolution, text: &str) {
    let siblings = [sibling(1, text), tombstone(9)];
    let resolved = policy.resolve(b"key", &siblings);
    assert!(matches!(resolved, Ok(Resolved::Value(_))), "{resolved:?}");
    assert_regrouping(policy, &siblings);
    let siblings = [tombstone(3), tombstone(9)];
    assert_eq!(policy.resolve(b"key", &siblings), Ok(Resolved::Tombstone));
}

/// Sees to it that resolving some of `siblings` first, and the outcome with the others then, gives
/// what resolving all at once does: for each way to choose some of the first ten of them.
///
/// # Panics
/// When it does not.
#[track_caller]
pub fn assert_regrouping(policy: &impl Resolution, siblings: &[Sibling]) {
    let all = resolve(policy, siblings.to_vec());
    for choice in 1..1_u32 << siblings.len().min(10) {
        let is_chosen = |at: usize| at < 10 && choice & (1 << at) != 0;
        let chosen = (0..).zip(siblings).filter(|(at, _)| is_chosen(*at));
        let chosen: Vec<Sibling> = chosen.map(|(_, sibling)| sibling.clone()).collect();
        let others = (0..).zip(siblings).filter(|(at, _)| !is_chosen(*at));
        let mut grouped = resolve(policy, chosen.clone()).unwrap_or_else(|| chosen.clone());
        grouped.extend(others.map(|(_, sibling)| sibling.clone()));
        let grouped = resolve(policy, grouped);
        assert_eq!(
            grouped.map(contents),
            all.clone().map(contents),
            "resolving {chosen:?} first makes a difference"
        );
    }
}

/// What siblings become, as the one sibling that is left; none where all are kept.
fn resolve(policy: &impl Resolution, mut siblings: Vec<Sibling>) -> Option<Vec<Sibling>> {
    // As the host does: distinct, in order, and never a single one.
    siblings.sort();
    siblings.dedup();
    if siblings.len() < 2 {
        return Some(siblings);
    }
    let last = siblings.iter().max()?.clone();
    match policy.resolve(b"key", &siblings).ok()? {
        Resolved::Keep(at) => Some(vec![siblings.get(at as usize)?.clone()]),
        Resolved::KeepAll => None,
        Resolved::Tombstone => Some(vec![Sibling {
            value: None,
            ..last
        }]),
        Resolved::Value(merged) => Some(vec![Sibling {
            value: Some(merged.bytes),
            content_type: merged.content_type,
            meta: Vec::new(),
            ..last
        }]),
    }
}

/// What a reader sees of them.
fn contents(siblings: Vec<Sibling>) -> Vec<(Option<Vec<u8>>, String)> {
    let content = |sibling: Sibling| (sibling.value, sibling.content_type);
    siblings.into_iter().map(content).collect()
}

/// Nodes of one capacity in these zones, with the ids 1, 2 and so on.
#[must_use]
pub fn snapshot(zones: &[&str], partitions: u32, copies: u16) -> Snapshot {
    let member = |(id, zone): (u64, &&str)| Member {
        node: Node {
            id,
            zone: (*zone).into(),
            rack: String::new(),
            capacity: 1 << 30,
            tags: Vec::new(),
        },
        state: State::Active,
    };
    Snapshot {
        epoch: 1,
        members: (1..).zip(zones).map(member).collect(),
        partitions,
        copies,
        zones_min: None,
        bytes: Vec::new(),
    }
}

/// Sees to it that the table for `now` is one: of the right size, each partition on distinct nodes
/// that do not go; and that the same question, and the one with this table before, have the same
/// answer.
///
/// # Panics
/// When it is none.
#[track_caller]
pub fn assert_table(policy: &impl Placement, now: &Snapshot) -> Vec<u16> {
    let table = policy.plan(now, None, 0).expect("a table");
    let copies = usize::from(now.copies);
    assert_eq!(table.len(), now.partitions as usize * copies, "its size");
    for (partition, row) in table.chunks(copies.max(1)).enumerate() {
        for (at, cell) in row.iter().enumerate() {
            let member = now.members.get(usize::from(*cell));
            let is_open = member.is_some_and(|member| member.state != State::Draining);
            assert!(is_open, "partition {partition}: {cell} may hold nothing");
            assert!(!row[..at].contains(cell), "partition {partition}: {row:?}");
        }
    }
    assert_eq!(
        policy.plan(now, None, 0).as_ref(),
        Ok(&table),
        "asked again"
    );
    let before = Previous {
        members: now.members.iter().map(|member| member.node.id).collect(),
        copies: now.copies,
        cells: table.clone(),
    };
    let after = policy.plan(now, Some(&before), 0).expect("a table");
    let sets = |table: &[u16]| {
        let mut rows: Vec<Vec<u16>> = table.chunks(copies.max(1)).map(<[u16]>::to_vec).collect();
        for row in &mut rows {
            row.sort_unstable();
        }
        rows
    };
    assert_eq!(
        sets(&after),
        sets(&table),
        "nothing changed, and data moves"
    );
    table
}
