//! This is how a node reaches the others: by id over links that are kept up, or once by address
//! when no more is known.

use super::dial::{DialError, Dialler};
use super::hello::{Identity, Priority, Refusal};
use super::lane::{Cause, Lane, LinkError};
use super::link::{Link, Random};
use super::shutdown::{Shutdown, Trigger, shutdown};
use super::transport::Connector;
use bytes::Bytes;
use soros_core::epoch::Epoch;
use soros_core::id::{ClusterId, NodeId};
use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

/// How the link to a node stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// It stands; this is who answers.
    Up(Identity),
    /// It broke: the node's process may have died.
    Lost,
    /// The node said goodbye and ended it.
    Left,
    /// An attempt to make it failed. Repeated while that goes on.
    Down,
    /// The node refused it. Repeated while that goes on.
    Refused(Refusal),
}

/// Hears what links show.
pub trait LinkEvents: Send + Sync + 'static {
    /// A node's frames show this epoch.
    fn on_epoch(&self, from: NodeId, epoch: Epoch);

    /// The link to a node changed, or failed again.
    fn on_link(&self, node: NodeId, state: LinkState);
}

/// What links are made of.
pub struct LinkParts {
    /// Who this node is.
    pub identity: Identity,
    /// The epoch this node's frames show.
    pub epoch: Arc<AtomicU64>,
    /// Makes connections.
    pub connector: Arc<dyn Connector>,
    /// Hears what links show.
    pub events: Arc<dyn LinkEvents>,
    /// The runtime that the links live on.
    pub runtime: Handle,
    /// Random bits, for the jitter of pauses.
    pub random: Random,
}

impl LinkParts {
    /// Links over TCP with random bits from the operating system, on the current runtime.
    ///
    /// # Panics
    /// When called outside a runtime.
    #[must_use]
    pub fn tcp(
        identity: Identity,
        epoch: Arc<AtomicU64>,
        events: Arc<dyn LinkEvents>,
    ) -> LinkParts {
        LinkParts {
            identity,
            epoch,
            connector: Arc::new(super::transport::TcpConnector),
            events,
            runtime: Handle::current(),
            random: Arc::new(super::random_bits),
        }
    }
}

/// How a link looks to an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkLoad {
    /// The node.
    pub node: NodeId,
    /// Where it is dialled.
    pub address: String,
    /// Messages that wait to be sent.
    pub queued: usize,
    /// Their bytes.
    pub queued_bytes: usize,
    /// Calls that wait for their answers.
    pub waiting: usize,
}

/// The links to all nodes whose addresses are known. Cheap to clone.
#[derive(Clone)]
pub struct Links(Arc<Shared>);

struct Shared {
    dialler: Arc<Dialler>,
    runtime: Handle,
    random: Random,
    links: RwLock<BTreeMap<NodeId, Kept>>,
    /// Tasks of links whose nodes were removed.
    removed: Mutex<Vec<JoinHandle<()>>>,
    stop: (Trigger, Shutdown),
}

struct Kept {
    link: Arc<Link>,
    task: JoinHandle<()>,
    stop: Trigger,
}

impl Links {
    /// Links to nobody yet.
    #[must_use]
    pub fn new(parts: LinkParts) -> Links {
        let LinkParts {
            identity,
            epoch,
            connector,
            events,
            runtime,
            random,
        } = parts;
        let identity = Mutex::new(identity);
        let dialler = Arc::new(Dialler {
            connector,
            identity,
            epoch,
            events,
        });
        let (links, removed, stop) = (RwLock::default(), Mutex::default(), shutdown());
        Links(Arc::new(Shared {
            dialler,
            runtime,
            random,
            links,
            removed,
            stop,
        }))
    }

