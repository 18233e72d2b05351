//! This is one client's connection: HTTP/1.1 or HTTP/2, each request handed to the service with
//! its body behind a gate, each panic turned into an answer, and the connection given up when its
//! client stalls.

use super::activity::{Activity, Underway, Verdict, Watched};
use super::body::{Body, BrokenOff, Response};
use super::problem::{Code, Problem};
use super::request::{Budget, HttpService, RequestBody, Share, drain};
use super::shutdown::{Shutdown, Wait};
use super::transport::Duplex;
use super::{BoxFuture, Limits};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};

/// The most header fields a request may have.
const HEADER_FIELDS_MAX: usize = 128;
/// The most bytes of a request's header fields.
const HEADER_BYTES_MAX: usize = 64 << 10;
/// What hyper takes at all, so that our own limits are reached first and answered in our words.
const HYPER_FIELDS_MAX: usize = 1024;
const HYPER_BUFFER_BYTES: usize = 256 << 10;
const HYPER_HEADER_LIST_BYTES: u32 = 256 << 10;
/// How many requests one HTTP/2 connection may have under way.
const STREAMS_MAX: u32 = 256;
/// A silent HTTP/2 client is asked whether it lives after this, and has this long to answer.
const PING_AFTER: Duration = Duration::from_secs(10);
const PING_ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How many unread bodies of one connection are drained at a time.
const LEFTOVERS_MAX: usize = 4;
/// Answers up to this size are given however many wait for their clients.
const SMALL_ANSWER_BYTES: usize = 64 << 10;
/// How long an idle connection has to close politely.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// What all connections of a listener share.
pub(super) struct Serving {
    service: Arc<dyn HttpService>,
    budget: Arc<Budget>,
    answers: Arc<Budget>,
    builder: auto::Builder<TokioExecutor>,
}

impl Serving {
    pub(super) fn new(service: Arc<dyn HttpService>, limits: &Limits) -> Serving {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            // Who has sent all of its request may close its side and still wait for the answer.
            .half_close(true)
            .max_headers(HYPER_FIELDS_MAX)
            .max_buf_size(HYPER_BUFFER_BYTES)
            .auto_date_header(limits.date_header);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_header_list_size(HYPER_HEADER_LIST_BYTES)
            .max_concurrent_streams(STREAMS_MAX)
            .keep_alive_interval(PING_AFTER)
            .keep_alive_timeout(PING_ANSWER_WITHIN)
            .auto_date_header(limits.date_header);
        Serving {
            service,
            budget: Budget::new(limits.body_bytes_max),
            answers: Budget::new(limits.answer_bytes_max),
            builder,
        }
    }

    /// Serves one connection to its end. `drain` lets it finish what is under way, `cut` ends it.
    pub(super) async fn serve<Io: Duplex>(&self, io: Io, drain: Shutdown, cut: Shutdown) {
        let activity = Arc::new(Activity::new());
        let (leftovers, unread) = mpsc::channel(LEFTOVERS_MAX);
        let handler = Handler {
            service: Arc::clone(&self.service),
            budget: Budget::part(&self.budget),
            answers: Budget::part(&self.answers),
            activity: Arc::clone(&activity),
            leftovers,
        };
        let io = TokioIo::new(Watched::new(io, Arc::clone(&activity)));
        let connection = std::pin::pin!(self.builder.serve_connection(io, handler));
        let drive = Drive {
            connection,
            activity,
            unread,
            drains: FuturesUnordered::new(),
            alarm: Box::pin(tokio::time::sleep_until(Instant::now())),
            drain: Some(drain.into_wait()),
            cut: cut.into_wait(),
            closing: false,
        };
        drive.await;
    }
}

/// A connection of hyper's that can be asked to close politely.
trait Graceful: Future<Output = Result<(), BoxedError>> {
    fn close_politely(self: Pin<&mut Self>);
}

type BoxedError = Box<dyn std::error::Error + Send + Sync>;
type HyperConnection<'a, Io> = auto::Connection<'a, TokioIo<Watched<Io>>, Handler, TokioExecutor>;

