//! This is how bytes travel: the client listener (HTTP/1.1 and HTTP/2), the peer listener and the
//! links between peers (batched frames over HTTP/2).
//!
//! Nothing here knows what a request or a frame means, what a role is, or where data lives.
//! Listeners and connectors come from outside, so that a simulated network can stand in for TCP.

pub mod body;
pub mod problem;

pub use body::{Body, Response};
pub use problem::{Code, Problem};

/// A future in a box, as trait objects return it.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Random bits from the operating system.
fn random_bits() -> u64 {
    // Without entropy ids and jitter still differ between processes, which is all they need.
    getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id()))
}
