//! This is what a client's connection is doing, as its bytes show it: waiting for a request,
//! sending one's headers, being answered, or not reading its answers. From it follows when a
//! connection is given up, at the cost of two clock readings a request.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// The headers of a request must arrive within this.
const HEADERS_TIME_MAX: Duration = Duration::from_secs(15);
/// A connection without a request is kept for this long.
const IDLE_TIME_MAX: Duration = Duration::from_secs(75);
/// A client that takes no byte of its answers for this long is given up.
const WRITE_STALL_MAX: Duration = Duration::from_mins(1);
/// What an HTTP/2 connection begins with.
const HTTP2_START: &[u8] = b"PRI";

/// What a connection is doing. Everything happens on one thread; the atomics only say so to the
/// compiler.
#[derive(Debug)]
pub(super) struct Activity {
    since: Instant,
    /// When the current state began, in milliseconds since `since`.
    mark: AtomicU64,
    /// When writing began to stall, likewise, from 1; 0 while it does not.
    stalled: AtomicU64,
    /// The first bytes of a request were read, and its headers are not complete.
    reading: AtomicBool,
    /// Requests under way: with the handler, or with an answer that is not written.
    requests: AtomicU32,
    /// The connection has had bytes.
    begun: AtomicBool,
    /// The connection speaks HTTP/2.
    http2: AtomicBool,
}

/// What is to be done with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing before this instant.
    Keep(Instant),
    /// It has been idle for long: close it politely.
    Idle,
    /// Its client stalls: drop it.
    Stalled,
}

impl Activity {
    pub(super) fn new() -> Activity {
        Activity {
            since: Instant::now(),
            mark: AtomicU64::new(0),
            stalled: AtomicU64::new(0),
            reading: AtomicBool::new(false),
            requests: AtomicU32::new(0),
            begun: AtomicBool::new(false),
            http2: AtomicBool::new(false),
        }
    }

    /// When the headers that are being read must be complete.
    pub(super) fn headers_due(&self) -> Option<Instant> {
        self.reading
            .load(Ordering::Relaxed)
            .then(|| self.at(&self.mark) + HEADERS_TIME_MAX)
    }

    /// What is to be done with the connection at `now`.
    pub(super) fn verdict(&self, now: Instant) -> Verdict {
        if self.stalled.load(Ordering::Relaxed) > 0 {
            let due = self.at(&self.stalled) + WRITE_STALL_MAX;
            return if due <= now {
                Verdict::Stalled
            } else {
                Verdict::Keep(due)
            };
        }
        if let Some(due) = self.headers_due() {
            return if due <= now {
                Verdict::Stalled
            } else {
                Verdict::Keep(due)
            };
        }
        if self.requests.load(Ordering::Relaxed) > 0 {
            return Verdict::Keep(now + WRITE_STALL_MAX);
        }
        let due = self.at(&self.mark) + IDLE_TIME_MAX;
        if due <= now {
            Verdict::Idle
        } else {
            Verdict::Keep(due)
        }
    }

    /// A request's headers are complete. The guard ends the request.
    pub(super) fn begin_request(self: &Arc<Activity>) -> Underway {
        self.reading.store(false, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
        Underway(Arc::clone(self))
    }

    fn on_read(&self, bytes: &[u8]) {
        if !self.begun.load(Ordering::Relaxed) {
            self.begun.store(true, Ordering::Relaxed);
            self.http2
                .store(bytes.starts_with(HTTP2_START), Ordering::Relaxed);
        }
        // In HTTP/2 bytes are often no request: its own pings find a client that stalls there.
        let between = self.requests.load(Ordering::Relaxed) == 0
            && !self.reading.load(Ordering::Relaxed)
            && !self.http2.load(Ordering::Relaxed);
        if between {
            self.reading.store(true, Ordering::Relaxed);
            self.mark.store(self.now(), Ordering::Relaxed);
        }
    }

    fn on_written<T>(&self, written: &Poll<T>) {
        let stalled = self.stalled.load(Ordering::Relaxed) > 0;
        if written.is_pending() && !stalled {
            self.stalled.store(self.now().max(1), Ordering::Relaxed);
        } else if written.is_ready() && stalled {
            self.stalled.store(0, Ordering::Relaxed);
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn at(&self, mark: &AtomicU64) -> Instant {
        self.since + Duration::from_millis(mark.load(Ordering::Relaxed))
    }
}

/// A request that is under way until this is dropped.
#[derive(Debug)]
pub(super) struct Underway(Arc<Activity>);

impl Drop for Underway {
    fn drop(&mut self) {
        if self.0.requests.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.mark.store(self.0.now(), Ordering::Relaxed);
        }
    }
}

/// A connection whose reads and writes show in an [`Activity`].
#[derive(Debug)]
pub(super) struct Watched<Io> {
    io: Io,
    activity: Arc<Activity>,
}

impl<Io> Watched<Io> {
    pub(super) fn new(io: Io, activity: Arc<Activity>) -> Watched<Io> {
        Watched { io, activity }
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Watched<Io> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.io).poll_read(context, buffer);
        let bytes = &buffer.filled()[before..];
        if !bytes.is_empty() {
            self.activity.on_read(bytes);
        }
        read
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Watched<Io> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(context, bytes);
        self.activity.on_written(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(context, slices);
        self.activity.on_written(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(seconds: u64) -> Instant {
        Instant::now() + Duration::from_secs(seconds)
    }

    #[tokio::test(start_paused = true)]
    async fn gives_up_headers_that_never_end() {
        let activity = Activity::new();
        tokio::time::advance(Duration::from_secs(40)).await;
        activity.on_read(b"GET / HTT");
        assert_eq!(activity.verdict(after(14)), Verdict::Keep(after(15)));
        assert_eq!(activity.verdict(after(15)), Verdict::Stalled);
    }

    #[tokio::test(start_paused = true)]
    async fn counts_idleness_from_the_end_of_the_last_request() {
        let activity = Arc::new(Activity::new());
        activity.on_read(b"GET / HTTP/1.1\r\n\r\n");
        let request = activity.begin_request();
        tokio::time::advance(Duration::from_mins(10)).await;
        assert!(matches!(activity.verdict(Instant::now()), Verdict::Keep(_)));
        drop(request);
        assert_eq!(activity.verdict(after(74)), Verdict::Keep(after(75)));
        assert_eq!(activity.verdict(after(75)), Verdict::Idle);
    }

    #[tokio::test(start_paused = true)]
    async fn gives_up_a_client_that_does_not_read_its_answer() {
        let activity = Arc::new(Activity::new());
        activity.on_read(b"GET / HTTP/1.1\r\n\r\n");
        let _request = activity.begin_request();
        activity.on_written::<()>(&Poll::Pending);
        assert_eq!(activity.verdict(after(61)), Verdict::Stalled);
        activity.on_written(&Poll::Ready(()));
        assert!(matches!(activity.verdict(after(61)), Verdict::Keep(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn lets_an_idle_http2_connection_ping() {
        let activity = Activity::new();
        activity.on_read(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        activity.on_read(b"ping");
        assert_eq!(activity.headers_due(), None);
        assert_eq!(activity.verdict(after(75)), Verdict::Idle);
    }
}
