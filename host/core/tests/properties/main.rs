//! This is what must hold of the core whatever happens, in whatever order: its replicas beside a
//! naive model of full causal histories, and its bytes beside themselves.

mod bytes;
mod closing;
mod cluster;
mod crowds;
mod damage;
mod history;
mod interleavings;
mod late;
mod log;
mod losses;
mod memory;
mod model;
mod objects;
mod parcels;
mod records;
mod sweep;
mod transfers;
