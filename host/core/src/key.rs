//! This is a key and where it falls: the bounded key of a value, and the partition its hash names.

use crate::limits::{KEY_BYTES_MAX, PARTITIONS_MAX};
use serde::{Deserialize, Serialize};

/// A key: 1 to [`KEY_BYTES_MAX`] bytes, any bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Box<[u8]>);

/// Why bytes are not a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No byte at all.
    #[error("the key is empty")]
    Empty,
    /// More bytes than [`KEY_BYTES_MAX`].
    #[error("the key has {0} bytes, more than {KEY_BYTES_MAX}")]
    TooLong(usize),
}

impl Key {
    /// The bytes of the key.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl TryFrom<&[u8]> for Key {
    type Error = KeyError;

    fn try_from(bytes: &[u8]) -> Result<Key, KeyError> {
        match bytes.len() {
            0 => Err(KeyError::Empty),
            1..=KEY_BYTES_MAX => Ok(Key(bytes.into())),
            len => Err(KeyError::TooLong(len)),
        }
    }
}

/// How many partitions a placement has: a power of two from 1 to [`PARTITIONS_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct PartitionCount(u32);

/// Why a number is not a partition count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} partitions: a power of two from 1 to {PARTITIONS_MAX} is needed")]
pub struct PartitionCountError(u32);

impl PartitionCount {
    /// The number of partitions.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for PartitionCount {
    type Error = PartitionCountError;

    fn try_from(count: u32) -> Result<PartitionCount, PartitionCountError> {
        if count.is_power_of_two() && count <= PARTITIONS_MAX {
            Ok(PartitionCount(count))
        } else {
            Err(PartitionCountError(count))
        }
    }
}

impl From<PartitionCount> for u32 {
    fn from(count: PartitionCount) -> u32 {
        count.0
    }
}

/// One slice of a placement's key space, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Partition(u16);

impl Partition {
    /// The partition of `key` among `count`: the leading bits of the key's blake3 hash, so that
    /// doubling the count would split each partition in two.
    #[must_use]
    pub fn of(key: &Key, count: PartitionCount) -> Partition {
        let hash = blake3::hash(key.as_bytes());
        let [high, low, ..] = *hash.as_bytes();
        let bits = u32::from(u16::from_be_bytes([high, low])) * count.get();
        Partition(u16::try_from(bits >> 16).unwrap_or(u16::MAX))
    }

    /// All partitions of a placement, in order.
    pub fn all(count: PartitionCount) -> impl Iterator<Item = Partition> {
        (0..=u16::MAX).take(count.get() as usize).map(Partition)
    }

    /// The partition as an index into the placement's table.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// The partition as stored and sent.
    #[must_use]
    pub fn get(self) -> u16 {
        self.0
    }

    /// The partition of a stored or received number; who receives it checks it against the
    /// placement's count.
    #[must_use]
    pub fn from_wire(number: u16) -> Partition {
        Partition(number)
    }
}

impl std::fmt::Display for Partition {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_keys_of_one_to_the_most_bytes() {
        assert_eq!(Key::try_from(&b""[..]), Err(KeyError::Empty));
        assert!(Key::try_from(&[0; KEY_BYTES_MAX][..]).is_ok());
        let long = [0; KEY_BYTES_MAX + 1];
        assert_eq!(
            Key::try_from(&long[..]),
            Err(KeyError::TooLong(KEY_BYTES_MAX + 1))
        );
    }

    #[test]
    fn spreads_keys_over_all_partitions() {
        let count = PartitionCount::try_from(16).expect("a power of two");
        let mut hits = [0; 16];
        for number in 0..1600_u32 {
            let key = Key::try_from(&number.to_be_bytes()[..]).expect("four bytes");
            hits[Partition::of(&key, count).index()] += 1;
        }
        assert!(
            hits.iter().all(|&hits| (50..200).contains(&hits)),
            "{hits:?}"
        );
    }

    #[test]
    fn stays_in_range_at_both_ends() {
        let key = Key::try_from(&b"k"[..]).expect("one byte");
        let one = PartitionCount::try_from(1).expect("a power of two");
        let most = PartitionCount::try_from(PARTITIONS_MAX).expect("a power of two");
        assert_eq!(Partition::of(&key, one).index(), 0);
        assert_eq!(Partition::all(most).count(), PARTITIONS_MAX as usize);
        assert!(PartitionCount::try_from(3).is_err());
        assert!(PartitionCount::try_from(0).is_err());
    }
}
