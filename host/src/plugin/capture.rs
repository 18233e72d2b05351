//! This is a call of a policy as a line of JSON, with the answer that it had or should have: what
//! samples, captures and counterexamples are. Bytes that are text stand as text, others as
//! `{"base64": ...}`; what is left out has the plainest value.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use soros_core::epoch::Epoch;
use soros_core::id::NodeId;
use soros_core::map::table::Table;
use soros_core::policy::topology::{Member, Node, Snapshot, State, Topology};
use soros_core::policy::{Change, Merged, PolicyError, Refusal, Resolved, Sibling, Verdict};

/// Bytes, as text where they are text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "BlobForm", into = "BlobForm")]
pub(super) struct Blob(pub(super) Vec<u8>);

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum BlobForm {
    Text(String),
    Base64 { base64: Encoded },
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct Encoded(Vec<u8>);

impl TryFrom<String> for Encoded {
    type Error = base64::DecodeError;

    fn try_from(text: String) -> Result<Encoded, base64::DecodeError> {
        BASE64_STANDARD.decode(text).map(Encoded)
    }
}

impl From<Encoded> for String {
    fn from(bytes: Encoded) -> String {
        BASE64_STANDARD.encode(bytes.0)
    }
}

impl From<BlobForm> for Blob {
    fn from(form: BlobForm) -> Blob {
        match form {
            BlobForm::Text(text) => Blob(text.into_bytes()),
            BlobForm::Base64 { base64 } => Blob(base64.0),
        }
    }
}

impl From<Blob> for BlobForm {
    fn from(bytes: Blob) -> BlobForm {
        match String::from_utf8(bytes.0) {
            Ok(text) => BlobForm::Text(text),
            Err(error) => BlobForm::Base64 {
                base64: Encoded(error.into_bytes()),
            },
        }
    }
}

fn plain_type() -> String {
    "text/plain".to_owned()
}

/// A call of a resolution policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ResolutionCall {
    pub(super) key: Blob,
    pub(super) siblings: Vec<SiblingForm>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) answer: Option<ResolvedForm>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SiblingForm {
    pub(super) time: u64,
    #[serde(default)]
    pub(super) writer: u64,
    pub(super) value: Option<Blob>,
    #[serde(default = "plain_type")]
    pub(super) content_type: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) meta: Vec<(String, String)>,
}

impl SiblingForm {
    pub(super) fn borrowed(&self) -> Sibling<'_> {
        let fields = self.meta.iter();
        Sibling {
            time: self.time,
            writer: self.writer,
            value: self.value.as_ref().map(|value| &*value.0),
            content_type: &self.content_type,
            meta: fields.map(|(name, value)| (&**name, &**value)).collect(),
        }
    }
}

/// What siblings become, in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ResolvedForm {
    Keep(usize),
    Value {
        #[serde(rename = "content_type")]
        content_type: String,
        bytes: Blob,
    },
    Tombstone,
    KeepAll,
    Error(String),
}

impl From<Result<Resolved, PolicyError>> for ResolvedForm {
    fn from(answer: Result<Resolved, PolicyError>) -> ResolvedForm {
        match answer {
            Ok(Resolved::Keep(place)) => ResolvedForm::Keep(place),
            Ok(Resolved::Value(Merged {
                content_type,
                bytes,
            })) => ResolvedForm::Value {
                content_type,
                bytes: Blob(bytes),
            },
            Ok(Resolved::Tombstone) => ResolvedForm::Tombstone,
            Ok(Resolved::KeepAll) => ResolvedForm::KeepAll,
            Err(error) => ResolvedForm::Error(error.to_string()),
        }
    }
}

/// A call of a validation policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ValidationCall {
    pub(super) changes: Vec<ChangeForm>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) answer: Option<Vec<VerdictForm>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangeForm {
    #[serde(default)]
    pub(super) bucket: String,
    pub(super) key: Blob,
    #[serde(default = "plain_type")]
    pub(super) content_type: String,
    pub(super) value: Option<Blob>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) current: Option<Blob>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) principal: String,
}

