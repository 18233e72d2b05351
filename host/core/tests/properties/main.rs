//! This is what must hold of the core whatever happens, in whatever order: its replicas beside a
//! naive model of full causal histories, and its bytes beside themselves.

mod bytes;
mod cluster;
mod crowds;
mod history;
mod interleavings;
mod log;
mod losses;
mod memory;
mod model;
mod objects;
mod records;
mod transfers;
