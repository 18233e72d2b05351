//! This is how to write a placement policy: which nodes hold which partitions.
//!
//! A policy is asked when the topology or its config changes, never for a key. Its table is checked
//! whole by the host: the right size, distinct nodes that are not draining, each partition in
//! enough zones. After an error, a trap or a table that fails the check, the table in force stays.
//! The same arguments must give the same table; few moves from the table before are its own aim.

pub use crate::bindings::placement::exports::soros::policy::placer::{
    Member, Node, Previous, Snapshot, State,
};

use crate::{Policy, Problem};

#[doc(hidden)]
pub use crate::bindings::placement::exports::soros::policy::placer::{About, ConfigProblem, Guest};

/// A policy that places partitions.
pub trait Placement: Policy {
    /// The new table: for each partition in turn, the positions of its nodes in `now.members`.
    ///
    /// # Errors
    /// Why there is no table; the one in force stays.
    fn plan(
        &self,
        now: &Snapshot,
        before: Option<&Previous>,
        seed: u64,
    ) -> Result<Vec<u16>, String>;
}

impl From<Problem> for ConfigProblem {
    fn from(problem: Problem) -> ConfigProblem {
        ConfigProblem {
            path: problem.path,
            message: problem.message,
        }
    }
}

/// Makes the crate a component that places partitions by the given [`Placement`].
#[macro_export]
macro_rules! export_placement {
    ($policy:ty) => {
        const _: () = {
            ::std::thread_local! {
                static SLOT: $crate::Slot<$policy> = const { $crate::Slot::new() };
            }

            #[cfg_attr(not(target_arch = "wasm32"), allow(dead_code))]
            struct Component;

            impl $crate::placement::Guest for Component {
                fn describe() -> $crate::placement::About {
                    $crate::placement::About {
                        name: <$policy as $crate::Policy>::NAME.into(),
                        version: ::std::env!("CARGO_PKG_VERSION").into(),
                        config_schema:
                            <<$policy as $crate::Policy>::Config as $crate::Config>::CONFIG_SCHEMA
                                .into(),
                    }
                }

                fn configure(
                    config: ::std::string::String,
                ) -> ::std::result::Result<(), ::std::vec::Vec<$crate::placement::ConfigProblem>>
                {
                    SLOT.with(|slot| slot.configure(&config))
                        .map_err(|problems| problems.into_iter().map(Into::into).collect())
                }

                fn plan(
                    now: $crate::placement::Snapshot,
                    before: ::std::option::Option<$crate::placement::Previous>,
                    seed: u64,
                ) -> ::std::result::Result<::std::vec::Vec<u16>, ::std::string::String> {
                    SLOT.with(|slot| {
                        slot.ask(|policy| {
                            $crate::placement::Placement::plan(policy, &now, before.as_ref(), seed)
                        })
                    })
                }
            }

            // A linker for other targets does not take the names that components export.
            #[cfg(target_arch = "wasm32")]
            $crate::__export_placement_impl!(
                Component with_types_in $crate::bindings::placement
            );
        };
    };
}
