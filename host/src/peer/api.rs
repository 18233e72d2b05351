//! This is the key-value API over HTTP: `/v1/kv`, and the routes beside it that are not built.
//!
//! A request is parsed once ([`path`], [`headers`]), asked of the node, and the answer rendered.
//! Nothing here decides what a write supersedes or how many replicas are enough, and nothing here
//! is accepted and then ignored: what this API does not know or does not have is refused.

pub mod accept;
pub mod conditions;
pub mod headers;
pub mod path;
