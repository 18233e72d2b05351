//! These are tests of whole systems: real processes, real sockets, real disks.

mod clocks;
mod command_line;
mod failover;
mod full_disk;
mod key_value;
mod losses;
mod lost;
mod operator;
mod paused;
