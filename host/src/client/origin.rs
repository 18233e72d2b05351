//! This is one node as the client sees it: its URL and the connections to it that are kept.

use super::Limits;
use super::Protocol;
use super::call::{Answer, Call};
use super::connection::{Connection, SendError, Shared};
use super::error::{BadAnswer, ClientError, Silence};
use super::url::NodeUrl;
use bytes::Bytes;
use http::Response;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::time::{Duration, Instant, timeout, timeout_at};

/// The most connections that are kept for later requests.
const IDLE_MAX: usize = 1024;
/// How long a connection is kept unused. A node that closes one just as it is used again makes the
/// fate of a write unknown, so this is well below what servers allow.
const IDLE_TIME_MAX: Duration = Duration::from_secs(5);
/// The most bytes of an answer's body: a key with all its siblings, as JSON.
const ANSWER_BYTES_MAX: usize = 512 << 20;

/// A node and the connections to it.
pub(super) struct Origin {
    pub(super) url: NodeUrl,
    protocol: Protocol,
    /// HTTP/1.1: those that wait for a request.
    idle: Mutex<Vec<Idle>>,
    /// HTTP/2: the one that all requests share.
    shared: tokio::sync::Mutex<Option<Connection>>,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

/// How an attempt at one node ended without an answer.
enum Attempt {
    /// The connection was an old one and is gone; nothing was sent, so a new one may do.
    Stale,
    Failed(ClientError),
}

impl Origin {
    pub(super) fn new(url: NodeUrl, protocol: Protocol) -> Origin {
        Origin {
            url,
            protocol,
            idle: Mutex::default(),
            shared: tokio::sync::Mutex::default(),
        }
    }

    /// Sends `call` to this node and reads the whole answer, whatever its status.
    pub(super) async fn exchange(
        &self,
        call: &Call,
        limits: &Limits,
        until: Instant,
    ) -> Result<Answer, ClientError> {
        loop {
            let attempt = match self.protocol {
                Protocol::Http1 => self.exchange_alone(call, limits, until).await,
                Protocol::Http2 => self.exchange_among_others(call, limits, until).await,
            };
            match attempt {
                Ok(answer) => return Ok(answer),
                Err(Attempt::Failed(error)) => return Err(error),
                // Each round uses up one kept connection, so this ends.
                Err(Attempt::Stale) => {}
            }
        }
    }

    async fn exchange_alone(
        &self,
        call: &Call,
        limits: &Limits,
        until: Instant,
    ) -> Result<Answer, Attempt> {
        let kept = self.take_idle();
        let is_kept = kept.is_some();
        let mut connection = match kept {
            Some(connection) => connection,
            None => self.open(limits, until).await?,
        };
        let head = timeout_at(until, connection.send(&self.url, call)).await;
        let response = self.head(head, limits, is_kept)?;
        let answer = self.read(response, limits, until).await?;
        self.keep(connection);
        Ok(answer)
    }

    async fn exchange_among_others(
        &self,
        call: &Call,
        limits: &Limits,
        until: Instant,
    ) -> Result<Answer, Attempt> {
        let (connection, is_kept) = self.share(limits, until).await?;
        let head = timeout_at(until, connection.send(&self.url, call)).await;
        let response = self.head(head, limits, is_kept)?;
        self.read(response, limits, until).await
    }

    /// The connection that all requests share, opened anew when it is closed.
    async fn share(&self, limits: &Limits, until: Instant) -> Result<(Shared, bool), Attempt> {
        let mut shared = self.shared.lock().await;
        if let Some(connection) = shared.as_ref().filter(|connection| connection.is_open())
            && let Some(handle) = connection.shared()
        {
            return Ok((handle, true));
        }
        let connection = self.open(limits, until).await?;
        let handle = connection.shared();
        *shared = Some(connection);
        handle.map(|handle| (handle, false)).ok_or_else(|| {
            Attempt::Failed(self.unreachable(io::Error::other("the connection is not HTTP/2")))
        })
    }

    async fn open(&self, limits: &Limits, until: Instant) -> Result<Connection, Attempt> {
        let left = until
            .saturating_duration_since(Instant::now())
            .min(limits.connect);
        let opened = timeout(left, Connection::open(&self.url, self.protocol)).await;
        let opened = opened.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        opened.map_err(|error| Attempt::Failed(self.unreachable(error)))
    }

    fn head(
        &self,
        head: Result<Result<Response<Incoming>, SendError>, tokio::time::error::Elapsed>,
        limits: &Limits,
        is_kept: bool,
    ) -> Result<Response<Incoming>, Attempt> {
        match head {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(SendError::NotSent(_))) if is_kept => Err(Attempt::Stale),
            Ok(Err(SendError::NotSent(error))) => {
                Err(Attempt::Failed(self.unreachable(io::Error::other(error))))
            }
            Ok(Err(SendError::Unknown(error))) => Err(self.silent(Silence::Broken(error.into()))),
            Err(_) => Err(self.silent(Silence::TimedOut(limits.attempt))),
        }
    }

    async fn read(
        &self,
        response: Response<Incoming>,
        limits: &Limits,
        until: Instant,
    ) -> Result<Answer, Attempt> {
        let (head, body) = response.into_parts();
        let body = timeout_at(until, Limited::new(body, ANSWER_BYTES_MAX).collect()).await;
        let body = match body {
            Ok(Ok(body)) => body.to_bytes(),
            // What is wrong is known by the status already.
            _ if head.status.as_u16() >= 400 => Bytes::new(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                let what = BadAnswer::TooLarge(ANSWER_BYTES_MAX);
                return Err(Attempt::Failed(ClientError::BadAnswer {
                    url: self.url.clone(),
                    what,
                }));
            }
            Ok(Err(error)) => return Err(self.silent(Silence::Broken(error))),
            Err(_) => return Err(self.silent(Silence::TimedOut(limits.attempt))),
        };
        let (status, headers) = (head.status, head.headers);
        Ok(Answer {
            url: self.url.clone(),
            status,
            headers,
            body,
        })
    }

    fn silent(&self, cause: Silence) -> Attempt {
        Attempt::Failed(ClientError::NoAnswer {
            url: self.url.clone(),
            cause,
        })
    }

    fn unreachable(&self, source: io::Error) -> ClientError {
        ClientError::Unreachable {
            url: self.url.clone(),
            source,
        }
    }

    fn take_idle(&self) -> Option<Connection> {
        let mut idle = self.idle();
        while let Some(Idle { connection, since }) = idle.pop() {
            if connection.is_open() && since.elapsed() < IDLE_TIME_MAX {
                return Some(connection);
            }
        }
        None
    }

    fn keep(&self, connection: Connection) {
        let mut idle = self.idle();
        if idle.len() < IDLE_MAX {
            idle.push(Idle {
                connection,
                since: Instant::now(),
            });
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
