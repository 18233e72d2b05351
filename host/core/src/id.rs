//! This is who and what: the identifiers of nodes, clusters, incarnations and placements.

use serde::{Deserialize, Serialize};

/// A node of the cluster: the first eight bytes of the hash of its name, so that every node of a
/// founding list knows its own before any map exists. Two names with one id are refused at join.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub u64);

impl NodeId {
    /// The id of the node called `name`.
    #[must_use]
    pub fn of(name: &NodeName) -> NodeId {
        let mut hasher = blake3::Hasher::new_derive_key("soros 2026 node id");
        hasher.update(name.as_str().as_bytes());
        let mut first = [0; 8];
        hasher.finalize_xof().fill(&mut first);
        NodeId(u64::from_be_bytes(first))
    }
}

impl std::fmt::Display for NodeId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

/// A node's name, chosen by its operator: 1 to 63 of `a-z`, `0-9`, `.`, `_` and `-`, the first a
/// letter or a digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeName(String);

/// The name of a bucket: 1 to 63 of `a-z`, `0-9`, `.`, `_` and `-`, the first a letter or a digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BucketName(String);

/// The name of a placement: 1 to 63 of `a-z`, `0-9`, `.`, `_` and `-`, the first a letter or a
/// digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PlacementName(String);

/// Why a name was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a name: 1 to 63 characters of a-z, 0-9, '.', '_' and '-' are, \
     the first a letter or a digit"
)]
pub struct NameError(String);

macro_rules! name {
    ($name:ident) => {
        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<$name, NameError> {
                if is_name(&text) {
                    Ok($name(text))
                } else {
                    Err(NameError::new(&text))
                }
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<$name, NameError> {
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

name!(NodeName);
name!(BucketName);
name!(PlacementName);

impl NameError {
    fn new(text: &str) -> NameError {
        NameError(text.chars().take(80).collect())
    }
}

fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    let starts = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    bytes.len() <= crate::limits::NAME_BYTES_MAX
        && bytes.first().is_some_and(starts)
        && bytes
            .iter()
            .all(|byte| starts(byte) || matches!(byte, b'.' | b'_' | b'-'))
}

/// A cluster: 128 random bits, drawn by the node that founds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub u128);

/// One life of a node's process: 128 random bits, durable before the first write is minted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u128);

/// One life of a partition's state on one node; a dropped and refilled partition gets the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u32);

/// One life of a placement: the epoch that made it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct PlacementId(pub u64);

/// One life of a bucket: the epoch that made it. Part of every stored key, so that a purged and
/// re-created bucket shares nothing with the one before.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct BucketId(pub u64);

macro_rules! hex_id {
    ($name:ident) => {
        impl std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(formatter, "{:032x}", self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(source: D) -> Result<$name, D::Error> {
                let text = String::deserialize(source)?;
                u128::from_str_radix(&text, 16)
                    .map($name)
                    .map_err(|_| serde::de::Error::custom("128 bits in hexadecimal are needed"))
            }
        }
    };
}

hex_id!(ClusterId);
hex_id!(Incarnation);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_names_that_are_empty_long_or_oddly_spelt() {
        for text in ["", "-a", ".a", "A", "a b", "a/b", "ä", &"a".repeat(64)] {
            assert!(text.parse::<BucketName>().is_err(), "{text}");
        }
        for text in ["a", "0", "a.b_c-d", &"a".repeat(63)] {
            assert_eq!(
                text.parse::<BucketName>().map(String::from),
                Ok(text.to_owned())
            );
        }
    }

    #[test]
    fn gives_each_name_an_id_of_its_own_for_ever() {
        let id = |name: &str| NodeId::of(&name.parse().expect("a name"));
        assert_ne!(id("n1"), id("n2"));
        assert_eq!(id("n1"), id("n1"));
    }
}
