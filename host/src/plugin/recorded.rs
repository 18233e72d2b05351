//! This is a call as it was made and answered, kept to ask another version the same: whether that
//! answers alike, and the line of a capture where it does not.

use super::Policy;
use super::capture::{
    Blob, ChangeForm, ResolutionCall, ResolvedForm, SiblingForm, ValidationCall, VerdictForm,
};
use soros_core::policy::{Change, PolicyError, Resolution, Resolved, Sibling, Validation, Verdict};

/// A call and its answer.
pub struct Recorded(Call);

enum Call {
    Validation(ValidationCall, Vec<Verdict>),
    Resolution(ResolutionCall, Resolved),
}

/// What another version makes of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compared {
    /// The same.
    Same,
    /// Something else: the call with its first answer, as a line of a capture.
    Differs(String),
    /// Nothing: it failed.
    Failed(PolicyError),
}

fn blob(bytes: &[u8]) -> Blob {
    Blob(bytes.to_vec())
}

impl Recorded {
    /// A call of a validator, and its verdicts.
    #[must_use]
    pub fn validation(changes: &[Change<'_>], verdicts: &[Verdict]) -> Recorded {
        let form = |change: &Change<'_>| ChangeForm {
            bucket: change.bucket.to_owned(),
            key: blob(change.key),
            content_type: change.content_type.to_owned(),
            value: change.value.map(blob),
            current: change.current.map(blob),
            principal: change.principal.to_owned(),
        };
        let call = ValidationCall {
            changes: changes.iter().map(form).collect(),
            answer: None,
        };
        Recorded(Call::Validation(call, verdicts.to_vec()))
    }

    /// About how much memory such a call takes.
    #[must_use]
    pub fn bytes_of_validation(changes: &[Change<'_>], verdicts: &[Verdict]) -> usize {
        let size = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
        let sizes = changes
            .iter()
            .map(|change| change.key.len() + size(change.value) + size(change.current));
        let answers = verdicts.iter().map(|verdict| match verdict {
            Verdict::AcceptAs(bytes) => bytes.len(),
            Verdict::Accept | Verdict::Refuse(_) => 0,
        });
        sizes.chain(answers).sum()
    }

    /// A call of a resolver, and what it made of the siblings.
    #[must_use]
    pub fn resolution(key: &[u8], siblings: &[Sibling<'_>], resolved: &Resolved) -> Recorded {
        let form = |sibling: &Sibling<'_>| SiblingForm {
            time: sibling.time,
            writer: sibling.writer,
            value: sibling.value.map(blob),
            content_type: sibling.content_type.to_owned(),
            meta: sibling
                .meta
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        };
        let call = ResolutionCall {
            key: blob(key),
            siblings: siblings.iter().map(form).collect(),
            answer: None,
        };
        Recorded(Call::Resolution(call, resolved.clone()))
    }

    /// About how much memory such a call takes.
    #[must_use]
    pub fn bytes_of_resolution(key: &[u8], siblings: &[Sibling<'_>], resolved: &Resolved) -> usize {
        let sizes = siblings
            .iter()
            .map(|sibling| sibling.value.map_or(0, <[u8]>::len));
        let merged = match resolved {
            Resolved::Value(merged) => merged.bytes.len(),
            Resolved::Keep(_) | Resolved::Tombstone | Resolved::KeepAll => 0,
        };
        key.len() + merged + sizes.sum::<usize>()
    }

    /// Asks `policy` the same.
    #[must_use]
    pub fn compare(self, policy: &Policy) -> Compared {
        match self.0 {
            Call::Validation(call, answer) => {
                let Some(validator) = policy.validator() else {
                    return other_kind();
                };
                let changes: Vec<_> = call.changes.iter().map(ChangeForm::borrowed).collect();
                match validator.check(&changes) {
                    Ok(now) if now == answer => Compared::Same,
                    Ok(_) => {
                        let answer = answer.into_iter().map(VerdictForm::from).collect();
                        let answer = Some(answer);
                        Compared::Differs(line(&ValidationCall { answer, ..call }))
                    }
                    Err(error) => Compared::Failed(error),
                }
            }
            Call::Resolution(call, answer) => {
                let Some(resolver) = policy.resolver() else {
                    return other_kind();
                };
                let siblings: Vec<_> = call.siblings.iter().map(SiblingForm::borrowed).collect();
                match resolver.resolve(&call.key.0, &siblings) {
                    Ok(now) if now == answer => Compared::Same,
                    Ok(_) => {
                        let answer = Some(ResolvedForm::from(Ok(answer)));
                        Compared::Differs(line(&ResolutionCall { answer, ..call }))
                    }
                    Err(error) => Compared::Failed(error),
                }
            }
        }
    }
}

fn other_kind() -> Compared {
    Compared::Failed(PolicyError::GaveUp("it decides something else".to_owned()))
}

fn line(call: &impl serde::Serialize) -> String {
    serde_json::to_string(call).unwrap_or_default()
}
