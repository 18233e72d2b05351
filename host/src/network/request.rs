//! This is what a handler is given: a request whose body is read through one gate, with a limit
//! on its bytes, on its slowness, and on what all bodies together may hold in memory.

use super::body::Response;
use super::problem::{Code, Problem};
use bytes::{Bytes, BytesMut};
use http::HeaderValue;
use http::header::CONNECTION;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

/// A request as a handler sees it.
pub type Request = http::Request<RequestBody>;

/// Answers requests.
pub trait HttpService: Send + Sync + 'static {
    /// The answer to a request. The future may be dropped at any await when the client goes away:
    /// what must not stop half-way belongs into a task of its own.
    fn call(&self, request: Request) -> super::BoxFuture<'static, Response>;

    /// So many connections are open now.
    fn on_connections(&self, open: usize) {
        let _ = open;
    }
}

/// How long a client may keep a body waiting before it must keep up the pace.
const GRACE: Duration = Duration::from_secs(15);
/// The pace a body must keep after that.
const BYTES_PER_SECOND_MIN: u32 = 1024;
/// How much room a body's announced length reserves at once; the rest grows as bytes arrive.
const RESERVED_BYTES_MAX: usize = 64 << 10;

/// The body of a request. One that a handler leaves unread is drained within bounds behind its
/// back, so that the client sees the answer instead of a reset.
#[derive(Debug)]
pub struct RequestBody {
    source: Source,
    pace: Pace,
    share: Arc<Share>,
    /// Where an unread rest goes.
    leftovers: Option<mpsc::Sender<Incoming>>,
    /// The client sends nothing before it is asked to: an unread body has no rest.
    expects: bool,
}

#[derive(Debug)]
enum Source {
    Full(Bytes),
    Client(Incoming),
    Done,
}

/// Why a body could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// It has more bytes than the route takes.
    #[error("the body has more than {limit} bytes")]
    TooLarge {
        /// The most bytes the route takes.
        limit: usize,
    },
    /// It came too slowly.
    #[error("the body came too slowly")]
    TooSlow,
    /// All bodies together hold as much memory as they may.
    #[error("too many bodies are being read")]
    Overloaded,
    /// The client broke it off.
    #[error("the body broke off")]
    BrokenOff,
}

impl RequestBody {
    /// A body that is there: of a request that was not read from a client.
    #[must_use]
    pub fn full(bytes: impl Into<Bytes>) -> RequestBody {
        let bytes = bytes.into();
        let budget = Budget::new(usize::MAX);
        RequestBody {
            source: Source::Full(bytes),
            pace: Pace::default(),
            share: Arc::new(Share::of(&budget)),
            leftovers: None,
            expects: false,
        }
    }

    /// The body of a client's request.
    pub(super) fn of_client(
        body: Incoming,
        expects: bool,
        share: Arc<Share>,
        leftovers: Option<mpsc::Sender<Incoming>>,
    ) -> RequestBody {
        let source = if body.is_end_stream() {
            Source::Done
        } else {
            Source::Client(body)
        };
        let pace = Pace::default();
        RequestBody {
            source,
            pace,
            share,
            leftovers,
            expects,
        }
    }

    /// All bytes of the body.
    ///
    /// # Errors
    /// [`BodyError`]: with more than `limit` bytes as soon as the announced or the counted length
    /// shows it.
    pub async fn collect(mut self, limit: usize) -> Result<Bytes, BodyError> {
        let announced = self.announced();
        if announced.is_some_and(|bytes| bytes > limit as u64) {
            return Err(BodyError::TooLarge { limit });
        }
        let Some(first) = self.chunk_within(limit).await? else {
            return Ok(Bytes::new());
        };
        // Most bodies are one chunk, and need no copy.
        let Some(second) = self
            .chunk_within(limit - first.len())
            .await
            .map_err(of(limit))?
        else {
            return Ok(first);
        };
        let reserved = announced
            .and_then(|bytes| usize::try_from(bytes).ok())
            .unwrap_or(0);
        let mut bytes = BytesMut::with_capacity(reserved.min(RESERVED_BYTES_MAX));
        bytes.extend_from_slice(&first);
        bytes.extend_from_slice(&second);
        while let Some(chunk) = self
            .chunk_within(limit - bytes.len())
            .await
            .map_err(of(limit))?
        {
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes.freeze())
    }

