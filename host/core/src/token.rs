//! This is the token of a context: what a client has seen of one key, in bytes that it can keep and
//! send back and cannot make or change.

use crate::codec::{Codec, Reader, Writer};
use crate::dot_set::DotSet;
use crate::limits::TOKEN_BYTES_MAX;
use crate::place::Entry;
use serde::{Deserialize, Serialize};

/// The secret by which all nodes of a cluster authenticate the tokens they give to clients. Never
/// shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenKey(pub [u8; 32]);

/// Why bytes are not a token of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not the bytes of any token.
    #[error("the bytes are not a token")]
    Malformed,
    /// Forged, changed, or of another key, bucket or cluster.
    #[error("the token is not one of this key: read the key again and send that answer's token")]
    Foreign,
}

const FORMAT: u8 = 1;
const MAC_BYTES: usize = 16;

impl TokenKey {
    /// The token of what a client has seen of `entry`: format 1, context, and 16 bytes of a keyed
    /// blake3 hash over both, the bucket's incarnation and the key.
    #[must_use]
    pub fn seal(&self, entry: &Entry, context: &DotSet) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.u8(FORMAT);
        context.encode(&mut writer);
        let mut token = writer.into_bytes();
        let mac = self.mac(entry, &token);
        token.extend_from_slice(&mac.as_bytes()[..MAC_BYTES]);
        token
    }

    /// What the holder of `token` has seen of `entry`.
    ///
    /// # Errors
    /// [`TokenError`] when it is not a token that this cluster made for this key.
    pub fn open(&self, entry: &Entry, token: &[u8]) -> Result<DotSet, TokenError> {
        if TOKEN_BYTES_MAX < token.len() {
            return Err(TokenError::Malformed);
        }
        let (body, mac) = token
            .split_last_chunk::<MAC_BYTES>()
            .ok_or(TokenError::Malformed)?;
        let made = self.mac(entry, body);
        let differs = made
            .as_bytes()
            .iter()
            .zip(mac)
            .fold(0, |bits, (a, b)| bits | (a ^ b));
        if differs != 0 {
            return Err(TokenError::Foreign);
        }
        let mut reader = Reader::new(body);
        match reader.u8() {
            Ok(FORMAT) => (),
            _ => return Err(TokenError::Malformed),
        }
        let context = DotSet::decode(&mut reader).map_err(|_| TokenError::Malformed)?;
        reader.finish().map_err(|_| TokenError::Malformed)?;
        Ok(context)
    }

    fn mac(&self, entry: &Entry, body: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(&entry.to_bytes());
        hasher.update(body);
        hasher.finalize()
    }
}

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("TokenKey(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dot::Actor;
    use crate::id::{BucketId, Generation, Incarnation, NodeId};
    use crate::key::Key;

    fn entry(bucket: u64, key: &str) -> Entry {
        let key = Key::try_from(key.as_bytes()).expect("a key");
        Entry {
            bucket: BucketId(bucket),
            key,
        }
    }

    fn context() -> DotSet {
        let incarnation = Incarnation(7);
        let actor = Actor {
            node: NodeId(1),
            incarnation,
            generation: Generation(1),
        };
        DotSet::of(actor.dot(3))
    }

    #[test]
    fn opens_for_the_key_it_was_made_for_and_no_other() {
        let key = TokenKey([7; 32]);
        let token = key.seal(&entry(1, "k"), &context());
        assert_eq!(key.open(&entry(1, "k"), &token), Ok(context()));
        assert_eq!(key.open(&entry(2, "k"), &token), Err(TokenError::Foreign));
        assert_eq!(key.open(&entry(1, "l"), &token), Err(TokenError::Foreign));
        let other = TokenKey([8; 32]);
        assert_eq!(other.open(&entry(1, "k"), &token), Err(TokenError::Foreign));
    }

    #[test]
    fn refuses_every_changed_or_cut_token() {
        let key = TokenKey([7; 32]);
        let token = key.seal(&entry(1, "k"), &context());
        for byte in 0..token.len() {
            let mut changed = token.clone();
            changed[byte] ^= 1;
            assert_eq!(key.open(&entry(1, "k"), &changed), Err(TokenError::Foreign));
            assert!(key.open(&entry(1, "k"), &token[..byte]).is_err());
        }
        assert_eq!(
            key.open(&entry(1, "k"), &vec![0; 1 << 20]),
            Err(TokenError::Malformed)
        );
    }
}
