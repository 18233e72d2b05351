//! These are the numbers of commits: what tells after a start whether the journal gave back all
//! that it had taken.
//!
//! fjall stops reading a journal at the first damaged byte and opens without a word and without
//! what followed; where a sealed journal is cut so, it even goes on with the next one. Therefore
//! each commit leaves a record of its number in every space it touches, linked to the one before:
//!
//! ```text
//! key    00 01, then the commit's number (8, big-endian)
//! value  the number of the commit before it in this space, 0 for none (8)
//!        the oldest number whose record is still to be found in this space (8)
//! ```
//!
//! A record is removed some commits after its space wrote it out to a table, where the journal is
//! no longer needed for it. So the records of a space from `oldest` to the newest are an unbroken
//! chain, or a commit is missing in between; and the newest is at least the mark outside the
//! journal (see [`crate::store::mark`]), or the end is missing. A space flushes by itself, so each
//! has its own chain and its own mark.

use crate::store::{RESERVED_PREFIX, Space, Write};
use soros_core::codec::{Codec, DecodeError, Reader, Writer};
use std::collections::VecDeque;

const KIND: u8 = 0x01;
/// How many records a commit removes at most from each space: more than it adds.
const REMOVALS_MAX: usize = 4;
/// How many commits pass between two looks at what the engine has written out.
const COMMITS_BETWEEN_LOOKS: u64 = 64;

/// The newest commit that touched each space, by the space's tag; 0 for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sequences(pub [u64; Space::ALL.len()]);

impl Sequences {
    /// The newest commit that touched `space`.
    #[must_use]
    pub fn of(&self, space: Space) -> u64 {
        self.0[space.index()]
    }

    fn newest(&self) -> u64 {
        self.0.into_iter().max().unwrap_or(0)
    }
}

/// What a start found of the numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// The newest commit of each space.
    pub newest: Sequences,
    /// The spaces that a commit in the middle is missing from.
    pub broken: Vec<Space>,
}

/// The value of a commit's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    previous: u64,
    oldest: u64,
}

impl Codec for Link {
    fn encode(&self, writer: &mut Writer) {
        writer.u64(self.previous);
        writer.u64(self.oldest);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Link, DecodeError> {
        Ok(Link {
            previous: reader.u64()?,
            oldest: reader.u64()?,
        })
    }
}

/// The key of the record of commit `number`.
pub(crate) fn key(number: u64) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.u8(RESERVED_PREFIX);
    writer.u8(KIND);
    writer.u64(number);
    writer.into_bytes()
}

/// The number in a key made by [`key`].
pub(crate) fn number(key: &[u8]) -> Option<u64> {
    let number = key.strip_prefix(&[RESERVED_PREFIX, KIND])?;
    Some(u64::from_be_bytes(number.try_into().ok()?))
}

/// The keys of all records, the second excluded.
pub(crate) const KEYS: ([u8; 2], [u8; 2]) = ([RESERVED_PREFIX, KIND], [RESERVED_PREFIX, KIND + 1]);

/// A commit's record, found at a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Numbered {
    pub(crate) number: u64,
    pub(crate) link: Link,
    /// The engine's own number of the commit, which decides what of one key is newest. The engine
    /// keeps it in its journal without a checksum.
    pub(crate) engine_number: u64,
}

/// What a start found in one space.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    /// The records from the oldest that the newest tells of to the newest itself.
    pub(crate) records: Vec<Numbered>,
    /// Whether a record could not be read.
    pub(crate) is_damaged: bool,
}

impl Found {
    /// Whether the record of commit `number`, older than those found so far, is one to be found.
    pub(crate) fn needs(&self, number: u64) -> bool {
        self.records
            .first()
            .is_none_or(|newest| newest.link.oldest <= number)
    }

    fn newest(&self) -> u64 {
        self.records.last().map_or(0, |record| record.number)
    }

    fn is_whole(&self) -> bool {
        let first = self.records.first().map_or(0, |record| record.number);
        let oldest = self.records.last().map_or(0, |record| record.link.oldest);
        let follows = |pair: &[Numbered]| {
            pair[1].link.previous == pair[0].number && pair[0].engine_number < pair[1].engine_number
        };
        !self.is_damaged && first == oldest && self.records.windows(2).all(follows)
    }
}