impl ChangeForm {
    pub(super) fn borrowed(&self) -> Change<'_> {
        Change {
            bucket: &self.bucket,
            key: &self.key.0,
            content_type: &self.content_type,
            value: self.value.as_ref().map(|value| &*value.0),
            current: self.current.as_ref().map(|value| &*value.0),
            principal: &self.principal,
        }
    }
}

/// What becomes of a write, in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum VerdictForm {
    Accept,
    AcceptAs(Blob),
    Refuse {
        code: String,
        message: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pointer: Option<String>,
    },
}

impl From<Verdict> for VerdictForm {
    fn from(verdict: Verdict) -> VerdictForm {
        match verdict {
            Verdict::Accept => VerdictForm::Accept,
            Verdict::AcceptAs(bytes) => VerdictForm::AcceptAs(Blob(bytes)),
            Verdict::Refuse(Refusal {
                code,
                message,
                pointer,
            }) => VerdictForm::Refuse {
                code,
                message,
                pointer,
            },
        }
    }
}

/// A call of a placement policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PlacementCall {
    pub(super) members: Vec<MemberForm>,
    pub(super) partitions: u32,
    pub(super) replicas: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) zones_min: Option<u8>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) bytes: Vec<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) before: Option<Table>,
    #[serde(default)]
    pub(super) seed: u64,
    /// The members after a change: what laws about movement ask for then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) later: Vec<MemberForm>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) answer: Option<Table>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MemberForm {
    pub(super) id: u64,
    pub(super) zone: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) rack: String,
    #[serde(default = "plain_capacity")]
    pub(super) capacity: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) tags: Vec<String>,
    #[serde(default)]
    pub(super) state: StateForm,
}

fn plain_capacity() -> u64 {
    1 << 30
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum StateForm {
    Joining,
    #[default]
    Active,
    Draining,
}

impl MemberForm {
    fn member(&self) -> Member {
        Member {
            node: Node {
                id: NodeId(self.id),
                zone: self.zone.clone(),
                rack: self.rack.clone(),
                capacity: self.capacity,
                tags: self.tags.clone(),
            },
            state: match self.state {
                StateForm::Joining => State::Joining,
                StateForm::Active => State::Active,
                StateForm::Draining => State::Draining,
            },
        }
    }
}

impl PlacementCall {
    /// The snapshot of `members`, if there can be a table for it.
    pub(super) fn snapshot(&self, members: &[MemberForm]) -> Result<Snapshot, String> {
        let partitions = self.partitions.try_into();
        let topology = Topology {
            epoch: Epoch(1),
            members: members.iter().map(MemberForm::member).collect(),
            partitions: partitions.map_err(|error| format!("{error}"))?,
            replicas: self.replicas,
            zones_min: self.zones_min,
            bytes: self.bytes.clone(),
        };
        topology.try_into().map_err(|error| format!("{error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_text_where_they_can_be() {
        let line = r#"{"key":"a","siblings":[{"time":1,"value":{"base64":"/wA="}}]}"#;
        let call: ResolutionCall = serde_json::from_str(line).expect("a call");
        assert_eq!(call.siblings[0].value, Some(Blob(vec![0xff, 0])));
        assert_eq!(call.siblings[0].content_type, "text/plain");
        let text = serde_json::to_string(&call).expect("JSON");
        assert!(text.contains(r#"{"base64":"/wA="}"#), "{text}");
        assert_eq!(
            serde_json::from_str::<ResolutionCall>(&text).ok(),
            Some(call)
        );
        let refusal = r#"{"refuse":{"code":"a","message":"b"}}"#;
        let verdict: VerdictForm = serde_json::from_str(refusal).expect("a verdict");
        assert_eq!(serde_json::to_string(&verdict).expect("JSON"), refusal);
    }

    #[test]
    fn what_is_misspelt_is_not_a_call() {
        assert!(serde_json::from_str::<ValidationCall>(r#"{"change":[]}"#).is_err());
        let odd = r#"{"key":"a","siblings":[{"time":1,"value":{"base64":"?"}}]}"#;
        assert!(serde_json::from_str::<ResolutionCall>(odd).is_err());
    }
}
