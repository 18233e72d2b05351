//! This is the authority's role on every node: the Raft group that orders the changes of the map,
//! the spread of maps to all nodes, and the HTTP calls that read and change the map.
//!
//! Nodes with the authority role run a member of the Raft group; of those some vote. Every other
//! node forwards changes to the leader and takes maps from whoever has a newer one.

pub mod log;
pub mod raft;
pub mod record;
pub mod state;
#[cfg(test)]
mod tests;
