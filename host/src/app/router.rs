//! This is which role answers which path. Any node answers any route.

use super::health;
use super::state::State;
use crate::authority::api::AuthorityApi;
use crate::network::{BoxFuture, HttpService, Problem, Request, Response, Shutdown};
use crate::peer::api::KeyValueApi;
use http::Method;
use std::sync::Arc;

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
    fn own(&self, method: &Method, path: &str) -> Response {
        let answer: fn(&State) -> Response = match path {
            "/health/live" => |_| health::live(),
            "/health/ready" => health::ready,
            "/metrics" => health::metrics,
            "/openapi.json" => |_| health::openapi(),
            "/" => |_| health::dashboard(),
            _ => return health::no_such_route(path),
        };
        if method == Method::GET || method == Method::HEAD {
            answer(&self.state)
        } else {
            Problem::method_not_allowed(&[Method::GET, Method::HEAD]).into_response()
        }
    }
}

impl HttpService for Router {
    fn call(&self, request: Request) -> BoxFuture<'static, Response> {
        let path = request.uri().path();
        if KeyValueApi::<State>::serves(path) {
            self.keys.call(request)
        } else if AuthorityApi::serves(path) {
            self.authority.call(request)
        } else {
            let response = self.own(request.method(), path);
            Box::pin(std::future::ready(response))
        }
    }
}