impl<Io: Duplex> Graceful for HyperConnection<'_, Io> {
    fn close_politely(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// A connection being driven: its requests, its drains, its alarms.
struct Drive<'a, C> {
    connection: Pin<&'a mut C>,
    activity: Arc<Activity>,
    unread: mpsc::Receiver<Incoming>,
    drains: FuturesUnordered<BoxFuture<'static, ()>>,
    alarm: Pin<Box<Sleep>>,
    drain: Option<Wait>,
    cut: Wait,
    closing: bool,
}

impl<C: Graceful> Future for Drive<'_, C> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self
            .drain
            .as_mut()
            .is_some_and(|wait| wait.poll(context).is_ready())
        {
            self.drain = None;
            self.close_politely();
        }
        if self.cut.poll(context).is_ready() || self.poll_alarm(context).is_ready() {
            return Poll::Ready(());
        }
        if let Poll::Ready(ended) = self.connection.as_mut().poll(context) {
            if let Err(error) = ended {
                tracing::debug!(error, "a client's connection failed");
            }
            return Poll::Ready(());
        }
        self.poll_drains(context);
        self.arm_for_headers(context)
    }
}

impl<C: Graceful> Drive<'_, C> {
    fn close_politely(&mut self) {
        if !self.closing {
            self.closing = true;
            self.connection.as_mut().close_politely();
        }
    }

    fn poll_drains(&mut self, context: &mut Context<'_>) {
        while let Poll::Ready(Some(body)) = self.unread.poll_recv(context) {
            self.drains.push(Box::pin(drain(body)));
        }
        while let Poll::Ready(Some(())) = self.drains.poll_next_unpin(context) {}
    }

    /// Ready when the client stalls.
    fn poll_alarm(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while self.alarm.as_mut().poll(context).is_ready() {
            let now = Instant::now();
            match self.activity.verdict(now) {
                Verdict::Keep(until) => self.alarm.as_mut().reset(until),
                Verdict::Idle if self.closing => return Poll::Ready(()),
                Verdict::Idle => {
                    self.close_politely();
                    self.alarm.as_mut().reset(now + CLOSE_WITHIN);
                }
                Verdict::Stalled => return Poll::Ready(()),
            }
        }
        Poll::Pending
    }

    /// Headers that were begun are due earlier than whatever the alarm was set to.
    fn arm_for_headers(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(due) = self.activity.headers_due()
            && due < self.alarm.deadline()
        {
            self.alarm.as_mut().reset(due);
            return self.poll_alarm(context);
        }
        Poll::Pending
    }
}

/// Hands the requests of one connection to the service.
#[derive(Clone)]
struct Handler {
    service: Arc<dyn HttpService>,
    budget: Arc<Budget>,
    answers: Arc<Budget>,
    activity: Arc<Activity>,
    leftovers: mpsc::Sender<Incoming>,
}

impl hyper::service::Service<http::Request<Incoming>> for Handler {
    type Response = http::Response<Answer>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: http::Request<Incoming>) -> Answering {
        let underway = self.activity.begin_request();
        let share = Arc::new(Share::of(&self.budget));
        let (parts, body) = request.into_parts();
        let expects = parts.headers.contains_key(EXPECT);
        // A refused body of HTTP/2 is reset by itself, and costs the connection nothing.
        let leftovers = (parts.version < Version::HTTP_2).then(|| self.leftovers.clone());
        let body = RequestBody::of_client(body, expects, Arc::clone(&share), leftovers);
        let (version, method) = (parts.version, parts.method.clone());
        let work = match check_headers(&parts.headers) {
            Ok(()) => Work::Begin(Arc::clone(&self.service), Some((parts, body))),
            Err(problem) => Work::Answered(Some(problem.into_response())),
        };
        Answering {
            work,
            version,
            method,
            share,
            answers: Arc::clone(&self.answers),
            underway: Some(underway),
        }
    }
}

