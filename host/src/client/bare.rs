//! This is a bare hyper server: what HTTP itself costs on this machine, for a load test to compare
//! a cluster with. It stores nothing and answers every read with the same bytes.

use super::url::NodeUrl;
use crate::network::Workers;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use std::io;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};

/// A bare server on loopback. It stops when it is told to.
pub struct BareServer {
    /// Where it listens.
    pub url: NodeUrl,
    workers: Arc<Workers>,
    acceptor: tokio::task::JoinHandle<()>,
}

impl BareServer {
    /// Starts a server on `threads` threads that answers reads with `value`.
    ///
    /// # Errors
    /// When the operating system gives no port or no thread.
    pub fn start(threads: usize, value: Bytes) -> io::Result<BareServer> {
        let listener = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let url = format!("http://{}", listener.local_addr()?);
        let url = url.parse().map_err(io::Error::other)?;
        let workers = Arc::new(Workers::start("bare", threads)?);
        let accepting = accept(listener, Arc::clone(&workers), value);
        let acceptor = workers.spawn(async {
            // Without a listener every request fails, which the load test counts.
            let _ = accepting.await;
        });
        Ok(BareServer {
            url,
            workers,
            acceptor,
        })
    }

    /// Stops the server and waits for its threads. Blocks.
    pub fn stop(self) {
        self.acceptor.abort();
        let deadline = std::time::Instant::now() + STOP_WAIT;
        let mut workers = self.workers;
        // The acceptor holds the workers until its abort is carried out.
        loop {
            match Arc::try_unwrap(workers) {
                Ok(workers) => return workers.stop(),
                Err(_) if deadline <= std::time::Instant::now() => return,
                Err(shared) => workers = shared,
            }
            std::thread::yield_now();
        }
    }
}

/// How long a stop waits for the acceptor.
const STOP_WAIT: std::time::Duration = std::time::Duration::from_secs(1);

async fn accept(
    listener: std::net::TcpListener,
    workers: Arc<Workers>,
    value: Bytes,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        let stream = stream.into_std()?;
        let value = value.clone();
        workers.spawn(async move {
            // A connection that breaks is the load test's to count.
            let _ = serve(stream, value).await;
        });
    }
}

/// Serves a connection on the worker that polls this, so the stream is registered there.
async fn serve(
    stream: std::net::TcpStream,
    value: Bytes,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::from_std(stream)?;
    stream.set_nodelay(true)?;
    let service = service_fn(move |request| answer(request, value.clone()));
    let server = auto::Builder::new(TokioExecutor::new());
    server.serve_connection(TokioIo::new(stream), service).await
}

async fn answer(
    request: Request<Incoming>,
    value: Bytes,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let is_read = *request.method() == Method::GET;
    request.into_body().collect().await?;
    let mut response = Response::new(Full::new(if is_read { value } else { Bytes::new() }));
    if !is_read {
        *response.status_mut() = StatusCode::NO_CONTENT;
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::super::{Client, ClientOptions, Found, ReadOptions, WriteOptions};
    use super::*;

    #[tokio::test]
    async fn answers_what_a_load_test_asks() {
        let server = BareServer::start(2, Bytes::from_static(b"value")).expect("a port");
        let client = Client::new(std::slice::from_ref(&server.url), ClientOptions::default())
            .expect("a URL");
        let bucket = "default".parse().expect("a bucket");
        let key = soros_core::key::Key::try_from(&b"k"[..]).expect("a key");
        let written = client
            .put(&bucket, &key, "v".into(), &WriteOptions::default())
            .await;
        assert!(!written.expect("an answer").created);
        let read = client
            .get(&bucket, &key, &ReadOptions::default())
            .await
            .expect("an answer");
        assert!(matches!(read.found, Found::Value(value) if value == "value"));
        tokio::task::spawn_blocking(|| server.stop())
            .await
            .expect("a stop");
    }
}
