//! This is the client listener: it accepts, bounds how many connections there are, hands each to
//! a worker, and at the end lets what is under way finish.

use super::connection::Serving;
use super::problem::{Code, Problem};
use super::request::HttpService;
use super::shutdown::{Shutdown, shutdown};
use super::transport::{Accepted, Duplex, Listener, TurnedAway, accept_next};
use super::workers::Workers;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// What a client listener may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most connections at a time; each takes one file descriptor.
    pub connections_max: u32,
    /// How many refused clients are told why at a time; further ones are only closed.
    pub refusals_max: u32,
    /// The most bytes of request bodies in memory at a time, over all connections.
    pub body_bytes_max: usize,
    /// The most bytes of answers that wait for their clients, over all connections: past it what is
    /// read is refused.
    pub answer_bytes_max: usize,
    /// How long requests under way have to finish when the node stops.
    pub drain_time_max: Duration,
    /// Whether answers carry a `Date`; off where runs must be repeatable.
    pub date_header: bool,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections_max: 10_000,
            refusals_max: 64,
            body_bytes_max: 512 << 20,
            answer_bytes_max: 512 << 20,
            drain_time_max: Duration::from_secs(6),
            date_header: true,
        }
    }
}

/// How long a refused client may take to read why.
const REFUSAL_TIME_MAX: Duration = Duration::from_secs(1);

/// How a listener ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Every request that was under way is answered.
    Finished,
    /// Some connections were cut when the time was up.
    Cut {
        /// How many.
        connections: usize,
    },
}

/// Accepts clients and serves them on `workers` until `stop`, then finishes what is under way.
/// Past the most connections a client is answered 429 `overloaded` and closed.
pub async fn serve_clients<L: Listener>(
    mut listener: L,
    workers: &Workers,
    service: Arc<dyn HttpService>,
    limits: Limits,
    mut stop: Shutdown,
) -> Drained {
    let serving = Arc::new(Serving::new(Arc::clone(&service), &limits));
    let places = Arc::new(Semaphore::new(limits.connections_max as usize));
    let refusals = Arc::new(Semaphore::new(limits.refusals_max as usize));
    let (cut, cut_heard) = shutdown();
    let mut turned_away = TurnedAway::default();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.wait() => break,
            accepted = accept_next(&mut listener) => accepted,
        };
        if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
            let serving = Arc::clone(&serving);
            let (stop, cut) = (stop.clone(), cut_heard.clone());
            let (places, service) = (Arc::clone(&places), Arc::clone(&service));
            let note = move || {
                let free = places.available_permits();
                service.on_connections((limits.connections_max as usize).saturating_sub(free));
            };
            note();
            workers.spawn(async move {
                match accepted.open() {
                    Ok(io) => serving.serve(io, stop, cut).await,
                    Err(error) => tracing::warn!(%error, "a connection could not be served"),
                }
                drop(place);
                note();
            });
            continue;
        }
        turned_away.tell("clients", limits.connections_max);
        if let Ok(refusal) = Arc::clone(&refusals).try_acquire_owned() {
            workers.spawn(async move {
                if let Ok(io) = accepted.open() {
                    let _ = timeout(REFUSAL_TIME_MAX, refuse(io)).await;
                }
                drop(refusal);
            });
        }
    }
    drop(listener);
    let all = places.acquire_many(limits.connections_max);
    if timeout(limits.drain_time_max, all).await.is_ok() {
        return Drained::Finished;
    }
    let connections = limits.connections_max as usize - places.available_permits();
    cut.fire();
    let _ = places.acquire_many(limits.connections_max).await;
    Drained::Cut { connections }
}

/// Tells a client that there is no place for it, in HTTP/1.1, and waits until it has read that.
async fn refuse<Io: Duplex>(mut io: Io) -> std::io::Result<()> {
    let problem = Problem::new(Code::Overloaded, "This node has no free connection.");
    let body = problem.to_json();
    let status = Code::Overloaded.status();
    let head = format!(
        "HTTP/1.1 {} {}\r\ncontent-type: {}\r\ncontent-length: {}\r\nretry-after: 1\r\n\
         connection: close\r\n\r\n",
        status.as_str(),
        status.canonical_reason().unwrap_or_default(),
        super::problem::PROBLEM_JSON,
        body.len(),
    );
    io.write_all(&[head.as_bytes(), &body].concat()).await?;
    io.shutdown().await?;
    // Closing with unread bytes would reset the connection before the answer is read.
    let mut buffer = [0; 4096];
    while io.read(&mut buffer).await? > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests;
