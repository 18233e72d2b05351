//! A Soros node: all I/O, as modules.
pub mod store;
