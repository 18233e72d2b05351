//! This is a bucket: keys that share a placement, a way to resolve concurrent writes and a set of
//! rules for what may be written.

use super::Map;
use super::plugin::{PolicyUse, ValidatorUse};
use super::problem::{ConfigProblem, Problems, number, optional_number};
use crate::epoch::Epoch;
use crate::id::{BucketId, PlacementName};
use crate::limits::{TTL_SECONDS_MAX, VALIDATORS_MAX, VALUE_BYTES_DEFAULT, VALUE_BYTES_MAX};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A bucket as the map has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bucket {
    /// This life of the bucket.
    pub id: BucketId,
    /// Whether it takes writes.
    pub state: BucketState,
    /// The epoch that closed it, while it is closing.
    #[serde(default)]
    pub closed_at: Epoch,
    /// How it is configured.
    pub config: BucketConfig,
}

/// Whether a bucket takes writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BucketState {
    /// It does.
    Open,
    /// It does not: whether it is empty, and so may go, is being found out.
    Closing,
}

/// The buckets of a map: what a replica has to know of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Buckets {
    /// The map's epoch: a bucket made later is not known yet.
    pub epoch: Epoch,
    /// Those that take writes.
    pub open: BTreeSet<BucketId>,
    /// Those that are being deleted, and may yet open again.
    pub closing: BTreeSet<BucketId>,
}

impl Buckets {
    /// The buckets of `map`.
    #[must_use]
    pub fn of(map: &Map) -> Buckets {
        let of = |state: BucketState| {
            let buckets = map.buckets().values();
            let buckets = buckets.filter(move |bucket| bucket.state == state);
            buckets.map(|bucket| bucket.id).collect()
        };
        Buckets {
            epoch: map.epoch(),
            open: of(BucketState::Open),
            closing: of(BucketState::Closing),
        }
    }

    /// Whether the map has the bucket.
    #[must_use]
    pub fn has(&self, bucket: BucketId) -> bool {
        self.open.contains(&bucket) || self.closing.contains(&bucket)
    }

    /// Whether a bucket was deleted, for ever: it is not new, and the map has it no more.
    #[must_use]
    pub fn is_dead(&self, bucket: BucketId) -> bool {
        bucket.0 <= self.epoch.0 && !self.has(bucket)
    }
}

/// What an operator says of a bucket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BucketConfig {
    /// Where its keys live.
    pub placement: PlacementName,
    /// What its reads and writes promise.
    pub consistency: Consistency,
    /// What makes one value of concurrent ones; `None` leaves them side by side.
    pub resolver: Option<PolicyUse>,
    /// Who must agree to a write, in this order.
    pub validators: Vec<ValidatorUse>,
    /// How many seconds a value lives that does not say so itself.
    #[serde(deserialize_with = "optional_number")]
    pub default_ttl: Option<u64>,
    /// The largest value, in bytes.
    #[serde(deserialize_with = "number")]
    pub max_value_bytes: u64,
    /// The most bytes the bucket may hold.
    #[serde(deserialize_with = "optional_number")]
    pub quota_bytes: Option<u64>,
}

/// What the reads and writes of a bucket promise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Consistency {
    /// Writes go on at any quorum; concurrent ones are kept and resolved.
    #[default]
    Eventual,
    /// One register a key: reads and writes are linearizable.
    Strong,
}

impl Default for BucketConfig {
    fn default() -> BucketConfig {
        BucketConfig {
            placement: "default".parse().expect("a placement's name"),
            consistency: Consistency::Eventual,
            resolver: Some(PolicyUse::plain("lww")),
            validators: Vec::new(),
            default_ttl: None,
            max_value_bytes: VALUE_BYTES_DEFAULT as u64,
            quota_bytes: None,
        }
    }
}

impl BucketConfig {
    /// Whether every value is in its range.
    ///
    /// # Errors
    /// All that are not.
    pub fn check(&self) -> Result<(), Vec<ConfigProblem>> {
        let mut problems = Problems::default();
        if VALIDATORS_MAX < self.validators.len() {
            problems.add(
                "/validators",
                format!("at most {VALIDATORS_MAX} validators are allowed"),
            );
        }
        if let Some(seconds) = self.default_ttl {
            problems.range("/default_ttl", &seconds, &(1..=TTL_SECONDS_MAX));
        }
        problems.range(
            "/max_value_bytes",
            &self.max_value_bytes,
            &(1..=VALUE_BYTES_MAX as u64),
        );
        if let Some(bytes) = self.quota_bytes {
            problems.range("/quota_bytes", &bytes, &(1..=1 << 60));
        }
        problems.finish()
    }
}
