//! This is the policy of the bucket that has one with versions: what each version makes of
//! siblings, by the manner that it has. Some keep the laws; most do not.

use crate::node::resolver;
use soros_core::object::Version;
use soros_core::policy::builtin::Lww;
use soros_core::policy::{BadAnswer, Merged, PolicyError, Resolution, Resolved, Sibling};
use std::collections::BTreeSet;

/// How a version of the policy answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Manner {
    /// A value that holds what all of them held.
    Unites,
    /// The last writer wins.
    LastWins,
    /// All of them stay.
    KeepsAll,
    /// The first writer wins.
    FirstWins,
    /// The one in the middle wins: grouped otherwise, another one.
    MiddleWins,
    /// Another one wins at each node.
    NodeWins,
    /// Whatever chance says, anew at each call.
    Rolls,
    /// A value that holds what all of them held and more, each time.
    Appends,
    /// A value that holds what one of them held, and forgets the others.
    Forgets,
    /// A value that nobody wrote.
    Invents,
    /// None of them stays.
    Buries,
    /// It stops in the middle.
    Traps,
    /// It stops in the middle two times out of three.
    TrapsOften,
    /// It says that it cannot answer.
    GivesUp,
    /// It keeps one that there is not.
    NamesNone,
}

/// All manners.
pub const MANNERS: [Manner; 15] = [
    Manner::Unites,
    Manner::LastWins,
    Manner::KeepsAll,
    Manner::FirstWins,
    Manner::MiddleWins,
    Manner::NodeWins,
    Manner::Rolls,
    Manner::Appends,
    Manner::Forgets,
    Manner::Invents,
    Manner::Buries,
    Manner::Traps,
    Manner::TrapsOften,
    Manner::GivesUp,
    Manner::NamesNone,
];

/// Manners that lose none of the last writer's rights, the lawful one first.
pub const ORDERED: [Manner; 5] = [
    Manner::LastWins,
    Manner::KeepsAll,
    Manner::Traps,
    Manner::TrapsOften,
    Manner::NamesNone,
];

/// One call of a version.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// How it answers.
    pub manner: Manner,
    /// The number of a write that it may say it met: nobody else's.
    pub own: u32,
    /// The node that asks.
    pub node: u64,
    /// Chance.
    pub draw: u64,
}

impl Call {
    /// A place among `len`, by what the call has from outside.
    fn place(len: usize, from: u64) -> usize {
        usize::try_from(from % len.max(1) as u64).unwrap_or(0)
    }

    fn rolls(&self, siblings: &[Sibling<'_>]) -> Resolved {
        let ids = held(siblings);
        match self.draw % 4 {
            0 => Resolved::Keep(Call::place(siblings.len(), self.draw >> 2)),
            1 => merged(ids.into_iter().chain([self.own])),
            2 => Resolved::Tombstone,
            _ => Resolved::KeepAll,
        }
    }
}

impl Resolution for Call {
    fn resolve(&self, key: &[u8], siblings: &[Sibling<'_>]) -> Result<Resolved, PolicyError> {
        let trapped = || PolicyError::Trapped("unreachable".to_owned());
        let mut sorted: Vec<usize> = (0..siblings.len()).collect();
        sorted.sort_by(|left, right| siblings[*left].cmp(&siblings[*right]));
        let nth = |place: usize| Resolved::Keep(sorted.get(place).copied().unwrap_or(0));
        let ids = held(siblings);
        let answer = match self.manner {
            Manner::Unites if ids.is_empty() => Resolved::Tombstone,
            Manner::Unites => merged(ids),
            Manner::LastWins => Lww.resolve(key, siblings)?,
            Manner::KeepsAll => Resolved::KeepAll,
            Manner::FirstWins => nth(0),
            Manner::MiddleWins => nth(siblings.len() / 2),
            Manner::NodeWins => nth(Call::place(siblings.len(), self.node)),
            Manner::Rolls => self.rolls(siblings),
            Manner::Appends => merged(ids.into_iter().chain([self.own])),
            Manner::Forgets => merged(ids.into_iter().next_back().into_iter().chain([self.own])),
            Manner::Invents => merged([self.own]),
            Manner::Buries => Resolved::Tombstone,
            Manner::TrapsOften if self.draw.is_multiple_of(3) => Lww.resolve(key, siblings)?,
            Manner::Traps | Manner::TrapsOften => return Err(trapped()),
            Manner::GivesUp => return Err(PolicyError::GaveUp("it is too late".to_owned())),
            Manner::NamesNone => Resolved::Keep(siblings.len()),
        };
        match answer {
            Resolved::Keep(index) if siblings.len() <= index => {
                let index = u32::try_from(index).unwrap_or(u32::MAX);
                let siblings = siblings.len();
                Err(BadAnswer::NoSuchSibling { index, siblings }.into())
            }
            answer => Ok(answer),
        }
    }
}

/// A version of a key as a policy sees it.
#[must_use]
pub fn sibling(writer: u64, version: &Version) -> Sibling<'_> {
    Sibling {
        time: version.time.0,
        writer,
        value: version.value.as_ref().map(|value| &*value.bytes),
        content_type: "",
        meta: Vec::new(),
    }
}

/// The writes whose values siblings hold.
fn held(siblings: &[Sibling<'_>]) -> BTreeSet<u32> {
    let values = siblings.iter().filter_map(|sibling| sibling.value);
    values.flat_map(resolver::ids_of).collect()
}

fn merged(ids: impl IntoIterator<Item = u32>) -> Resolved {
    let ids: BTreeSet<u32> = ids.into_iter().collect();
    Resolved::Value(Merged {
        content_type: String::new(),
        bytes: resolver::bytes(&ids),
    })
}
