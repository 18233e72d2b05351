//! This is what every policy has, whatever it decides: a name, a config, and a place to live
//! between calls.

use serde::de::DeserializeOwned;
use std::cell::RefCell;

/// A policy, made from its config.
pub trait Policy: Sized + 'static {
    /// Its canonical name: a letter, then letters, digits and `-`, all in lower case.
    const NAME: &'static str;

    /// Its config: a type that is a [`JsonConfig`], or [`NoConfig`].
    type Config: Config;

    /// The policy with `config`.
    ///
    /// # Errors
    /// All that is wrong with the config.
    fn new(config: Self::Config) -> Result<Self, Vec<Problem>>;
}

/// A config that serde reads from JSON. Deny unknown fields, so that a misspelt one is not ignored.
///
/// ```
/// #[derive(serde::Deserialize)]
/// #[serde(deny_unknown_fields)]
/// struct Limit {
///     bytes: u64,
/// }
///
/// impl soros_sdk::JsonConfig for Limit {
///     const SCHEMA: &'static str = r#"{
///         "type": "object",
///         "properties": {"bytes": {"type": "integer", "minimum": 0}},
///         "required": ["bytes"],
///         "additionalProperties": false
///     }"#;
/// }
/// ```
pub trait JsonConfig: DeserializeOwned {
    /// Its JSON Schema.
    const SCHEMA: &'static str;
}

/// The config of a policy that has none: `{}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoConfig;

/// What a policy's config may be: a [`JsonConfig`] or [`NoConfig`]. They are kept apart because a
/// JSON parser is four fifths of a small component.
pub trait Config: Sized {
    /// Its JSON Schema.
    const CONFIG_SCHEMA: &'static str;

    /// Reads it.
    ///
    /// # Errors
    /// What is wrong with it.
    fn read(json: &str) -> Result<Self, Problem>;
}

impl<C: JsonConfig> Config for C {
    const CONFIG_SCHEMA: &'static str = C::SCHEMA;

    fn read(json: &str) -> Result<C, Problem> {
        serde_json::from_str(json).map_err(|error| Problem::of_whole(error.to_string()))
    }
}

impl Config for NoConfig {
    const CONFIG_SCHEMA: &'static str = r#"{"type":"object","additionalProperties":false}"#;

    fn read(json: &str) -> Result<NoConfig, Problem> {
        if json.split_ascii_whitespace().collect::<String>() == "{}" {
            Ok(NoConfig)
        } else {
            Err(Problem::of_whole(
                "this policy has no config: `{}` is expected".into(),
            ))
        }
    }
}

/// One thing wrong with a config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where, as a JSON pointer; empty for the whole.
    pub path: String,
    /// What is wrong, for the operator.
    pub message: String,
}

impl Problem {
    fn of_whole(message: String) -> Problem {
        Problem {
            path: String::new(),
            message,
        }
    }
}

/// Where an exported policy lives between calls.
#[derive(Debug)]
pub struct Slot<P>(RefCell<Option<P>>);

impl<P: Policy> Slot<P> {
    /// A place with no policy in it yet.
    #[must_use]
    pub const fn new() -> Slot<P> {
        Slot(RefCell::new(None))
    }

    /// Makes the policy from its config's JSON, and sees to it that its panics are reported.
    ///
    /// # Errors
    /// All that is wrong with the config.
    pub fn configure(&self, config: &str) -> Result<(), Vec<Problem>> {
        crate::log::report_panics();
        let config = P::Config::read(config).map_err(|problem| vec![problem])?;
        *self.0.borrow_mut() = Some(P::new(config)?);
        Ok(())
    }

    /// Asks the policy.
    ///
    /// # Panics
    /// When it has not been configured: the host does that first.
    pub fn ask<R>(&self, question: impl FnOnce(&P) -> R) -> R {
        question(
            self.0
                .borrow()
                .as_ref()
                .expect("a policy is configured before it is asked"),
        )
    }
}

impl<P: Policy> Default for Slot<P> {
    fn default() -> Slot<P> {
        Slot::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Sized(u32);

    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Size {
        size: u32,
    }

    impl JsonConfig for Size {
        const SCHEMA: &'static str = "{}";
    }

    impl Policy for Sized {
        const NAME: &'static str = "sized";
        type Config = Size;

        fn new(config: Size) -> Result<Sized, Vec<Problem>> {
            if config.size == 0 {
                let (path, message) = ("/size".into(), "0 is too small".into());
                return Err(vec![Problem { path, message }]);
            }
            Ok(Sized(config.size))
        }
    }

    #[test]
    fn is_made_of_its_config() {
        let slot = Slot::<Sized>::new();
        assert_eq!(slot.configure(r#"{"size":7}"#), Ok(()));
        assert_eq!(slot.ask(|policy| policy.0), 7);
    }

    #[test]
    fn says_what_is_wrong_with_its_config() {
        let slot = Slot::<Sized>::new();
        let problems = |config| slot.configure(config).expect_err("a bad config");
        assert_eq!(problems(r#"{"size":0}"#)[0].path, "/size");
        assert!(
            problems(r#"{"size":7,"colour":1}"#)[0]
                .message
                .contains("unknown field `colour`")
        );
        assert!(problems("")[0].message.contains("EOF"));
    }

    #[test]
    fn takes_nothing_where_there_is_no_config() {
        assert_eq!(NoConfig::read(" { }\n"), Ok(NoConfig));
        assert!(NoConfig::read("null").is_err());
        assert!(NoConfig::read(r#"{"size":7}"#).is_err());
    }
}
