//! This is what is done before a load that reads: every key gets a value.

use super::super::{Failure, connect};
use super::load::Load;
use super::mix::key;
use crate::client::{Client, ClientError, WriteOptions};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::time::sleep;

/// How often a write is tried. Its outcome may be unknown, but the next one stores the same.
const ATTEMPTS: u32 = 5;
/// How long to wait before a write is tried again.
const PAUSE: Duration = Duration::from_millis(200);
/// How often progress is shown.
const SHOW_EVERY: Duration = Duration::from_secs(1);

/// Writes `keys` keys at the first target; `show` is told how many are written.
pub(super) fn run(
    load: &Arc<Load>,
    keys: u32,
    mut show: impl FnMut(u32) -> std::io::Result<()>,
) -> Result<(), Failure> {
    let target = &load.targets[0];
    let client = Arc::new(connect::client(&target.urls, target.options)?);
    let done = Arc::new(AtomicU32::new(0));
    connect::runtime()?.block_on(async {
        let tasks: Vec<_> = (0..load.clients)
            .map(|number| {
                let (load, client, done) =
                    (Arc::clone(load), Arc::clone(&client), Arc::clone(&done));
                tokio::spawn(async move { fill(&load, &client, number, keys, &done).await })
            })
            .collect();
        for task in tasks {
            while !task.is_finished() && done.load(Ordering::Relaxed) < keys {
                show(done.load(Ordering::Relaxed))?;
                tokio::select! {
                    () = sleep(SHOW_EVERY) => {}
                    () = finished(&task) => {}
                }
            }
            match task.await {
                Ok(filled) => filled?,
                Err(_) => return Err(Failure::Panicked("the writing of keys")),
            }
        }
        show(done.load(Ordering::Relaxed))?;
        Ok(())
    })
}

/// Waits until `task` is over, without taking its result.
async fn finished<T>(task: &tokio::task::JoinHandle<T>) {
    while !task.is_finished() {
        sleep(Duration::from_millis(10)).await;
    }
}

/// Writes every key of which this client's turn it is.
async fn fill(
    load: &Load,
    client: &Client,
    number: usize,
    keys: u32,
    done: &AtomicU32,
) -> Result<(), Failure> {
    let first = u32::try_from(number).unwrap_or(u32::MAX);
    for number in (first..keys).step_by(load.clients) {
        write(load, client, number).await?;
        done.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

async fn write(load: &Load, client: &Client, number: u32) -> Result<(), Failure> {
    let key = key(number)?;
    let options = WriteOptions {
        consistency: load.consistency,
        ..WriteOptions::default()
    };
    for _ in 1..ATTEMPTS {
        match client
            .put(&load.bucket, &key, load.value.clone(), &options)
            .await
        {
            Ok(_) => return Ok(()),
            Err(error) if may_pass(&error) => sleep(PAUSE).await,
            Err(error) => return Err(Failure::write(error)),
        }
    }
    let last = client
        .put(&load.bucket, &key, load.value.clone(), &options)
        .await;
    last.map(drop).map_err(Failure::write)
}

/// Whether it may be better in a moment: a node that restarts, a queue that is full.
fn may_pass(error: &ClientError) -> bool {
    match error.refusal() {
        Some(refusal) => {
            let status = refusal.status.as_u16();
            matches!(status, 429 | 503 | 504)
        }
        None => matches!(error, ClientError::NoAnswer { .. }),
    }
}
