//! This is how a node listens and connects on the simulated network. What passes is in the journal.

use soros_host::network::{Accepted, BoxFuture, Connector, Duplex, Listener};
use std::io;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::{TcpListener, TcpStream};

/// Accepts on the simulated network.
pub(crate) struct Acceptor(TcpListener);

impl Acceptor {
    /// Listens on `port` of the host that this runs on.
    pub(crate) async fn bind(port: u16) -> io::Result<Acceptor> {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await?;
        Ok(Acceptor(listener))
    }
}

impl Listener for Acceptor {
    type Accepted = Stream;

    async fn accept(&mut self) -> io::Result<Stream> {
        let (stream, _) = self.0.accept().await?;
        Ok(Stream(stream))
    }
}

/// A connection that was accepted.
pub(crate) struct Stream(TcpStream);

impl Accepted for Stream {
    type Io = Noted;

    fn open(self) -> io::Result<Noted> {
        Ok(Noted(self.0))
    }
}

/// Connects over the simulated network.
pub(crate) struct Dialler;

impl Connector for Dialler {
    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Duplex>>> {
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            Ok(Box::new(Noted(stream)) as Box<dyn Duplex>)
        })
    }
}

/// A connection whose bytes are in the journal.
pub(crate) struct Noted(TcpStream);

fn note(what: &str, bytes: &[u8]) {
    let hash = blake3::hash(bytes).to_hex();
    tracing::trace!(target: "turmoil", bytes = bytes.len(), hash = &hash[..12], what);
}

impl AsyncRead for Noted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.0).poll_read(context, buffer));
        note("read", &buffer.filled()[before..]);
        Poll::Ready(read)
    }
}

impl AsyncWrite for Noted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.0).poll_write(context, bytes));
        note("written", &bytes[..*written.as_ref().unwrap_or(&0)]);
        Poll::Ready(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