    /// The next bytes of the body, `None` at its end. Only [`collect`](Self::collect) bounds how
    /// many there are in all.
    ///
    /// # Errors
    /// [`BodyError`], but never [`BodyError::TooLarge`].
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, BodyError> {
        match &mut self.source {
            Source::Done => Ok(None),
            Source::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                self.source = Source::Done;
                Ok((!bytes.is_empty()).then_some(bytes))
            }
            Source::Client(body) => {
                self.expects = false;
                let read = self.pace.next(body).await;
                if !matches!(read, Ok(Some(_)) | Err(BodyError::TooSlow)) {
                    self.source = Source::Done;
                }
                match read? {
                    Some(bytes) => self.share.take(bytes.len()).map(|()| Some(bytes)),
                    None => Ok(None),
                }
            }
        }
    }

    /// How many bytes the client has announced.
    #[must_use]
    pub fn announced(&self) -> Option<u64> {
        match &self.source {
            Source::Done => Some(0),
            Source::Full(bytes) => Some(bytes.len() as u64),
            Source::Client(body) => body.size_hint().exact(),
        }
    }

    async fn chunk_within(&mut self, limit: usize) -> Result<Option<Bytes>, BodyError> {
        match self.chunk().await? {
            Some(bytes) if bytes.len() > limit => Err(BodyError::TooLarge { limit }),
            chunk => Ok(chunk),
        }
    }
}

/// A rest was exceeded: the error names the whole limit.
fn of(limit: usize) -> impl Fn(BodyError) -> BodyError {
    move |error| match error {
        BodyError::TooLarge { .. } => BodyError::TooLarge { limit },
        BodyError::TooSlow | BodyError::Overloaded | BodyError::BrokenOff => error,
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        let source = std::mem::replace(&mut self.source, Source::Done);
        if let (Source::Client(body), Some(leftovers), false) =
            (source, &self.leftovers, self.expects)
        {
            // With no room left in the channel the rest is not drained, which only costs the
            // client a reset.
            let _ = leftovers.try_send(body);
        }
    }
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Problem {
        match error {
            BodyError::TooLarge { limit } => Problem::new(
                Code::ValueTooLarge,
                format!("At most {limit} bytes are taken."),
            )
            .with("limit", limit),
            BodyError::TooSlow => {
                let detail = format!(
                    "After {} s a body must keep {BYTES_PER_SECOND_MIN} bytes a second.",
                    GRACE.as_secs()
                );
                Problem::new(Code::RequestTimeout, detail)
                    .header(CONNECTION, HeaderValue::from_static("close"))
            }
            BodyError::Overloaded => {
                Problem::new(Code::Overloaded, "Too many request bodies are in memory.")
            }
            BodyError::BrokenOff => Problem::new(
                Code::BadRequest,
                "The body ended before its announced length.",
            ),
        }
    }
}

/// How long a client may still keep a body waiting. Bytes earn time, up to the grace every body
/// begins with, so a body may stall for that long at any point but never much longer.
#[derive(Debug)]
struct Pace {
    left: Duration,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { left: GRACE }
    }
}

impl Pace {
    async fn next(&mut self, body: &mut Incoming) -> Result<Option<Bytes>, BodyError> {
        loop {
            let since = Instant::now();
            let frame = timeout(self.left, body.frame())
                .await
                .map_err(|_| BodyError::TooSlow)?;
            let Some(frame) = frame else { return Ok(None) };
            let frame = frame.map_err(|_| BodyError::BrokenOff)?;
            // Trailers are no part of a value.
            let Ok(bytes) = frame.into_data() else {
                continue;
            };
            self.earn(bytes.len(), since.elapsed());
            return Ok(Some(bytes));
        }
    }

    fn earn(&mut self, bytes: usize, waited: Duration) {
        let seconds = u32::try_from(bytes).unwrap_or(u32::MAX);
        let earned = Duration::from_secs(1) * seconds / BYTES_PER_SECOND_MIN;
        self.left = GRACE.min(self.left.saturating_sub(waited) + earned);
    }
}

/// One of so many parts of a budget is for one connection: with many requests at a time it could
/// hold all of it.
const PARTS: usize = 8;

/// What all bodies together may hold in memory, or what those of one connection may of it.
#[derive(Debug)]
pub(super) struct Budget {
    used: AtomicUsize,
    max: usize,
    whole: Option<Arc<Budget>>,
}

impl Budget {
    pub(super) fn new(max: usize) -> Arc<Budget> {
        Arc::new(Budget {
            used: AtomicUsize::new(0),
            max,
            whole: None,
        })
    }