/// The numbers of a running store.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    newest: u64,
    chains: [Chain; Space::ALL.len()],
}

/// The records of one space, oldest first.
#[derive(Debug, Default)]
struct Chain {
    newest: u64,
    kept: VecDeque<Kept>,
    /// The engine's number up to which the space is written out.
    written_out: u64,
    looked_at: u64,
}

#[derive(Clone, Copy, Debug)]
struct Kept {
    number: u64,
    engine_number: u64,
}

/// A commit about to be made: its number and the records that tell of it.
#[derive(Debug)]
pub(crate) struct Commit {
    number: u64,
    touched: [bool; Space::ALL.len()],
    pub(crate) records: Vec<Write>,
}

impl Ledger {
    /// The numbers as a start found them, and what it found wrong.
    pub(crate) fn recover(found: &[Found; Space::ALL.len()]) -> (Ledger, Recovery) {
        let mut ledger = Ledger::default();
        for (chain, found) in ledger.chains.iter_mut().zip(found) {
            let keep = |record: &Numbered| Kept {
                number: record.number,
                engine_number: record.engine_number,
            };
            chain.newest = found.newest();
            chain.kept = found.records.iter().map(keep).collect();
        }
        let newest = ledger.sequences();
        ledger.newest = newest.newest();
        let is_broken = |space: &Space| !found[space.index()].is_whole();
        let broken = Space::ALL.into_iter().filter(is_broken).collect();
        (ledger, Recovery { newest, broken })
    }

    /// The newest commit of each space.
    pub(crate) fn sequences(&self) -> Sequences {
        Sequences(std::array::from_fn(|index| self.chains[index].newest))
    }

    /// Never gives out a number up to one of `sequences` again.
    pub(crate) fn pass(&mut self, sequences: &Sequences) {
        self.newest = self.newest.max(sequences.newest());
    }

    /// Begins new chains: what was found is written out, and what is missing stays missing.
    pub(crate) fn begin_anew(&mut self) {
        for chain in &mut self.chains {
            chain.kept.clear();
        }
    }

    /// Numbers a commit that touches `spaces`. `written_out` tells up to which of its own numbers
    /// the engine has a space in tables.
    pub(crate) fn number(
        &mut self,
        spaces: impl Iterator<Item = Space>,
        written_out: impl Fn(Space) -> u64,
    ) -> Commit {
        let number = self.newest + 1;
        let mut commit = Commit {
            number,
            touched: [false; 3],
            records: Vec::new(),
        };
        for space in spaces {
            commit.touched[space.index()] = true;
        }
        for space in Space::ALL {
            if commit.touched[space.index()] {
                let chain = &mut self.chains[space.index()];
                chain.extend(space, number, || written_out(space), &mut commit.records);
            }
        }
        commit
    }

    /// Takes note that the commit is stored, under the engine's own number.
    pub(crate) fn committed(&mut self, commit: &Commit, engine_number: u64) {
        self.newest = commit.number;
        for (chain, touched) in self.chains.iter_mut().zip(commit.touched) {
            if touched {
                chain.newest = commit.number;
                chain.kept.push_back(Kept {
                    number: commit.number,
                    engine_number,
                });
            }
        }
    }
}

