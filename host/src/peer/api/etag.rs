//! This is the entity tag of an answer: a hash of what its bytes are made of.
//!
//! A version's bytes never change under its dot, so the dots stand for them. Tags are strong: equal
//! tags mean equal bytes, so each form in which siblings are shown has tags of its own.

use super::accept::Form;
use http::HeaderValue;
use soros_core::codec::Codec;
use soros_core::dot::Dot;
use soros_core::dot_set::DotSet;
use soros_core::policy::Merged;

/// The strong entity tag of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntityTag(HeaderValue);

impl EntityTag {
    /// The tag of the one version under `dots`, as it was written.
    #[must_use]
    pub fn of_version(dots: &DotSet) -> EntityTag {
        tag("version", dots, &[])
    }

    /// The tag of the version that a resolver chose of those under `dots`.
    #[must_use]
    pub fn of_chosen(dots: &DotSet, chosen: Dot) -> EntityTag {
        tag("chosen", dots, &[&chosen.to_bytes()])
    }

    /// The tag of what a resolver made of the versions under `dots`.
    #[must_use]
    pub fn of_merged(dots: &DotSet, merged: &Merged) -> EntityTag {
        let parts = [merged.content_type.as_bytes(), &merged.bytes];
        tag("merged", dots, &parts)
    }

    /// The tag of all versions under `dots` in a form. The names of their writers are from the map,
    /// and so are not in the dots.
    #[must_use]
    pub fn of_siblings(dots: &DotSet, form: Form, writers: &[&str]) -> EntityTag {
        let kind = match form {
            Form::Value | Form::Multipart => "parts",
            Form::Json => "json",
        };
        let parts: Vec<&[u8]> = writers.iter().map(|name| name.as_bytes()).collect();
        tag(kind, dots, &parts)
    }

    /// The tag as a header's value, quotes included.
    #[must_use]
    pub fn value(&self) -> &HeaderValue {
        &self.0
    }
}

fn tag(kind: &str, dots: &DotSet, parts: &[&[u8]]) -> EntityTag {
    let mut hasher = blake3::Hasher::new();
    let dots = dots.to_bytes();
    for part in [kind.as_bytes(), &dots].iter().chain(parts) {
        hasher.update(&(part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    let mut bits = [0; 16];
    hasher.finalize_xof().fill(&mut bits);
    let text = format!("\"{:032x}\"", u128::from_be_bytes(bits));
    EntityTag(HeaderValue::try_from(text).expect("digits in quotes are a header's value"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use soros_core::dot::Actor;
    use soros_core::id::{Generation, Incarnation, NodeId};

    fn dot(counter: u64) -> Dot {
        let (node, incarnation, generation) = (NodeId(1), Incarnation(1), Generation(1));
        Actor {
            node,
            incarnation,
            generation,
        }
        .dot(counter)
    }

    fn merged(content_type: &str, bytes: &str) -> Merged {
        Merged {
            content_type: content_type.to_owned(),
            bytes: bytes.as_bytes().to_vec(),
        }
    }

    #[test]
    fn differs_whenever_the_bytes_may() {
        let (one, mut two) = (DotSet::of(dot(1)), DotSet::of(dot(1)));
        two.add(dot(3));
        let tags = [
            EntityTag::of_version(&one),
            EntityTag::of_version(&DotSet::of(dot(2))),
            EntityTag::of_chosen(&two, dot(1)),
            EntityTag::of_chosen(&two, dot(3)),
            EntityTag::of_merged(&two, &merged("a/b", "c")),
            EntityTag::of_merged(&two, &merged("a/", "bc")),
            EntityTag::of_siblings(&two, Form::Multipart, &["n1", "n2"]),
            EntityTag::of_siblings(&two, Form::Multipart, &["n1n", "2"]),
            EntityTag::of_siblings(&two, Form::Json, &["n1", "n2"]),
            EntityTag::of_siblings(&one, Form::Json, &["n1"]),
        ];
        for (at, tag) in tags.iter().enumerate() {
            assert!(!tags[..at].contains(tag), "{at}");
            assert_eq!(tag.value().len(), 34);
        }
        assert_eq!(
            EntityTag::of_version(&one),
            EntityTag::of_version(&DotSet::of(dot(1)))
        );
    }
}