    /// Who this node says it is.
    #[must_use]
    pub fn identity(&self) -> Identity {
        *self
            .0
            .dialler
            .identity
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The node belongs to a cluster now; links made from here on say so.
    pub fn set_cluster(&self, cluster: ClusterId) {
        let mut identity = self
            .0
            .dialler
            .identity
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        identity.cluster = Some(cluster);
    }

    /// Links to a node at `address` (host and port), or moves its link there. A repeated address
    /// changes nothing.
    pub fn set_address(&self, node: NodeId, address: &str) {
        if let Some(kept) = self.read().get(&node) {
            kept.link.set_address(address);
            return;
        }
        let mut links = self.0.links.write().unwrap_or_else(PoisonError::into_inner);
        if self.0.stop.1.is_said() || links.contains_key(&node) {
            return;
        }
        let link = Arc::new(Link::new(node, address));
        let (stop, heard) = shutdown();
        let (dialler, random) = (Arc::clone(&self.0.dialler), Arc::clone(&self.0.random));
        let task = self
            .0
            .runtime
            .spawn(Arc::clone(&link).run(dialler, random, heard));
        links.insert(node, Kept { link, task, stop });
    }

    /// Lets go of a node that is no member any more.
    pub fn remove(&self, node: NodeId) {
        let mut links = self.0.links.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(Kept { task, stop, .. }) = links.remove(&node) {
            stop.fire();
            let mut removed = self
                .0
                .removed
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            removed.retain(|task| !task.is_finished());
            removed.push(task);
        }
    }

    /// Dials a node at once that seems to be back.
    pub fn wake(&self, node: NodeId) {
        if let Some(kept) = self.read().get(&node) {
            kept.link.wake();
        }
    }

    /// Sends a message and waits for the answer until the deadline. Dropping the future forgets
    /// the call; what is not sent by then is not sent.
    ///
    /// # Errors
    /// [`LinkError`], which says whether the node may have taken the message.
    pub async fn call(
        &self,
        to: NodeId,
        payload: Bytes,
        deadline: Instant,
        priority: Priority,
    ) -> Result<Bytes, LinkError> {
        self.lane(to, priority)?.call(payload, deadline).await
    }

    /// Sends a message that has no answer, without waiting. Nothing tells whether it arrives.
    ///
    /// # Errors
    /// [`LinkError`] when it was not queued.
    pub fn send(&self, to: NodeId, payload: Bytes, priority: Priority) -> Result<(), LinkError> {
        self.lane(to, priority)?.send(payload)
    }

    /// Sends a message to whoever listens at `address`, over a connection of its own, and says
    /// who answered.
    ///
    /// # Errors
    /// [`LinkError`], which says whether the node may have taken the message.
    pub async fn call_address(
        &self,
        address: &str,
        payload: Bytes,
        deadline: Instant,
    ) -> Result<(Identity, Bytes), LinkError> {
        let (links, address) = (self.clone(), address.to_owned());
        let call = async move { links.call_once(&address, payload, deadline).await };
        // The connection's tasks belong on the links' runtime, whatever runs the caller.
        let task = Aborting(self.0.runtime.spawn(call));
        task.await
    }

    async fn call_once(
        &self,
        address: &str,
        payload: Bytes,
        deadline: Instant,
    ) -> Result<(Identity, Bytes), LinkError> {
        let lane = Arc::<Lane>::default();
        lane.open_soon(true);
        let lanes = [(Priority::Foreground, Arc::clone(&lane))];
        let dial = self.0.dialler.dial(address, None, &lanes);
        let connected = match timeout_at(deadline, dial).await {
            Ok(Ok(connected)) => connected,
            Ok(Err(error)) => {
                tracing::debug!(address, %error, "no peer was reached");
                return Err(LinkError::NotSent(match error {
                    DialError::Refused(refusal) => Cause::Refused(refusal),
                    _ => Cause::Down,
                }));
            }
            Err(_) => return Err(LinkError::NotSent(Cause::Late)),
        };
        let peer = connected.peer;
        let run = connected.run(&self.0.dialler.events, Arc::new(|| ()));
        let answer = tokio::select! {
            biased;
            answer = lane.call(payload, deadline) => answer?,
            _ = run => {
                // The answer may have come with the end.
                lane.close(Cause::Lost, Cause::Lost);
                return Err(LinkError::Unknown(Cause::Lost));
            }
        };
        Ok((peer, answer))
    }

    /// What waits on each link.
    #[must_use]
    pub fn loads(&self) -> Vec<LinkLoad> {
        let load = |kept: &Kept| {
            let lanes = [kept.link.foreground.load(), kept.link.background.load()];
            LinkLoad {
                node: kept.link.node,
                address: kept.link.address(),
                queued: lanes.iter().map(|load| load.0).sum(),
                queued_bytes: lanes.iter().map(|load| load.1).sum(),
                waiting: lanes.iter().map(|load| load.2).sum(),
            }
        };
        self.read().values().map(load).collect()
    }

    /// Takes no more calls, lets those under way finish within `time`, and ends all links.
    pub async fn stop(&self, time: Duration) {
        self.0.stop.0.fire();
        let links = {
            let mut links = self.0.links.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *links)
        };
        let removed = {
            let mut removed = self
                .0
                .removed
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *removed)
        };
        let mut tasks: Vec<_> = removed.into_iter().map(Aborting).collect();
        for Kept { stop, task, .. } in links.into_values() {
            stop.fire();
            tasks.push(Aborting(task));
        }
        let all = async {
            for task in &mut tasks {
                task.wait().await;
            }
        };
        let _ = timeout(time, all).await;
    }

    fn lane(&self, to: NodeId, priority: Priority) -> Result<Arc<Lane>, LinkError> {
        let links = self.read();
        match links.get(&to) {
            Some(kept) => Ok(Arc::clone(kept.link.lane(priority))),
            None if self.0.stop.1.is_said() => Err(LinkError::NotSent(Cause::Stopped)),
            None => Err(LinkError::NotSent(Cause::NoAddress)),
        }
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<NodeId, Kept>> {
        self.0.links.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A task that is aborted when nobody waits for it any more.
struct Aborting<T>(JoinHandle<T>);

impl Aborting<()> {
    async fn wait(&mut self) {
        let _ = (&mut self.0).await;
    }
}

impl<T> Future for Aborting<Result<T, LinkError>> {
    type Output = Result<T, LinkError>;

    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Self::Output> {
        let task = std::pin::Pin::new(&mut self.0);
        task.poll(context)
            .map(|ended| ended.unwrap_or(Err(LinkError::Unknown(Cause::Stopped))))
    }
}

impl<T> Drop for Aborting<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
