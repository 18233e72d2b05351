//! This is what tells an operator's tools how a node is: health, figures, and the description of
//! the API.

use super::state::State;
use crate::network::{Body, Code, Problem, Response};
use crate::telemetry::CONTENT_TYPE as METRICS_TYPE;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use serde_json::json;

const OPENAPI: &str = include_str!("../../../docs/openapi.json");
const DASHBOARD: &str = include_str!("dashboard.html");

/// The process answers.
pub(super) fn live() -> Response {
    of_json(StatusCode::OK, &json!({ "status": "live" }))
}

/// Whether the node serves, and how far it is behind.
pub(super) fn ready(state: &State) -> Response {
    let behind = state.partitions_behind();
    match state.code_unless_serving() {
        None => {
            let body = json!({
                "status": "ready",
                "partitions_behind": behind,
                "clock_skewed": state.is_clock_skewed(),
                "table_damaged": state.is_table_damaged(),
                "plugins_unusable": state.policy_problems(),
            });
            of_json(StatusCode::OK, &body)
        }
        Some(code) => {
            let problem = Problem::new(code, "Ask another node, or this one again soon.");
            problem.with("partitions_behind", behind).into_response()
        }
    }
}

/// The node's figures, for Prometheus.
pub(super) fn metrics(state: &State) -> Response {
    state.refresh_metrics();
    of_text(METRICS_TYPE, state.metrics().render())
}

/// The description of the API.
pub(super) fn openapi() -> Response {
    of_text("application/json", OPENAPI.to_owned())
}

/// The page that shows the cluster.
pub(super) fn dashboard() -> Response {
    of_text("text/html; charset=utf-8", DASHBOARD.to_owned())
}

/// No route has this path.
pub(super) fn no_such_route(path: &str) -> Response {
    let path: String = path.chars().take(200).collect();
    let detail = format!("nothing is at `{path}`; GET /openapi.json lists what there is");
    Problem::new(Code::NoSuchRoute, detail).into_response()
}

fn of_json(status: StatusCode, value: &serde_json::Value) -> Response {
    let mut response = of_text("application/json", value.to_string());
    *response.status_mut() = status;
    response
}

fn of_text(kind: &'static str, text: String) -> Response {
    let mut response = Response::new(Body::full(text));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
