//! This is the HTTP API of the map: buckets, placements, the cluster and its settings, where a key
//! lives, which plugins there are.
//!
//! A request is parsed once, asked of the authority, and the answer rendered. What this API knows
//! and does not have answers 501; nothing is accepted and then ignored.

mod buckets;
mod cluster;
mod condition;
mod locate;
mod placements;
mod plugins;
mod poll;
mod refusal;
mod render;
mod route;
mod settings;

use super::Authority;
use super::command::{Command, CommandError, Done};
use crate::network::{BoxFuture, HttpService, Request, RequestBody, Response, Shutdown};
use http::Method;
use http::request::Parts;
use refusal::Refusal;
use route::{Query, Route};
use serde::de::DeserializeOwned;
use serde_json::Value;
use soros_core::map::Map;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// The largest configuration, in bytes.
const CONFIG_BYTES_MAX: usize = 256 << 10;
/// The most requests that wait for a newer map at a time.
pub const WAITING_MAX: usize = 4 << 10;

/// The API of the map at one node.
#[derive(Clone)]
pub struct AuthorityApi {
    authority: Arc<Authority>,
    shutdown: Shutdown,
    /// Places of requests that wait.
    waiting: Arc<Semaphore>,
}

impl AuthorityApi {
    /// The API over `authority`. When `shutdown` is said, whoever waits for a newer map is sent
    /// away.
    #[must_use]
    pub fn new(authority: Arc<Authority>, shutdown: Shutdown) -> AuthorityApi {
        AuthorityApi {
            authority,
            shutdown,
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
        }
    }

    /// Whether a path is of this API.
    #[must_use]
    pub fn serves(path: &str) -> bool {
        Route::of(path).is_some()
    }
}

impl HttpService for AuthorityApi {
    fn call(&self, request: Request) -> BoxFuture<'static, Response> {
        let api = self.clone();
        Box::pin(async move { api.answer(request).await })
    }
}

/// A request on its way to its route.
struct Asked<'a> {
    parts: &'a Parts,
    query: Query,
    map: Arc<Map>,
}

impl AuthorityApi {
    async fn answer(self, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let answer = self.on_request(&parts, body).await;
        let answer = answer.and_then(|response| condition::unless_known(&parts, response));
        let response = answer.unwrap_or_else(|refusal| {
            let path = parts.uri.path();
            tracing::debug!(%refusal, method = %parts.method, path, "a request was refused");
            refusal.problem().into_response()
        });
        let epoch = self.authority.keeper().epoch();
        render::finish(response, &parts.method, epoch)
    }

    async fn on_request(&self, parts: &Parts, body: RequestBody) -> Result<Response, Refusal> {
        let route = Route::of(parts.uri.path()).ok_or(Refusal::NoSuchRoute)?;
        let allowed = route.methods();
        if !allowed.contains(&parts.method) {
            return Err(Refusal::Method(allowed));
        }
        condition::refuse_foreign_headers(&parts.headers)?;
        let query = Query::of(parts.uri.query(), route.parameters(&parts.method))?;
        let map = self.authority.keeper().map().ok_or(Refusal::Starting)?;
        let asked = Asked { parts, query, map };
        match route {
            Route::Buckets => buckets::list(&asked.map),
            Route::Bucket(name) => {
                buckets::on_bucket(self, &asked, body, &route::bucket(name)?).await
            }
            Route::Placements => placements::list(&asked.map),
            Route::Placement(name) => {
                placements::on_placement(self, &asked, body, &route::placement(name)?).await
            }
            Route::Cluster => cluster::show(&self.authority, &asked.map).await,
            Route::Map => poll::on_map(self, &asked).await,
            Route::Settings => settings::on_settings(self, &asked, body).await,
            Route::Locate { bucket, key } => {
                let (bucket, key) = (route::bucket(bucket)?, route::key(key)?);
                locate::locate(&self.authority, &asked.map, &bucket, &key)
            }
            Route::Plugins => plugins::list(self, &asked).await,
            Route::Plugin(name) => plugins::show(self, &asked, &route::plugin(name)?).await,
            Route::Release { name, version } => {
                let (name, version) = (route::plugin(name)?, route::version(version)?);
                plugins::on_release(self, &asked, body, &name, &version).await
            }
            Route::Activate(name) => {
                plugins::activate(self, &asked, body, route::plugin(name)?).await
            }
            Route::Rollback(name) => {
                plugins::rollback(self, &asked, body, route::plugin(name)?).await
            }
            Route::Shadow(name) => {
                plugins::on_shadow(self, &asked, body, route::plugin(name)?).await
            }
            Route::Unbuilt(what, _) => Err(Refusal::NotBuilt(what)),
        }
    }

    /// Has `command` carried out if the request's condition allows it.
    async fn propose(&self, asked: &Asked<'_>, command: Command) -> Result<Done, Refusal> {
        let only_at = condition::only_at(&asked.parts.headers, asked.map.epoch())?;
        let only_at = only_at.map(|condition| condition.epoch(asked.map.epoch()));
        Ok(self.authority.propose(command, only_at).await?)
    }
}

impl From<CommandError> for Refusal {
    fn from(error: CommandError) -> Refusal {
        Refusal::Command(error)
    }
}

/// The configuration in a request's body.
async fn config<T: DeserializeOwned>(body: RequestBody) -> Result<T, Refusal> {
    let bytes = body.collect(CONFIG_BYTES_MAX).await?;
    let config = serde_json::from_slice(&bytes).map_err(Refusal::Json)?;
    let shape: Value = serde_json::from_slice(&bytes).map_err(Refusal::Json)?;
    if has_objects(&shape) {
        Ok(config)
    } else {
        Err(Refusal::NotAnObject)
    }
}

/// Whether there is an object wherever one must be: serde would take an array of the same values.
fn has_objects(config: &Value) -> bool {
    let parts = ["resolver", "policy"].map(|name| &config[name]);
    let validators = config["validators"].as_array().into_iter().flatten();
    config.is_object()
        && parts
            .into_iter()
            .chain(validators)
            .all(|part| !part.is_array())
}

/// Whether a method only reads.
fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}
