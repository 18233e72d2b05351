//! This is what an operator may set for the whole cluster, with the range of each setting.

use super::problem::{ConfigProblem, Problems, number};
use crate::limits::{SIBLINGS_MAX_DEFAULT, VERSIONS_DECODED_MAX};
use serde::{Deserialize, Serialize};

/// The settings of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// When a write counts as stored at a replica.
    pub durability: Durability,
    /// Within how many milliseconds a key-value request is answered.
    #[serde(deserialize_with = "number")]
    pub request_timeout_ms: u64,
    /// How far a node's clock may be from its peers', in milliseconds.
    #[serde(deserialize_with = "number")]
    pub max_clock_skew_ms: u64,
    /// How many versions of one key a client may leave side by side.
    #[serde(deserialize_with = "number")]
    pub siblings_max: u64,
    /// How many bytes of dot log a partition keeps for a replica that is behind.
    #[serde(deserialize_with = "number")]
    pub dot_log_bytes: u64,
    /// How many hours of dot log a partition keeps for a replica that is behind.
    #[serde(deserialize_with = "number")]
    pub dot_log_hours: u64,
}

/// When a write counts as stored at a replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// When it is synced to disk.
    #[default]
    Always,
    /// When it is in the engine, which syncs at intervals.
    Interval,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            durability: Durability::Always,
            request_timeout_ms: 2_000,
            max_clock_skew_ms: 500,
            siblings_max: SIBLINGS_MAX_DEFAULT as u64,
            dot_log_bytes: 64 << 20,
            dot_log_hours: 24,
        }
    }
}

impl Settings {
    /// Whether every setting is in its range.
    ///
    /// # Errors
    /// All that are not.
    pub fn check(&self) -> Result<(), Vec<ConfigProblem>> {
        let mut problems = Problems::default();
        problems.range(
            "/request_timeout_ms",
            &self.request_timeout_ms,
            &(100..=60_000),
        );
        problems.range("/max_clock_skew_ms", &self.max_clock_skew_ms, &(1..=60_000));
        problems.range(
            "/siblings_max",
            &self.siblings_max,
            &(1..=SIBLINGS_MAX_MOST),
        );
        problems.range("/dot_log_bytes", &self.dot_log_bytes, &(1 << 20..=1 << 40));
        problems.range("/dot_log_hours", &self.dot_log_hours, &(1..=8_760));
        problems.finish()
    }
}

/// The most versions of one key that clients may be allowed to leave side by side: repair, which is
/// never refused, needs room above it.
const SIBLINGS_MAX_MOST: u64 = 4_096;

const _: () = assert!(SIBLINGS_MAX_MOST * 2 <= VERSIONS_DECODED_MAX as u64);
