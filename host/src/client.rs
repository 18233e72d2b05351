//! This is the Rust client: it asks any of several nodes, or goes straight to a replica, and never
//! sends a write again whose outcome is unknown.
//!
//! Used by the command line, the tests and the examples. Nothing here knows how a node works
//! inside.

mod admin;
mod bare;
mod call;
mod connection;
mod error;
mod kv;
mod origin;
mod routes;
mod url;
mod value;

pub use admin::{Configured, Keys};
pub use bare::BareServer;
pub use call::{Answer, Intent};
pub use error::{BadAnswer, ClientError, Refusal, Silence};
pub use kv::encoded_key;
pub use url::{NodeUrl, UrlError};
pub use value::{
    Consistency, ConsistencyError, Facts, Found, HeaderText, HeaderTextError, Read, ReadOptions,
    Sibling, Unseen, WriteOptions, Written,
};

use call::Call;
use origin::Origin;
use routes::{Routes, Routing};
use soros_core::id::BucketName;
use soros_core::key::Key;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A client of one cluster. Made inside a runtime and used there; shared by reference.
pub struct Client {
    /// The nodes that it was given.
    given: Vec<Arc<Origin>>,
    /// Every node that it knows, by URL.
    known: Mutex<HashMap<NodeUrl, Arc<Origin>>>,
    /// Which of the given nodes, or which replica, has its turn.
    turn: AtomicUsize,
    routing: Routing,
    options: ClientOptions,
}

/// How a client asks.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClientOptions {
    /// What it speaks.
    pub protocol: Protocol,
    /// Which node it asks about a key.
    pub route: Route,
    /// Which of the given nodes it asks first.
    pub spread: Spread,
    /// How long it waits.
    pub limits: Limits,
}

/// What a client speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1, a connection for each request at a time.
    #[default]
    Http1,
    /// HTTP/2, one connection to each node.
    Http2,
}

/// Which node is asked about a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Route {
    /// Any of those given; it forwards what it does not hold.
    #[default]
    Any,
    /// A replica of the key, by the tables of the map; any when they are not known.
    Smart,
}

/// Which of the given nodes is asked first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spread {
    /// The first that answered before.
    #[default]
    Sticky,
    /// Each in its turn.
    InTurn,
}

/// How long a client waits.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For a connection.
    pub connect: Duration,
    /// For one node's answer. A node answers within 2 s of a request's last byte, unless the
    /// cluster is set otherwise.
    pub attempt: Duration,
    /// For all nodes together.
    pub whole: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connect: Duration::from_secs(2),
            attempt: Duration::from_secs(10),
            whole: Duration::from_secs(30),
        }
    }
}

/// A client needs the URL of a node at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the URL of a node is needed")]
pub struct NoUrl;

impl Client {
    /// A client that asks the nodes at `urls`.
    ///
    /// # Errors
    /// [`NoUrl`] when there are none.
    pub fn new(urls: &[NodeUrl], options: ClientOptions) -> Result<Client, NoUrl> {
        let origin = |url: &NodeUrl| Arc::new(Origin::new(url.clone(), options.protocol));
        let given: Vec<Arc<Origin>> = urls.iter().map(origin).collect();
        if given.is_empty() {
            return Err(NoUrl);
        }
        let known = given
            .iter()
            .map(|origin| (origin.url.clone(), Arc::clone(origin)))
            .collect();
        Ok(Client {
            given,
            known: Mutex::new(known),
            turn: AtomicUsize::new(0),
            routing: Routing::default(),
            options,
        })
    }

    /// Lets this client begin with number `turn` of its nodes, so that many clients spread.
    #[must_use]
    pub fn beginning_at(self, turn: usize) -> Client {
        self.turn.store(turn, Ordering::Relaxed);
        self
    }

    /// Sends a request that any node can answer.
    async fn send(&self, call: &Call) -> Result<Answer, ClientError> {
        self.send_to(call, self.given_in_turn()).await
    }

    /// Sends a request about a key.
    async fn send_for(
        &self,
        bucket: &BucketName,
        key: &Key,
        call: &Call,
    ) -> Result<Answer, ClientError> {
        if self.options.route == Route::Any {
            return self.send(call).await;
        }
        self.refresh_routes().await;
        let Some(routes) = self.routing.current() else {
            return self.send(call).await;
        };
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let replicas: Vec<Arc<Origin>> = routes.replicas(bucket, key, turn).collect();
        let is_other = |origin: &&Arc<Origin>| !replicas.iter().any(|one| Arc::ptr_eq(one, origin));
        let others = self.given.iter().filter(is_other);
        self.send_to(call, replicas.iter().chain(others).cloned())
            .await
    }

    async fn send_to(
        &self,
        call: &Call,
        origins: impl Iterator<Item = Arc<Origin>>,
    ) -> Result<Answer, ClientError> {
        let answer = call.send(origins, &self.options.limits).await;
        match answer {
            Ok(answer) => {
                self.saw(&answer.url, &answer.headers);
                Ok(answer)
            }
            Err(error) => {
                if let Some(refusal) = error.as_ref().and_then(ClientError::refusal) {
                    self.saw(&refusal.url, &refusal.headers);
                }
                Err(error.expect("a client has a node, so one was tried"))
            }
        }
    }

    /// Notes who answered, and under which epoch.
    fn saw(&self, url: &NodeUrl, headers: &http::HeaderMap) {
        if let Some(epoch) = value::epoch_of(headers) {
            self.routing.saw(epoch);
        }
        let turn = self.turn.load(Ordering::Relaxed) % self.given.len();
        if self.options.route == Route::Any
            && self.options.spread == Spread::Sticky
            && self.given[turn].url != *url
            && let Some(at) = self.given.iter().position(|origin| origin.url == *url)
        {
            self.turn.store(at, Ordering::Relaxed);
        }
    }

    fn given_in_turn(&self) -> impl Iterator<Item = Arc<Origin>> {
        let turn = match self.options.spread {
            Spread::Sticky => self.turn.load(Ordering::Relaxed),
            Spread::InTurn => self.turn.fetch_add(1, Ordering::Relaxed),
        };
        let (before, after) = self.given.split_at(turn % self.given.len());
        after.iter().chain(before).cloned()
    }

    /// Fetches the map if it is missing or an answer named a newer one. What cannot be fetched is
    /// done without: any node answers any request.
    async fn refresh_routes(&self) {
        let Some(_turn) = self.routing.turn_to_ask() else {
            return;
        };
        let fetched = self
            .send(&Call::new(http::Method::GET, "/v1/cluster/map"))
            .await;
        if let Ok(map) = fetched.and_then(|answer| answer.json()) {
            self.routing.adopt(Routes::of(map, |url| self.origin(url)));
        }
    }

    /// The node at `url`, if that is a URL.
    fn origin(&self, url: &str) -> Option<Arc<Origin>> {
        let url: NodeUrl = url.parse().ok()?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let origin = known
            .entry(url)
            .or_insert_with_key(|url| Arc::new(Origin::new(url.clone(), self.options.protocol)));
        Some(Arc::clone(origin))
    }
}

#[cfg(test)]
pub(crate) mod imitation;
#[cfg(test)]
mod tests;
