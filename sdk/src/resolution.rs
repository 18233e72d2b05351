//! This is how to write a resolution policy: what concurrent versions of a key become.
//!
//! The laws that a policy must keep: it is a function of the *set* of siblings; the same set gives
//! the same answer; and regrouping gives the same, `r(r(A) + B) = r(A + B)`, because replicas meet
//! siblings in any grouping. Whatever it answers, nothing is lost: siblings stay stored until a
//! client's next write covers them, and after an error or a trap a reader sees all of them.

pub use crate::bindings::resolution::exports::soros::policy::resolver::{
    Merged, Resolved, Sibling, Wants,
};

use crate::{Policy, Problem};

#[doc(hidden)]
pub use crate::bindings::resolution::exports::soros::policy::resolver::{
    About, ConfigProblem, Guest,
};

/// A policy that resolves siblings.
pub trait Resolution: Policy {
    /// What it is shown of siblings: everything, unless it says otherwise.
    fn wants(&self) -> Wants {
        Wants { values: true }
    }

    /// What `siblings` become. They are distinct, and in the order of their fields: by time, then
    /// by writer, then a tombstone before values.
    ///
    /// # Errors
    /// Why there is no answer; the reader then sees all siblings.
    fn resolve(&self, key: &[u8], siblings: &[Sibling]) -> Result<Resolved, String>;
}

impl From<Problem> for ConfigProblem {
    fn from(problem: Problem) -> ConfigProblem {
        ConfigProblem {
            path: problem.path,
            message: problem.message,
        }
    }
}

/// Makes the crate a component that resolves siblings by the given [`Resolution`].
#[macro_export]
macro_rules! export_resolution {
    ($policy:ty) => {
        const _: () = {
            ::std::thread_local! {
                static SLOT: $crate::Slot<$policy> = const { $crate::Slot::new() };
            }

            #[cfg_attr(not(target_arch = "wasm32"), allow(dead_code))]
            struct Component;

            impl $crate::resolution::Guest for Component {
                fn describe() -> $crate::resolution::About {
                    $crate::resolution::About {
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
                    $crate::resolution::Wants,
                    ::std::vec::Vec<$crate::resolution::ConfigProblem>,
                > {
                    SLOT.with(|slot| {
                        slot.configure(&config)
                            .map(|()| slot.ask($crate::resolution::Resolution::wants))
                    })
                    .map_err(|problems| problems.into_iter().map(Into::into).collect())
                }

                fn resolve(
                    key: ::std::vec::Vec<u8>,
                    siblings: ::std::vec::Vec<$crate::resolution::Sibling>,
                ) -> ::std::result::Result<$crate::resolution::Resolved, ::std::string::String>
                {
                    SLOT.with(|slot| {
                        slot.ask(|policy| {
                            $crate::resolution::Resolution::resolve(policy, &key, &siblings)
                        })
                    })
                }
            }

            // A linker for other targets does not take the names that components export.
            #[cfg(target_arch = "wasm32")]
            $crate::__export_resolution_impl!(
                Component with_types_in $crate::bindings::resolution
            );
        };
    };
}