impl Chain {
    fn extend(
        &mut self,
        space: Space,
        number: u64,
        written_out: impl FnOnce() -> u64,
        records: &mut Vec<Write>,
    ) {
        if COMMITS_BETWEEN_LOOKS <= number - self.looked_at {
            self.looked_at = number;
            self.written_out = written_out();
        }
        for _ in 0..REMOVALS_MAX {
            match self.kept.front() {
                Some(kept) if kept.engine_number <= self.written_out => {
                    records.push(Write::remove(space, key(kept.number)));
                    self.kept.pop_front();
                }
                _ => break,
            }
        }
        let oldest = self.kept.front().map_or(number, |kept| kept.number);
        let link = Link {
            previous: self.newest,
            oldest,
        };
        records.push(Write::put(space, key(number), link.to_bytes()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// The records of one space, as commits of a ledger leave them.
    #[derive(Clone, Default)]
    struct Records(BTreeMap<u64, Link>);

    impl Records {
        fn take(&mut self, writes: &[Write]) {
            for write in writes {
                let number = number(&write.key).expect("a record's key");
                match &write.value {
                    Some(value) => {
                        let link = Link::from_bytes(value).expect("a record's value");
                        self.0.insert(number, link);
                    }
                    None => drop(self.0.remove(&number)),
                }
            }
        }

        fn needed(&self) -> Vec<Numbered> {
            let oldest = self.0.values().last().map_or(0, |link| link.oldest);
            let needed = self.0.range(oldest..).map(|(number, link)| Numbered {
                number: *number,
                link: *link,
                engine_number: *number,
            });
            needed.collect()
        }

        fn recover(&self) -> Recovery {
            let found = Found {
                records: self.needed(),
                is_damaged: false,
            };
            Ledger::recover(&[found, Found::default(), Found::default()]).1
        }
    }

    /// Makes `commits` commits; the space is written out up to a number a hundred behind.
    fn records(commits: u64) -> Records {
        let mut records = Records::default();
        let mut ledger = Ledger::default();
        for at in 1..=commits {
            let numbered =
                ledger.number([Space::Partitions].into_iter(), |_| at.saturating_sub(100));
            records.take(&numbered.records);
            ledger.committed(&numbered, at);
        }
        records
    }

    #[test]
    fn keeps_records_of_what_is_not_written_out_only() {
        for commits in [0, 1, 50, 99, 1_000, 5_000] {
            let records = records(commits);
            let kept = u64::try_from(records.0.len()).expect("few");
            assert!(
                kept <= 100 + 2 * COMMITS_BETWEEN_LOOKS,
                "{kept} kept of {commits}"
            );
            let newest = Sequences([commits, 0, 0]);
            assert_eq!(
                records.recover(),
                Recovery {
                    newest,
                    broken: Vec::new()
                }
            );
        }
    }

    #[test]
    fn sees_every_commit_that_is_missing_before_the_newest() {
        let records = records(1_000);
        let numbers: Vec<u64> = records.0.keys().copied().collect();
        let oldest = records.0.values().last().expect("a record").oldest;
        for missing in numbers
            .iter()
            .filter(|number| oldest <= **number && **number < 1_000)
        {
            let mut cut = records.clone();
            cut.0.remove(missing);
            assert_eq!(cut.recover().broken, [Space::Partitions], "{missing}");
        }
    }

    #[test]
    fn sees_commits_in_the_wrong_order() {
        let mut records = records(1_000).needed();
        let swapped = records[3].engine_number;
        records[3].engine_number = records[5].engine_number;
        records[5].engine_number = swapped;
        let found = Found {
            records,
            is_damaged: false,
        };
        let (_, recovery) = Ledger::recover(&[found, Found::default(), Found::default()]);
        assert_eq!(recovery.broken, [Space::Partitions]);
    }

    #[test]
    fn sees_that_all_before_the_newest_is_missing() {
        let mut cut = records(1_000);
        cut.0.retain(|number, _| *number == 1_000);
        assert_eq!(cut.recover().broken, [Space::Partitions]);
    }

    #[test]
    fn numbers_only_the_spaces_that_a_commit_touches() {
        let mut ledger = Ledger::default();
        let (node, both) = ([Space::Node], [Space::Node, Space::Authority]);
        for spaces in [&node[..], &both, &node] {
            let numbered = ledger.number(spaces.iter().copied(), |_| 0);
            ledger.committed(&numbered, 1);
        }
        assert_eq!(ledger.sequences(), Sequences([0, 3, 2]));
    }

    #[test]
    fn gives_out_no_number_that_a_mark_tells_of() {
        let (mut ledger, _) = Ledger::recover(&Default::default());
        ledger.pass(&Sequences([0, 41, 0]));
        let numbered = ledger.number([Space::Node].into_iter(), |_| 0);
        assert_eq!(numbered.number, 42);
    }

    #[test]
    fn a_key_tells_its_number() {
        assert_eq!(number(&key(7)), Some(7));
        assert_eq!(number(&[RESERVED_PREFIX, KIND, 7]), None);
        assert!(KEYS.0[..] <= key(0)[..] && key(u64::MAX)[..] < KEYS.1[..]);
    }
}
