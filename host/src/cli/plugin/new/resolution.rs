//! This is `my-plugin`: what concurrent versions of a key become.

use soros_sdk::resolution::{Resolution, Resolved, Sibling};
use soros_sdk::{NoConfig, Policy, Problem};

/// Keeps the longest value, and of several the last.
#[derive(Clone, Copy, Debug)]
pub struct MyPlugin;

impl Policy for MyPlugin {
    const NAME: &'static str = "my-plugin";
    type Config = NoConfig;

    fn new(_: NoConfig) -> Result<MyPlugin, Vec<Problem>> {
        Ok(MyPlugin)
    }
}

impl Resolution for MyPlugin {
    fn resolve(&self, _key: &[u8], siblings: &[Sibling]) -> Result<Resolved, String> {
        let length = |sibling: &Sibling| sibling.value.as_ref().map_or(0, Vec::len);
        let longest = (0..).zip(siblings).max_by_key(|(_, sibling)| length(sibling));
        Ok(longest.map_or(Resolved::KeepAll, |(position, _)| Resolved::Keep(position)))
    }
}

soros_sdk::export_resolution!(MyPlugin);

#[cfg(test)]
mod tests {
    use super::*;
    use soros_sdk::testing;

    #[test]
    fn keeps_the_longest() {
        let siblings = [testing::sibling(1, "long"), testing::sibling(2, "short")];
        let answer = MyPlugin.resolve(b"key", &siblings);
        assert_eq!(answer, Ok(Resolved::Keep(1)));
    }

    #[test]
    fn regrouping_gives_the_same() {
        let values = ["", "a", "b", "bb", "a", "ccc", "ddd"];
        let siblings: Vec<Sibling> = (1..)
            .zip(values)
            .map(|(time, value)| testing::sibling(time, value))
            .collect();
        testing::assert_regrouping(&MyPlugin, &siblings);
    }
}
