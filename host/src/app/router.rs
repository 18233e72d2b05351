//! This is which role answers which path. Any node answers any route.

use super::health;
use super::state::State;
use crate::authority::api::{AuthorityApi, WAITING_MAX};
use crate::network::{BoxFuture, Code, HttpService, Problem, Request, Response, Shutdown};
use crate::peer::api::KeyValueApi;
use crate::telemetry::Operation;
use http::{HeaderName, Method, StatusCode};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The most requests that are worked on at a time. Past it what a role would answer is refused;
/// what tells how the node is goes on.
const REQUESTS_MAX: usize = 16 << 10;

const _: () = assert!(WAITING_MAX <= REQUESTS_MAX / 4);

/// The routes of a node.
pub(super) struct Router {
    state: Arc<State>,
    keys: KeyValueApi<State>,
    authority: AuthorityApi,
    slots: Slots,
}

impl Router {
    /// The routes of the node `state`. When `stop` is said, whoever waits is sent away.
    pub(super) fn new(state: Arc<State>, stop: Shutdown) -> Router {
        let keys = KeyValueApi::new(Arc::clone(&state));
        let authority = AuthorityApi::new(Arc::clone(state.authority()), stop);
        Router {
            state,
            keys,
            authority,
            slots: Slots::new(REQUESTS_MAX),
        }
    }

    /// A role's answer, while there is a slot for one more request.
    fn of_role(&self, request: Request) -> Option<BoxFuture<'static, Response>> {
        let path = request.uri().path();
        let (is_of_keys, is_of_authority) = (
            KeyValueApi::<State>::serves(path),
            AuthorityApi::serves(path),
        );
        if !is_of_keys && !is_of_authority {
            let response = self.own(&request);
            return Some(Box::pin(std::future::ready(response)));
        }
        self.slots.admit(|| {
            if is_of_keys {
                self.keys.call(request)
            } else {
                self.authority.call(request)
            }
        })
    }

    /// The answer to a path that no role has.
    fn own(&self, request: &Request) -> Response {
        let (method, path) = (request.method(), request.uri().path());
        let answer: fn(&State) -> Response = match path {
            "/health/live" => |_| health::live(),
            "/health/ready" => health::ready,
            "/metrics" => health::metrics,
            "/openapi.json" => |_| health::openapi(),
            "/" => |_| health::dashboard(),
            _ => return health::no_such_route(path),
        };
        if method == Method::GET || method == Method::HEAD {
            refused(request).map_or_else(|| answer(&self.state), Problem::into_response)
        } else {
            Problem::method_not_allowed(&[Method::GET, Method::HEAD]).into_response()
        }
    }
}

/// Why a request is refused that says something which means nothing here.
fn refused(request: &Request) -> Option<Problem> {
    let foreign = |name: &&HeaderName| name.as_str().starts_with("soros-");
    if let Some(name) = request.headers().keys().find(foreign) {
        let detail = format!("The header `{name}` means nothing on this path: leave it out.");
        return Some(Problem::new(Code::BadHeader, detail));
    }
    let query = request.uri().query().unwrap_or_default();
    let detail = "This path takes no query: leave out what follows the `?`.";
    (!query.is_empty()).then(|| Problem::new(Code::BadRequest, detail))
}

impl HttpService for Router {
    fn call(&self, request: Request) -> BoxFuture<'static, Response> {
        let path = request.uri().path();
        let under_way = UnderWay::begin(&self.state, operation(request.method(), path));
        let answer = self.of_role(request);
        Box::pin(async move {
            let response = match answer {
                Some(answer) => answer.await,
                None => too_many_requests(),
            };
            under_way.answered(response.status());
            response
        })
    }

    fn on_connections(&self, open: usize) {
        self.state.metrics().connections.set(open as u64);
    }
}

/// The slots of requests that are worked on.
struct Slots(Arc<Semaphore>);

impl Slots {
    fn new(count: usize) -> Slots {
        Slots(Arc::new(Semaphore::new(count)))
    }