    /// A connection's part of `whole`. One body may be larger than that, if it is the only one.
    pub(super) fn part(whole: &Arc<Budget>) -> Arc<Budget> {
        Arc::new(Budget {
            used: AtomicUsize::new(0),
            max: whole.max / PARTS,
            whole: Some(Arc::clone(whole)),
        })
    }

    /// Whether there is room for `bytes` more of who holds `held`.
    fn take(&self, bytes: usize, held: usize) -> bool {
        let used = self.used.fetch_add(bytes, Ordering::Relaxed);
        let fits = used.saturating_add(bytes) <= self.max;
        let Some(whole) = &self.whole else {
            return fits;
        };
        let is_alone = used == held;
        whole.take(bytes, held) && (fits || is_alone)
    }

    fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(whole) = &self.whole {
            whole.give_back(bytes);
        }
    }
}

/// What one request holds of the budget, until it is answered.
#[derive(Debug)]
pub(super) struct Share {
    budget: Arc<Budget>,
    held: AtomicUsize,
}

impl Share {
    pub(super) fn of(budget: &Arc<Budget>) -> Share {
        Share {
            budget: Arc::clone(budget),
            held: AtomicUsize::new(0),
        }
    }

    pub(super) fn take(&self, bytes: usize) -> Result<(), BodyError> {
        let held = self.held.fetch_add(bytes, Ordering::Relaxed);
        if self.budget.take(bytes, held) {
            Ok(())
        } else {
            Err(BodyError::Overloaded)
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.give_back(self.held.load(Ordering::Relaxed));
    }
}

/// Reads an unread rest away, within bounds.
pub(super) async fn drain(mut body: Incoming) {
    /// Past this the client gets a reset: it will not stop by itself.
    const BYTES_MAX: usize = 64 << 20;
    const TIME_MAX: Duration = Duration::from_secs(10);
    /// A client that pauses has seen the answer, or never will.
    const PAUSE_MAX: Duration = Duration::from_secs(2);

    let all = async {
        let mut left = BYTES_MAX;
        while let Ok(Some(Ok(frame))) = timeout(PAUSE_MAX, body.frame()).await {
            let len = frame.data_ref().map_or(0, Bytes::len);
            let Some(rest) = left.checked_sub(len) else {
                return;
            };
            left = rest;
        }
    };
    let _ = timeout(TIME_MAX, all).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn takes_a_body_up_to_the_limit_and_names_the_limit_past_it() {
        let body = RequestBody::full("four");
        assert_eq!(body.collect(4).await, Ok(Bytes::from_static(b"four")));
        let error = RequestBody::full("five!").collect(4).await.unwrap_err();
        assert_eq!(error, BodyError::TooLarge { limit: 4 });
        let problem = Problem::from(error);
        assert_eq!(problem.field("limit"), Some(&4.into()));
        assert_eq!(RequestBody::full("").collect(0).await, Ok(Bytes::new()));
    }

    #[test]
    fn earns_time_by_bytes_but_never_more_than_the_grace() {
        let mut pace = Pace::default();
        pace.earn(0, Duration::from_secs(14));
        assert_eq!(pace.left, Duration::from_secs(1));
        pace.earn(2048, Duration::from_secs(1));
        assert_eq!(pace.left, Duration::from_secs(2));
        pace.earn(100 << 20, Duration::ZERO);
        assert_eq!(pace.left, GRACE);
    }

    #[test]
    fn gives_its_share_back_when_the_request_is_answered() {
        let budget = Budget::new(10);
        let first = Share::of(&budget);
        assert_eq!(first.take(8), Ok(()));
        let second = Share::of(&budget);
        assert_eq!(second.take(8), Err(BodyError::Overloaded));
        drop(second);
        assert_eq!(first.take(2), Ok(()));
        drop(first);
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_connection_has_an_eighth_of_the_budget_or_one_body() {
        let budget = Budget::new(80);
        let (one, other) = (Budget::part(&budget), Budget::part(&budget));
        let large = Share::of(&one);
        assert_eq!((large.take(20), large.take(20)), (Ok(()), Ok(())));
        assert_eq!(Share::of(&one).take(1), Err(BodyError::Overloaded));
        let others = [Share::of(&other), Share::of(&other)];
        assert_eq!(others.each_ref().map(|share| share.take(5)), [Ok(()); 2]);
        assert_eq!(Share::of(&other).take(1), Err(BodyError::Overloaded));
        assert_eq!(large.take(31), Err(BodyError::Overloaded), "all have 80");
        drop((large, others));
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
    }
}
