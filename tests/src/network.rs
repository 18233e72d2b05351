//! This is the network between the nodes of a cluster, as a test may harm it: each node's peer
//! listener is reached through a proxy that knows which node connects, so that what one node says
//! to another can be delayed, lost or cut, in one direction or in both.

use crate::ports::free_port;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

/// How many pieces of a connection may be on their way at a time.
const PIECES_MAX: usize = 64;
const PIECE_BYTES: usize = 16 << 10;

/// What becomes of what one node says to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weather {
    /// It arrives.
    #[default]
    Clear,
    /// It arrives that much later.
    Slow(Duration),
    /// It does not arrive, and nobody is told; what is still wanted when the weather clears does.
    Lost,
    /// Connections between the two are reset, and so are new ones.
    Reset,
}

/// From one node to another, by their numbers in the cluster.
type Way = (usize, usize);
type Forecast = BTreeMap<Way, Weather>;

/// The proxies of a cluster, which end with this.
#[derive(Debug)]
pub struct Network {
    ports: Vec<u16>,
    shared: Arc<Shared>,
    tasks: Vec<AbortHandle>,
}

#[derive(Debug)]
struct Shared {
    forecast: watch::Sender<Forecast>,
    /// The processes of the nodes, by which it is known who connects.
    processes: Mutex<BTreeMap<usize, u32>>,
}

impl Network {
    /// A proxy before each of `peers`, the ports of the nodes' peer listeners.
    ///
    /// # Panics
    /// When a proxy cannot listen, or cannot know who connects.
    pub async fn start(peers: &[u16]) -> Network {
        assert!(
            sees_sockets().await,
            "the system does not let a test see the sockets of its processes"
        );
        let shared = Arc::new(Shared {
            forecast: watch::Sender::default(),
            processes: Mutex::default(),
        });
        let (mut ports, mut tasks) = (Vec::new(), Vec::new());
        for (node, &peer) in peers.iter().enumerate() {
            let port = free_port();
            let listener = TcpListener::bind(("127.0.0.1", port)).await;
            let listener = listener.expect("a free port");
            let proxy = Arc::clone(&shared).accept(listener, (node, peer));
            tasks.push(tokio::spawn(proxy).abort_handle());
            ports.push(port);
        }
        Network {
            ports,
            shared,
            tasks,
        }
    }

    /// The port at which the others reach a node.
    #[must_use]
    pub fn port(&self, node: usize) -> u16 {
        self.ports[node]
    }

    /// From now on this process is the node's.
    pub(crate) fn set_process(&self, node: usize, process: u32) {
        self.shared.processes().insert(node, process);
    }

    /// Changes what becomes of what `from` says to `to`, on connections of either.
    pub fn set(&self, from: usize, to: usize, weather: Weather) {
        self.shared.forecast.send_modify(|forecast| {
            forecast.insert((from, to), weather);
        });
    }

    /// Changes it between a node and all others, both ways.
    pub fn surround(&self, node: usize, weather: Weather) {
        for other in (0..self.ports.len()).filter(|other| *other != node) {
            self.set(node, other, weather);
            self.set(other, node, weather);
        }
    }