    /// Begins to work on a request if there is a slot, which it has until its answer is there or
    /// nobody waits for it any more.
    fn admit(
        &self,
        begin: impl FnOnce() -> BoxFuture<'static, Response>,
    ) -> Option<BoxFuture<'static, Response>> {
        let slot = Arc::clone(&self.0).try_acquire_owned().ok()?;
        Some(Box::pin(holding(slot, begin())))
    }
}

async fn holding(_slot: OwnedSemaphorePermit, answer: BoxFuture<'static, Response>) -> Response {
    answer.await
}

fn too_many_requests() -> Response {
    let detail = format!("This node works on {REQUESTS_MAX} requests already.");
    Problem::new(Code::Overloaded, detail).into_response()
}

/// A request that is being worked on, until it is answered or its client goes away.
struct UnderWay {
    state: Arc<State>,
    operation: Operation,
    begun: Instant,
}

impl UnderWay {
    fn begin(state: &Arc<State>, operation: Operation) -> UnderWay {
        state.metrics().requests_in_flight.add(1);
        UnderWay {
            state: Arc::clone(state),
            operation,
            begun: Instant::now(),
        }
    }

    fn answered(self, status: StatusCode) {
        let requests = &self.state.metrics().requests;
        requests.answered(self.operation, status.as_u16(), self.begun.elapsed());
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.state.metrics().requests_in_flight.subtract(1);
    }
}

/// What a request asks for, as it is counted.
fn operation(method: &Method, path: &str) -> Operation {
    let mut segments = path.trim_start_matches('/').splitn(4, '/');
    if segments.next() != Some("v1") {
        return Operation::Other;
    }
    match segments.next() {
        Some("kv") if segments.nth(1).is_none() => Operation::List,
        Some("kv") => match *method {
            Method::GET => Operation::Get,
            Method::HEAD => Operation::Head,
            Method::PUT => Operation::Put,
            Method::DELETE => Operation::Delete,
            _ => Operation::Other,
        },
        Some("batch") => Operation::Batch,
        Some("watch") => Operation::Watch,
        Some("buckets") => Operation::Bucket,
        Some("placements") => Operation::Placement,
        Some("plugins") => Operation::Plugin,
        Some("cluster" | "locate") => Operation::Cluster,
        _ => Operation::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Body;

    fn at_once() -> BoxFuture<'static, Response> {
        Box::pin(std::future::ready(Response::new(Body::empty())))
    }

    #[tokio::test]
    async fn works_on_no_more_requests_than_there_are_places() {
        let slots = Slots::new(2);
        let waiting = slots.admit(|| Box::pin(std::future::pending()));
        let answer = slots.admit(at_once).expect("a slot");
        assert!(slots.admit(|| unreachable!("nothing is begun")).is_none());
        let refused = too_many_requests();
        assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
        assert!(refused.headers().contains_key("retry-after"));
        answer.await;
        let again = slots.admit(at_once);
        assert!(again.is_some(), "an answer gives its slot back");
        assert!(slots.admit(at_once).is_none());
        drop(waiting);
        assert!(slots.admit(at_once).is_some(), "so does who goes away");
    }

    #[test]
    fn counts_a_request_as_what_it_asks_for() {
        for (method, path, counted) in [
            (Method::GET, "/v1/kv/default/a", Operation::Get),
            (Method::HEAD, "/v1/kv/default/a/b", Operation::Head),
            (Method::PUT, "/v1/kv/default//", Operation::Put),
            (Method::DELETE, "/v1/kv/default/a", Operation::Delete),
            (Method::POST, "/v1/kv/default/a", Operation::Other),
            (Method::GET, "/v1/kv/default", Operation::List),
            (Method::PUT, "/v1/buckets/v1", Operation::Bucket),
            (Method::GET, "/v1/locate/default/a", Operation::Cluster),
            (Method::GET, "/metrics", Operation::Other),
            (Method::GET, "/v2/kv/default/a", Operation::Other),
        ] {
            assert_eq!(operation(&method, path), counted, "{method} {path}");
        }
    }
}
