//! This is how the doubt about a node's directory ends: once the node has had from others whatever
//! it may have lost, the directory notes it, and the next start believes it again.

use crate::peer::Peer;
use crate::store::directory::OpenDoubt;
use std::sync::Arc;
use std::time::Duration;

/// How long a note that could not be written waits to be tried again.
const RETRY_PERIOD: Duration = Duration::from_secs(30);

/// Ends the doubt when its time has come.
pub(super) async fn resolve(peer: Arc<Peer>, doubt: OpenDoubt) {
    peer.whole().await;
    loop {
        let doubt = doubt.clone();
        match tokio::task::spawn_blocking(move || doubt.resolve()).await {
            Ok(Ok(())) => break,
            Ok(Err(error)) => {
                tracing::warn!(%error, "it is noted another time that nothing is missing any more");
            }
            Err(error) => tracing::error!(%error, "the doubt about the directory was not ended"),
        }
        tokio::time::sleep(RETRY_PERIOD).await;
    }
    peer.believe();
    tracing::info!("what the directory may have lost has been had from the other replicas");
}
