//! This is where connections come from: traits for who accepts and who connects, and TCP behind
//! them. Nothing else of the network knows sockets, so a simulated network fits in their place.

use super::BoxFuture;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

/// How long to wait after a failed accept: descriptors have run out, and trying at once would
/// spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A connection: bytes in both directions.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Duplex for T {}

/// Who accepts connections.
pub trait Listener: Send + 'static {
    /// What it accepts.
    type Accepted: Accepted;

    /// The next connection. May be dropped and called again without losing one.
    fn accept(&mut self) -> impl Future<Output = io::Result<Self::Accepted>> + Send;
}

/// A connection that is not yet bound to a runtime, so it can go to the worker that serves it.
pub trait Accepted: Send + 'static {
    /// The connection.
    type Io: Duplex;

    /// Binds it to the runtime this is called on.
    ///
    /// # Errors
    /// When the operating system refuses.
    fn open(self) -> io::Result<Self::Io>;
}

/// Who connects to an address.
pub trait Connector: Send + Sync + 'static {
    /// A connection to `address`, a host and a port.
    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Duplex>>>;
}

/// Accepts over TCP, without Nagle's delay.
#[derive(Debug)]
pub struct TcpAcceptor(TcpListener);

impl TcpAcceptor {
    /// Listens on `address`; port 0 is any free one.
    ///
    /// # Errors
    /// When the address is taken or not this machine's.
    pub async fn bind(address: SocketAddr) -> io::Result<TcpAcceptor> {
        TcpListener::bind(address).await.map(TcpAcceptor)
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the operating system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

impl Listener for TcpAcceptor {
    type Accepted = std::net::TcpStream;

    async fn accept(&mut self) -> io::Result<std::net::TcpStream> {
        let (stream, _) = self.0.accept().await?;
        stream.set_nodelay(true)?;
        stream.into_std()
    }
}

impl Accepted for std::net::TcpStream {
    type Io = TcpStream;

    fn open(self) -> io::Result<TcpStream> {
        TcpStream::from_std(self)
    }
}

/// Connects over TCP, without Nagle's delay.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpConnector;

impl Connector for TcpConnector {
    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Duplex>>> {
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn Duplex>)
        })
    }
}

/// How many were turned away because there are too many connections.
#[derive(Debug, Default)]
pub(super) struct TurnedAway(u64);

impl TurnedAway {
    /// One more was. Told once, then at each power of two: a crowd must not flood the log.
    pub(super) fn tell(&mut self, who: &str, connections: u32) {
        self.0 += 1;
        if self.0.is_power_of_two() {
            tracing::warn!(
                connections,
                turned_away = self.0,
                "{who} are turned away: there are as many connections as may be"
            );
        }
    }
}

/// The next connection of `listener`, whatever single accepts fail on the way.
pub(super) async fn accept_next<L: Listener>(listener: &mut L) -> L::Accepted {
    let mut failures = 0_u64;
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                failures += 1;
                // Once, then at each power of two: a shortage must not flood the log.
                if failures.is_power_of_two() {
                    tracing::warn!(%error, failures, "a connection could not be accepted");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
