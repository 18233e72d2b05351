//! These are tests of whole systems: real processes, real sockets, real disks.

mod absent;
mod author;
mod bombs;
mod clocks;
mod command_line;
mod cost;
mod damage;
mod examples;
mod failover;
mod full_disk;
mod hot_swap;
mod hung_disk;
mod identity;
mod key_value;
mod life;
mod losses;
mod lost;
mod operator;
mod partition;
mod paused;
mod plugins;
mod power;
mod pressure;
mod trial;
mod unsynced;
mod validators;
