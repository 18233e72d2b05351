//! This is who a data directory belongs to, and what it says of itself, in the file `identity`:
//!
//! ```text
//! 8   "soros id"
//! 4+  the node's name, behind its length (big-endian, as all numbers here)
//! 1   1 if the cluster is known, else 0
//! 16  the cluster, or zeros
//! 8   unused, zeros
//! 16  the incarnation of the process that opened the directory last
//! 1   bits: 1 unused, 2 the directory is in doubt, 4 the engine was opened at least once,
//!     8 a vote in the authority may be lost, and the authority's records were not seen to yet,
//!     16 a table of the engine cannot be read: what can be is to be saved at the next start,
//!     32 writes are answered before they are synced, and the directory was not closed since
//! 4   CRC-32 of all before
//! ```
//!
//! It is replaced whole, by a rename: at every start before anything else is opened, and when
//! something of it changes. What is unused was written by earlier programs.

use soros_core::codec::{Codec, DecodeError, Reader, Writer};
use soros_core::id::{ClusterId, Incarnation, NodeName};
use soros_core::limits::NAME_BYTES_MAX;

const MAGIC: &[u8; 8] = b"soros id";
const IN_DOUBT: u8 = 2;
const FOUNDED: u8 = 4;
const VOTE_LOST: u8 = 8;
const TORN: u8 = 16;
const UNSYNCED: u8 = 32;
const CHECKSUM_BYTES: usize = 4;

/// The longest file that is looked at.
pub(crate) const BYTES_MAX: u64 = 256;

/// Who a directory belongs to, and what it says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a bit of the file")]
pub(crate) struct Identity {
    pub(crate) name: NodeName,
    pub(crate) cluster: Option<ClusterId>,
    pub(crate) incarnation: Incarnation,
    pub(crate) is_in_doubt: bool,
    pub(crate) is_founded: bool,
    pub(crate) is_vote_lost: bool,
    pub(crate) is_torn: bool,
    pub(crate) is_unsynced: bool,
}

impl Identity {
    /// The bytes of the file.
    pub(crate) fn to_file(&self) -> Vec<u8> {
        let mut bytes = self.to_bytes();
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
        bytes
    }

    /// What the file says; nothing if it is damaged.
    pub(crate) fn from_file(bytes: &[u8]) -> Option<Identity> {
        let (body, checksum) = bytes.split_last_chunk::<CHECKSUM_BYTES>()?;
        if crc32fast::hash(body).to_be_bytes() != *checksum {
            return None;
        }
        Identity::from_bytes(body).ok()
    }
}

impl Codec for Identity {
    fn encode(&self, writer: &mut Writer) {
        let bit = |is_set: bool, bit: u8| if is_set { bit } else { 0 };
        writer.raw(MAGIC);
        writer.bytes(self.name.as_str().as_bytes());
        writer.u8(u8::from(self.cluster.is_some()));
        writer.u128(self.cluster.map_or(0, |cluster| cluster.0));
        writer.u64(0);
        writer.u128(self.incarnation.0);
        writer.u8(bit(self.is_in_doubt, IN_DOUBT)
            | bit(self.is_founded, FOUNDED)
            | bit(self.is_vote_lost, VOTE_LOST)
            | bit(self.is_torn, TORN)
            | bit(self.is_unsynced, UNSYNCED));
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Identity, DecodeError> {
        if reader.raw(MAGIC.len())? != MAGIC {
            return Err(DecodeError::Invalid("identity"));
        }
        let name = std::str::from_utf8(reader.bytes(NAME_BYTES_MAX)?).ok();
        let name = name
            .and_then(|name| name.parse().ok())
            .ok_or(DecodeError::Invalid("name"))?;
        let is_known = reader.u8()? == 1;
        let cluster = ClusterId(reader.u128()?);
        reader.u64()?;
        let incarnation = Incarnation(reader.u128()?);
        let bits = reader.u8()?;
        Ok(Identity {
            name,
            cluster: is_known.then_some(cluster),
            incarnation,
            is_in_doubt: bits & IN_DOUBT != 0,
            is_founded: bits & FOUNDED != 0,
            is_vote_lost: bits & VOTE_LOST != 0,
            is_torn: bits & TORN != 0,
            is_unsynced: bits & UNSYNCED != 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(cluster: Option<ClusterId>) -> Identity {
        Identity {
            name: "a".repeat(NAME_BYTES_MAX).parse().expect("a name"),
            cluster,
            incarnation: Incarnation(8),
            is_in_doubt: true,
            is_founded: false,
            is_vote_lost: true,
            is_torn: true,
            is_unsynced: true,
        }
    }

    #[test]
    fn reads_back_what_was_written() {
        for cluster in [None, Some(ClusterId(0)), Some(ClusterId(u128::MAX))] {
            let identity = identity(cluster);
            let file = identity.to_file();
            assert!(u64::try_from(file.len()).expect("short") <= BYTES_MAX);
            assert_eq!(Identity::from_file(&file), Some(identity));
        }
    }

    #[test]
    fn refuses_every_flipped_bit_and_every_cut() {
        let file = identity(Some(ClusterId(9))).to_file();
        for at in 0..file.len() {
            assert_eq!(Identity::from_file(&file[..at]), None, "cut at {at}");
            for bit in 0..8 {
                let mut flipped = file.clone();
                flipped[at] ^= 1 << bit;
                assert_eq!(Identity::from_file(&flipped), None, "byte {at}");
            }
        }
    }
}
