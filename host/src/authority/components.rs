//! This is how the components of plugins come from node to node: piece by piece, from whoever has
//! them, and checked by their digest.

use super::wire::{Answer, Request, To, Wire, ask};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use soros_core::id::NodeId;
use soros_core::map::plugin::{PluginDigest, Release};
use std::time::Duration;

/// How many bytes of a component one message carries.
pub const PIECE_BYTES: usize = 512 << 10;
/// How long a node may take to send a piece.
const PIECE_TIMEOUT: Duration = Duration::from_secs(5);

/// The component of `release`, from the first of `nodes` that has it whole.
pub async fn fetch(wire: &dyn Wire, nodes: &[NodeId], release: &Release) -> Option<Vec<u8>> {
    for &node in nodes {
        if let Some(bytes) = fetch_from(wire, node, release).await {
            return Some(bytes);
        }
    }
    None
}

async fn fetch_from(wire: &dyn Wire, node: NodeId, release: &Release) -> Option<Vec<u8>> {
    let size = usize::try_from(release.size).ok()?;
    let mut bytes = Vec::new();
    while bytes.len() < size {
        let piece = piece_of(wire, node, release.digest, bytes.len() as u64).await?;
        if piece.is_empty() || size - bytes.len() < piece.len() {
            return None;
        }
        bytes.extend_from_slice(&piece);
    }
    (PluginDigest(*blake3::hash(&bytes).as_bytes()) == release.digest).then_some(bytes)
}

async fn piece_of(
    wire: &dyn Wire,
    node: NodeId,
    digest: PluginDigest,
    from: u64,
) -> Option<Vec<u8>> {
    let request = Request::Component { digest, from };
    match ask(wire, &To::Node(node), &request, PIECE_TIMEOUT).await {
        Ok(Answer::Component(piece)) => STANDARD.decode(piece?).ok(),
        _ => None,
    }
}

/// A piece as it is sent.
pub(super) fn sent(piece: &[u8]) -> String {
    STANDARD.encode(piece)
}
