//! This is a partition's sum: the exclusive or of a hash of every live version it holds, so that
//! two replicas can tell in sixteen bytes whether they hold the same ones.

use crate::codec::{Codec, DecodeError, Reader, Writer};
use crate::dot::Dot;
use crate::id::BucketId;
use crate::key::Key;

/// The exclusive or over the live versions of a partition; values only, for tombstones leave each
/// replica at a time of its own. Expiry does not change it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(pub u128);

impl Sum {
    /// Adds a version that is not in the sum, or takes out one that is.
    pub fn toggle(&mut self, bucket: BucketId, key: &Key, dot: &Dot) {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&bucket.0.to_be_bytes());
        hasher.update(&dot.to_bytes());
        hasher.update(key.as_bytes());
        let mut first = [0; 16];
        hasher.finalize_xof().fill(&mut first);
        self.0 ^= u128::from_be_bytes(first);
    }
}

impl Codec for Sum {
    fn encode(&self, writer: &mut Writer) {
        writer.u128(self.0);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Sum, DecodeError> {
        reader.u128().map(Sum)
    }
}
