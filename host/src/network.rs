//! This is how bytes travel: the client listener (HTTP/1.1 and HTTP/2), the peer listener and the
//! links between peers (batched frames over HTTP/2).
//!
//! Nothing here knows what a request or a frame means, what a role is, or where data lives.
//! Listeners and connectors come from outside, so that a simulated network can stand in for TCP.

mod activity;
mod answers;
pub mod body;
mod connection;
mod descriptors;
mod dial;
mod frame;
mod hello;
mod lane;
mod link;
mod links;
mod listener;
mod outbox;
mod peers;
pub mod problem;
pub mod request;
mod shutdown;
pub mod transport;
mod workers;

pub use body::{Body, BodySender, Response};
pub use descriptors::Shares;
pub use hello::{Hello, Identity, PROTOCOL, Priority, Refusal};
pub use lane::{Cause, LinkError};
pub use links::{LinkEvents, LinkLoad, LinkParts, LinkState, Links};
pub use listener::{Drained, Limits, serve_clients};
pub use peers::{PeerService, Received, serve_peers};
pub use problem::{Code, Problem};
pub use request::{BodyError, HttpService, Request, RequestBody};
pub use shutdown::{Shutdown, Trigger, shutdown};
pub use transport::{Accepted, Connector, Duplex, Listener, TcpAcceptor, TcpConnector};
pub use workers::Workers;

/// A future in a box, as trait objects return it.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Random bits from the operating system.
fn random_bits() -> u64 {
    // Without entropy ids and jitter still differ between processes, which is all they need.
    getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id()))
}

/// What a panic said, for the log.
fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panic: {}", text.unwrap_or("without a message"))
}
