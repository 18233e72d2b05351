//! This is what the map knows of plugins: which versions there are, which is active, and how a
//! bucket or placement names one with its configuration.

use super::json::Json;
use crate::epoch::Epoch;
use crate::id::NodeName;
use crate::limits::{PLUGIN_NAME_BYTES_MAX, PLUGIN_VERSION_BYTES_MAX};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The name of a plugin: 1 to 63 of `a-z`, `0-9` and `-`, the first a letter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PluginName(String);

/// Why a plugin's name or version was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PluginNameError {
    /// Not a name.
    #[error("a plugin's name is 1 to 63 of a-z, 0-9 and '-', the first a letter")]
    Name,
    /// Not a version.
    #[error("a plugin's version is 1 to 64 of 0-9, a-z, A-Z, '.', '+' and '-'")]
    Version,
}

impl PluginName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for PluginName {
    type Error = PluginNameError;

    fn try_from(text: String) -> Result<PluginName, PluginNameError> {
        let bytes = text.as_bytes();
        let inner = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        let is_name = bytes.len() <= PLUGIN_NAME_BYTES_MAX
            && bytes.first().is_some_and(u8::is_ascii_lowercase)
            && bytes.iter().all(inner);
        if is_name {
            Ok(PluginName(text))
        } else {
            Err(PluginNameError::Name)
        }
    }
}

/// The version of a plugin, as semantic versioning spells it; the host checks that it does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PluginVersion(String);

impl PluginVersion {
    /// The version as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for PluginVersion {
    type Error = PluginNameError;

    fn try_from(text: String) -> Result<PluginVersion, PluginNameError> {
        let inner = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'+' | b'-');
        let is_version = (1..=PLUGIN_VERSION_BYTES_MAX).contains(&text.len())
            && text.as_bytes().iter().all(inner);
        if is_version {
            Ok(PluginVersion(text))
        } else {
            Err(PluginNameError::Version)
        }
    }
}

macro_rules! text {
    ($name:ident) => {
        impl std::str::FromStr for $name {
            type Err = PluginNameError;

            fn from_str(text: &str) -> Result<$name, PluginNameError> {
                $name::try_from(text.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(formatter)
            }
        }
    };
}

text!(PluginName);
text!(PluginVersion);

/// What a plugin decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PluginKind {
    /// Where partitions live.
    Placement,
    /// What concurrent writes become.
    Resolution,
    /// Which writes are allowed.
    Validation,
}

/// The blake3 hash of a component's bytes, shown in lower-case hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PluginDigest(pub [u8; 32]);

impl std::fmt::Display for PluginDigest {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0
            .iter()
            .try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl From<PluginDigest> for String {
    fn from(digest: PluginDigest) -> String {
        digest.to_string()
    }
}

/// Why text is not a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a digest is 64 digits of lower-case hexadecimal")]
pub struct PluginDigestError;

impl TryFrom<String> for PluginDigest {
    type Error = PluginDigestError;

    fn try_from(text: String) -> Result<PluginDigest, PluginDigestError> {
        let hash = blake3::Hash::from_hex(&text).map_err(|_| PluginDigestError)?;
        let digest = PluginDigest(*hash.as_bytes());
        if digest.to_string() == text {
            Ok(digest)
        } else {
            Err(PluginDigestError)
        }
    }
}

/// One version of a plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The hash of its component.
    pub digest: PluginDigest,
    /// The ABI it speaks, such as `soros:policy@1.0.0`.
    pub abi: String,
    /// The bytes of its component.
    pub size: u64,
}

/// A plugin with its versions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plugin {
    /// What it decides.
    pub kind: PluginKind,
    /// Its versions.
    pub releases: BTreeMap<PluginVersion, Release>,
    /// The version in force, one of `releases`; none before the first is activated.
    #[serde(default)]
    pub active: Option<PluginVersion>,
    /// The version that was in force before, one of `releases`.
    #[serde(default)]
    pub previous: Option<PluginVersion>,
    /// The epoch from which `active` is in force; 0 from the cluster's beginning on.
    #[serde(default)]
    pub since: Epoch,
    /// Whether the version in force is on probation: when it fails, the one before takes over.
    #[serde(default)]
    pub on_probation: bool,
    /// Why the version in force is not asked, until one is activated again.
    #[serde(default)]
    pub quarantine: Option<Quarantine>,
    /// The version that failed on its probation, until one is activated again.
    #[serde(default)]
    pub withdrawn: Option<Withdrawn>,
    /// The version that runs beside the one in force.
    #[serde(default)]
    pub shadow: Option<Shadow>,
}

