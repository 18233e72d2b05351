//! A Soros node: all I/O, as modules.
pub mod app;
pub mod authority;
pub mod cli;
pub mod client;
pub mod config;
pub mod network;
pub mod peer;
pub mod plugin;
pub mod store;
pub mod telemetry;
