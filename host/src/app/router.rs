//! This is which role answers which path. Any node answers any route.

use super::health;
use super::state::State;
use crate::authority::api::AuthorityApi;
use crate::network::{BoxFuture, Code, HttpService, Problem, Request, Response, Shutdown};
use crate::peer::api::KeyValueApi;
use crate::telemetry::Operation;
use http::{HeaderName, Method, StatusCode};
use std::sync::Arc;
use std::time::Instant;

/// The routes of a node.
pub(super) struct Router {
    state: Arc<State>,
    keys: KeyValueApi<State>,
    authority: AuthorityApi,
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
        }
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
        let answer = if KeyValueApi::<State>::serves(path) {
            self.keys.call(request)
        } else if AuthorityApi::serves(path) {
            self.authority.call(request)
        } else {
            let response = self.own(&request);
            Box::pin(std::future::ready(response))
        };
        Box::pin(async move {
            let response = answer.await;
            under_way.answered(response.status());
            response
        })
    }

    fn on_connections(&self, open: usize) {
        self.state.metrics().connections.set(open as u64);
    }
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
