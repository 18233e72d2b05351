//! This is a loaded resolution policy: what it is shown is a set, in one order whatever the
//! caller's, and its answer is checked.

use crate::plugin::abi::v1::{self, SiblingWants};
use crate::plugin::error::Fault;
use crate::plugin::instance::{Pool, Source, Usage};
use crate::plugin::log::shortened;
use soros_core::limits::CONTENT_TYPE_BYTES_MAX;
use soros_core::policy::{BadAnswer, Merged, PolicyError, Resolution, Resolved, Sibling};

/// A loaded resolution policy.
pub struct Resolver {
    pool: Pool<v1::Resolver>,
    wants: SiblingWants,
}

impl Resolver {
    pub(super) fn new(source: Source) -> Result<Resolver, Fault> {
        let (pool, wants) = Pool::new(source)?;
        Ok(Resolver { pool, wants })
    }

    /// How it has been used on this node.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.pool.usage()
    }

    fn check_size(&self, key: &[u8], siblings: &[Sibling<'_>]) -> Result<(), PolicyError> {
        let values = |sibling: &Sibling<'_>| match sibling.value {
            Some(value) if self.wants.values => value.len(),
            _ => 0,
        };
        let meta = |(name, value): &(&str, &str)| name.len() + value.len();
        let size = |sibling: &Sibling<'_>| {
            let meta: usize = sibling.meta.iter().map(meta).sum();
            values(sibling) + meta + sibling.content_type.len()
        };
        let bytes = key.len() + siblings.iter().map(size).sum::<usize>();
        let limit = self.pool.limits().input_bytes;
        if limit < bytes {
            let (bytes, limit) = (bytes as u64, limit as u64);
            return Err(PolicyError::InputTooLarge { bytes, limit });
        }
        Ok(())
    }

    /// As [`Resolution::resolve`]; what it computes is added to `fuel`.
    ///
    /// # Errors
    /// [`PolicyError`]; the siblings are the answer.
    pub fn resolve_counted(
        &self,
        key: &[u8],
        siblings: &[Sibling<'_>],
        fuel: &mut u64,
    ) -> Result<Resolved, PolicyError> {
        if siblings.len() < 2 {
            return Ok(if siblings.is_empty() {
                Resolved::KeepAll
            } else {
                Resolved::Keep(0)
            });
        }
        self.check_size(key, siblings)?;
        let places = places(siblings);
        self.pool.ask(
            fuel,
            |store, policy| {
                let shown = places.iter().map(|&place| &siblings[place]);
                policy.resolve(store, key, shown, self.wants)
            },
            |answer| judged(answer, &places),
        )
    }
}

impl Resolution for Resolver {
    fn resolve(&self, key: &[u8], siblings: &[Sibling<'_>]) -> Result<Resolved, PolicyError> {
        self.resolve_counted(key, siblings, &mut 0)
    }
}

fn judged(answer: Result<Resolved, String>, places: &[usize]) -> Result<Resolved, PolicyError> {
    match answer.map_err(|reason| PolicyError::GaveUp(shortened(&reason)))? {
        Resolved::Keep(index) => kept(places, index),
        Resolved::Value(merged) => checked(merged),
        answer @ (Resolved::Tombstone | Resolved::KeepAll) => Ok(answer),
    }
}

/// Where each distinct sibling is, in the order of siblings: so that no policy can depend on the
/// order or repetition in which they came.
fn places(siblings: &[Sibling<'_>]) -> Vec<usize> {
    let mut places: Vec<usize> = (0..siblings.len()).collect();
    places.sort_by(|&left, &right| siblings[left].cmp(&siblings[right]));
    places.dedup_by(|left, right| siblings[*left] == siblings[*right]);
    places
}

fn kept(places: &[usize], index: usize) -> Result<Resolved, PolicyError> {
    let no_such = BadAnswer::NoSuchSibling {
        index: u32::try_from(index).unwrap_or(u32::MAX),
        siblings: places.len(),
    };
    Ok(Resolved::Keep(*places.get(index).ok_or(no_such)?))
}

/// A merged value's type goes into a header, so it has to be of what headers are made of.
fn checked(merged: Merged) -> Result<Resolved, PolicyError> {
    let fits = (1..=CONTENT_TYPE_BYTES_MAX).contains(&merged.content_type.len());
    if fits
        && merged
            .content_type
            .bytes()
            .all(|byte| (b' '..=b'~').contains(&byte))
    {
        Ok(Resolved::Value(merged))
    } else {
        Err(BadAnswer::ContentType.into())
    }
}