fn check_headers(headers: &HeaderMap) -> Result<(), Problem> {
    // A name, a value, a colon, a space and the end of a line.
    let field =
        |(name, value): (&http::HeaderName, &HeaderValue)| name.as_str().len() + value.len() + 4;
    if headers.len() > HEADER_FIELDS_MAX {
        let detail = format!("At most {HEADER_FIELDS_MAX} header fields are taken.");
        return Err(Problem::new(Code::HeadersTooLarge, detail).with("limit", HEADER_FIELDS_MAX));
    }
    if headers.iter().map(field).sum::<usize>() > HEADER_BYTES_MAX {
        let detail = format!("At most {HEADER_BYTES_MAX} bytes of headers are taken.");
        return Err(Problem::new(Code::HeadersTooLarge, detail).with("limit", HEADER_BYTES_MAX));
    }
    Ok(())
}

/// A request being answered. A panic of the service ends here, as an answer.
struct Answering {
    work: Work,
    version: Version,
    method: Method,
    /// Held until the handler is done: what was read of the body is in memory until then.
    share: Arc<Share>,
    /// What all answers together may hold until they are written.
    answers: Arc<Budget>,
    underway: Option<Underway>,
}

enum Work {
    Begin(
        Arc<dyn HttpService>,
        Option<(http::request::Parts, RequestBody)>,
    ),
    Under(BoxFuture<'static, Response>),
    Answered(Option<Response>),
}

impl Future for Answering {
    type Output = Result<http::Response<Answer>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let work = &mut self.work;
        let polled = std::panic::catch_unwind(AssertUnwindSafe(|| work.poll(context)));
        let response = ready!(polled.unwrap_or_else(|panic| {
            Poll::Ready(Problem::internal(&super::panic_text(&*panic)).into_response())
        }));
        // What the handler held is let go before the answer is written.
        self.work = Work::Answered(None);
        self.share = Arc::new(Share::of(&Budget::new(0)));
        Poll::Ready(Ok(self.finish(response)))
    }
}

impl Work {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Response> {
        if let Work::Begin(service, request) = self
            && let Some((parts, body)) = request.take()
        {
            let future = service.call(http::Request::from_parts(parts, body));
            *self = Work::Under(future);
        }
        match self {
            Work::Under(future) => future.as_mut().poll(context),
            Work::Answered(response) => Poll::Ready(response.take().unwrap_or_default()),
            Work::Begin(..) => Poll::Pending,
        }
    }
}

impl Answering {
    /// The answer, whose bytes count as long as they are in memory. What only reads is refused past
    /// the budget of all, or the connection's part, unless it is small, as what says how the node
    /// is; what may have changed something has to be answered.
    fn within_budget(&self, response: Response) -> Response {
        let bytes = response.body().bytes().cloned().unwrap_or_default();
        if bytes.is_empty() || self.method == Method::HEAD {
            return response;
        }
        let share = Share::of(&self.answers);
        let may_be_refused = self.method == Method::GET && SMALL_ANSWER_BYTES < bytes.len();
        if share.take(bytes.len()).is_err() && may_be_refused {
            let detail = "Too many answers wait for their clients.";
            return Problem::new(Code::Overloaded, detail).into_response();
        }
        let counted = Counted {
            bytes,
            _share: share,
        };
        response.map(|_| Body::full(Bytes::from_owner(counted)))
    }

    fn finish(&mut self, response: Response) -> http::Response<Answer> {
        let (mut parts, mut body) = self.within_budget(response).into_parts();
        if self.version >= Version::HTTP_2 {
            parts.headers.remove(CONNECTION);
        }
        if self.method == Method::HEAD {
            announce_length(&mut parts.headers, parts.status, &body);
            body = Body::empty();
        }
        let underway = self.underway.take();
        http::Response::from_parts(
            parts,
            Answer {
                body,
                _underway: underway,
            },
        )
    }
}

/// Bytes that hold a share of a budget until the last part of them is written.
struct Counted {
    bytes: Bytes,
    _share: Share,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// An answer to HEAD says how long the body would be that it does not have.
fn announce_length(headers: &mut HeaderMap, status: StatusCode, body: &Body) {
    let bodiless = status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
    if let Some(bytes) = body.bytes()
        && !bodiless
        && !headers.contains_key(CONTENT_LENGTH)
    {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    }
}

/// The body of an answer; the request is under way until it is written.
struct Answer {
    body: Body,
    _underway: Option<Underway>,
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;
