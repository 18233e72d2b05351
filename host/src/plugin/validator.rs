//! This is a loaded validation policy: it is asked only about what it wants, in calls of a bounded
//! size, and every change gets exactly one verdict.

use crate::plugin::abi::v1;
use crate::plugin::error::Fault;
use crate::plugin::instance::{Pool, Source, Usage};
use crate::plugin::limits::CHANGES_MAX;
use crate::plugin::log::shortened;
use soros_core::policy::{BadAnswer, Change, PolicyError, Refusal, Validation, Verdict, Wants};

/// A loaded validation policy.
pub struct Validator {
    pool: Pool<v1::Validator>,
    wants: Wants,
}

impl Validator {
    pub(super) fn new(source: Source) -> Result<Validator, Fault> {
        let (pool, wants) = Pool::new(source)?;
        Ok(Validator { pool, wants })
    }

    /// How it has been used on this node.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.pool.usage()
    }

    /// What the host answers in the policy's name, if it need not be asked.
    fn foregone(&self, change: &Change<'_>) -> Option<Verdict> {
        if !self.wants.has(change.key, change.value) {
            return Some(Verdict::Accept);
        }
        let value = change.value?;
        let limit = self.wants.value_bytes_max;
        let is_shown = u32::try_from(value.len()).is_ok_and(|len| len <= limit);
        (!is_shown).then(|| too_large(value.len(), limit))
    }

    fn ask(&self, batch: &[&Change<'_>], fuel: &mut u64) -> Result<Vec<Verdict>, PolicyError> {
        self.pool.ask(
            fuel,
            |store, policy| policy.check(store, batch),
            |verdicts| judged(batch, verdicts),
        )
    }

    /// As [`Validation::check`]; what it computes is added to `fuel`.
    ///
    /// # Errors
    /// [`PolicyError`]; the bucket says whether the writes are refused or pass.
    pub fn check_counted(
        &self,
        changes: &[Change<'_>],
        fuel: &mut u64,
    ) -> Result<Vec<Verdict>, PolicyError> {
        let asked: Vec<&Change<'_>> = changes
            .iter()
            .filter(|change| self.foregone(change).is_none())
            .collect();
        let mut answers = Vec::new();
        for batch in batches(&asked, self.pool.limits().input_bytes)? {
            let verdicts = self.ask(batch, fuel)?;
            if batch.len() == changes.len() {
                return Ok(verdicts);
            }
            answers.extend(verdicts);
        }
        let mut answers = answers.into_iter();
        let verdicts = changes
            .iter()
            .map(|change| self.foregone(change).or_else(|| answers.next()));
        Ok(verdicts.flatten().collect())
    }
}

fn judged(batch: &[&Change<'_>], verdicts: Vec<Verdict>) -> Result<Vec<Verdict>, PolicyError> {
    if verdicts.len() != batch.len() {
        let (verdicts, changes) = (verdicts.len(), batch.len());
        return Err(BadAnswer::VerdictCount { verdicts, changes }.into());
    }
    let pairs = batch.iter().zip(verdicts);
    pairs
        .map(|(change, verdict)| checked(change, verdict))
        .collect()
}

impl Validation for Validator {
    fn wants(&self) -> &Wants {
        &self.wants
    }

    fn check(&self, changes: &[Change<'_>]) -> Result<Vec<Verdict>, PolicyError> {
        self.check_counted(changes, &mut 0)
    }
}

fn too_large(bytes: usize, limit: u32) -> Verdict {
    Verdict::Refuse(Refusal {
        code: "value-too-large".into(),
        message: format!("the value has {bytes} bytes, more than {limit}"),
        pointer: None,
    })
}

fn checked(change: &Change<'_>, verdict: Verdict) -> Result<Verdict, PolicyError> {
    match verdict {
        Verdict::AcceptAs(_) if change.value.is_none() => Err(BadAnswer::DeleteAsValue.into()),
        Verdict::Refuse(refusal) => Ok(Verdict::Refuse(Refusal {
            code: shortened(&refusal.code),
            message: shortened(&refusal.message),
            pointer: refusal.pointer.map(|pointer| shortened(&pointer)),
        })),
        Verdict::Accept | Verdict::AcceptAs(_) => Ok(verdict),
    }
}

/// Cuts changes into calls that show at most `limit` bytes each. Verdicts are independent of each
/// other, so this changes none.
fn batches<'a, 'b>(
    changes: &'a [&'b Change<'b>],
    limit: usize,
) -> Result<Vec<&'a [&'b Change<'b>]>, PolicyError> {
    let mut batches = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (at, change) in changes.iter().enumerate() {
        let size = size(change);
        if limit < size {
            let (bytes, limit) = (size as u64, limit as u64);
            return Err(PolicyError::InputTooLarge { bytes, limit });
        }
        if limit < bytes + size || at - start == CHANGES_MAX {
            batches.push(&changes[start..at]);
            (start, bytes) = (at, 0);
        }
        bytes += size;
    }
    if start < changes.len() {
        batches.push(&changes[start..]);
    }
    Ok(batches)
}

fn size(change: &Change<'_>) -> usize {
    let texts = change.bucket.len() + change.content_type.len() + change.principal.len();
    let bytes = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
    texts + change.key.len() + bytes(change.value) + bytes(change.current)
}
