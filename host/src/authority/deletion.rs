//! This is how a bucket goes: it is closed, all replicas are asked whether it has keys, and then it
//! is dropped, or opened again.

use super::command::{CommandError, Done};
use super::lead::{Asked, Changed, change};
use super::{Emptiness, Inner, locked, spread};
use soros_core::epoch::Epoch;
use soros_core::id::{BucketId, BucketName, NodeName};
use soros_core::map::change::{Change, ChangeError};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How long the replicas have to say whether a bucket has keys.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);

/// Shows, as long as it lives, that a bucket is being deleted here.
struct Deleting<'a> {
    inner: &'a Inner,
    name: &'a BucketName,
}

impl<'a> Deleting<'a> {
    fn start(inner: &'a Inner, name: &'a BucketName) -> Result<Deleting<'a>, CommandError> {
        if locked(&inner.deleting).insert(name.clone()) {
            Ok(Deleting { inner, name })
        } else {
            Err(ChangeError::BucketClosing(name.clone()).into())
        }
    }
}

impl Drop for Deleting<'_> {
    fn drop(&mut self) {
        locked(&self.inner.deleting).remove(self.name);
    }
}

/// Deletes the bucket `name` if it has no keys.
///
/// # Errors
/// [`CommandError`] says whether it is gone.
pub(super) async fn delete(
    inner: &Arc<Inner>,
    name: &BucketName,
    only_at: Option<Epoch>,
) -> Result<Done, CommandError> {
    let deleting = Deleting::start(inner, name)?;
    let close = Change::CloseBucket { name: name.clone() };
    let closed = change(inner, Asked::at(only_at), async |_| Ok(close)).await?;
    spread::spread(inner, &closed.after).await;
    let bucket = closed.after.bucket(name);
    let (id, closed_at) = bucket
        .map(|bucket| (bucket.id, bucket.closed_at))
        .unwrap_or_default();
    let has_keys = inner
        .parts
        .buckets
        .has_keys(name, id, Arc::clone(&closed.after));
    let (epoch, not_ready) = match timeout(CHECK_TIMEOUT, has_keys).await {
        Ok(Emptiness::Empty) => {
            settle(
                inner,
                Change::DropBucket {
                    name: name.clone(),
                    id,
                    closed_at,
                },
            )
            .await?
        }
        Ok(Emptiness::HasKeys) => {
            reopen(inner, name, (id, closed_at)).await?;
            return Err(CommandError::BucketInUse(name.clone()));
        }
        Ok(Emptiness::Unknown) | Err(_) => {
            reopen(inner, name, (id, closed_at)).await?;
            return Err(CommandError::BucketUnchecked(name.clone()));
        }
    };
    drop(deleting);
    Ok(Done::at(epoch, false, not_ready))
}

/// Opens a bucket again that is closing since that epoch.
///
/// # Errors
/// [`CommandError`] when it stays closed; whoever leads then opens it.
pub(super) async fn reopen(
    inner: &Arc<Inner>,
    name: &BucketName,
    (id, closed_at): (BucketId, Epoch),
) -> Result<(), CommandError> {
    settle(
        inner,
        Change::ReopenBucket {
            name: name.clone(),
            id,
            closed_at,
        },
    )
    .await
    .map(|_| ())
}

/// Makes the change that ends a deletion. Not even a refusal is certain then: the bucket was closed
/// already.
async fn settle(inner: &Arc<Inner>, end: Change) -> Result<(Epoch, Vec<NodeName>), CommandError> {
    match change(inner, Asked::default(), async |_| Ok(end)).await {
        Ok(Changed { after, .. }) => Ok((after.epoch(), spread::spread(inner, &after).await)),
        Err(error) => {
            tracing::warn!(%error, "a bucket stays closed until the next leader opens it");
            Err(CommandError::Unknown)
        }
    }
}
