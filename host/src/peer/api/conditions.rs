//! This is when a read is wanted at all: `If-Match` and `If-None-Match` as RFC 9110 has them.

use super::etag::EntityTag;
use super::headers::HeaderError;
use http::header::{HeaderName, IF_MATCH, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue};

/// The conditions of a read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    matches: Option<Tags>,
    none_matches: Option<Tags>,
}

/// What the conditions say of what there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is wanted.
    Wanted,
    /// The client has it already: 304.
    NotModified,
    /// It is not what the client asked for: 412.
    Failed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Tags {
    Any,
    Listed(Vec<Tag>),
}

/// An entity tag as a client sends it, with its quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Tag {
    weak: bool,
    quoted: Vec<u8>,
}

impl Tag {
    fn names(&self, tag: &EntityTag) -> bool {
        self.quoted == tag.value().as_bytes()
    }
}

impl Conditions {
    /// The conditions that headers state.
    ///
    /// # Errors
    /// [`HeaderError::Value`] when a condition is not `*` or a list of entity tags.
    pub fn of(headers: &HeaderMap) -> Result<Conditions, HeaderError> {
        Ok(Conditions {
            matches: tags(headers, IF_MATCH)?,
            none_matches: tags(headers, IF_NONE_MATCH)?,
        })
    }

    /// What they say of something that is there under `tag`. `If-Match` compares strongly,
    /// `If-None-Match` weakly, and the former goes first.
    #[must_use]
    pub fn verdict(&self, tag: &EntityTag) -> Verdict {
        let matches = |tags: &Tags| match tags {
            Tags::Any => true,
            Tags::Listed(listed) => listed.iter().any(|other| !other.weak && other.names(tag)),
        };
        let none_matches = |tags: &Tags| match tags {
            Tags::Any => false,
            Tags::Listed(listed) => !listed.iter().any(|other| other.names(tag)),
        };
        if !self.matches.as_ref().is_none_or(matches) {
            Verdict::Failed
        } else if !self.none_matches.as_ref().is_none_or(none_matches) {
            Verdict::NotModified
        } else {
            Verdict::Wanted
        }
    }
}

fn tags(headers: &HeaderMap, name: HeaderName) -> Result<Option<Tags>, HeaderError> {
    let values: Vec<&HeaderValue> = headers.get_all(&name).iter().collect();
    let expected = "`*` or a list of entity tags in double quotes";
    match values.as_slice() {
        [] => Ok(None),
        [one] if one.as_bytes() == b"*" => Ok(Some(Tags::Any)),
        lists => {
            let listed = lists
                .iter()
                .map(|value| list(value.as_bytes()))
                .collect::<Option<Vec<_>>>();
            let listed = listed.ok_or(HeaderError::Value { name, expected })?;
            Ok(Some(Tags::Listed(listed.concat())))
        }
    }
}

/// A comma-separated list of entity tags; empty elements are allowed.
fn list(mut rest: &[u8]) -> Option<Vec<Tag>> {
    let mut tags = Vec::new();
    loop {
        rest = rest.trim_ascii_start();
        if let Some(next) = rest.strip_prefix(b",") {
            rest = next;
        } else if rest.is_empty() {
            return Some(tags);
        } else {
            let (tag, next) = tag(rest)?;
            tags.push(tag);
            rest = next.trim_ascii_start();
            if !rest.is_empty() && !rest.starts_with(b",") {
                return None;
            }
        }
    }
}

fn tag(bytes: &[u8]) -> Option<(Tag, &[u8])> {
    let opaque = bytes.strip_prefix(b"W/");
    let (weak, quoted) = (opaque.is_some(), opaque.unwrap_or(bytes));
    let inner = quoted.strip_prefix(b"\"")?;
    let len = inner.iter().position(|&byte| byte == b'"')?;
    if inner[..len].iter().any(|byte| matches!(byte, b' ' | b'\t')) {
        return None;
    }
    let (quoted, rest) = quoted.split_at(len + 2);
    Some((
        Tag {
            weak,
            quoted: quoted.to_vec(),
        },
        rest,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, proptest};
    use soros_core::dot_set::DotSet;

    fn headers(fields: &[(HeaderName, &str)]) -> HeaderMap {
        let field = |(name, value): &(HeaderName, &str)| {
            (name.clone(), value.parse::<HeaderValue>().expect("a value"))
        };
        fields.iter().map(field).collect()
    }

    /// The verdict on a thing whose tag is written `A` in `fields`.
    #[track_caller]
    fn check(fields: &[(HeaderName, &str)], verdict: Verdict) {
        let tag = EntityTag::of_version(&DotSet::default());
        let text = tag.value().to_str().expect("text");
        let spelt: Vec<_> = fields
            .iter()
            .map(|(name, value)| (name.clone(), value.replace('A', text)))
            .collect();
        let fields: Vec<_> = spelt
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str()))
            .collect();
        let conditions = Conditions::of(&headers(&fields)).expect("conditions");
        assert_eq!(conditions.verdict(&tag), verdict, "{fields:?}");
    }

    #[test]
    fn wants_everything_without_conditions() {
        check(&[], Verdict::Wanted);
    }

    #[test]
    fn is_not_modified_when_some_tag_is_the_one_weakly() {
        for value in ["A", "W/A", "\"x\", A", "\"x\",W/A ,", ", ,A", "*"] {
            check(&[(IF_NONE_MATCH, value)], Verdict::NotModified);
        }
        check(
            &[(IF_NONE_MATCH, "\"x\""), (IF_NONE_MATCH, "A")],
            Verdict::NotModified,
        );
        for value in ["\"x\"", "\"\"", "W/\"x\", \"a,b\""] {
            check(&[(IF_NONE_MATCH, value)], Verdict::Wanted);
        }
    }

    #[test]
    fn fails_when_no_tag_is_the_one_strongly() {
        for value in ["A", "\"x\", A", "*"] {
            check(&[(IF_MATCH, value)], Verdict::Wanted);
        }
        for value in ["W/A", "\"x\"", ""] {
            check(&[(IF_MATCH, value)], Verdict::Failed);
        }
        check(
            &[(IF_MATCH, "\"x\""), (IF_NONE_MATCH, "A")],
            Verdict::Failed,
        );
        check(
            &[(IF_MATCH, "A"), (IF_NONE_MATCH, "A")],
            Verdict::NotModified,
        );
    }

    #[test]
    fn refuses_what_is_no_list_of_tags() {
        for value in [
            "x",
            "\"x",
            "x\"",
            "\"x\" \"y\"",
            "w/\"x\"",
            "W/ \"x\"",
            "*, \"x\"",
            "\"a b\"",
        ] {
            let conditions = Conditions::of(&headers(&[(IF_MATCH, value)]));
            assert!(
                matches!(conditions, Err(HeaderError::Value { .. })),
                "{value}"
            );
        }
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = list(&bytes);
        }
    }
}
