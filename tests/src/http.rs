//! This is a plain HTTP client that keeps its connection and repeats nothing.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{HeaderMap, Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use soros_host::network::{Connector, TcpConnector};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// How long any answer may take before the test gives up on it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// A client of one node.
pub struct Http {
    address: String,
    connector: Arc<dyn Connector>,
    connection: Option<SendRequest<Full<Bytes>>>,
}

/// An answer, whole.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// No connection could be made: nothing was sent.
    NotSent,
    /// The connection broke or time was up: the request may have been carried out.
    Unknown,
}

impl Answer {
    /// A header's value as text; empty when there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; null when it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The stable code of a problem; empty when the body is none.
    #[must_use]
    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

impl std::fmt::Debug for Http {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Http({})", self.address)
    }
}

impl Http {
    /// A client of the node that listens at `address`.
    #[must_use]
    pub fn new(address: SocketAddr) -> Http {
        Http::over(Arc::new(TcpConnector), &address.to_string())
    }

    /// A client of the node that listens at `address` of another network.
    #[must_use]
    pub fn over(connector: Arc<dyn Connector>, address: &str) -> Http {
        Http {
            address: address.to_owned(),
            connector,
            connection: None,
        }
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// [`NoAnswer`] when none came.
    ///
    /// # Panics
    /// When the test's own method, path or headers are none.
    pub async fn send(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Answer, NoAnswer> {
        let mut request = Request::builder().method(method).uri(path);
        request = request.header("host", &self.address);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).expect("a request");
        let mut connection = match self.connected().await {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let exchange = async {
            let answer = connection.send_request(request).await.ok()?;
            let (head, body) = answer.into_parts();
            let body = body.collect().await.ok()?.to_bytes();
            Some(Answer {
                status: head.status,
                headers: head.headers,
                body,
            })
        };
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, exchange).await;
        let answer = answer.ok().flatten().ok_or(NoAnswer::Unknown)?;
        self.connection = Some(connection);
        Ok(answer)
    }

    /// The connection of the last answer, if that still stands.
    async fn connected(&mut self) -> Option<SendRequest<Full<Bytes>>> {
        let mut connection = self.connection.take()?;
        connection.ready().await.ok()?;
        Some(connection)
    }

    /// `GET path`.
    ///
    /// # Errors
    /// [`NoAnswer`] when none came.
    pub async fn get(&mut self, path: &str) -> Result<Answer, NoAnswer> {
        self.send(Method::GET, path, &[], "").await
    }

    /// `PUT path` with a body.
    ///
    /// # Errors
    /// [`NoAnswer`] when none came.
    pub async fn put(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Answer, NoAnswer> {
        self.send(Method::PUT, path, headers, body).await
    }

    /// `DELETE path`.
    ///
    /// # Errors
    /// [`NoAnswer`] when none came.
    pub async fn delete(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Answer, NoAnswer> {
        self.send(Method::DELETE, path, headers, "").await
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, NoAnswer> {
        let stream = self.connector.connect(&self.address).await;
        let io = TokioIo::new(stream.map_err(|_| NoAnswer::NotSent)?);
        let handshake = http1::handshake(io).await;
        let (sender, connection) = handshake.map_err(|_| NoAnswer::NotSent)?;
        // Ends with the sender or the node, whichever goes first.
        tokio::spawn(connection);
        Ok(sender)
    }
}
