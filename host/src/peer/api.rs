//! This is the key-value API over HTTP: `/v1/kv`, and the routes beside it that are not built.
//!
//! A request is parsed once ([`path`], [`headers`]), asked of the node ([`coordinates`]), and the
//! answer rendered ([`render`], [`refusal`]). Nothing here decides what a write supersedes or how
//! many replicas are enough, and nothing here is accepted and then ignored: what this API does not
//! know or does not have is refused.

pub mod accept;
pub mod conditions;
pub mod coordinates;
pub mod etag;
pub mod handler;
pub mod headers;
pub mod path;
pub mod refusal;
pub mod render;
pub mod siblings;

pub use coordinates::{Choice, Coordinates, Readiness, Resolved};
pub use handler::KeyValueApi;
