//! This is one connection to a node: HTTP/1.1 with one request at a time, or HTTP/2 with many.

use super::Protocol;
use super::call::Call;
use super::url::NodeUrl;
use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::io;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// An open connection. Dropping it closes it.
pub(super) struct Connection {
    sender: Sender,
    driver: Driver,
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

/// The task that moves a connection's bytes, ended with the connection.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Why a request that was handed to a connection has no answer.
pub(super) enum SendError {
    /// No byte of it was written.
    NotSent(hyper::Error),
    /// It may have been taken.
    Unknown(hyper::Error),
}

impl<T> From<TrySendError<T>> for SendError {
    fn from(mut error: TrySendError<T>) -> SendError {
        match error.take_message() {
            // The connection gives a request back only when it has written nothing of it.
            Some(_) => SendError::NotSent(error.into_error()),
            None => SendError::Unknown(error.into_error()),
        }
    }
}

impl Connection {
    /// Connects to the node at `url`.
    pub(super) async fn open(url: &NodeUrl, protocol: Protocol) -> io::Result<Connection> {
        let stream = TcpStream::connect(url.address()).await?;
        stream.set_nodelay(true)?;
        let io = TokioIo::new(stream);
        match protocol {
            Protocol::Http1 => {
                let (sender, connection) = http1::Builder::new()
                    .max_headers(HEADERS_MAX)
                    .handshake(io)
                    .await
                    .map_err(io::Error::other)?;
                let driver = Driver(tokio::spawn(async {
                    // What ends a connection is told to the request that waits for it.
                    let _ = connection.await;
                }));
                Ok(Connection {
                    sender: Sender::Http1(sender),
                    driver,
                })
            }
            Protocol::Http2 => {
                let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                    .timer(TokioTimer::new())
                    .max_header_list_size(HEADER_BYTES_MAX)
                    .handshake(io)
                    .await
                    .map_err(io::Error::other)?;
                let driver = Driver(tokio::spawn(async {
                    // What ends a connection is told to the requests that wait for it.
                    let _ = connection.await;
                }));
                Ok(Connection {
                    sender: Sender::Http2(sender),
                    driver,
                })
            }
        }
    }

    /// Another handle on the same connection, where one carries many requests at a time.
    pub(super) fn shared(&self) -> Option<Shared> {
        match &self.sender {
            Sender::Http1(_) => None,
            Sender::Http2(sender) => Some(Shared(sender.clone())),
        }
    }

    /// Whether a request can still be sent.
    pub(super) fn is_open(&self) -> bool {
        let is_closed = match &self.sender {
            Sender::Http1(sender) => sender.is_closed(),
            Sender::Http2(sender) => sender.is_closed(),
        };
        !is_closed && !self.driver.0.is_finished()
    }

    /// Sends one request and waits for the head of its answer.
    pub(super) async fn send(
        &mut self,
        url: &NodeUrl,
        call: &Call,
    ) -> Result<Response<Incoming>, SendError> {
        match &mut self.sender {
            Sender::Http1(sender) => {
                sender.ready().await.map_err(SendError::NotSent)?;
                Ok(sender.try_send_request(http1_request(url, call)).await?)
            }
            Sender::Http2(sender) => Shared(sender.clone()).send(url, call).await,
        }
    }
}

/// A handle on an HTTP/2 connection that somebody else keeps open.
pub(super) struct Shared(http2::SendRequest<Full<Bytes>>);

impl Shared {
    /// Sends one request among others and waits for the head of its answer.
    pub(super) async fn send(
        mut self,
        url: &NodeUrl,
        call: &Call,
    ) -> Result<Response<Incoming>, SendError> {
        self.0.ready().await.map_err(SendError::NotSent)?;
        Ok(self.0.try_send_request(http2_request(url, call)).await?)
    }
}

/// The most header fields of an answer.
const HEADERS_MAX: usize = 256;
/// The most header bytes of an answer.
const HEADER_BYTES_MAX: u32 = 256 << 10;

fn http1_request(url: &NodeUrl, call: &Call) -> Request<Full<Bytes>> {
    let mut request = request(call);
    *request.uri_mut() = http::Uri::from(call.target.clone());
    let host = url.authority().as_str();
    let host = header::HeaderValue::from_str(host).expect("an authority is visible ASCII");
    request.headers_mut().insert(header::HOST, host);
    request
}

fn http2_request(url: &NodeUrl, call: &Call) -> Request<Full<Bytes>> {
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(http::uri::Scheme::HTTP);
    parts.authority = Some(url.authority().clone());
    parts.path_and_query = Some(call.target.clone());
    let mut request = request(call);
    *request.uri_mut() = http::Uri::from_parts(parts).expect("all three parts are there");
    request
}

fn request(call: &Call) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(call.body.clone()));
    *request.method_mut() = call.method.clone();
    *request.headers_mut() = call.headers.clone();
    request
}
