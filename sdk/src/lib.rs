//! This is what authors of Soros policies write against: one trait for each kind of policy, and a
//! macro that makes a component of its implementation.
//!
//! A policy is a pure function in a sandbox. It has a config, given once; it keeps no state between
//! calls, which its methods' `&self` makes hard to do by accident; it sees no clock, no randomness,
//! no network and no files. What it may do is write [`log`] lines.
//!
//! ```
//! use soros_sdk::resolution::{Resolution, Resolved, Sibling};
//! use soros_sdk::{NoConfig, Policy, Problem};
//!
//! /// Keeps the longest value.
//! struct Longest;
//!
//! impl Policy for Longest {
//!     const NAME: &'static str = "longest";
//!     type Config = NoConfig;
//!
//!     fn new(_: NoConfig) -> Result<Longest, Vec<Problem>> {
//!         Ok(Longest)
//!     }
//! }
//!
//! impl Resolution for Longest {
//!     fn resolve(&self, _key: &[u8], siblings: &[Sibling]) -> Result<Resolved, String> {
//!         let length = |sibling: &Sibling| sibling.value.as_ref().map_or(0, Vec::len);
//!         let longest = (0..).zip(siblings).max_by_key(|(_, sibling)| length(sibling));
//!         Ok(longest.map_or(Resolved::KeepAll, |(position, _)| Resolved::Keep(position)))
//!     }
//! }
//!
//! soros_sdk::export_resolution!(Longest);
//! ```

#[doc(hidden)]
pub mod bindings;
pub mod json;
pub mod log;
pub mod placement;
mod policy;
pub mod resolution;
pub mod testing;
pub mod validation;

pub use policy::{Config, JsonConfig, NoConfig, Policy, Problem};

#[doc(hidden)]
pub use policy::Slot;
