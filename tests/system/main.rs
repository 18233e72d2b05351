//! These are tests of whole systems: real processes, real sockets, real disks.

mod command_line;
mod damage;
mod failover;
mod identity;
mod key_value;
mod lost;
mod operator;
mod partition;
mod paused;
mod power;
