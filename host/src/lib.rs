//! A Soros node: all I/O, as modules.
pub mod authority;
pub mod network;
pub mod peer;
pub mod store;
