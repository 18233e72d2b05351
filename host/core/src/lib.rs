//! What a Soros cluster decides: pure, deterministic, synchronous.
//!
//! One rule: an event goes in, effects come out. Nothing here waits, reads a clock, touches a disk
//! or a socket, draws a random number, runs a plugin or writes a log line; time, dots and random
//! bits are arguments. That is what lets a simulator run a whole cluster in one thread from a seed.

pub mod clock;
pub mod close;
pub mod closed;
pub mod codec;
pub mod dot;
pub mod dot_set;
pub mod epoch;
pub mod id;
pub mod key;
pub mod known;
pub mod limits;
pub mod map;
pub mod membership;
pub mod message;
pub mod node_clock;
pub mod object;
pub mod operation;
pub mod place;
pub mod policy;
pub mod read;
pub mod record;
pub mod replica;
pub mod skew;
pub mod sum;
pub mod sync;
pub mod time;
pub mod token;
pub mod write;
