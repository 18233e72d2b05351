//! This is how to write a validation policy: which writes are allowed.
//!
//! A policy is asked by the node that coordinates a write, before the write is stored, about the
//! writes that it [`Wants`]. It sees one change at a time and answers one [`Verdict`]. When it
//! fails, the bucket's configuration says whether the write is refused or passes.

pub use crate::bindings::validation::exports::soros::policy::validator::{
    Change, Refusal, Verdict, Wants,
};

use crate::{Policy, Problem};

#[doc(hidden)]
pub use crate::bindings::validation::exports::soros::policy::validator::{
    About, ConfigProblem, Guest,
};

/// A policy that validates writes.
pub trait Validation: Policy {
    /// Which writes it is asked about: unless it says otherwise, those that store a value of any
    /// size under any key, without what is there.
    fn wants(&self) -> Wants {
        Wants {
            prefixes: Vec::new(),
            current: false,
            deletes: false,
            value_bytes_max: u32::MAX,
        }
    }

    /// Whether `change` is allowed.
    fn check(&self, change: &Change) -> Verdict;
}

impl From<Problem> for ConfigProblem {
    fn from(problem: Problem) -> ConfigProblem {
        ConfigProblem {
            path: problem.path,
            message: problem.message,
        }
    }
}

/// Makes the crate a component that validates writes by the given [`Validation`].
#[macro_export]
macro_rules! export_validation {
    ($policy:ty) => {
        const _: () = {
            ::std::thread_local! {
                static SLOT: $crate::Slot<$policy> = const { $crate::Slot::new() };
            }

            #[cfg_attr(not(target_arch = "wasm32"), allow(dead_code))]
            struct Component;

            impl $crate::validation::Guest for Component {
                fn describe() -> $crate::validation::About {
                    $crate::validation::About {
                        name: <$policy as $crate::Policy>::NAME.into(),
                        version: ::std::env!("CARGO_PKG_VERSION").into(),
                        config_schema:
                            <<$policy as $crate::Policy>::Config as $crate::Config>::CONFIG_SCHEMA
                                .into(),
                    }
                }

                fn configure(
                    config: ::std::string::String,
                ) -> ::std::result::Result<
                    $crate::validation::Wants,
                    ::std::vec::Vec<$crate::validation::ConfigProblem>,
                > {
                    SLOT.with(|slot| {
                        slot.configure(&config)
                            .map(|()| slot.ask($crate::validation::Validation::wants))
                    })
                    .map_err(|problems| problems.into_iter().map(Into::into).collect())
                }

                fn check(
                    changes: ::std::vec::Vec<$crate::validation::Change>,
                ) -> ::std::vec::Vec<$crate::validation::Verdict> {
                    SLOT.with(|slot| {
                        slot.ask(|policy| {
                            let check =
                                |change| $crate::validation::Validation::check(policy, change);
                            changes.iter().map(check).collect()
                        })
                    })
                }
            }

            // A linker for other targets does not take the names that components export.
            #[cfg(target_arch = "wasm32")]
            $crate::__export_validation_impl!(
                Component with_types_in $crate::bindings::validation
            );
        };
    };
}
