//! This is the simulator: a whole cluster of core machines in one thread, from one seed, with all
//! that can go wrong going wrong, and an oracle that trusts values only.

pub mod authority;
pub mod bug;
pub mod client;
pub mod digest;
pub mod disk;
pub mod history;
pub mod ledger;
pub mod moment;
pub mod network;
pub mod node;
pub mod oracle;
pub mod plan;
pub mod policy;
pub mod random;
pub mod record;
pub mod report;
pub mod scenes;
pub mod table;
pub mod temper;
pub mod world;
