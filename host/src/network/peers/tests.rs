//! This is how links and the peer listener work together, over loopback sockets and over pipes
//! in virtual time.

use super::*;
use crate::network::{
    BoxFuture, Connector, LinkError, LinkEvents, LinkParts, LinkState, Links, TcpAcceptor, Trigger,
};
use pipes::Pipes;
use soros_core::id::{ClusterId, Incarnation};
use std::sync::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

mod calls;
mod losses;
mod pipes;

const SERVER: NodeId = NodeId(2);
const DRAIN: Duration = Duration::from_secs(5);

fn identity(node: NodeId) -> Identity {
    let cluster = Some(ClusterId(9));
    Identity {
        node,
        incarnation: Incarnation(u128::from(node.0)),
        cluster,
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

/// Does what the message says.
struct Told {
    begun: Notify,
    release: Arc<Semaphore>,
    received: Mutex<Vec<Received>>,
    epochs: Mutex<Vec<(NodeId, Epoch)>>,
    refusal: Mutex<Option<Refusal>>,
}

impl Default for Told {
    fn default() -> Told {
        Told {
            begun: Notify::new(),
            release: Arc::new(Semaphore::new(0)),
            received: Mutex::default(),
            epochs: Mutex::default(),
            refusal: Mutex::default(),
        }
    }
}

impl PeerService for Told {
    fn on_hello(&self, hello: &Hello) -> Result<Identity, Refusal> {
        let identity = identity(SERVER);
        identity.check(hello)?;
        self.refusal.lock().unwrap().map_or(Ok(identity), Err)
    }

    fn on_frame(&self, message: Received) -> BoxFuture<'static, Bytes> {
        let payload = message.payload.clone();
        let release = Arc::clone(&self.release);
        match payload.as_ref() {
            b"note" => self.received.lock().unwrap().push(message),
            b"panic" => panic!("a bug"),
            _ => {}
        }
        self.begun.notify_one();
        Box::pin(async move {
            if payload.starts_with(b"wait") {
                release.acquire().await.unwrap().forget();
            }
            payload
        })
    }

    fn on_epoch(&self, from: NodeId, epoch: Epoch) {
        self.epochs.lock().unwrap().push((from, epoch));
    }
}

/// Notes what links show.
#[derive(Default)]
struct Heard {
    states: Mutex<Vec<LinkState>>,
    epochs: Mutex<Vec<(NodeId, Epoch)>>,
    changed: Notify,
}

impl LinkEvents for Heard {
    fn on_epoch(&self, from: NodeId, epoch: Epoch) {
        self.epochs.lock().unwrap().push((from, epoch));
    }

    fn on_link(&self, _: NodeId, state: LinkState) {
        self.states.lock().unwrap().push(state);
        self.changed.notify_one();
    }
}

impl Heard {
    async fn state(&self, wanted: LinkState) {
        while !self.take(wanted) {
            self.changed.notified().await;
        }
    }

    /// Whether the state was heard; what was heard so far is forgotten then.
    fn take(&self, wanted: LinkState) -> bool {
        let mut states = self.states.lock().unwrap();
        let heard = states.contains(&wanted);
        if heard {
            states.clear();
        }
        heard
    }
}

const UP: LinkState = LinkState::Up(Identity {
    node: SERVER,
    incarnation: Incarnation(2),
    cluster: Some(ClusterId(9)),
});

struct Server {
    service: Arc<Told>,
    stop: Trigger,
    ended: JoinHandle<Drained>,
}

fn serve_on(listener: impl Listener) -> Server {
    let service = Arc::<Told>::default();
    let (stop, heard) = shutdown();
    let shared = Arc::clone(&service) as Arc<dyn PeerService>;
    let epoch = Arc::new(AtomicU64::new(5));
    let ended = tokio::spawn(serve_peers(listener, shared, epoch, DRAIN, heard));
    Server {
        service,
        stop,
        ended,
    }
}

async fn tcp_server() -> (Server, String) {
    let listener = TcpAcceptor::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let address = listener.address().unwrap().to_string();
    (serve_on(listener), address)
}

fn links_over(connector: impl Connector) -> (Links, Arc<Heard>) {
    let heard = Arc::<Heard>::default();
    let events = Arc::clone(&heard) as Arc<dyn LinkEvents>;
    let mut parts = LinkParts::tcp(identity(NodeId(1)), Arc::new(AtomicU64::new(4)), events);
    parts.connector = Arc::new(connector);
    parts.random = Arc::new(|| 7);
    (Links::new(parts), heard)
}

async fn call(links: &Links, text: &str) -> Result<Bytes, LinkError> {
    let payload = Bytes::copy_from_slice(text.as_bytes());
    links
        .call(SERVER, payload, soon(), Priority::Foreground)
        .await
}

fn spawn_call(links: &Links, payload: Bytes) -> JoinHandle<Result<Bytes, LinkError>> {
    let links = links.clone();
    tokio::spawn(async move {
        links
            .call(SERVER, payload, soon(), Priority::Foreground)
            .await
    })
}

fn piped() -> (Pipes, Server, Links, Arc<Heard>) {
    let pipes = Pipes::default();
    let server = serve_on(pipes.listen());
    let (links, heard) = links_over(pipes.clone());
    links.set_address(SERVER, "pipe:1");
    (pipes, server, links, heard)
}
