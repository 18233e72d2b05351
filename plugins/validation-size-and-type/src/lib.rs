//! This is `size-and-type`: values up to a size, and of some content types.
//!
//! A value that is too large is refused before the policy is asked, so that it costs nothing.

use serde::Deserialize;
use soros_sdk::validation::{Change, Refusal, Validation, Verdict, Wants};
use soros_sdk::{JsonConfig, Policy, Problem};

/// Which values are taken.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The largest value.
    max_bytes: Option<u32>,
    /// The types: `type/subtype` or `type/*`, without parameters. Any type when there are none.
    content_types: Vec<String>,
}

impl JsonConfig for Config {
    const SCHEMA: &'static str = r#"{
        "type": "object",
        "properties": {
            "max_bytes": {
                "type": ["integer", "null"], "minimum": 0, "maximum": 4294967295,
                "description": "The largest value."
            },
            "content_types": {
                "type": "array", "items": {"type": "string"}, "default": [],
                "description": "The types that are taken, as type/subtype or type/*; none: any."
            }
        },
        "additionalProperties": false
    }"#;
}

/// Refuses values that are too large or of another type.
#[derive(Clone, Debug)]
pub struct SizeAndType {
    bytes_max: u32,
    types: Vec<String>,
}

impl Policy for SizeAndType {
    const NAME: &'static str = "size-and-type";
    type Config = Config;

    fn new(config: Config) -> Result<SizeAndType, Vec<Problem>> {
        let types: Vec<String> = config
            .content_types
            .iter()
            .map(|name| name.to_ascii_lowercase())
            .collect();
        let bad = (0..).zip(&types).filter(|(_, name)| !is_type(name));
        let problem = |(at, name): (usize, &String)| Problem {
            path: format!("/content_types/{at}"),
            message: format!("`{name}` is neither `type/subtype` nor `type/*`"),
        };
        let problems: Vec<Problem> = bad.map(problem).collect();
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(SizeAndType {
            bytes_max: config.max_bytes.unwrap_or(u32::MAX),
            types,
        })
    }
}

/// Whether `name` is two names with a `/` between them, and no parameter.
fn is_type(name: &str) -> bool {
    let is_token = |text: &str| {
        let inner = |byte: u8| byte.is_ascii_graphic() && !b"/;,\"".contains(&byte);
        !text.is_empty() && text.bytes().all(inner)
    };
    name.split_once('/')
        .is_some_and(|(kind, subtype)| is_token(kind) && kind != "*" && is_token(subtype))
}

impl SizeAndType {
    fn takes(&self, content_type: &str) -> bool {
        let name = content_type.split(';').next().unwrap_or_default().trim();
        let name = name.to_ascii_lowercase();
        self.types
            .iter()
            .any(|taken| match taken.strip_suffix('*') {
                Some(kind) => name.starts_with(kind),
                None => name == *taken,
            })
    }
}

impl Validation for SizeAndType {
    fn wants(&self) -> Wants {
        Wants {
            prefixes: Vec::new(),
            current: false,
            deletes: false,
            value_bytes_max: self.bytes_max,
        }
    }

    fn check(&self, change: &Change) -> Verdict {
        if self.types.is_empty() || self.takes(&change.content_type) {
            return Verdict::Accept;
        }
        Verdict::Refuse(Refusal {
            code: "content-type".into(),
            message: format!(
                "`{}` is none of {}",
                change.content_type,
                self.types.join(", ")
            ),
            pointer: None,
        })
    }
}

soros_sdk::export_validation!(SizeAndType);

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(types: &[&str]) -> Result<SizeAndType, Vec<Problem>> {
        SizeAndType::new(Config {
            max_bytes: Some(7),
            content_types: types.iter().map(|name| (*name).to_owned()).collect(),
        })
    }

    #[track_caller]
    fn check(types: &[&str], content_type: &str, is_taken: bool) {
        let change = Change {
            bucket: "b".into(),
            key: b"k".to_vec(),
            content_type: content_type.into(),
            value: Some(Vec::new()),
            current: None,
            principal: String::new(),
        };
        let verdict = policy(types).expect("a config").check(&change);
        let passed = matches!(verdict, Verdict::Accept);
        assert_eq!(passed, is_taken, "{content_type} of {types:?}: {verdict:?}");
    }

    #[test]
    fn takes_the_types_it_is_told_to() {
        check(&[], "anything at all", true);
        check(&["application/json"], "application/json", true);
        check(
            &["Application/JSON"],
            "application/json; charset=utf-8",
            true,
        );
        check(&["application/json"], "application/json5", false);
        check(&["text/*", "image/png"], "text/html", true);
        check(&["text/*", "image/png"], "image/png", true);
        check(&["text/*", "image/png"], "image/gif", false);
        check(&["text/*"], "textile", false);
    }

    #[test]
    fn says_which_types_are_none() {
        let problems = policy(&["text/plain", "json", "*/*", "a/b;c=d"]).expect_err("bad types");
        let paths: Vec<&str> = problems.iter().map(|problem| &*problem.path).collect();
        let expected = ["/content_types/1", "/content_types/2", "/content_types/3"];
        assert_eq!(paths, expected);
    }

    #[test]
    fn leaves_sizes_to_the_host() {
        assert_eq!(policy(&[]).expect("a config").wants().value_bytes_max, 7);
        let unbounded = SizeAndType::new(Config::default()).expect("a config");
        assert_eq!(unbounded.wants().value_bytes_max, u32::MAX);
    }
}
