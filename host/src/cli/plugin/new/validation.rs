//! This is `my-plugin`: which writes are allowed.

use soros_sdk::validation::{Change, Refusal, Validation, Verdict};
use soros_sdk::{NoConfig, Policy, Problem};

/// Refuses empty values.
#[derive(Clone, Copy, Debug)]
pub struct MyPlugin;

impl Policy for MyPlugin {
    const NAME: &'static str = "my-plugin";
    type Config = NoConfig;

    fn new(_: NoConfig) -> Result<MyPlugin, Vec<Problem>> {
        Ok(MyPlugin)
    }
}

impl Validation for MyPlugin {
    fn check(&self, change: &Change) -> Verdict {
        let Some(value) = &change.value else {
            return Verdict::Accept;
        };
        if !value.is_empty() {
            return Verdict::Accept;
        }
        Verdict::Refuse(Refusal {
            code: "empty".into(),
            message: "the value is empty".into(),
            pointer: None,
        })
    }
}

soros_sdk::export_validation!(MyPlugin);

#[cfg(test)]
mod tests {
    use super::*;
    use soros_sdk::testing;

    /// The verdict on a write of `value`, asked twice.
    fn verdict(value: &str) -> Verdict {
        testing::verdict(&MyPlugin, &testing::change("key", "text/plain", value))
    }

    #[test]
    fn takes_what_is_something() {
        assert_eq!(verdict("something"), Verdict::Accept);
    }

    #[test]
    fn refuses_what_is_empty() {
        assert!(matches!(verdict(""), Verdict::Refuse(refusal) if refusal.code == "empty"));
    }
}