/// How a plugin was found to misbehave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blame {
    /// The node that reported it last.
    pub node: NodeName,
    /// How its calls failed, in a word.
    pub cause: String,
    /// The same at length.
    pub detail: String,
}

/// That the version in force is not asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantine {
    /// The epoch from which that is so.
    pub since: Epoch,
    /// Why.
    #[serde(flatten)]
    pub blame: Blame,
}

/// A version that was taken out of force because it failed on its probation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withdrawn {
    /// Which.
    pub version: PluginVersion,
    /// The epoch that took it out of force.
    pub at: Epoch,
    /// Why.
    #[serde(flatten)]
    pub blame: Blame,
}

/// A version that is asked what the one in force is asked, and whose answers are only compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shadow {
    /// Which.
    pub version: PluginVersion,
    /// Of how many calls.
    pub sample: Sample,
}

/// A part of all calls.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Sample(f64);

/// A sample is a number, so it equals itself.
impl Eq for Sample {}

/// A part that is less than nothing, or more than all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a sample is a number from 0 to 1")]
pub struct SampleError;

impl Sample {
    /// All calls.
    pub const ALL: Sample = Sample(1.0);

    /// The part of all, from 0 to 1.
    #[must_use]
    pub fn part(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Sample {
    type Error = SampleError;

    fn try_from(part: f64) -> Result<Sample, SampleError> {
        if (0.0..=1.0).contains(&part) {
            Ok(Sample(part))
        } else {
            Err(SampleError)
        }
    }
}

impl From<Sample> for f64 {
    fn from(sample: Sample) -> f64 {
        sample.0
    }
}

impl Plugin {
    /// A plugin of one version, which is in force.
    #[must_use]
    pub fn of(kind: PluginKind, version: PluginVersion, release: Release) -> Plugin {
        Plugin {
            active: Some(version.clone()),
            releases: BTreeMap::from([(version, release)]),
            ..Plugin::new(kind)
        }
    }

    /// A plugin that has no version yet.
    pub(super) fn new(kind: PluginKind) -> Plugin {
        Plugin {
            kind,
            releases: BTreeMap::new(),
            active: None,
            previous: None,
            since: Epoch::NONE,
            on_probation: false,
            quarantine: None,
            withdrawn: None,
            shadow: None,
        }
    }

    /// The version in force.
    #[must_use]
    pub fn active(&self) -> Option<(&PluginVersion, &Release)> {
        self.releases.get_key_value(self.active.as_ref()?)
    }

    /// Whether the versions that are named are there.
    pub(super) fn holds(&self) -> bool {
        let named = self.active.iter().chain(&self.previous);
        let shadow = self.shadow.iter().map(|shadow| &shadow.version);
        let mut named = named.chain(shadow);
        !self.releases.is_empty()
            && named.all(|version| self.releases.contains_key(version))
            && (!self.on_probation || self.previous.is_some())
            && (self.quarantine.is_none() || self.active.is_some())
    }
}

/// A plugin with its configuration, as a bucket or placement names it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyUse {
    /// The plugin.
    pub plugin: PluginName,
    /// Its configuration; `{}` when omitted or null.
    #[serde(default = "Json::empty", deserialize_with = "config")]
    pub config: Json,
}

impl PolicyUse {
    /// `plugin` without any configuration.
    ///
    /// # Panics
    /// When `plugin` is not a name; it is one in the source.
    #[must_use]
    pub(crate) fn plain(plugin: &str) -> PolicyUse {
        PolicyUse {
            plugin: plugin.parse().expect("a plugin's name"),
            config: Json::empty(),
        }
    }
}

/// A validator of a bucket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValidatorUse {
    /// The plugin.
    pub plugin: PluginName,
    /// Its configuration; `{}` when omitted or null.
    #[serde(default = "Json::empty", deserialize_with = "config")]
    pub config: Json,
    /// What becomes of a write when the plugin fails.
    #[serde(default)]
    pub on_failure: OnFailure,
}

/// What becomes of a write whose validator fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// It is refused.
    #[default]
    Closed,
    /// It is taken.
    Open,
}

fn config<'de, D: serde::Deserializer<'de>>(source: D) -> Result<Json, D::Error> {
    Ok(match Json::deserialize(source)? {
        Json::Null => Json::empty(),
        config => config,
    })
}
