//! This is how a bucket's validators are asked about a write before it is minted: each in its turn,
//! on the thread that serves the request.
//!
//! Who they are is looked up once, so that a write is judged by one version of each from start to
//! end, whatever is activated meanwhile.

use super::Peer;
use super::api::coordinates::Choice;
use soros_core::limits::POLICY_TEXT_BYTES_MAX;
use soros_core::map::plugin::{OnFailure, PluginName, PluginVersion};
use soros_core::object::Object;
use soros_core::operation::{
    Consistency, OperationError, ReadRequest, Rejection, Target, WriteRequest,
};
use soros_core::policy::{Change, Validation, Verdict, Wants};
use std::sync::Arc;
use std::time::Instant;

/// A validator of a bucket, as this node has it.
#[derive(Clone)]
pub struct BucketValidator {
    /// The plugin.
    pub plugin: PluginName,
    /// What becomes of a write when it fails.
    pub on_failure: OnFailure,
    /// Its active version, ready to be asked, or why it is not.
    pub policy: Result<(PluginVersion, Arc<dyn Validation>), Unusable>,
}

/// A validator that cannot be asked.
#[derive(Clone, Debug)]
pub struct Unusable {
    /// Why.
    pub reason: String,
    /// What it would be asked about, where that is known: it has no say in other writes.
    pub wants: Option<Wants>,
}

/// What a validator makes of a write.
enum Judged {
    /// It is stored as it is.
    Accepted,
    /// It is stored with these bytes.
    AcceptedAs(Vec<u8>),
}

/// The value that a write finds, read once for all validators that want to see it.
type Current = Option<Option<Arc<[u8]>>>;

impl Peer {
    /// Asks the validators of the bucket about a write, which may change its value. Whether one did
    /// is the answer.
    ///
    /// # Errors
    /// [`OperationError`]; nothing was stored.
    pub(super) async fn validate(
        &self,
        request: &mut WriteRequest,
        deadline: Instant,
    ) -> Result<bool, OperationError> {
        let map = self.map().ok_or(OperationError::NotReady)?;
        let id = request.target.bucket();
        let (name, bucket) = map.bucket_by_id(id).ok_or(OperationError::NotServed)?;
        if bucket.config.validators.is_empty() {
            return Ok(false);
        }
        // While this node has not loaded them, another one may coordinate.
        let validators = self
            .policies
            .validators(id)
            .ok_or(OperationError::NotReady)?;
        let (mut current, mut changed) = (Current::None, false);
        for validator in validators.iter() {
            let (key, value) = (request.target.key().as_bytes(), request.value.as_ref());
            let value_bytes = value.map(|value| &*value.bytes);
            if current.is_none() && validator.wants_current(key, value_bytes) {
                current = Some(self.current(&request.target, deadline).await?);
            }
            let change = Change {
                bucket: name.as_str(),
                key,
                content_type: value.map(|value| &*value.content_type).unwrap_or_default(),
                value: value_bytes,
                current: current.as_ref().and_then(Option::as_deref),
                principal: "",
            };
            let judged = validator.judge(&change, bucket.config.max_value_bytes)?;
            if let (Judged::AcceptedAs(bytes), Some(value)) = (judged, &mut request.value) {
                changed |= *value.bytes != *bytes;
                value.bytes = bytes.into();
            }
        }
        Ok(changed)
    }

    /// What a quorum read of the key answers; none when that is no value or several.
    async fn current(
        &self,
        target: &Target,
        deadline: Instant,
    ) -> Result<Option<Arc<[u8]>>, OperationError> {
        let request = ReadRequest {
            target: target.clone(),
            consistency: Consistency::Quorum,
        };
        match self.coordinate_read(request, deadline).await {
            Ok(answer) => Ok(self.only_value(target, &answer.object)),
            // Of a write that was not begun nothing is unknown.
            Err(OperationError::OutcomeUnknown { reached, needed }) => {
                Err(OperationError::QuorumUnavailable { reached, needed })
            }
            Err(OperationError::Storage) => Err(OperationError::NotReady),
            Err(error) => Err(error),
        }
    }

    fn only_value(&self, target: &Target, object: &Object) -> Option<Arc<[u8]>> {
        let bytes = |dot| {
            let value = object.versions.get(dot)?.value.as_ref()?;
            Some(Arc::clone(&value.bytes))
        };
        let mut dots = object.versions.keys();
        match (dots.next(), dots.next()) {
            (None, _) => None,
            (Some(only), None) => bytes(only),
            (Some(_), Some(_)) => match self.policies.resolve_read(target, object)?.choice {
                Choice::Keep(dot) => bytes(&dot),
                Choice::Value(merged) => Some(merged.bytes.into()),
                Choice::Tombstone => None,
            },
        }
    }
}

impl BucketValidator {
    fn wants_current(&self, key: &[u8], value: Option<&[u8]>) -> bool {
        self.policy.as_ref().is_ok_and(|(_, policy)| {
            let wants = policy.wants();
            wants.current && wants.has(key, value)
        })
    }

    /// What the validator says, or what the bucket says in its place.
    fn judge(&self, change: &Change<'_>, bytes_max: u64) -> Result<Judged, OperationError> {
        let reason = match &self.policy {
            Ok((version, policy)) => match verdict(&**policy, change) {
                Ok(Verdict::Accept) => return Ok(Judged::Accepted),
                Ok(Verdict::AcceptAs(bytes)) if bytes.len() as u64 <= bytes_max => {
                    return Ok(Judged::AcceptedAs(bytes));
                }
                Ok(Verdict::AcceptAs(_)) => {
                    "it made a larger value than the bucket takes".to_owned()
                }
                Ok(Verdict::Refuse(refusal)) => {
                    let (plugin, version) = (self.plugin.clone(), version.clone());
                    return Err(OperationError::Rejected(Box::new(Rejection {
                        plugin,
                        version,
                        refusal,
                    })));
                }
                Err(error) => error,
            },
            Err(Unusable { reason, wants }) => {
                let is_wanted = |wants: &Wants| wants.has(change.key, change.value);
                if !wants.as_ref().is_none_or(is_wanted) {
                    return Ok(Judged::Accepted);
                }
                reason.clone()
            }
        };
        let end = reason.floor_char_boundary(POLICY_TEXT_BYTES_MAX);
        let reason = reason[..end].to_owned();
        let plugin = self.plugin.clone();
        tracing::warn!(plugin = plugin.as_str(), reason, "a validator failed");
        match self.on_failure {
            OnFailure::Open => Ok(Judged::Accepted),
            OnFailure::Closed => Err(OperationError::PolicyUnavailable { plugin, reason }),
        }
    }
}

fn verdict(policy: &dyn Validation, change: &Change<'_>) -> Result<Verdict, String> {
    let verdicts = policy.check(std::slice::from_ref(change));
    let mut verdicts = verdicts.map_err(|error| error.to_string())?;
    verdicts
        .pop()
        .ok_or_else(|| "it gave no verdict".to_owned())
}
