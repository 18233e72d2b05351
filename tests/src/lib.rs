//! This is the harness of the system tests: clusters of real processes on loopback, clients that
//! speak plain HTTP to them, and an oracle that trusts no clock of theirs.

pub mod binary;
pub mod bombs;
pub mod cluster;
pub mod disk;
pub mod flags;
pub mod folder;
pub mod http;
pub mod load;
pub mod network;
pub mod oracle;
pub mod plugins;
pub mod ports;
pub mod register;
pub mod skip;
pub mod wrong_clock;