    /// All is well again.
    pub fn clear(&self) {
        self.shared.forecast.send_modify(BTreeMap::clear);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Shared {
    fn processes(&self) -> MutexGuard<'_, BTreeMap<usize, u32>> {
        self.processes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    async fn accept(self: Arc<Shared>, listener: TcpListener, (node, peer): (usize, u16)) {
        let mut connections = JoinSet::new();
        loop {
            let Ok((stream, from)) = listener.accept().await else {
                continue;
            };
            while connections.try_join_next().is_some() {}
            // One of a process that is gone, or of none of the nodes.
            let Some(who) = self.who_connects(from) else {
                continue;
            };
            connections.spawn(Arc::clone(&self).carry(stream, who, (node, peer)));
        }
    }

    /// Carries a connection of the node `who` to `node`.
    async fn carry(self: Arc<Shared>, stream: TcpStream, who: usize, (node, peer): (usize, u16)) {
        let Ok(onward) = TcpStream::connect(("127.0.0.1", peer)).await else {
            return;
        };
        let _ = (stream.set_nodelay(true), onward.set_nodelay(true));
        let (there, back) = (self.way((who, node)), self.way((node, who)));
        let mut resets = there.clone();
        let (from_one, to_one) = stream.into_split();
        let (from_other, to_other) = onward.into_split();
        tokio::select! {
            _ = pump(from_one, to_other, there) => {}
            _ = pump(from_other, to_one, back) => {}
            () = resets.reset() => {}
        }
    }

    fn way(&self, way: Way) -> Ahead {
        Ahead {
            way,
            forecast: self.forecast.subscribe(),
        }
    }

    /// The node whose process has the socket at `from`.
    fn who_connects(&self, from: SocketAddr) -> Option<usize> {
        let processes = self.processes().clone();
        let mut who = processes.into_iter();
        who.find(|(_, process)| has_socket(*process, from))
            .map(|(node, _)| node)
    }
}

/// Whether it can be seen which sockets a process has.
async fn sees_sockets() -> bool {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await;
    let address = listener.as_ref().map(TcpListener::local_addr);
    address
        .is_ok_and(|address| address.is_ok_and(|address| has_socket(std::process::id(), address)))
}

/// Whether a process has a socket whose own address is `address`. The system's list of all sockets
/// would tell, too, but is slow to read, and may miss one while others come and go.
fn has_socket(process: u32, address: SocketAddr) -> bool {
    let id = i32::try_from(process).ok().and_then(Pid::from_raw);
    let handle = id.and_then(|id| pidfd_open(id, PidfdFlags::empty()).ok());
    let Some(handle) = handle else { return false };
    let files = std::fs::read_dir(format!("/proc/{process}/fd"));
    let mut files = files.into_iter().flatten().flatten();
    files.any(|file| {
        let is_socket = std::fs::read_link(file.path())
            .is_ok_and(|to| to.as_os_str().as_encoded_bytes().starts_with(b"socket:"));
        let number = file.file_name().to_str().and_then(|name| name.parse().ok());
        let number = number.filter(|_| is_socket);
        let copy =
            number.and_then(|number| pidfd_getfd(&handle, number, PidfdGetfdFlags::empty()).ok());
        let own = copy.and_then(|copy| std::net::TcpStream::from(copy).local_addr().ok());
        own == Some(address)
    })
}

/// The weather on one way.
#[derive(Clone, Debug)]
struct Ahead {
    way: Way,
    forecast: watch::Receiver<Forecast>,
}

impl Ahead {
    fn now(&mut self) -> Weather {
        let forecast = self.forecast.borrow_and_update();
        forecast.get(&self.way).copied().unwrap_or_default()
    }

    /// Waits until what is said arrives.
    async fn arrives(&mut self) {
        while self.now() == Weather::Lost {
            if self.forecast.changed().await.is_err() {
                return;
            }
        }
    }

    /// Waits until the two are cut from each other.
    async fn reset(&mut self) {
        while self.now() != Weather::Reset {
            if self.forecast.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Carries bytes one way until either end goes.
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut ahead: Ahead) -> Option<()> {
    let (queue, mut queued) = mpsc::channel::<(Instant, Vec<u8>)>(PIECES_MAX);
    let mut reading = ahead.clone();
    let read = async move {
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let len = from.read(&mut piece).await.ok().filter(|len| *len != 0)?;
            let delay = match reading.now() {
                Weather::Slow(delay) => delay,
                Weather::Clear | Weather::Lost | Weather::Reset => Duration::ZERO,
            };
            let due = Instant::now() + delay;
            queue.send((due, piece[..len].to_vec())).await.ok()?;
        }
    };
    let write = async move {
        while let Some((due, piece)) = queued.recv().await {
            tokio::time::sleep_until(due).await;
            ahead.arrives().await;
            to.write_all(&piece).await.ok()?;
        }
        Some(())
    };
    let (_, written): (Option<()>, Option<()>) = tokio::join!(read, write);
    written
}
