//! This is how versions of plugins are tried on what this node holds, without being used.

use super::policies::NodePolicies;
use crate::authority::PlanError;
use crate::authority::dry_run::{EXAMPLES_MAX, Example, LOOK_TIME_MAX, Loads, Tally, VALUES_MAX};
use crate::client::encoded_key;
use crate::peer::Peer;
use soros_core::id::{BucketName, PlacementId};
use soros_core::key::Key;
use soros_core::map::json::Json;
use soros_core::map::plugin::Release;
use soros_core::object::Value;
use soros_core::policy::{Change, Validation, Verdict};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// What the partitions of a placement hold of which this node is the first replica.
pub(super) async fn loads(peer: Arc<Peer>, placement: PlacementId) -> Option<Loads> {
    let loads = peer
        .loads(placement, Instant::now() + LOOK_TIME_MAX)
        .await?;
    let loads = loads.into_iter();
    Some(
        loads
            .map(|(partition, load)| (partition.get(), (load.keys, load.bytes)))
            .collect(),
    )
}

/// What a release with a config makes of values of a bucket, each shown as a first write.
pub(super) async fn judge(
    peer: Arc<Peer>,
    policies: &NodePolicies,
    (release, config): (&Release, &Json),
    name: &BucketName,
) -> Result<Tally, PlanError> {
    let failed = |why: &str| PlanError::Failed(why.to_owned());
    let policy = policies.components().load_soon(release, config).await?;
    if policy.validator().is_none() {
        return Err(failed("the plugin is no validation policy"));
    }
    let map = peer.map().ok_or_else(|| failed("the node has no map"))?;
    let bucket = map
        .bucket(name)
        .ok_or_else(|| failed("there is no such bucket"))?;
    let partitions = map
        .placement_of(bucket)
        .map_or(1, |placement| placement.partitions().get() as usize);
    let nodes = map.nodes().len().max(1);
    // As many of each partition as make up the sample when all have as many.
    let of_each = usize::try_from(VALUES_MAX).unwrap_or(usize::MAX) * nodes / partitions;
    let shared = Arc::new(Mutex::new(Tally::default()));
    let (counted, bucket_name) = (Arc::clone(&shared), name.to_string());
    let looks = move |key: &Key, value: &Value| {
        let Some(validator) = policy.validator() else {
            return false;
        };
        let change = Change {
            bucket: &bucket_name,
            key: key.as_bytes(),
            content_type: &value.content_type,
            value: Some(&value.bytes),
            current: None,
            principal: "",
        };
        let verdicts = validator.check(std::slice::from_ref(&change));
        let verdict = verdicts.ok().and_then(|mut verdicts| verdicts.pop());
        let mut tally = counted.lock().unwrap_or_else(PoisonError::into_inner);
        note(&mut tally, &change, verdict);
        tally.sampled < VALUES_MAX
    };
    let deadline = Instant::now() + LOOK_TIME_MAX;
    let looked = peer.look_at_values(bucket.id, of_each.max(1), deadline, Box::new(looks));
    let complete = looked.await;
    let mut tally = shared
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    tally.complete = complete;
    Ok(tally)
}

fn note(tally: &mut Tally, change: &Change<'_>, verdict: Option<Verdict>) {
    tally.sampled += 1;
    match verdict {
        Some(Verdict::Accept) => {}
        Some(Verdict::AcceptAs(bytes)) => {
            tally.changed += u64::from(change.value != Some(&bytes[..]));
        }
        Some(Verdict::Refuse(refusal)) => {
            tally.refused += 1;
            if tally.examples.len() < EXAMPLES_MAX {
                tally.examples.push(Example {
                    key: encoded_key(change.key),
                    reason: refusal.code,
                    detail: refusal.message,
                    pointer: refusal.pointer,
                });
            }
        }
        None => tally.failed += 1,
    }
}
