//! This is connections in memory, that count writes and can be made to fall silent.

use crate::network::{Accepted, BoxFuture, Connector, Duplex, Listener};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::mpsc;

/// Connections in memory, that can be made to fall silent or to break.
#[derive(Clone, Default)]
pub(super) struct Pipes {
    /// Where the listener's ends go; without one connections are refused.
    pub(super) listener: Arc<Mutex<Option<mpsc::UnboundedSender<DuplexStream>>>>,
    /// Nothing gets through, either way, and nothing fails.
    pub(super) silent: Arc<AtomicBool>,
    /// How often the dialler's ends were written to.
    pub(super) writes: Arc<AtomicUsize>,
}

impl Pipes {
    pub(super) fn listen(&self) -> PipeListener {
        let (sender, receiver) = mpsc::unbounded_channel();
        *self.listener.lock().unwrap() = Some(sender);
        PipeListener(receiver)
    }
}

impl Connector for Pipes {
    fn connect<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Duplex>>> {
        Box::pin(async move {
            if self.silent.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
            let (io, other) = tokio::io::duplex(64 << 10);
            let listener = self.listener.lock().unwrap().clone();
            let taken = listener.is_some_and(|listener| listener.send(other).is_ok());
            let pipe = Pipe {
                io,
                silent: self.silent.clone(),
                writes: self.writes.clone(),
            };
            let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
            taken
                .then(|| Box::new(pipe) as Box<dyn Duplex>)
                .ok_or(refused)
        })
    }
}

pub(super) struct PipeListener(mpsc::UnboundedReceiver<DuplexStream>);
pub(super) struct OpenPipe(DuplexStream);

impl Listener for PipeListener {
    type Accepted = OpenPipe;

    async fn accept(&mut self) -> io::Result<OpenPipe> {
        match self.0.recv().await {
            Some(pipe) => Ok(OpenPipe(pipe)),
            None => std::future::pending().await,
        }
    }
}

impl Accepted for OpenPipe {
    type Io = DuplexStream;

    fn open(self) -> io::Result<DuplexStream> {
        Ok(self.0)
    }
}

/// The dialler's end: counts writes, and swallows everything while it is silent.
struct Pipe {
    io: DuplexStream,
    silent: Arc<AtomicBool>,
    writes: Arc<AtomicUsize>,
}

impl AsyncRead for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.silent.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        if self.silent.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
